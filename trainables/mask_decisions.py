"""Mean Dice, and the decision that it rewards, of truths that are maps of 0 and 1 as a store holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.errors import DataError
from trainables.maps import Maps
from trainables.run_lengths import encode
from trainables.segmentation_metrics import MaskThresholds, Runs, dice
from trainables.task import Metric


@dataclass(frozen=True)
class Traced(Sequence[Runs]):
    """The run lengths of every image's masks, made when they are asked for."""

    truth: Maps

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, row: Any) -> Any:
        return tuple(encode(mask > 0.5) for mask in self.truth.image(row))


@dataclass(frozen=True, kw_only=True)
class MaskDecision:
    """A threshold and a smallest area a class, as `MaskThresholds` fits them; see there."""

    def fit(self, predictions: Maps, targets: Maps, metric: Metric) -> tuple[float, ...]:
        """(threshold, area in px) of class 0, of class 1, ...: the best for mean Dice, which `metric` is."""
        return MaskThresholds().fit(predictions, Traced(targets))

    def apply(self, predictions: Maps, fitted: Sequence[float]) -> Maps:
        """The decided masks as maps of 0 and 1, made when they are read."""
        return MaskThresholds().apply(predictions, fitted)


def dice_of_each(predictions: Maps, truth: Maps) -> np.ndarray:
    """Of each image the mean Dice of its classes, 1 where both are empty; a pixel is on above a half.

    Raises DataError naming the image whose masks are of another shape than its truth's.
    """
    images = zip(predictions.ids, predictions, truth, strict=True)
    return np.array([_dice(id, values, masks) for id, values, masks in images])


def _dice(id: str, values: np.ndarray, masks: np.ndarray) -> float:
    if values.shape != masks.shape:
        raise DataError(f"{id!r}: a map of {values.shape} where the truth is of {masks.shape}.")
    return float(dice(values > 0.5, masks > 0.5).mean())


def _score(predictions: Maps, truth: Maps) -> float:
    return float(dice_of_each(predictions, truth).mean())


MEAN_DICE = Metric(name="mean Dice", direction="maximize", fn=_score, each=dice_of_each)
