"""Masks as run lengths: the string, what is counted with runs, and the file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.shapes import instances_of, random_masks
from trainables import coco_rle
from trainables.errors import DataError
from trainables.instances import Instances, Masks

masks = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def direct_pack(runs: list[int]) -> str:
    """COCO's format written a character at a time."""
    text = ""
    for i, run in enumerate(runs):
        value = run - (runs[i - 2] if i > 2 else 0)
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != -1 if group & 0x10 else value != 0
            text += chr(group + (0x20 if more else 0) + 48)
    return text


@settings(max_examples=200, deadline=None)
@given(masks)
def test_a_mask_comes_back_from_its_runs_and_their_string(mask: np.ndarray) -> None:
    runs = coco_rle.runs_of(mask)
    assert coco_rle.unpack(coco_rle.pack(runs)).tolist() == runs.tolist()
    assert (coco_rle.mask_of(runs, mask.shape) == mask).all()
    assert coco_rle.area(runs) == mask.sum()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3_000_000), max_size=9))
def test_the_string_agrees_with_one_written_a_character_at_a_time(runs: list[int]) -> None:
    packed = coco_rle.pack(np.array(runs, dtype=np.int64))
    assert packed.decode() == direct_pack(runs)
    assert coco_rle.unpack(packed).tolist() == runs


def test_runs_go_down_the_columns_zeros_first() -> None:
    mask = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)
    assert coco_rle.runs_of(mask).tolist() == [0, 2, 1, 1, 2]
    assert coco_rle.runs_of(np.zeros((2, 3), dtype=bool)).tolist() == [6]


@pytest.mark.parametrize(
    ("counts", "reason"),
    [(b"6\x20", "the character ' '"), (b"6P", "cut short"), (b"P" * 12 + b"0", "too long")],
)
def test_a_string_that_is_no_run_lengths_is_refused(counts: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        coco_rle.unpack(counts)


@pytest.mark.parametrize(("runs", "reason"), [([7], "7 pixels where 2 x 3 are 6"), ([-1, 7], "a run of -1")])
def test_runs_that_do_not_fill_the_picture_are_refused(runs: list[int], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        coco_rle.mask_of(np.array(runs), (2, 3))


@settings(max_examples=150, deadline=None)
@given(masks)
def test_the_box_is_the_tightest(mask: np.ndarray) -> None:
    rows, columns = np.nonzero(mask)
    tightest = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if mask.any() else (0,) * 4
    assert coco_rle.box(coco_rle.runs_of(mask), mask.shape) == tightest


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 5), st.integers(0, 5))
def test_overlaps_from_runs_are_those_of_the_pixels(seed: int, first: int, second: int) -> None:
    a, b = random_masks(first, seed), random_masks(second, seed + 1)
    shared = np.einsum("ihw,jhw->ij", a.pixels().astype(int), b.pixels().astype(int))
    union = a.pixels().sum((1, 2))[:, None] + b.pixels().sum((1, 2)) - shared
    assert coco_rle.intersections(a.runs, b.runs, a.size).tolist() == shared.tolist()
    assert coco_rle.iou(a.runs, b.runs, a.size) == pytest.approx(shared / np.maximum(union, 1))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=1, max_size=4))
def test_a_vote_of_runs_is_that_of_the_pixels(seed: int, weights: list[float]) -> None:
    found = random_masks(len(weights), seed, size=(6, 5))
    share = np.tensordot(np.array(weights) / sum(weights), found.pixels(), 1)
    expected = np.where(np.isclose(share, 0.5), found.pixels()[0], share > 0.5)
    voted = coco_rle.voted(found.runs, weights, found.size)
    assert (coco_rle.mask_of(voted, found.size) == expected).all()


def test_a_polygon_fills_the_pixels_whose_centres_it_holds() -> None:
    square = np.array([[1, 1], [4, 1], [4, 3], [1, 3]])
    filled = coco_rle.mask_of(coco_rle.from_polygons([square], (5, 6)), (5, 6))
    assert filled[1:3, 1:4].all()
    assert filled.sum() == 6
    thin = np.array([[1.2, 0], [1.4, 0], [1.4, 5], [1.2, 5]])
    assert coco_rle.area(coco_rle.from_polygons([thin], (5, 6))) == 0
    beyond = np.array([[-5, -5], [50, -5], [50, 50], [-5, 50]])
    assert coco_rle.area(coco_rle.from_polygons([beyond, square], (5, 6))) == 30


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(-4, 14), st.floats(-4, 14)), min_size=3, max_size=7))
def test_a_polygon_agrees_with_a_test_of_every_centre(corners: list[tuple[float, float]]) -> None:
    points = np.array(corners)
    filled = coco_rle.mask_of(coco_rle.from_polygons([points], (9, 10)), (9, 10))
    for row, column in np.ndindex(9, 10):
        x, y, inside, near = column + 0.5, row + 0.5, False, False
        for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if (ax > x) != (bx > x):
                height = ay + (x - ax) * (by - ay) / (bx - ax)
                near |= abs(height - y) < 1e-6
                inside ^= height < y
        near |= np.isclose(points[:, 0], x).any()
        assert near or filled[row, column] == inside


def test_instances_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    written = instances_of(random_masks(3, 1), random_masks(0, 2, size=(4, 5)), random_masks(1, 3))
    written.save(tmp_path / "masks.npz")
    read = Instances.load(tmp_path / "masks.npz")
    assert read.ids == written.ids
    for ours, theirs in zip(read.images, written.images, strict=True):
        assert (ours.size, ours.counts) == (theirs.size, theirs.counts)
        assert ours.scores.tolist() == theirs.scores.tolist()
        assert ours.labels.tolist() == theirs.labels.tolist()


def test_a_cut_file_of_instances_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "masks.npz"
    instances_of(random_masks(3, 1)).save(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"masks\.npz: these instances cannot be read"):
        Instances.load(path)


def test_masks_without_a_score_each_are_refused() -> None:
    with pytest.raises(DataError, match="1 masks"):
        Masks(size=(1, 1), counts=(b"1",), scores=np.zeros(2, np.float32), labels=np.zeros(1, np.int64))


def test_images_and_objects_are_taken_in_the_order_asked_for() -> None:
    found = instances_of(random_masks(2, 1), random_masks(3, 2))
    assert found.take([1, 0]).ids == ("image1", "image0")
    picked = found.images[1].pick([2, 0])
    assert (picked.pixels() == found.images[1].pixels()[[2, 0]]).all()
    kept = found.above(0.5)
    assert [len(masks) for masks in kept.images] == [1, 2]
    assert min(float(masks.scores.min()) for masks in kept.images) >= 0.5


def test_the_boxes_of_masks_carry_their_scores_and_labels() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:6] = True
    found = instances_of(Masks.of([mask], (4, 6), scores=np.array([0.5]), labels=np.array([3])))
    assert found.boxes().images[0].tolist() == [[2, 1, 6, 3, 0.5, 3]]
