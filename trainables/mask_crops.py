"""Training views of pictures and of their masks: crops that favour what is there, flips, turns and colors."""

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.config import TrialConfig
from trainables.maps import Maps
from trainables.recolored import coloured
from trainables.run_lengths import runs

Traces = tuple[tuple[np.ndarray, np.ndarray], ...]
"""Of each class the starts, from 0, and the lengths of its runs down the columns."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A square of a picture; it may reach over the edges, where the picture is mirrored."""

    top: int
    left: int
    side: int


@dataclass(kw_only=True)
class _Read:
    """What was read of a truth."""

    traces: dict[int, Traces] = field(default_factory=dict)
    holding: np.ndarray | None = None


_READ: dict[int, _Read] = {}
"""By the identity of the truth, as long as it is there."""


def _read(truth: Maps) -> _Read:
    if id(truth) not in _READ:
        _READ[id(truth)] = _Read()
        weakref.finalize(truth, _READ.pop, id(truth))
    return _READ[id(truth)]


def traces(truth: Maps, row: int) -> Traces:
    """The runs of the masks [C, H, W] of a row. Read once: a picture's runs are small, its masks are not."""
    known = _read(truth).traces
    if row not in known:
        known[row] = tuple(runs(mask > 0.5) for mask in truth.image(row))
    return known[row]


def holding(truth: Maps) -> np.ndarray:
    """bool [n]: whether a picture holds anything."""
    read = _read(truth)
    if read.holding is None:
        rows = range(len(truth))
        read.holding = np.array([any(len(starts) for starts, _ in traces(truth, row)) for row in rows], bool)
    return read.holding


