"""Two images in one: mixup and CutMix on the device, for any number of heads."""

from dataclasses import dataclass

import numpy as np
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
    """Mixes each image of a batch with its neighbour there, as the configuration asks.

    Batches are in random order, so the neighbour is a random image. How much is shown of each image is
    drawn for each; whether to mix, and by which method, once a batch. All randomness comes from
    `generator`, which lies on the CPU.
    """

    def __init__(self, config: TrialConfig, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator
        self.asked = bool((config.mixup or config.cutmix) and config.mix_probability)

    def __call__(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Targets]:
        """Images float [B, 3, H, W] and targets int64 [B, heads], mixed; the given ones are not changed."""
        if not self.asked:
            return x, Targets(first=targets)
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=self.generator)))
        if rng.random() >= self.config.mix_probability:
            return x, Targets(first=targets)
        if self.config.mixup and (not self.config.cutmix or rng.random() < 0.5):
            mixed, share = _mixup(x, self.config.mixup, rng)
        else:
            mixed, share = _cutmix(x, self.config.cutmix, rng)
        return mixed, Targets(first=targets, second=targets.roll(1, 0), share=share)


def _mixup(x: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each image [B, 3, H, W] blended with the one before it; its share [B] (Zhang et al., 2018)."""
    share = _moved(rng.beta(alpha, alpha, len(x)), x)
    return x.roll(1, 0).lerp_(x, share[:, None, None, None]), share


def _cutmix(x: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each image [B, 3, H, W] with a rectangle of the one before it (Yun et al., 2019).

    The share [B] is what is left of the image: a rectangle that crosses the border counts as cut there.
    """
    extent = np.array(x.shape[:1:-1])
    half = np.sqrt(1 - rng.beta(alpha, alpha, (len(x), 1))) * extent / 2
    center = rng.random((len(x), 2)) * extent
    low, high = (np.rint(edge).clip(0, extent) for edge in (center - half, center + half))
    left, top, right, bottom = _moved(np.concatenate([low, high], 1), x)[:, :, None].unbind(1)
    columns, rows = (torch.arange(n, device=x.device) for n in extent.tolist())
    pasted = ((rows >= top) & (rows < bottom))[:, None, :, None]
    pasted = pasted & ((columns >= left) & (columns < right))[:, None, None]
    share = _moved(1 - (high - low).prod(1) / extent.prod(), x)
    return torch.where(pasted, x.roll(1, 0), x), share


def _moved(values: np.ndarray, x: Tensor) -> Tensor:
    """Float32 on the device of `x`; the host does not wait for what the device is at."""
    tensor = torch.from_numpy(values).float()
    return (tensor.pin_memory() if x.device.type == "cuda" else tensor).to(x.device, non_blocking=True)
