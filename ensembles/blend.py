"""Merge the predictions of several models under weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ensembles import fusion, maps  # noqa: F401  # they teach merge their types
from ensembles.merging import Blend, merge, rows_in, weighted_mean
from trainables.errors import DataError
from trainables.predictions import Dense

FLOOR = np.float32(1e-30)
"""Smallest probability, so that every logarithm is finite."""


def blend(members: Sequence[Any], how: Blend) -> Any:
    """One prediction from those of several models, of the members' own type.

    Members must answer the same ids and heads in the same order (see `align`). A blend of `Dense` holds
    log-probabilities [N, classes] a head, whatever the rule. Raises ValueError unless there is a weight
    a member.
    """
    if len(members) != len(how.weights):
        raise ValueError(f"{len(members)} members, {len(how.weights)} weights.")
    return merge(members[0], [members[i] for i in how.used], how)


@merge.register
def _(first: Dense, members: Sequence[Dense], how: Blend) -> Dense:
    weights = [how.weights[i] for i in how.used]
    one = {"vote": _vote, "logit": _mean_logit, "prob": _mean_probability}[how.rule]
    return Dense(
        ids=first.ids,
        fields={head: one([m.fields[head] for m in members], weights) for head in first.fields},
    )


def align(members: Sequence[Any], ids: Sequence[str]) -> list[Any]:
    """The members, of whatever type, with their images in the order of `ids`.

    Raises DataError when one answers other ids, some of them twice, or other heads or classes.
    """
    order = tuple(ids)
    shape = _shape(members[0])
    for member in members:
        if _shape(member) != shape:
            raise DataError(f"Members answer differently: {_shape(member)} and {shape} classes.")
    return [m if m.ids == order else m.take(rows_in(m.ids, order)) for m in members]


def _shape(member: Any) -> dict[str, int]:
    """Of logits the number of classes a head; other types tell by their ids alone what they answer."""
    if not isinstance(member, Dense):
        return {}
    return {head: values.shape[1] for head, values in member.fields.items()}


def tied_votes(members: Sequence[Dense], how: Blend) -> int:
    """Number of images on which the vote was a tie, in at least one head, and probability decided."""
    weights = [how.weights[i] for i in how.used]
    tied = np.zeros(len(members[0]), dtype=bool)
    for head in members[0].fields:
        _, leads = _votes([members[i].fields[head] for i in how.used], weights)
        tied |= leads.sum(1) > 1
    return int(tied.sum())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float32 [N, classes] of logits, none of them zero."""
    values: np.ndarray = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float32)
    values /= values.sum(1, keepdims=True)
    np.maximum(values, FLOOR, out=values)
    return values


def _mean_probability(logits: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    mean = weighted_mean(map(softmax, logits), weights)
    np.log(mean, out=mean)
    return mean


def _mean_logit(logits: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    mean = weighted_mean(logits, weights)
    mean -= mean.max(1, keepdims=True)
    mean -= np.log(np.exp(mean).sum(1, keepdims=True))
    return mean


def _vote(logits: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The votes with less than the leader's lead of mean probability on top: it orders equals only."""
    votes, leads = _votes(logits, weights)
    lead = votes.max(1, keepdims=True) - np.where(leads, 0.0, votes).max(1, keepdims=True)
    shares = votes + 0.5 * lead * weighted_mean(map(softmax, logits), weights)
    logarithms: np.ndarray = np.log(shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return logarithms


def _votes(logits: Sequence[np.ndarray], weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Votes float64 [N, classes] in shares of all, and which classes lead, bool [N, classes]."""
    votes = np.zeros(logits[0].shape)
    rows = np.arange(len(votes))
    for values, weight in zip(logits, weights, strict=True):
        votes[rows, values.argmax(1)] += weight / sum(weights)
    most = votes.max(1, keepdims=True)
    leads = votes >= most - 1e-9
    return np.where(leads, most, votes), leads
