"""Starts searches as a person would, breaks them, and sees what is left."""

import contextlib
import functools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import journal
from orchestrator.chaos.witnessed import FAULT, WITNESS
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord
from trainables.errors import OrchestratorError

TASK_FILE = Path(__file__).with_name("witnessed.py")
TRIALS, EPOCHS = 4, 5
ENDS_S = 240.0
"""No command of a rig takes longer, or it hangs."""
LEAVES_S = 60.0
"""What a killed search leaves running is gone after so long: MLflow's writer takes half a minute at most."""
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
AGENTS_S = 90.0
"""But for these: agents of Ray whose node is gone look for its control process for a minute, then end too."""
LOOK_S, SEARCH_S = 0.02, 0.5


PLAIN = {
    "NO_COLOR": "1",
    "COLUMNS": "120",
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",  # Ray's own 15 lets trials wait for whatever else runs on the machine
}


class Unexpected(OrchestratorError):
    """The search did not do what must be; `what` says what it did."""


class Skipped(Exception):
    """The fault cannot be tried here; the message says why."""


@dataclass
class Running:
    """A command that was started."""

    process: "subprocess.Popen[bytes]"
    said: Path

    def end(self, within: float = ENDS_S) -> int:
        """Its exit code; -9 and the like of a process that a signal ended. Raises Unexpected if it hangs."""
        try:
            return self.process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Unexpected(f"hung for {within:.0f} s: {self.tail}") from None

    def live(self, seconds: float) -> None:
        """Let it run so long, or to its end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=seconds)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    @property
    def text(self) -> str:
        return self.said.read_text(errors="replace")

    def require_words(self) -> None:
        """Raises Unexpected where it showed a traceback."""
        if "Traceback (most recent call last)" in self.text:
            raise Unexpected(f"a traceback: {self.tail}")

    @property
    def tail(self) -> str:
        return " | ".join(self.text.splitlines()[-6:])[-600:]


@dataclass
class Rig:
    """A place for searches, one after another, each on the one core `core`: there is one slot.

    `home` keeps the data, the decoded store and MLflow's database from search to search.
    """

    home: Path
    core: int

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)

    @property
    def out(self) -> Path:
        return self.home / "runs"

    @property
    def witness(self) -> Path:
        return self.home / "witness.jsonl"

    def folder(self, name: str) -> SearchFolder:
        return SearchFolder(self.out / "witnessed" / name)

    def search(
        self,
        name: str,
        *more: str,
        faults: Sequence[Mapping[str, Any]] = (),
        limits: Mapping[int, int] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Running:
        """A new search of `TRIALS` trials, whose id is `name`, under `limits` of the module resource."""
        bounds = ["--trials", str(TRIALS), "--max-epochs", str(EPOCHS), "--data", str(self.home / "data")]
        told = {FAULT: json.dumps(list(faults)), **(env or {})}
        return self.command(
            "search", str(TASK_FILE), *bounds, "--id", name, *more, name=name, limits=limits, env=told
        )

    def resume(self, name: str, *more: str) -> Running:
        return self.command("search", str(TASK_FILE), "--resume", name, *more, name=name)

    def command(
        self,
        module: str,
        *arguments: str,
        name: str,
        limits: Mapping[int, int] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Running:
        """`python -m orchestrator.MODULE`; see `start`."""
        where = [] if module == "tracker" else ["--out", str(self.out)]
        words = [sys.executable, "-m", f"orchestrator.{module}", *arguments, *where]
        return self.start(words, name=name, limits=limits, env=env)

    def start(
        self,
        words: Sequence[str],
        *,
        name: str,
        limits: Mapping[int, int] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Running:
        """A command in a process group of its own, which says what it says into the file `name`.said."""
        path = self.home / f"{name}.said"
        plain = {**PLAIN, WITNESS: str(self.witness)}
        # not into pipes: what a killed search leaves for a moment would hold them open
        with path.open("ab") as said:
            process = subprocess.Popen(
                words,
                env={**os.environ, **plain, **(env or {})},
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=functools.partial(self._confine, limits or {}),
            )
        return Running(process, path)

    def _confine(self, limits: Mapping[int, int]) -> None:
        os.sched_setaffinity(0, {self.core})
        for kind, most in limits.items():
            resource.setrlimit(kind, (most, most))

    def record(self, name: str) -> SearchRecord:
        return journal.read(self.folder(name).journal)

    def scorings(self, name: str) -> dict[str, int]:
        """How often the witness saw each trial validated."""
        found: dict[str, int] = {}
        for line in self.witnessed(name):
            if "score" in line:
                found[line["trial"]] = found.get(line["trial"], 0) + 1
        return {trial.partition("/")[2]: count for trial, count in found.items()}

    def witnessed(self, name: str) -> list[dict[str, Any]]:
        lines = self.witness.read_text().splitlines() if self.witness.exists() else []
        return [line for line in map(json.loads, lines) if line["trial"].startswith(f"{name}/")]

    def reported(self, name: str) -> int:
        path = self.folder(name).journal
        return path.read_bytes().count(b'"event": "report"') if path.exists() else 0

    def left_running(self, *, agents: bool = True) -> list[int]:
        """Processes of this rig, by the witness in their environments; without Ray's agents if asked."""
        found = _processes_with(f"{WITNESS}={self.witness}")
        return [pid for pid in found if agents or not any(name in _command_of(pid) for name in AGENTS)]

    def require_none_left(self, *, agents: bool = False) -> None:
        """Raises Unexpected where a process still runs `LEAVES_S` after the command ended.

        With `agents` also where one of Ray's does after `AGENTS_S`.
        """
        seconds = AGENTS_S if agents else LEAVES_S
        if not wait_for(lambda: not self.left_running(agents=agents), seconds, every=SEARCH_S):
            left = {pid: _command_of(pid) for pid in self.left_running(agents=agents)}
            for pid in left:
                _kill(pid)
            raise Unexpected(f"left running: {', '.join(left.values())}")

    def require_success(self, running: Running, *, within: float = ENDS_S) -> None:
        """Raises Unexpected unless the command ends in time with exit code 0 and leaves nothing running."""
        if code := running.end(within):
            raise Unexpected(f"exit code {code}: {running.tail}")
        self.require_none_left()

    def begin_from(self, name: str, make: Callable[[], None]) -> None:
        """Let the search `name` be as `make` left it: journal, files, witness and what MLflow knows.

        `make` is called the first time; later the state is brought back.
        """
        kept = self.home / "kept" / name
        if not kept.exists():
            make()
            self.require_none_left()
            _copy_all(self._state(name, kept))
        else:
            shutil.rmtree(self.folder(name).path, ignore_errors=True)
            _copy_all((there, here) for here, there in self._state(name, kept))

    def _state(self, name: str, kept: Path) -> list[tuple[Path, Path]]:
        """Where the state of a search lies, and where it is kept."""
        parts = (self.folder(name).path, self.witness, self.out / "mlflow.db", self.home / f"{name}.said")
        return [(part, kept / part.name) for part in parts]

    def set_aside(self, name: str, place: Path) -> None:
        """Let what a search left lie in `place`."""
        place.mkdir(parents=True, exist_ok=True)
        for path in (self.folder(name).path, self.home / f"{name}.said"):
            if path.exists():
                shutil.move(path, place)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.folder(name).path, ignore_errors=True)
        (self.home / f"{name}.said").unlink(missing_ok=True)


def wait_for(holds: Callable[[], bool], seconds: float, *, every: float = LOOK_S) -> bool:
    """Whether it came to hold within the time; looks each `every` seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def _copy_all(pairs: Iterable[tuple[Path, Path]]) -> None:
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)


def _processes_with(setting: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if setting.encode() in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)
        except OSError:  # it ended just now, or is another user's
            continue


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _command_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return str(pid)
    return f"{pid} " + b" ".join(words[:4]).decode(errors="replace")[:120]
