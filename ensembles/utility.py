"""How good a blend is on data whose answers are known, as the methods see it."""

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np

from ensembles.blend import blend, softmax
from ensembles.merging import Blend, weighted_mean
from trainables.gathered import held
from trainables.predictions import Dense
from trainables.task import Metric


@singledispatch
def log_loss(_predictions: object, _targets: Any) -> float:
    """Mean over images and heads of -log p(target); `predictions` hold log-probabilities, as `blend` gives.

    `targets` is int64 [N, heads], in the order of the predictions' fields. Of predictions that are no logits
    it is 0: their metric moves in small steps.
    """
    return 0.0


@log_loss.register
def _(predictions: Dense, targets: np.ndarray) -> float:
    rows = np.arange(len(predictions))
    heads = enumerate(predictions.fields.values())
    return float(np.mean([-values[rows, targets[:, i]].mean(dtype=np.float64) for i, values in heads]))


class ValidationUtility:
    """The utility of blends of fixed members: the metric, and among equals the log loss.

    Metrics such as accuracy move in steps of one image, and on a few hundred images many blends stand on
    the same step; the likelihood tells them apart. It enters as exp(-log loss), which is at most one,
    times half a step, so it never outweighs a right image. A score that is no number is -inf.
    """

    def __init__(self, members: Sequence[Any], targets: Any, metric: Metric) -> None:
        self.members = [held(member) for member in members]
        self.targets = held(targets)
        self.metric = metric
        self._probabilities = [
            {head: softmax(v) for head, v in member.fields.items()}
            for member in members
            if isinstance(member, Dense)
        ]

    def __call__(self, how: Blend) -> float:
        quick = self._probabilities and how.rule == "prob"
        merged = self._mean_probability(how) if quick else blend(self.members, how)
        value = self.metric.utility(self.metric.fn(merged, self.targets))
        step = 0.5 / len(self.targets)
        return value + step * float(np.exp(-log_loss(merged, self.targets))) if value == value else -np.inf

    def ranked(self) -> list[int]:
        """The members by their own score, best first; equals in the order given."""
        values = [self.metric.utility(self.metric.fn(m, self.targets)) for m in self.members]
        return sorted(range(len(values)), key=lambda i: -values[i])

    def _mean_probability(self, how: Blend) -> Dense:
        """What `blend` gives for the rule `prob`, from probabilities that are computed once."""
        weights = [how.weights[i] for i in how.used]
        fields = {}
        for head in self.members[0].fields:
            mean = weighted_mean([self._probabilities[i][head] for i in how.used], weights)
            fields[head] = np.log(mean, out=mean)
        return Dense(ids=self.members[0].ids, fields=fields)
