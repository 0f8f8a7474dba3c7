"""How members are merged: the rule, its weights, and one function that each type of prediction joins."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Literal

import numpy as np

from trainables.errors import DataError

Rule = Literal["vote", "logit", "prob"]


@dataclass(frozen=True)
class Blend:
    """How members are merged: a rule, and a weight a member in the members' order.

    Weights count relative to their sum: (1, 1) and (0.5, 0.5) are the same blend.

    - `vote`: each member votes for its most likely class; the larger summed probability breaks a tie.
    - `prob`: mean of the probabilities.
    - `logit`: mean of the logits, that is the geometric mean of the probabilities. A member's logits
      count as large as they are: one trained to logits ten times those of another outweighs it ten to
      one under equal weights, so this rule suits members that were trained alike.
    """

    rule: Rule
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, dtype=np.float64)
        if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
            raise ValueError(f"Weights must be finite, not negative and not all zero: {self.weights}.")

    @property
    def used(self) -> tuple[int, ...]:
        """Indices of the members that count."""
        return tuple(i for i, weight in enumerate(self.weights) if weight > 0)

    def normalised(self) -> "Blend":
        """The same blend with weights that sum to one."""
        total = sum(self.weights)
        return Blend(self.rule, tuple(weight / total for weight in self.weights))

    def shared(self, alike: Sequence[int]) -> "Blend":
        """With the weight of members that are alike dealt out evenly among them.

        `alike` names a group for each member: validated by the same answers, no method can tell them apart.
        """
        groups: dict[int, list[float]] = {}
        for group, weight in zip(alike, self.weights, strict=True):
            groups.setdefault(group, []).append(weight)
        return Blend(self.rule, tuple(sum(groups[group]) / len(groups[group]) for group in alike))


def rows_in(answered: tuple[str, ...], ids: tuple[str, ...]) -> list[int]:
    """The rows of a member that answers `answered`, in the order of `ids`.

    Raises DataError when it answers other ids, or some of them twice.
    """
    row = {name: i for i, name in enumerate(answered)}
    odd = sorted(set(ids) ^ row.keys())
    if odd or len(row) != len(answered) or len(ids) != len(row):
        raise DataError(
            f"Members answer different images: {len(answered)} and {len(ids)}"
            + (f", for example {odd[0]!r} only once." if odd else ", some of them twice."),
            fix="Ensemble trials of one search, on one state of the data.",
        )
    return [row[name] for name in ids]


@singledispatch
def merge(first: object, _members: Sequence[Any], _how: Blend) -> Any:
    """Merge the used members, all of the type of `first`."""
    raise TypeError(f"No rule merges {type(first).__name__}.")


def weighted_mean(arrays: Iterable[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The mean of arrays of one shape, under weights that count relative to their sum."""
    total = sum(weights)
    merged: np.ndarray | None = None
    for array, weight in zip(arrays, weights, strict=True):
        part = array * np.float32(weight / total)
        merged = part if merged is None else np.add(merged, part, out=merged)
    assert merged is not None
    return merged
