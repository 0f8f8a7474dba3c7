"""Pictures and their objects as a detector sees them: random windows, whole pictures, and the way back.

A detector sees a picture scaled so that its shorter side is `image_size` px: in training a square window of
about that side, at prediction the whole picture. Boxes are x1, y1, x2, y2 in px, the far edges exclusive.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from trainables.boxes import areas, clip, iou, nms
from trainables.color import MEAN, normalise
from trainables.config import TrialConfig

ABSENT = -1
"""The label of the rows that only fill up a batch's targets."""
VISIBLE = 0.3
"""A box of which a window holds a smaller share is none of its objects."""
SHORTEST = 2.0
"""Px of the view: a box with a shorter side is none either."""
LONGEST = 4
"""A picture's longer side is seen with at most so many times `image_size`."""
GRID = 32
"""Pictures are filled up to a multiple of so many px, with the colour that normalisation maps to zero."""
SAME = 0.55
"""IoU from which the boxes of two views are one object."""
FILL = (MEAN * 255).round().to(torch.uint8)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One of the eight ways to lay a square down: mirrored, then upside down, then with swapped axes."""

    mirrored: bool = False
    flipped: bool = False
    swapped: bool = False

    def pixels(self, images: Tensor) -> Tensor:
        """[..., H, W] turned; height and width swap with the axes."""
        axes = [axis for axis, asked in ((-1, self.mirrored), (-2, self.flipped)) if asked]
        images = images.flip(axes) if axes else images
        return images.transpose(-1, -2) if self.swapped else images

    def pixels_back(self, images: Tensor) -> Tensor:
        """The inverse of `pixels`."""
        return Turn(mirrored=self.mirrored, flipped=self.flipped).pixels(
            images.transpose(-1, -2) if self.swapped else images
        )

    def boxes(self, boxes: np.ndarray, height: float, width: float) -> np.ndarray:
        """Boxes [M, 4 or more] of a picture of that size, where `pixels` moves them."""
        x1, y1, x2, y2 = boxes[:, :4].T
        if self.mirrored:
            x1, x2 = width - x2, width - x1
        if self.flipped:
            y1, y2 = height - y2, height - y1
        edges = (y1, x1, y2, x2) if self.swapped else (x1, y1, x2, y2)
        return np.column_stack([*edges, boxes[:, 4:]])

    def boxes_back(self, boxes: np.ndarray, height: float, width: float) -> np.ndarray:
        """The inverse of `boxes`; the size is that of the picture before the turn."""
        straight = Turn(mirrored=self.mirrored, flipped=self.flipped)
        swapped = boxes[:, [1, 0, 3, 2, *range(4, boxes.shape[1])]] if self.swapped else boxes
        return straight.boxes(swapped, height, width)


PLAIN = Turn()
MIRRORED = Turn(mirrored=True)
EIGHT = tuple(
    Turn(mirrored=m, flipped=f, swapped=s)
    for s in (False, True)
    for f in (False, True)
    for m in (False, True)
)


def turns(config: TrialConfig) -> tuple[Turn, ...]:
    """The views that the trial's test-time augmentation asks for, the plain one first."""
    return {"eight": EIGHT, "flip": (PLAIN, MIRRORED), "none": (PLAIN,)}[config.tta]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A square of a picture, `side` px of it, which may reach over the edges, seen in `size` px."""

    left: int
    top: int
    side: int
    size: int
    turn: Turn = PLAIN

    def pixels(self, picture: np.ndarray) -> Tensor:
        """The window of uint8 [H, W, 3] as uint8 [3, size, size]; beyond the edges it is filled."""
        height, width = picture.shape[:2]
        x1, y1 = max(self.left, 0), max(self.top, 0)
        x2, y2 = min(self.left + self.side, width), min(self.top + self.side, height)
        inside = torch.tensor(np.ascontiguousarray(picture[y1:y2, x1:x2])).permute(2, 0, 1)
        if (y2 - y1, x2 - x1) != (self.side, self.side):
            whole = FILL[:, None, None].repeat(1, self.side, self.side)
            whole[:, y1 - self.top : y2 - self.top, x1 - self.left : x2 - self.left] = inside
            inside = whole
        return self.turn.pixels(resized(inside, (self.size, self.size)))

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes [M, 4 or more] of the picture in px of the view; not cut."""
        moved = boxes.astype(np.float64)
        moved[:, :4] -= (self.left, self.top, self.left, self.top)
        moved[:, :4] *= self.size / self.side
        return self.turn.boxes(moved, self.size, self.size)


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 [3, H, W] by antialiased bilinear interpolation."""
    if image.shape[1:] == size:
        return image
    return interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def window(size: tuple[int, int], boxes: np.ndarray, config: TrialConfig, rng: np.random.Generator) -> Window:
    """A random window of a picture of (height, width) with these boxes.

    Its side is the picture's shorter one, times a scale whose square lies within 1 - crop and its inverse. A
    share `favour` of the windows holds the middle of a random box.
    """
    height, width = size
    reach = 0.5 * math.log(1 / (1 - config.crop))
    scaled = max(min(height, width), max(height, width) / LONGEST) * math.exp(rng.uniform(-reach, reach))
    side = max(round(scaled), 1)
    corner = rng.uniform(size=2) * (width - side, height - side)
    if len(boxes) and rng.uniform() < config.favour:
        middle = boxes[rng.integers(len(boxes)), :4].reshape(2, 2).mean(0)
        corner = np.clip(middle - rng.uniform(0.2, 0.8, 2) * side, *_ends(width - side, height - side))
    elif config.translate:
        corner = corner + rng.uniform(-config.translate, config.translate, 2) * side
    coin = rng.uniform(size=3) < 0.5
    turn = Turn(
        mirrored=bool(config.flip and coin[0]),
        flipped=bool(config.vertical_flip and coin[1]),
        swapped=bool(config.vertical_flip and config.flip and coin[2]),
    )
    return Window(left=round(corner[0]), top=round(corner[1]), side=side, size=config.image_size, turn=turn)


def _ends(x: float, y: float) -> tuple[tuple[float, float], tuple[float, float]]:
    return (min(x, 0), min(y, 0)), (max(x, 0), max(y, 0))


def seen(boxes: np.ndarray, view: Window) -> tuple[np.ndarray, np.ndarray]:
    """Boxes float64 [K, 4 or more] in px of a view, cut at its edges, and the rows [K] that are left."""
    whole = view.boxes(boxes)
    cut = clip(whole, view.size, view.size)
    sides = cut[:, 2:4] - cut[:, :2]
    left = (sides >= SHORTEST).all(1) & (areas(cut) >= VISIBLE * areas(whole))
    return cut[left], np.flatnonzero(left)


def padded(rows: Sequence[np.ndarray], width: int) -> Tensor:
    """Rows [M_i, width] of each image as float32 [B, M, width], filled up with the label `ABSENT`; M > 0."""
    most = max(1, *map(len, rows))
    filled = np.zeros((len(rows), most, width), dtype=np.float32)
    filled[:, :, 4] = ABSENT
    for image, some in zip(filled, rows, strict=True):
        image[: len(some)] = some
    return torch.from_numpy(filled)


@dataclass(frozen=True)
class Whole:
    """A whole picture as a detector sees it, and which of a part's it is."""

    row: int
    image: Tensor
    """uint8 [3, h, w]."""
    scale: tuple[float, float]
    """Px of the picture for a px of the view, along x and y."""


