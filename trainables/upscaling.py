"""Patches of pictures at two sizes, and the enlargement of whole ones: by views, and by tiles if large."""

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from math import isqrt

import numpy as np
import torch
from torch import Tensor

from trainables.color import LUMA, normalise
from trainables.maps import Maps
from trainables.turns import VIEWS, turned, turned_back

Forward = Callable[..., Tensor]
"""Normalised float [B, 3, H, W] to pictures [B, 3, rH, rW] in 0..1."""

PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": torch.abs,
    "l2": torch.square,
    # Lai et al. (2017): L1 with a smooth bottom
    "charbonnier": lambda error: torch.sqrt(error.square() + 1e-6),
}
"""Of differences of luma on the scale 0..1."""
AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 20}
"""Pixels that a network gets at once; what is larger is cut into tiles."""
OVERLAP = 32
"""Pixels that a tile sees beyond each of its edges: most of what the deepest networks look at."""
KEPT_BYTES = 1 << 30
"""Of decoded true pictures in memory; what is beyond is decoded each time."""


def luma(pictures: Tensor) -> Tensor:
    """[B, 3, H, W] to [B, H, W], on the same scale."""
    return torch.einsum("bchw,c->bhw", pictures, LUMA.to(pictures.device))


def random_view(flip: bool, vertical: bool, rng: np.random.Generator) -> int:
    """A view that a trial may see in training: quarter turns need both flips."""
    return int(rng.integers(8)) & (flip | vertical << 1 | (flip and vertical) << 2)


def by_area(areas: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices int64 [count], each as often as its share of the area says, up to one; in random order."""
    ends = np.cumsum(areas) / areas.sum() * count
    places = np.searchsorted(ends, np.arange(count) + rng.random(), side="right")
    return rng.permutation(np.minimum(places, len(areas) - 1))


def patch_pair(
    small: np.ndarray, large: np.ndarray, *, side: int, view: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The same random square uint8, `side` px of [h, w, 3] and of [rh, rw, 3]: [3, side, side] and r x that.

    Smaller pictures are continued by mirroring.
    """
    scale = len(large) // len(small)
    y, x = (int(rng.integers(max(1, length - side + 1))) for length in small.shape[:2])
    pair = (_square(small, y, x, side), _square(large, y * scale, x * scale, side * scale))
    first, second = (turned(torch.from_numpy(square).permute(2, 0, 1), view) for square in pair)
    return first, second


def _square(picture: np.ndarray, y: int, x: int, side: int) -> np.ndarray:
    """A copy of uint8 [side, side, 3] at (y, x)."""
    found = np.array(picture[y : y + side, x : x + side])
    missing = [(0, side - length) for length in found.shape[:2]]
    return np.pad(found, [*missing, (0, 0)], mode="symmetric") if found.shape[:2] != (side, side) else found


class Kept:
    """The pictures of maps, each decoded once as long as there is room."""

    def __init__(self, maps: Maps) -> None:
        self.maps = weakref.ref(maps)
        self.room = KEPT_BYTES
        self.pictures: dict[int, np.ndarray] = {}

    def picture(self, maps: Maps, row: int) -> np.ndarray:
        """uint8 [H, W, 3]. Raises DataError where the stored one is damaged."""
        if row in self.pictures:
            return self.pictures[row]
        picture = maps.image(row)
        if picture.nbytes <= self.room:
            self.room -= picture.nbytes
            self.pictures[row] = picture
        return picture


_last: list[Kept] = []
"""A trial reads the truth of one part over and over; a new one takes its place."""


def kept(maps: Maps) -> Kept:
    """What holds the decoded pictures of these maps."""
    if not _last or _last[0].maps() is not maps:
        _last[:] = [Kept(maps)]
    return _last[0]


def enlarged(
    forward: Forward, pictures: Sequence[np.ndarray], *, scale: int, tta: str, device: torch.device
) -> list[np.ndarray]:
    """Pictures uint8 [h, w, 3] of any sizes as uint8 [scale h, scale w, 3], the mean of the views of `tta`.

    Those of equal size go together.
    """
    found: dict[int, np.ndarray] = {}
    for rows in _together(pictures, AT_ONCE.get(device.type, AT_ONCE["cpu"])):
        some = [pictures[row] for row in rows]
        if len(rows) == 1:
            large = [_by_tiles(forward, some[0], scale=scale, tta=tta, device=device)]
        else:
            large = list(_answers(forward, np.stack(some), tta=tta, device=device))
        found.update(zip(rows, large, strict=True))
    return [found[row] for row in range(len(pictures))]


def _together(pictures: Sequence[np.ndarray], most: int) -> Iterator[list[int]]:
    """Rows of pictures of one size, no more than `most` pixels of them, or one."""
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, picture in enumerate(pictures):
        by_size[picture.shape].append(row)
    for (height, width, _), rows in by_size.items():
        count = max(1, most // (height * width))
        yield from (rows[start : start + count] for start in range(0, len(rows), count))


def _by_tiles(
    forward: Forward, picture: np.ndarray, *, scale: int, tta: str, device: torch.device
) -> np.ndarray:
    """uint8 [h, w, 3] enlarged, at once where it is small enough."""
    height, width = picture.shape[:2]
    most = AT_ONCE.get(device.type, AT_ONCE["cpu"])
    side = max(height, width) if height * width <= most else isqrt(most) - 2 * OVERLAP
    large = np.empty((height * scale, width * scale, 3), np.uint8)
    for y, top, bottom in _cuts(height, side):
        for x, left, right in _cuts(width, side):
            tile = _answers(forward, picture[None, top:bottom, left:right], tta=tta, device=device)[0]
            inside = tile[(y - top) * scale :, (x - left) * scale :][: side * scale, : side * scale]
            large[y * scale :, x * scale :][: len(inside), : inside.shape[1]] = inside
    return large


def _cuts(length: int, side: int) -> Iterator[tuple[int, int, int]]:
    """Of each tile along an axis: where it starts, and from where to where it sees."""
    for start in range(0, length, side):
        yield start, max(0, start - OVERLAP), min(length, start + side + OVERLAP)


def _answers(forward: Forward, pictures: np.ndarray, *, tta: str, device: torch.device) -> np.ndarray:
    """uint8 [B, h, w, 3] to the rounded mean of the views' answers, uint8 [B, rh, rw, 3]."""
    x = torch.from_numpy(np.array(pictures)).to(device).permute(0, 3, 1, 2)
    views = VIEWS[tta]
    total = sum(turned_back(forward(normalise(turned(x, view))).float(), view) for view in views)
    steps = (total / len(views) * 255).round_().clamp_(0, 255).byte()  # type: ignore[union-attr]
    return steps.permute(0, 2, 3, 1).cpu().numpy()
