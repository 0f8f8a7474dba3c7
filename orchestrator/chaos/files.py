"""Faults of the files that a search left when it was cut off, or that it ended with."""

import functools
from collections.abc import Callable
from pathlib import Path

from orchestrator.chaos.cells import CUT_OFF, ENDED, Cell, Fault
from orchestrator.chaos.rig import Unexpected

GROUP = "file"
AS_IF = "--resume ends as if nothing had been"
REFUSED = "refused with the reason and nothing changed; restored, --resume ends as if nothing had been"
Damage = Callable[[Cell, Path], None]


def truncated(cell: Cell, path: Path) -> None:
    """At any byte behind the first line, if it has lines."""
    content = path.read_bytes()
    first = content.find(b"\n") + 1
    path.write_bytes(content[: cell.random.randrange(first, len(content))])


def flipped(cell: Cell, path: Path) -> None:
    """One bit, in any byte but the last, which of a journal is the end of a line."""
    content = bytearray(path.read_bytes())
    content[cell.random.randrange(len(content) - 1)] ^= 1 << cell.random.randrange(8)
    path.write_bytes(bytes(content))


def deleted(_: Cell, path: Path) -> None:
    path.unlink()


def emptied(_: Cell, path: Path) -> None:
    path.write_bytes(b"")


def _resumed(cell: Cell) -> None:
    cell.require_ended(cell.rig.resume(cell.name))
    cell.require_as_if_nothing_had_been(repeats=cell.reports)


def _recovers(cell: Cell, *, pattern: str, damage: Damage) -> None:
    """Damage all files of a name; those that are not there at the time cannot be."""
    cell.begin_cut_off()
    for path in sorted(cell.folder.path.glob(pattern)):
        damage(cell, path)
    _resumed(cell)


def _is_refused(cell: Cell, *, damage: Damage, code: int, says: str) -> None:
    """The journal is the truth: without it, or with a doubtful one, nothing is guessed."""
    cell.begin_cut_off()
    path = cell.folder.journal
    before = path.read_bytes()
    damage(cell, path)
    after = path.read_bytes() if path.exists() else None
    running = cell.rig.resume(cell.name)
    cell.require_ended(running, code)
    if says not in running.text:
        raise Unexpected(f"it does not say {says!r}: {running.tail}")
    if (path.read_bytes() if path.exists() else None) != after:
        raise Unexpected("the damaged journal was changed")
    path.write_bytes(before)
    _resumed(cell)


def _makes_again(cell: Cell, *, pattern: str, damage: Damage) -> None:
    """A search that ended has its results made again by --resume."""
    cell.begin_ended()
    for path in sorted(cell.folder.path.glob(pattern)):
        damage(cell, path)
    _resumed(cell)


def _store(cell: Cell, *, damage: Damage) -> None:
    """The decoded pictures, which can be made again from the data."""
    cell.begin_cut_off()
    stores = [path for path in (cell.rig.out / "stores").rglob("*") if path.is_file() and path.name[0] != "."]
    damage(cell, max(stores, key=lambda path: path.stat().st_size))
    _resumed(cell)


def _recovering(name: str, pattern: str, damage: Damage) -> Fault:
    return Fault(
        GROUP, name, AS_IF, functools.partial(_recovers, pattern=pattern, damage=damage), state=CUT_OFF
    )


def _remade(name: str, pattern: str, damage: Damage) -> Fault:
    expected = "--resume of the ended search makes it again, the same"
    return Fault(
        GROUP, name, expected, functools.partial(_makes_again, pattern=pattern, damage=damage), state=ENDED
    )


FAULTS = (
    _recovering("journal truncated", "journal.jsonl", truncated),
    Fault(
        GROUP,
        "journal: a bit flipped",
        REFUSED,
        functools.partial(_is_refused, damage=flipped, code=1, says="damaged"),
        state=CUT_OFF,
    ),
    Fault(
        GROUP,
        "journal deleted",
        REFUSED,
        functools.partial(_is_refused, damage=deleted, code=2, says="search"),
        state=CUT_OFF,
    ),
    _recovering("checkpoints: a bit flipped in one", "trials/*/checkpoints/0.checkpoint", flipped),
    _recovering("checkpoints truncated, all", "trials/*/checkpoints/*.checkpoint", truncated),
    _recovering("search.json deleted", "search.json", deleted),
    _recovering("tracking.json truncated", "tracking.json", emptied),
    _recovering("predictions of ended trials deleted", "trials/*/test.npz", deleted),
    Fault(
        GROUP,
        "decoded pictures truncated",
        AS_IF,
        functools.partial(_store, damage=truncated),
        state=CUT_OFF,
    ),
    Fault(GROUP, "decoded pictures deleted", AS_IF, functools.partial(_store, damage=deleted), state=CUT_OFF),
    _remade("ensemble.json truncated", "ensemble.json", truncated),
    _remade("submission deleted", "submission.csv", deleted),
    _remade("leaderboard.csv emptied", "leaderboard.csv", emptied),
    Fault(
        GROUP,
        "weights truncated",
        "the answers, which are stored, stay as they were",
        functools.partial(_makes_again, pattern="trials/*/weights.safetensors", damage=truncated),
        state=ENDED,
    ),
)
