"""Mean Dice and the thresholds fitted to it, against loops over pixels."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainables.errors import DataError
from trainables.maps import Maps
from trainables.run_lengths import decode, encode
from trainables.segmentation_metrics import AREAS, THRESHOLDS, MaskThresholds, Runs, decided, mean_dice

steps = st.sampled_from([0.0, 0.05, 0.15, 0.45, 0.55, 0.75, 0.95, 1.0])
banks = arrays(np.float64, (3, 2, 6, 5), elements=steps)
truth_banks = arrays(bool, (3, 2, 6, 5))


def as_maps(values: Iterable[np.ndarray]) -> Maps:
    images = list(values)
    return Maps(ids=tuple(f"i{k}" for k in range(len(images))), images=images)


def as_runs(masks: Iterable[np.ndarray]) -> list[Runs]:
    return [tuple(encode(mask) for mask in image) for image in masks]


def slow_dice(mask: np.ndarray, truth: np.ndarray) -> float:
    one, other = set(zip(*mask.nonzero(), strict=True)), set(zip(*truth.nonzero(), strict=True))
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 1.0


def slow_decided(values: np.ndarray, threshold: float, area: float) -> np.ndarray:
    """Regions by flooding from every pixel."""
    mask = values > threshold
    kept = np.zeros_like(mask)
    left = set(zip(*mask.nonzero(), strict=True))
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            beside = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= beside
            front += beside
        for place in region if len(region) >= area else ():
            kept[place] = True
    return kept


@settings(deadline=None)
@given(banks, truth_banks)
def test_dice_is_the_mean_over_images_and_classes(values: np.ndarray, truths: np.ndarray) -> None:
    pairs = product(range(3), range(2))
    slow = np.mean([slow_dice(values[i, c] > 0.5, truths[i, c]) for i, c in pairs])
    assert mean_dice(as_maps(values), as_runs(truths)) == pytest.approx(slow)


def test_a_hand_worked_case() -> None:
    answer = np.zeros((2, 2, 2, 2))
    truth = np.zeros((2, 2, 2, 2), bool)
    answer[0, 0, 0] = 0.9  # two pixels, one of them right: 2 * 1 / (2 + 1)
    truth[0, 0, 0, 0] = True
    truth[0, 1] = True  # missed: 0
    answer[1, 0] = 0.6  # nothing there: 0; the last is empty in both: 1
    assert mean_dice(as_maps(answer), as_runs(truth)) == pytest.approx((2 / 3 + 0 + 0 + 1) / 4)


@settings(deadline=None)
@given(arrays(np.float64, (6, 7), elements=steps), st.sampled_from(THRESHOLDS), st.integers(0, 12))
def test_small_regions_are_taken_back(values: np.ndarray, threshold: float, area: int) -> None:
    assert (decided(values, threshold, area) == slow_decided(values, threshold, area)).all()


@settings(max_examples=15, deadline=None)
@given(banks, truth_banks)
def test_the_fitted_pair_is_the_best_of_the_grid(values: np.ndarray, truths: np.ndarray) -> None:
    """Each picture is drawn eight times as large, so that the areas of the grid part its regions."""
    large, known = (np.kron(bank, np.ones((8, 8))) for bank in (values, truths))
    maps, runs = as_maps(large), as_runs(known.astype(bool))
    fitted = MaskThresholds().fit(maps, runs)
    found = mean_dice(MaskThresholds().apply(maps, fitted), runs)
    assert found >= mean_dice(maps, runs) - 1e-9
    for pair in [(0.1, 0.0), (0.4, 100.0), (0.5, 200.0), (0.7, 50.0), (0.9, 400.0), (1.0, 0.0)]:
        for other in [(*pair, *fitted[2:]), (*fitted[:2], *pair)]:
            assert found >= mean_dice(MaskThresholds().apply(maps, other), runs) - 2e-6


def test_each_class_gets_its_own_numbers() -> None:
    rng = np.random.default_rng(0)
    truths = np.zeros((6, 3, 40, 60), bool)
    values = rng.uniform(0, 0.05, truths.shape)
    for i in range(6):
        truths[i, 0, 5:25, 5:25] = truths[i, 1, 5:25, 30:50] = i % 2
    values[truths] = 0.95
    values[:, 0][truths[:, 0]] = 0.35  # too shy
    values[:, 1, 30:36, 5:11] = 0.95  # a spot of 36 px that is nothing
    values[:, 2, :, 10:50] = 0.98  # always there, never true
    fitted = MaskThresholds().fit(as_maps(values), as_runs(truths))
    assert fitted == (0.3, 0.0, 0.5, 50.0, 1.0, 0.0)
    maps = as_maps(values)
    assert mean_dice(MaskThresholds().apply(maps, fitted), as_runs(truths)) == 1


def test_without_a_gain_a_half_stays() -> None:
    truths = np.zeros((2, 1, 8, 8), bool)
    truths[0, 0, 2:6, 2:6] = True
    assert MaskThresholds().fit(as_maps(truths.astype(float)), as_runs(truths)) == (0.5, 0.0)


def test_the_grid_reaches_from_every_region_to_none() -> None:
    assert AREAS[0] == 0
    assert THRESHOLDS[-1] == 1.0
    assert not decided(np.ones((3, 3)), THRESHOLDS[-1], 0).any()


def test_maps_from_a_file_are_fitted_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (2, 30 + k, 40)) / np.float32(255) for k in range(3)]
    runs = as_runs([image > 0.7 for image in images])
    as_maps(images).save(tmp_path / "maps.bin")
    loaded = Maps.load(tmp_path / "maps.bin")
    assert MaskThresholds().fit(loaded, runs) == MaskThresholds().fit(as_maps(images), runs)
    masks = MaskThresholds().apply(loaded, (0.7, 0.0, 0.7, 0.0))
    masks.save(tmp_path / "masks.bin")
    found = Maps.load(tmp_path / "masks.bin").image(1)
    assert (found[0] == decode(runs[1][0], (31, 40))).all()


def test_a_truth_that_does_not_fit_is_named() -> None:
    maps = as_maps([np.zeros((2, 3, 4))])
    with pytest.raises(DataError, match="'i0': a map of 2 classes, a truth of 1"):
        mean_dice(maps, [("",)])
    with pytest.raises(DataError, match=r"Truth of 'i0': run 1 \(12 2\) ends past the last pixel, 12"):
        mean_dice(maps, [("", "12 2")])
    with pytest.raises(DataError, match="No image to fit"):
        MaskThresholds().fit(as_maps([]), [])
    with pytest.raises(DataError, match="1 classes do not fit maps of 2"):
        MaskThresholds().apply(maps, (0.5, 0.0)).image(0)
