"""The study: drafts for a guide, finite candidates, and what past searches teach."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import past
from orchestrator.asha import Asha, Rungs
from orchestrator.belief import Belief, expected_improvement
from orchestrator.conductor import Conductor
from orchestrator.guide import Guide, comparisons, guide_from
from orchestrator.journal import Journal, SearchRecord
from orchestrator.past import PastSearch, PastTrial, past_searches
from orchestrator.prior import SHARES, Prior, between_shares, columns_of, encode, learn, on_shares
from orchestrator.study import DRAFTS, Study
from trainables.config import Scalar, TrialConfig
from trainables.metrics import ACCURACY

EPOCHS = 10


def space(trial: Any) -> dict[str, Any]:
    lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    return {"model": "convnet", "lr": lr, "depth": trial.suggest_int("depth", 2, 4)}


def a_study(**options: Any) -> Study:
    defaults = {"epochs": EPOCHS}
    return Study(space, direction="maximize", seed=0, defaults=defaults, fixed={}, context={}, **options)


def earlier(seed: int, trials: int = 40) -> PastSearch:
    """A search in which a learning rate near 1e-2 is best and depth costs time."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(trials):
        lr, depth = 10 ** random.uniform(-4, -1), int(random.integers(2, 5))
        final = 0.8 - 0.2 * (np.log10(lr) + 2) ** 2 + random.normal(0, 0.01)
        curve = final * (1 - np.exp(-np.arange(1, EPOCHS + 1) / 3))
        params: dict[str, Scalar] = {"model": "convnet", "lr": lr, "depth": depth, "seed": 3}
        found.append(PastTrial(params=params, curve=tuple(curve), seconds=float(depth), epochs=EPOCHS))
    return tuple(found)


@pytest.fixture(scope="module")
def prior() -> Prior:
    return learn([earlier(seed) for seed in range(3)], seed=0)


def test_a_draft_becomes_the_trial_that_was_drafted() -> None:
    study = a_study()
    pool = study.pool()
    assert len(pool) == DRAFTS
    draft = pool[5]
    number, config = study.ask(draft)
    assert config.params() == {**draft.config.params(), "seed": number}
    assert draft not in study.pool()
    assert len(study.pool()) == DRAFTS
    assert study.trials()[0].params == draft.drawn


def test_a_stopped_draft_can_be_put_back() -> None:
    study = a_study()
    draft = study.pool()[0]
    number, _ = study.ask(draft)
    study.tell(number, "PRUNED", 0.5)
    study.put_back(number)
    assert draft in study.pool()
    assert len(study.pool()) == DRAFTS + 1
    again, config = study.ask(draft)
    assert config.params() == {**draft.config.params(), "seed": again}
    assert draft not in study.pool()


def test_what_optuna_looks_at_stays_bounded_and_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.study.MOST_TOLD", 30)
    monkeypatch.setattr("orchestrator.study.BEST_KEPT", 10)
    monkeypatch.setattr("orchestrator.study.LATEST_KEPT", 10)
    study = a_study()
    study.ask()
    study.tell(0, "COMPLETE", 0.99)
    for number in range(1, 100):
        asked, config = study.ask()
        assert (asked, config.seed) == (number, number)
        if number % 5:
            study.report(number, 1, 0.5)
        study.tell(number, ("COMPLETE", "PRUNED", "FAIL")[number % 3] if number % 5 else "FAIL", 0.5)
        assert len(study.trials()) <= 30
    assert max(trial.value or 0.0 for trial in study.trials()) == 0.99


def test_a_trial_that_began_before_optuna_forgot_still_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.study.MOST_TOLD", 5)
    study = a_study()
    slow, _ = study.ask()
    for _ in range(5):
        number, _ = study.ask()
        study.tell(number, "COMPLETE", 0.1)
    study.report(slow, 1, 0.7)
    study.tell(slow, "COMPLETE", 0.7)
    assert 0.7 in [trial.value for trial in study.trials()]


