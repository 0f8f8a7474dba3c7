"""The standard recipe in few passes over the pixels: one resampling, one colour matrix, one fill.

The same draws give the same pixels as kornia's classes one after another, but for clipping between them.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.color import color_maps, normalise
from trainables.config import TrialConfig
from trainables.crops import crop_products, crop_views, resize
from trainables.draws import Draws, draw

SHRINK = 1.5
"""A warp takes no more than this many source pixels to a pixel of the view; the source is shrunk first."""
CPU_CHUNK = 2**17
"""Pixels of the views worked on together on a CPU: so many stay in the cache."""
BATCHED_CHUNK = 2**24
"""The same elsewhere; bounds the room for what lies between the passes."""


Geometry = Literal["whole", "crop", "warp"]


class FusedRecipe:
    """Random views of rows of a source, uint8 [n, 3, S, S], as normalised float32 [B, 3, size, size].

    `policy`, where given, changes float images in 0..255 between geometry and colour, in place.
    """

    def __init__(
        self,
        config: TrialConfig,
        generator: torch.Generator,
        policy: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.config, self.generator, self.policy = config, generator, policy
        self.size = config.image_size
        moves = config.crop or config.flip or config.rotation or config.translate
        self.asked = bool(moves or config.color or config.erasing or policy)

    def __call__(self, source: Tensor, rows: Tensor, *, batched: bool | None = None) -> Tensor:
        """Views of `rows` [B], which lie on the CPU.

        `batched` is the way of accelerators, with no loop over images; by default it is taken everywhere
        but on a CPU. Both ways give the same pixels, but for rounding to uint8.
        """
        if not self.asked:
            return normalise(resize(source[rows.to(source.device, non_blocking=True)], self.size))
        if batched is None:
            batched = source.device.type != "cpu"
        side = source.shape[-1]
        whole_pixels = self.geometry(side) == "crop"
        draws = draw(self.config, self.generator, len(rows), side=side, whole_pixels=whole_pixels)
        draws = draws.to(source.device)
        views = torch.empty(len(rows), 3, self.size, self.size, device=source.device)
        num = max(1, (BATCHED_CHUNK if batched else CPU_CHUNK) // self.size**2)
        if self.policy is not None:
            num = len(rows)
        colors = color_maps(draws.color).split(num)
        pieces = zip(views.split(num), rows.split(num), draws.split(num), colors, strict=True)
        for out, some, drawn, maps in pieces:
            x = self._placed(source, some, drawn, batched)
            if self.policy is not None:
                x = self.policy(x.float().contiguous())
            x = maps.normalised(x, out) if self.config.color else normalise(x, out)
            if self.config.erasing:
                (erase_mask if batched else erase_slices)(x, drawn.erased)
        return views

    def geometry(self, side: int) -> Geometry:
        """What resampling of sources of `side` px is needed; enlarged crops are left to the warp."""
        config = self.config
        if config.rotation or config.translate:
            return "warp"
        if not (config.crop or config.flip):
            return "whole"
        return "crop" if side >= self.size else "warp"

    def _placed(self, source: Tensor, rows: Tensor, draws: Draws, batched: bool) -> Tensor:
        """Cropped, mirrored, turned and shifted: uint8 or float32 [B, 3, size, size] in 0..255."""
        geometry = self.geometry(source.shape[-1])
        if geometry == "crop" and not batched:
            return crop_views(source, rows, draws, self.size)
        images = source[rows.to(source.device, non_blocking=True)]
        if geometry == "crop":
            return crop_products(images, draws, self.size)
        if geometry == "whole":
            return resize(images, self.size)
        side = images.shape[-1]
        x = resize(images, min(side, int(SHRINK * self.size))).float().contiguous()
        grid = sampling_grid(draws, self.size, side=side)
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def sampling_grid(draws: Draws, size: int, *, side: int) -> Tensor:
    """Where each pixel of the views lies in the source, [B, size, size, 2] in -1..1 across it.

    The source's box is scaled to the view, turned about the view's middle and shifted.
    """
    turn = torch.deg2rad(draws.angle[:, 0])
    rotation = torch.stack([turn.cos(), turn.sin(), -turn.sin(), turn.cos()], 1).view(-1, 2, 2)
    flipped = torch.cat([draws.sign, torch.ones_like(draws.sign)], 1)
    linear = (draws.box[:, 2:] / side * flipped)[:, :, None] * rotation
    center = (2 * draws.box[:, :2] + draws.box[:, 2:]) / side - 1
    return affine_grid(linear, center - (linear @ draws.shift[:, :, None])[:, :, 0] * (2 / size), size)


def affine_grid(linear: Tensor, offset: Tensor, size: int) -> Tensor:
    """Points linear p + offset, [B, size, size, 2], of linear maps [B, 2, 2] and offsets [B, 2].

    The pixels p lie in -1..1. The grid is the sum of a row and a column of points, and torch adds points
    as complex numbers ten times as fast as in pairs; its own affine_grid takes longer still.
    """
    places = (2 * torch.arange(size, device=linear.device) + 1) / size - 1
    across = torch.view_as_complex(places[:, None] * linear[:, None, :, 0])
    down = torch.view_as_complex(places[:, None] * linear[:, None, :, 1] + offset[:, None])
    return torch.view_as_real(down[:, :, None] + across[:, None])


def erase_slices(x: Tensor, erased: Tensor) -> None:
    """Fill a rectangle (x, y, width, height) [B, 4] of each image with the mean colour, in place."""
    for image, (left, top, width, height) in zip(x, erased.int().tolist(), strict=True):
        if width:
            image[:, top : top + height, left : left + width] = 0


def erase_mask(x: Tensor, erased: Tensor) -> None:
    """The same as one masked fill."""
    left, top, width, height = erased[:, :, None].unbind(1)
    at = torch.arange(x.shape[-1], device=x.device)
    columns = (at >= left) & (at < left + width)
    rows = (at >= top) & (at < top + height)
    x.masked_fill_((rows[:, :, None] & columns[:, None])[:, None], 0)
