"""Batches brought to a GPU ahead of time, where the data does not fit on it."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

BUFFERS = 2
"""Batches in page-locked memory at once: one is filled while the other is copied."""


class Staging:
    """Gathers rows of uint8 images [n, S, S, 3] into page-locked buffers and copies them to a device.

    Once told the order of the batches, a thread brings the next one, on a stream of its own, while the
    device works on the one just taken.
    """

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        self.images, self.device = images, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="staging")
        self._buffers: list[Tensor | None] = [None] * BUFFERS
        self._copied: list[torch.cuda.Event | None] = [None] * BUFFERS
        self._turn = 0
        self._next: dict[int, Tensor] = {}
        self._ahead: tuple[Tensor, Future[tuple[Tensor, torch.cuda.Event | None]]] | None = None

    def follow(self, batches: Sequence[Tensor]) -> Sequence[Tensor]:
        """The same batches of rows, which will be asked for in this order."""
        self._next = {id(rows): later for rows, later in pairwise(batches)}
        return batches

    def take(self, rows: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] on the device; the current stream waits for it, the host does not."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] is not rows:
            ahead = rows, self._worker.submit(self._bring, rows)
        later = self._next.get(id(rows))
        if later is not None:
            self._ahead = later, self._worker.submit(self._bring, later)
        images, copied = ahead[1].result()
        if copied is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(copied)
            images.record_stream(current)
        return images

    def _bring(self, rows: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """Gather into the buffer whose turn it is, and begin its copy."""
        turn, self._turn = self._turn, (self._turn + 1) % BUFFERS
        busy = self._copied[turn]
        if busy is not None:
            busy.synchronize()
        staged = self._buffer(turn, len(rows))
        np.take(self.images, rows.numpy(), axis=0, out=staged.numpy(), mode="clip")
        if self._stream is None:
            return staged.to(self.device, copy=True), None
        with torch.cuda.stream(self._stream):
            images = staged.to(self.device, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(self._stream)
        self._copied[turn] = copied
        return images, copied

    def _buffer(self, turn: int, num_images: int) -> Tensor:
        """Room for a batch, [num_images, S, S, 3]; kept while batches do not grow."""
        room = self._buffers[turn]
        if room is None or len(room) < num_images:
            shape = (num_images, *self.images.shape[1:])
            room = torch.empty(shape, dtype=torch.uint8, pin_memory=self._stream is not None)
            self._buffers[turn] = room
        return room[:num_images]
