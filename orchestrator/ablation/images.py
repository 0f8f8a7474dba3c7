"""What the stored predictions of the same images add to the seeds' scores.

A score of N images moves from seed to seed by the images that happen to flip. How much they alone make it
move is known from the images far better than from five scores: it bounds the variance of a difference from
below, and keeps five differences that are equal by chance from looking certain. And a difference that all
seeds agree on may still be of these images only: that is for a test over images to say.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainables.predictions import Dense
from trainables.task import Metric

FLIPS = 4000
"""Random exchanges of base and variant; p is then known to 0.003 at 0.05."""
MANY = 400
"""Of so many images that differ the sum is normal, and nothing has to be drawn."""


def each_score(predictions: Any, targets: Any, metric: Metric) -> np.ndarray | None:
    """What each image adds to a score that is their mean, float64 [N]; None where it is no mean."""
    if metric.each is not None:
        return None if metric.total else np.asarray(metric.each(predictions, targets), dtype=np.float64)
    if not isinstance(predictions, Dense) or not len(predictions):
        return None
    hits = [values.argmax(1) == targets[:, i] for i, values in enumerate(predictions.fields.values())]
    right = np.logical_and.reduce(hits).astype(np.float64)
    return right if abs(right.mean() - metric.fn(predictions, targets)) < 1e-9 else None


def least_variance(differences: np.ndarray) -> float:
    """Variance of a seed's mean difference by what images do in one seed and not in another.

    `differences` are float [seeds, N], a variant's `each_score` minus the base's. The mean square of what is
    left when the means of images and of seeds are taken out, over N: unbiased for that share of the variance
    in a two-way layout (Searle, Casella & McCulloch, "Variance Components", 1992).
    """
    seeds, images = differences.shape
    if seeds < 2 or images < 2:
        return 0.0
    rest = differences - differences.mean(0) - differences.mean(1, keepdims=True) + differences.mean()
    return float((rest**2).sum() / ((seeds - 1) * (images - 1)) / images)


def over_images(differences: Sequence[float] | np.ndarray) -> float | None:
    """Two-sided p of the mean of float [N] differences, were base and variant alike on every image.

    Their names are then exchanged at will, image by image (Fisher's permutation test for pairs). None where
    no image differs.
    """
    found = np.asarray(differences, dtype=np.float64)
    found = found[found != 0]
    if not len(found):
        return None
    if len(found) > MANY:
        from scipy.special import ndtr  # type: ignore[import-untyped]

        return float(2 * ndtr(-abs(found.sum()) / np.sqrt((found**2).sum())))
    signs = np.random.default_rng(0).integers(0, 2, size=(FLIPS, len(found))) * 2 - 1
    as_far = np.abs(signs @ found) >= abs(found.sum()) - 1e-12
    return float((1 + as_far.sum()) / (1 + FLIPS))