def dealt(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of the rows in a random order, each as often as the others or once more."""
    rounds = [rng.permutation(rows) for _ in range(math.ceil(count / max(len(rows), 1)))]
    return np.concatenate([rows[:0], *rounds])[:count]


def favoured(found: Traces, height: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """Row and column of a random pixel of a random class that is there; None where nothing is."""
    there = [trace for trace in found if len(trace[0])]
    if not there:
        return None
    starts, lengths = there[rng.integers(len(there))]
    ends = np.cumsum(lengths)
    pixel = int(rng.integers(ends[-1]))
    run = int(np.searchsorted(ends, pixel, side="right"))
    column, row = divmod(int(starts[run] + lengths[run] - ends[run] + pixel), height)
    return row, column


def window(
    size: tuple[int, int], side: int, *, centre: tuple[int, int] | None, rng: np.random.Generator
) -> Window:
    """A random square of a picture of that (height, width), or one around `centre` up to a quarter of its
    side off. Along an axis on which the picture is smaller, the picture lies somewhere inside.
    """
    corner = []
    for axis in (0, 1):
        low, high = sorted((0, size[axis] - side))
        if centre is None:
            start = int(rng.integers(low, high + 1))
        else:
            start = centre[axis] - side // 2 + int(rng.integers(-(side // 4), side // 4 + 1))
        corner.append(min(max(start, low), high))
    return Window(top=corner[0], left=corner[1], side=side)


def mirrored(start: int, count: int, size: int) -> np.ndarray:
    """int64 [count]: places 0..size-1 met from `start` on, turning back at both ends."""
    period = max(2 * (size - 1), 1)
    places = np.arange(start, start + count) % period
    inside: np.ndarray = np.minimum(places, period - places) % size
    return inside


def picture_in(picture: np.ndarray, place: Window) -> np.ndarray:
    """The window [side, side, 3] of a picture uint8 [H, W, 3]."""
    height, width = picture.shape[:2]
    if place.top >= 0 and place.left >= 0 and max(place.top - height, place.left - width) <= -place.side:
        return picture[place.top : place.top + place.side, place.left : place.left + place.side]
    rows = mirrored(place.top, place.side, height)
    view: np.ndarray = picture[rows[:, None], mirrored(place.left, place.side, width)]
    return view


def masks_in(found: Traces, size: tuple[int, int], place: Window) -> np.ndarray:
    """The window uint8 [C, side, side] of the masks of a picture of that (height, width)."""
    rows = mirrored(place.top, place.side, size[0])[:, None]
    columns = mirrored(place.left, place.side, size[1])
    first, last = int(columns.min()), int(columns.max()) + 1
    masks = np.zeros((len(found), place.side, place.side), np.uint8)
    for mask, trace in zip(masks, found, strict=True):
        if len(trace[0]):
            mask[:] = _strip(trace, size[0], first, last)[rows, columns - first]
    return masks


def _strip(trace: tuple[np.ndarray, np.ndarray], height: int, first: int, last: int) -> np.ndarray:
    """Columns first..last-1 of a mask, int8 [height, last - first]."""
    starts, lengths = trace
    low, high = first * height, last * height
    ends = starts + lengths
    some = slice(np.searchsorted(ends, low, side="right"), np.searchsorted(starts, high, side="left"))
    edges = np.zeros(high - low + 1, np.int8)
    edges[np.maximum(starts[some], low) - low] += 1
    edges[np.minimum(ends[some], high) - low] -= 1
    return np.cumsum(edges[:-1], dtype=np.int8).reshape(last - first, height).T


def training_views(
    pictures: Sequence[np.ndarray],
    found: Sequence[Traces],
    config: TrialConfig,
    *,
    favour: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Normalised views float32 [B, 3, S, S] of pictures uint8 [H, W, 3], and their masks uint8 [B, C, S, S].

    S is `config.image_size`. With the chance `favour` a view is centred near something in the picture.
    `config.crop`, `flip`, `vertical_flip` and `color` are obeyed.
    """
    side = config.image_size
    views = np.empty((len(pictures), side, side, 3), np.uint8)
    masks = np.empty((len(pictures), len(found[0]), side, side), np.uint8)
    for k, (picture, traced) in enumerate(zip(pictures, found, strict=True)):
        size = (picture.shape[0], picture.shape[1])
        centre = favoured(traced, size[0], rng) if rng.random() < favour else None
        smaller = max(1, round(side * math.sqrt(1 - config.crop * rng.random())))
        place = window(size, smaller, centre=centre, rng=rng)
        view, mask = _enlarged(picture_in(picture, place), masks_in(traced, size, place), side)
        flips = _draw_flips(config, rng)
        views[k], masks[k] = (
            _flipped(view.transpose(2, 0, 1), flips).transpose(1, 2, 0),
            _flipped(mask, flips),
        )
    images = torch.from_numpy(views).permute(0, 3, 1, 2)
    return coloured(images, config.color, rng), torch.from_numpy(masks)


def _enlarged(view: np.ndarray, masks: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A view and its masks as squares of `side` px; the masks take the nearest pixel."""
    if len(view) == side:
        return view, masks
    image = torch.from_numpy(np.array(view)).permute(2, 0, 1)[None]  # of a memory map nobody may write
    larger = F.interpolate(image, size=(side, side), mode="bilinear")[0].permute(1, 2, 0).numpy()
    nearest = F.interpolate(torch.from_numpy(masks)[None], size=(side, side), mode="nearest-exact")[0].numpy()
    return larger, nearest


def _draw_flips(config: TrialConfig, rng: np.random.Generator) -> tuple[bool, bool, bool]:
    """Whether to swap the axes, to mirror upside down, and to mirror left to right."""
    swap, down, across = (rng.random(3) < 0.5).tolist()
    return (
        swap and config.flip and config.vertical_flip,
        down and config.vertical_flip,
        across and config.flip,
    )


def _flipped(image: np.ndarray, flips: tuple[bool, bool, bool]) -> np.ndarray:
    """[C, S, S] with its axes swapped, then mirrored: together all 8 turns and mirrors of a square."""
    swap, down, across = flips
    image = image.swapaxes(1, 2) if swap else image
    return image[:, :: -1 if down else 1, :: -1 if across else 1]
