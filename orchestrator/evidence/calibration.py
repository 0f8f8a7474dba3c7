"""How far probabilities can be believed: calibration error, and the temperature that mends it."""

from dataclasses import dataclass

import numpy as np

BINS = 15
"""Of equal width, as is usual since Guo et al. (ICML 2017)."""
LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures that are looked at."""
DRAWS, SEED = 200, 0


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """The confidence of some answers and how often they were right, by bins of the confidence."""

    images: int
    confidence: np.ndarray
    """Mean confidence of each bin, float [BINS]; NaN where it is empty."""
    accuracy: np.ndarray
    """Share that was right, float [BINS]; NaN where it is empty."""
    counts: np.ndarray
    """Images of each bin, int [BINS]."""
    error: float
    """Expected calibration error: the mean of |accuracy - confidence| over the images."""
    chance: float
    """What error a perfectly calibrated model would show, on average, on as many images."""
    log_loss: float
    right: float
    """Share of the images that are right."""


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax float64 [N, C] of logits divided by a temperature."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    values: np.ndarray = np.exp(scaled - scaled.max(1, keepdims=True))
    values /= values.sum(1, keepdims=True)
    return values


def log_loss(logits: np.ndarray, targets: np.ndarray, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of the targets, int64 [N]."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    highest = scaled.max(1)
    total = highest + np.log(np.exp(scaled - highest[:, None]).sum(1))
    return float((total - scaled[np.arange(len(targets)), targets]).mean())


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature of the least log loss on these images (Guo et al., ICML 2017).

    Above 1 the model is too sure, below 1 not sure enough. Between 0.05 and 20; 1 where there is no image.
    """
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

    if not len(targets):
        return 1.0
    found = minimize_scalar(
        lambda x: log_loss(logits, targets, float(np.exp(x))),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(found.x))


def reliability(logits: np.ndarray, targets: np.ndarray, temperature: float = 1.0) -> Reliability:
    """The reliability of the likeliest classes of logits [N, C] against targets int64 [N], N > 0."""
    shares = probabilities(logits, temperature)
    sure, right = shares.max(1), shares.argmax(1) == targets
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    whole = np.maximum(counts, 1)
    confidence = np.where(counts, np.bincount(bins, sure, BINS) / whole, np.nan)
    accuracy = np.where(counts, np.bincount(bins, right, BINS) / whole, np.nan)
    return Reliability(
        images=len(targets),
        confidence=confidence,
        accuracy=accuracy,
        counts=counts,
        error=_error(sure, right[None], bins)[0],
        chance=_chance(sure, bins),
        log_loss=log_loss(logits, targets, temperature),
        right=float(right.mean()),
    )


def _error(sure: np.ndarray, right: np.ndarray, bins: np.ndarray) -> list[float]:
    """The calibration error of each row of `right`, bool [draws, N]."""
    return [float(np.abs(np.bincount(bins, row - sure, BINS)).sum() / len(sure)) for row in right]


def _chance(sure: np.ndarray, bins: np.ndarray) -> float:
    """The mean error of answers that are right exactly as often as they say (Bröcker and Smith, 2007)."""
    random = np.random.default_rng(SEED)
    return float(np.mean(_error(sure, random.random((DRAWS, len(sure))) < sure, bins)))
