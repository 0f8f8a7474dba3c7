"""The search's side of tracking: a child process that writes MLflow while the search runs.

A child and not a thread: importing MLflow, making its database and drawing hold the interpreter's lock for
up to 0.2 s at a time and take 300 MB, and only a process can be ended while a server hangs. By hand,
`python -m orchestrator.tracker runs/TASK/ID` fills in what MLflow misses.
"""

import contextlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import cli, journal
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord
from orchestrator.tracking import Writer, charts_url, home, lock_path, shown, sync, tracking_uri, why
from orchestrator.trust import require_own
from trainables.errors import OrchestratorError, UsageError

CLOSE_S = 30.0
POLL_S = 1.0
LONGEST_PAUSE_S = 30.0
NICENESS = 5


@dataclass(frozen=True)
class Progress:
    """What the writer last said of itself, in tracking.json of the search's folder."""

    experiment_id: str = ""
    written: int = 0
    """Trials of which MLflow has all that the journal tells."""
    problem: str = ""

    def save(self, folder: SearchFolder) -> None:
        temporary = folder.path / ".tracking.json"
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(asdict(self)))
            temporary.replace(folder.path / "tracking.json")

    @staticmethod
    def load(folder: SearchFolder) -> "Progress":
        try:
            return Progress(**json.loads((folder.path / "tracking.json").read_text()))
        except (OSError, ValueError, TypeError):
            return Progress()


