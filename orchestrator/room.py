"""Room on the disk: what a search may hold (`--disk`), and what stays free for it to go on."""

import contextlib
import heapq
import math
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.display import say
from orchestrator.folders import SearchFolder
from orchestrator.journal import Event, SearchRecord, TrialRecord
from trainables.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.conductor import Conductor

UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
WEIGHTS, CHECKPOINTS, LAST = "weights.safetensors", "checkpoints", "test.npz"
"""Of a trial's folder: what may go, what goes by itself when the trial ends, what it writes last."""
RESERVE, SHARE = 300e6, 0.05
"""Bytes kept free for the journal, the logs and MLflow's database; of a small disk, this share of it."""
GO_ON = 1.1
"""Times the mark must be free again for a paused search to go on: it would else pause with each epoch."""
TIDY_S = 1.0
"""What trials hold is measured once in so long, however fast reports come."""
WRITING_S = 120.0
"""A trial that ended without its predictions is taken to write nothing more after so long."""
GROWN = 1.1
"""What lies beside the trials is measured again when there are so many times the trials."""


def parse_size(text: str) -> int:
    """Bytes of `500MB`, `20GB` or `1.5TB`, in powers of ten. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]B)", text.strip().upper())
    size = int(float(found[1]) * UNITS[found[2]]) if found else 0
    if not size:
        raise UsageError(f"--disk {text!r} is no size.", fix="Write 500MB, 20GB or 1.5TB.")
    return size


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def free_at(path: Path) -> int:
    """Bytes free where `path` is, or where it will be made."""
    path = path.absolute()
    return shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free


def forecast(out: Path, *, trials: float, store: float, cap: int | None) -> str:
    """A sentence where the trials' and the store's bytes may not fit; empty where they do."""
    needed, free = store + min(trials, cap or math.inf), free_at(out)
    if needed <= free:
        return ""
    return (
        f"The search needs up to {megabytes(needed)} in {out}, and {megabytes(free)} are free. "
        "It pauses where little is left."
    )


@dataclass(frozen=True)
class _Held:
    """What a trial's folder holds."""

    total: int = 0
    goes: int = 0
    """Bytes of it that `--disk` may remove."""
    settled: bool = False
    """Whether the trial has written all that it leaves."""


