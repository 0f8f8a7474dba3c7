"""Backbones of detectors, and the feature pyramid on top. Shapes: B images, side S in px."""

import dataclasses
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from trainables import pretrained
from trainables.errors import UsageError

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.models._pyramid import PyramidOptions

LIGHT = "light"
"""The backbone of our own."""
DEEPEST = 5
"""Maps of our own backbone: the last one has a stride of 32 px."""
GROUPS = 8


class ConvNorm(nn.Sequential):
    """3 x 3 convolution, batch normalisation, activation."""

    def __init__(self, num_in: int, num_out: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False), nn.BatchNorm2d(num_out), nn.SiLU(True)
        )


class Residual(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvNorm(channels, channels), ConvNorm(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class Ladder(nn.ModuleList):
    """Our own backbone: [B, 3, S, S] to a list of maps, the first at half the resolution, halved each time.

    `widths` are the maps' channels; they double up to eight times the first ones.
    """

    def __init__(self, levels: int, *, width: int, depth: int) -> None:
        self.widths = [width * 2 ** min(level, 3) for level in range(levels)]
        steps = []
        for level, (num_in, num_out) in enumerate(zip([3, *self.widths], self.widths, strict=False)):
            blocks = [Residual(num_out) for _ in range(depth if level else 0)]
            steps.append(nn.Sequential(ConvNorm(num_in, num_out, stride=2), *blocks))
        super().__init__(steps)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for step in self:
            x = step(x)
            maps.append(x)
        return maps


class Pyramid(nn.Module):
    """Views [B, 3, S, S] to maps of `out_channels`, by name "0", "1", ..., strides `finest`, twice that, ...

    Lin et al., "Feature pyramid networks", 2017. The coarser levels that the backbone has not are halved
    from its last one.
    """

    def __init__(self, config: "TrialConfig", options: "PyramidOptions") -> None:
        super().__init__()
        self.body, strides, widths = _body(config, options)
        self.used = [k for k, stride in enumerate(strides) if stride >= options.finest][: options.levels]
        if not self.used or strides[self.used[0]] != options.finest:
            raise UsageError(
                f"{options.backbone} has maps of the strides {strides}, none of {options.finest}.",
                fix="Choose one of them for finest.",
            )
        self.out_channels = options.channels
        self.fpn = FeaturePyramidNetwork([widths[k] for k in self.used], options.channels)
        self.more = options.levels - len(self.used)
        if options.norm == "group":
            _group_normalised(self)

    def forward(self, views: Tensor) -> dict[str, Tensor]:
        maps = self.body(views)
        found = self.fpn(OrderedDict((str(i), maps[k]) for i, k in enumerate(self.used)))
        levels = [level.float() for level in found.values()]
        for _ in range(self.more):
            levels.append(nn.functional.max_pool2d(levels[-1], 1, 2))
        return {str(i): level for i, level in enumerate(levels)}


def _body(config: "TrialConfig", options: "PyramidOptions") -> tuple[nn.Module, list[int], list[int]]:
    """A backbone that answers a list of maps, their strides and channels."""
    if options.backbone == LIGHT:
        if config.pretrained:
            raise UsageError(
                "Nobody publishes pretrained weights of the backbone 'light'.",
                fix="Set pretrained=false, or name a backbone of timm.",
            )
        ladder = Ladder(DEEPEST, width=options.width, depth=options.depth)
        return ladder, [2**k for k in range(1, DEEPEST + 1)], ladder.widths
    body = _of_timm(config, options.backbone)
    return body, list(body.feature_info.reduction()), list(body.feature_info.channels())


def _of_timm(config: "TrialConfig", name: str) -> Any:
    """Features of a timm model, with the weights that the trial asks for."""
    import timm

    if not timm.is_model(name):
        raise UsageError(f"There is no backbone {name!r}.", fix="Give 'light' or a name of timm's.")
    overlay = {}
    if config.weights:
        overlay["file"] = str(pretrained.weights_file(dataclasses.replace(config, model=name)))
    try:
        return timm.create_model(
            name, features_only=True, pretrained=config.pretrained, pretrained_cfg_overlay=overlay
        )
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"The backbone {name} cannot be made: {line}",
            fix=f"Choose another one; or {pretrained.HOW.format(model=name)}; or set pretrained=false.",
        ) from error


def _group_normalised(module: nn.Module) -> None:
    """Every batch normalisation in a module becomes one over groups of channels."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            grouped: nn.Module = nn.GroupNorm(math.gcd(child.num_features, GROUPS), child.num_features)
            if isinstance(child, BatchNormAct2d):
                grouped = nn.Sequential(grouped, child.drop, child.act)
            setattr(module, name, grouped)
        else:
            _group_normalised(child)


def anchor_sizes(options: "PyramidOptions") -> tuple[tuple[float, ...], ...]:
    """Sides in px of the anchors of each level: around `object_size` on the middle one, doubled each time."""
    middle = (options.levels - 1) / 2
    sides = [options.object_size * 2 ** (level - middle) for level in range(options.levels)]
    return tuple(tuple(side * 2 ** (k / 3) for k in (-1, 0, 1)) for side in sides)


def image_list(views: Tensor) -> Any:
    """A batch in torchvision's form: images of one size, which no one resizes."""
    from torchvision.models.detection.image_list import ImageList

    height, width = views.shape[-2:]
    return ImageList(views, [(height, width)] * len(views))


def mean_of(losses: dict[str, Tensor]) -> Tensor:
    """The sum [1] of losses that are means over a batch."""
    return torch.stack([loss.float() for loss in losses.values()]).sum()[None]
