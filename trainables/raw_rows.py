"""Rows of a file of decoded pictures, moved by reads and writes.

Not through a map: there a full disk would end the process.
"""

from collections.abc import Sequence
from pathlib import Path

GRAY = 128
"""What stands in for a test picture that cannot be decoded: its row of the answer must exist."""


def close_gaps(file: Path, decoded: Sequence[bool | None], size: int) -> None:
    """Leave a row of `size` bytes to those that have one: None has none, False is filled with gray."""
    rows = [i for i, good in enumerate(decoded) if good is not None]
    with file.open("r+b") as raw:
        for row, i in enumerate(rows):
            if row == i and decoded[i]:
                continue
            raw.seek(i * size)
            pixels = raw.read(size) if decoded[i] else bytes([GRAY]) * size
            raw.seek(row * size)
            raw.write(pixels)
        raw.truncate(len(rows) * size)


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