def whole(row: int, picture: np.ndarray, image_size: int) -> Whole:
    """The picture uint8 [H, W, 3] as the network sees it at prediction."""
    height, width = picture.shape[:2]
    factor = image_size / max(min(height, width), max(height, width) / LONGEST)
    size = (max(round(height * factor), 1), max(round(width * factor), 1))
    image = resized(torch.tensor(np.ascontiguousarray(picture)).permute(2, 0, 1), size)
    return Whole(row, image, (width / size[1], height / size[0]))


def batches(pictures: Sequence[np.ndarray], config: TrialConfig) -> Iterator[list[Whole]]:
    """All pictures, those together that are as large once filled up to the grid; few at a time are held."""
    waiting: dict[tuple[int, ...], list[Whole]] = {}
    for row, picture in enumerate(pictures):
        one = whole(row, picture, config.image_size)
        key = tuple(math.ceil(side / GRID) for side in one.image.shape[1:])
        same = waiting.setdefault(key, [])
        same.append(one)
        if len(same) == config.batch_size:
            yield waiting.pop(key)
    yield from waiting.values()


def views_of(some: Sequence[Whole], turn: Turn) -> Tensor:
    """Normalised float32 [B, 3, h, w] of pictures of one size on the grid, each turned, then filled up."""
    turned = [turn.pixels(one.image) for one in some]
    height, width = (math.ceil(max(t.shape[k] for t in turned) / GRID) * GRID for k in (1, 2))
    filled = [pad(normalise(t[None])[0], (0, width - t.shape[2], 0, height - t.shape[1])) for t in turned]
    return torch.stack(filled)


def rows_of(found: Tensor, one: Whole, turn: Turn, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """A view's answers [K, 6] in px of the view as rows float64 [M, 6] in px of the picture, and which [M].

    Those below the score `floor`, or of no area inside the picture, are left out.
    """
    rows = found.double().cpu().numpy()
    height, width = one.image.shape[1:]
    upright = clip(turn.boxes_back(rows, height, width), width, height)
    left = np.flatnonzero((upright[:, 4] >= floor) & (areas(upright) > 0))
    return upright[left] * (*one.scale, *one.scale, 1, 1), left


def shares(rows: np.ndarray, num_views: int) -> np.ndarray:
    """What each of M objects takes of the rows [T, 6] that several views of one picture found: [M, T].

    An object's shares sum to one. Boxes that non-maximum suppression calls one object are weighted by their
    scores (box voting, Gidaris & Komodakis, 2015). A single view's rows are the objects.
    """
    if num_views == 1 or len(rows) == 0:
        return np.eye(len(rows))
    kept = nms(rows, SAME)
    near = iou(rows[kept], rows) * (rows[kept, None, 5] == rows[:, 5])
    owner, close = near.argmax(0), near.max(0) > SAME
    pull = (np.arange(len(kept))[:, None] == owner) * np.where(close, rows[:, 4], 0.0)
    weighted: np.ndarray = pull / pull.sum(1, keepdims=True)
    return weighted


def merged(rows: np.ndarray, parts: np.ndarray, num_views: int) -> np.ndarray:
    """The objects [M, 6] with `shares` [M, T] in rows [T, 6]; a view that lacks one scores it 0."""
    scores = (parts > 0) @ rows[:, 4] / num_views
    labels = rows[parts.argmax(1), 5] if len(rows) else rows[:, 5]
    return np.column_stack([parts @ rows[:, :4], scores.clip(0, 1), labels])


def best(rows: np.ndarray, cap: int) -> np.ndarray:
    """Which rows [T, 6] have the highest scores, at most `cap`, in that order."""
    order: np.ndarray = np.argsort(-rows[:, 4], kind="stable")[:cap]
    return order
