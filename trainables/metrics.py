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


ACCURACY = Metric(name="accuracy", direction="maximize", fn=accuracy)
