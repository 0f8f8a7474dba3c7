"""The append-only record of a search: a JSON object a line, the truth everything later is read from."""

import contextlib
import errno
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from trainables.errors import DataError
from trainables.task import Direction

State = Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL"]
FINISHED: tuple[State, ...] = ("COMPLETE", "PRUNED")
Event = dict[str, Any]
SEAL = b', "crc": "'
FULL = (errno.ENOSPC, errno.EDQUOT)
OPEN = ("interrupted", "paused")
"""How the reasons begin of searches that ended before they were over, to go on with --resume."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as the journal tells it; `value` is the best epoch's validation score."""

    trial_id: str
    number: int
    params: Mapping[str, Any]
    started: float
    """Seconds since the search began."""
    state: State = "RUNNING"
    reports: tuple[Mapping[str, float], ...] = ()
    """The rows of `trainables.train.EpochReport`, one an epoch."""
    value: float | None = None
    best_epoch: int | None = None
    seconds: float = 0.0
    device: str = ""
    reason: str = ""
    """Why a trial was pruned or failed; empty for a complete one."""
    of: str = ""
    """Of a final: the trial whose configuration is trained again; empty for what the search tried."""

    @property
    def epoch(self) -> int:
        """Epochs reported so far."""
        return len(self.reports)

    @property
    def intermediate_values(self) -> dict[int, float]:
        return {int(row["epoch"]): row["valid_metric"] for row in self.reports}


@dataclass(kw_only=True)
class SearchRecord:
    """What the journal tells of a search so far; `apply` folds in one more event."""

    asked: Mapping[str, Any]
    """The first event: task, seed, budget, versions, fingerprint."""
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    rungs: list[Mapping[str, Any]] = field(default_factory=list)
    finished: str | None = None
    """Why the search ended, or None while it runs or where it was cut off."""
    finals: int = 0
    """How many finals are meant to run; none before the search proper is over."""
    dropped: set[str] = field(default_factory=set)
    """Trials whose weights `--disk` removed."""

    def apply(self, event: Event) -> None:
        match event["event"]:
            case "trial":
                self.trials[event["trial_id"]] = _started(event)
            case "report":
                self.trials[event["trial_id"]] = _reported(self.trials[event["trial_id"]], event)
            case "end":
                self.trials[event["trial_id"]] = _ended(self.trials[event["trial_id"]], event)
            case "rung":
                self.rungs.append(event)
            case "finals":
                self.finals = int(event["count"])
            case "dropped":
                self.dropped.update(event["trial_ids"])
            case "finish":
                self.finished = str(event["reason"])
            case "resume":
                self.finished = None

    @property
    def direction(self) -> Direction:
        direction: Direction = self.asked["direction"]
        return direction

    @property
    def expected(self) -> int | None:
        """How many trials there will be in all, as far as that is known."""
        if not self.finals:
            trials: int | None = self.asked.get("trials")
            return trials
        return self.finals + sum(not trial.of for trial in self.trials.values())

    @property
    def scored(self) -> list[str]:
        """Trials that ended with an epoch or more, which are to leave predictions."""
        return [name for name, trial in self.trials.items() if trial.state in FINISHED and trial.reports]

    def ranked(self) -> list[TrialRecord]:
        """Trials that have a score, best first; equal scores in the order of their numbers."""
        scored = [t for t in self.trials.values() if t.value is not None and t.state != "FAIL"]
        sign = -1 if self.direction == "maximize" else 1
        return sorted(scored, key=lambda t: (sign * (t.value or 0.0), t.number))

    def count(self, state: State) -> int:
        return sum(t.state == state for t in self.trials.values())


