"""Files of a search that go between the head of a cluster and nodes that share no disk with it."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from trainables import atomic
from trainables.config import TrialConfig
from trainables.errors import DataError
from trainables.pretrained import weights_file

SCRATCH = "ORCH_SCRATCH"
"""Variable of the folder where a node keeps its copies, also where it shares a disk with the head."""
CHUNK = 32 * 2**20
Stamp = tuple[int, int]
"""Bytes and time of the last change (ns) of a file."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """A search as the head has it, in plain values, so that it crosses hosts."""

    store: str
    fingerprint: str
    search: str
    """Folder of the search."""
    task: str
    """Name of the task, or the path of its file."""
    mark: str
    """Content of the search's mark: who reads it there shares the head's disk."""
    weights: str = ""
    """File or folder of pretrained weights; "" where there are none."""
    share: str = ""
    """URL of an object store that has the store too (see `orchestrator.depot`); "" where there is none."""

    @property
    def trials(self) -> str:
        return f"{self.search}/trials"


class Head(Protocol):
    """What a station asks of the head. Paths are the head's."""

    def listing(self, folder: str) -> dict[str, Stamp]: ...

    def read(self, path: str, start: int) -> bytes: ...

    def digest(self, path: str) -> str: ...

    def weights(self, model: str) -> str: ...

    def write(self, path: str, start: int, data: bytes) -> None: ...

    def finish(self, path: str, digest: str) -> None: ...

    def remove(self, path: str) -> None: ...

    def stopped(self) -> bool: ...


def mark_of(search: Path) -> Path:
    """The file that tells a node whether it shares the disk of the search's folder."""
    return search / ".home"


class HeadFiles:
    """`Head` on the head's own disk: reads what a trial needs, and writes trials."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._digests: dict[tuple[str, Stamp], str] = {}

    def listing(self, folder: str) -> dict[str, Stamp]:
        """As `listing_of`."""
        return listing_of(self._readable(folder))

    def read(self, path: str, start: int) -> bytes:
        """At most `CHUNK` bytes; none at the end."""
        with self._readable(path).open("rb") as file:
            file.seek(start)
            return file.read(CHUNK)

    def digest(self, path: str) -> str:
        """SHA-256 of a file; computed once as long as it does not change."""
        file = self._readable(path)
        key = (str(file), stamp_of(file))
        if key not in self._digests:
            self._digests[key] = digest_of(file)
        return self._digests[key]

    def weights(self, model: str) -> str:
        """The file with the pretrained weights of a model. Raises UsageError where there is none."""
        return str(weights_file(TrialConfig(model=model, pretrained=True, weights=self._home.weights)))

    def write(self, path: str, start: int, data: bytes) -> None:
        """Put bytes where a file is arriving; `finish` lets it appear."""
        arriving = self._arriving(path)
        arriving.parent.mkdir(parents=True, exist_ok=True)
        with arriving.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.write(data)

    def finish(self, path: str, digest: str) -> None:
        """Let an arrived file take its place, if its bytes are those that were sent. Raises DataError."""
        arriving = self._arriving(path)
        if digest_of(arriving) != digest:
            arriving.unlink()
            raise DataError(f"{path} did not arrive as it was sent.")
        with arriving.open("rb") as file:
            os.fsync(file.fileno())
        arriving.replace(self._writable(path))

    def remove(self, path: str) -> None:
        """Remove a file that the trial removed."""
        self._writable(path).unlink(missing_ok=True)

    def stopped(self) -> bool:
        """Whether the search was told to stop."""
        return (Path(self._home.search) / "STOP").exists()

    def sweep(self) -> None:
        """Remove what will not arrive any more, of nodes that are gone."""
        for left in Path(self._home.trials).rglob(".*.arriving"):
            left.unlink(missing_ok=True)

    def _arriving(self, path: str) -> Path:
        file = self._writable(path)
        return file.with_name(f".{file.name}.arriving")

    def _readable(self, path: str) -> Path:
        home = self._home
        return _within(path, [home.store, home.search, home.task, home.weights])

    def _writable(self, path: str) -> Path:
        return _within(path, [self._home.trials])


def scratch() -> Path:
    """Where this node keeps its copies."""
    return Path(os.environ.get(SCRATCH) or "~/.cache/orchestrator").expanduser().absolute()


def shares_disk(home: Home) -> bool:
    """Whether this node works in the head's folder: it sees it, and was given none of its own."""
    try:
        return SCRATCH not in os.environ and mark_of(Path(home.search)).read_text() == home.mark
    except OSError:
        return False


def fetch(head: Head, there: str, here: Path) -> None:
    """Copy a file of the head. Raises DataError where the bytes are not the head's."""
    arrive(_chunks(head, there), here, digest=lambda: head.digest(there), name=there)


def arrive(chunks: Iterable[bytes], here: Path, *, digest: Callable[[], str], name: str) -> None:
    """Let a file appear whole. Raises DataError where its bytes are not those of the head's `name`."""
    here.parent.mkdir(parents=True, exist_ok=True)
    arriving, hashed = atomic.temporary_for(here), hashlib.sha256()
    try:
        with arriving.open("wb") as file:
            for data in chunks:
                file.write(data)
                hashed.update(data)
        if hashed.hexdigest() != digest():
            raise DataError(f"{name} did not arrive as it is on the head.")
        arriving.replace(here)
    finally:
        arriving.unlink(missing_ok=True)


def _chunks(head: Head, there: str) -> Iterator[bytes]:
    start = 0
    while data := head.read(there, start):
        yield data
        start += len(data)


def send(head: Head, here: Path, there: str) -> None:
    """Copy a file to the head, where it appears whole. Raises DataError."""
    hashed, start = hashlib.sha256(), 0
    with here.open("rb") as file:
        while (data := file.read(CHUNK)) or not start:
            head.write(there, start, data)
            hashed.update(data)
            start += len(data)
            if len(data) < CHUNK:
                break
    head.finish(there, hashed.hexdigest())


def listing_of(folder: Path) -> dict[str, Stamp]:
    """The files of a folder that are whole, by their paths in it; empty where there is none."""
    if not folder.is_dir():
        return {}
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink() and not any(p[0] == "." for p in name.split("/")):
            with suppress(FileNotFoundError):  # a trial removes files at any time
                found[name] = stamp_of(path)
    return found


def stamp_of(path: Path) -> Stamp:
    """What changes when a file does."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(folder: Path, name: str) -> Path:
    """The file of that name in a folder. Raises DataError for a name that leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DataError(f"{name!r} is no file of {folder}.")
    return folder / path


def _within(path: str, roots: Sequence[str]) -> Path:
    """The path, resolved. Raises DataError for one outside of the roots."""
    resolved = Path(path).resolve()
    if not any(resolved.is_relative_to(Path(root).resolve()) for root in roots if os.path.isabs(root)):
        raise DataError(f"{path} is none of this search's files.")
    return resolved
