"""Which training images an epoch shows, and in which order."""

import torch
from torch import Tensor

from trainables.config import TrialConfig


class Sampler:
    """Draws an epoch's images. `rows` int64 [n] are the images, `targets` int64 [n, heads] theirs."""

    def __init__(self, config: TrialConfig, rows: Tensor, targets: Tensor) -> None:
        self.rows = rows

    def epoch(self, generator: torch.Generator) -> Tensor:
        """int64 [n] on the CPU: rows in the order in which they are shown."""
        return self.rows[torch.randperm(len(self.rows), generator=generator)]
