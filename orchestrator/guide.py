"""Where a second of a slot gains most: what to start, and which trial to end for something better.

The utilities of a search are a Gaussian process around the curves that `prior` foretells: centre and spread
of the search are unknown, curves err as curves of past searches did, and configurations that share leaves of
the forest err alike. Each trial's last epoch is an observation. The index of a trial, or of a configuration
not yet started, is the expected improvement over the best score so far divided by the seconds to get there,
at the most favourable epoch ahead: the rate at which it is expected to pay. A slot takes the highest index; a
trial is compared first where ASHA has its first rung, then each time it has run half as many again. A
configuration that was stopped may be started again, from its first epoch: what it showed is remembered.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.asha import Verdict, first_rung
from orchestrator.belief import Belief, expected_improvement
from orchestrator.past import past_searches
from orchestrator.prior import SHARES, Prior, learn
from trainables.task import Metric

if TYPE_CHECKING:
    from orchestrator.study import Draft

LATER, LAST = 1.5, 0.8
"""How much later each next comparison is, and the share of the epochs after which there is none."""
JITTER = 0.05
"""Standard deviation of the logarithm of a draft's luck, which tells equal ones apart."""
SHORTLIST = 16
MOST_SEEN = 512
"""Configurations whose scores are taken into account, the latest; it bounds the time of a decision."""


def comparisons(epochs: int) -> tuple[int, ...]:
    """The epochs after which a trial of `epochs` is compared with what could be started in its place."""
    found, epoch = [], float(first_rung(epochs))
    while round(epoch) <= LAST * epochs:
        found.append(round(epoch))
        epoch = max(epoch * LATER, epoch + 1)
    return tuple(found)


