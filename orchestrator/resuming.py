"""From a search's folder back to what it was: what was asked, what is missing, and who may go on with it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from orchestrator import journal
from orchestrator.finals import Wanted
from orchestrator.folders import SearchFolder
from orchestrator.journal import Event, SearchRecord
from orchestrator.prepare import Asked
from trainables import atomic
from trainables.errors import DataError, UsageError

PATHS = ("data", "out", "weights")


@dataclass(frozen=True, kw_only=True)
class Before:
    """What an earlier process left of a search."""

    events: tuple[Event, ...]
    record: SearchRecord
    unwritten: tuple[str, ...]
    """Trials that ended, whose predictions are missing."""

    @property
    def spent(self) -> float:
        """Seconds that the search ran; the time between two processes does not count."""
        return float(self.events[-1]["at"])

    @property
    def fingerprint(self) -> str:
        return str(self.record.asked["fingerprint"])


def wish_json(asked: Asked) -> dict[str, Any]:
    """What was asked, in plain values, for the journal; paths are absolute there."""
    content = asdict(asked)
    for name in PATHS:
        value = content[name]
        content[name] = None if value is None else str(Path(value).expanduser().absolute())
    return content


def wish_of(record: SearchRecord, folder: SearchFolder) -> Asked:
    """What was asked of a search. Raises DataError where the journal does not say it."""
    try:
        told: Mapping[str, Any] = record.asked["wish"]
        paths = {name: None if told[name] is None else Path(told[name]) for name in PATHS}
        wanted = Wanted(**told["finals"])
        asked = Asked(**{**told, **paths, "finals": wanted, "search_id": folder.search_id})
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{folder.journal} does not say what was asked ({error!r}): another version wrote it.",
            fix="Search anew; its results stay: python -m orchestrator.ensemble.",
        ) from error
    return replace(asked, out=folder.path.parent.parent)


def before(folder: SearchFolder) -> Before:
    """What the journal tells. Raises DataError where it is damaged before its last line."""
    record = journal.read(folder.journal)
    events, _ = journal.tail(folder.journal)
    return Before(events=tuple(events), record=record, unwritten=tuple(folder.unwritten(record.scored)))


def require_same(found: Before, fingerprint: str) -> None:
    """Raises DataError where the data are no longer those that the trials were trained on."""
    if found.fingerprint != fingerprint:
        raise DataError(
            "The data, or how they are prepared, changed since the search began: its trials would be "
            "compared on other images.",
            fix="Restore the data, or search anew.",
        )


@contextlib.contextmanager
def alone(folder: SearchFolder) -> Iterator[None]:
    """While no other process runs the same search; what a killed one left half written is removed first.

    Raises UsageError where another runs.
    """
    lock = FileLock(folder.path / ".running.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"The search {folder.search_id} is running.", fix="Wait for its end, or end it with Ctrl-C."
        ) from None
    try:
        atomic.sweep(folder.path)
        yield
    finally:
        lock.release()
