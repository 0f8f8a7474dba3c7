"""Batches straight out of the store's memory map: no loader, no worker processes."""

import os
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from trainables.color import normalise
from trainables.crops import resize
from trainables.errors import DataError, UsageError
from trainables.staging import Staging
from trainables.store import Part

RESIDENT_SHARE = 0.4
"""A part moves to the GPU as a whole when it takes less than this share of the free memory."""
SHARE_VARIABLE = "ORCH_RESIDENT_SHARE"
"""Environment variable that sets another share, from 0 (never) to 1."""
KEPT_BYTES = 256 << 20
"""A part that is looked at plainly again and again is kept at the size asked for when it takes no more."""


class Feed:
    """The images and targets of one part, given out on a device in any order.

    Rows are int64 tensors on the CPU. On a CPU the images stay in the memory map, whose pages all
    processes of a node share. On a GPU the part is copied there whole where it fits; else its batches are
    brought in the order that `batches` or `in_order` last gave, one ahead. With `reread` the results of
    `plain` are kept.
    """

    def __init__(self, part: Part, device: torch.device, *, reread: bool = False) -> None:
        self.ids = part.ids
        self.device = device
        self.rows = torch.from_numpy(part.places.copy())
        """int64 [n] on the CPU: the rows that belong to the part; others lie between them in a fold."""
        self.resident = device.type == "cuda" and _fits(part.images.nbytes, device)
        self.source = self._source(part.images)
        """uint8 [n, 3, S, S] in channels-last memory on the device, not to be written; None if brought."""
        self._reread = reread
        self._kept: dict[int, _Kept] = {}
        self._targets = None if part.targets is None else torch.from_numpy(part.targets.copy()).to(device)
        self._staging = Staging(part.images, device)

    def __len__(self) -> int:
        return len(self.rows)

    def names(self, rows: Tensor) -> list[str]:
        """Ids of rows [B]."""
        return [self.ids[i] for i in rows.tolist()]

    def images(self, rows: Tensor) -> Tensor:
        """uint8 [B, 3, side, side] on the device, channels last, of rows [B]."""
        if self.source is None:
            return self._staging.take(rows).permute(0, 3, 1, 2)
        return self.source.permute(0, 2, 3, 1)[self._moved(rows)].permute(0, 3, 1, 2)

    def plain(self, rows: Tensor, size: int) -> Tensor:
        """Whole pictures, normalised float32 [B, 3, size, size] on the device, of rows [B]."""
        return normalise(self._resized(rows, size))

    def targets_of(self, rows: Tensor) -> Tensor:
        """int64 [B, heads] on the device. Raises DataError where the answers are not known."""
        if self._targets is None:
            raise DataError("These images have no labels.", fix="Score a part that has.")
        return self._targets[self._moved(rows)]

    def in_order(self, batch_size: int) -> Iterator[Tensor]:
        """Rows of every batch, in the order of the part; none is left out."""
        if len(self):
            yield from self._staging.follow(self.rows.split(batch_size))

    def batches(self, order: Tensor, batch_size: int) -> Iterator[Tensor]:
        """Rows of every batch of an epoch that shows `order`, int64 [n] on the CPU.

        A last batch of a single image is left out, for batch normalisation cannot use it.
        """
        batches = order.split(batch_size)
        yield from self._staging.follow([rows for rows in batches if len(rows) > 1 or batch_size == 1])

    def _moved(self, rows: Tensor) -> Tensor:
        """Rows on the device; the host does not wait for what the device is at."""
        return rows.to(self.device, non_blocking=True)

    def _source(self, images: np.ndarray) -> Tensor | None:
        if self.device.type == "cuda" and not self.resident:
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            source = torch.from_numpy(images)
        return source.to(self.device).permute(0, 3, 1, 2)

    def _resized(self, rows: Tensor, size: int) -> Tensor:
        """Of type uint8 where kept or on a CPU, else in 0..255."""
        kept = self._kept.get(size)
        if kept is None and self._keeps(size):
            kept = self._kept[size] = _Kept(len(self.ids), size, self.device)
        if kept is None:
            return resize(self.images(rows), size)
        if not bool(kept.known[rows].all()):
            kept.learn(rows, resize(self.images(rows), size))
        return kept.images[self._moved(rows)]

    def _keeps(self, size: int) -> bool:
        """Whether resizing is worth keeping, and small enough."""
        side = None if self.source is None else self.source.shape[-1]
        return self._reread and side != size and 3 * size**2 * len(self.ids) <= KEPT_BYTES


class _Kept:
    """Images of a part at one size, uint8 [n, 3, size, size] on the device; filled as they are seen."""

    def __init__(self, num_images: int, size: int, device: torch.device) -> None:
        with torch.inference_mode(False):
            self.images = torch.empty(num_images, 3, size, size, dtype=torch.uint8, device=device)
        self.known = torch.zeros(num_images, dtype=torch.bool)

    def learn(self, rows: Tensor, resized: Tensor) -> None:
        pixels = resized if resized.dtype == torch.uint8 else resized.round()
        self.images[rows.to(self.images.device)] = pixels.to(torch.uint8)
        self.known[rows] = True


def num_batches(num_images: int, batch_size: int) -> int:
    """How many batches `Feed.batches` gives."""
    whole, rest = divmod(num_images, batch_size)
    return whole + (rest > 1)


def _fits(num_bytes: int, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes < resident_share() * free


def resident_share() -> float:
    """The share of a GPU's free memory that a part may take. Raises UsageError when it is none."""
    text = os.environ.get(SHARE_VARIABLE, str(RESIDENT_SHARE))
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(
            f"{SHARE_VARIABLE}={text} is not a share of memory.", fix="Give 0 to 1, such as 0.4."
        )
    return share
