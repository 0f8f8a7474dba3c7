"""Faults of the files that a search left when it was cut off, or that it ended with."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.chaos.cells import CUT_OFF, ENDED, Cell, Fault
from orchestrator.chaos.rig import Unexpected

GROUP = "file"
AS_IF = "--resume ends as if nothing had been"
REMADE = "--resume of the ended search makes it again, the same"
REFUSED = "refused with the reason, and nothing is changed"
CHECKPOINTS = "trials/*/checkpoints/*.checkpoint"
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


def _all(cell: Cell, *, pattern: str, damage: Damage) -> None:
    """Damage all files of a name; those that are not there at the time cannot be."""
    for path in sorted(cell.folder.path.glob(pattern)):
        damage(cell, path)


def _is_refused(cell: Cell, *, damage: Damage, code: int, says: str) -> None:
    """The journal is the truth: without it, or with a doubtful one, nothing is guessed."""
    path = cell.folder.journal
    damage(cell, path)
    after = path.read_bytes() if path.exists() else None
    running = cell.rig.resume(cell.name)
    cell.require_ended(running, code)
    if says not in running.text:
        raise Unexpected(f"it does not say {says!r}: {running.tail}")
    if (path.read_bytes() if path.exists() else None) != after:
        raise Unexpected("the damaged journal was changed")


def _store(cell: Cell, *, damage: Damage) -> None:
    """The decoded pictures, which can be made again from the data."""
    stores = [path for path in (cell.rig.out / "stores").rglob("*") if path.is_file() and path.name[0] != "."]
    damage(cell, max(stores, key=lambda path: path.stat().st_size))


def _recovering(name: str, pattern: str, damage: Damage, damages: str = "") -> Fault:
    strike = functools.partial(_all, pattern=pattern, damage=damage)
    return Fault(GROUP, name, AS_IF, strike, state=CUT_OFF, damages=damages or pattern)


def _decoding(name: str, damage: Damage) -> Fault:
    strike = functools.partial(_store, damage=damage)
    return Fault(GROUP, name, AS_IF, strike, state=CUT_OFF, damages="stores")


def _remade(name: str, pattern: str, damage: Damage, expected: str = REMADE) -> Fault:
    strike = functools.partial(_all, pattern=pattern, damage=damage)
    return Fault(GROUP, name, expected, strike, state=ENDED, damages=pattern)


def _refused(name: str, damage: Damage, **expected: Any) -> Fault:
    strike = functools.partial(_is_refused, damage=damage, **expected)
    return Fault(GROUP, name, REFUSED, strike, state=CUT_OFF)


FAULTS = (
    _recovering("journal truncated", "journal.jsonl", truncated),
    _refused("journal: a bit flipped", flipped, code=1, says="damaged"),
    _refused("journal deleted", deleted, code=2, says="search"),
    _recovering(
        "checkpoints: a bit flipped in one", "trials/*/checkpoints/0.checkpoint", flipped, CHECKPOINTS
    ),
    _recovering("checkpoints truncated, all", CHECKPOINTS, truncated),
    _recovering("search.json deleted", "search.json", deleted),
    _recovering("tracking.json truncated", "tracking.json", emptied),
    _recovering("predictions of ended trials deleted", "trials/*/test.npz", deleted),
    _decoding("decoded pictures truncated", truncated),
    _decoding("decoded pictures deleted", deleted),
    _remade("ensemble.json truncated", "ensemble.json", truncated),
    _remade("submission deleted", "submission.csv", deleted),
    _remade("leaderboard.csv emptied", "leaderboard.csv", emptied),
    _remade(
        "weights truncated",
        "trials/*/weights.safetensors",
        truncated,
        "the answers, which are stored, stay as they were",
    ),
)
