"""Anti-aliased downsampling (Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019).

A layer of stride 2 becomes the same layer of stride 1 and a binomial 3 x 3 low-pass of stride 2. The class of
such layers is swapped in place: parameters, names and shapes stay, so that published weights still fit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BINOMIAL = torch.tensor([1.0, 2.0, 1.0]) / 4


def blur_down(x: Tensor, taps: Tensor) -> Tensor:
    """[B, C, S, S] low-passed by taps [1, 1, 3, 3] to sides of (S + 1) // 2; edges are mirrored."""
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect" if min(x.shape[-2:]) > 1 else "replicate")
    return F.conv2d(padded, taps.expand(x.shape[1], 1, 3, 3), stride=2, groups=x.shape[1])


class BlurredMaxPool2d(nn.MaxPool2d):
    """The greatest value of each window at every pixel, then the low-pass."""

    taps: Tensor

    def forward(self, x: Tensor) -> Tensor:
        dense = F.max_pool2d(x, self.kernel_size, 1, self.padding, self.dilation)
        return blur_down(dense, self.taps)


class BlurredConv2d(nn.Conv2d):
    """The convolution at every pixel, then the low-pass; a 1 x 1 one, with which it commutes, after it."""

    taps: Tensor

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.kernel_size == (1, 1) and self.padding == (0, 0):
            return F.conv2d(blur_down(input, self.taps), weight, bias, groups=self.groups)
        dense = F.conv2d(input, weight, bias, 1, self.padding, self.dilation, self.groups)
        return blur_down(dense, self.taps)


def blur(model: nn.Module) -> int:
    """Let a network downsample so; how many layers do.

    As in the paper the first convolution is left as it is: it sees the most pixels, and would cost the most.
    So are layers of other strides, pools that round their size up, and classes of their own.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    first = next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None)
    found = [layer for layer in layers if layer is not first and _halves(layer)]
    for layer in found:
        layer.__class__ = BlurredConv2d if isinstance(layer, nn.Conv2d) else BlurredMaxPool2d
        layer.register_buffer("taps", (BINOMIAL[:, None] * BINOMIAL)[None, None].clone(), persistent=False)
    return len(found)


def _halves(layer: nn.Module) -> bool:
    if type(layer) is nn.MaxPool2d:
        return layer.stride in (2, (2, 2)) and not layer.return_indices and not layer.ceil_mode
    return type(layer) is nn.Conv2d and layer.stride == (2, 2) and layer.padding_mode == "zeros"
