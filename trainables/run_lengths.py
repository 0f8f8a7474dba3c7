"""Masks as text: pairs of a 1-based start and a length, counted down the columns ("1 3 10 5")."""

import numpy as np

from trainables.errors import DataError


def encode(mask: np.ndarray) -> str:
    """The runs of a mask bool [H, W]; an empty text for an empty mask."""
    starts, lengths = runs(mask)
    pairs = np.stack([starts + 1, lengths], axis=1)
    return " ".join(map(str, pairs.ravel().tolist()))


def decode(text: str, shape: tuple[int, int], *, where: str = "") -> np.ndarray:
    """The mask bool [H, W] of a text of runs.

    Raises DataError, begun by `where`, for what is no pairs of numbers, for runs that overlap or descend
    and for one that ends past the last pixel.
    """
    try:
        starts, lengths = parsed(text, pixels=shape[0] * shape[1])
    except ValueError as error:
        raise DataError(f"{where or 'Run lengths'}: {error}.", fix="Correct the run lengths.") from error
    line = np.zeros(shape[0] * shape[1], dtype=bool)
    for start, end in zip(starts.tolist(), (starts + lengths).tolist(), strict=True):
        line[start:end] = True
    return line.reshape(shape[1], shape[0]).T


def runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts, from 0, and lengths int64 [R] of the runs down the columns of a mask bool [H, W]."""
    columns: np.ndarray = np.logical_or.reduce(mask, axis=0)
    if not columns.any():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, last = int(columns.argmax()), len(columns) - int(columns[::-1].argmax())
    line = np.zeros((last - first) * len(mask) + 2, dtype=np.int8)
    line[1:-1] = mask[:, first:last].T.ravel()
    edges = np.flatnonzero(np.diff(line))
    starts, ends = edges[::2], edges[1::2]
    return starts + first * len(mask), ends - starts


def parsed(text: str, *, pixels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Starts, from 0, and lengths int64 [R] of a text of runs on a picture of so many pixels.

    Raises ValueError with the fault: no pairs of numbers, a start or length below 1, a run that begins
    before the last one ended, or one past the last pixel. Runs may touch.
    """
    words = text.split()
    strange = next((word for word in words if not (word.isascii() and word.isdigit())), None)
    if strange is not None:
        raise ValueError(f"{strange[:20]!r} is no whole number")
    if len(words) % 2:
        raise ValueError(f"{len(words)} numbers are no pairs of start and length")
    if any(len(word) > 15 for word in words):
        raise ValueError(f"{max(words, key=len)[:20]!r} is past any picture")
    numbers = np.array(words, dtype=np.int64).reshape(-1, 2)
    starts, lengths = numbers[:, 0] - 1, numbers[:, 1]
    _check(starts, lengths, pixels)
    return starts, lengths


def _check(starts: np.ndarray, lengths: np.ndarray, pixels: int | None) -> None:
    """Raise ValueError with the first fault of runs, the starts counted from 0."""
    small = np.flatnonzero((starts < 0) | (lengths < 1))
    if len(small):
        raise ValueError(f"{_shown(starts, lengths, small[0])}: starts and lengths begin at 1")
    ends = starts + lengths
    early = np.flatnonzero(starts[1:] < ends[:-1])
    if len(early):
        k = early[0]
        what = "descend" if starts[k + 1] < starts[k] else "overlap"
        raise ValueError(f"{_shown(starts, lengths, k)} and {_shown(starts, lengths, k + 1)} {what}")
    if pixels is not None and len(ends) and ends[-1] > pixels:
        k = int(np.argmax(ends > pixels))
        raise ValueError(f"{_shown(starts, lengths, k)} ends past the last pixel, {pixels}")


def _shown(starts: np.ndarray, lengths: np.ndarray, k: int) -> str:
    return f"run {k + 1} ({starts[k] + 1} {lengths[k]})"
