"""The ledger of a task: every submission that was written, and what the organisers said of it.

`OUT/TASK/ledger.jsonl` is append-only, a JSON object a line; the files lie in `OUT/TASK/ledger/`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from trainables import atomic
from trainables.errors import DataError, UsageError, unknown

LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A submission as it was written; the scores are those of its ensemble."""

    search: str
    method: str
    members: tuple[str, ...]
    """Ids of the trials that count."""
    weights: tuple[float, ...]
    metric: str
    valid: float
    holdout: float | None
    holdout_error: float | None
    """Half of the 95 % interval of `holdout`."""
    images: Mapping[str, int]
    """Number of images of each part."""
    commit: str
    """Of the code that trained the members."""
    fingerprint: str
    """Of the prepared data."""
    decision: tuple[float, ...] = ()
    """What was fitted to turn the blend into answers; empty where the likeliest class is the answer."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One submission of the ledger."""

    number: int
    file: str
    """Of the copy that was kept, relative to `OUT/TASK`."""
    sha256: str
    written: str
    """Time in UTC, as ISO 8601; so is `handed_in`."""
    made: Made
    handed_in: str | None = None
    public: float | None = None
    private: float | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it in one flat object."""
        content = asdict(self)
        return {**content.pop("made"), **content}


class Ledger:
    """The submissions of a task in `home`, which is `OUT/TASK`. Several processes may append at a time."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "ledger.jsonl"

    def read(self) -> list[Entry]:
        """Every submission in order; a last line cut short is left out.

        Raises DataError with the line of what is damaged before it.
        """
        try:
            lines, _ = _whole_lines(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}.") from error
        entries: dict[int, Entry] = {}
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip():
                    _apply(entries, json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self.path}, line {number}: the ledger is damaged: {error!r}.",
                    fix="Restore the line, or take it out.",
                ) from error
        return list(entries.values())

    def add(self, file: Path, made: Made) -> Entry:
        """Keep a copy of a submission and note it; the same answers of the same ensemble are noted once."""
        data = file.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        with self._locked():
            entries = self.read()
            for entry in entries:
                if (entry.sha256, entry.made.search, entry.made.method) == (digest, made.search, made.method):
                    self._keep(entry.file, data)
                    return entry
            number = max((entry.number for entry in entries), default=0) + 1
            kept = f"ledger/{number:04d}_{made.search}_{made.method}{file.suffix}"
            self._keep(kept, data)
            entry = Entry(number=number, file=kept, sha256=digest, written=_now(), made=made)
            content = {k: v for k, v in asdict(entry).items() if k not in ("handed_in", "public", "private")}
            self._append({"event": "submission", **content})
        return entry

    def hand_in(self, entry: Entry, *, public: float | None = None, private: float | None = None) -> Entry:
        """Note that it was handed in, the first time now, and the scores that are given."""
        given = {
            name: value for name, value in (("public", public), ("private", private)) if value is not None
        }
        event = {"event": "handed_in", "number": entry.number, "at": _now(), **given}
        with self._locked():
            self._append(event)
        return _handed_in(entry, event)

    def find(self, which: str) -> Entry:
        """The submission `latest`, of a number, or with the content of a file.

        Raises UsageError where there is none, also for a file that was changed after it was written.
        """
        entries = self.read()
        if not entries:
            raise UsageError(
                f"{self.path} holds no submission.", fix="Write one: python -m orchestrator.submit"
            )
        if which == LATEST:
            return entries[-1]
        path = Path(which)
        if which.isdecimal() and not path.exists():
            found = next((entry for entry in entries if entry.number == int(which)), None)
            if found is None:
                raise unknown("number of a submission", which, [str(entry.number) for entry in entries])
            return found
        found = self.of_file(path)
        if found is None:
            raise UsageError(
                f"{path} is no submission of {self.path}: it was edited, or written elsewhere.",
                fix="No prediction may be edited by hand: hand in a file as `submit` wrote it.",
            )
        return found

    def of_file(self, path: Path) -> Entry | None:
        """The latest submission with the content of a file; None where there is none.

        Raises UsageError when the file cannot be read.
        """
        digest = sha256(path)
        if digest is None:
            raise UsageError(
                f"{path} cannot be read.", fix="Give a submission's path, its number or 'latest'."
            )
        return next((entry for entry in reversed(self.read()) if entry.sha256 == digest), None)

    def fault(self, entry: Entry) -> str:
        """What is wrong with the copy that was kept of a submission; empty when it is as it was written."""
        digest = sha256(self.home / entry.file)
        if digest is None:
            return "missing"
        return "" if digest == entry.sha256 else "edited"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with atomic.disk_errors("The ledger", self.path):
            self.home.mkdir(parents=True, exist_ok=True)
            with FileLock(self.home / ".ledger.lock"):
                yield

    def _keep(self, name: str, data: bytes) -> None:
        (self.home / name).parent.mkdir(exist_ok=True)
        atomic.write(self.home / name, data)

    def _append(self, event: Mapping[str, Any]) -> None:
        """Write one line behind the last whole one, flushed to the disk."""
        content = self.path.read_bytes() if self.path.exists() else b""
        _, end = _whole_lines(content)
        gap = b"" if content[:end].endswith(b"\n") or not end else b"\n"
        with self.path.open("ab") as file:
            file.truncate(end)
            file.write(gap + json.dumps(event, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def handed_in_on(entries: Sequence[Entry], day: str) -> list[Entry]:
    """Those handed in on a UTC day, written as 2026-01-31."""
    return [entry for entry in entries if (entry.handed_in or "").startswith(day)]


def today() -> str:
    """The day in UTC, by which the organisers count submissions."""
    return datetime.now(UTC).date().isoformat()


def sha256(path: Path) -> str | None:
    """Of a file's content; None when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _whole_lines(data: bytes) -> tuple[list[bytes], int]:
    """The whole lines and the byte behind the last; one that was cut short is left out."""
    end = data.rfind(b"\n") + 1
    if data[end:].strip() and _is_object(data[end:]):
        end = len(data)
    return data[:end].splitlines(), end


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _apply(entries: dict[int, Entry], event: Mapping[str, Any]) -> None:
    number = event["number"]
    if event["event"] == "handed_in":
        entries[number] = _handed_in(entries[number], event)
        return
    about = {name: value for name, value in event.items() if name != "event"}
    lists = {name: tuple(about["made"][name]) for name in ("members", "weights", "decision")}
    entries[number] = Entry(**{**about, "made": Made(**{**about["made"], **lists})})


def _handed_in(entry: Entry, event: Mapping[str, Any]) -> Entry:
    return replace(
        entry,
        handed_in=entry.handed_in or event["at"],
        public=event.get("public", entry.public),
        private=event.get("private", entry.private),
    )
