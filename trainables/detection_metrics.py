"""Scores of detections and instances: the mean over IoU thresholds that wheat is scored by, and COCO's AP."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trainables import boxes, coco_rle
from trainables.boxes import Boxes
from trainables.errors import DataError
from trainables.instances import Instances, Masks

WHEAT_IOUS = np.array([50, 55, 60, 65, 70, 75]) / 100
COCO_IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
DETECTIONS = 100
"""Detections of an image and class that COCO looks at, the best-scored ones."""


def wheat_score(predictions: Boxes, truth: Boxes) -> float:
    """Mean over images of the mean over IoU 0.50, 0.55 ... 0.75 of TP / (TP + FP + FN).

    Boxes are matched by descending score, each to the free true box that it overlaps most, if by the IoU
    at least. An image without true boxes counts 1 if nothing is predicted on it and 0 otherwise.
    Raises DataError when both answer different ids.
    """
    _same_ids(predictions.ids, truth.ids)
    pairs = zip(predictions.images, truth.images, strict=True)
    scores = [_gains(*_hits(rows, known), len(known))[1].sum() for rows, known in pairs]
    return float(np.mean(scores))


@dataclass(frozen=True)
class FittedScore:
    """The lowest score to keep, and the metric that it reaches where it was fitted."""

    threshold: float
    value: float


def fit_wheat_threshold(predictions: Boxes, truth: Boxes) -> FittedScore:
    """The score threshold under which `wheat_score` of `predictions.above(threshold)` is the highest.

    Matching by descending score is the same for every threshold as far as it goes, so each box changes its
    image's score by an amount of its own: sorted by score, the amounts sum to the metric at all thresholds.
    The threshold lies halfway to the next score. Raises DataError when both answer different ids.
    """
    _same_ids(predictions.ids, truth.ids)
    found = [
        _gains(*_hits(rows, known), len(known))
        for rows, known in zip(predictions.images, truth.images, strict=True)
    ]
    start = float(sum(gains[0] for _, gains in found))
    scores = np.concatenate([scores for scores, _ in found])
    order = np.argsort(-scores, kind="stable")
    scores = scores[order].astype(np.float64)
    steps = np.concatenate([gains[1:] for _, gains in found])[order]
    values = np.concatenate([[start], start + np.cumsum(steps)]) / len(found)
    ends = np.concatenate([[np.inf], scores])
    following = np.concatenate([scores, [-np.inf]])
    values[ends == following] = -np.inf
    best = int(values.argmax())
    return FittedScore(_between(ends[best], following[best]), float(values[best]))


def _between(kept: float, dropped: float) -> float:
    """A threshold that keeps the one score and drops the other, none of them beyond the ends."""
    if dropped == -np.inf:
        return 0.0
    if kept == np.inf:
        return float(np.nextafter(np.float32(max(dropped, 1.0)), np.float32(np.inf)))
    halfway = float(np.float32((kept + dropped) / 2))
    return halfway if halfway > dropped else kept


def _hits(rows: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores [M] in descending order, and at which thresholds each of them hits, bool [T, M]."""
    rows = rows[boxes.in_score_order(rows)]
    return rows[:, 4], match(boxes.iou(rows, known), WHEAT_IOUS)


def _gains(scores: np.ndarray, hits: np.ndarray, known: int) -> tuple[np.ndarray, np.ndarray]:
    """The scores [M], and float64 [M + 1]: the image's score without a box, then what each box adds."""
    found = np.concatenate([np.zeros((len(hits), 1)), np.cumsum(hits, axis=1)], axis=1)
    union = np.arange(found.shape[1]) + known - found
    shares = boxes.ratio(found, union)
    if known == 0:
        shares[:, 0] = 1.0
    return scores, np.diff(shares.mean(0), prepend=0.0)


