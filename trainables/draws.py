"""Random numbers of the augmentations of a batch, drawn as kornia's classes draw theirs.

Crops are RandomResizedCrop's, flips RandomHorizontalFlip's, turns and shifts RandomAffine's, colours
ColorJitter's, rectangles RandomErasing's. All are drawn on the CPU, as one table that crosses to a GPU in
one copy.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config import TrialConfig

LONGEST_ASPECT = 4 / 3
"""Random crops are at most this much longer than wide, or wider than long."""
CANDIDATES = 10
"""Crops drawn for an image; the first that fits is taken, the whole picture where none does."""
JITTER = 0.8
"""Brightness, contrast and saturation change by up to this share at colour strength 1 (as in SimCLR)."""
HUE_TURN = 0.2
"""Hue turns by up to this share of the circle at colour strength 1."""
ERASED_AREA = (0.02, 0.33)
ERASED_ASPECT = (0.3, 3.3)
"""Height over width of an erased rectangle; half of them lie below 1."""
WIDTHS = (4, 1, 1, 2, 4, 4)
"""Columns of each field of `Draws`, in their order."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What happens to each image of a batch; float32, one row an image."""

    box: Tensor
    """[B, 4] x, y, width, height of the crop, in px of the source."""
    sign: Tensor
    """[B, 1] -1 where the image is mirrored, else 1."""
    angle: Tensor
    """[B, 1] clockwise, in degrees."""
    shift: Tensor
    """[B, 2] to the right and down, in px of the view."""
    color: Tensor
    """[B, 4] factors of brightness, contrast and saturation, and the turn of the hue in radians."""
    erased: Tensor
    """[B, 4] x, y, width, height of the rectangle in px of the view; width 0 where there is none."""

    @property
    def table(self) -> Tensor:
        """[B, 16] all of it, side by side."""
        return torch.cat([self.box, self.sign, self.angle, self.shift, self.color, self.erased], 1)

    def to(self, device: torch.device) -> "Draws":
        """The same on another device, by one copy that the host does not wait for."""
        table = self.table.pin_memory() if device.type == "cuda" else self.table
        return _draws(table.to(device, non_blocking=True))

    def split(self, num_images: int) -> "list[Draws]":
        """Those of each `num_images` images."""
        return [_draws(table) for table in self.table.split(num_images)]


def draw(
    config: TrialConfig, generator: torch.Generator, num_images: int, *, side: int, whole_pixels: bool
) -> Draws:
    """Draws for images of `side` px. The same amount of randomness is used whatever is asked for.

    With `whole_pixels` crops begin and end at a pixel's edge.
    """
    u = torch.rand(num_images, 2 * CANDIDATES + 17, generator=generator)
    crop, u = u[:, : 2 * CANDIDATES + 2], u[:, 2 * CANDIDATES + 2 :]
    mirrored = (u[:, :1] < 0.5) & config.flip
    reach = torch.tensor([JITTER, JITTER, JITTER, 2 * math.pi * HUE_TURN]) * config.color
    return Draws(
        box=_boxes(crop, config.crop, side=side, whole_pixels=whole_pixels),
        sign=1 - 2 * mirrored.float(),
        angle=(2 * u[:, 1:2] - 1) * config.rotation,
        shift=(2 * u[:, 2:4] - 1) * config.translate * config.image_size,
        color=torch.tensor([1.0, 1.0, 1.0, 0.0]) + (2 * u[:, 4:8] - 1) * reach,
        erased=_rectangles(u[:, 8:14], config.erasing, size=config.image_size),
    )


def _boxes(u: Tensor, crop: float, *, side: int, whole_pixels: bool) -> Tensor:
    """Crops [B, 4] of random numbers [B, 2 CANDIDATES + 2] in 0..1."""
    if not crop:
        return torch.tensor([0.0, 0.0, side, side]).repeat(len(u), 1)
    area = (1 - crop * u[:, :CANDIDATES]) * side**2
    aspect = torch.exp((2 * u[:, CANDIDATES:-2] - 1) * math.log(LONGEST_ASPECT))
    sizes = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 2)
    if whole_pixels:
        sizes = sizes.round().clamp(min=1)
    fits = (sizes <= side).all(2)
    chosen = sizes[torch.arange(len(u)), fits.int().argmax(1)]
    size = torch.where(fits.any(1, keepdim=True), chosen, float(side))
    corner = u[:, -2:] * (side - size + whole_pixels)
    return torch.cat([corner.floor() if whole_pixels else corner, size], 1)


def _rectangles(u: Tensor, probability: float, *, size: int) -> Tensor:
    """Rectangles [B, 4] to erase, of random numbers [B, 6] in 0..1."""
    low, high = ERASED_AREA
    area = (low + (high - low) * u[:, 0]) * size**2
    flattest, tallest = ERASED_ASPECT
    flat, tall = flattest + (1 - flattest) * u[:, 1], 1 + (tallest - 1) * u[:, 1]
    aspect = torch.where(u[:, 2] < 0.5, flat, tall)
    extent = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], 1).round().clamp(1, size)
    corner = (u[:, 3:5] * (size - extent + 1)).floor()
    width = torch.where(u[:, 5:6] < probability, extent[:, :1], 0.0)
    return torch.cat([corner, width, extent[:, 1:]], 1)


def _draws(table: Tensor) -> Draws:
    box, sign, angle, shift, color, erased = table.split(WIDTHS, 1)
    return Draws(box=box, sign=sign, angle=angle, shift=shift, color=color, erased=erased)
