"""Successive halving: who goes on at a rung."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.asha import Asha, Rungs, expected_epochs, rungs_for

RUNGS = Rungs(grace_period=1, reduction_factor=3, max_epochs=9)


def test_rungs_lie_below_the_last_epoch() -> None:
    assert RUNGS.epochs == (1, 3)
    assert Rungs(grace_period=9, reduction_factor=3, max_epochs=9).epochs == ()


def test_the_first_rung_waits_until_scores_mean_something() -> None:
    assert rungs_for(50, timed=True).epochs == (2, 6, 18)
    assert rungs_for(16, timed=True).epochs == (2, 6)
    assert rungs_for(100, timed=False).epochs == (4, 12, 36)
    assert rungs_for(2, timed=False).epochs == rungs_for(1, timed=True).epochs == ()


def test_where_time_is_scarce_fewer_go_on() -> None:
    timed, counted = (Asha(rungs_for(50, timed=timed)) for timed in (True, False))
    for asha in (timed, counted):
        for utility in range(11):
            asha.report(2, utility)
    last = [asha.report(2, 8.5) for asha in (timed, counted)]
    assert [verdict.stop for verdict in last if verdict] == [False, False]
    next_one = [asha.report(2, 8.0) for asha in (timed, counted)]
    assert [verdict.stop for verdict in next_one if verdict] == [True, False]


def test_the_best_third_goes_on() -> None:
    asha = Asha(RUNGS)
    stops = [asha.report(1, utility) for utility in (0.5, 0.4, 0.6, 0.55, 0.7, 0.58)]
    # 0.5 is alone; 0.4 is below it; 0.6 leads; 0.55 is second of four, one goes on; 0.7 leads;
    # of six two go on, and 0.58 is third
    assert [verdict is not None and verdict.stop for verdict in stops] == [
        False,
        True,
        False,
        True,
        False,
        True,
    ]


def test_between_rungs_nothing_is_decided() -> None:
    assert Asha(RUNGS).report(2, 0.0) is None
    assert Asha(RUNGS).report(9, 0.0) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_a_trial_goes_on_only_if_it_ranks_in_the_best_third(utilities: list[float]) -> None:
    asha = Asha(RUNGS)
    for i, utility in enumerate(utilities):
        verdict = asha.report(1, utility)
        assert verdict is not None
        better = int(np.sum(np.asarray(utilities[: i + 1]) > utility))
        assert verdict.stop == (better >= max(1, (i + 1) // 3))


def test_a_search_of_many_trials_costs_a_third_of_the_epochs_or_so() -> None:
    # all run 1, a third runs 2 more, a ninth the last 6
    assert expected_epochs(RUNGS) == pytest.approx(1 + 2 / 3 + 6 / 9)
