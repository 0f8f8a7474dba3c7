"""Batches straight out of the store's memory map: no loader, no worker processes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from trainables.errors import DataError
from trainables.store import Part

RESIDENT_SHARE = 0.4
"""A part moves to the GPU as a whole when it takes less than this share of the free memory."""


class Feed:
    """The images and targets of one part, given out on a device in any order.

    Rows are int64 tensors on the CPU.
    """

    def __init__(self, part: Part, device: torch.device) -> None:
        self.ids = part.ids
        self.device = device
        self.rows = torch.arange(len(part.ids))
        self._targets = None if part.targets is None else torch.from_numpy(part.targets.copy())
        self._mapped = np.asarray(part.images)
        self._resident: Tensor | None = None
        if device.type == "cuda" and _fits(self._mapped.nbytes, device):
            self._resident = torch.from_numpy(self._mapped.copy()).to(device)

    def __len__(self) -> int:
        return len(self.ids)

    def images(self, rows: Tensor) -> Tensor:
        """uint8 [B, 3, side, side] on the device, channels last, of rows [B]."""
        if self._resident is not None:
            return self._resident[rows.to(self.device)].permute(0, 3, 1, 2)
        taken = torch.from_numpy(self._mapped[rows.numpy()])
        if self.device.type == "cuda":
            taken = taken.pin_memory().to(self.device, non_blocking=True)
        return taken.permute(0, 3, 1, 2)

    def targets_of(self, rows: Tensor) -> Tensor:
        """int64 [B, heads] on the device. Raises DataError where the answers are not known."""
        if self._targets is None:
            raise DataError("These images have no labels.", fix="Score a part that has.")
        return self._targets[rows].to(self.device)

    def in_order(self, batch_size: int) -> Iterator[Tensor]:
        """Rows of every batch, in the order of the part; none is left out."""
        if len(self):
            yield from self.rows.split(batch_size)

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Rows of every batch of one epoch in a random order.

        A last batch of a single image is left out, for batch normalisation cannot use it.
        """
        for rows in torch.randperm(len(self), generator=generator).split(batch_size):
            if len(rows) > 1 or batch_size == 1:
                yield rows


def num_batches(num_images: int, batch_size: int) -> int:
    """How many batches `shuffled` gives."""
    whole, rest = divmod(num_images, batch_size)
    return whole + (rest > 1)


def _fits(num_bytes: int, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes < RESIDENT_SHARE * free
