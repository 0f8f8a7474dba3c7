"""Masks as COCO writes them: run lengths down the columns, zeros first, and the string they are packed into.

Masks are counted and joined as runs; none has to be unpacked into pixels for it.
"""

from collections.abc import Sequence

import numpy as np

from trainables import boxes
from trainables.errors import DataError

Size = tuple[int, int]
"""Height and width in px."""


def runs_of(mask: np.ndarray) -> np.ndarray:
    """Run lengths int64 [R] of a mask bool [H, W]: outside, inside, outside, ... down the columns."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0] if len(flat) and flat[0] else []
    return np.diff(np.concatenate([[0], first, changes, [len(flat)]]).astype(np.int64))


def mask_of(runs: np.ndarray, size: Size) -> np.ndarray:
    """The mask bool [H, W] of run lengths. Raises DataError where they do not fill the size."""
    check(runs, size)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size, order="F")


def check(runs: np.ndarray, size: Size) -> None:
    """Raise DataError unless run lengths fill an image of that size exactly."""
    pixels = size[0] * size[1]
    if len(runs) and runs.min() < 0:
        raise DataError(f"a run of {runs.min()} pixels")
    if int(runs.sum()) != pixels:
        raise DataError(f"runs of {int(runs.sum())} pixels where {size[0]} x {size[1]} are {pixels}")


def pack(runs: np.ndarray) -> bytes:
    """COCO's string of run lengths: from the fourth run on the difference to the run two before.

    Each number is written in groups of 5 bits, the lowest first, each group as a character from "0" on,
    with a sixth bit while more follow and the last one's highest bit as the sign.
    """
    values = np.asarray(runs, dtype=np.int64).copy()
    values[3:] -= np.asarray(runs, dtype=np.int64)[1:-2]
    groups, more = [], []
    rest, open_ = values, np.ones(len(values), dtype=bool)
    while open_.any():
        group = rest & 0x1F
        rest = rest >> 5
        follows = rest != np.where(group & 0x10, -1, 0)
        groups.append(group | np.where(follows, 0x20, 0))
        more.append(open_)
        open_ = open_ & follows
    if not groups:
        return b""
    written: np.ndarray = np.stack(groups, 1)[np.stack(more, 1)] + 48
    return bytes(written.astype(np.uint8))


def unpack(counts: bytes) -> np.ndarray:
    """The run lengths int64 [R] in COCO's string. Raises DataError where it is none."""
    values = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if len(values) == 0:
        return values
    odd = (values < 0) | (values > 63)
    if odd.any():
        raise DataError(f"the character {chr(counts[int(odd.argmax())])!r} in run lengths")
    last = (values & 0x20) == 0
    if not last[-1]:
        raise DataError("run lengths that are cut short")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 8:
        raise DataError("run lengths that are too long for any image")
    shift = 5 * (np.arange(len(values)) - np.repeat(starts, ends - starts + 1))
    numbers = np.add.reduceat((values & 0x1F) << shift, starts)
    negative = (values[ends] & 0x10) > 0
    numbers -= np.where(negative, np.int64(1) << (5 * (ends - starts + 1)), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def area(runs: np.ndarray) -> int:
    """Pixels inside."""
    return int(runs[1::2].sum())


def box(runs: np.ndarray, size: Size) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of the tightest box around a mask, far edges exclusive; zeros without any pixel."""
    ends = np.cumsum(runs)
    stops, starts = ends[1::2], (ends - runs)[1::2]
    starts, stops = starts[stops > starts], stops[stops > starts]
    if len(starts) == 0:
        return 0.0, 0.0, 0.0, 0.0
    height = size[0]
    left, right = starts // height, (stops - 1) // height
    tall = (right > left).any()
    top = 0 if tall else int((starts % height).min())
    bottom = height - 1 if tall else int(((stops - 1) % height).max())
    return float(left.min()), float(top), float(right.max() + 1), float(bottom + 1)


def intersections(a: Sequence[np.ndarray], b: Sequence[np.ndarray], size: Size) -> np.ndarray:
    """Pixels float64 [M, K] that masks `a` share with masks `b`, all of one image.

    How many pixels of a mask lie before a place is linear between the ends of its runs; what two masks
    share is the sum of that growth over the other's runs. Only masks whose boxes meet are looked at.
    """
    shared = np.zeros((len(a), len(b)))
    if not a or not b:
        return shared
    meet = boxes.intersections(*(np.array([box(r, size) for r in masks]) for masks in (a, b))) > 0
    for k in np.flatnonzero(meet.any(0)).tolist():
        ends = np.concatenate([[0], np.cumsum(b[k])])
        before = np.concatenate([[0], np.cumsum(np.where(np.arange(len(b[k])) % 2, b[k], 0))])
        for i in np.flatnonzero(meet[:, k]).tolist():
            places = np.cumsum(a[i])
            count = np.interp(places, ends, before)
            shared[i, k] = count[1::2].sum() - count[: len(count) - len(count) % 2 : 2].sum()
    return shared


def iou(a: Sequence[np.ndarray], b: Sequence[np.ndarray], size: Size) -> np.ndarray:
    """Intersection over union float64 [M, K] of masks given as run lengths; 0 without any pixel."""
    shared = intersections(a, b, size)
    union = np.array([area(r) for r in a])[:, None] + np.array([area(r) for r in b])[None] - shared
    return boxes.ratio(shared, union)


def voted(masks: Sequence[np.ndarray], weights: Sequence[float], size: Size) -> np.ndarray:
    """The run lengths of the pixels that more than half of the weight calls inside.

    Where exactly half does, the first mask decides.
    """
    share = np.asarray(weights, dtype=np.float64) / sum(weights)
    share[0] += 1e-6
    ends = [np.cumsum(runs) for runs in masks]
    places = np.concatenate(ends)
    steps = np.concatenate([np.where(np.arange(len(e)) % 2, -s, s) for e, s in zip(ends, share, strict=True)])
    places, where = np.unique(places, return_inverse=True)
    votes = np.cumsum(np.bincount(where, weights=steps, minlength=len(places)))
    bounds = np.concatenate([[0], places, [size[0] * size[1]]])
    return _from_pieces(bounds, np.concatenate([[False], votes > 0.5 + 1e-7]))


def _from_pieces(bounds: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Run lengths of pieces from `bounds[i]` to `bounds[i + 1]`, each inside or outside."""
    lengths = np.diff(bounds)
    inside, lengths = inside[lengths > 0], lengths[lengths > 0]
    starts = np.flatnonzero(np.concatenate([[True], inside[1:] != inside[:-1]]))
    runs = np.add.reduceat(lengths, starts)
    return np.concatenate([[0], runs]) if inside[0] else runs


def from_polygons(polygons: Sequence[np.ndarray], size: Size) -> np.ndarray:
    """The run lengths of the pixels whose centre lies in one of the polygons [corners, 2] of x, y in px.

    A polygon that crosses itself is filled by the even-odd rule; what lies outside the image is cut off.
    """
    mask = np.zeros(size, dtype=bool)
    for corners in polygons:
        mask |= _filled(np.asarray(corners, dtype=np.float64), size)
    return runs_of(mask)


def _filled(corners: np.ndarray, size: Size) -> np.ndarray:
    """Pixels bool [H, W] inside a polygon: in each column those with an odd number of edges above them."""
    height, width = size
    x1, y1 = corners.T
    x2, y2 = np.roll(corners, -1, axis=0).T
    crossings = np.zeros((height + 1, width), dtype=np.int64)
    for ax, ay, bx, by in zip(x1, y1, x2, y2, strict=True):
        (lx, ly), (rx, ry) = sorted([(ax, ay), (bx, by)])
        first, stop = (int(np.clip(np.ceil(x - 0.5), 0, width)) for x in (lx, rx))
        columns = np.arange(first, stop)
        if len(columns):
            at = ly + (columns + 0.5 - lx) * (ry - ly) / (rx - lx)
            np.add.at(crossings, (np.clip(np.ceil(at - 0.5), 0, height).astype(int), columns), 1)
    inside: np.ndarray = np.cumsum(crossings, axis=0)[:height] % 2 == 1
    return inside