@dataclass(kw_only=True)
class Room:
    """The disk under a running search. Not thread-safe.

    With a `cap` in bytes, the weights of trials are removed, worst first, until the search's folder fits.
    Those of the `keep` best and of the finals stay, as do all predictions. What a trial holds is measured
    once, when it has written everything: the cost of an end does not grow with their number.
    """

    conductor: "Conductor"
    folder: SearchFolder
    cap: int | None = None
    keep: int = 1
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
    """Total, used and free bytes at a path."""
    poll_s: float = 1.0
    _running: set[str] = field(default_factory=set)
    _writing: dict[str, float] = field(default_factory=dict)
    """Trials that ended and may still write, with when they did."""
    _removable: list[tuple[float, int, str, int]] = field(default_factory=list)
    """A heap, the worst first: utility, negated number, id, bytes. Finals that did not fail are not in it."""
    _ranked: int = 0
    """How many in the heap have a score: of these `keep` stay."""
    _settled: int = 0
    """Bytes of the trials that write nothing more."""
    _beside: tuple[int, int] = (0, 0)
    """Bytes outside of the trials' folders, and with how many trials they are measured anew."""
    _largest: int = 0
    """Bytes of the largest file of a trial: between two looks each slot writes about one such."""
    _told: bool = False
    _next_tidy: float = 0.0

    def __post_init__(self) -> None:
        for trial in self.conductor.record.trials.values() if self.cap else ():
            if trial.state == "RUNNING":
                self._running.add(trial.trial_id)
            else:
                self._writing[trial.trial_id] = time.monotonic()

    def behind(self, listen: Callable[[Event, SearchRecord], None]) -> Callable[[Event, SearchRecord], None]:
        """A listener that tells `listen` first, then the room."""

        def heard(event: Event, record: SearchRecord) -> None:
            listen(event, record)
            self.heard(event)

        return heard

    def heard(self, event: Event) -> None:
        """To be told every event, after it is folded into the conductor's record."""
        now, trial_id = time.monotonic(), event.get("trial_id", "")
        if event["event"] == "trial":
            self._running.add(trial_id)
        elif event["event"] == "end":
            self._running.discard(trial_id)
            if self.cap:
                self._writing[trial_id] = now
        if event["event"] in ("report", "end") and now >= self._next_tidy:
            self._next_tidy = now + TIDY_S
            self._held(trial_id)
            self.tidy()

    def tidy(self) -> None:
        """Remove weights until the folder fits under the cap; what cannot be made to fit is said once."""
        if self.cap is None:
            return
        over = self._bytes() - self.cap
        gone, freed = [], 0
        while freed < over and (worst := self._worst()):
            gone.append(worst[2])
            freed += worst[3]
        for trial_id in gone:
            self._remove(self.conductor.record.trials[trial_id])
        if gone:  # journalled after it: there may have been no room for a line
            self._settled -= freed
            self.conductor.note("dropped", trial_ids=gone, bytes=freed)
        if freed < over and not self._told:
            self._told = True
            held = self.cap + over - freed
            say(
                f"{self.folder.path} holds {megabytes(held)}, and --disk is {megabytes(self.cap)}. Nothing "
                f"more can go: the weights of the {self.keep} best trials and of the finals stay, and all "
                "predictions.",
                warning=True,
            )

    def wait(self) -> bool:
        """Return when there is room to write: mostly at once, else when some was made. Whether it took that.

        A signal, the search's STOP file and the end of its time end the wait too.
        """
        free, mark = self._free()
        if free >= mark or self._is_over():
            return False
        say(
            f"Paused: {megabytes(free)} free at {self.folder.path}, and {megabytes(mark)} are kept for what "
            "is yet to be written. Free some: the search goes on by itself. Ctrl-C ends it. The pause counts "
            "to --time.",
            warning=True,
        )
        while not self._is_over():
            free, mark = self._free()
            if free >= GO_ON * mark:
                say(f"{megabytes(free)} are free: the search goes on.")
                return True
            time.sleep(self.poll_s)
        return False

    def _free(self) -> tuple[float, float]:
        """Bytes that are free, and how many have to be."""
        try:
            total, _, free = self.usage(self.folder.path)
        except OSError:
            return math.inf, 0.0  # what cannot be known holds nobody up
        return free, max(min(RESERVE, SHARE * total), self.conductor.slots * self._largest)

    def _is_over(self) -> bool:
        interrupted = (self.conductor.stopped or "").startswith("interrupted")
        return interrupted or self.folder.stop.exists() or self.conductor.late

    def _bytes(self) -> int:
        """What the search's folder holds; settles the trials that have written everything."""
        moving = sum(self._held(trial_id).total for trial_id in self._running)
        now = time.monotonic()
        for trial_id, ended in list(self._writing.items()):
            held = self._held(trial_id)
            if held.settled or now > ended + WRITING_S:
                del self._writing[trial_id]
                self._settle(self.conductor.record.trials[trial_id], held)
            else:
                moving += held.total
        trials = len(self.conductor.record.trials)
        if trials >= self._beside[1]:
            self._beside = _bytes_beside(self.folder.path), math.ceil(GROWN * trials) + 1
        return self._settled + moving + self._beside[0]

    def _settle(self, trial: TrialRecord, held: _Held) -> None:
        self._settled += held.total
        useless = trial.state == "FAIL" or trial.value is None
        if held.goes and (useless or not trial.of):
            utility = -math.inf if useless else self.conductor.metric.utility(trial.value or 0.0)
            heapq.heappush(self._removable, (utility, -trial.number, trial.trial_id, held.goes))
            self._ranked += not useless

    def _worst(self) -> tuple[float, int, str, int] | None:
        """The next to lose its weights; None where all that are left stay."""
        if not self._removable or (self._removable[0][0] > -math.inf and self._ranked <= self.keep):
            return None
        worst = heapq.heappop(self._removable)
        self._ranked -= worst[0] > -math.inf
        return worst

    def _held(self, trial_id: str) -> _Held:
        folder = self.folder.trial(trial_id)
        files = _files(folder)
        failed = self.conductor.record.trials[trial_id].state == "FAIL"
        held = _Held(
            total=sum(files.values()),
            goes=sum(size for path, size in files.items() if _may_go(path, failed=failed)),
            settled=folder / LAST in files and not any(path.parent != folder for path in files),
        )
        self._largest = max(self._largest, *files.values(), 0)
        return held

    def _remove(self, trial: TrialRecord) -> None:
        for path in _files(self.folder.trial(trial.trial_id)):
            if _may_go(path, failed=trial.state == "FAIL"):
                with contextlib.suppress(OSError):
                    path.unlink()


def _may_go(path: Path, *, failed: bool) -> bool:
    """Weights; of a trial that failed also its checkpoints, which nobody goes on from."""
    return path.name == WEIGHTS or (failed and path.parent.name == CHECKPOINTS)


def _files(folder: Path) -> dict[Path, int]:
    """Sizes of the files of a trial; what vanishes meanwhile is left out."""
    found = {}
    for path in (*folder.glob("*"), *(folder / CHECKPOINTS).glob("*")):
        with contextlib.suppress(OSError):
            if not path.is_dir():
                found[path] = path.lstat().st_size
    return found


def _bytes_beside(folder: Path) -> int:
    """What a search's folder holds beside its trials."""
    count = 0
    for path in folder.glob("*"):
        for file in () if path.name == "trials" else path.rglob("*") if path.is_dir() else (path,):
            with contextlib.suppress(OSError):
                count += file.lstat().st_size
    return count
