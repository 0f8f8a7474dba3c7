"""The methods, the utility they are fitted to, and their comparison."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference_log_loss

from ensembles import methods
from ensembles.blend import blend
from ensembles.compare import Answers, choose, compare, stratified_folds
from ensembles.merging import Blend
from ensembles.methods import Utility, greedy, known_methods, load_method
from ensembles.utility import ValidationUtility, log_loss
from trainables.errors import DataError, UsageError
from trainables.metrics import ACCURACY
from trainables.predictions import Dense
from trainables.task import Metric

CLASSES = 5
LOG_LOSS = Metric(name="log loss", direction="minimize", fn=log_loss)


def macro_recall(predictions: Dense, targets: np.ndarray) -> float:
    hits = predictions.fields["label"].argmax(1) == targets[:, 0]
    return float(np.mean([hits[targets[:, 0] == label].mean() for label in np.unique(targets)]))


MACRO_RECALL = Metric(name="macro recall", direction="maximize", fn=macro_recall)


def data(members: int, images: int, *, seed: int, skill: float = 1.5) -> tuple[list[Dense], np.ndarray]:
    """Members of different noise that share half of their errors; targets int64 [images, 1]."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, CLASSES, (images, 1))
    signal = np.eye(CLASSES)[targets[:, 0]] * skill + random.normal(size=(images, CLASSES))
    noise = random.normal(size=(members, images, CLASSES)) * random.uniform(0.3, 2, (members, 1, 1))
    ids = tuple(f"{i}" for i in range(images))
    return [Dense(ids=ids, fields={"label": (signal + n).astype(np.float32)}) for n in noise], targets


def single(member: int, of: int) -> Blend:
    return Blend("prob", tuple(float(i == member) for i in range(of)))


def test_methods_are_the_functions_of_the_file_the_simplest_first() -> None:
    assert known_methods() == ["best_single", "prob_mean", "logit_sum", "vote", "greedy"]


def test_a_new_function_is_a_new_method(monkeypatch: pytest.MonkeyPatch) -> None:
    def last_single(members: int, utility: Utility) -> Blend:
        return single(members - 1, members)

    monkeypatch.setattr(methods, "last_single", last_single, raising=False)
    assert "last_single" in known_methods()
    assert load_method("last_single")(3, lambda how: 0.0) == Blend("prob", (0, 0, 1))


def test_a_mistyped_method_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError) as error:
        load_method("gredy")
    assert "Did you mean 'greedy'?" in str(error.value)


@pytest.mark.parametrize("name", known_methods())
@pytest.mark.parametrize("members", [1, 4])
def test_every_method_gives_a_weight_a_member(name: str, members: int) -> None:
    bank, targets = data(members, 40, seed=0)
    how = load_method(name)(members, ValidationUtility(bank, targets, ACCURACY))
    assert len(how.weights) == members
    assert blend(bank, how).ids == bank[0].ids


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(5, 60), st.integers(0, 10_000), st.sampled_from([ACCURACY, LOG_LOSS]))
def test_greedy_is_never_worse_than_a_single_member(
    members: int, images: int, seed: int, metric: Metric
) -> None:
    bank, targets = data(members, images, seed=seed)
    chosen = metric.fn(blend(bank, greedy(members, ValidationUtility(bank, targets, metric))), targets)
    singles = [metric.fn(blend(bank, single(i, members)), targets) for i in range(members)]
    assert metric.utility(chosen) >= max(map(metric.utility, singles)) - methods.TIE


def test_greedy_draws_as_caruanas_loop_does() -> None:
    bank, targets = data(4, 80, seed=3)
    utility = ValidationUtility(bank, targets, LOG_LOSS)
    odds = [np.exp(member.fields["label"].astype(np.float64)) for member in bank]
    probabilities = [o / o.sum(1, keepdims=True) for o in odds]
    drawn: list[int] = []
    trajectory = []
    for _ in range(methods.ROUNDS):
        losses = []
        for candidate in range(4):
            mean = np.mean([probabilities[i] for i in [*drawn, candidate]], axis=0)
            losses.append(reference_log_loss(targets[:, 0], mean, labels=range(CLASSES)))
        drawn.append(int(np.argmin(losses)))
        trajectory.append(min(losses))
    prefix = drawn[: int(np.argmin(trajectory)) + 1]
    counts = np.bincount(prefix, minlength=4)
    assert np.allclose(greedy(4, utility).normalised().weights, counts / counts.sum())


