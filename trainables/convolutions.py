"""Convolutions for a CPU whose gradients oneDNN computes slowly on small maps; the same sums, faster.

Without AVX-512, oneDNN's weight gradient of a depthwise convolution is 10 to 70 times slower than its
forward pass unless the kernel is 3 x 3 inside the map, and a dense one of many channels on a map of a few
pixels spends its time reordering weights. `quicken` swaps the class of such layers in place: parameters,
names and the state stay. Both give the gradients of torch's own convolution up to rounding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 3
"""Side of the depthwise kernels whose weight gradient oneDNN computes fast."""
MOST_ROWS = 512
"""Dense layers use a matrix product where a batch has at most this many output pixels ..."""
FEWEST_CHANNELS = 64
"""... and at least this many output channels."""


def quicken(model: nn.Module) -> nn.Module:
    """Let plain depthwise and dense convolutions use the forms below; returns the same model.

    Layers of other classes (weight-standardised, "same"-padded) are left alone.
    """
    for layer in model.modules():
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and _is_square(layer):
            if layer.groups == layer.in_channels == layer.out_channels and layer.groups > 1:
                layer.__class__ = DepthwiseConv2d
            elif layer.groups == 1:
                layer.__class__ = DenseConv2d
    return model


def _is_square(layer: nn.Conv2d) -> bool:
    pairs = (layer.kernel_size, layer.stride, layer.padding)
    return layer.dilation == (1, 1) and all(not isinstance(p, str) and p[0] == p[1] for p in pairs)


class DepthwiseConv2d(nn.Conv2d):
    """One filter a channel, square and undilated."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        side, stride, padding = weight.shape[-1], self.stride[0], int(self.padding[0])
        # taps that only ever meet the padding around a small map are left out
        spare = max(0, padding + 1 - max(input.shape[-2:]))
        if spare and stride == 1 and side == 2 * padding + 1:
            weight = weight[:, :, spare : side - spare, spare : side - spare]
            padding -= spare
        answer: Tensor = _Convolution.apply(input, weight, bias, stride, padding)
        return answer


class DenseConv2d(nn.Conv2d):
    """All channels to all channels, square and undilated."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        stride, padding = self.stride[0], int(self.padding[0])
        rows = input[:, 0].numel() // stride**2
        if rows > MOST_ROWS or len(weight) < FEWEST_CHANNELS:
            whole: Tensor = super()._conv_forward(input, weight, bias)
            return whole
        if weight.shape[-1] == stride == 1 and not padding:
            product = F.linear(input.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias)
            return product.permute(0, 3, 1, 2)
        answer: Tensor = _Convolution.apply(input, weight, bias, stride, padding)
        return answer


class _Convolution(torch.autograd.Function):
    """The convolution of torch with a weight gradient of its own."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, 1, x.shape[1] // weight.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _gradients(grad, x, weight, ctx.stride, ctx.padding, of_weight=False)
        if ctx.needs_input_grad[1]:
            is_depthwise = weight.shape[1] == 1 < x.shape[1]
            gradient = _depthwise_gradient if is_depthwise else _dense_gradient
            grad_weight = gradient(grad, x, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None


def _dense_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """One matrix product of the output's gradient and the patches that it came from."""
    num, channels, side, _ = weight.shape
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    patches = x.unfold(1, side, stride).unfold(2, side, stride).permute(0, 1, 2, 4, 5, 3)
    rows = grad.permute(0, 2, 3, 1).reshape(-1, num)
    product = rows.T @ patches.reshape(len(rows), -1)
    return product.view(num, side, side, channels).permute(0, 3, 1, 2)


def _depthwise_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Blocks of 3 x 3 taps, each as the gradient of a 3 x 3 convolution without padding."""
    side = weight.shape[-1]
    if side == BLOCK and min(x.shape[-2:]) >= BLOCK:
        return _gradients(grad, x, weight, stride, padding, of_weight=True)
    spare = -side % BLOCK
    x = F.pad(x, (padding, padding + spare, padding, padding + spare))
    block = weight.new_empty(len(weight), 1, BLOCK, BLOCK)
    height, width = (stride * (size - 1) + BLOCK for size in grad.shape[-2:])
    taps = weight.new_empty(len(weight), 1, side + spare, side + spare)
    for top in range(0, side, BLOCK):
        for left in range(0, side, BLOCK):
            window = x[:, :, top : top + height, left : left + width]
            window = window.contiguous(memory_format=torch.channels_last)
            taps[:, :, top : top + BLOCK, left : left + BLOCK] = _gradients(
                grad, window, block, stride, 0, of_weight=True
            )
    return taps[:, :, :side, :side]


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, *, of_weight: bool
) -> Tensor:
    """oneDNN's gradient of the input, or of the weight."""
    groups = x.shape[1] // weight.shape[1]
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups,
        [not of_weight, of_weight, False],
    )  # fmt: skip
    gradient: Tensor = found[int(of_weight)]
    return gradient
