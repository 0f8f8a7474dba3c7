"""What a segmenting network says of pictures of any size: padding, views with exact inverses, tiles."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from trainables.color import normalise
from trainables.errors import UsageError
from trainables.mask_crops import mirrored
from trainables.turns import VIEWS, turned, turned_back

STRIDE = 32
"""Networks see sides that are multiples of so many px."""
PIXELS = 1 << 20
"""About so many pixels go through the network at once."""
TILE, OVERLAP = 1024, 128
"""A picture of more than four tiles goes through in tiles of so many px that share so many."""

Forward = Callable[[Tensor], Tensor]


def views_of(tta: str) -> tuple[int, ...]:
    """The views that a trial's `tta` asks for. Raises UsageError for crops, which have no inverse."""
    if tta not in VIEWS:
        raise UsageError(f"tta={tta!r} is not possible for masks.", fix=f"Choose one of {', '.join(VIEWS)}.")
    return VIEWS[tta]


def masks_of(
    forward: Forward, pictures: Sequence[np.ndarray], *, tta: str, device: torch.device
) -> list[np.ndarray]:
    """Probabilities float32 [C, H, W] of each picture uint8 [H, W, 3], whatever their sizes.

    Pictures are mirrored outwards to a multiple of the stride; those of one size by then share batches.
    """
    views = views_of(tta)
    answers: list[np.ndarray] = [np.empty(0)] * len(pictures)
    for size, places in _by_size(pictures).items():
        for some in _batches(places, size):
            images = torch.from_numpy(np.stack([_padded(pictures[i], size) for i in some]))
            found = _mean(forward, images.to(device).permute(0, 3, 1, 2), views)
            for i, probabilities in zip(some, found, strict=True):
                height, width = pictures[i].shape[:2]
                answers[i] = probabilities[:, :height, :width].cpu().numpy()
    return answers


def _by_size(pictures: Sequence[np.ndarray]) -> dict[tuple[int, int], list[int]]:
    """Places of the pictures by their (height, width) padded to the stride."""
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        height, width = (-(-side // STRIDE) * STRIDE for side in picture.shape[:2])
        found[height, width].append(i)
    return found


def _batches(places: Sequence[int], size: tuple[int, int]) -> Iterator[Sequence[int]]:
    count = max(1, PIXELS // (size[0] * size[1]))
    yield from (places[k : k + count] for k in range(0, len(places), count))


def _padded(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture mirrored outwards to the right and below."""
    if picture.shape[:2] == size:
        return picture
    rows = mirrored(0, size[0], picture.shape[0])
    larger: np.ndarray = picture[rows[:, None], mirrored(0, size[1], picture.shape[1])]
    return larger


def _mean(forward: Forward, images: Tensor, views: Sequence[int]) -> Tensor:
    """Probabilities float32 [B, C, H, W] of images uint8 [B, 3, H, W], the mean of the views'."""
    shown = normalise(images)
    look = _in_tiles if images.shape[-1] * images.shape[-2] > 4 * TILE**2 else _whole
    total = torch.stack(
        [turned_back(look(forward, turned(shown, view).contiguous()), view) for view in views]
    )
    return total.mean(0)


def _whole(forward: Forward, images: Tensor) -> Tensor:
    return torch.sigmoid(forward(images).float())


def _in_tiles(forward: Forward, images: Tensor) -> Tensor:
    """As `_whole`, tile by tile; where two share pixels, each answers the half that is its own."""
    rows, columns = (tiles(side) for side in images.shape[-2:])
    down = []
    for top, first, last in rows:
        across = []
        for left, start, stop in columns:
            tile = images[..., top : top + TILE, left : left + TILE].contiguous()
            found = _whole(forward, tile)
            across.append(found[..., first - top : last - top, start - left : stop - left])
        down.append(torch.cat(across, -1))
    return torch.cat(down, -2)


def tiles(side: int) -> list[tuple[int, int, int]]:
    """(start of the tile, first, last + 1 of the pixels that it answers) along a side of so many px.

    Neighbours share at least `OVERLAP` px, and the border is in the middle of what they share.
    """
    if side <= TILE:
        return [(0, 0, side)]
    count = -(-(side - OVERLAP) // (TILE - OVERLAP))
    starts = [(side - TILE) * k // (count - 1) // STRIDE * STRIDE for k in range(count - 1)] + [side - TILE]
    borders = [(start + TILE + following) // 2 for start, following in pairwise(starts)]
    return list(zip(starts, [0, *borders], [*borders, side], strict=True))
