"""What a display reads from a search: which trials and parameters matter, how long still."""

import random
import statistics
from typing import Any

import pytest

from orchestrator.snapshot import (
    choose,
    clock,
    explained,
    key_parameters,
    score,
    seconds_left,
    short,
    snapshot,
)
from tests.shown_search import Search


def test_where_not_all_fit_what_ended_last_keeps_a_place() -> None:
    search = Search()
    for number in range(30):
        search.whole_trial(number, 1 - number / 100)
    for number in range(30, 40):
        search.trial(number)
    shown = choose(snapshot(search.record), 12)
    assert [t.number for t in shown.running] == list(range(30, 38))
    assert [t.number for t in shown.best] == [0, 1, 2]
    assert [t.number for t in shown.recent] == [29]
    assert shown.left_out == 28


def test_the_parameter_that_explains_the_score_comes_first() -> None:
    rng = random.Random(0)
    search = Search()
    for number in range(24):
        optimizer = rng.choice(["sgd", "adamw"])
        value = 0.9 if optimizer == "adamw" else 0.5
        search.whole_trial(
            number, value + 0.01 * rng.random(), lr=rng.random(), seed=number, optimizer=optimizer
        )
    assert key_parameters(search.record) == ["optimizer", "lr"]


def test_explained_is_1_for_a_cause_and_about_0_for_noise() -> None:
    assert explained(["a"] * 50 + ["b"] * 50) == pytest.approx(0.75, abs=0.01)
    assert explained([i / 100 for i in range(100)]) == pytest.approx(8 / 9, abs=0.01)
    rng = random.Random(1)
    noise = [explained([rng.random() for _ in range(60)]) for _ in range(200)]
    assert statistics.mean(noise) == pytest.approx(0.0, abs=0.02)
    assert explained(["same"] * 10) == explained(list("abcd")) == 0.0
    assert explained([None, None, None, 1, 1, 1]) > 0.5


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "00:00"), (59.9, "00:59"), (61, "01:01"), (3600, "1:00:00"), (90061, "25:01:01"), (-3, "00:00")],
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0.98765, "0.9877"),
        (0.0, "0.0000"),
        (-1.5, "-1.5000"),
        (12345.6, "12346"),
        (0.0000123, "1.23e-05"),
    ],
)
def test_a_score_takes_few_characters(value: float | None, shown: str) -> None:
    assert score(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "·"),
        (True, "yes"),
        (False, "no"),
        (0.00012345, "0.000123"),
        (1e-05, "1e-5"),
        (128, "128"),
        ("vit_base_patch16_224.augreg", "vit_base_patch16_22…"),
        ("a\x1b[31m\nb", "a[31m b"),
    ],
)
def test_a_parameter_is_short(value: Any, shown: str) -> None:
    assert short(value) == shown


def test_the_time_left_is_of_the_limit_or_of_the_trials_whichever_ends_first() -> None:
    search = Search(trials=None)
    assert seconds_left(search.record, 10.0) is None
    assert seconds_left(Search(time_limit_s=60.0).record, 10.0) == 50.0
    assert seconds_left(Search(time_limit_s=60.0).record, 70.0) == 0.0
    search = Search(trials=10, slots=2)
    for number in range(4):
        search.whole_trial(number, 0.5)
    assert seconds_left(search.record, search.at) == pytest.approx(6 * 1.0 / 2)
    search.trial(4)
    assert seconds_left(search.record, search.at + 0.5) == pytest.approx((6 - 0.5) / 2)
