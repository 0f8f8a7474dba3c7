"""Mean Dice over images and classes, and the thresholds and smallest areas that it rewards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainables.errors import DataError
from trainables.maps import Maps
from trainables.run_lengths import decode

Runs = tuple[str, ...]
"""The truth of an image: run lengths a class, empty where it has none."""

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Tried for a class; no probability is above the last, which answers nothing."""
AREAS = (0, 25, 50, 100, 200, 400, 800, 1600, 3200)
"""Smallest areas of a region tried, in pixels."""
START = (THRESHOLDS.index(0.5), 0)
LEAST_GAIN = 1e-6


def mean_dice(predictions: Maps, truths: Sequence[Runs]) -> float:
    """Mean over every image and class of 2 |A and B| / (|A| + |B|), 1 where both are empty.

    A pixel is on where its probability is above a half. Raises DataError naming the image where its truth
    has other classes than its map, or runs that leave it.
    """
    scores = [dice(values > 0.5, truth) for values, truth in _pairs(predictions, truths)]
    return float(np.mean(np.concatenate(scores)))


def dice(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice float64 [C] of masks bool [C, H, W]; 1 where both are empty."""
    both = np.count_nonzero(masks & truth, axis=(1, 2))
    total = np.count_nonzero(masks, axis=(1, 2)) + np.count_nonzero(truth, axis=(1, 2))
    return _dice(both, total)


@dataclass(frozen=True, kw_only=True)
class MaskThresholds:
    """A threshold and a smallest area a class: regions smaller than it are taken back.

    Regions are joined by edges (4 neighbours). A class' Dice depends on its own two numbers alone, so each
    class is searched by itself over the whole grid. Of equals the pair nearest to a half and to no smallest
    area is kept.
    """

    def fit(self, predictions: Maps, truths: Sequence[Runs]) -> tuple[float, ...]:
        """(threshold, area) of class 0, of class 1, ..., as one flat tuple.

        Every map is read once; what each pair of numbers would score on it is counted from its regions.
        Raises DataError as `mean_dice`, and where there is no image to fit on.
        """
        if not len(predictions):
            raise DataError("No image to fit thresholds on.", fix="Leave images in the validation part.")
        total = np.zeros(())
        for values, truth in _pairs(predictions, truths):
            total = total + _dice_at_all(values, truth)
        return tuple(number for table in total / len(predictions) for number in _best(table))

    def apply(self, predictions: Maps, fitted: Sequence[float]) -> Maps:
        """The decided masks as maps of 0 and 1, made when they are read."""
        pairs = tuple(zip(fitted[::2], fitted[1::2], strict=True))
        return Maps(ids=predictions.ids, images=_Decided(predictions, pairs), form=predictions.form)


def decided(probabilities: np.ndarray, threshold: float, area: float) -> np.ndarray:
    """One class' mask bool [H, W]: pixels above the threshold in regions of at least `area` pixels."""
    mask = probabilities > threshold
    box = _box(mask) if area > 1 else None
    if box is not None:
        mask[box] &= _in_large_regions(mask[box], area)
    return mask


@dataclass(frozen=True)
class _Decided:
    """Masks of lazily read maps."""

    maps: Maps
    pairs: tuple[tuple[float, float], ...]

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, row: int) -> np.ndarray:
        image = self.maps.image(row)
        if len(image) != len(self.pairs):
            raise DataError(f"Thresholds of {len(self.pairs)} classes do not fit maps of {len(image)}.")
        masks = [decided(p, *pair) for p, pair in zip(image, self.pairs, strict=True)]
        return np.stack(masks).astype(np.float32)


def _pairs(predictions: Maps, truths: Sequence[Runs]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each image's map [C, H, W] and its true masks, bool of the same shape."""
    for id, values, runs in zip(predictions.ids, predictions, truths, strict=True):
        if len(values) != len(runs):
            raise DataError(f"{id!r}: a map of {len(values)} classes, a truth of {len(runs)}.")
        shape = (values.shape[1], values.shape[2])
        yield values, np.stack([decode(text, shape, where=f"Truth of {id!r}") for text in runs])


def _dice_at_all(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice float64 [C, thresholds, areas] of one image."""
    return np.stack([_class_at_all(p, mask) for p, mask in zip(values, truth, strict=True)])


def _class_at_all(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice float64 [thresholds, areas] of one class of one image."""
    known = int(np.count_nonzero(truth))
    result = np.full((len(THRESHOLDS), len(AREAS)), float(known == 0))
    box = _box(probabilities > THRESHOLDS[0])
    if box is None:
        return result
    inside, inside_truth = probabilities[box], truth[box]
    for i, threshold in enumerate(THRESHOLDS):
        mask = inside > threshold
        if not mask.any():
            break
        result[i] = _at_areas(mask, inside_truth, known)
    return result


def _at_areas(mask: np.ndarray, truth: np.ndarray, known: int) -> np.ndarray:
    """Dice float64 [areas] of a mask that is not empty; `known` is the size of the whole truth."""
    regions = _regions(mask)
    sizes = np.bincount(regions[mask])
    hits = np.bincount(regions[mask & truth], minlength=len(sizes))
    kept = sizes >= np.maximum(AREAS, 1)[:, None]
    return _dice((kept * hits).sum(1), (kept * sizes).sum(1) + known)


def _in_large_regions(mask: np.ndarray, area: float) -> np.ndarray:
    regions = _regions(mask)
    large: np.ndarray = np.bincount(regions.ravel()) >= area
    kept: np.ndarray = large[regions]
    return kept


def _regions(mask: np.ndarray) -> np.ndarray:
    """The number of each pixel's region, from 1; 0 outside."""
    from scipy.ndimage import label  # type: ignore[import-untyped]

    regions: np.ndarray = label(mask)[0]
    return regions


def _best(table: np.ndarray) -> tuple[float, float]:
    """The threshold and the area of the largest value, float64 [thresholds, areas]; of equals the mildest."""
    places = [(i, k) for i in range(len(THRESHOLDS)) for k in range(len(AREAS))]
    best = START
    for place in sorted(places, key=lambda p: (abs(p[0] - START[0]) + p[1], p)):
        if table[place] > table[best] + LEAST_GAIN:
            best = place
    return THRESHOLDS[best[0]], float(AREAS[best[1]])


def _box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The rows and columns that hold something."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(0))
    return np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _dice(both: np.ndarray, total: np.ndarray) -> np.ndarray:
    """2 both / total; 1 where both are empty."""
    share: np.ndarray = 2 * both / np.maximum(total, 1)
    return np.where(total == 0, 1.0, share)
