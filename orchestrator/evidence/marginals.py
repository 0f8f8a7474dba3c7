"""The scores by the value of each parameter: best, mean and spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.evidence.content import Block, Table, Text
from orchestrator.evidence.tried import Level, Parameter, counted, levels, parameters, tried
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.snapshot import score, short
from trainables.task import Metric

MOST_VALUES = 12
"""Values of one parameter that get a row, those with the best score first."""


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """The trials that share a value of a parameter, or a third of its range."""

    parameter: str
    value: str
    trials: tuple[TrialRecord, ...]


def marginals(trials: Sequence[TrialRecord], parameter: Parameter) -> list[Marginal]:
    """The trials by a parameter's values; of a scale by thirds, each with as many trials as the others.

    Trials whose network knows no such parameter are in none.
    """
    pairs = [(v, t) for v, t in zip(parameter.values, trials, strict=True) if v is not None]
    groups: dict[str, list[TrialRecord]] = {}
    if parameter.numeric:
        pairs.sort(key=lambda pair: pair[0])
        for third in _thirds(pairs):
            name = f"{short(third[0][0])} to {short(third[-1][0])}"
            groups.setdefault(name, []).extend(trial for _, trial in third)
    else:
        for value, trial in sorted(pairs, key=lambda pair: str(pair[0])):
            groups.setdefault(short(value), []).append(trial)
    return [
        Marginal(parameter=parameter.label, value=name, trials=tuple(group)) for name, group in groups.items()
    ]


def _thirds(pairs: list[tuple[Any, TrialRecord]]) -> list[list[tuple[Any, TrialRecord]]]:
    """Sorted pairs cut in three, equal values never parted."""
    cuts = [0]
    for third in (1, 2):
        cut = max(round(third * len(pairs) / 3), cuts[-1])
        while 0 < cut < len(pairs) and pairs[cut][0] == pairs[cut - 1][0]:
            cut += 1
        cuts.append(cut)
    return [part for a, b in zip(cuts, [*cuts[1:], len(pairs)], strict=True) if (part := pairs[a:b])]


def blocks(record: SearchRecord, metric: Metric) -> list[Block]:
    """A table of the choices and one of the scales; a sentence where no parameter differs."""
    trials = tried(record)
    found = parameters(trials)
    if not found:
        return [
            Text(f"{counted(len(trials))} with a score and no parameter that differs: nothing to compare.")
        ]
    level = levels(record)[0]
    made: list[Block] = []
    for what, some in (
        ("choices", [p for p in found if not p.numeric]),
        ("ranges, each cut into thirds", [p for p in found if p.numeric]),
    ):
        rows = [row for parameter in some for row in _rows(record, trials, parameter, level, metric)]
        if rows:
            made.append(_table(what, rows, level, metric, len(trials)))
    return made


def _rows(
    record: SearchRecord, trials: Sequence[TrialRecord], parameter: Parameter, level: Level, metric: Metric
) -> list[tuple[str, ...]]:
    groups = marginals(trials, parameter)
    shown = groups
    if not parameter.numeric:
        shown = sorted(groups, key=lambda group: -metric.utility(_best(group, metric)))[:MOST_VALUES]
    rows: list[tuple[str, ...]] = []
    for group in shown:
        here = [value for t in group.trials if (value := level.score(t, record)) is not None]
        complete = sum(t.state == "COMPLETE" for t in group.trials)
        rows.append(
            (
                group.parameter,
                group.value,
                str(len(group.trials)),
                str(complete),
                score(_best(group, metric)),
                str(len(here)),
                score(float(np.mean(here))) if here else "–",
                score(float(np.std(here, ddof=1))) if len(here) > 1 else "–",
            )
        )
    if len(groups) > len(shown):
        rows.append((parameter.label, f"{len(groups) - len(shown)} more", *("–",) * 6))
    return rows


def _best(group: Marginal, metric: Metric) -> float:
    return max((t.value for t in group.trials if t.value is not None), key=metric.utility)


def _table(what: str, rows: list[tuple[str, ...]], level: Level, metric: Metric, count: int) -> Table:
    moment = level.name if level.epoch is not None else "the end"
    shown = [row if i == 0 or rows[i - 1][0] != row[0] else ("", *row[1:]) for i, row in enumerate(rows)]
    return Table(
        caption=f"{metric.name} by parameter: {what} ({counted(count)}).",
        columns=("parameter", "value", "trials", "complete", "best", f"at {moment}", "mean", "spread"),
        rows=tuple(shown),
        words=2,
        notes=(
            f"best: of any epoch. mean and spread (standard deviation): at {moment}, of so many trials, "
            "compared alike. A trial without the parameter is in no row.",
            "The search chose what to try: rows differ in more than the one parameter. An ablation tells "
            "what a choice is worth by itself.",
        ),
    )
