"""How much of the scores each parameter explains: fANOVA and PED-ANOVA, side by side (imports optuna).

fANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) asks a random forest how much of the variance of the score
a parameter explains by itself, over the whole of the space. PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI
2023) asks how the best trials' values differ from those of all trials. They answer different questions, and
each can be blind where the other sees: both are shown.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.evidence.content import Block, Table, Text
from orchestrator.evidence.tried import Level, Parameter, counted, levels, on_scale, parameters, tried
from orchestrator.journal import SearchRecord
from trainables.task import Direction

FEWEST = 20
"""Trials below which nothing is said of importance."""
TOP, FEWEST_TOP = 0.1, 5
"""Share and least number of the trials that PED-ANOVA takes for the best."""
TREES, SEED = 32, 0
MOST_TRIALS = 300
"""Of more trials so many are drawn, for the time that fANOVA takes grows with their square."""
MOST_LEVELS = 3
HIGH, LOW = 0.2, 0.05
"""Where one method says more than the first and the other less than the second, they disagree."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What each parameter explains of the scores at one level, relative to all: each column sums to one."""

    level: Level
    trials: int
    top: int
    """The trials that PED-ANOVA took for the best; more than its share where scores are equal."""
    fanova: Mapping[str, float]
    """By label; without the parameters that not every trial has, which fANOVA cannot judge."""
    ped: Mapping[str, float]
    foretold: float
    """Out-of-bag R squared of a random forest: what it foretells of trials that it has not seen."""


def importances(record: SearchRecord) -> tuple[list[Importance], list[str]]:
    """The importance at each level with enough trials that differ in their scores; of the others, why not."""
    every, found, notes = tried(record), [], []
    alike = parameters(every)
    for level in levels(record):
        scores = [level.score(trial, record) for trial in every]
        rows = _drawn([i for i, value in enumerate(scores) if value is not None])
        values = [value for i in rows if (value := scores[i]) is not None]
        here = [_part(parameter, rows) for parameter in alike]
        here = [parameter for parameter in here if len(set(parameter.values)) > 1 and parameter.known]
        if len(rows) < FEWEST:
            notes.append(f"{_named(level)}: {counted(len(rows))}, of the {FEWEST} that it takes.")
        elif not here:
            notes.append(f"{_named(level)}: the {len(rows)} trials differ in no parameter.")
        elif len(set(values)) == 1:
            notes.append(f"{_named(level)}: all {len(rows)} trials have the same score; nothing to explain.")
        else:
            found.append(importance(here, values, level=level, direction=record.direction))
    return found, notes


def importance(
    found: Sequence[Parameter], values: Sequence[float], *, level: Level, direction: Direction
) -> Importance:
    """The importance of parameters for the values, one a trial, which must not all be equal."""
    import optuna
    from optuna.importance import (
        FanovaImportanceEvaluator,
        PedAnovaImportanceEvaluator,
        get_param_importances,
    )

    share = max(TOP, FEWEST_TOP / len(values))
    cutoff = sorted(values, reverse=direction == "maximize")[math.ceil(share * len(values)) - 1]
    top = sum(v >= cutoff if direction == "maximize" else v <= cutoff for v in values)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction)
    study.add_trials(_frozen(found, values))
    whole = [parameter.label for parameter in found if not parameter.conditional]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        fanova = FanovaImportanceEvaluator(n_trees=TREES, seed=SEED)
        explained = get_param_importances(study, evaluator=fanova, params=whole) if whole else {}
        ped = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=share),
            params=[parameter.label for parameter in found],
        ) if top < len(values) else {}  # fmt: skip
    return Importance(
        level=level,
        trials=len(values),
        top=top,
        fanova=explained,
        ped=ped,
        foretold=_foretold(found, values),
    )


def _drawn(rows: list[int]) -> list[int]:
    """All rows, or `MOST_TRIALS` of them at random."""
    if len(rows) <= MOST_TRIALS:
        return rows
    return sorted(np.random.default_rng(SEED).choice(rows, MOST_TRIALS, replace=False).tolist())


def _part(parameter: Parameter, rows: Sequence[int]) -> Parameter:
    values = tuple(parameter.values[i] for i in rows)
    return Parameter(name=parameter.name, values=values, alike=parameter.alike)


