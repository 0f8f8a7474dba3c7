"""Boxes around objects: predictions and truth as numpy, their form on disk, and what is counted with them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from trainables import atomic
from trainables.errors import DataError

COLUMNS = 6
"""x1, y1, x2, y2, score, label."""


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """The boxes of each image: `images[i]` is float32 [M, 6] and answers `ids[i]`; M may be 0.

    A row is x1, y1, x2, y2 (px of the original image, x2 and y2 the far edges), score and label. In the
    truth an object's score is 1, and 0 marks a region of many objects (COCO's crowd).
    Raises DataError on rows that do not fit, are not finite or end before they begin.
    """

    ids: tuple[str, ...]
    images: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.ids):
            raise DataError(f"Boxes of {len(self.images)} images do not fit {len(self.ids)} ids.")
        rows = _stacked(self.images)
        odd = ~np.isfinite(rows).all(1) | (rows[:, 2:4] < rows[:, :2]).any(1)
        if odd.any():
            at = int(np.searchsorted(np.cumsum([len(r) for r in self.images]), odd.argmax(), side="right"))
            raise DataError(f"Image {self.ids[at]!r} has a box that is none: {rows[odd.argmax()].tolist()}.")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Boxes":
        """The given images, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return Boxes(ids=tuple(self.ids[i] for i in index), images=tuple(self.images[i] for i in index))

    def above(self, score: float) -> "Boxes":
        """Only the boxes of at least that score."""
        return Boxes(ids=self.ids, images=tuple(rows[rows[:, 4] >= score] for rows in self.images))

    def save(self, path: Path) -> None:
        """Write as npz: ids as unicode, all rows as one array, where each image's begin; atomic."""
        offsets = np.cumsum([0, *(len(rows) for rows in self.images)])
        content = io.BytesIO()
        np.savez(
            content, ids=np.asarray(self.ids, dtype=np.str_), rows=_stacked(self.images), offsets=offsets
        )
        atomic.write(path, content.getvalue())

    @staticmethod
    def load(path: Path) -> "Boxes":
        """Read what `save` wrote; raises DataError on a file that is missing, cut or not ours."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                ids = tuple(str(i) for i in file["ids"])
                images = split(file["rows"].astype(np.float32), file["offsets"])
            return Boxes(ids=ids, images=images)
        except Exception as error:
            raise DataError(
                f"{path}: these boxes cannot be read ({error}).", fix="Run the trial again."
            ) from error


def _stacked(images: Sequence[np.ndarray]) -> np.ndarray:
    """All rows [T, 6] of several images; raises DataError where an image's are no rows."""
    for rows in images:
        if rows.ndim != 2 or rows.shape[1] != COLUMNS:
            raise DataError(f"Boxes of shape {rows.shape}; an image's are [M, {COLUMNS}].")
    stacked: np.ndarray = np.concatenate([np.zeros((0, COLUMNS), dtype=np.float32), *images])
    return stacked


def split(rows: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, ...]:
    """The rows of each image: those from `offsets[i]` up to `offsets[i + 1]`. Raises ValueError."""
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(rows) or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets do not part {len(rows)} rows")
    return tuple(rows[a:b] for a, b in pairwise(offsets))


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas float64 [M] in square pixels of boxes [M, 4 or more]; 0 where a side is negative."""
    sides = np.maximum(boxes[:, 2:4].astype(np.float64) - boxes[:, :2], 0)
    product: np.ndarray = sides[:, 0] * sides[:, 1]
    return product


def intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Areas float64 [M, K] that boxes `a` [M, 4 or more] share with boxes `b` [K, 4 or more]."""
    first, second = a[:, None, :4].astype(np.float64), b[None, :, :4].astype(np.float64)
    width = np.minimum(first[..., 2], second[..., 2]) - np.maximum(first[..., 0], second[..., 0])
    height = np.minimum(first[..., 3], second[..., 3]) - np.maximum(first[..., 1], second[..., 1])
    shared: np.ndarray = np.maximum(width, 0) * np.maximum(height, 0)
    return shared


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union float64 [M, K] of boxes [M, 4 or more] and [K, 4 or more]; 0 without area."""
    shared = intersections(a, b)
    union = areas(a)[:, None] + areas(b)[None] - shared
    return ratio(shared, union)


def ratio(shared: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Shared areas as parts of their unions, of one shape; 0 without area."""
    parts: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return parts


