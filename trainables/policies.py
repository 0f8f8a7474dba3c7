"""RandAugment and TrivialAugment: one list of operations, drawn anew for every image, on any device.

The list is that of TrivialAugment (Müller & Hutter, 2021). Images are grouped by operation, so each is
worked on once for all images that drew it. What is moved in is reflected at the border, and shear, turn and
shift are about the middle, as in the standard recipe.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.color import color_maps, mapped
from trainables.config import TrialConfig
from trainables.fused import affine_grid

NUM_OPERATIONS, MAGNITUDE = 2, 9
"""RandAugment: operations an image, and their strength of 30 (Cubuk et al., 2019)."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What the operations do at full strength."""

    shear: float
    """Tangent of the angle."""
    shift: float
    """Share of the side."""
    turn: float
    """Degrees."""
    factor: float
    """Brightness, contrast, saturation and sharpness change by up to this factor's distance from one."""
    bits: int
    """Left by posterize, of 8."""


RANDAUGMENT = Reach(shear=0.3, shift=150 / 331, turn=30, factor=0.9, bits=4)
WIDE = Reach(shear=0.99, shift=0.5, turn=135, factor=0.99, bits=2)
"""TrivialAugment's wide space; its shift of 32 px is half of the side here, whatever the size."""


class Policy:
    """Changes images float32 [B, 3, S, S] in 0..255 in place, each by operations of its own.

    `strength` in 0..1 is that of all operations; without one each is drawn uniformly.
    """

    def __init__(
        self, reach: Reach, generator: torch.Generator, *, num_operations: int, strength: float | None
    ) -> None:
        self.reach, self.generator = reach, generator
        self.num_operations, self.strength = num_operations, strength

    def __call__(self, x: Tensor) -> Tensor:
        for _ in range(self.num_operations):
            self._change(x, *self.draw(len(x)))
        return x

    def draw(self, num_images: int) -> tuple[Tensor, Tensor]:
        """One operation an image: its place [B] in `OPERATIONS` and its level [B] in -1..1, on the CPU."""
        drawn = torch.randint(len(OPERATIONS), (num_images,), generator=self.generator)
        levels = 2 * torch.rand(num_images, generator=self.generator) - 1
        return drawn, levels if self.strength is None else self.strength * levels.sign()

    def _change(self, x: Tensor, drawn: Tensor, levels: Tensor) -> None:
        order = drawn.argsort(stable=True)
        counts = drawn.bincount(minlength=len(OPERATIONS)).tolist()
        rows, sorted_levels = (t.to(x.device, non_blocking=True) for t in (order, levels[order]))
        groups = zip(OPERATIONS, rows.split(counts), sorted_levels.split(counts), strict=True)
        for operation, some, level in groups:
            if operation is not identity and len(some):
                x[some] = operation(x[some], level, self.reach)


def policy_of(config: TrialConfig, generator: torch.Generator) -> Policy | None:
    """The policy that a configuration asks for."""
    if config.augment == "randaugment":
        return Policy(RANDAUGMENT, generator, num_operations=NUM_OPERATIONS, strength=MAGNITUDE / 30)
    if config.augment == "trivialaugment":
        return Policy(WIDE, generator, num_operations=1, strength=None)
    return None


Operation = Callable[[Tensor, Tensor, Reach], Tensor]
"""Images float [n, 3, S, S] in 0..255, which may be written to, and levels [n] in -1..1 to such images."""


def identity(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    return x


def shear_x(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    return _warp(x, across=level * reach.shear)


def shear_y(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    return _warp(x, down=level * reach.shear)


def shift_x(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    return _warp(x, shift_x=level * reach.shift)


def shift_y(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    return _warp(x, shift_y=level * reach.shift)


def rotate(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    turn = torch.deg2rad(level * reach.turn)
    return _warp(x, stretch=turn.cos(), across=turn.sin(), down=-turn.sin())


def brightness(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    return _enhance(x, level * reach.factor, column=0)


def contrast(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    return _enhance(x, level * reach.factor, column=1)


def saturation(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    return _enhance(x, level * reach.factor, column=2)


def sharpness(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    """Away from, or towards, the image smoothed by a 3 x 3 kernel of ones about a five; edges stay."""
    inner = x[:, :, 1:-1, 1:-1]
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    box = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])
    smooth = box.add_(inner, alpha=4).div_(13)
    weight = (level * reach.factor)[:, None, None, None]
    inner.add_(torch.sub(inner, smooth, out=smooth).mul_(weight)).clamp_(0, 255)
    return x


def posterize(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    """Keep the leading bits: 8 at level zero, `reach.bits` at full strength."""
    dropped = (level.abs() * (8 - reach.bits)).round()
    step = torch.exp2(dropped)[:, None, None, None]
    return x.div_(step).floor_().mul_(step)


def solarize(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    """Invert what is brighter than a threshold: white at level zero, black at full strength."""
    threshold = 255 * (1 - level.abs())[:, None, None, None]
    return torch.where(x >= threshold, 255 - x, x)


def autocontrast(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    """Stretch each channel to 0..255; a channel of one value stays."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = high <= low
    scale = torch.where(flat, 1.0, 255 / (high - low))
    return x.sub_(low.masked_fill(flat, 0)).mul_(scale)


def equalize(x: Tensor, level: Tensor, reach: Reach) -> Tensor:
    """Make each channel's histogram flat, as Pillow does; a channel of one value stays."""
    num = 3 * len(x)
    values = x.round().clamp_(0, 255).long().view(num, -1)
    offset = torch.arange(0, 256 * num, 256, device=x.device)[:, None]
    counts = (values + offset).flatten().bincount(minlength=256 * num).view(num, 256)
    above = counts.gather(1, values.amax(1, keepdim=True))
    step = (values.shape[1] - above) // 255
    table = (counts.cumsum(1) - counts + step // 2) // step.clamp(min=1)
    table = torch.where(step > 0, table.clamp(max=255), torch.arange(256, device=x.device))
    return table.float().gather(1, values).view(x.shape)


OPERATIONS: tuple[Operation, ...] = (
    identity,
    shear_x,
    shear_y,
    shift_x,
    shift_y,
    rotate,
    brightness,
    contrast,
    saturation,
    sharpness,
    posterize,
    solarize,
    autocontrast,
    equalize,
)


def _warp(x: Tensor, **given: Tensor) -> Tensor:
    """Each view's pixel is read at (stretch p + across q, down p + stretch q), less the shift."""
    zero = torch.zeros(len(x), device=x.device)
    stretch = given.get("stretch", zero + 1)
    linear = torch.stack([stretch, given.get("across", zero), given.get("down", zero), stretch], 1)
    shift = torch.stack([given.get("shift_x", zero), given.get("shift_y", zero)], 1)
    grid = affine_grid(linear.view(-1, 2, 2), -2 * shift, x.shape[-1])
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _enhance(x: Tensor, change: Tensor, *, column: int) -> Tensor:
    """Brightness, contrast or saturation, by number, changed by a factor of 1 + change [n]."""
    changes = torch.tensor([1.0, 1.0, 1.0, 0.0], device=x.device).repeat(len(x), 1)
    changes[:, column] += change
    return mapped(x, color_maps(changes)).clamp_(0, 255)