def test_greedy_takes_no_twin() -> None:
    bank, targets = data(2, 60, seed=5)
    twins = [bank[0], bank[0], bank[1]]
    assert greedy(3, ValidationUtility(twins, targets, ACCURACY)).weights[1] == 0


def test_among_equals_greedy_stays_with_the_first_member() -> None:
    assert greedy(4, lambda how: 0.5).weights == (1, 0, 0, 0)


def test_greedy_considers_only_the_best_of_a_large_library() -> None:
    tried: set[int] = set()

    def utility(how: Blend) -> float:
        tried.update(how.used)
        return float(how.used[-1])

    how = greedy(methods.LIBRARY + 30, utility)
    assert tried == set(range(methods.LIBRARY))
    assert len(how.weights) == methods.LIBRARY + 30


@pytest.mark.parametrize("rule", ["prob", "logit", "vote"])
def test_utility_is_that_of_the_blend(rule: str) -> None:
    bank, targets = data(3, 50, seed=7)
    how = Blend(rule, (0.5, 0.2, 0.3))  # type: ignore[arg-type]
    accuracy = ACCURACY.fn(blend(bank, how), targets)
    utility = ValidationUtility(bank, targets, ACCURACY)(how)
    assert 0 < utility - accuracy < 1 / 50


def test_the_likelihood_never_outweighs_one_right_image() -> None:
    ids = ("a", "b")
    sure = Dense(ids=ids, fields={"label": np.array([[9, 0], [9, 0]], dtype=np.float32)})
    unsure = Dense(ids=ids, fields={"label": np.array([[0.02, 0], [0, 0.02]], dtype=np.float32)})
    utility = ValidationUtility([sure, unsure], np.array([[0], [1]]), ACCURACY)
    assert utility(single(1, 2)) > utility(single(0, 2))
    assert utility(single(0, 2)) > 0.5


def test_a_score_that_is_no_number_is_the_worst() -> None:
    broken = Metric(name="broken", direction="maximize", fn=lambda p, t: float("nan"))
    bank, targets = data(2, 10, seed=0)
    utility = ValidationUtility(bank, targets, broken)
    assert utility(single(0, 2)) == -np.inf
    assert greedy(2, utility).weights == (1, 0)


def test_log_loss_is_scikit_learns() -> None:
    bank, targets = data(2, 50, seed=9)
    mean = blend(bank, Blend("prob", (1, 1)))
    probabilities = np.exp(mean.fields["label"].astype(np.float64))
    probabilities /= probabilities.sum(1, keepdims=True)
    wanted = reference_log_loss(targets[:, 0], probabilities)
    assert log_loss(mean, targets) == pytest.approx(wanted, abs=1e-5)


def test_folds_deal_every_class_out_evenly() -> None:
    targets = np.repeat(np.arange(4), [10, 20, 5, 15])[:, None]
    folds = stratified_folds(targets, 5)
    assert sorted(np.concatenate(folds)) == list(range(50))
    for rows in folds:
        assert np.bincount(targets[rows, 0]).tolist() == [2, 4, 1, 3]


def parts(members: int = 6, images: int = 300, seed: int = 11) -> tuple[dict[str, Answers], list[str]]:
    """Members best first, with the thirds of the images as valid, holdout and test without answers."""
    bank, targets = data(members, images, seed=seed, skill=2.5)
    thirds = np.array_split(np.arange(images), 3)
    bank.sort(key=lambda m: -ACCURACY.fn(m.take(thirds[0]), targets[thirds[0]]))
    names = [f"{i:04d}" for i in range(members)]
    known = {"valid": targets[thirds[0]], "holdout": targets[thirds[1]], "test": None}
    answers = {
        name: Answers(members=tuple(m.take(rows) for m in bank), targets=known[name])
        for name, rows in zip(known, thirds, strict=True)
    }
    return answers, names


def test_unfitted_methods_have_the_same_score_with_and_without_folds() -> None:
    answers, names = parts()
    table = compare(answers, trial_ids=names, metric=ACCURACY, methods=known_methods())
    for row in table:
        if row.method in ("prob_mean", "logit_sum", "vote"):
            assert row.valid_value == pytest.approx(row.fitted_value)


