"""The standard recipe as kornia's own classes, one after another: the reference of the fused path.

Random numbers come from torch's global generator. kornia's policies draw one operation for a whole batch.
"""

from typing import Any

from kornia.augmentation import (
    AugmentationSequential,
    ColorJitter,
    Normalize,
    RandomAffine,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
)
from kornia.augmentation.auto import RandAugment, TrivialAugment
from torch import Tensor

from trainables.color import MEAN, STD
from trainables.config import TrialConfig
from trainables.crops import resize
from trainables.draws import ERASED_AREA, ERASED_ASPECT, HUE_TURN, JITTER, LONGEST_ASPECT
from trainables.policies import MAGNITUDE, NUM_OPERATIONS


class KorniaRecipe:
    """Random views of rows of a source, uint8 [n, 3, S, S], as normalised float32 [B, 3, size, size]."""

    def __init__(self, config: TrialConfig) -> None:
        self.config = config
        self.sequence = AugmentationSequential(*_steps(config), data_keys=["input"])

    def __call__(self, source: Tensor, rows: Tensor) -> Tensor:
        """Views of `rows` [B], which lie on the CPU."""
        images = source[rows.to(source.device)]
        if not self.config.crop:
            images = resize(images, self.config.image_size)
        views: Tensor = self.sequence(images.float() / 255)
        return views


def _steps(config: TrialConfig) -> list[Any]:
    steps: list[Any] = []
    size = (config.image_size, config.image_size)
    if config.crop:
        ratio = (1 / LONGEST_ASPECT, LONGEST_ASPECT)
        steps.append(RandomResizedCrop(size, (1 - config.crop, 1.0), ratio, align_corners=False))
    if config.flip:
        steps.append(RandomHorizontalFlip())
    if config.rotation or config.translate:
        shift = (config.translate, config.translate)
        steps.append(RandomAffine(config.rotation, shift, padding_mode="reflection", p=1.0))
    if config.augment == "randaugment":
        steps.append(RandAugment(NUM_OPERATIONS, MAGNITUDE))
    elif config.augment == "trivialaugment":
        steps.append(TrivialAugment())
    if config.color:
        reach, turn = JITTER * config.color, HUE_TURN * config.color
        steps.append(ColorJitter(reach, reach, reach, turn))
    steps.append(Normalize(MEAN, STD))
    if config.erasing:
        steps.append(RandomErasing(ERASED_AREA, ERASED_ASPECT, p=config.erasing))
    return steps
