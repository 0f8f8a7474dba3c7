"""Asynchronous successive halving (Li et al., MLSys 2020), as a rule on numbers alone."""

import bisect
from dataclasses import dataclass, field

SPACING = 3
"""How many times later each next rung of a search is."""
FIRST = 0.04
"""Share of the epochs after which trials are compared first, but not after one epoch alone."""


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """Where trials are compared, and that the best 1/eta (`reduction_factor`) of them go on there."""

    grace_period: int
    """The first rung (r), in epochs."""
    reduction_factor: int
    max_epochs: int
    spacing: int | None = None
    """How many times later each next rung is; eta where it is not given."""

    @property
    def epochs(self) -> tuple[int, ...]:
        """The rungs below the last epoch: a trial that gets there is complete, not compared."""
        rungs, epoch = [], self.grace_period
        while epoch < self.max_epochs:
            rungs.append(epoch)
            epoch *= self.spacing or self.reduction_factor
        return tuple(rungs)


def first_rung(max_epochs: int) -> int:
    """The first epoch after which trials are compared: the score after one alone says little of the last."""
    return max(2, round(FIRST * max_epochs))


def rungs_for(max_epochs: int, *, timed: bool) -> Rungs:
    """Rungs of a search whose budget is time (`timed`) or a number of trials: 2, 6 and 18 of 50 epochs.

    Where time is what is scarce a fourth goes on at each, for the next trial costs only time; where trials
    are, a third.
    """
    return Rungs(
        grace_period=first_rung(max_epochs),
        reduction_factor=4 if timed else 3,
        max_epochs=max_epochs,
        spacing=SPACING,
    )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was decided at a rung. `cutoff` is the worst utility that goes on, or what was to be beaten."""

    epoch: int
    cutoff: float
    stop: bool
    reason: str = ""
    """Why it was stopped, where that is not a score below the cutoff."""


@dataclass
class Asha:
    """Stops a trial at a rung unless it is in the best 1/eta of those that got there.

    Works on utilities (greater is better), which must be finite. `recorded` is the whole state.
    """

    rungs: Rungs
    recorded: dict[int, list[float]] = field(default_factory=dict)
    """The utilities that were compared at each rung, the worst first."""

    def report(self, epoch: int, utility: float) -> Verdict | None:
        """The verdict at a rung, or None between rungs. With fewer than eta of them only the best goes on."""
        if epoch not in self.rungs.epochs:
            return None
        competing = self.recorded.setdefault(epoch, [])
        bisect.insort(competing, utility)
        cutoff = competing[-max(1, len(competing) // self.rungs.reduction_factor)]
        return Verdict(epoch=epoch, cutoff=cutoff, stop=utility < cutoff)


def expected_epochs(rungs: Rungs) -> float:
    """Mean epochs of a trial if each rung keeps 1/eta: what a search of many trials costs."""
    survivors, mean, before = 1.0, 0.0, 0
    for epoch in (*rungs.epochs, rungs.max_epochs):
        mean += survivors * (epoch - before)
        survivors, before = survivors / rungs.reduction_factor, epoch
    return mean
