"""Boxes, their file, and what is counted with them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shapes import boxes_of, random_rows
from trainables.boxes import Boxes, areas, clip, iou, neighbours, nms
from trainables.errors import DataError


def direct_iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union else 0.0


def direct_nms(rows: np.ndarray, threshold: float) -> list[int]:
    left = sorted(range(len(rows)), key=lambda i: -rows[i, 4])
    kept: list[int] = []
    for i in left:
        clashes = (rows[i, 5] == rows[k, 5] and direct_iou(rows[i], rows[k]) > threshold for k in kept)
        if not any(clashes):
            kept.append(i)
    return kept


def test_boxes_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    written = boxes_of([(1, 2, 3, 4, 0.5, 0), (0, 0, 9, 9, 0.25, 1)], [], [(5, 5, 6.5, 7.25, 1, 0)])
    written.save(tmp_path / "boxes.npz")
    read = Boxes.load(tmp_path / "boxes.npz")
    assert read.ids == written.ids
    assert [rows.tolist() for rows in read.images] == [rows.tolist() for rows in written.images]
    assert {rows.dtype for rows in read.images} == {np.dtype(np.float32)}
    assert [path.name for path in tmp_path.iterdir()] == ["boxes.npz"]


def test_a_cut_file_of_boxes_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "boxes.npz"
    boxes_of([(1, 2, 3, 4, 0.5, 0)]).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"boxes\.npz: these boxes cannot be read"):
        Boxes.load(path)


def test_offsets_that_do_not_part_the_rows_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", ids=np.array(["a"]), rows=np.zeros((2, 6)), offsets=np.array([0, 1]))
    with pytest.raises(DataError, match="offsets do not part 2 rows"):
        Boxes.load(tmp_path / "b.npz")


@pytest.mark.parametrize("row", [(0, 0, np.nan, 1, 1, 0), (5, 0, 4, 1, 1, 0), (0, 0, 1, 1, np.inf, 0)])
def test_a_box_that_is_none_is_refused_with_its_image(row: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="'image1' has a box that is none"):
        boxes_of([], [row])


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(2, 5\)"):
        Boxes(ids=("a",), images=(np.zeros((2, 5), dtype=np.float32),))
    with pytest.raises(DataError, match="1 images do not fit 2 ids"):
        Boxes(ids=("a", "b"), images=(np.zeros((2, 6), dtype=np.float32),))


def test_images_are_taken_in_the_order_asked_for() -> None:
    found = boxes_of([(0, 0, 1, 1, 1, 0)], [], [(0, 0, 2, 2, 1, 0)]).take([2, 0])
    assert found.ids == ("image2", "image0")
    assert [rows[0, 2] for rows in found.images] == [2, 1]


def test_a_score_as_high_as_the_threshold_stays() -> None:
    kept = boxes_of([(0, 0, 1, 1, 0.5, 0), (0, 0, 1, 1, 0.25, 0)]).above(0.5)
    assert [len(rows) for rows in kept.images] == [1]


def test_overlaps_worked_by_hand() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [1, 1, 1, 5]], dtype=np.float32)
    assert areas(boxes).tolist() == [4, 4, 4, 0]
    assert iou(boxes[:1], boxes).tolist() == [[1, 1 / 7, 0, 0]]
    assert iou(boxes[3:], boxes[3:]).tolist() == [[0]]


def test_boxes_are_cut_at_the_edges() -> None:
    rows = np.array([[-2, -3, 5, 30, 0.5, 1]], dtype=np.float32)
    assert clip(rows, 4, 20).tolist() == [[0, 0, 4, 20, 0.5, 1]]
    assert rows[0, 0] == -2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 25))
def test_neighbours_are_all_overlapping_pairs_of_one_label(seed: int, count: int) -> None:
    rows = random_rows(count, seed)
    near = neighbours(rows)
    for i in range(count):
        found = dict(zip(*(part.tolist() for part in near.of(i)), strict=True))
        direct = {
            j: direct_iou(*rows[[i, j]].astype(np.float64))
            for j in range(count)
            if j != i and rows[i, 5] == rows[j, 5]
        }
        assert found == pytest.approx({j: value for j, value in direct.items() if value > 0})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 25), st.sampled_from([0.1, 0.3, 0.5, 0.7]))
def test_suppression_agrees_with_a_direct_one(seed: int, count: int, threshold: float) -> None:
    rows = random_rows(count, seed)
    assert nms(rows, threshold).tolist() == direct_nms(rows.astype(np.float64), threshold)
