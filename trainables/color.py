"""Colour as one affine map of RGB an image, with the normalisation folded in.

Normalisation is by ImageNet's mean and standard deviation for every data set, so that weights and
configuration alone make a prediction.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
LUMA = torch.tensor([0.299, 0.587, 0.114])
"""Weights of red, green and blue in luma (BT.601)."""
TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""RGB to luma and two axes of colour: hue is the angle between them."""
TO_RGB = torch.linalg.inv(TO_YIQ)


@dataclass(frozen=True)
class _Constants:
    """What maps colours, on one device."""

    mean: Tensor
    std: Tensor
    luma: Tensor
    to_yiq: Tensor
    to_rgb: Tensor
    eye: Tensor


@cache
def _constants(device: torch.device) -> _Constants:
    """Copied once: every copy from the host would make it wait for the device."""
    with torch.inference_mode(False):
        held = (MEAN[:, None], STD[:, None], LUMA, TO_YIQ, TO_RGB, torch.eye(3))
        return _Constants(*(tensor.to(device) for tensor in held))


def normalise(images: Tensor, out: Tensor | None = None) -> Tensor:
    """Images [B, 3, H, W] in 0..255, of any type, to normalised float32, in `out` where given."""
    if out is None:
        out = torch.empty(images.shape, device=images.device)
    known = _constants(images.device)
    scale, offset = 1 / (255 * known.std), known.mean / known.std
    return out.copy_(images).mul_(scale[:, :, None]).sub_(offset[:, :, None])


@dataclass(frozen=True)
class ColorMaps:
    """RGB maps x -> matrix x + lift grey of n images, grey being the mean luma of the image itself."""

    matrix: Tensor
    """[n, 3, 3]."""
    lift: Tensor
    """[n]."""

    def split(self, num_images: int) -> list["ColorMaps"]:
        """Those of each `num_images` images."""
        pairs = zip(self.matrix.split(num_images), self.lift.split(num_images), strict=True)
        return [ColorMaps(matrix, lift) for matrix, lift in pairs]

    def normalised(self, images: Tensor, out: Tensor) -> Tensor:
        """Images [n, 3, H, W] in 0..255 mapped, clipped to black and white, and normalised, in `out`."""
        images, known = images.float(), _constants(images.device)
        grey = images.mean(dim=(2, 3)) @ known.luma / 255
        offset = ((self.lift * grey)[:, None, None] - known.mean) / known.std
        flat = out.view(len(out), 3, -1)
        torch.baddbmm(offset, self.matrix / (255 * known.std), images.reshape(len(out), 3, -1), out=flat)
        for channel, (middle, spread) in enumerate(zip(MEAN.tolist(), STD.tolist(), strict=True)):
            out[:, channel].clamp_(-middle / spread, (1 - middle) / spread)
        return out


def color_maps(changes: Tensor) -> ColorMaps:
    """Maps of `changes` [n, 4]: factors of brightness, contrast and saturation, turn of the hue in radians.

    Applied in the order hue, saturation, contrast, brightness. Contrast stretches about the image's mean
    luma, which hue and saturation leave alone.
    """
    known = _constants(changes.device)
    brightness, contrast, saturation, turn = changes.unbind(1)
    hue = known.to_rgb @ _rotation(turn) @ known.to_yiq
    mix = saturation[:, None, None] * known.eye + (1 - saturation)[:, None, None] * known.luma
    return ColorMaps((brightness * contrast)[:, None, None] * (mix @ hue), brightness * (1 - contrast))


def mapped(images: Tensor, maps: ColorMaps) -> Tensor:
    """Float images [n, 3, H, W], in any scale, of changed colours; not clipped."""
    grey = images.mean(dim=(2, 3)) @ _constants(images.device).luma
    flat = images.reshape(len(images), 3, -1)
    return torch.baddbmm((maps.lift * grey)[:, None, None], maps.matrix, flat).view(images.shape)


def _rotation(turn: Tensor) -> Tensor:
    """Rotations [n, 3, 3] of the two colour axes of YIQ, from red to yellow for a positive turn."""
    rotation = torch.eye(3, device=turn.device).repeat(len(turn), 1, 1)
    rotation[:, 1, 1] = rotation[:, 2, 2] = turn.cos()
    rotation[:, 1, 2] = turn.sin()
    rotation[:, 2, 1] = -turn.sin()
    return rotation