def _frozen(found: Sequence[Parameter], values: Sequence[float]) -> list[Any]:
    """The trials as Optuna knows them: numbers on their scale, everything else as a choice."""
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.trial import create_trial

    columns: dict[str, tuple[BaseDistribution, dict[int, Any]]] = {}
    for parameter in found:
        rows = [i for i, value in enumerate(parameter.values) if value is not None]
        if parameter.numeric:
            scaled = on_scale(parameter)
            spread: BaseDistribution = FloatDistribution(min(scaled), max(scaled))
            columns[parameter.label] = (spread, dict(zip(rows, scaled, strict=True)))
        else:
            choices = sorted(set(parameter.known), key=str)
            columns[parameter.label] = (
                CategoricalDistribution(choices),
                dict(zip(rows, parameter.known, strict=True)),
            )
    return [
        create_trial(
            params={name: held[i] for name, (_, held) in columns.items() if i in held},
            distributions={name: spread for name, (spread, held) in columns.items() if i in held},
            value=value,
        )
        for i, value in enumerate(values)
    ]


def _foretold(found: Sequence[Parameter], values: Sequence[float]) -> float:
    from sklearn.ensemble import RandomForestRegressor

    columns: list[list[float]] = []
    for parameter in found:
        if parameter.numeric:
            scaled = iter(on_scale(parameter))
            columns.append([math.nan if v is None else next(scaled) for v in parameter.values])
        else:
            choices = sorted(set(parameter.known), key=str)
            columns += [[float(v == choice) for v in parameter.values] for choice in choices]
    forest = RandomForestRegressor(n_estimators=4 * TREES, oob_score=True, random_state=SEED)
    return float(forest.fit(np.array(columns).T, values).oob_score_)


def blocks(found: Sequence[Importance], notes: Sequence[str]) -> list[Block]:
    """The table of both methods at up to three levels, and what to make of it."""
    if not found:
        return [Text(" ".join(("The importance of parameters cannot be told.", *notes)))]
    shown = _chosen(found)
    names = list(dict.fromkeys(name for each in shown for name in (*each.fanova, *each.ped)))
    names.sort(key=lambda n: -max(max(e.fanova.get(n, 0), e.ped.get(n, 0)) for e in shown))
    columns = [f"{e.level.name}, {e.trials} trials: {how}" for e in shown for how in ("fANOVA", "PED-ANOVA")]
    rows = [
        (name, *(cell for e in shown for cell in (_cell(e.fanova, name), _cell(e.ped, name))))
        for name in names
    ]
    table = Table(
        caption="Importance of each parameter: its share of what all of them explain of the score.",
        columns=("parameter", *columns),
        rows=tuple(rows),
        notes=(*_about(shown), *notes),
    )
    return [table]


def _chosen(found: Sequence[Importance]) -> list[Importance]:
    """The first, the middle and the last where there are more than three."""
    if len(found) <= MOST_LEVELS:
        return list(found)
    return [found[0], found[len(found) // 2], found[-1]]


def _cell(shares: Mapping[str, float], name: str) -> str:
    return f"{shares[name]:.2f}" if name in shares else "–"


def _named(level: Level) -> str:
    return level.name[0].upper() + level.name[1:]


def _about(shown: Sequence[Importance]) -> list[str]:
    best = ", ".join(f"{e.top} of {e.trials} at {e.level.name}" for e in shown)
    notes = [
        "fANOVA: share of the variance over the whole space, by a forest. PED-ANOVA: how the best trials' "
        f"values differ from all trials' (the best {best}). A parameter that nearly all trials had right "
        "looks unimportant to PED-ANOVA."
    ]
    if any(each.trials == MOST_TRIALS for each in shown):
        notes.append(f"Where there are more than {MOST_TRIALS} trials, so many are drawn at random.")
    for each in shown:
        dropped = [name for name in each.ped if name not in each.fanova]
        if dropped:
            notes.append(
                f"{_named(each.level)}: not every trial has {', '.join(dropped)}; fANOVA leaves them out."
            )
        if not each.ped:
            notes.append(f"{_named(each.level)}: all scores are as good as the best; PED-ANOVA says nothing.")
        apart = [n for n, a in each.fanova.items() if n in each.ped and _disagree(a, each.ped[n])]
        if apart:
            notes.append(f"{_named(each.level)}: the methods disagree about {', '.join(apart)}.")
        notes.append(_trust(each))
    return notes


def _disagree(a: float, b: float) -> bool:
    return (a > HIGH and b < LOW) or (b > HIGH and a < LOW)


def _trust(each: Importance) -> str:
    share = f"a forest foretells {max(each.foretold, 0):.0%} of the variance of trials that it has not seen"
    doubt = "" if each.foretold >= HIGH else ": too little to build on, the shares may be chance"
    return f"{_named(each.level)}: {share} (out-of-bag R squared){doubt}."
