"""Networks that enlarge a picture. Shapes: B pictures, height H and width W at low resolution, factor r."""

from collections.abc import Callable
from math import isqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trainables import pretrained
from trainables.color import MEAN, STD
from trainables.errors import UsageError

if TYPE_CHECKING:
    from trainables.config import TrialConfig

ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "relu": lambda _: nn.ReLU(inplace=True),
    "leaky_relu": lambda _: nn.LeakyReLU(0.1, inplace=True),
    "prelu": nn.PReLU,
    "gelu": lambda _: nn.GELU(),
    "silu": lambda _: nn.SiLU(inplace=True),
}
"""Of as many channels."""
BRANCH = 0.1
"""Of the first weights of what is added to a shortcut: a deep network begins as a shallow one."""
REACH = 2
"""Pixels to either side that bicubic interpolation between pixels looks at."""


def upscaler(body: nn.Module, config: "TrialConfig", *, channels: int, num_outputs: int) -> "Upscaler":
    """The network around a body of so many channels, whose factor squared is `num_outputs`.

    Raises UsageError for pretrained weights without a file of them, or a file of another network's.
    """
    if config.pretrained and not config.weights:
        raise UsageError(
            f"Nobody publishes pretrained weights of our {config.model}.",
            fix="Set pretrained=false, or give an earlier trial's weights.safetensors with --weights.",
        )
    model = Upscaler(body, channels=channels, scale=isqrt(num_outputs))
    if config.weights:
        pretrained.load(model, config, head=["head"])
    return model


class Upscaler(nn.Module):
    """Normalised float [B, 3, H, W] to pictures float32 [B, 3, rH, rW] in 0..1, not clipped.

    The body's features [B, C, H, W] become, by a convolution and a pixel shuffle (Shi et al., 2016), what
    bicubic enlargement lacks in luma, and that is added to all colours. Before the first update the answer
    is the bicubic one (a global residual as in VDSR, Kim et al., 2016).
    """

    def __init__(self, body: nn.Module, *, channels: int, scale: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Conv2d(channels, scale * scale, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.shuffle = nn.PixelShuffle(scale)
        self.enlarge = Enlarge(scale)

    def forward(self, x: Tensor) -> Tensor:
        lacking: Tensor = self.shuffle(self.head(self.body(x)))
        pictures: Tensor = self.enlarge(x) + lacking.float()
        return pictures


class Enlarge(nn.Module):
    """Bicubic enlargement of normalised pictures, as `trainables.bicubic.enlarge` less its rounding.

    One convolution and a pixel shuffle, in float32 under any autocast; nothing is learned.
    """

    kernels: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.shuffle = nn.PixelShuffle(scale)
        self.register_buffer("kernels", _kernels(scale), persistent=False)
        self.register_buffer("mean", MEAN[:, None, None].clone(), persistent=False)
        self.register_buffer("std", STD[:, None, None].clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            colors = (x.detach().float() * self.std + self.mean).flatten(0, 1)[:, None]
            around = nn.functional.pad(colors, [REACH] * 4, mode="replicate")
            large: Tensor = self.shuffle(nn.functional.conv2d(around, self.kernels))
        return large.reshape(len(x), 3, *large.shape[-2:])


class Stack(nn.Sequential):
    """`depth` convolutions of 3x3, each with its activation: VDSR's body, at low resolution."""

    def __init__(self, *, depth: int, width: int, activation: str) -> None:
        layers: list[nn.Module] = []
        for channels in [3, *[width] * (depth - 1)]:
            layers += [_convolution(channels, width), ACTIVATIONS[activation](width)]
        super().__init__(*layers)


class Residual(nn.Module):
    """EDSR's body (Lim et al., 2017): blocks of two convolutions without normalisation, and a long skip."""

    def __init__(self, *, blocks: int, width: int, residual_scale: float, activation: str) -> None:
        super().__init__()
        self.first = _convolution(3, width)
        self.blocks = nn.Sequential(*[Block(width, residual_scale, activation) for _ in range(blocks)])
        self.last = _convolution(width, width, gain=BRANCH)

    def forward(self, x: Tensor) -> Tensor:
        features = self.first(x)
        return features + self.last(self.blocks(features))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two convolutions whose result, times `residual_scale`, is added to what came in."""

    def __init__(self, width: int, residual_scale: float, activation: str) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.act = ACTIVATIONS[activation](width)
        self.second = _convolution(width, width, gain=BRANCH)
        self.scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.second(self.act(self.first(x)))  # type: ignore[no-any-return]


class Hourglass(nn.Sequential):
    """FSRCNN's body (Dong et al., 2016): wide features are narrowed, mapped by `depth` cheap convolutions
    and widened again."""

    def __init__(self, *, depth: int, width: int, narrow: int, activation: str) -> None:
        act = ACTIVATIONS[activation]
        layers: list[nn.Module] = [_convolution(3, width, 5), act(width)]
        layers += [_convolution(width, narrow, 1), act(narrow)]
        for _ in range(depth):
            layers += [_convolution(narrow, narrow), act(narrow)]
        super().__init__(*layers, _convolution(narrow, width, 1), act(width))


def _convolution(before: int, after: int, size: int = 3, *, gain: float = 1.0) -> nn.Conv2d:
    """Of He's initial weights, which keep the spread through a rectifier, times `gain`."""
    convolution = nn.Conv2d(before, after, size, padding=size // 2)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        convolution.weight *= gain
    return convolution


def _kernels(scale: int) -> Tensor:
    """Weights [r r, 1, 5, 5] of a pixel's neighbours in each of the r x r pixels that it becomes."""
    centres = (torch.arange(scale) + 0.5) / scale - 0.5
    along = _cubic(centres[:, None] - torch.arange(-REACH, REACH + 1))
    return torch.einsum("ik,jl->ijkl", along, along).flatten(0, 1)[:, None].contiguous()


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel (1981) with a = -0.5."""
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