def test_fitted_methods_flatter_themselves_and_the_folds_tell() -> None:
    """Of members of pure noise the best is good by luck alone: on the other folds luck is gone."""
    flattery: dict[str, list[float]] = {"best_single": [], "greedy": []}
    for seed in range(8):
        random = np.random.default_rng(seed)
        targets, ids = random.integers(0, CLASSES, (60, 1)), tuple(map(str, range(60)))
        noise = [Dense(ids=ids, fields={"label": random.normal(size=(60, CLASSES))}) for _ in range(12)]
        noise.sort(key=lambda m: -ACCURACY.fn(m, targets))
        valid = Answers(members=tuple(noise), targets=targets)
        rows = compare({"valid": valid}, trial_ids=ids[:12], metric=ACCURACY, methods=list(flattery))
        for row in rows:
            flattery[row.method].append(row.fitted_value - row.valid_value)
    assert np.mean(flattery["best_single"]) > 0.03
    assert np.mean(flattery["greedy"]) > 0.08


def test_members_that_share_a_validation_share_the_weight_too() -> None:
    """One trained on train and valid is judged by the training before it: greedy would draw one of them."""
    answers, names = parts()
    valid = answers["valid"].members
    twins = {**answers, "valid": Answers(members=(valid[0], *valid[:-1]), targets=answers["valid"].targets)}
    alike = [0, *range(len(names) - 1)]
    alone = compare(twins, trial_ids=names, metric=ACCURACY, methods=["best_single", "greedy"])
    shared = compare(twins, trial_ids=names, metric=ACCURACY, methods=["best_single", "greedy"], alike=alike)
    assert shared[0] == alone[0]
    before, after = (dict(zip(row.trial_ids, row.weights, strict=True)) for row in (alone[1], shared[1]))
    assert after["0000"] == after["0001"] == pytest.approx((before["0000"] + before.get("0001", 0.0)) / 2)
    assert {n: w for n, w in after.items() if n > "0001"} == {n: w for n, w in before.items() if n > "0001"}
    assert shared[1].valid_value == alone[1].valid_value


def test_without_a_holdout_there_is_no_score_on_it() -> None:
    answers, names = parts()
    row = compare({"valid": answers["valid"]}, trial_ids=names, metric=ACCURACY, methods=["vote"])[0]
    assert (row.holdout_value, row.holdout_error, row.gain, row.tie, row.test_value) == (None,) * 5


def test_a_row_tells_whom_it_is_made_of_and_how_it_did() -> None:
    answers, names = parts()
    table = {r.method: r for r in compare(answers, trial_ids=names, metric=ACCURACY, methods=known_methods())}
    assert table["best_single"].trial_ids == ("0000",)
    assert table["best_single"].gain == 0
    assert table["best_single"].tie is True
    assert len(table["prob_mean"].trial_ids) == 6
    assert sum(table["greedy"].weights) == pytest.approx(1)
    assert table["vote"].ties.keys() == {"valid", "holdout", "test"}
    assert table["greedy"].ties == {}
    assert table["greedy"].test_value is None
    targets = answers["holdout"].targets
    assert targets is not None
    holdout = blend(answers["holdout"].members, Blend("prob", (1.0,) * 6))
    value = ACCURACY.fn(holdout, targets)
    assert table["prob_mean"].holdout_value == value
    assert table["prob_mean"].holdout_error == pytest.approx(
        1.96 * (value * (1 - value) / 100) ** 0.5, rel=0.2
    )


def test_a_clear_gain_on_the_holdout_is_no_tie() -> None:
    answers, names = parts(members=8, images=1500)
    rows = compare(answers, trial_ids=names, metric=ACCURACY, methods=["best_single", "prob_mean"])
    weak = {
        n: Answers(members=(a.members[-1], *a.members[:3]), targets=a.targets) for n, a in answers.items()
    }
    against_weak = compare(weak, trial_ids=names[:4], metric=ACCURACY, methods=["prob_mean"])[0]
    assert against_weak.gain is not None
    assert against_weak.gain > 0.05
    assert against_weak.tie is False
    assert rows[0].tie is True


