"""Merge maps and pictures under weights, image by image, when one is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ensembles.merging import Blend, Rule, merge, weighted_mean
from trainables.errors import DataError
from trainables.maps import Maps

LEAST = {"byte": np.float32(1 / 510), "half": np.float32(2**-11)}
"""Half a step of the stored probabilities: what a stored 0 may have been, so that its logit is finite."""
TIE = 1e-6


@merge.register
def _(first: Maps, members: Sequence[Maps], how: Blend) -> Maps:
    """Probabilities of each class merged by the rule; pictures as their rounded mean, whatever the rule."""
    _check(first, members)
    weights = tuple(how.weights[i] for i in how.used)
    return Maps(ids=first.ids, images=_Merged(tuple(members), weights, how.rule), form=first.form)


@dataclass(frozen=True)
class _Merged:
    """Images of several members, merged when they are read."""

    members: tuple[Maps, ...]
    weights: tuple[float, ...]
    rule: Rule

    def __len__(self) -> int:
        return len(self.members[0])

    def __getitem__(self, row: int) -> np.ndarray:
        images = [member.image(row) for member in self.members]
        shapes = {image.shape for image in images}
        first = self.members[0]
        if len(shapes) > 1:
            raise DataError(f"Members answer {first.ids[row]!r} in other shapes: {sorted(shapes)}.")
        if first.form == "picture":
            mean: np.ndarray = np.rint(weighted_mean(images, self.weights)).astype(np.uint8)
            return mean
        return _probability(images, self.weights, self.rule, least=LEAST[first.form])


def _probability(
    images: Sequence[np.ndarray], weights: Sequence[float], rule: Rule, *, least: np.float32
) -> np.ndarray:
    """Merged probabilities float32 [C, H, W]."""
    if rule == "logit":
        return _mean_logit(images, weights, least)
    mean = weighted_mean(images, weights)
    if rule == "vote":
        mean = _vote(images, weights, mean)
    inside: np.ndarray = np.clip(mean, 0, 1)
    return inside


def _mean_logit(images: Sequence[np.ndarray], weights: Sequence[float], least: np.float32) -> np.ndarray:
    inside = (np.clip(image, least, 1 - least) for image in images)
    mean = weighted_mean((np.log(p / (1 - p)) for p in inside), weights)
    probabilities: np.ndarray = 1 / (1 + np.exp(-mean))
    return probabilities


def _vote(images: Sequence[np.ndarray], weights: Sequence[float], mean: np.ndarray) -> np.ndarray:
    """Above a half where most of the weight is for a pixel; ties go by the mean probability.

    As for classes, each of the two sides has its votes and less than the leader's lead of the mean
    probability on top: that orders equals only.
    """
    share = weighted_mean((image > 0.5 for image in images), weights)
    ahead = np.abs(2 * share - 1)
    tied = ahead < TIE
    share[tied] = 0.5
    ahead[tied] = 0.5
    merged: np.ndarray = (share + 0.5 * ahead * mean) / (1 + 0.5 * ahead)
    return merged


def _check(first: Maps, members: Sequence[Maps]) -> None:
    for member in members:
        if (member.ids, member.form) != (first.ids, first.form):
            raise DataError(
                "Members answer other images or in other forms.",
                fix="Ensemble trials of one search, on one state of the data.",
            )
