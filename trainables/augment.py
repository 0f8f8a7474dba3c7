"""From the store's bytes to a network's input: resized, augmented in batches on the device, normalised.

Two paths do the same with the same statistics: `fused`, few passes over the pixels, which is used; and
`kornia`, its classes one after another, which is the reference that the fused path is tested against.
"""

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from trainables.color import normalise
from trainables.config import TrialConfig
from trainables.crops import resize
from trainables.feed import Feed
from trainables.fused import FusedRecipe
from trainables.kornia_path import KorniaRecipe
from trainables.policies import policy_of

Path = Literal["fused", "kornia"]


def plain(images: Tensor, size: int) -> Tensor:
    """The whole picture: uint8 [B, 3, S, S] to normalised float [B, 3, size, size]."""
    return normalise(resize(images, size))


class Augment:
    """Random views of a batch, uint8 [B, 3, S, S] to normalised float [B, 3, size, size].

    Only what the configuration asks for is done; `augment="none"` does none of it. RandAugment and
    TrivialAugment come on top of the other augmentations, after crop, turn and shift and before colour.
    Random numbers come from `generator` and, for what kornia draws, from torch's global one.
    """

    def __init__(self, config: TrialConfig, generator: torch.Generator, *, path: Path = "fused") -> None:
        self.path: Path = path
        asked = config if config.augment != "none" else _nothing(config)
        if path == "kornia":
            self.recipe: FusedRecipe | KorniaRecipe = KorniaRecipe(asked)
        else:
            self.recipe = FusedRecipe(asked, generator, policy_of(config, generator))

    def __call__(self, images: Tensor) -> Tensor:
        return self.recipe(images, torch.arange(len(images)))

    def batch(self, feed: Feed, rows: Tensor) -> Tensor:
        """Views of rows [B] of a feed, on its device; on a CPU only what the crops show is read."""
        if feed.source is not None:
            return self.recipe(feed.source, rows)
        return self(feed.images(rows))


def _nothing(config: TrialConfig) -> TrialConfig:
    """The same configuration with no augmentation at all."""
    return dataclasses.replace(
        config, crop=0.0, flip=False, rotation=0.0, translate=0.0, color=0.0, erasing=0.0
    )
