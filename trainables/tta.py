"""Test-time augmentation: a network looks at several views of an image, and its outputs are averaged.

The outputs themselves are averaged (logits, and not the probabilities), so that it serves every kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.feed import Feed

FILE = "tta.json"
"""In a trial's folder, where its predictions were made from several views: an `Account`."""
ZOOM = 8 / 7
"""Crops are taken from the picture at this many times the model's size, as in evaluation at 224 of 256 px."""
HALF = 0.5
"""Weight of the plain view where it is to be fitted and there is nothing to fit it on."""
WEIGHTS = tuple(i / 10 for i in range(11))

View = Callable[[Feed, Tensor, int], Tensor]
"""Rows [B] of a feed, as normalised float32 [B, 3, size, size]."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """What was done, and what it did to the validation part."""

    views: tuple[str, ...]
    """Beside the plain one; the mean of all their outputs has the weight 1 - `plain`."""
    plain: float
    """Weight of the plain view's outputs."""
    fitted: bool
    """Whether `plain` was chosen by the score of the validation part."""
    valid_plain: float
    """Score of the plain view alone: the trial's value."""
    valid_all: float
    """Score of what the folder's predictions hold."""
    averaged: str = "outputs (logits)"


def plain_view(feed: Feed, rows: Tensor, size: int) -> Tensor:
    """The whole picture."""
    return feed.plain(rows, size)


def views(config: TrialConfig) -> dict[str, View]:
    """The views beside the plain one by name: 1 mirrored, 5 crops, or those and all of their mirrors."""
    found: dict[str, View] = {}
    if config.tta in ("flip", "flip_crops"):
        found["flip"] = _mirrored(plain_view)
    if config.tta in ("crops", "flip_crops"):
        crops = {f"{down}-{across}": _crop(down, across) for down, across in _PLACES}
        found |= crops
        if config.tta == "flip_crops":
            found |= {f"{name} flip": _mirrored(crop) for name, crop in crops.items()}
    return found


_PLACES = (("top", "left"), ("top", "right"), ("middle", "middle"), ("bottom", "left"), ("bottom", "right"))
_SHARES = {"top": 0.0, "left": 0.0, "middle": 0.5, "bottom": 1.0, "right": 1.0}


def _mirrored(view: View) -> View:
    return lambda feed, rows, size: view(feed, rows, size).flip(-1)


def _crop(down: str, across: str) -> View:
    def crop(feed: Feed, rows: Tensor, size: int) -> Tensor:
        whole = round(ZOOM * size)
        top, left = (round(_SHARES[place] * (whole - size)) for place in (down, across))
        return feed.plain(rows, whole)[:, :, top : top + size, left : left + size]

    return crop


def plain_weight(config: TrialConfig) -> float:
    """The plain view's weight, as far as the configuration alone tells it."""
    return config.tta_plain if config.tta_plain >= 0 else HALF


def mixed(plain: Tensor, others: Tensor, weight: float) -> Tensor:
    """Outputs of the plain view by `weight`, of the others' mean by the rest."""
    return others.lerp(plain, weight)


def fit(plain: Tensor, others: Tensor, judge: Callable[[Tensor], tuple[float, ...]]) -> float:
    """The plain view's weight, of `WEIGHTS`, whose mix `judge` ranks highest.

    Of equals the greatest. Views that do not help get none, for 1 is among the weights.
    """
    ranks = {weight: judge(mixed(plain, others, weight)) for weight in WEIGHTS}
    return max(WEIGHTS, key=lambda weight: (ranks[weight], weight))


def mean(answers: Sequence[Tensor]) -> Tensor:
    """Of outputs [n, num_outputs] of several views."""
    return torch.stack(list(answers)).mean(0)