def test_candidates_are_tried_once_each() -> None:
    candidates = [TrialConfig(model="recorded", seed=i) for i in range(5)]
    study = a_study(candidates=candidates)
    asked = [study.ask()[1].seed for _ in range(5)]
    assert sorted(asked) == list(range(5))
    assert asked != list(range(5))
    assert study.exhausted
    assert not a_study().exhausted


def test_text_has_a_column_a_value_and_constants_have_none() -> None:
    configurations: list[dict[str, Scalar]] = [
        {"model": name, "lr": lr, "epochs": 5, "seed": 1} for name, lr in (("a", 0.1), ("b", 0.2))
    ]
    columns = columns_of(configurations)
    assert columns == {"lr": 0, "model=a": 1, "model=b": 2}
    assert encode([{"model": "b", "lr": 0.5, "new": 1}], columns).tolist() == [[0.5, 0, 1]]


def test_a_curve_that_was_cut_short_is_carried_on() -> None:
    trials = [((0.1,) * 5 + (0.5,) * 5, 10), ((0.2,) * 5, 10)]
    search = tuple(PastTrial(params={}, curve=curve, seconds=1.0, epochs=n) for curve, n in trials)
    curves = on_shares(search)
    assert curves[0, -1] == pytest.approx(0.5)
    assert 0.2 < curves[1, -1] < 0.6


def test_points_between_shares_are_interpolated() -> None:
    assert between_shares(SHARES) == pytest.approx(np.eye(len(SHARES)))
    assert between_shares(np.array([0.001]))[0].tolist() == [1, *[0] * (len(SHARES) - 1)]
    assert between_shares(np.array([0.3])).sum() == pytest.approx(1)


def test_the_prior_knows_the_good_from_the_bad_and_the_slow_from_the_quick(prior: Prior) -> None:
    rates = (1e-2, 1e-4)
    outlook = prior.outlook([{"model": "convnet", "lr": lr, "depth": d} for lr in rates for d in (2, 4)])
    assert outlook.curves[0, -1] > outlook.curves[2, -1] + 1
    assert np.exp(outlook.log_seconds[1] - outlook.log_seconds[0]) == pytest.approx(2, rel=0.2)


def test_the_belief_is_that_of_a_gaussian_process(prior: Prior) -> None:
    """Against the textbook formula, written out by hand."""
    random = np.random.default_rng(0)
    curves, scores = random.normal(size=(4, len(SHARES))), np.array([0.3, 0.6])
    alike = np.full((4, 4), 0.3) + 0.7 * np.eye(4)
    known, at = np.array([1, 2]), np.array([3, 7])
    belief = Belief(prior, curves, alike, known=known, shares=SHARES[at], scores=scores)
    (centre, centre_sd), (spread, spread_sd) = prior.centre, prior.spread

    def covariance(i: int, g: int, j: int, h: int) -> float:
        together = 0.5 * alike[i, j] + 0.5 * (i == j)
        linear = centre_sd**2 + spread_sd**2 * curves[i, g] * curves[j, h]
        return float(linear + together * spread**2 * prior.covariance[g, h])

    seen = list(zip(known.tolist(), at.tolist(), strict=True))
    gram = np.array([[covariance(*a, *b) for b in seen] for a in seen]) + 1e-3 * spread**2 * np.eye(2)
    across = np.array([covariance(0, 9, *a) for a in seen])
    missed = scores - centre - spread * curves[known, at]
    mean = centre + spread * curves[0, 9] + across @ np.linalg.solve(gram, missed)
    variance = covariance(0, 9, 0, 9) - across @ np.linalg.solve(gram, across)
    rows = np.arange(4)
    assert belief.mean(rows)[0, 9] == pytest.approx(mean)
    assert belief.variance(rows)[0, 9] == pytest.approx(variance)
    assert (belief.variance_bound(rows) >= belief.variance(rows) - 1e-12).all()


def test_expected_improvement_is_the_mean_of_what_is_above() -> None:
    draws = np.random.default_rng(0).normal(0.5, 0.2, 400_000)
    [gain] = expected_improvement(np.array([0.5]), np.array([0.04]), 0.6)
    assert gain == pytest.approx(np.maximum(draws - 0.6, 0).mean(), rel=0.02)


