"""Wheat's metric, its threshold and COCO's AP: cases worked by hand, and slow direct references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shapes import boxes_of, instances_of, random_masks, random_rows, rows_of, shaken
from trainables.boxes import Boxes
from trainables.detection_metrics import box_ap, fit_wheat_threshold, mask_ap, wheat_score
from trainables.errors import DataError
from trainables.instances import Instances, Masks


def overlap(a: np.ndarray, b: np.ndarray, *, crowd: bool = False) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area, other = ((r[2] - r[0]) * (r[3] - r[1]) for r in (a, b))
    return float(shared / (area if crowd else area + other - shared))


def direct_wheat(rows: np.ndarray, known: np.ndarray) -> float:
    if len(known) == 0:
        return float(len(rows) == 0)
    scores = []
    for percent in range(50, 80, 5):
        left, hits = list(known), 0
        for row in sorted(rows, key=lambda r: -r[4]):
            best = max(range(len(left)), key=lambda k: overlap(row, left[k]), default=None)
            if best is not None and overlap(row, left[best]) >= percent / 100:
                del left[best]
                hits += 1
        scores.append(hits / (len(rows) + len(known) - hits))
    return float(np.mean(scores))


def direct_ap(predictions: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """COCO's AP of one class of boxes."""
    aps = []
    for threshold in np.linspace(0.5, 0.95, 10):
        judged: list[tuple[float, bool]] = []
        for rows, known in zip(predictions, truth, strict=True):
            free = [True] * len(known)
            for row in sorted(rows, key=lambda r: -r[4])[:100]:
                fits = [
                    (known[k, 4] == 1, overlap(row, known[k], crowd=known[k, 4] == 0), k)
                    for k in range(len(known))
                    if free[k] and overlap(row, known[k], crowd=known[k, 4] == 0) >= threshold
                ]
                real, _, k = max(fits, default=(False, 0.0, -1))
                if real:
                    free[k] = False
                if real or not fits:
                    judged.append((float(row[4]), real))
        judged.sort(key=lambda pair: -pair[0])
        objects = sum(int((known[:, 4] == 1).sum()) for known in truth)
        hits = np.cumsum([hit for _, hit in judged]) if judged else np.zeros(0)
        points = [(h / objects, h / (i + 1)) for i, h in enumerate(hits)]
        best = [max((p for r, p in points if r >= recall), default=0.0) for recall in np.linspace(0, 1, 101)]
        aps.append(np.mean(best))
    return float(np.mean(aps))


def case(seed: int, images: int = 5, *, labels: int = 1) -> tuple[Boxes, Boxes]:
    """Predictions and the truth, which some images lack."""
    rng = np.random.default_rng(seed)
    truth = [random_rows(int(rng.integers(0, 7)), seed + i, labels=labels) for i in range(images)]
    found = [
        np.concatenate([shaken(rows, seed + i, by=1.5), random_rows(int(rng.integers(0, 4)), seed, labels=1)])
        for i, rows in enumerate(truth)
    ]
    for rows in truth:
        rows[:, 4] = 1
    for rows in found:
        rows[:, 4] += rng.uniform(0, 1e-3, len(rows)).astype(np.float32)
    return boxes_of(*found), boxes_of(*truth)


SQUARE = (0, 0, 10, 10, 1, 0)
FAR = (50, 50, 60, 60, 1, 0)


@pytest.mark.parametrize(
    ("found", "known", "score"),
    [
        ([], [], 1.0),
        ([SQUARE], [], 0.0),
        ([], [SQUARE], 0.0),
        ([SQUARE], [SQUARE], 1.0),
        ([SQUARE, FAR], [SQUARE], 0.5),
        ([(0, 0, 10, 6, 0.9, 0)], [SQUARE], 0.5),  # IoU 0.60: a hit at 0.50, 0.55 and 0.60
        ([(0, 0, 10, 5, 0.9, 0)], [SQUARE], 1 / 6),  # IoU 0.50 reaches the first threshold
        ([(0, 0, 10, 4.9, 0.9, 0)], [SQUARE], 0.0),
        ([SQUARE, (0, 0, 10, 9, 0.5, 0)], [SQUARE], 0.5),  # the second find of one box is false
    ],
)
def test_wheat_images_worked_by_hand(
    found: list[tuple[float, ...]], known: list[tuple[float, ...]], score: float
) -> None:
    assert wheat_score(boxes_of(found), boxes_of(known)) == pytest.approx(score)


def test_the_surer_box_takes_the_object_though_the_other_fits_better() -> None:
    found = [(0, 0, 10, 6, 0.9, 0), (0, 0, 10, 10, 0.8, 0)]
    # at 0.50 to 0.60 the first hits and the second is false; above, the second hits and the first is false
    assert wheat_score(boxes_of(found), boxes_of([SQUARE])) == pytest.approx(0.5)


