"""Is a difference real? Against scipy, numbers worked out by hand, and simulated studies."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from benchmarks.null_studies import claimed, found_first, of_images, of_scores, share
from orchestrator.ablation.images import each_score, least_variance, over_images
from orchestrator.ablation.statistics import (
    LOOK_COST,
    MOST_MORE,
    Paired,
    compare,
    holm,
    more_seeds,
    signed_rank_floor,
)
from trainables.metrics import ACCURACY, QUADRATIC_KAPPA
from trainables.predictions import Dense
from trainables.task import Metric

SOME = (0.012, 0.004, 0.019, 0.008, 0.011)
numbers = st.lists(st.floats(-1, 1).map(lambda x: round(x, 4)), min_size=2, max_size=8)


def one(*differences: float, **told: float) -> Paired:
    return Paired(differences=differences, **told)  # type: ignore[arg-type]


@given(numbers)
def test_a_single_row_is_the_paired_t_test(differences: list[float]) -> None:
    if np.std(differences) < 1e-6:
        return
    found = compare([one(*differences)])[0]
    expected = stats.ttest_1samp(differences, 0.0)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.corrected == found.p
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.real == (expected.pvalue < 0.05)


def test_rows_share_their_variance_in_the_test_and_not_in_the_interval() -> None:
    other = (0.03, -0.02, 0.01, 0.0, -0.01)
    found = compare([one(*SOME), one(*other)])
    own, pooled = np.var(SOME, ddof=1), (np.var(SOME, ddof=1) + np.var(other, ddof=1)) / 2
    prior = 4 / 1.5  # four degrees of freedom in the other row, 1.5 times too many
    moderated = (prior * pooled + 4 * own) / (prior + 4)
    t = np.mean(SOME) / math.sqrt(moderated / 5)
    assert found[0].p == pytest.approx(2 * stats.t.sf(t, 4 + prior))
    alone = stats.ttest_1samp(SOME, 0.0).confidence_interval(0.95)
    assert (found[0].low, found[0].high) == pytest.approx((alone.low, alone.high))


def test_holm_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_a_corrected_p_keeps_the_order_and_is_never_smaller(values: list[float]) -> None:
    found = holm(values)
    assert all(value <= corrected <= 1 for value, corrected in zip(values, found, strict=True))
    assert [found[i] for i in np.argsort(values, kind="stable")] == sorted(found)


def test_one_seed_says_nothing() -> None:
    found = compare([one(0.2)])[0]
    assert (found.seeds, found.mean) == (1, 0.2)
    assert (found.sd, found.low, found.p, found.corrected, found.more) == (None,) * 5
    assert not found.real


def test_no_pair_at_all() -> None:
    found = compare([one()])[0]
    assert (found.seeds, found.mean, found.p, found.real) == (0, None, None, False)


def test_equal_scores_are_no_proof() -> None:
    found = compare([one(0.0, 0.0, 0.0)])[0]
    assert (found.mean, found.p, found.low, found.more, found.real) == (0.0, 1.0, None, None, False)


def test_differences_that_cancel_out_are_a_tie_and_not_equal() -> None:
    """A mean of zero over seeds that do differ is chance; no number of further seeds would decide it."""
    found = compare([one(0.01, -0.01, 0.02, -0.02)])[0]
    assert (found.mean, found.equal, found.real) == (0.0, False, False)
    assert found.more == MOST_MORE + 1
    assert compare([one(0.0, 0.0, 0.0)])[0].equal


def test_the_same_difference_in_every_seed_is_not_certain() -> None:
    """Five equal differences have no spread to be tested by; the images tell how much there must be."""
    blind = compare([one(*[0.004] * 5)])[0]
    assert (blind.p, blind.low, blind.real) == (None, None, False)
    seen = compare([one(*[0.004] * 5, least_variance=0.008**2)])[0]
    assert seen.sd == pytest.approx(0.008)
    assert seen.p == pytest.approx(2 * stats.t.sf(0.004 / (0.008 / math.sqrt(5)), 4))
    assert not seen.real


def test_rows_that_cannot_be_tested_do_not_make_the_others_pay() -> None:
    found = compare([one(*SOME), one(0.1), one()])
    assert found[0] == compare([one(*SOME)])[0]
    assert found[0].real
    assert [other.corrected for other in found[1:]] == [None, None]


def test_another_look_costs() -> None:
    once, twice = compare([one(*SOME)])[0], compare([one(*SOME, looks=2)])[0]
    assert twice.p == pytest.approx(LOOK_COST * (once.p or 0))


def test_more_seeds_find_what_they_were_forecast_to() -> None:
    more = more_seeds(1.0, 5)
    random = np.random.default_rng(0)
    seeds = 5 + more
    found = stats.ttest_1samp(random.normal(1.0, 1.0, size=(20_000, seeds)), 0.0, axis=1).pvalue < 0.05
    fewer = stats.ttest_1samp(random.normal(1.0, 1.0, size=(20_000, seeds - 1)), 0.0, axis=1).pvalue < 0.05
    assert fewer.mean() < 0.81
    assert found.mean() > 0.79
    assert more_seeds(1e-6, 5) == MOST_MORE + 1
    assert more_seeds(1.0, 5, family=4) > more


def test_what_a_signed_rank_test_cannot() -> None:
    assert signed_rank_floor(5) == 0.0625
    smallest = stats.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0], method="exact").pvalue
    assert signed_rank_floor(5) == pytest.approx(smallest)


def test_under_the_null_few_studies_claim_anything() -> None:
    assert share(200, lambda r: claimed(of_scores(r, (1.0,), planted=0))) <= 0.07
    assert share(200, lambda r: claimed(of_scores(r, (1.0,) * 4, planted=0))) <= 0.07
    assert share(200, lambda r: claimed(of_scores(r, (4.0, 1.0, 1.0, 1.0), planted=0))) <= 0.07
    assert share(200, lambda r: claimed(of_images(r, 1, planted=0))) <= 0.07


def test_two_standard_deviations_are_found() -> None:
    assert share(200, lambda r: found_first(of_scores(r, (1.0,), planted=2.0))) >= 0.8
    assert share(200, lambda r: found_first(of_scores(r, (1.0,) * 4, planted=2.0))) >= 0.8


def test_the_least_variance_is_that_of_flipping_images() -> None:
    """With nothing but images that flip, it is the variance of the mean; a shift of all changes nothing."""
    random = np.random.default_rng(1)
    flips = random.choice([-1.0, 0.0, 1.0], p=[0.05, 0.9, 0.05], size=(400, 200))
    assert least_variance(flips) == pytest.approx(0.1 / 200, rel=0.05)
    assert least_variance(flips) == pytest.approx(flips.mean(1).var(ddof=1), rel=0.2)
    moved = flips + random.normal(size=(400, 1)) + random.normal(size=(1, 200))
    assert least_variance(moved) == pytest.approx(least_variance(flips))
    assert least_variance(flips[:1]) == 0.0


def test_the_test_over_images_is_the_permutation_test() -> None:
    differences = [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 0.0]
    exact = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert over_images(differences) == pytest.approx(exact, abs=0.03)
    many = np.r_[np.ones(260), -np.ones(200)]
    assert over_images(many) == pytest.approx(stats.binomtest(260, 460).pvalue, abs=0.003)
    assert over_images([0.0, 0.0]) is None


def test_what_an_image_adds_to_a_score() -> None:
    answered = Dense(ids=("a", "b"), fields={"label": np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)})
    targets = np.array([[0], [0]])
    found = each_score(answered, targets, ACCURACY)
    assert found is not None
    assert found.tolist() == [1.0, 0.0]
    assert each_score(answered, np.array([[0], [1]]), QUADRATIC_KAPPA) is not None  # all right: both are 1
    assert each_score(answered, targets, QUADRATIC_KAPPA) is None
    given = Metric(name="m", direction="minimize", fn=lambda p, t: 0.0, each=lambda p, t: [0.25, 0.5])
    assert each_score(answered, targets, given).tolist() == [0.25, 0.5]  # type: ignore[union-attr]
