"""From which score on a box is an answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainables.boxes import Boxes
from trainables.detection_metrics import fit_wheat_threshold, wheat_score
from trainables.task import Metric

ACCEPTED = 0.5
"""A box counts from this score on, where nothing else was decided."""


def accepted_wheat_score(predictions: Boxes, truth: Boxes) -> float:
    """`wheat_score` of the boxes with a score of `ACCEPTED` or more."""
    return wheat_score(predictions.above(ACCEPTED), truth)


def accepted_wheat_scores(predictions: Boxes, truth: Boxes) -> np.ndarray:
    """`accepted_wheat_score` of each image: float64 [N]."""
    rows = range(len(truth))
    return np.array([accepted_wheat_score(predictions.take([i]), truth.take([i])) for i in rows])


@dataclass(frozen=True, kw_only=True)
class ScoreThreshold:
    """One score, fitted so that `wheat_score` of the boxes from there on is the highest."""

    def fit(self, predictions: Boxes, targets: Boxes, metric: Metric) -> tuple[float, ...]:
        return (fit_wheat_threshold(predictions, targets).threshold,)

    def apply(self, predictions: Boxes, fitted: Sequence[float]) -> Boxes:
        """Only the boxes from the threshold on, their scores moved in order to between `ACCEPTED` and 1."""
        (threshold,) = fitted
        kept = predictions.above(threshold)
        return Boxes(ids=kept.ids, images=tuple(_accepted(rows, threshold) for rows in kept.images))


def _accepted(rows: np.ndarray, threshold: float) -> np.ndarray:
    moved = rows.copy()
    share = (rows[:, 4] - threshold) / max(1 - threshold, 1e-6)
    moved[:, 4] = ACCEPTED + (1 - ACCEPTED) * share.clip(0, 1)
    return moved
