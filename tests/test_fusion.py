"""Boxes and masks of several models merged under weights."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensembles.blend import align, blend
from ensembles.fusion import (
    FUSED,
    MASK_RULES,
    RULES,
    MaskPool,
    consensus,
    pooled,
    soft_nms,
    suppression,
    weighted_fusion,
)
from ensembles.merging import Blend
from tests.shapes import boxes_of, instances_of, random_masks, random_rows, rows_of, shaken
from trainables.boxes import in_score_order, iou, neighbours
from trainables.errors import DataError
from trainables.instances import Masks

seeds = st.integers(0, 10_000)
BOX = (0, 0, 10, 10)
FAR = (50, 50, 60, 60)


def members_of(seed: int, count: int = 3, *, objects: int = 12) -> list[np.ndarray]:
    """What several models found of the same objects, by distinct scores."""
    rows = random_rows(objects, seed, side=120)
    return [shaken(rows, seed + i) for i in range(count)]


def direct_fusion(members: list[np.ndarray], weights: list[float]) -> list[tuple[float, ...]]:
    """Weighted fusion, every box against every object, as plain sums."""
    share = [w / sum(weights) for w in weights]
    finds = [
        (share[m] * float(r[4]), m, r.astype(np.float64)) for m, rows in enumerate(members) for r in rows
    ]
    objects: list[list[tuple[float, int, np.ndarray]]] = []

    def box(found: list[tuple[float, int, np.ndarray]]) -> np.ndarray:
        return np.average([r[:4] for _, _, r in found], axis=0, weights=[v for v, _, _ in found])

    for vote, member, row in sorted(finds, key=lambda find: -find[0]):
        fits = []
        for k, found in enumerate(objects):
            fused = box(found)
            if row[5] == found[0][2][5] and member not in [m for _, m, _ in found]:
                fits.append((float(iou(row[None, :4], fused[None])[0, 0]), -k))
        overlap, k = max(fits, default=(0.0, 0))
        if overlap > FUSED:
            objects[-k].append((vote, member, row))
        else:
            objects.append([(vote, member, row)])
    merged = [(*box(found), sum(v for v, _, _ in found), found[0][2][5]) for found in objects]
    return sorted(merged, key=lambda row: -row[4])


def direct_soft_nms(rows: np.ndarray, *, linear: float | None = None) -> list[float]:
    scores = [float(score) for score in rows[:, 4]]
    left = list(range(len(rows)))
    while left:
        best = max(left, key=lambda i: scores[i])
        left.remove(best)
        for i in left:
            overlap = float(iou(rows[[i]], rows[[best]])[0, 0]) * bool(rows[i, 5] == rows[best, 5])
            if linear is None:
                scores[i] *= np.exp(-(overlap**2) / 0.5)
            elif overlap > linear:
                scores[i] *= 1 - overlap
    return scores


def test_two_finds_of_one_object_are_averaged_by_weight_times_score() -> None:
    pool = pooled([rows_of([(0, 0, 10, 10, 0.75, 0)]), rows_of([(0, 0, 14, 10, 0.25, 0)])], [1, 1])
    assert weighted_fusion(pool).tolist() == [[0, 0, 11, 10, 0.5, 0]]
    heavier = pooled([rows_of([(0, 0, 10, 10, 0.5, 0)]), rows_of([(0, 0, 14, 10, 0.5, 0)])], [1, 3])
    assert weighted_fusion(heavier).tolist() == [[0, 0, 13, 10, 0.5, 0]]


def test_what_one_of_two_members_found_keeps_half_its_score() -> None:
    pool = pooled([rows_of([(*BOX, 0.75, 0)]), rows_of([])], [2, 2])
    assert weighted_fusion(pool).tolist() == [[*BOX, 0.375, 0]]


def test_boxes_of_two_labels_or_of_one_member_are_never_fused() -> None:
    assert len(weighted_fusion(pooled([rows_of([(*BOX, 0.5, 0)]), rows_of([(*BOX, 0.5, 1)])], [1, 1]))) == 2
    assert len(weighted_fusion(pooled([rows_of([(*BOX, 0.5, 0), (*BOX, 0.25, 0)])], [1]))) == 2


def test_a_box_of_score_zero_does_no_harm() -> None:
    assert weighted_fusion(pooled([rows_of([(*BOX, 0, 0)])], [1])).tolist() == [[*BOX, 0, 0]]


def test_consensus_keeps_what_more_than_half_of_the_weight_found() -> None:
    both, one = (*BOX, 0.5, 0), (*FAR, 0.9, 0)
    found = [rows_of([both, one]), rows_of([both]), rows_of([(*BOX, 0.25, 0)])]
    assert consensus(pooled(found, [1, 1, 1])) == pytest.approx(np.array([[*BOX, 1.25 / 3, 0]]))
    assert len(consensus(pooled(found, [3, 1, 1]))) == 2
    assert len(consensus(pooled(found, [2, 1, 1]))) == 1


def test_suppression_keeps_the_find_with_the_highest_weighted_score() -> None:
    found = [rows_of([(*BOX, 0.6, 0)]), rows_of([(0, 0, 10, 9, 0.8, 0)])]
    assert suppression(pooled(found, [1, 1]))[:, 3].tolist() == [9]
    assert suppression(pooled(found, [2, 1]))[:, 3].tolist() == [10]


def test_soft_suppression_worked_by_hand() -> None:
    rows = rows_of([(*BOX, 0.8, 0), (0, 0, 10, 5, 0.6, 0), (*FAR, 0.5, 0)])
    gaussian = soft_nms(rows[:, 4], neighbours(rows))
    assert gaussian == pytest.approx([0.8, 0.6 * np.exp(-0.5), 0.5])
    assert soft_nms(rows[:, 4], neighbours(rows), linear=0.3) == pytest.approx([0.8, 0.3, 0.5])
    assert soft_nms(rows[:, 4], neighbours(rows), linear=0.5) == pytest.approx([0.8, 0.6, 0.5])


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 4))
def test_fusion_agrees_with_a_direct_one(seed: int, count: int) -> None:
    members, weights = members_of(seed, count), [1.0, 2.0, 0.5, 1.5][:count]
    fused = weighted_fusion(pooled(members, weights))
    assert fused == pytest.approx(np.array(direct_fusion(members, weights)), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(0, 15), st.sampled_from([None, 0.3]))
def test_soft_suppression_agrees_with_a_direct_one(seed: int, count: int, linear: float | None) -> None:
    rows = random_rows(count, seed)
    assert soft_nms(rows[:, 4], neighbours(rows), linear=linear) == pytest.approx(
        direct_soft_nms(rows, linear=linear)
    )


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(["prob", "vote"]))
def test_a_member_alone_comes_back_as_it_is(seed: int, rule: str) -> None:
    rows = random_rows(20, seed)
    assert RULES[rule](pooled([rows], [0.7])).tolist() == rows[in_score_order(rows)].tolist()


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(sorted(RULES)), st.permutations(range(3)))
def test_neither_the_members_order_nor_the_scale_of_the_weights_matters(
    seed: int, rule: str, order: list[int]
) -> None:
    members, weights = members_of(seed), [1.0, 2.0, 0.5]
    merged = RULES[rule](pooled(members, weights))
    turned = pooled([members[i] for i in order], [4 * weights[i] for i in order])
    assert RULES[rule](turned) == pytest.approx(merged, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_twins_are_as_one_member(seed: int) -> None:
    rows = random_rows(15, seed, labels=50)
    assert weighted_fusion(pooled([rows, rows], [1, 3])) == pytest.approx(
        rows[in_score_order(rows)], abs=1e-5
    )


def test_a_blend_of_boxes_merges_image_by_image_and_leaves_out_weight_zero() -> None:
    first, second = boxes_of([(*BOX, 0.5, 0)], []), boxes_of([], [(*FAR, 0.5, 0)])
    merged = blend([first, second], Blend("prob", (1, 1)))
    assert merged.ids == first.ids
    assert [rows.tolist() for rows in merged.images] == [[[*BOX, 0.25, 0]], [[*FAR, 0.25, 0]]]
    alone = blend([first, second], Blend("prob", (0, 1)))
    assert [rows.tolist() for rows in alone.images] == [[], [[*FAR, 0.5, 0]]]


def test_images_without_any_box_are_merged_to_none() -> None:
    for rule in RULES.values():
        assert rule(pooled([rows_of([]), rows_of([])], [1, 1])).shape == (0, 6)


def test_three_hundred_boxes_of_five_members_take_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 950, (300, 2)), rng.uniform(30, 120, (300, 2))
    rows = np.column_stack([corner, corner + size, rng.uniform(0.05, 1, 300), np.zeros(300)])
    pool = pooled([shaken(rows.astype(np.float32), i, missing=0) for i in range(5)], [1.0] * 5)
    for rule in RULES.values():
        start = time.process_time()
        assert 0 < len(rule(pool)) < 1500
        assert time.process_time() - start < 0.5


def bar(left: int, right: int, *, score: float, label: int = 0) -> Masks:
    mask = np.zeros((4, 20), dtype=bool)
    mask[:, left:right] = True
    return Masks.of([mask], (4, 20), scores=np.array([score]), labels=np.array([label]))


def columns(masks: Masks) -> list[list[int]]:
    return [np.flatnonzero(mask.any(0)).tolist() for mask in masks.pixels()]


def test_masks_of_one_object_take_each_pixels_vote() -> None:
    found = [bar(0, 10, score=0.5), bar(0, 8, score=0.5), bar(2, 10, score=0.5)]
    fused = MASK_RULES["prob"](MaskPool.of(found, [1, 1, 1]))
    assert columns(fused) == [list(range(10))]
    assert fused.scores.tolist() == [0.5]
    heavy = MASK_RULES["prob"](MaskPool.of(found, [1, 5, 1]))
    assert columns(heavy) == [list(range(8))]


def test_masks_that_half_of_the_weight_found_lose_the_vote_and_half_their_score() -> None:
    found = [bar(0, 5, score=0.75), bar(10, 15, score=0.5)]
    assert len(MASK_RULES["vote"](MaskPool.of(found, [1, 1]))) == 0
    assert columns(MASK_RULES["vote"](MaskPool.of(found, [1, 3]))) == [[10, 11, 12, 13, 14]]
    assert MASK_RULES["prob"](MaskPool.of(found, [1, 1])).scores.tolist() == [0.375, 0.25]


def test_masks_of_two_labels_are_never_fused() -> None:
    assert (
        len(MASK_RULES["prob"](MaskPool.of([bar(0, 5, score=0.5), bar(0, 5, score=0.5, label=1)], [1, 1])))
        == 2
    )


def test_masks_are_suppressed_as_boxes_are() -> None:
    found = [bar(0, 10, score=0.8), bar(0, 8, score=0.6)]
    assert columns(MASK_RULES["nms"](MaskPool.of(found, [1, 1]))) == [list(range(10))]
    lowered = MASK_RULES["logit"](MaskPool.of(found, [1, 1])).scores
    assert lowered == pytest.approx([0.8, 0.6 * np.exp(-0.64 / 0.5)])


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from(["prob", "vote"]))
def test_the_masks_of_a_member_alone_come_back_as_they_are(seed: int, rule: str) -> None:
    masks = random_masks(5, seed)
    order = np.argsort(-masks.scores)
    fused = MASK_RULES[rule](MaskPool.of([masks], [0.3]))
    assert fused.counts == masks.pick(order).counts
    assert fused.scores == pytest.approx(masks.scores[order])


def test_a_blend_of_instances_merges_image_by_image() -> None:
    first, second = instances_of(bar(0, 5, score=0.5)), instances_of(bar(0, 5, score=1.0))
    assert blend([first, second], Blend("prob", (1, 1))).images[0].scores.tolist() == [0.75]


def test_members_that_answer_one_image_in_two_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="several sizes"):
        MASK_RULES["prob"](MaskPool.of([random_masks(1, 0), random_masks(1, 0, size=(5, 6))], [1, 1]))


def test_members_are_put_into_one_order() -> None:
    first = boxes_of([(*BOX, 0.5, 0)], [])
    (aligned,) = align([first.take([1, 0])], first.ids)
    assert aligned.ids == first.ids
    assert [len(rows) for rows in aligned.images] == [1, 0]
    with pytest.raises(DataError, match="2 and 1, for example 'image1' only once"):
        align([first], ["image0"])
    with pytest.raises(DataError, match="some of them twice"):
        align([first.take([0, 0, 1])], first.ids)