class Journal:
    """Appends events to a file, each flushed to the disk before `append` returns. Thread-safe.

    Of an existing journal, a torn last line is cut off and the clock goes on from the last event. So is what
    an append leaves that fails, on a full disk or interrupted: the next one follows a whole line.
    """

    def __init__(self, path: Path) -> None:
        events, end = tail(path) if path.exists() else ([], 0)
        self.path = path
        self._lock = threading.Lock()
        self.refused: DataError | None = None
        """Why the disk refused an event, if it ever did."""
        self.wait: Callable[[], bool] = lambda: False
        """Called where the disk is full: whether there is room now."""
        self._end, self._torn = end, False
        self._file = path.open("ab", buffering=0)  # what a failed write left in a buffer would follow later
        self._file.truncate(end)
        self._zero = time.monotonic() - (events[-1]["at"] if events else 0.0)

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event; `at` is seconds since the search began. Returns the event as written.

        Raises DataError where the disk refuses it: it is then as if it had not been appended.
        """
        with self._lock:
            line = {"event": event, "at": round(time.monotonic() - self._zero, 3), **fields}
            while (error := self._refused(line)) is not None:
                if error.errno not in FULL or not self.wait():
                    self.refused = DataError(
                        f"The journal {self.path} cannot be written: {error.strerror or error}.",
                        fix="Nothing that it tells is lost. Free some space, then go on with --resume.",
                    )
                    raise self.refused from error
        return line

    def _refused(self, event: Event) -> OSError | None:
        """Write the event; what the disk has against it, or None."""
        try:
            self._write(_sealed(event) + b"\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                self._cut_back()
            return error
        return None

    def _write(self, line: bytes) -> None:
        """Append the bytes; until that is done the end counts as torn, whatever interrupts it."""
        if self._torn:
            self._cut_back()
        self._torn, left = True, memoryview(line)
        while left:
            left = left[self._file.write(left) :]
        os.fdatasync(self._file.fileno())
        self._end, self._torn = self._end + len(line), False

    def _cut_back(self) -> None:
        """To the end of the last whole line."""
        self._file.truncate(self._end)
        self._torn = False

    def close(self) -> None:
        self._file.close()


def tail(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """The whole lines written at or after byte `offset`, and the offset to go on from.

    Raises ValueError for a line that is damaged: no JSON, or not what its checksum was made of.
    """
    with path.open("rb") as file:
        file.seek(offset)
        block = file.read()
    end = block.rfind(b"\n") + 1
    return [_opened(line) for line in block[:end].splitlines()], offset + end


def _sealed(event: Event) -> bytes:
    """The event as JSON, whose last key is the CRC-32 of all before it."""
    body = json.dumps(event, allow_nan=False).encode()[:-1]
    return body + SEAL + f'{zlib.crc32(body):08x}"}}'.encode()


def _opened(line: bytes) -> Event:
    event = json.loads(line)
    told = event.pop("crc", None) if isinstance(event, dict) else None
    body, mark, _ = line.rpartition(SEAL)
    if mark and told != f"{zlib.crc32(body):08x}":
        raise ValueError(f"a line is not as it was written: {line[:60].decode(errors='replace')}...")
    found: Event = event
    return found


def read(path: Path) -> SearchRecord:
    """Replay a journal. Raises DataError when it is missing, empty or damaged before its last line."""
    try:
        events, _ = tail(path)
        return replay(events)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", fix="Give the id of a search that was started.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: the journal is damaged: {error!r}.", fix="Restore it, or search anew."
        ) from error


def replay(events: Iterable[Event]) -> SearchRecord:
    """Fold events into the record of the search. Raises ValueError unless the first is `search`."""
    stream = iter(events)
    first = next(stream, None)
    if first is None or first["event"] != "search":
        raise ValueError("it does not begin with a search")
    record = SearchRecord(asked=first)
    for event in stream:
        record.apply(event)
    return record


def _started(event: Event) -> TrialRecord:
    return TrialRecord(
        trial_id=event["trial_id"],
        number=event["number"],
        params=event["params"],
        started=event["at"],
        of=event.get("of", ""),
    )


def _reported(trial: TrialRecord, event: Event) -> TrialRecord:
    row = {k: v for k, v in event.items() if k not in ("event", "at", "trial_id", "device", "best")}
    return replace(
        trial,
        reports=(*trial.reports, row),
        seconds=event["at"] - trial.started,
        device=event.get("device", trial.device),
        **event["best"],
    )


def _ended(trial: TrialRecord, event: Event) -> TrialRecord:
    return replace(trial, state=event["state"], reason=event["reason"], seconds=event["at"] - trial.started)
