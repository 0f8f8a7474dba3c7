"""Who is in which part, and data that nobody could train or judge on."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.errors import DataError
from trainables.splits import complete, stratified
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
