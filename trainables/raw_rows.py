"""Rows of a file of decoded pictures, moved by reads and writes.

Not through a map: there a full disk would end the process.
"""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

GRAY = 128
"""What stands in for a test picture that cannot be decoded: its row of the answer must exist."""


def close_gaps(file: Path, decoded: Sequence[bool | None], sizes: Sequence[int]) -> None:
    """Leave a row of its size in bytes to those that have one: None has none, False is filled with gray."""
    end = 0
    with file.open("r+b") as raw:
        for good, size, start in zip(decoded, sizes, starts_of(sizes), strict=True):
            if good is None:
                continue
            if end != start or not good:
                raw.seek(start)
                pixels = raw.read(size) if good else bytes([GRAY]) * size
                raw.seek(end)
                raw.write(pixels)
            end += size
        raw.truncate(end)


def starts_of(sizes: Sequence[int]) -> list[int]:
    """Where each row begins."""
    return [0, *accumulate(sizes)][:-1]


def rewrite(file: Path, order: Sequence[int], sizes: Sequence[int]) -> None:
    """Let row k be what was row `order[k]`, of `sizes[order[k]]` bytes, by a second file."""
    if list(order) == sorted(order):
        return
    starts, again = starts_of(sizes), file.with_suffix(".again")
    with file.open("rb") as raw, again.open("wb") as out:
        for row in order:
            raw.seek(starts[row])
            out.write(raw.read(sizes[row]))
    again.replace(file)


def reorder(file: Path, order: Sequence[int], size: int) -> None:
    """Let row k be what was row `order[k]`, each of `size` bytes, without a second file."""
    done = [False] * len(order)
    with file.open("r+b") as raw:

        def read(k: int) -> bytes:
            raw.seek(k * size)
            return raw.read(size)

        def write(k: int, row: bytes) -> None:
            raw.seek(k * size)
            raw.write(row)

        for start in range(len(order)):
            if done[start] or order[start] == start:
                continue
            kept, k = read(start), start
            while order[k] != start:
                write(k, read(order[k]))
                done[k], k = True, order[k]
            write(k, kept)
            done[k] = True