def clip(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """A copy of boxes [M, 4 or more] cut at the image's edges."""
    clipped = boxes.copy()
    clipped[:, 0:4:2] = clipped[:, 0:4:2].clip(0, width)
    clipped[:, 1:4:2] = clipped[:, 1:4:2].clip(0, height)
    return clipped


@dataclass(frozen=True)
class Neighbours:
    """Who overlaps whom among M objects: those of object i are `others[starts[i]:starts[i + 1]]`.

    `overlaps`, in the same order, holds their IoU; an object is not its own neighbour.
    """

    starts: np.ndarray
    others: np.ndarray
    overlaps: np.ndarray

    def of(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The neighbours of an object and their IoU with it."""
        part = slice(self.starts[i], self.starts[i + 1])
        return self.others[part], self.overlaps[part]

    def above(self, threshold: float) -> "Neighbours":
        """Only those pairs whose IoU exceeds the threshold."""
        stays = self.overlaps > threshold
        starts = np.concatenate([[0], np.cumsum(stays)])[self.starts]
        return Neighbours(starts, self.others[stays], self.overlaps[stays])

    @staticmethod
    def from_pairs(i: np.ndarray, j: np.ndarray, overlaps: np.ndarray, count: int) -> "Neighbours":
        """From pairs of `count` objects, each pair given once."""
        first, second = np.concatenate([i, j]), np.concatenate([j, i])
        order = np.argsort(first, kind="stable")
        starts = np.searchsorted(first[order], np.arange(count + 1))
        return Neighbours(starts, second[order], np.concatenate([overlaps, overlaps])[order])


def neighbours(rows: np.ndarray) -> Neighbours:
    """The overlapping pairs of one label among rows [M, 6], found by a sweep along x."""
    order = np.argsort(rows[:, 0], kind="stable")
    edges = rows[order, :4].astype(np.float64)
    ends = np.searchsorted(edges[:, 0], edges[:, 2], side="left")
    counts = np.maximum(ends - np.arange(len(rows)) - 1, 0)
    i = np.repeat(np.arange(len(rows)), counts)
    j = i + 1 + np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    height = np.minimum(edges[i, 3], edges[j, 3]) - np.maximum(edges[i, 1], edges[j, 1])
    meet = (height > 0) & (rows[order[i], 5] == rows[order[j], 5])
    i, j, height = i[meet], j[meet], height[meet]
    shared = (np.minimum(edges[i, 2], edges[j, 2]) - edges[j, 0]) * height
    area = areas(edges)
    union = area[i] + area[j] - shared
    overlaps = ratio(shared, union)
    return Neighbours.from_pairs(order[i], order[j], overlaps, len(rows))


def in_score_order(rows: np.ndarray) -> np.ndarray:
    """Indices of rows [M, 6], the highest score first; equals by label and corner, so by content alone."""
    order: np.ndarray = np.lexsort((*(rows[:, k] for k in (3, 2, 1, 0, 5)), -rows[:, 4]))
    return order


def nms(rows: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Indices of the rows [M, 6] that greedy non-maximum suppression keeps, the highest score first.

    A row goes when its IoU with a kept row of its label and a higher score exceeds the threshold.
    """
    return suppress(in_score_order(rows), neighbours(rows), threshold)


def suppress(order: np.ndarray, near: Neighbours, threshold: float) -> np.ndarray:
    """Greedy suppression of objects taken in `order`: indices of those kept."""
    alive = np.ones(len(order), dtype=bool)
    kept = []
    for i in order.tolist():
        if alive[i]:
            kept.append(i)
            others, overlaps = near.of(i)
            alive[others[overlaps > threshold]] = False
    return np.array(kept, dtype=np.int64)
