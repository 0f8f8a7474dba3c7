"""The methods side by side, each scored on images that it was not fitted to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from ensembles.blend import blend, tied_votes
from ensembles.merging import Blend, Rule
from ensembles.methods import MEANS, TIE, UNFITTED, Method, load_method
from ensembles.utility import ValidationUtility, log_loss
from trainables.errors import DataError
from trainables.gathered import held, joined, take
from trainables.predictions import Dense
from trainables.task import Decision, Metric

FOLDS = 5
RESAMPLES = 200
"""Of the images, in the bootstrap of the holdout: its standard error is then known to about 5 %."""
ALONE = "best_single"
"""The method whose answer is one member's."""
Z95 = 1.96
"""Standard errors to either side in an interval that covers 95 %."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What every member answers on one part, rows aligned; `targets` are the truth where it is known."""

    members: tuple[Any, ...]
    targets: Any


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """A method's blend of trials and its scores."""

    method: str
    rule: Rule
    trial_ids: tuple[str, ...]
    """The trials that count, best first."""
    weights: tuple[float, ...]
    """A weight a trial; they sum to one."""
    valid_value: float
    """Cross-fitted: weights chosen on four fifths of the validation images, scored on the other, in turn."""
    log_loss: float
    """Of the cross-fitted predictions; it decides between equal scores."""
    valid_spread: float | None = None
    """Of all but the means: standard error of the difference of `valid_value` to that of the better mean, by
    paired bootstrap."""
    fitted_value: float
    """On the validation images that the weights were chosen on: flattering for a fitted method."""
    holdout_value: float | None = None
    """On images that chose nothing; None where there is no holdout."""
    holdout_error: float | None = None
    """Half the width of the 95 % interval of `holdout_value`, by bootstrap over the images."""
    gain: float | None = None
    """How much better than the best single trial, with its own decision, on the holdout; greater is better
    in either direction."""
    tie: bool | None = None
    """Whether `gain` is inside its 95 % interval around zero, by paired bootstrap."""
    test_value: float | None = None
    """None where the organisers keep the answers."""
    ties: Mapping[str, int] = field(default_factory=dict)
    """Images of each part on which votes were tied and probability decided; empty for other rules."""
    decision: tuple[float, ...] = ()
    """What the task's decision fitted on all validation images; empty where the likeliest class decides."""
    plain_value: float | None = None
    """`valid_value` without a fitted decision; None where the task has none to fit."""
    plain_holdout_value: float | None = None
    """`holdout_value` without a fitted decision; None where none is used."""

    @property
    def blend(self) -> Blend:
        """The blend of the members `trial_ids`."""
        return Blend(self.rule, self.weights)


def compare(
    parts: Mapping[str, Answers],
    *,
    trial_ids: Sequence[str],
    metric: Metric,
    methods: Sequence[str],
    decision: Decision | None = None,
    alike: Sequence[int] | None = None,
) -> list[Ensemble]:
    """One ensemble a method, in the order given.

    `parts` has `valid`, and where there are any `holdout` and `test`; members come best first, as
    `trial_ids` do. Members of one number in `alike` have the same validation answers: each method but
    `ALONE` lets them share the weight that it gives to any of them. A `decision` is fitted for each method,
    and used where that is better when cross-fitted than the likeliest class. Raises DataError when fewer
    than two validation images have answers, UsageError for an unknown method.
    """
    valid = _in_memory(parts["valid"])
    if valid.targets is None or len(valid.targets) < 2:
        raise DataError("Fewer than two validation images have answers, so no method can be judged.")
    utility = ValidationUtility(valid.members, valid.targets, metric)
    folds = _folds(valid, valid.targets, metric)

    def judged(name: str) -> tuple[Blend, dict[str, Any], _Decide]:
        """The blend, its cross-fitted scores and `answers`, and its decision fitted on all of valid."""
        method = load_method(name)
        how = method(len(trial_ids), utility).normalised()
        if alike is not None and name != ALONE:
            how = how.shared(alike)
        scores = _cross_fitted_scores(method, folds, metric, decision)
        used = decision if scores.pop("decides") else None
        return how, scores, _Decide(used, blend(valid.members, how), utility)

    held_out = parts.get("holdout")
    known = {name: judged(name) for name in dict.fromkeys((ALONE, *methods))}
    holdout = _Resampled(held_out and _in_memory(held_out), metric, known[ALONE][2])
    ensembles, crossed = [], {}
    for name in methods:
        how, scores, decide = known[name]
        crossed[name] = scores.pop("answers")
        ensembles.append(
            Ensemble(
                method=name,
                rule=how.rule,
                trial_ids=tuple(trial_ids[i] for i in how.used),
                weights=tuple(how.weights[i] for i in how.used),
                fitted_value=metric.fn(decide(blend(valid.members, how)), valid.targets),
                test_value=_value(parts.get("test"), how, metric, decide),
                ties=_ties(parts, how) if how.rule == "vote" else {},
                decision=decide.fitted,
                **scores,
                **holdout.scores(how, decide),
            )
        )
    return _with_spreads(ensembles, crossed, joined([fold.targets for fold in folds]), metric)


