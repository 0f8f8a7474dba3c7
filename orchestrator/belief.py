"""What a search knows of its curves: a Gaussian process around the foretold ones, given the scores seen."""

import math

import numpy as np

from orchestrator.prior import Prior, between_shares

ALIKE = 0.5
"""Share of a curve's error that alike configurations share."""
NOISE = 1e-3
"""Variance of a score that no model explains, in squared spreads of the search."""


class Belief:
    """Curves of m configurations once `scores` [n] were seen of the rows `known` [n] at `shares` [n].

    `curves` [m, 10] are foretold and standardised, `alike` [m, m] says how much two of them err together.
    """

    def __init__(
        self,
        prior: Prior,
        curves: np.ndarray,
        alike: np.ndarray,
        *,
        known: np.ndarray,
        shares: np.ndarray,
        scores: np.ndarray,
    ) -> None:
        from scipy.linalg import solve_triangular  # type: ignore[import-untyped]

        (self._centre, centre_sd), (self._spread, spread_sd) = prior.centre, prior.spread
        self._centre_var, self._spread_var = centre_sd**2, spread_sd**2
        self._curves, self._alike, self._known = curves, alike, known
        error = self._spread**2 * prior.covariance
        weights = between_shares(shares)
        self._here = (weights * curves[known]).sum(1)
        self._errors = error @ weights.T
        """[10, n]: covariance of a curve's error at `SHARES` with its error where the scores were seen."""
        self._variances = np.diag(error)
        linear = self._centre_var + self._spread_var * np.outer(self._here, self._here)
        own = linear + self._shared(known) * (weights @ self._errors)
        own += NOISE * self._spread**2 * np.eye(len(known))
        self._seen_variances = np.diag(own)
        self._root = solve_triangular(np.linalg.cholesky(own), np.eye(len(known)), lower=True)
        """[n, n]: its square, transposed first, is the inverse of the covariance of the scores."""
        missed = scores - self._centre - self._spread * self._here
        self._pull: np.ndarray = self._root.T @ (self._root @ missed)

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """[q, 10]: expected utilities of the rows [q] at `SHARES`."""
        curves = self._curves[rows]
        linear = self._centre_var * self._pull.sum() + self._spread_var * curves * (self._here @ self._pull)
        moved: np.ndarray = linear + self._shared(rows) @ (self._errors * self._pull).T
        mean: np.ndarray = self._centre + self._spread * curves + moved
        return mean

    def variance(self, rows: np.ndarray) -> np.ndarray:
        """[q, 10], of the same."""
        linear = self._centre_var + self._spread_var * self._curves[rows][:, :, None] * self._here
        to_seen = linear + self._shared(rows)[:, None, :] * self._errors
        told = ((to_seen @ self._root.T) ** 2).sum(2)
        return self._floored(self._before(rows) - told)

    def variance_bound(self, rows: np.ndarray) -> np.ndarray:
        """[q, 10], at least `variance`: given only a row's own score, where one was seen."""
        variance = self._before(rows)
        own, column = np.nonzero(rows[:, None] == self._known[None, :])
        linear = self._centre_var + self._spread_var * self._curves[rows[own]] * self._here[column][:, None]
        to_own = (
            linear + self._errors[:, column].T * self._shared(rows[own])[np.arange(len(own)), column][:, None]
        )
        variance[own] -= to_own**2 / self._seen_variances[column][:, None]
        return self._floored(variance)

    def _before(self, rows: np.ndarray) -> np.ndarray:
        """[q, 10]: the variance before any score was seen."""
        before: np.ndarray = self._centre_var + self._spread_var * self._curves[rows] ** 2 + self._variances
        return before

    def _shared(self, rows: np.ndarray) -> np.ndarray:
        """[q, n]: how much the curves of the rows err with those that were seen."""
        same = rows[:, None] == self._known[None, :]
        shared: np.ndarray = ALIKE * self._alike[np.ix_(rows, self._known)] + (1 - ALIKE) * same
        return shared

    def _floored(self, variance: np.ndarray) -> np.ndarray:
        floored: np.ndarray = np.maximum(variance, 1e-10 * self._spread**2)
        return floored


def expected_improvement(mean: np.ndarray, variance: np.ndarray, best: float) -> np.ndarray:
    """E[max(0, Y - best)] of Gaussian Y (Jones et al., 1998)."""
    from scipy.special import ndtr  # type: ignore[import-untyped]

    deviation = np.sqrt(variance)
    above = (mean - best) / deviation
    density = np.exp(-(above**2) / 2) / math.sqrt(2 * math.pi)
    gain: np.ndarray = deviation * (above * ndtr(above) + density)
    return gain
