"""From the store's bytes to a network's input: resized, augmented in batches on the device, normalised.

Geometry is one kornia warp for crop, flip, rotation and shift together; colour is one affine map of RGB
per image with the normalisation folded in (kornia's own colour jitter takes ten times as long as all of
this on a CPU); erasing and RandAugment are kornia's. Normalisation is by ImageNet's mean and standard
deviation for every data set, so that weights and configuration alone make a prediction.
"""

import math

import torch
import torch.nn.functional as F
from kornia.augmentation import RandomErasing
from kornia.augmentation.auto import RandAugment
from kornia.geometry.transform import get_affine_matrix2d, warp_affine
from torch import Tensor

from trainables.config import TrialConfig

MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])
LUMA = torch.tensor([0.299, 0.587, 0.114])
"""Weights of red, green and blue in luma (BT.601)."""
YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""RGB to luma and two axes of colour: hue is the angle between them."""

LONGEST_ASPECT = 4 / 3
"""Random crops are at most this much longer than wide, or wider than long."""
JITTER = 0.8
"""Brightness, contrast and saturation change by up to this share at colour strength 1 (as in SimCLR)."""
HUE_TURN = 0.2
"""Hue turns by up to this share of the circle at colour strength 1."""
RANDAUGMENT = {"n": 2, "m": 9}
"""Operations a batch and their magnitude of 30 (Cubuk et al., 2019)."""
ERASED_AREA = (0.02, 0.33)


def plain(images: Tensor, size: int) -> Tensor:
    """The whole picture: uint8 [B, 3, S, S] to normalised float [B, 3, size, size]."""
    return _matrix_color(resize(images, size).float() / 255, *_normalise(len(images)))


def resize(images: Tensor, size: int) -> Tensor:
    """Bilinear and antialiased, to [B, 3, size, size]; uint8 stays uint8 on a CPU."""
    if images.shape[-1] == size:
        return images
    if images.device.type == "cpu":
        return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    return F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)


class Augment:
    """Random views of a batch, uint8 [B, 3, S, S] to normalised float [B, 3, size, size].

    Only what the configuration asks for is done; `augment="none"` does none of it. RandAugment comes on
    top of the other augmentations, and draws its two operations once a batch. Random numbers come from
    `generator` and, for what kornia draws, from torch's global one.
    """

    def __init__(self, config: TrialConfig, generator: torch.Generator) -> None:
        self.size = config.image_size
        self.config = config
        self.generator = generator
        on = config.augment != "none"
        self.moves = on and bool(config.crop or config.flip or config.rotation or config.translate)
        self.colors = on and config.color > 0
        self.policy = RandAugment(**RANDAUGMENT) if config.augment == "randaugment" else None
        self.erase = RandomErasing(scale=ERASED_AREA, p=config.erasing) if on and config.erasing else None

    def __call__(self, images: Tensor) -> Tensor:
        x = self._views(images)
        if self.policy is not None:
            x = self.policy(x.contiguous()).clamp(0, 1)
        x = _matrix_color(x, *(self._jitter(x) if self.colors else _normalise(len(x))))
        if self.erase is not None:
            x = self.erase(x)
        return x

    def _views(self, images: Tensor) -> Tensor:
        """Float [B, 3, size, size] in 0..1. Enlarging is left to the warp, shrinking needs a filter first."""
        if not self.moves:
            return resize(images, self.size).float() / 255
        x = resize(images, min(self.size, images.shape[-1])).float() / 255
        matrix = self._placement(len(x), side=x.shape[-1]).to(x.device)
        views: Tensor = warp_affine(x, matrix, (self.size, self.size), padding_mode="reflection")
        return views

    def _placement(self, num_images: int, *, side: int) -> Tensor:
        """Affine maps [B, 2, 3] from pixels of the source to pixels of the view."""
        config = self.config
        area = 1 - config.crop * self._uniform(num_images, 0, 1)
        stretch = math.log(LONGEST_ASPECT) / 2 if config.crop else 0.0
        aspect = torch.exp(self._uniform(num_images, -stretch, stretch))
        box = (side * torch.stack([area.sqrt() * aspect, area.sqrt() / aspect], 1)).clamp(max=side)
        center = box / 2 + (side - box) * self._uniform((num_images, 2), 0, 1) - 0.5
        shift = self.size * config.translate * self._uniform((num_images, 2), -1, 1)
        angle = self._uniform(num_images, -config.rotation, config.rotation)
        scale = self.size / box
        if config.flip:
            scale[:, 0] *= torch.where(self._uniform(num_images, 0, 1) < 0.5, -1.0, 1.0)
        middle = (self.size - 1) / 2
        matrix: Tensor = get_affine_matrix2d(middle - center + shift, center, scale, angle)
        return matrix[:, :2]

    def _jitter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Colour changes of a batch in 0..1, the normalisation folded in."""
        num, reach = len(x), JITTER * self.config.color
        brightness, contrast, saturation = (1 + self._uniform((3, num, 1, 1), -reach, reach)).to(x.device)
        turn = self._uniform(num, -1, 1) * HUE_TURN * self.config.color * 2 * math.pi
        grey = x.mean(dim=(2, 3)) @ LUMA.to(x.device)
        matrix, offset = color_maps(brightness, contrast, saturation, turn.to(x.device), grey)
        return _fold(matrix, offset)

    def _uniform(self, shape: int | tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.rand(shape, generator=self.generator) * (high - low) + low


def color_maps(
    brightness: Tensor, contrast: Tensor, saturation: Tensor, turn: Tensor, grey: Tensor
) -> tuple[Tensor, Tensor]:
    """RGB maps x -> A x + b of n images as A [n, 3, 3], b [n, 3, 1]: hue, saturation, contrast, brightness.

    The factors are [n, 1, 1], `turn` [n] in radians, and `grey` [n] is each image's mean luma, about which
    contrast stretches; hue and saturation leave it alone.
    """
    to_yiq, luma = YIQ.to(turn.device), LUMA.to(turn.device)
    hue = torch.linalg.inv(to_yiq) @ _rotation(turn) @ to_yiq
    mix = saturation * torch.eye(3, device=turn.device) + (1 - saturation) * luma.expand(3, 3)
    offset = brightness * (1 - contrast) * grey[:, None, None]
    return brightness * contrast * (mix @ hue), offset.expand(-1, 3, 1)


def _rotation(turn: Tensor) -> Tensor:
    """Rotations [n, 3, 3] of the two colour axes of YIQ."""
    rotation = torch.eye(3, device=turn.device).repeat(len(turn), 1, 1)
    rotation[:, 1, 1] = rotation[:, 2, 2] = turn.cos()
    rotation[:, 2, 1] = turn.sin()
    rotation[:, 1, 2] = -turn.sin()
    return rotation


def _fold(matrix: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """The same maps, followed by the normalisation."""
    mean, std = MEAN.to(matrix.device)[:, None], STD.to(matrix.device)[:, None]
    return matrix / std, (offset - mean) / std


def _normalise(num_images: int) -> tuple[Tensor, Tensor]:
    """The maps of images whose colours stay."""
    return _fold(torch.eye(3).expand(num_images, 3, 3), torch.zeros(num_images, 3, 1))


def _matrix_color(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """x -> matrix x + offset of every pixel of [B, 3, H, W]."""
    flat = x.reshape(len(x), 3, -1)
    return torch.baddbmm(offset.to(x.device), matrix.to(x.device), flat).view(x.shape)