class Tracker:
    """Starts the writer, says where to look, ends it. No method raises because of MLflow."""

    def __init__(self, folder: SearchFolder, uri: str | None = None) -> None:
        self.folder = folder
        self.uri = uri or tracking_uri(home(folder))
        self._process: subprocess.Popen[bytes] | None = None
        self._problem = ""

    def start(self) -> None:
        """Start the writer; it reads the journal from its beginning, and may wait for it to appear."""
        command = [sys.executable, "-m", "orchestrator.tracker", str(self.folder.path), "--follow"]
        try:
            with (self.folder.path / "tracking.log").open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the search, which then ends the writer in order
                    env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": self.uri},
                )
        except OSError as error:
            self._problem = f"{error.filename}: {error.strerror}"

    @property
    def link(self) -> str:
        """Where to look: the address of the charts, or the command that serves them."""
        if self.uri.startswith("http"):
            experiment = Progress.load(self.folder).experiment_id
            return shown(charts_url(self.uri, experiment) if experiment else self.uri)
        out = home(self.folder)
        where = "" if out == cli.DEFAULT_OUT.absolute() else f" --out {shlex.quote(str(out))}"
        return f"python -m orchestrator.ui{where}"

    def close(self, timeout_s: float = CLOSE_S) -> str:
        """Let the writer finish, for at most `timeout_s`. The last pass also writes the ensemble, if any.

        Returns "", or the sentence that says what MLflow misses and how to fill it in.
        """
        if self._process is None and not self._problem:
            return ""
        done = self._process is not None and self._finish(self._process, timeout_s)
        self._process = None
        return "" if done else self._missing()

    def _finish(self, process: "subprocess.Popen[bytes]", timeout_s: float) -> bool:
        try:
            process.communicate(f"{timeout_s}\n".encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._problem = f"not done within {timeout_s:g} s"
        finally:
            process.kill()
            process.wait()
        return process.returncode == 0

    def _missing(self) -> str:
        progress = Progress.load(self.folder)
        trials = "some trials"
        with contextlib.suppress(OrchestratorError):
            known = len(journal.read(self.folder.journal).trials)
            missing = known - progress.written
            trials = f"{missing} of {known} trials" if missing else "the ensemble or the pictures"
        reason = progress.problem or self._problem or f"see {self.folder.path / 'tracking.log'}"
        return (
            f"MLflow at {shown(self.uri)} misses {trials} ({reason}). Nothing is lost: fill it in with "
            f"python -m orchestrator.tracker {shlex.quote(str(self.folder.path))}"
        )


def bring_up(folder: SearchFolder, *, uri: str | None = None, timeout_s: float = CLOSE_S) -> str:
    """Write whatever MLflow misses of the search: an ensemble or a report that was made anew, trials.

    Never raises and takes at most `timeout_s`. Returns "" or what is missing, as `Tracker.close` does.
    """
    tracker = Tracker(folder, uri)
    tracker.start()
    return tracker.close(timeout_s)


class Stop:
    """The end of the search, as the writer hears of it: a line with the seconds left, or the end of stdin."""

    def __init__(self, descriptor: int) -> None:
        self._asked = threading.Event()
        self._deadline = float("inf")
        threading.Thread(target=self._listen, args=(descriptor,), daemon=True).start()

    def _listen(self, descriptor: int) -> None:
        line = os.read(descriptor, 64)  # not by sys.stdin, whose lock a thread must not hold at exit
        self._deadline = time.monotonic() + float(line or CLOSE_S)
        self._asked.set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    @property
    def seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep, but not past the moment the search ends, nor past the deadline after it."""
        if self.asked:
            time.sleep(max(0.0, min(seconds, self.seconds_left)))
        self._asked.wait(seconds)


def follow(folder: SearchFolder, uri: str, stop: Stop) -> bool:
    """Write the search into MLflow until it stops; whether everything was written."""
    from filelock import FileLock

    writer, record, offset = Writer(folder, uri), None, 0
    pause = POLL_S
    with FileLock(lock_path(folder)):
        while True:
            last = stop.asked  # asked before reading, so that the last pass sees the whole journal
            record, offset = _read_on(folder, record, offset)
            problem = _attempt(writer, record, last=last)
            done = writer.written(record) if record else 0
            Progress(writer.experiment_id, done, problem).save(folder)
            if last and (not problem or stop.seconds_left <= 0):
                return not problem
            pause = min(2 * pause, POLL_S if last else LONGEST_PAUSE_S) if problem else POLL_S
            stop.wait(pause)


def _read_on(
    folder: SearchFolder, record: SearchRecord | None, offset: int
) -> tuple[SearchRecord | None, int]:
    """The record with what was journalled since `offset`."""
    with contextlib.suppress(FileNotFoundError):
        events, offset = journal.tail(folder.journal, offset)
        if record is None:
            return (journal.replay(events) if events else None), offset
        for event in events:
            record.apply(event)
    return record, offset


def _attempt(writer: Writer, record: SearchRecord | None, *, last: bool) -> str:
    """One pass; what went wrong, or "". Whatever MLflow raises is retried by the next pass."""
    try:
        if record is not None:
            writer.write(record, last=last)
    except Exception as error:
        logging.getLogger(__name__).warning("%s", why(error))
        return why(error)
    return ""


def main(
    folder: Annotated[Path, typer.Argument(help="The folder of a search: runs/TASK/ID.", show_default=False)],
    follow_journal: Annotated[bool, typer.Option("--follow", hidden=True)] = False,
    trust: cli.Trust = False,
    debug: cli.Debug = False,
) -> None:
    """Fill in what MLflow misses of a search."""
    search = SearchFolder(folder.resolve())
    if not follow_journal:
        if not search.journal.exists():
            raise UsageError(
                f"{folder} is no folder of a search.", fix="Give one, such as runs/digits/latest."
            )
        require_own(search.path)
        uri = tracking_uri(home(search))
        print(f"{sync(search, uri)} runs written to {shown(uri)}.")
        return
    logging.basicConfig(format="%(asctime)s %(message)s")
    for number in (signal.SIGTERM, signal.SIGHUP):  # the search has them too, and ends this process
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    raise SystemExit(not follow(search, tracking_uri(home(search)), Stop(sys.stdin.fileno())))


if __name__ == "__main__":
    cli.run_command(main, examples="python -m orchestrator.tracker runs/digits/latest")
