"""Boxes and masks for the tests."""

from collections.abc import Sequence

import numpy as np

from trainables.boxes import Boxes
from trainables.instances import Instances, Masks

Rows = Sequence[Sequence[float]] | np.ndarray


def rows_of(rows: Rows) -> np.ndarray:
    """Rows float32 [M, 6]."""
    return np.array(rows, dtype=np.float32).reshape(-1, 6)


def boxes_of(*images: Rows) -> Boxes:
    """The boxes of `image0`, `image1`, ..."""
    ids = tuple(f"image{i}" for i in range(len(images)))
    return Boxes(ids=ids, images=tuple(rows_of(rows) for rows in images))


def random_rows(count: int, seed: int, *, labels: int = 2, side: float = 60) -> np.ndarray:
    """Overlapping boxes with distinct scores in a picture of that side."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 0.6 * side, (count, 2)), rng.uniform(2, 0.4 * side, (count, 2))
    scores = (rng.permutation(count) + 1) / (count + 1)
    rows = np.column_stack([corner, corner + size, scores, rng.integers(0, labels, count)])
    return rows.astype(np.float32)


def shaken(rows: np.ndarray, seed: int, *, by: float = 3, missing: float = 0.2) -> np.ndarray:
    """What another model might find of the same objects: moved, scored anew, some left out."""
    rng = np.random.default_rng(seed)
    other = rows[rng.random(len(rows)) > missing].copy()
    other[:, :4] += rng.normal(0, by, (len(other), 4))
    other[:, 2:4] = np.maximum(other[:, 2:4], other[:, :2] + 1)
    other[:, 4] = rng.uniform(0.05, 1, len(other))
    return other


def random_masks(count: int, seed: int, *, size: tuple[int, int] = (13, 17), labels: int = 2) -> Masks:
    """Rectangles with holes."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *size), dtype=bool)
    for mask in masks:
        top, left = rng.integers(0, size[0] - 2), rng.integers(0, size[1] - 2)
        mask[top : top + rng.integers(2, 9), left : left + rng.integers(2, 9)] = True
        mask &= rng.random(size) > 0.1
    scores = (rng.permutation(count) + 1) / (count + 1)
    return Masks.of(list(masks), size, scores=scores, labels=rng.integers(0, labels, count))


def instances_of(*images: Masks) -> Instances:
    """The masks of `image0`, `image1`, ..."""
    return Instances(ids=tuple(f"image{i}" for i in range(len(images))), images=images)
