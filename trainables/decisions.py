"""From probabilities to the answer that a metric rewards, where that is not the likeliest class."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainables.predictions import Dense
from trainables.task import Metric

ROUNDS = 4
"""Passes over the thresholds: each is moved while the others stay."""
STEPS = np.linspace(-0.5, 0.5, 21)
"""Places tried for a threshold, in grades from the middle between its two grades."""
LEAST_GAIN = 1e-6
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
"""Tried for how much of a class' frequency is taken out of its logit."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Cut the expected grade of one head of ordered grades: threshold k parts grade k from k + 1.

    They start halfway between the grades, which is rounding, and are moved one at a time over a grid as
    the metric improves (coordinate search): kappa is a step function of them. Of equally good neighbouring
    places the middle one is taken, for it is the least likely to be luck.
    """

    def fit(self, predictions: Dense, targets: np.ndarray, metric: Metric) -> tuple[float, ...]:
        """A threshold between any two neighbouring grades, never falling."""
        start = np.arange(_grades(predictions) - 1) + 0.5
        fitted = start.copy()
        expected = expected_grades(predictions)

        def utility(cuts: np.ndarray) -> float:
            return metric.utility(metric.fn(_decided(predictions, expected, cuts), targets))

        best = utility(fitted)
        for _ in range(ROUNDS):
            before = best
            for k in range(len(fitted)):
                fitted, best = _moved(fitted, k, start[k] + STEPS, utility, best)
            if best <= before + LEAST_GAIN:
                break
        return tuple(round(float(cut), 4) for cut in fitted)

    def apply(self, predictions: Dense, fitted: Sequence[float]) -> Dense:
        """The logits with that of the decided grade raised above all others."""
        return _decided(predictions, expected_grades(predictions), np.asarray(fitted))


@dataclass(frozen=True, kw_only=True)
class Offsets:
    """Raise rare classes where each class counts alike, as in macro recall: a number a class of every head.

    The logarithm of a class' frequency is taken off its logit (logit adjustment, Menon et al., 2021), times
    one strength a head, which is fitted. Its full strength is the best for macro recall where the
    probabilities are right; one number a head leaves little to fit by luck.
    """

    def fit(self, predictions: Dense, targets: np.ndarray, metric: Metric) -> tuple[float, ...]:
        """Offsets of all classes, head after head, in the order of the predictions' fields."""
        rarity = [_rarity(targets[:, i], v.shape[1]) for i, v in enumerate(predictions.fields.values())]
        strengths = np.zeros(len(rarity))

        def offsets(some: np.ndarray) -> tuple[float, ...]:
            return tuple(float(v) for v in np.concatenate([k * r for k, r in zip(some, rarity, strict=True)]))

        best = metric.utility(metric.fn(predictions, targets))
        for i in range(len(rarity)):
            for strength in STRENGTHS:
                tried = np.where(np.arange(len(rarity)) == i, strength, strengths)
                value = metric.utility(metric.fn(self.apply(predictions, offsets(tried)), targets))
                if value > best + LEAST_GAIN:
                    strengths, best = tried, value
        return tuple(round(v, 4) for v in offsets(strengths))

    def apply(self, predictions: Dense, fitted: Sequence[float]) -> Dense:
        """The logits with their classes' offsets added."""
        ends = np.cumsum([values.shape[1] for values in predictions.fields.values()])
        parts = np.split(np.asarray(fitted, dtype=np.float32), ends[:-1])
        moved = {
            head: values + part
            for (head, values), part in zip(predictions.fields.items(), parts, strict=True)
        }
        return Dense(ids=predictions.ids, fields=moved)


def _rarity(labels: np.ndarray, classes: int) -> np.ndarray:
    """Minus the logarithm of each class' frequency, one image added to each: float64 [classes]."""
    counts = np.bincount(labels, minlength=classes) + 1.0
    rarity: np.ndarray = -np.log(counts / counts.sum())
    return rarity


def expected_grades(predictions: Dense) -> np.ndarray:
    """Mean grade float64 [N] under the probabilities of the one head."""
    logits = next(iter(predictions.fields.values())).astype(np.float64)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    mean: np.ndarray = (weights @ np.arange(logits.shape[1])) / weights.sum(1)
    return mean


def _grades(predictions: Dense) -> int:
    return int(next(iter(predictions.fields.values())).shape[1])


def _decided(predictions: Dense, expected: np.ndarray, cuts: np.ndarray) -> Dense:
    ((head, logits),) = predictions.fields.items()
    grades = np.searchsorted(cuts, expected, side="left")
    raised = logits.copy()
    raised[np.arange(len(grades)), grades] = logits.max(1) + 1
    return Dense(ids=predictions.ids, fields={head: raised})


def _moved(
    cuts: np.ndarray, k: int, places: np.ndarray, utility: Callable[[np.ndarray], float], best: float
) -> tuple[np.ndarray, float]:
    """The thresholds with the k-th at its best place, and their utility; as they are where none is better."""
    low = cuts[k - 1] if k else -np.inf
    high = cuts[k + 1] if k + 1 < len(cuts) else np.inf
    tried = [np.concatenate([cuts[:k], [p], cuts[k + 1 :]]) for p in places if low <= p <= high]
    values = np.array([utility(some) for some in tried])
    if not len(values) or values.max() <= best + LEAST_GAIN:
        return cuts, best
    start, stop = max(_plateaus(values), key=lambda ends: ends[1] - ends[0])
    return tried[(start + stop - 1) // 2], float(values.max())


def _plateaus(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, stop) of each run of the largest value."""
    top = np.concatenate([[False], values >= values.max() - LEAST_GAIN, [False]])
    edges = np.flatnonzero(top[1:] != top[:-1])
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
