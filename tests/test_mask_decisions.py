"""Mean Dice and the decision for it, on truths that lie in a file as masks."""

from pathlib import Path

import numpy as np
import pytest

from trainables.errors import DataError
from trainables.maps import Maps
from trainables.mask_decisions import MEAN_DICE, MaskDecision, Traced
from trainables.run_lengths import encode
from trainables.segmentation_metrics import MaskThresholds, mean_dice


@pytest.fixture
def masks() -> np.ndarray:
    """float32 [12, 2, 20, 30] of 0 and 1: every third picture holds a disc of the first class."""
    y, x = np.mgrid[:20, :30]
    found = np.zeros((12, 2, 20, 30), np.float32)
    for k in range(0, 12, 3):
        found[k, 0] = (y - 10) ** 2 + (x - 5 - k) ** 2 < 30
    found[4, 1, 3:9, 4:12] = 1
    return found


def stored(images: np.ndarray, path: Path) -> Maps:
    Maps(ids=tuple(f"i{k}" for k in range(len(images))), images=list(images)).save(path)
    return Maps.load(path)


@pytest.fixture
def truth(masks: np.ndarray, tmp_path: Path) -> Maps:
    return stored(masks, tmp_path / "truth.maps")


@pytest.fixture
def predictions(masks: np.ndarray, tmp_path: Path) -> Maps:
    """Unsure of what is there, and specks of what is not."""
    values = 0.35 * masks
    values[:, :, 0, ::7] = 0.3
    return stored(values, tmp_path / "predictions.maps")


def test_the_metric_is_mean_dice_of_the_masks_runs(masks: np.ndarray, truth: Maps, predictions: Maps) -> None:
    runs = [tuple(encode(mask > 0) for mask in image) for image in masks]
    assert list(Traced(truth)) == runs
    assert MEAN_DICE.fn(predictions, truth) == pytest.approx(mean_dice(predictions, runs))
    assert MEAN_DICE.fn(predictions, truth) == pytest.approx(19 / 24)
    assert MEAN_DICE.fn(truth, truth) == 1
    assert MEAN_DICE.each is not None
    assert np.asarray(MEAN_DICE.each(predictions, truth)).tolist() == [
        0.5 if some.any() else 1 for some in masks
    ]
    assert MEAN_DICE.utility(0.5) == 0.5


def test_the_decision_brings_out_the_masks_and_takes_back_the_specks(truth: Maps, predictions: Maps) -> None:
    decision = MaskDecision()
    fitted = decision.fit(predictions, truth, MEAN_DICE)
    decided = decision.apply(predictions, fitted)
    assert MEAN_DICE.fn(decided, truth) == 1
    assert all(set(np.unique(image)) <= {0, 1} for image in decided)
    assert fitted == MaskThresholds().fit(predictions, list(Traced(truth)))


def test_a_decision_is_fitted_on_rows_and_applied_to_others(truth: Maps, predictions: Maps) -> None:
    one, other = np.arange(0, 12, 2), np.arange(1, 12, 2)
    fitted = MaskDecision().fit(predictions.take(one), truth.take(one), MEAN_DICE)
    decided = MaskDecision().apply(predictions.take(other), fitted)
    assert MEAN_DICE.fn(decided, truth.take(other)) > MEAN_DICE.fn(predictions.take(other), truth.take(other))


def test_maps_of_another_shape_than_their_truth_are_refused(truth: Maps) -> None:
    other = Maps(ids=truth.ids, images=[np.zeros((2, 30, 20), np.float32)] * len(truth))
    with pytest.raises(DataError, match="'i0'"):
        MEAN_DICE.fn(other, truth)
