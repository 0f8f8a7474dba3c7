"""The three ways to learn ordered grades, and the thresholds that decide on one."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trainables.config import TrialConfig
from trainables.decisions import Offsets, Thresholds, expected_grades
from trainables.kinds.classification import Classification
from trainables.kinds.ordinal import Ordinal, between, thresholds
from trainables.metrics import QUADRATIC_KAPPA, quadratic_kappa, weighted_recall
from trainables.predictions import Dense
from trainables.task import Head, Metric

GRADE = Head(name="grade", classes=tuple("01234"))
KIND = Ordinal(heads=(GRADE,))
PLAIN = TrialConfig(model="convnet")
CONFIGS = {way: dataclasses.replace(PLAIN, ordinal=way) for way in ("classes", "regression", "cumulative")}
GRADES = torch.arange(5)[:, None]


def noise(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def dense(logits: np.ndarray) -> Dense:
    return Dense(ids=tuple(map(str, range(len(logits)))), fields={"grade": logits.astype(np.float32)})


@pytest.mark.parametrize(("way", "width"), [("classes", 5), ("regression", 1), ("cumulative", 4)])
def test_every_way_answers_with_logits_of_the_grades(way: str, width: int) -> None:
    assert KIND.num_outputs(CONFIGS[way]) == width
    outputs = noise(7, width)
    answer = KIND.predict([f"{k}" for k in range(7)], outputs, CONFIGS[way])
    assert answer.fields["grade"].shape == (7, 5)
    assert answer.fields["grade"].dtype == np.float32
    assert KIND.losses(outputs, torch.zeros(7, 1, dtype=torch.int64), CONFIGS[way]).shape == (7,)


@pytest.mark.parametrize("way", CONFIGS)
def test_what_minimises_the_loss_decides_on_the_true_grade(way: str) -> None:
    outputs = torch.zeros(5, KIND.num_outputs(CONFIGS[way]), requires_grad=True)
    optimizer = torch.optim.Adam([outputs], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        KIND.losses(outputs, GRADES, CONFIGS[way]).sum().backward()
        optimizer.step()
    answer = KIND.predict([*"abcde"], outputs, CONFIGS[way])
    assert answer.fields["grade"].argmax(1).tolist() == [0, 1, 2, 3, 4]


def test_classes_are_plain_classification() -> None:
    outputs, plain = noise(5, 5), Classification(heads=(GRADE,))
    assert torch.equal(KIND.losses(outputs, GRADES, PLAIN), plain.losses(outputs, GRADES, PLAIN))


def test_the_regressed_grade_is_the_expected_one_inside_the_scale() -> None:
    outputs = torch.tensor([[-1.0], [0.0], [0.75]])
    answer = KIND.predict([*"abc"], outputs, CONFIGS["regression"])
    assert expected_grades(answer) == pytest.approx([1.0, 2.0, 2.75], abs=0.06)
    loss = KIND.losses(outputs, torch.tensor([[1], [2], [4]]), CONFIGS["regression"])
    assert loss.tolist() == pytest.approx([0, 0, 1.25**2])


def test_the_cumulative_probabilities_are_differences_of_sigmoids_and_sum_to_one() -> None:
    logits = thresholds(noise(50, 4))
    assert bool((logits.diff(dim=1) <= 0).all())
    above = torch.sigmoid(logits.double())
    ends = torch.ones(50, 1).double(), torch.zeros(50, 1).double()
    direct = -torch.cat([ends[0], above, ends[1]], 1).diff(dim=1)
    assert torch.allclose(between(logits).double().exp(), direct, atol=1e-5)
    assert torch.allclose(between(logits).exp().sum(1), torch.ones(50), atol=1e-4)


def test_the_cumulative_loss_sums_the_thresholds_answers() -> None:
    outputs, config = noise(5, 4), dataclasses.replace(CONFIGS["cumulative"], label_smoothing=0.2)
    asked = torch.tensor([[0.1 if grade <= k else 0.9 for k in range(4)] for grade in range(5)])
    expected = binary_cross_entropy_with_logits(thresholds(outputs), asked, reduction="none").sum(1)
    assert torch.allclose(KIND.losses(outputs, GRADES, config), expected)


def test_extreme_outputs_leave_finite_losses_gradients_and_logits() -> None:
    for way, config in CONFIGS.items():
        outputs = torch.tensor([[60.0], [-60.0]]).repeat(1, KIND.num_outputs(config)).requires_grad_()
        KIND.losses(outputs, torch.tensor([[0], [4]]), config).sum().backward()
        assert outputs.grad is not None, way
        assert bool(outputs.grad.isfinite().all()), way
        assert np.isfinite(KIND.predict([*"ab"], outputs, config).fields["grade"]).all(), way


def graded(shift: float, *, seed: int, count: int = 400) -> tuple[Dense, np.ndarray]:
    """Gaussian answers around the true grade, all `shift` too high."""
    rng = np.random.default_rng(seed)
    known = rng.choice(5, count, p=[0.4, 0.15, 0.25, 0.12, 0.08])
    seen = known + shift + rng.normal(0, 0.5, count)
    return dense(-((seen[:, None] - np.arange(5)) ** 2)), known[:, None]


def test_fitted_thresholds_correct_answers_that_are_too_high_on_other_images() -> None:
    decision = Thresholds()
    fitted = decision.fit(*graded(0.4, seed=1), QUADRATIC_KAPPA)
    predictions, known = graded(0.4, seed=2)
    assert list(fitted) == sorted(fitted)
    assert np.mean(fitted) > 2.15
    plain = quadratic_kappa(predictions, known)
    assert quadratic_kappa(decision.apply(predictions, fitted), known) > plain + 0.02


def test_thresholds_at_the_middles_round_and_leave_the_order_of_the_other_grades() -> None:
    predictions, _ = graded(0.0, seed=3)
    decided = Thresholds().apply(predictions, (0.5, 1.5, 2.5, 3.5)).fields["grade"]
    assert np.array_equal(decided.argmax(1), np.rint(expected_grades(predictions)))
    changed = (decided != predictions.fields["grade"]).sum(1)
    assert changed.max() == 1


def test_thresholds_never_lower_the_score_that_they_are_fitted_to() -> None:
    predictions, known = graded(0.1, seed=4, count=40)
    rounded = Thresholds().apply(predictions, (0.5, 1.5, 2.5, 3.5))
    for metric in (QUADRATIC_KAPPA, lower_is_better()):
        fitted = Thresholds().fit(predictions, known, metric)
        found = metric.fn(Thresholds().apply(predictions, fitted), known)
        assert metric.utility(found) >= metric.utility(metric.fn(rounded, known))


def lower_is_better() -> Metric:
    def error(predictions: Dense, targets: np.ndarray) -> float:
        return float(np.abs(predictions.fields["grade"].argmax(1) - targets[:, 0]).mean())

    return Metric(name="error", direction="minimize", fn=error)


def skewed(*, seed: int, count: int = 1500) -> tuple[Dense, np.ndarray]:
    """Right probabilities of two heads' classes; the first head's are of unequal frequency."""
    rng = np.random.default_rng(seed)
    known = np.stack([rng.choice(3, count, p=[0.85, 0.1, 0.05]), rng.integers(0, 2, count)], 1)
    seen = rng.normal(0, 1, (count, 3)) + 1.5 * np.eye(3)[known[:, 0]]
    logits = 1.5 * seen + np.log([0.85, 0.1, 0.05])
    other = rng.normal(0, 1, (count, 2)) + np.eye(2)[known[:, 1]]
    fields = {"rare": logits.astype(np.float32), "even": other.astype(np.float32)}
    return Dense(ids=tuple(map(str, range(count))), fields=fields), known


def test_offsets_raise_rare_classes_and_with_them_macro_recall_on_other_images() -> None:
    metric = weighted_recall({"rare": 2.0, "even": 1.0})
    fitted = Offsets().fit(*skewed(seed=1), metric)
    assert len(fitted) == 5
    assert fitted[0] < fitted[1] < fitted[2]
    predictions, known = skewed(seed=2)
    plain, moved = metric.fn(predictions, known), metric.fn(Offsets().apply(predictions, fitted), known)
    assert moved > plain + 0.1


def test_offsets_that_help_nothing_are_zero() -> None:
    known = np.tile(np.arange(3), 10)
    right = dense(9 * np.eye(3)[known])
    fitted = Offsets().fit(right, known[:, None], weighted_recall({"grade": 1.0}))
    assert fitted == (0.0, 0.0, 0.0)
    assert np.array_equal(Offsets().apply(right, fitted).fields["grade"], right.fields["grade"])
