"""Scores of predictions against targets, in numpy."""

import numpy as np

from trainables.predictions import Dense
from trainables.task import Metric


def accuracy(predictions: Dense, targets: np.ndarray) -> float:
    """Share of the images whose most likely class is the target; several heads must all be right.

    `targets` is int64 [N, heads], in the order of the predictions' fields.
    """
    hits = [values.argmax(1) == targets[:, i] for i, values in enumerate(predictions.fields.values())]
    return float(np.logical_and.reduce(hits).mean())


def quadratic_kappa(predictions: Dense, targets: np.ndarray) -> float:
    """Cohen's kappa of the one head's likeliest grades with quadratic weights (Cohen, 1968).

    1 is full agreement, 0 what the two distributions of grades agree by chance. `targets` is int64 [N, 1].
    Where every image has one grade in both, chance explains all: 1 if they agree, as they then do.
    """
    values = next(iter(predictions.fields.values()))
    decided, known = values.argmax(1), targets[:, 0]
    observed = np.square(decided - known).mean(dtype=np.float64)
    spread = decided.var(dtype=np.float64) + known.var(dtype=np.float64)
    expected = spread + (decided.mean(dtype=np.float64) - known.mean(dtype=np.float64)) ** 2
    return float(1 - observed / expected) if expected > 0 else 1.0


def macro_recall(decided: np.ndarray, known: np.ndarray) -> float:
    """Mean over the classes that occur in `known`, int64 [N], of the share that is recognised."""
    counts = np.bincount(known)
    hits = np.bincount(known[decided == known], minlength=len(counts))
    occurs = counts > 0
    return float((hits[occurs] / counts[occurs]).mean())


def weighted_recall(weights: dict[str, float]) -> Metric:
    """Mean of each head's macro recall under the heads' weights; every head of the data must have one."""

    def recall(predictions: Dense, targets: np.ndarray) -> float:
        heads = enumerate(predictions.fields.items())
        recalls = {name: macro_recall(values.argmax(1), targets[:, i]) for i, (name, values) in heads}
        return sum(weights[name] * value for name, value in recalls.items()) / sum(weights.values())

    return Metric(name="weighted macro recall", direction="maximize", fn=recall)


ACCURACY = Metric(name="accuracy", direction="maximize", fn=accuracy)
QUADRATIC_KAPPA = Metric(name="quadratic weighted kappa", direction="maximize", fn=quadratic_kappa)
