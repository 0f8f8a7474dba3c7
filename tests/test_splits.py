"""Who is in which part, and data that nobody could train or judge on."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.errors import DataError
from trainables.splits import complete, folds, stratified
from trainables.task import Head, Sample, Splits

HEADS = (Head(name="label", classes=("cat", "dog", "eel")),)


def samples(prefix: str, counts: dict[int, int]) -> tuple[Sample, ...]:
    return tuple(
        Sample(id=f"{prefix}{label}_{k}", path=Path(f"{prefix}{label}_{k}.jpg"), target=(label,))
        for label, count in counts.items()
        for k in range(count)
    )


def labels(part: tuple[Sample, ...]) -> Counter[int]:
    return Counter(s.target[0] for s in part if s.target)


TRAIN = samples("t", {0: 50, 1: 20, 2: 10})
VALID = samples("v", {0: 30, 1: 12, 2: 6})


def test_complete_splits_are_left_as_they_are() -> None:
    splits = Splits(train=TRAIN, valid=VALID, holdout=samples("h", {0: 2}))
    assert complete(splits, heads=HEADS) == splits


def test_the_holdout_is_a_stratified_third_of_valid_and_a_note_says_so() -> None:
    done = complete(Splits(train=TRAIN, valid=VALID), heads=HEADS)
    assert labels(done.holdout) == {0: 10, 1: 4, 2: 2}
    assert labels(done.valid) == {0: 20, 1: 8, 2: 4}
    assert done.train == TRAIN
    assert done.notes == ("16 of 48 validation images are held out: they select nothing.",)


def test_a_missing_validation_part_is_cut_from_train_and_a_note_says_so() -> None:
    done = complete(Splits(train=TRAIN), heads=HEADS)
    assert labels(done.train) == {0: 40, 1: 16, 2: 8}
    assert labels(done.valid + done.holdout) == {0: 10, 1: 4, 2: 2}
    assert len(done.holdout) == 5
    assert "16 images were cut from train" in done.notes[0]


def test_the_holdout_is_the_same_whatever_the_order_of_the_files() -> None:
    done = complete(Splits(train=TRAIN, valid=VALID), heads=HEADS)
    again = complete(Splits(train=TRAIN, valid=VALID[::-1]), heads=HEADS)
    other = complete(Splits(train=TRAIN, valid=VALID), heads=HEADS, seed=1)
    assert set(again.holdout) == set(done.holdout)
    assert set(other.holdout) != set(done.holdout)


def test_a_class_with_one_image_stays_in_train() -> None:
    done = complete(Splits(train=samples("t", {0: 50, 1: 20, 2: 1})), heads=HEADS)
    assert labels(done.train)[2] == 1


@given(st.dictionaries(st.integers(0, 9), st.integers(1, 30), min_size=1), st.floats(0, 1), st.booleans())
def test_a_cut_has_its_share_of_every_class(counts: dict[int, int], share: float, keep_one: bool) -> None:
    members = samples("x", counts)
    rest, cut = stratified(members, share, seed=0, keep_one=keep_one)
    assert sorted(s.id for s in rest + cut) == sorted(s.id for s in members)
    for label, count in counts.items():
        assert abs(labels(cut)[label] - share * count) <= 1
        assert labels(rest)[label] >= keep_one
    if not keep_one:
        assert len(cut) == round(share * len(members))


GOOD = Splits(train=TRAIN, valid=VALID, test=(Sample(id="0", path=Path("0.jpg")),))
STRAY = Sample(id="stray", path=Path("stray.jpg"), target=(3,))


@pytest.mark.parametrize(
    ("splits", "reason"),
    [
        (replace(GOOD, train=()), "no training images"),
        (replace(GOOD, train=samples("t", {0: 9, 2: 9})), "No training image of class 'dog'"),
        (replace(GOOD, train=samples("t", {1: 9})), "one label 'dog'"),
        (replace(GOOD, valid=(*VALID, STRAY)), "stray.jpg: label 3 is outside 0..2 of 'label'"),
        (replace(GOOD, train=(*TRAIN, replace(STRAY, target=None))), "stray.jpg: 0 of 1 labels"),
        (replace(GOOD, train=(*TRAIN, replace(STRAY, target=(1, 1)))), "stray.jpg: 2 of 1 labels"),
        (replace(GOOD, train=(*TRAIN, replace(TRAIN[0], path=Path("u.jpg")))), r"'t0_0' .*t0_0.jpg, u.jpg"),
        (replace(GOOD, valid=(*VALID, TRAIN[0])), "t0_0.jpg is in train and in valid"),
        (replace(GOOD, valid=VALID[:1]), "One validation image is too few"),
        (Splits(train=samples("t", {0: 1, 1: 1, 2: 1})), "3 training images are too few"),
    ],
)
def test_what_cannot_be_trained_or_judged_on_is_refused(splits: Splits, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        complete(splits, heads=HEADS)
    assert caught.value.fix


def many_heads(count: int, sizes: tuple[int, ...] = (40, 8, 5)) -> tuple[Sample, ...]:
    """Samples of several heads whose classes are unequal and whose joint labels are rare."""
    rng = random.Random(0)
    draws = [rng.choices(range(n), weights=[1 / (k + 1) for k in range(n)], k=count) for n in sizes]
    return tuple(
        Sample(id=f"s{i}", path=Path(f"s{i}.jpg"), target=target)
        for i, target in enumerate(zip(*draws, strict=True))
    )


def off(parts: list[tuple[Sample, ...]], whole: tuple[Sample, ...], shares: list[float]) -> float:
    """Most by which a class of a head misses its share of a part, in images."""
    counts = [Counter((h, k) for s in part for h, k in enumerate(s.target or ())) for part in parts]
    every = Counter((h, k) for s in whole for h, k in enumerate(s.target or ()))
    return max(
        abs(count[key] - share * n)
        for count, share in zip(counts, shares, strict=True)
        for key, n in every.items()
    )


def test_every_class_of_every_head_has_its_share_though_joint_labels_are_rare() -> None:
    whole = many_heads(2000)
    assert Counter(Counter(s.target for s in whole).values())[1] > 300
    rest, cut = stratified(whole, 0.2, seed=0, keep_one=True)
    assert len(cut) == 400
    assert off([rest, cut], whole, [0.8, 0.2]) <= 2
    for h in range(3):
        assert {s.target[h] for s in rest if s.target} == {s.target[h] for s in whole if s.target}
    again = stratified(whole[::-1], 0.2, seed=0, keep_one=True)[1]
    assert set(again) == set(cut)
    assert set(stratified(whole, 0.2, seed=1, keep_one=True)[1]) != set(cut)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 15)), max_size=60),
    st.integers(0, 9),
)
def test_a_group_is_never_parted_and_nothing_is_lost(rows: list[tuple[int, int, int]], seed: int) -> None:
    whole = tuple(
        Sample(id=f"{i}", path=Path(f"{i}"), target=(a, b), group=f"g{g}" if g < 12 else "")
        for i, (a, b, g) in enumerate(rows)
    )
    rest, cut = stratified(whole, 0.3, seed=seed)
    assert sorted(s.id for s in rest + cut) == sorted(s.id for s in whole)
    assert not {s.group for s in rest if s.group} & {s.group for s in cut if s.group}


def test_folds_are_stratified_grouped_and_hold_everything_once() -> None:
    whole = tuple(replace(s, group=f"g{i // 3}" if i < 300 else "") for i, s in enumerate(many_heads(1000)))
    found = folds(whole, 5, seed=0)
    assert sorted(i for fold in found for i in fold) == list(range(1000))
    assert all(list(fold) == sorted(fold) for fold in found)
    parts = [tuple(whole[i] for i in fold) for fold in found]
    assert off(parts, whole, [0.2] * 5) <= 4
    assert max(map(len, parts)) - min(map(len, parts)) <= 4
    for i, first in enumerate(parts):
        for second in parts[i + 1 :]:
            assert not {s.group for s in first if s.group} & {s.group for s in second if s.group}
    assert folds(whole, 5, seed=0) == found
    assert folds(whole, 5, seed=1) != found


def test_folds_of_one_head_differ_by_one_image_a_class() -> None:
    parts = [tuple(TRAIN[i] for i in fold) for fold in folds(TRAIN, 4)]
    assert off(parts, TRAIN, [0.25] * 4) <= 1
    assert [len(part) for part in parts] == [20] * 4


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(DataError, match="4 images, duplicates counted as one, are too few for 3 folds"):
        folds([replace(s, group="ab"[k % 2]) for k, s in enumerate(TRAIN[:4])], 3)


def test_groups_are_kept_whole_by_the_cuts() -> None:
    train = tuple(replace(s, group=f"g{i // 4}") for i, s in enumerate(TRAIN))
    done = complete(Splits(train=train), heads=HEADS)
    parts = (done.train, done.valid, done.holdout)
    assert sum(map(len, parts)) == len(train)
    assert len({s.group for s in train}) == sum(len({s.group for s in part}) for part in parts)
    assert labels(done.train).keys() == {0, 1, 2}


def test_rows_of_one_table_are_different_images() -> None:
    table = Path("pixels.parquet")
    train = tuple(replace(s, path=table, row=i) for i, s in enumerate(TRAIN))
    valid = tuple(replace(s, path=table, row=100 + i) for i, s in enumerate(VALID))
    assert complete(Splits(train=train, valid=valid), heads=HEADS).train == train
    with pytest.raises(DataError, match=r"pixels.parquet, row 3, is in train and in valid"):
        complete(Splits(train=train, valid=(*valid[1:], replace(valid[0], row=3))), heads=HEADS)


def test_validation_images_of_one_group_cannot_be_cut() -> None:
    valid = tuple(replace(s, group="same") for s in VALID)
    with pytest.raises(DataError, match="48 validation images are one group"):
        complete(Splits(train=TRAIN, valid=valid), heads=HEADS)