def _with_spreads(
    ensembles: Sequence[Ensemble], crossed: Mapping[str, Any], targets: Any, metric: Metric
) -> list[Ensemble]:
    """All but the means with `valid_spread`, from the cross-fitted answers of each method."""
    means = [e for e in ensembles if e.method in MEANS]
    if not means or len(means) == len(ensembles):
        return list(ensembles)
    reference = crossed[_best(means, metric).method]
    valid = _Resampled(Answers(members=(reference,), targets=targets), metric, lambda found: found)
    return [
        e if e.method in MEANS else replace(e, valid_spread=valid.spread(crossed[e.method]))
        for e in ensembles
    ]


def _in_memory(answers: Answers) -> Answers:
    return Answers(members=tuple(held(member) for member in answers.members), targets=held(answers.targets))


def answer(ensemble: Ensemble, members: Sequence[Any], decision: Decision | None) -> Any:
    """What an ensemble answers, from the predictions of its trials, with its decision applied."""
    merged = blend(members, ensemble.blend)
    return decision.apply(merged, ensemble.decision) if decision and ensemble.decision else merged


def choose(ensembles: Sequence[Ensemble], metric: Metric) -> Ensemble:
    """The best by cross-fitted score; of equals the one of lower log loss, of these the simplest.

    All but the means have to lead them by more than chance (95 %): a vote forgets how sure its members are,
    and what is fitted, one trial alone too, was picked for its score on a few validation images. The best of
    n is some way ahead by chance, so its chance is an n-th of that (Bonferroni).
    """
    means = [e for e in ensembles if e.method in MEANS]
    if not means or len(means[0].trial_ids) == 1:
        return _best(ensembles, metric)
    mean = _best(means, metric)

    def leads(other: Ensemble) -> bool:
        picked_of = 1 if other.method in UNFITTED else len(mean.trial_ids)
        lead = metric.utility(other.valid_value) - metric.utility(mean.valid_value)
        return lead > _surely(picked_of) * (other.valid_spread or 0.0) + TIE

    return _best([mean, *filter(leads, (e for e in ensembles if e.method not in MEANS))], metric)


def _surely(picked_of: int) -> float:
    """Standard errors that the best of so many alike has in less than 2.5 % of cases."""
    return NormalDist().inv_cdf(1 - 0.025 / picked_of)


def _best(ensembles: Sequence[Ensemble], metric: Metric) -> Ensemble:
    best = max(metric.utility(e.valid_value) for e in ensembles)
    equals = [e for e in ensembles if metric.utility(e.valid_value) >= best - TIE]
    lowest = min(e.log_loss for e in equals)
    return next(e for e in equals if e.log_loss <= lowest + TIE)


def half_interval(predictions: Any, targets: Any, metric: Metric) -> float:
    """Half the width of the 95 % interval of a score, by bootstrap over the images."""
    judged = _Resampled(Answers(members=(predictions,), targets=targets), metric, lambda found: found)
    return judged.error(predictions)


def stratified_folds(targets: Any, folds: int) -> list[np.ndarray]:
    """Rows of each fold, always the same; every class is dealt out evenly of targets int64 [N, heads]."""
    classes = isinstance(targets, np.ndarray)
    order = np.lexsort(targets.T[::-1]) if classes else np.arange(len(targets))
    return [np.sort(order[i::folds]) for i in range(min(folds, len(order)))]


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """One fold: its own images, and the members' utility on all others."""

    members: tuple[Any, ...]
    targets: Any
    others: ValidationUtility

    def blended(self, method: Method) -> tuple[Any, Any]:
        """The fold's images, and all others, under weights chosen on the others.

        There the best member may be another than on all images.
        """
        ranked = self.others.ranked()

        def unranked(how: Blend) -> Blend:
            weights = dict(zip(ranked, how.weights, strict=True))
            return Blend(how.rule, tuple(weights[i] for i in range(len(ranked))))

        how = method(len(ranked), lambda how: self.others(unranked(how)))
        return blend(self.members, unranked(how)), blend(self.others.members, unranked(how))


def _folds(valid: Answers, targets: Any, metric: Metric) -> list[_Fold]:
    folds = []
    for rows in stratified_folds(targets, FOLDS):
        others = np.setdiff1d(np.arange(len(targets)), rows)
        utility = ValidationUtility([m.take(others) for m in valid.members], take(targets, others), metric)
        members = tuple(m.take(rows) for m in valid.members)
        folds.append(_Fold(members=members, targets=take(targets, rows), others=utility))
    return folds