def test_wheat_is_the_mean_over_images() -> None:
    assert wheat_score(boxes_of([SQUARE], [], [SQUARE]), boxes_of([SQUARE], [], [])) == pytest.approx(2 / 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_wheat_agrees_with_a_direct_reference(seed: int) -> None:
    found, known = case(seed)
    direct = [direct_wheat(*pair) for pair in zip(found.images, known.images, strict=True)]
    assert wheat_score(found, known) == pytest.approx(np.mean(direct))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_the_fitted_threshold_is_the_best_of_all(seed: int, coarse: bool) -> None:
    found, known = case(seed)
    if coarse:
        found = Boxes(ids=found.ids, images=tuple(np.round(rows, 1) for rows in found.images))
    fitted = fit_wheat_threshold(found, known)
    scores = np.unique(np.concatenate([[0.0, 2.0], *(rows[:, 4] for rows in found.images)]))
    assert fitted.value == pytest.approx(max(wheat_score(found.above(s), known) for s in scores))
    assert wheat_score(found.above(fitted.threshold), known) == pytest.approx(fitted.value)


def test_a_threshold_lies_between_what_helps_and_what_harms() -> None:
    found = boxes_of([(*SQUARE[:4], 0.8, 0), (*FAR[:4], 0.4, 0)])
    fitted = fit_wheat_threshold(found, boxes_of([SQUARE]))
    assert fitted.threshold == pytest.approx(0.6)
    assert fitted.value == 1.0


def test_a_threshold_can_drop_everything_or_nothing() -> None:
    assert fit_wheat_threshold(boxes_of([SQUARE]), boxes_of([])).threshold > 1
    assert fit_wheat_threshold(boxes_of([SQUARE]), boxes_of([SQUARE])).threshold == 0
    assert fit_wheat_threshold(boxes_of([]), boxes_of([SQUARE])).threshold == 0


def test_ap_worked_by_hand() -> None:
    # the best-scored box is false, the second hits one of two objects: precision 1/2 up to recall 1/2
    found = [(*FAR[:4], 0.9, 0), (*SQUARE[:4], 0.8, 0)]
    known = [SQUARE, (20, 20, 30, 30, 1, 0)]
    assert box_ap(boxes_of(found), boxes_of(known)).ap == pytest.approx(0.5 * 51 / 101)


def test_ap_at_one_threshold() -> None:
    ap = box_ap(boxes_of([(0, 0, 10, 7, 1, 0)]), boxes_of([SQUARE]))  # IoU 0.7: five of ten thresholds
    assert (ap.ap, ap.ap50, ap.ap75) == pytest.approx((0.5, 1.0, 0.0))


def test_what_falls_on_a_crowd_does_not_count() -> None:
    crowd = (40, 40, 90, 90, 0, 0)
    found = [(*FAR[:4], 0.9, 0), (60, 60, 70, 70, 0.8, 0), (*SQUARE[:4], 0.5, 0)]
    assert box_ap(boxes_of(found), boxes_of([SQUARE, crowd])).ap == 1.0
    assert box_ap(boxes_of(found), boxes_of([SQUARE])).ap == pytest.approx(1 / 3)


def test_only_the_hundred_best_of_an_image_count() -> None:
    noise = [(i, 70, i + 0.5, 71, 0.9, 0) for i in range(100)]
    assert box_ap(boxes_of([*noise, (*SQUARE[:4], 0.5, 0)]), boxes_of([SQUARE])).ap == 0
    assert box_ap(boxes_of([*noise[1:], (*SQUARE[:4], 0.5, 0)]), boxes_of([SQUARE])).ap == pytest.approx(0.01)


def test_ap_is_the_mean_over_the_classes_of_the_truth() -> None:
    other = (20, 20, 30, 30, 1, 1)
    assert box_ap(boxes_of([SQUARE]), boxes_of([SQUARE, other])).ap == 0.5
    assert box_ap(boxes_of([SQUARE, other]), boxes_of([SQUARE])).ap == 1.0
    assert np.isnan(box_ap(boxes_of([SQUARE]), boxes_of([])).ap)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_ap_agrees_with_a_direct_reference(seed: int, crowds: bool) -> None:
    found, known = case(seed)
    truth = [rows_of([*rows, SQUARE]) for rows in known.images]
    for rows in truth:
        rows[:-1:3, 4] = 0 if crowds else 1
    ap = box_ap(found, boxes_of(*truth)).ap
    assert ap == pytest.approx(direct_ap(list(found.images), truth))


def as_masks(found: Boxes, side: int = 70) -> Instances:
    """Boxes with whole corners as masks."""
    images = []
    for rows in found.images:
        masks = np.zeros((len(rows), side, side), dtype=bool)
        for mask, (x1, y1, x2, y2) in zip(masks, rows[:, :4].astype(int), strict=True):
            mask[y1:y2, x1:x2] = True
        images.append(Masks.of(list(masks), (side, side), scores=rows[:, 4], labels=rows[:, 5]))
    return instances_of(*images)


def whole(found: Boxes) -> Boxes:
    images = [rows.copy() for rows in found.images]
    for rows in images:
        rows[:, :4] = rows[:, :4].round().clip(0, 70)
        rows[:, 2:4] = np.maximum(rows[:, 2:4], rows[:, :2] + 1)
    return Boxes(ids=found.ids, images=tuple(images))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_rectangular_masks_score_as_their_boxes(seed: int) -> None:
    found, known = (whole(boxes) for boxes in case(seed, images=3, labels=2))
    known.images[0][::2, 4] = 0
    by_masks, by_boxes = mask_ap(as_masks(found), as_masks(known)), box_ap(found, known)
    assert (by_masks.ap, by_masks.ap50) == pytest.approx((by_boxes.ap, by_boxes.ap50), nan_ok=True)


def test_other_images_and_other_sizes_than_the_truth_are_refused() -> None:
    with pytest.raises(DataError, match="'image1' only once"):
        wheat_score(boxes_of([SQUARE]), boxes_of([SQUARE], []))
    small, large = (
        instances_of(random_masks(1, 0, size=(5, 6))),
        instances_of(random_masks(1, 0, size=(6, 5))),
    )
    with pytest.raises(DataError, match=r"'image0': masks of \(5, 6\)"):
        mask_ap(small, large)
