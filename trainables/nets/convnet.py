"""The modules of the searchable network. Shapes: B images, C channels, side S in px."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from timm.layers import BlurPool2d, DropPath, SelectAdaptivePool2d
from torch import Tensor, nn

if TYPE_CHECKING:
    from trainables.models.convnet import Options

MAX_STAGES = 4
SMALLEST_POOLED = 4
"""A map of a smaller side, in px, is not halved again."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "elu": nn.ELU,
}
INITS: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "xavier": lambda weight: nn.init.xavier_uniform_(weight, gain=math.sqrt(2)),
    "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain=math.sqrt(2)),
}


class MinPool2d(nn.MaxPool2d):
    """The smallest value of each window."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.neg(super().forward(-x))


class Block(nn.Module):
    """Two convolutions, [B, num_in, S, S] to [B, num_out, S, S], by choice around a shortcut.

    The residual branch has a learned gain per channel that starts at 1 / sqrt(depth), so that the sum
    of all branches starts with the same spread at any depth, and trains without normalisation too.
    """

    def __init__(self, num_in: int, num_out: int, options: "Options", *, drop_path: float) -> None:
        super().__init__()
        self.first = ConvNorm(num_in, num_out, options)
        self.second = ConvNorm(num_out, num_out, options)
        self.act = ACTIVATIONS[options.activation]()
        self.residual = options.residual
        if self.residual:
            same = num_in == num_out
            self.shortcut = nn.Identity() if same else nn.Conv2d(num_in, num_out, 1, bias=False)
            self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
            self.gain = nn.Parameter(torch.full((num_out,), options.depth**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.second(self.act(self.first(x)))
        if self.residual:
            branch = torch.addcmul(self.shortcut(x), self.drop_path(branch), self.gain[:, None, None])
        out: Tensor = self.act(branch)
        return out


class ConvNorm(nn.Sequential):
    """A convolution and its normalisation."""

    def __init__(self, num_in: int, num_out: int, options: "Options", *, stride: int = 1) -> None:
        kernel = options.kernel_size
        super().__init__(
            nn.Conv2d(num_in, num_out, kernel, stride, kernel // 2, bias=options.norm == "none"),
            _norm(options.norm, num_out),
        )


class ConvNet(nn.Module):
    """Stem, stages of blocks with a pooling between them, global pooling, dropout, linear head."""

    def __init__(self, options: "Options", *, image_size: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        channels = options.width
        self.stem = nn.Sequential(
            ConvNorm(3, channels, options, stride=options.stem_stride), ACTIVATIONS[options.activation]()
        )
        layers: list[nn.Module] = []
        drop_paths = iter([options.drop_path * (i + 1) / options.depth for i in range(options.depth)])
        side = math.ceil(image_size / options.stem_stride)
        for stage, num_blocks in enumerate(_spread(options.depth)):
            if stage and side >= SMALLEST_POOLED:
                layers.append(_pool(options.pooling, channels))
                side //= 2
            for block in range(num_blocks):
                num_out = channels * 2 if stage and block == 0 else channels
                layers.append(Block(channels, num_out, options, drop_path=next(drop_paths)))
                channels = num_out
        self.stages = nn.Sequential(*layers)
        self.pool = SelectAdaptivePool2d(pool_type=options.global_pool, flatten=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_outputs)
        self._initialise(INITS[options.init])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.pool(self.stages(self.stem(x)))))
        return logits

    def get_classifier(self) -> nn.Module:
        """The layer that answers, as timm's models tell theirs."""
        return self.head

    def group_matcher(self, *, coarse: bool = False) -> dict[str, str]:
        """Layers from the input on, a block each, as timm's layer decay reads them; the head is the last."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}

    def _initialise(self, init: Callable[[Tensor], Tensor]) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _spread(depth: int) -> list[int]:
    """Blocks of each stage, e.g. 6 -> [1, 2, 1, 2]."""
    stages = min(depth, MAX_STAGES)
    ends = [depth * (i + 1) // stages for i in range(stages)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(math.gcd(channels, 8), channels) if kind == "group" else nn.Identity()


def _pool(kind: str, channels: int) -> nn.Module:
    """Halves the side of a map."""
    if kind == "blur":
        pool: nn.Module = BlurPool2d(channels, filt_size=3, stride=2)
        return pool
    return {"max": nn.MaxPool2d, "avg": nn.AvgPool2d, "min": MinPool2d}[kind](2)