def _cross_fitted_scores(
    method: Method, folds: Sequence[_Fold], metric: Metric, decision: Decision | None
) -> dict[str, Any]:
    """The fields of `Ensemble` that are cross-fitted, and whether the decision `decides`."""
    parts = [fold.blended(method) for fold in folds]
    merged = joined([part for part, _ in parts])
    targets = joined([fold.targets for fold in folds])
    value = metric.fn(merged, targets)
    scores = {"valid_value": value, "log_loss": log_loss(merged, targets), "decides": False}
    scores["answers"] = merged
    if decision is None:
        return scores
    decided = [
        _Decide(decision, others, fold.others)(part)
        for fold, (part, others) in zip(folds, parts, strict=True)
    ]
    together = joined(decided)
    with_decision = metric.fn(together, targets)
    if metric.utility(with_decision) > metric.utility(value) + TIE:
        scores |= {"valid_value": with_decision, "decides": True, "answers": together}
    return {**scores, "plain_value": value}


class _Decide:
    """The decision fitted on all validation images; without one the likeliest class stays."""

    def __init__(self, decision: Decision | None, merged: Any, known: ValidationUtility) -> None:
        self._decision = decision
        self.fitted: tuple[float, ...] = ()
        if decision:
            self.fitted = decision.fit(merged, known.targets, known.metric)

    def __call__(self, predictions: Any) -> Any:
        return self._decision.apply(predictions, self.fitted) if self._decision else predictions


class _Resampled:
    """Scores on a part, and how sure they are: every blend on the same resampled images."""

    def __init__(self, answers: Answers | None, metric: Metric, single: Callable[[Any], Any]) -> None:
        self._metric = metric
        self._answers = answers
        if answers is None or answers.targets is None or not len(answers.targets):
            self._answers = None
            return
        size = len(answers.targets)
        self._draws = np.random.default_rng(0).integers(0, size, size=(RESAMPLES, size))
        self._single, self._single_resampled = self._evaluate(single(answers.members[0]), answers.targets)

    def _evaluate(self, predictions: Any, targets: Any) -> tuple[float, np.ndarray]:
        if self._metric.each is not None:
            total = self._metric.total or (lambda scores: float(np.mean(scores)))
            parts = list(self._metric.each(predictions, targets))
            resampled = [total([parts[row] for row in rows]) for rows in self._draws]
            return total(parts), np.array(resampled)
        fn = self._metric.fn
        resampled = [fn(predictions.take(rows), take(targets, rows)) for rows in self._draws]
        return fn(predictions, targets), np.array(resampled)

    def error(self, predictions: Any) -> float:
        """Half the 95 % interval of the score of some predictions of the same images."""
        assert self._answers is not None
        _, resampled = self._evaluate(predictions, self._answers.targets)
        return _half_width(resampled, len(self._answers.targets))

    def spread(self, predictions: Any) -> float:
        """Standard error of the difference of their score to that of the single trial."""
        _, resampled = self._evaluate(predictions, self._answers.targets if self._answers else None)
        return float(np.std(resampled - self._single_resampled, ddof=1))

    def scores(self, how: Blend, decide: _Decide) -> dict[str, Any]:
        """The fields of `Ensemble` that speak of the holdout."""
        if self._answers is None or self._answers.targets is None:
            return {}
        targets = self._answers.targets
        merged = blend(self._answers.members, how)
        value, resampled = self._evaluate(decide(merged), targets)
        gain = self._metric.utility(value) - self._metric.utility(self._single)
        spread = float(np.std(resampled - self._single_resampled, ddof=1))
        return {
            "holdout_value": value,
            "holdout_error": _half_width(resampled, len(targets)),
            "gain": gain,
            "tie": abs(gain) <= Z95 * spread,
            "plain_holdout_value": self._metric.fn(merged, targets) if decide.fitted else None,
        }


def _half_width(resampled: np.ndarray, images: int) -> float:
    """Half of the 95 % interval. Where no resample differs, as when all images are right, 3 / images.

    The latter is the rule of three: 0 faults among n images leave a rate of 3 / n possible.
    """
    spread = float(np.std(resampled, ddof=1))
    return Z95 * spread if spread > 0 else min(3.0 / images, 1.0)


def _value(answers: Answers | None, how: Blend, metric: Metric, decide: _Decide) -> float | None:
    if answers is None or answers.targets is None or not len(answers.targets):
        return None
    return metric.fn(decide(blend(answers.members, how)), answers.targets)


def _ties(parts: Mapping[str, Answers], how: Blend) -> dict[str, int]:
    if not isinstance(parts["valid"].members[0], Dense):
        return {}
    return {part: tied_votes(answers.members, how) for part, answers in parts.items()}
