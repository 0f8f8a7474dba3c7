"""Faults of the disk: it fills, or takes no file beyond a size."""

import functools
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from orchestrator.chaos.cells import Cell, Fault
from orchestrator.chaos.rig import ENDS_S, Skipped, Unexpected, wait_for

GROUP = "disk"
MB = 2**20
PAGE = 4096
ROOM, STEP = 900 * MB, 16 * MB
EARLY = 3
"""Reports before the disk fills, at most: afterwards there are others to be held."""
PAUSE_S = 5.0


def _fills(cell: Cell) -> None:
    """Nothing is left on the disk from a random moment on, until somebody makes room again."""
    with _small_disk(cell.rig.home / "disk") as disk:
        rig = replace(cell.rig, home=disk)
        shutil.copytree(cell.rig.home / "data", disk / "data")
        here = replace(cell, rig=rig)
        running = rig.search(cell.name)
        here.reach(running, cell.random.randint(1, EARLY))
        ballast = _filled(disk)
        paused = wait_for(lambda: "goes on by itself" in running.text or running.ended, ENDS_S)
        if running.ended or not paused:
            raise Unexpected(f"it did not pause: {running.tail}")
        before = rig.reported(cell.name)
        wait_for(lambda: running.ended, PAUSE_S)
        if rig.reported(cell.name) > before:
            raise Unexpected("it went on while the disk was full")
        ballast.unlink()
        here.require_ended(running)
        here.require_as_if_nothing_had_been(repeats=0)


def _takes_no_large_file(cell: Cell, *, least: int, most: int) -> None:
    """No file may be longer than a random size, as with a quota; what is written there fails."""
    limit = cell.random.randrange(least, most)
    running = cell.rig.search(cell.name, limits={resource.RLIMIT_FSIZE: limit})
    code = running.end()
    running.require_words()
    if code not in (0, 1, 3, 4):
        raise Unexpected(f"exit code {code}: {running.tail}")
    if code and "Error:" not in running.text:
        raise Unexpected(f"it does not say what was wrong: {running.tail}")
    cell.rig.require_none_left()
    if cell.folder.journal.exists():
        cell.require_ended(cell.rig.resume(cell.name, "--trials", "6"))
        cell.require_whole()


@contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    """A file system of its own. Raises Skipped where none may be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        for said in place.glob("*.said"):
            shutil.copy(said, place.parent)
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def _filled(disk: Path) -> Path:
    """A file that takes what room there is.

    Little by little: what does not fit, since others write too, is given back as a whole.
    """
    ballast, size = disk / "ballast", STEP
    with ballast.open("wb") as file:
        while size >= PAGE:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
            except OSError:
                size //= 2
    return ballast


FAULTS = (
    Fault(
        GROUP, "fills up", "pauses, says so, and goes on when there is room: as if nothing had been", _fills
    ),
    Fault(
        GROUP,
        "takes no more of the journal",
        "ends with its code and in words; --resume goes on",
        functools.partial(_takes_no_large_file, least=3_000, most=9_000),
    ),
    Fault(
        GROUP,
        "takes no weights or pictures",
        "ends with its code and in words; --resume goes on",
        functools.partial(_takes_no_large_file, least=12_000, most=60_000),
    ),
)
