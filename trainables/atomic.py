"""Files and folders that appear whole or not at all, whoever is stopped or writes at the same time."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from trainables.errors import DataError


@contextmanager
def disk_errors(what: str, where: Path) -> Iterator[None]:
    """Turns what the disk refuses into a DataError: `what` could not be written to `where`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{what} cannot be written to {where}: {error.strerror or error}.",
            fix="Free some space there, or choose a folder that can be written to.",
        ) from error


def temporary_for(path: Path) -> Path:
    """Where this process writes what is to take the place of `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write(path: Path, *data: bytes | memoryview) -> None:
    """Write a file, its parts in turn, as `appearing` does."""
    with appearing(path) as file:
        file.writelines(data)


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file in the same folder that takes the place of `path` when all was written, flushed to the
    disk."""
    temporary = temporary_for(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the files of `temporary_for` below a folder whose processes are gone."""
    import psutil

    for left in folder.rglob(".*.tmp"):
        writer = left.name.removesuffix(".tmp").rpartition(".")[2]
        if writer.isdecimal() and not psutil.pid_exists(int(writer)):
            left.unlink(missing_ok=True)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """An empty temporary folder beside `folder`, while no other process builds the same.

    It is removed at the end, as are those that dead processes left, unless it was given to `publish`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock(folder.parent, folder.name)):
        for left in folder.parent.glob(".*.building"):
            _remove_if_dead(left, ours=folder.name)
        temporary = folder.with_name(f".{folder.name}.building")
        temporary.mkdir()
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def publish(temporary: Path, folder: Path) -> None:
    """Flush what lies in a temporary folder to the disk and let it take the place of `folder`."""
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    _sync(folder.parent)


def _lock(parent: Path, name: str) -> Path:
    return parent / f".{name}.lock"


def _remove_if_dead(left: Path, *, ours: str) -> None:
    """Remove a temporary folder unless another process holds its lock."""
    name = left.name[1:].removesuffix(".building")
    if name == ours:
        shutil.rmtree(left)
        return
    try:
        with FileLock(_lock(left.parent, name), timeout=0):
            shutil.rmtree(left, ignore_errors=True)
    except Timeout:
        return


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
