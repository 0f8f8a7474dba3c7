"""Is a difference real? Paired tests of variants against one base, over the seeds that both had.

The interval that leads is Student's: the mean of the paired differences, plus and minus what 95 % of such
samples hold. With the few seeds of an ablation a variance is hardly known from one row alone. Each p-value
therefore comes from a moderated t-test (Smyth, "Linear models and empirical Bayes methods", Statistical
Applications in Genetics and Molecular Biology, 2004), in which the mean variance of all rows counts for
`PRIOR` degrees of freedom beside the row's own, and is corrected for the number of rows after Holm ("A simple
sequentially rejective multiple test procedure", Scandinavian Journal of Statistics, 1979). A difference is
claimed where both agree: the row's own interval is off zero and its corrected p is below `LEVEL`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05
POWER = 0.8
PRIOR = 4.0
"""Degrees of freedom that the other rows' variances count for."""
DEPENDENCE = 1.5
"""Rows share the base's trials: so many times fewer degrees of freedom are in them than if they did not."""
MOST_MORE = 95
"""Further seeds beyond which nothing is counted."""
LOOK_COST = 3.0
"""What p is multiplied by for each time that more seeds were run because of what a table said: with a second
look the chance of a false claim stays under (1 + 1 / 3) 5 %."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A variant's score minus the base's, one a seed that both were trained with."""

    differences: tuple[float, ...]
    least_variance: float = 0.0
    """Of one difference, as far as it is known otherwise: see `orchestrator.ablation.images`."""
    looks: int = 1
    """How many tables these seeds were decided on."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the seeds say of one variant. None stands for what so few of them cannot tell."""

    seeds: int
    mean: float | None
    """Mean paired difference, in the metric's unit."""
    sd: float | None
    """Of one paired difference."""
    low: float | None
    high: float | None
    """Student's 95 % interval of the mean difference."""
    p: float | None
    """Of the moderated paired t-test, two-sided."""
    corrected: float | None
    """After Holm, over the rows that could be tested."""
    real: bool
    """Whether a difference is claimed."""
    equal: bool
    """Whether the scores are the same in every seed: a mean of zero alone may be chance."""
    more: int | None
    """Further seeds that would decide a tie with a chance of 80 %, were the difference and its spread what
    they seem; `MOST_MORE` + 1 where more than that, None where there is nothing to decide."""


def compare(rows: Sequence[Paired]) -> list[Comparison]:
    """Each row against the base, all of them as one family."""
    variances = [_variance(row) for row in rows]
    known = [variance for variance in variances if variance]
    pooled = float(np.mean(known)) if known else 0.0
    tests = [
        _Test(row=row, variance=variances[i], pooled=pooled, prior=_prior(rows, variances, i))
        for i, row in enumerate(rows)
    ]
    found = [i for i, test in enumerate(tests) if test.p is not None]
    corrected = dict(zip(found, holm([tests[i].p or 0.0 for i in found]), strict=True))
    return [test.compared(corrected.get(i), family=len(found)) for i, test in enumerate(tests)]


def holm(values: Sequence[float]) -> list[float]:
    """Corrected p-values in the order given; see the module."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    found, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        found[i] = highest
    return found


def signed_rank_floor(seeds: int) -> float:
    """The smallest two-sided p that Wilcoxon's signed-rank test can give with so many pairs."""
    return float(min(1.0, 2.0 ** (1 - seeds)))


def _variance(row: Paired) -> float | None:
    """Of one difference; None with fewer than two seeds."""
    if len(row.differences) < 2:
        return None
    return max(float(np.var(row.differences, ddof=1)), row.least_variance)


def _prior(rows: Sequence[Paired], variances: Sequence[float | None], i: int) -> float:
    """Degrees of freedom that the other rows lend this one."""
    lent = sum(len(row.differences) - 1 for j, row in enumerate(rows) if j != i and variances[j])
    return min(PRIOR, lent / DEPENDENCE)


@dataclass(frozen=True, kw_only=True)
class _Test:
    """One row in its family; `variance` is that of one difference, `pooled` the mean of all rows'."""

    row: Paired
    variance: float | None
    pooled: float
    prior: float

    @property
    def count(self) -> int:
        return len(self.row.differences)

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.row.differences)) if self.count else None

    @property
    def penalty(self) -> float:
        return float(LOOK_COST ** (self.row.looks - 1))

    @property
    def moderated(self) -> float:
        """The variance of one difference, the row's own and the family's."""
        own = self.count - 1
        return (self.prior * self.pooled + own * (self.variance or 0.0)) / (self.prior + own)

    @property
    def p(self) -> float | None:
        """None where there is nothing to test by: one seed, or one and the same difference in all."""
        if self.variance is None or self.mean is None:
            return None
        if self.moderated == 0:
            return None if self.mean else 1.0
        t = self.mean / math.sqrt(self.moderated / self.count)
        return min(1.0, self.penalty * _two_sided(t, self.count - 1 + self.prior))

    @property
    def half(self) -> float | None:
        """Of the width of Student's interval; None where nothing spreads: that measures no chance."""
        from scipy.special import stdtrit  # type: ignore[import-untyped]

        if not self.variance:
            return None
        return float(stdtrit(self.count - 1, 1 - LEVEL / 2)) * math.sqrt(self.variance / self.count)

    def compared(self, corrected: float | None, *, family: int) -> Comparison:
        mean, half = self.mean, self.half
        real = self._is_real(corrected)
        equal = bool(self.count) and not any(self.row.differences)
        tied = not real and half is not None and not equal
        return Comparison(
            seeds=self.count,
            mean=mean,
            sd=None if self.variance is None else math.sqrt(self.variance),
            low=None if mean is None or half is None else mean - half,
            high=None if mean is None or half is None else mean + half,
            p=self.p,
            corrected=corrected,
            real=real,
            equal=equal,
            more=self._more(family) if tied else None,
        )

    def _is_real(self, corrected: float | None) -> bool:
        if not self.variance or self.mean is None or corrected is None or corrected >= LEVEL:
            return False
        own = _two_sided(self.mean / math.sqrt(self.variance / self.count), self.count - 1)
        return self.penalty * own < LEVEL

    def _more(self, family: int) -> int:
        effect = abs(self.mean or 0.0) / math.sqrt(self.moderated)
        return more_seeds(effect, self.count, prior=self.prior, family=family)


def _two_sided(t: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))


def more_seeds(effect: float, count: int, *, prior: float = 0.0, family: int = 1) -> int:
    """Seeds beyond `count` that find a difference of `effect` of its standard deviations in 80 % of studies.

    At the level that Holm's correction asks of the clearest of `family` rows. At most `MOST_MORE` + 1.
    """
    from scipy.special import nctdtr, stdtrit

    more = np.arange(1, MOST_MORE + 1)
    freedom = count + more - 1 + prior
    needed = stdtrit(freedom, 1 - LEVEL / family / 2)
    enough = 1 - nctdtr(freedom, effect * np.sqrt(count + more), needed) >= POWER
    return int(more[enough.argmax()]) if enough.any() else MOST_MORE + 1