def test_trials_are_compared_often_and_never_after_one_epoch_alone() -> None:
    assert comparisons(50) == (2, 3, 4, 7, 10, 15, 23, 34)
    assert comparisons(16) == (2, 3, 4, 7, 10)
    assert comparisons(1) == ()
    assert all(epoch < 7 for epoch in comparisons(7))


def test_a_guided_search_tries_the_good_first_and_stops_the_weak(prior: Prior, tmp_path: Path) -> None:
    book = Journal(tmp_path / "journal.jsonl")
    conductor = Conductor(
        study=a_study(),
        asha=Asha(Rungs(grace_period=2, reduction_factor=3, max_epochs=EPOCHS)),
        metric=ACCURACY,
        journal=book,
        record=SearchRecord(asked={"direction": "maximize"}),
        slots=1,
        trials=6,
        deadline=float("inf"),
        listen=lambda event, record: None,
        guide=Guide(prior, seed=0),
    )
    rates, finals = [], (0.2, 0.8, 0.2, 0.2, 0.2, 0.2)
    for final in finals:
        request = conductor.suggest()
        assert request is not None
        rates.append(float(request.params["lr"]))
        for epoch in range(1, EPOCHS + 1):
            value = final * (1 - np.exp(-epoch / 3))
            row: dict[str, Any] = dict.fromkeys(
                ("train_loss", "train_metric", "valid_loss", "lr", "images_per_second"), 1.0
            )
            row |= {"epoch": epoch, "valid_metric": value, "seconds": 2.0, "device": "cpu"}
            if conductor.report(request.trial_id, row):
                break
    book.close()
    assert np.abs(np.log10(rates) + 2).max() < 1
    assert conductor.record.trials["0001"].state == "COMPLETE"
    stopped = [trial for trial in conductor.record.trials.values() if trial.state == "PRUNED"]
    assert stopped
    assert "less to gain" in stopped[0].reason


def keep(out: Path, name: str, search: PastSearch, *, metric: str = "accuracy") -> None:
    """Write a search's journal as a real search does."""
    folder = out / "digits" / name
    folder.mkdir(parents=True)
    book = Journal(folder / "journal.jsonl")
    book.append("search", task="digits", direction="maximize", metric=metric)
    for number, trial in enumerate(search):
        book.append(
            "trial", trial_id=f"{number:04d}", number=number, params={**trial.params, "epochs": EPOCHS}
        )
        for epoch, value in enumerate(trial.curve[:2], 1):
            best = {"value": value, "best_epoch": epoch}
            row = {"epoch": epoch, "valid_metric": value, "seconds": trial.seconds}
            book.append("report", trial_id=f"{number:04d}", **row, best=best)
    book.close()


def test_earlier_journals_are_read_and_odd_ones_passed_over(tmp_path: Path) -> None:
    searches = [earlier(seed) for seed in range(3)]
    for i, search in enumerate(searches):
        keep(tmp_path, f"s{i}", search)
    keep(tmp_path, "other", searches[0], metric="qwk")
    (tmp_path / "digits" / "latest").symlink_to("s2")
    (tmp_path / "digits" / "torn").mkdir()
    (tmp_path / "digits" / "torn" / "journal.jsonl").write_text("nonsense\n{}\n")
    found = past_searches(tmp_path, ACCURACY)
    assert [len(search) for search in found] == [40, 40, 40]
    assert found[0][0].curve == pytest.approx(searches[0][0].curve[:2])
    assert found[0][0].epochs == EPOCHS
    guide = guide_from(tmp_path, ACCURACY, seed=0)
    assert guide is not None
    pool = a_study().pool()
    assert guide.choose(pool) in pool


def test_too_little_past_is_none(tmp_path: Path) -> None:
    keep(tmp_path, "only", earlier(0))
    assert past_searches(tmp_path, ACCURACY) == []
    assert guide_from(tmp_path, ACCURACY, seed=0) is None
    assert past.FEWEST_SEARCHES > 1
