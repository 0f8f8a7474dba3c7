"""Archives of data, unpacked once and with care: whoever made them need not mean well."""

import gzip
import hashlib
import io
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from trainables import atomic
from trainables.errors import DataError, UsageError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
LEFT_OUT = ("__MACOSX", ".DS_Store", "Thumbs.db")
"""What some systems add to archives of folders."""
PIECE = 1 << 20
"""Bytes that are written at once."""
LARGEST_READ = 16 << 20
"""Bytes of a tar header that are read at once: one may claim any size."""
SPARE_BYTES = 64 << 20
"""Free space to leave on the disk."""
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    RuntimeError,
)
"""What the readers raise of damage, by design or by accident."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold; sizes are in bytes, ratios those of unpacked to packed."""

    members: int = 2_000_000
    total: int = 200 << 30
    ratio: float = 50.0
    """Of the whole archive, once it is larger than `free_of_ratio`."""
    member_ratio: float = 200.0
    """Of one file of a zip, once it is larger than `free_of_ratio`."""
    free_of_ratio: int = 256 << 20


DEFAULT = Limits()


def is_archive(path: Path) -> bool:
    """Whether this is a file that `unpacked` takes, by its name."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def archive_in(path: Path) -> Path | None:
    """The archive at `path`: the file itself, or all that a folder holds."""
    if is_archive(path):
        return path
    if not path.is_dir():
        return None
    inside = [p for p in path.iterdir() if p.name[0] != "."]
    return inside[0] if len(inside) == 1 and is_archive(inside[0]) else None


def unpacked(
    archive: Path, into: Path, *, limits: Limits = DEFAULT, progress: Progress | None = None
) -> tuple[Path, bool]:
    """(the folder in `into` with an archive's files, whether it was made just now); made once.

    `progress` is told (done, total) bytes of the archive. Archives inside of it are left as they are. Raises
    DataError, and leaves nothing, where a name leads out of the folder or occurs twice, for links, devices,
    encryption, damage, and for more than the limits or the disk allow.
    """
    name = archive.name[: -len(next(s for s in SUFFIXES if archive.name.lower().endswith(s)))]
    folder = into.absolute() / f"{name}-{_identity(archive)}"
    if folder.is_dir():
        return folder, False
    with atomic.disk_errors("The unpacked archive", into), atomic.building(folder) as temporary:
        if folder.is_dir():
            return folder, False
        free = shutil.disk_usage(temporary).free - SPARE_BYTES
        writer = _Writer(archive, temporary, limits, free)
        try:
            _unpack(archive, writer, progress)
        except BROKEN as error:
            raise DataError(
                f"{archive} is cut off or damaged: {error or type(error).__name__}.", fix="Fetch it again."
            ) from error
        atomic.publish(temporary, folder)
    return folder, True


def _identity(archive: Path) -> str:
    """12 hex digits of an archive's size, time, beginning and end; a zip has its contents at the end."""
    try:
        status = archive.stat()
        with archive.open("rb") as file:
            first = file.read(PIECE)
            file.seek(max(0, status.st_size - PIECE))
            content = first + file.read(PIECE)
    except OSError as error:
        raise UsageError(f"{archive} cannot be read: {error.strerror}.") from error
    about = f"{status.st_size} {status.st_mtime_ns}".encode()
    return hashlib.sha256(about + content).hexdigest()[:12]


def _unpack(archive: Path, writer: "_Writer", progress: Progress | None) -> None:
    if archive.name.lower().endswith(".zip"):
        _unpack_zip(archive, writer, progress)
    else:
        _unpack_tar(archive, writer, progress)


class _Writer:
    """Puts members into a folder and refuses what has no business there."""

    def __init__(self, archive: Path, folder: Path, limits: Limits, free: int) -> None:
        self._archive, self._folder, self._limits, self._free = archive, folder, limits, free
        self._packed = archive.stat().st_size
        self._seen: set[PurePosixPath] = set()
        self._members = self._bytes = 0

    def refuse(self, what: str) -> DataError:
        """The error for an archive that is not what it should be."""
        return DataError(
            f"{self._archive}: {what}. Nothing was unpacked.",
            fix="If you trust it, unpack it yourself and give the folder with --data.",
        )

    def count(self, size: int, *, name: str, packed: int | None = None) -> None:
        """Take account of one more member, before anything of it is written."""
        limits = self._limits
        self._members, self._bytes = self._members + 1, self._bytes + size
        if self._members > limits.members:
            raise self.refuse(f"it has more than {limits.members:,} files")
        if self._bytes > limits.total:
            raise self.refuse(f"it unpacks to more than {limits.total / 1e9:,.1f} GB")
        if self._bytes > self._free:
            raise DataError(
                f"{self._archive}: unpacked it needs more than the {max(self._free, 0) / 1e6:,.0f} MB free.",
                fix="Free some space, or choose another disk with --out.",
            )
        if size > limits.free_of_ratio and packed is not None and size > limits.member_ratio * packed:
            raise self.refuse(f"{name!r} unpacks to {size / max(packed, 1):,.0f} times its size")
        if self._bytes > limits.free_of_ratio and self._bytes > limits.ratio * self._packed:
            raise self.refuse(f"it unpacks to {self._bytes / self._packed:,.0f} times its size")

    def place(self, name: str) -> PurePosixPath | None:
        """Where a member belongs below the folder; None for what is left out. Raises DataError."""
        text = unicodedata.normalize("NFC", name).replace("\\", "/")
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if text.startswith("/") or ".." in parts or (parts and len(parts[0]) > 1 and parts[0][1] == ":"):
            raise self.refuse(f"the name {name!r} leads out of the folder")
        if (
            not parts
            or any(ord(c) < 32 for c in text)
            or any(len(p.encode("utf-8", "replace")) > 255 for p in parts)
        ):
            raise self.refuse(f"{name!r} is no name for a file")
        return None if set(parts) & set(LEFT_OUT) else PurePosixPath(*parts)

    def folder(self, place: PurePosixPath) -> None:
        if place in self._seen:
            raise self.refuse(f"{str(place)!r} is a file and a folder")
        (self._folder / place).mkdir(parents=True, exist_ok=True)

    def file(self, place: PurePosixPath, source: IO[bytes], size: int) -> Iterator[int]:
        """Write a file of `size` bytes; yields the bytes written so far now and then."""
        for parent in place.parents:
            if parent in self._seen:
                raise self.refuse(f"{str(parent)!r} is a file and a folder")
        path = self._folder / place
        if place in self._seen or path.exists():
            raise self.refuse(f"{str(place)!r} is in it twice")
        self._seen.add(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with path.open("xb") as target:
            while piece := source.read(min(PIECE, size - written)):
                written += target.write(piece)
                yield written
        if written != size:
            raise EOFError(f"{str(place)!r} has {written:,} of {size:,} bytes")


def _unpack_zip(archive: Path, writer: _Writer, progress: Progress | None) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            mode = member.external_attr >> 16
            if member.flag_bits & 1:
                raise writer.refuse(f"{member.filename!r} is encrypted")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise writer.refuse(f"{member.filename!r} is a link or no regular file")
            writer.count(member.file_size, name=member.filename, packed=member.compress_size)
        done, total = 0, max(1, sum(m.compress_size for m in members))
        for member in members:
            place = writer.place(member.filename)
            if place is not None and member.is_dir():
                writer.folder(place)
            elif place is not None:
                share = member.compress_size / max(member.file_size, 1)
                with _opened(file, member, writer) as source:
                    for written in writer.file(place, source, member.file_size):
                        if progress:
                            progress(done + round(share * written), total)
            done += member.compress_size


def _opened(file: zipfile.ZipFile, member: zipfile.ZipInfo, writer: _Writer) -> IO[bytes]:
    try:
        return file.open(member)
    except NotImplementedError as error:
        raise writer.refuse(f"{member.filename!r} is packed in a way not known here ({error})") from error


class _Careful(io.RawIOBase):
    """A stream for tarfile that is never read in large pieces, and remembers the last block."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        self.last = self._stream.read(size)
        return self.last

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _unpack_tar(archive: Path, writer: _Writer, progress: Progress | None) -> None:
    packed = archive.name.lower().endswith("gz")
    with archive.open("rb") as raw, _Careful(gzip.GzipFile(fileobj=raw) if packed else raw) as stream:
        total = max(1, archive.stat().st_size)
        with tarfile.TarFile(fileobj=stream) as file:
            for member in file:
                for _ in _unpack_member(file, member, writer):
                    if progress:
                        progress(min(raw.tell(), total), total)
                file.members.clear()  # type: ignore[attr-defined]  # a description of every file
        # tarfile takes damage between two files for the end; the true end is a block of zeros
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise EOFError("its end is missing")
        while stream.read(PIECE):
            pass  # to the checksum at the end of a .gz


def _unpack_member(file: tarfile.TarFile, member: tarfile.TarInfo, writer: _Writer) -> Iterator[int]:
    if not (member.isfile() or member.isdir()):
        raise writer.refuse(f"{member.name!r} is a link or no regular file")
    writer.count(member.size if member.isfile() else 0, name=member.name)
    if member.isdir() and member.name.strip("./") == "":
        return
    place = writer.place(member.name)
    source = file.extractfile(member)
    if place is not None and source is None:
        writer.folder(place)
    elif place is not None and source is not None:
        with source:
            yield from writer.file(place, source, member.size)
