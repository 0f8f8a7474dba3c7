"""Crops of pictures resized to squares: bilinear, and antialiased where they shrink.

Two ways to the same pixels: on a CPU torch's native uint8 resize of views of the source, which copies
nothing; elsewhere two products of matrices for the whole batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.draws import Draws


def resize(images: Tensor, size: int) -> Tensor:
    """Whole pictures to [B, 3, size, size]; uint8 stays uint8 on a CPU, and is float elsewhere."""
    if images.shape[-1] == size:
        return images
    if images.device.type == "cpu":
        return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    return F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)


def crop_views(source: Tensor, rows: Tensor, draws: Draws, size: int) -> Tensor:
    """uint8 [B, 3, size, size] of `rows` [B] of a source [n, 3, S, S] on the CPU, cropped and mirrored.

    A source may be a memory map: only what lies inside the crops is read. Boxes are whole pixels.
    """
    views = torch.empty(len(rows), 3, size, size, dtype=torch.uint8)
    boxes = torch.cat([draws.box, draws.sign], 1).int().tolist()
    for view, row, (x, y, width, height, sign) in zip(views, rows.tolist(), boxes, strict=True):
        crop = source[row, None, :, y : y + height, x : x + width]
        resized = F.interpolate(crop, size=(size, size), mode="bilinear", antialias=True)[0]
        view.copy_(resized.flip(-1) if sign < 0 else resized)
    return views


def crop_products(images: Tensor, draws: Draws, size: int) -> Tensor:
    """float32 [B, 3, size, size] in 0..255 of uint8 [B, 3, S, S] in channels-last memory, on any device."""
    num, _, side, _ = images.shape
    down = _weights(draws.box[:, 1], draws.box[:, 3], side=side, size=size)
    across = _weights(draws.box[:, 0], draws.box[:, 2], side=side, size=size)
    across = torch.where(draws.sign[:, :, None] < 0, across.flip(1), across)
    rows = images.permute(0, 2, 3, 1).reshape(num, side, side * 3).float()
    shrunk = torch.bmm(down, rows).view(num, size, side, 3).permute(0, 3, 1, 2)
    return torch.bmm(shrunk.reshape(num, 3 * size, side), across.mT).view(num, 3, size, size)


def _weights(start: Tensor, extent: Tensor, *, side: int, size: int) -> Tensor:
    """Weights [B, size, side] of each source pixel in each pixel of a view, along one axis.

    A triangle about the pixel's place in the source, as wide as the view's pixel or the source's,
    whichever is wider, and zero outside of the crop.
    """
    places = torch.arange(side, device=start.device) + 0.5
    scale = (extent / size)[:, None]
    centers = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * scale
    distance = (places - centers[:, :, None]).abs() / scale.clamp(min=1)[:, :, None]
    inside = (places > start[:, None]) & (places < (start + extent)[:, None])
    weights = (1 - distance).clamp(min=0) * inside[:, None]
    return weights / weights.sum(2, keepdim=True)
