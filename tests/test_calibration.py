"""Temperature and calibration error against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from orchestrator.evidence.calibration import BINS, fit_temperature, log_loss, probabilities, reliability


def oversure(images: int, classes: int = 5, times: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `times` as large as their answers are sure, and targets drawn as they ought to be."""
    random = np.random.default_rng(0)
    true = random.normal(0, 1.5, (images, classes))
    shares = probabilities(true)
    targets = (shares.cumsum(1) > random.random((images, 1))).argmax(1)
    return times * true, targets


def test_the_temperature_that_was_planted_is_found() -> None:
    logits, targets = oversure(20_000)

    assert fit_temperature(logits, targets) == pytest.approx(3.0, rel=0.03)


def test_the_temperature_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    points = random.normal(size=(600, 4))
    targets = (points @ random.normal(size=(4, 3)) + 2 * random.normal(size=(600, 3))).argmax(1)
    model = LogisticRegression(C=100).fit(points[:60], targets[:60])
    logits = model.decision_function(points[60:])
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(
        points[60:], targets[60:]
    )

    shares = probabilities(logits, fit_temperature(logits, targets[60:]))

    np.testing.assert_allclose(shares, theirs.predict_proba(points[60:]), atol=2e-3)


def test_log_loss_is_that_of_scikit_learn() -> None:
    logits, targets = oversure(300)

    expected = sklearn_log_loss(targets, probabilities(logits, 2.0), labels=range(5))

    assert log_loss(logits, targets, 2.0) == pytest.approx(expected)


def test_the_calibration_error_by_hand() -> None:
    sure = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    logits = np.log(np.column_stack([sure, 1 - sure]))
    targets = np.array([0, 0, 1, 1, 0, 0])

    found = reliability(logits, targets)

    assert found.error == pytest.approx((4 * abs(0.5 - 0.9) + 2 * abs(1.0 - 0.6)) / 6)
    assert found.counts.sum() == 6
    assert found.right == pytest.approx(4 / 6)
    assert found.confidence[int(0.9 * BINS)] == pytest.approx(0.9)


def test_what_is_calibrated_shows_no_more_error_than_chance() -> None:
    logits, targets = oversure(400, times=1.0)
    worse = oversure(400, times=3.0)[0]

    assert reliability(logits, targets).error < 1.5 * reliability(logits, targets).chance
    assert reliability(worse, targets).error > 4 * reliability(worse, targets).chance


def test_a_temperature_changes_no_answer_and_mends_the_error() -> None:
    logits, targets = oversure(3000)
    temperature = fit_temperature(logits[::2], targets[::2])

    before, after = (reliability(logits[1::2], targets[1::2], t) for t in (1.0, temperature))

    assert after.right == before.right
    assert after.error < before.error / 3
    assert after.log_loss < before.log_loss


@pytest.mark.parametrize("right", [True, False])
def test_answers_that_are_all_right_or_all_wrong_have_a_temperature(right: bool) -> None:
    logits = np.eye(4) * 5
    targets = np.arange(4) if right else (np.arange(4) + 1) % 4

    temperature = fit_temperature(logits, targets)

    assert 0.05 <= temperature < 0.3 if right else 10 < temperature <= 20


def test_no_image_leaves_the_temperature_alone() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == 1.0
