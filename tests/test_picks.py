"""The final picks, and how far validation foretells the public score."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from orchestrator.entries import Entry, Made
from orchestrator.picks import differing, propose, rank_correlation
from trainables.metrics import ACCURACY
from trainables.task import Metric

LOSS = Metric(name="log loss", direction="minimize", fn=ACCURACY.fn)


def entry(number: int, valid: float, *, error: float | None = 0.02, public: float | None = None) -> Entry:
    made = Made(
        search="made",
        method="vote",
        members=("0000",),
        weights=(1.0,),
        metric="accuracy",
        valid=valid,
        holdout=valid,
        holdout_error=error,
        images={"valid": 400, "holdout": 100},
        commit="c",
        fingerprint="f",
    )
    return Entry(number=number, file="", sha256="", written="", made=made, public=public)


def numbers(
    entries: list[Entry], answers: dict[int, str], *, metric: Metric = ACCURACY, count: int = 2
) -> list[int]:
    return [pick.number for pick in propose(entries, answers, metric=metric, count=count)]


def test_first_the_best_on_validation_then_the_least_alike_of_its_equals() -> None:
    entries = [entry(1, 0.80), entry(2, 0.795), entry(3, 0.792), entry(4, 0.70)]
    answers = {1: "aaaaaaaaaa", 2: "aaaaaaaaab", 3: "aaaaaaabbb", 4: "bbbbbbbbbb"}
    picks = propose(entries, answers, metric=ACCURACY, count=2)
    assert [pick.number for pick in picks] == [1, 3]
    assert picks[0].why == "the best on validation, 0.8000."
    assert "±0.0100" in picks[1].why  # 0.02 of 100 images is 0.01 of 400
    assert "30.0% of the test" in picks[1].why


def test_where_none_is_within_the_noise_the_next_best_is_taken_and_it_is_said() -> None:
    entries = [entry(1, 0.80), entry(2, 0.75), entry(3, 0.70)]
    picks = propose(entries, {1: "aaa", 2: "aab", 3: "bbb"}, metric=ACCURACY, count=2)
    assert picks[1].number == 2
    assert "next best" in picks[1].why


def test_of_a_loss_the_lowest_is_the_best() -> None:
    entries = [entry(1, 0.80), entry(2, 0.30), entry(3, 0.50)]
    assert numbers(entries, {1: "aa", 2: "ab", 3: "bb"}, metric=LOSS) == [2, 3]


def test_the_same_answers_are_not_picked_twice_and_edited_files_never() -> None:
    entries = [entry(1, 0.80), entry(2, 0.80), entry(3, 0.80), entry(4, 0.9)]
    assert numbers(entries, {1: "aaa", 2: "aaa", 3: "aab"}, count=3) == [1, 3]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_public_scores_take_no_part(public: list[float]) -> None:
    entries = [entry(i, 0.8 + i / 1000) for i in range(4)]
    answers = {i: "a" * i + "b" * (4 - i) for i in range(4)}
    scored = [replace(e, public=value) for e, value in zip(entries, public, strict=True)]
    assert numbers(scored, answers) == numbers(entries, answers)


def test_without_submissions_there_is_nothing_to_pick() -> None:
    assert propose([], {}, metric=ACCURACY, count=2) == []


def test_a_share_of_differing_answers() -> None:
    assert differing(["1,a", "2,b"], ["1,a", "2,c"]) == 0.5
    assert differing(["1,a"], ["1,a", "2,c"]) == 1.0


SCORES = st.lists(st.integers(0, 6), min_size=3, max_size=12)


@settings(deadline=None)
@given(st.data())
def test_the_rank_correlation_is_spearmans(data: st.DataObject) -> None:
    xs = data.draw(SCORES)
    ys = data.draw(st.lists(st.integers(0, 6), min_size=len(xs), max_size=len(xs)))
    found = rank_correlation(xs, ys)
    if len(set(xs)) == 1 or len(set(ys)) == 1:
        assert found is None
        return
    assert found is not None
    assert found.value == pytest.approx(stats.spearmanr(xs, ys).statistic)
    assert found.low <= found.value <= found.high
    assert max(abs(found.low), abs(found.high)) <= 1 + 1e-9


def test_few_pairs_leave_a_wide_interval() -> None:
    three, four = rank_correlation([1, 2, 3], [1, 2, 3]), rank_correlation([1, 2, 3, 4], [1, 2, 3, 4])
    assert three is not None
    assert (round(three.value, 9), three.low, three.high) == (1, -1, 1)
    assert four is not None
    assert four.low < 0
    assert rank_correlation([1, 2], [1, 2]) is None


def test_the_interval_covers_the_true_correlation_nineteen_times_in_twenty() -> None:
    random, rho = np.random.default_rng(0), 0.6
    true = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a normal pair with Pearson's rho
    covered = 0
    for _ in itertools.repeat(None, 400):
        xs, noise = random.normal(size=(2, 20))
        found = rank_correlation(xs.tolist(), (rho * xs + np.sqrt(1 - rho**2) * noise).tolist())
        assert found is not None
        covered += found.low <= true <= found.high
    assert 0.92 <= covered / 400 <= 0.98