def test_a_holdout_without_an_error_still_has_an_interval() -> None:
    ids = tuple(map(str, range(30)))
    targets = np.arange(30)[:, None] % 3
    right = Dense(ids=ids, fields={"label": np.eye(3, dtype=np.float32)[targets[:, 0]] * 5})
    part = Answers(members=(right,), targets=targets)
    rows = compare(
        {"valid": part, "holdout": part}, trial_ids=["a"], metric=ACCURACY, methods=["best_single"]
    )
    assert rows[0].holdout_value == 1
    assert rows[0].holdout_error == pytest.approx(3 / 30)


def test_the_best_mean_on_validation_is_chosen_and_the_holdout_chooses_nothing() -> None:
    answers, names = parts()
    rows = compare(answers, trial_ids=names, metric=ACCURACY, methods=known_methods())
    targets = answers["holdout"].targets
    assert targets is not None
    flipped = {
        **answers,
        "holdout": Answers(members=answers["holdout"].members, targets=targets[::-1].copy()),
    }
    others = compare(flipped, trial_ids=names, metric=ACCURACY, methods=known_methods())
    chosen = choose(rows, ACCURACY)
    assert chosen.valid_value == max(row.valid_value for row in rows if row.method in methods.MEANS)
    assert choose(others, ACCURACY).method == chosen.method


def test_of_equals_the_lower_log_loss_is_chosen_then_the_simplest() -> None:
    answers, names = parts(members=1)
    rows = compare(answers, trial_ids=names, metric=ACCURACY, methods=known_methods())
    assert choose(rows, ACCURACY).method == "best_single"
    assert len({row.valid_value for row in rows}) == 1


@pytest.mark.parametrize("method", ["best_single", "vote", "greedy"])
def test_what_is_no_mean_is_chosen_only_where_it_leads_by_more_than_chance(method: str) -> None:
    answers, names = parts()
    mean, other = compare(answers, trial_ids=names, metric=ACCURACY, methods=["prob_mean", method])
    assert mean.valid_spread is None
    assert other.valid_spread is not None
    assert 0 < other.valid_spread < 0.1
    for lead, chosen in ((0.0, "prob_mean"), (1.5, "prob_mean"), (3.0, method)):
        ahead = replace(other, valid_value=mean.valid_value + lead * other.valid_spread, log_loss=0.0)
        assert choose([mean, ahead], ACCURACY).method == chosen


def test_the_best_of_many_has_to_lead_by_more_than_what_nobody_picked() -> None:
    answers, names = parts()
    for method, chosen in (("vote", "vote"), ("best_single", "prob_mean")):
        mean, other = compare(answers, trial_ids=names, metric=ACCURACY, methods=["prob_mean", method])
        assert other.valid_spread is not None
        ahead = replace(other, valid_value=mean.valid_value + 2.1 * other.valid_spread)
        assert choose([mean, ahead], ACCURACY).method == chosen


def test_unfitted_methods_do_not_look_at_the_utility() -> None:
    for name in known_methods():
        looked: list[Blend] = []

        def utility(how: Blend, looked: list[Blend] = looked) -> float:
            looked.append(how)
            return float(len(looked))

        load_method(name)(3, utility)
        assert (name in (*methods.UNFITTED, "best_single")) == (not looked)


@pytest.mark.parametrize("metric", [LOG_LOSS, MACRO_RECALL], ids=lambda m: m.name)
def test_other_metrics_and_directions_are_compared_alike(metric: Metric) -> None:
    answers, names = parts()
    rows = compare(answers, trial_ids=names, metric=metric, methods=known_methods())
    best = max(metric.utility(row.valid_value) for row in rows)
    assert metric.utility(choose(rows, metric).valid_value) == best
    greedy_row = rows[-1]
    assert metric.utility(greedy_row.fitted_value) >= metric.utility(rows[0].fitted_value) - methods.TIE


def test_one_validation_image_is_too_few_to_compare_on() -> None:
    answers, names = parts()
    valid, targets = answers["valid"], answers["valid"].targets
    assert targets is not None
    one = Answers(members=tuple(m.take([0]) for m in valid.members), targets=targets[:1])
    with pytest.raises(DataError, match="Fewer than two validation images"):
        compare({"valid": one}, trial_ids=names, metric=ACCURACY, methods=["vote"])
