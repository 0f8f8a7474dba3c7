"""Which submissions to name as the final ones, and how far validation foretells the public score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.entries import Entry
from orchestrator.snapshot import score
from trainables.task import Metric

Z95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A submission to name as final; `why` is a sentence."""

    number: int
    why: str


def propose(
    entries: Sequence[Entry], answers: Mapping[int, Sequence[str]], *, metric: Metric, count: int
) -> list[Pick]:
    """Up to `count` submissions: the best on validation, then the least alike among its equals.

    `answers` holds the lines of each submission's file by its number; one without is no candidate, nor is
    one that answers as an earlier pick does. Equals of the best are those whose validation score is inside
    the best's 95 % interval. Public scores take no part.
    """
    ranked = sorted(
        (entry for entry in entries if entry.number in answers),
        key=lambda entry: (-metric.utility(entry.made.valid), entry.number),
    )
    picks: list[Pick] = []
    while ranked and len(picks) < count:
        chosen = [answers[pick.number] for pick in picks]
        shares = {
            e.number: min((differing(answers[e.number], c) for c in chosen), default=1.0) for e in ranked
        }
        left = [entry for entry in ranked if shares[entry.number] > 0]
        if not left:
            break
        if not picks:
            best, noise = left[0], _noise(left[0])
            picks.append(Pick(number=best.number, why=f"the best on validation, {score(best.made.valid)}."))
            continue
        equals = [e for e in left if abs(e.made.valid - best.made.valid) <= noise]
        entry = max(equals, key=lambda e: shares[e.number]) if equals else left[0]
        picks.append(Pick(number=entry.number, why=_why(entry, shares[entry.number], noise, bool(equals))))
    return picks


def _why(entry: Entry, share: float, noise: float, equal: bool) -> str:
    value = score(entry.made.valid)
    how = f"within the noise of the best (±{noise:.4f})" if equal else "the next best, not within the noise"
    rest = "; of such, the least alike" if equal else ""
    return f"{value} on validation, {how}; answers {share:.1%} of the test differently{rest}."


def _noise(entry: Entry) -> float:
    """Half of the 95 % interval of its validation score, from the holdout's by the number of images."""
    images = entry.made.images
    if entry.made.holdout_error is None or not images.get("holdout") or not images.get("valid"):
        return 0.0
    return entry.made.holdout_error * math.sqrt(images["holdout"] / images["valid"])


def differing(answers: Sequence[str], others: Sequence[str]) -> float:
    """Share of the lines that differ between two files of answers to the same test images."""
    if len(answers) != len(others):
        return 1.0
    return sum(a != b for a, b in zip(answers, others, strict=True)) / max(len(answers), 1)


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Spearman's rank correlation of `count` pairs, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    count: int


def rank_correlation(xs: Sequence[float], ys: Sequence[float]) -> Correlation | None:
    """Spearman's rho; None for fewer than three pairs or where one side is all the same.

    The interval is that of Bonett and Wright (Psychometrika 65, 2000): Fisher's z with the variance
    (1 + rho^2 / 2) / (n - 3). A rho of 1 or -1, whose z is infinite, is moved by half of its smallest step.
    """
    n = len(xs)
    if n < 3 or min(xs) == max(xs) or min(ys) == max(ys):
        return None
    rho = float(np.corrcoef(_ranks(xs), _ranks(ys))[0, 1])
    if n == 3:
        return Correlation(value=rho, low=-1.0, high=1.0, count=n)
    most = 1 - 6 / (n * (n * n - 1))
    inside = min(max(rho, -most), most)
    half = Z95 * math.sqrt((1 + inside**2 / 2) / (n - 3))
    z = math.atanh(inside)
    low, high = min(math.tanh(z - half), rho), max(math.tanh(z + half), rho)
    return Correlation(value=rho, low=low, high=high, count=n)


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, group, counts = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)
    ranks: np.ndarray = (last - (counts - 1) / 2)[group]
    return ranks