def match(overlaps: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Which of M predictions, the best first, hit at each threshold: bool [T, M] from IoU [M, K].

    Each takes the free true object that it overlaps most, if by the threshold at least.
    """
    hits = np.zeros((len(thresholds), len(overlaps)), dtype=bool)
    if overlaps.size == 0:
        return hits
    free = np.ones((len(thresholds), overlaps.shape[1]), dtype=bool)
    for m in np.flatnonzero(overlaps.max(1) >= thresholds.min()):
        near = np.flatnonzero(overlaps[m] >= thresholds.min())
        fits = np.where(free[:, near], overlaps[m, near], 0.0)
        best = fits.argmax(1)
        hit = fits[np.arange(len(best)), best] >= thresholds
        free[hit, near[best[hit]]] = False
        hits[:, m] = hit
    return hits


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's AP over IoU 0.50 ... 0.95, and at 0.50 and 0.75 alone; NaN where the truth has no object."""

    ap: float
    ap50: float
    ap75: float


def box_ap(predictions: Boxes, truth: Boxes) -> AveragePrecision:
    """COCO's AP of boxes: the mean over classes and IoU thresholds of precision at 101 recalls.

    Each class of an image gives its 100 best detections; what falls on a crowd (score 0 in the truth) does
    not count. Raises DataError when both answer different ids.
    """
    _same_ids(predictions.ids, truth.ids)
    images = [
        Matched(rows[:, 4], rows[:, 5], known[:, 4] == 0, known[:, 5], _box_overlaps(rows, known))
        for rows, known in zip(predictions.images, truth.images, strict=True)
    ]
    return average_precision(images)


def mask_ap(predictions: Instances, truth: Instances) -> AveragePrecision:
    """COCO's AP of masks, counted as `box_ap`. Raises DataError on other ids or sizes than the truth's."""
    return average_precision(matched_masks(predictions, truth))


def matched_masks(predictions: Instances, truth: Instances) -> "list[Matched]":
    """Each image's masks beside its true ones, for `average_precision`. Raises as `mask_ap`."""
    _same_ids(predictions.ids, truth.ids)
    return [
        Matched(found.scores, found.labels, known.scores == 0, known.labels, _mask_overlaps(id, found, known))
        for id, found, known in zip(truth.ids, predictions.images, truth.images, strict=True)
    ]


@dataclass(frozen=True)
class Matched:
    """M predictions and K true objects of one image; `overlaps` [M, K] is as COCO takes it."""

    scores: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    known: np.ndarray
    overlaps: np.ndarray
    _counted: dict[float, tuple[np.ndarray, np.ndarray, np.ndarray, int]] = field(default_factory=dict)

    def of(self, label: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Of one class: scores [m], hits and ignored ones bool [T, m], and the number of true objects.

        Counted once, however often the image is drawn in a bootstrap.
        """
        if label not in self._counted:
            self._counted[label] = self._count(label)
        return self._counted[label]

    def _count(self, label: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        mine, theirs = np.flatnonzero(self.labels == label), self.known == label
        mine = mine[np.argsort(-self.scores[mine], kind="stable")][:DETECTIONS]
        overlaps, crowd = self.overlaps[mine], theirs & self.crowd
        hit = match(overlaps[:, theirs & ~self.crowd], COCO_IOUS)
        near = overlaps[:, crowd].max(1, initial=0.0) >= COCO_IOUS[:, None]
        return self.scores[mine], hit, near & ~hit, int((theirs & ~self.crowd).sum())


def _box_overlaps(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    inside = boxes.intersections(rows, known) / np.maximum(boxes.areas(rows), 1e-12)[:, None]
    return np.where(known[:, 4] == 0, inside, boxes.iou(rows, known))


def _mask_overlaps(id: str, found: Masks, known: Masks) -> np.ndarray:
    if found.size != known.size:
        raise DataError(f"Image {id!r}: masks of {found.size} where the truth's are of {known.size}.")
    shared = coco_rle.intersections(found.runs, known.runs, known.size)
    area = np.array([coco_rle.area(runs) for runs in found.runs], dtype=np.float64)[:, None]
    other = np.array([coco_rle.area(runs) for runs in known.runs], dtype=np.float64)[None]
    union = np.where(known.scores == 0, area, area + other - shared)
    return boxes.ratio(shared, union)


def average_precision(images: Sequence[Matched]) -> AveragePrecision:
    """COCO's AP of images, one of which may stand there several times."""
    classes = np.unique(np.concatenate([np.zeros(0), *(image.known for image in images)]))
    curves = [curve for label in classes if (curve := _class_precision(images, label)) is not None]
    if not curves:
        return AveragePrecision(np.nan, np.nan, np.nan)
    mean = np.mean(curves, axis=0)
    return AveragePrecision(float(mean.mean()), float(mean[0]), float(mean[5]))


def _class_precision(images: Sequence[Matched], label: float) -> np.ndarray | None:
    """Mean precision over the recalls, float64 [T], of one class; None where it has no true object."""
    scores, hits, ignored, counts = zip(*(image.of(label) for image in images), strict=True)
    objects = sum(counts)
    if objects == 0:
        return None
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return _interpolated(
        np.concatenate(hits, axis=1)[:, order], np.concatenate(ignored, axis=1)[:, order], objects
    )


def _interpolated(hits: np.ndarray, ignored: np.ndarray, objects: int) -> np.ndarray:
    """Mean over the recalls of the best precision at that recall or a higher one: [T] from bool [T, M]."""
    found = np.cumsum(hits, axis=1)
    false = np.cumsum(~hits & ~ignored, axis=1)
    precision = found / np.maximum(found + false, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    means = []
    for row, best in zip(found, envelope, strict=True):
        at = np.searchsorted(row / objects, RECALLS, side="left")
        means.append(np.concatenate([best, [0.0]])[at].mean())
    return np.array(means)


def _same_ids(predicted: tuple[str, ...], known: tuple[str, ...]) -> None:
    if predicted != known:
        odd = sorted(set(predicted) ^ set(known))
        hint = f", for example {odd[0]!r} only once" if odd else ", or in another order"
        raise DataError(f"{len(predicted)} predicted images are not the {len(known)} known ones{hint}.")
