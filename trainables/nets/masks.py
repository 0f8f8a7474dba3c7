"""The mask of an object, from the features in its box. K boxes of all images together."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from trainables.masking import FRAME, sampled

POOLED = 14
"""Side of the features in a box; the mask has twice that."""
DRAWN = 100
"""Masks drawn of an image at most, those of the best boxes."""
LOWEST = 0.05
"""Boxes of a lower score get no mask."""


class MaskHead(nn.Sequential):
    """Features [K, num_in, 14, 14] to logits [K, classes, 28, 28] (He et al., "Mask R-CNN", 2017)."""

    def __init__(self, num_in: int, num_classes: int, *, width: int, depth: int) -> None:
        layers: list[nn.Module] = []
        for k in range(depth):
            layers += [nn.Conv2d(num_in if k == 0 else width, width, 3, padding=1), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(width, width, 2, 2), nn.ReLU(True), nn.Conv2d(width, num_classes, 1)]
        super().__init__(*layers)
        for module in self:
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def mask_loss(logits: Tensor, boxes: Tensor, known: Tensor) -> Tensor:
    """Loss [K] of logits [K, classes, s, s] over boxes [K, 4] of objects `known` [K, 5 + FRAME * FRAME].

    An object's frame is read where the box lies over its own box; outside of it there is nothing.
    """
    own = known[:, :4]
    sides = (own[:, 2:] - own[:, :2]).clamp(min=1e-3).repeat(1, 2)
    inside = (boxes - own[:, :2].repeat(1, 2)) / sides * FRAME
    wanted = sampled(known[:, 5:].reshape(-1, FRAME, FRAME), inside, logits.shape[-1])
    drawn = chosen(logits.float(), known[:, 4].long())
    loss: Tensor = binary_cross_entropy_with_logits(drawn, (wanted >= 0.5).float(), reduction="none")
    return loss.mean((1, 2))


def worth_drawing(answers: Tensor) -> Tensor:
    """Of answers [B, K, 6], the best first, as many as any image has from `LOWEST` on; one at least."""
    most = int((answers[..., 4] >= LOWEST).sum(1).max())
    return answers[:, : max(1, min(most, DRAWN))]


def chosen(logits: Tensor, labels: Tensor) -> Tensor:
    """Of logits [K, classes, s, s] those of each object's label: [K, s, s]."""
    return logits[torch.arange(len(logits), device=logits.device), labels]