class Guide:
    """Chooses among drafts and compares running trials with them. Deterministic under its seed."""

    def __init__(self, prior: Prior, *, seed: int) -> None:
        self._prior = prior
        self._random = np.random.default_rng(seed)
        self._rows: dict[int, int] = {}
        """Where the arrays below hold a draft, by its key."""
        self._curves = np.zeros((0, len(SHARES)))
        self._log_seconds = np.zeros(0)
        self._leaves = np.zeros((0, 0), np.int32)
        self._alike = np.zeros((0, 0), np.float32)
        self._epochs = np.zeros(0)
        self._luck = np.zeros(0)
        self._running: dict[int, int] = {}
        """The row of each trial, by its number."""
        self._begun_at: dict[int, float] = {}
        """By number: the share of its epochs that the same draft had run before; 0 for a new one."""
        self._seen: dict[int, tuple[float, float]] = {}
        """By row: the share of its epochs that a trial has run, and its best utility."""
        self._measured: dict[int, float] = {}
        """By row: the logarithm of the seconds of an epoch."""
        self._best = prior.centre[0] - 2 * prior.spread[0]
        self._believed: Belief | None = None

    def choose(self, drafts: Sequence["Draft"]) -> "Draft":
        """The draft to start now."""
        return drafts[self._leading(self._look_at(drafts))[0]]

    def started(self, number: int, draft: "Draft") -> None:
        """A trial of this number runs the draft."""
        row = int(self._look_at([draft])[0])
        self._running[number] = row
        self._begun_at[number] = self._seen.get(row, (0.0, 0.0))[0]

    def report(self, number: int, epoch: int, utility: float, seconds: float) -> None:
        """The best utility of a trial after an epoch, and the seconds that the epoch took."""
        row = self._running[number]
        share = epoch / self._epochs[row]
        self._measured[row] = math.log(max(seconds, 1e-6))
        self._best = max(self._best, utility)
        if share > self._begun_at[number]:
            self._seen.pop(row, None)  # the latest stands last
            self._seen[row] = (share, utility)
            self._believed = None

    def judge(self, number: int, epoch: int, drafts: Sequence["Draft"]) -> Verdict | None:
        """Whether a trial still pays more a second than the best draft, or None between comparisons.

        One that was stopped before is first compared when it has come further than it had.
        """
        row = self._running[number]
        epochs = int(self._epochs[row])
        if not drafts or epoch not in comparisons(epochs) or epoch <= self._begun_at[number] * epochs:
            return None
        _, other = self._leading(self._look_at(drafts))
        [own] = self._index(np.array([row]), epoch / self._epochs[row]) * self._luck[row]
        return Verdict(
            epoch=epoch,
            cutoff=self._best,
            stop=bool(own < other),
            reason=f"less to gain a second than from another at epoch {epoch}",
        )

    def _look_at(self, drafts: Sequence["Draft"]) -> np.ndarray:
        """Rows of the drafts; new ones are foretold."""
        new = [draft for draft in drafts if draft.key not in self._rows]
        if new:
            self._believed = None
            outlook = self._prior.outlook([draft.config.params() for draft in new])
            self._rows.update({draft.key: len(self._rows) + i for i, draft in enumerate(new)})
            before = self._leaves.reshape(-1, outlook.leaves.shape[1])
            across = _shared(before, outlook.leaves)
            self._alike = np.block(
                [[self._alike, across], [across.T, _shared(outlook.leaves, outlook.leaves)]]
            )
            self._leaves = np.vstack([before, outlook.leaves])
            self._curves = np.vstack([self._curves, outlook.curves])
            self._log_seconds = np.append(self._log_seconds, outlook.log_seconds)
            self._epochs = np.append(self._epochs, [draft.config.epochs for draft in new])
            self._luck = np.append(self._luck, np.exp(self._random.normal(0, JITTER, len(new))))
        return np.array([self._rows[draft.key] for draft in drafts], int)

    def _leading(self, rows: np.ndarray) -> tuple[int, float]:
        """Where in rows [n], none of them begun, the highest index is, and that index.

        Only those are worked out that lead by an upper bound of theirs, which is cheap.
        """
        belief = self._belief()
        bounds = self._rates(rows, belief.mean(rows), belief.variance_bound(rows), 0.0) * self._luck[rows]
        short = np.argsort(-bounds, kind="stable")[:SHORTLIST]
        index = self._index(rows[short], 0.0) * self._luck[rows[short]]
        first = int(np.argmax(index))
        return int(short[first]), float(index[first])

    def _index(self, rows: np.ndarray, run: float) -> np.ndarray:
        """[n]: expected improvement a second of rows [n] that have run this share of their epochs."""
        belief = self._belief()
        return self._rates(rows, belief.mean(rows), belief.variance(rows), run)

    def _rates(self, rows: np.ndarray, mean: np.ndarray, variance: np.ndarray, run: float) -> np.ndarray:
        left = SHARES - run
        whole = self._seconds(rows) * self._epochs[rows]
        seconds = np.where(left > 1e-9, left, np.inf)[None, :] * whole[:, None]
        rates: np.ndarray = (expected_improvement(mean, variance, self._best) / seconds).max(1)
        return rates

    def _seconds(self, rows: np.ndarray) -> np.ndarray:
        """[n], of an epoch: measured, or foretold and shifted by what the measured ones show."""
        known = np.array(list(self._measured), int)
        logs = self._log_seconds.copy()
        if len(known):
            measured = np.array(list(self._measured.values()))
            logs += (measured - logs[known]).mean()
            logs[known] = measured
        seconds: np.ndarray = np.exp(logs[rows])
        return seconds

    def _belief(self) -> Belief:
        if self._believed is None:
            known = np.array(list(self._seen)[-MOST_SEEN:], int)
            shares, scores = np.array(list(self._seen.values())[-MOST_SEEN:]).reshape(-1, 2).T
            self._believed = Belief(
                self._prior, self._curves, self._alike, known=known, shares=shares, scores=scores
            )
        return self._believed


def guide_from(out: Path, metric: Metric, *, seed: int) -> Guide | None:
    """A guide that has learned from the searches kept under `out`; None where they are too few."""
    past = past_searches(out, metric)
    return Guide(learn(past, seed=seed), seed=seed) if past else None


def _shared(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float32 [n, m]: the share of trees in which two configurations fall into the same leaf."""
    return np.asarray((some[:, None, :] == others[None, :, :]).mean(2), np.float32)
