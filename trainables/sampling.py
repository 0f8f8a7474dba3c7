"""Which training images an epoch shows, and in which order."""

import torch
from torch import Tensor

from trainables.config import TrialConfig


class Sampler:
    """Draws an epoch's images. `rows` int64 [n] are the images, `targets` int64 [n, heads] theirs.

    Without `balance` an epoch shows each image once. With it images are drawn with replacement, each in
    proportion to its class' frequency to the power of minus `balance`: at 1 all classes are seen equally
    often. Of several heads the geometric mean counts.
    """

    def __init__(self, config: TrialConfig, rows: Tensor, targets: Tensor) -> None:
        self.rows = rows
        self.chances = _chances(targets, config.balance) if config.balance else None
        """float64 [n], summing to one; None draws each image once."""

    def epoch(self, generator: torch.Generator) -> Tensor:
        """int64 [n] on the CPU: rows in the order in which they are shown."""
        num = len(self.rows)
        if self.chances is None:
            return self.rows[torch.randperm(num, generator=generator)]
        return self.rows[torch.multinomial(self.chances, num, replacement=True, generator=generator)]


def _chances(targets: Tensor, power: float) -> Tensor:
    """float64 [n] of targets int64 [n, heads]."""
    logs = [column.bincount().double().log()[column] for column in targets.unbind(1)]
    return torch.softmax(-power * torch.stack(logs).mean(0), 0)
