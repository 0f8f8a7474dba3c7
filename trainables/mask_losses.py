"""Losses of masks that may overlap: each class is a question of its own, asked of every pixel.

All take logits and masks of 0 and 1, float32 [B, C, H, W], and give [B].
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.errors import unknown

if TYPE_CHECKING:
    from trainables.config import TrialConfig

DEFAULT = "bce_dice"
SMOOTH = 1.0
"""Pixels added to both halves of the soft Dice of a mask that is not empty."""
FORGIVEN = 0.01
"""The same for an empty mask, as a share of all pixels: with few, any answer at all would cost all."""
FOCUS = 2.0
"""Gamma of the focal loss where the trial names none, as in its paper."""


def mask_losses(logits: Tensor, masks: Tensor, config: "TrialConfig") -> Tensor:
    """The sum of the terms that `config.loss` names. Raises UsageError for a loss that is not known."""
    terms = LOSSES.get(DEFAULT if config.loss == "default" else config.loss)
    if terms is None:
        raise unknown("loss of masks", config.loss, ["default", *LOSSES])
    logits, masks = logits.float(), masks.float()
    return torch.stack([term(logits, masks, config) for term in terms]).sum(0)


def bce(logits: Tensor, masks: Tensor, config: "TrialConfig") -> Tensor:
    """Binary cross entropy, the mean over classes and pixels."""
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((1, 2, 3))


def focal(logits: Tensor, masks: Tensor, config: "TrialConfig") -> Tensor:
    """Focal loss (Lin et al., 2017) without class weights, the mean over classes and pixels."""
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    missed = (torch.sigmoid(logits) - masks).abs()
    return (missed ** (config.focal or FOCUS) * entropy).mean((1, 2, 3))


def dice(logits: Tensor, masks: Tensor, config: "TrialConfig") -> Tensor:
    """One less the soft Dice of each class (Milletari et al., 2016; without squares), their mean."""
    probabilities = torch.sigmoid(logits)
    known = masks.sum((2, 3))
    both = (probabilities * masks).sum((2, 3))
    total = probabilities.sum((2, 3)) + known
    smooth = torch.where(known > 0, SMOOTH, FORGIVEN * masks[0, 0].numel())
    return (1 - (2 * both + smooth) / (total + smooth)).mean(1)


def batch_dice(logits: Tensor, masks: Tensor, config: "TrialConfig") -> Tensor:
    """One less the soft Dice of each class over all pictures of the batch together, the mean over the classes
    that are there at all; the same for every picture.

    Where a class is in few pictures, the Dice of each picture by itself mostly asks for nothing to be found.
    """
    probabilities = torch.sigmoid(logits)
    known = masks.sum((0, 2, 3))
    both = (probabilities * masks).sum((0, 2, 3))
    total = probabilities.sum((0, 2, 3)) + known
    there = (known > 0).float()
    lost = there * (1 - (2 * both + SMOOTH) / (total + SMOOTH))
    return (lost.sum() / there.sum().clamp(min=1)).expand(len(logits))


def lovasz(logits: Tensor, masks: Tensor, config: "TrialConfig") -> Tensor:
    """Lovasz hinge (Berman et al., 2018) of each class, the mean over classes: a surrogate of 1 - IoU.

    Of an empty mask the surrogate is the hinge of the highest logit; only the others are sorted.
    """
    flat, truth = logits.flatten(2), masks.flatten(2)
    present = truth.any(2)
    empty = F.relu(1 + flat.amax(2))
    return empty.masked_scatter(present, _lovasz_hinge(flat[present], truth[present])).mean(1)


def _lovasz_hinge(logits: Tensor, truth: Tensor) -> Tensor:
    """[n] of logits and masks [n, pixels], none of them empty."""
    errors, order = (1 - logits * (2 * truth - 1)).sort(1, descending=True)
    inside = truth.gather(1, order)
    known = inside.sum(1, keepdim=True)
    iou_lost = 1 - (known - inside.cumsum(1)) / (known + (1 - inside).cumsum(1))
    steps = torch.diff(iou_lost, dim=1, prepend=torch.zeros_like(known))
    return (F.relu(errors) * steps).sum(1)


LOSSES: Mapping[str, tuple[Callable[[Tensor, Tensor, "TrialConfig"], Tensor], ...]] = {
    "bce": (bce,),
    "dice": (dice,),
    "focal": (focal,),
    "lovasz": (lovasz,),
    "bce_dice": (bce, dice),
    "bce_batchdice": (bce, batch_dice),
    "bce_lovasz": (bce, lovasz),
    "focal_dice": (focal, dice),
}
