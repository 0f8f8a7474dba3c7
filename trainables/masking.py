"""Masks of objects as a network learns and answers them: each in a frame of its own, drawn over its box."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.ops import roi_align

from trainables.boxes import clip
from trainables.detecting import PLAIN, Turn, Window

FRAME = 56
"""Side of a frame in targets, in px: twice what networks answer."""


def frames(masks: np.ndarray, boxes: np.ndarray, view: Window) -> np.ndarray:
    """A view of a picture's masks bool [K, H, W], each in its box there: float32 [K, FRAME * FRAME].

    `boxes` [K, 4 or more] are those of the picture; what lies outside the window is cut off.
    """
    if len(masks) == 0:
        return np.zeros((0, FRAME * FRAME), dtype=np.float32)
    corner = np.array([view.left, view.top] * 2)
    cut = clip(boxes[:, :4] - corner, view.side, view.side) + corner
    drawn = sampled(torch.from_numpy(masks).float(), torch.from_numpy(cut).float(), FRAME)
    flat: np.ndarray = view.turn.pixels(drawn).reshape(len(masks), -1).numpy()
    return flat


def sampled(maps: Tensor, boxes: Tensor, side: int) -> Tensor:
    """The part in each of K boxes [K, 4], in px, of its own map [K, H, W], as [K, side, side]."""
    rows = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)[:, None]
    drawn: Tensor = roi_align(
        maps[:, None], torch.cat([rows, boxes], 1), side, sampling_ratio=2, aligned=True
    )[:, 0]
    return drawn


def pasted(
    probabilities: Sequence[Tensor], boxes: np.ndarray, weights: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """One mask bool [H, W] of frames [S, S] over boxes [T, 4]: where their weighted mean is at least a half.

    The weights [T] sum to one.
    """
    height, width = size
    low = np.floor(boxes[:, :2].min(0)).astype(int).clip(0)
    high = np.minimum(np.ceil(boxes[:, 2:4].max(0)).astype(int), (width, height))
    rows, columns = torch.arange(low[1], high[1]) + 0.5, torch.arange(low[0], high[0]) + 0.5
    total = torch.zeros(len(rows), len(columns))
    for frame, (x1, y1, x2, y2), weight in zip(probabilities, boxes[:, :4].tolist(), weights, strict=True):
        y, x = 2 * (rows - y1) / (y2 - y1) - 1, 2 * (columns - x1) / (x2 - x1) - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)
        total += float(weight) * grid_sample(frame[None, None], grid[None], align_corners=False)[0, 0]
    mask = np.zeros(size, dtype=bool)
    mask[low[1] : high[1], low[0] : high[0]] = (total >= 0.5).numpy()
    return mask


def upright(frames: Tensor, turn: Turn) -> Tensor:
    """Frames [K, S, S] of a turned view as those of the upright one."""
    return frames if turn == PLAIN else turn.pixels_back(frames)
