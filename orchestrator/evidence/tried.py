"""What a search has tried, as everything that asks what it teaches sees it: trials, parameters, levels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.journal import SearchRecord, TrialRecord

NOT_CHOSEN = frozenset({"seed", "fold"})
"""Parameters that name a repetition; nobody chooses among their values."""
FEW_VALUES = 4
"""Numbers of no more than so many values are choices: 32, 64 or 128 images a batch."""
RATIO = 10.0
"""Positive numbers that span more than this are seen on a logarithmic scale."""
SPREAD = 2
"""Two levels are at least so many times apart: comparisons that lie closer say nearly the same."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter that differs among trials."""

    name: str
    values: tuple[Any, ...]
    """Of each trial; None where its network knows no such parameter."""
    alike: tuple[str, ...] = ()
    """Other choices that part the trials exactly as this one does: nothing can tell them apart."""

    @property
    def known(self) -> list[Any]:
        return [value for value in self.values if value is not None]

    @property
    def conditional(self) -> bool:
        return None in self.values

    @property
    def numeric(self) -> bool:
        """Whether it is a scale, not a choice."""
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.known)
        return numbers and len(set(self.known)) > FEW_VALUES

    @property
    def logarithmic(self) -> bool:
        low, high = min(self.known), max(self.known)
        return self.numeric and low > 0 and high / low > RATIO

    @property
    def label(self) -> str:
        """Its name and those that cannot be told from it."""
        return " = ".join((self.name, *self.alike))


@dataclass(frozen=True)
class Level:
    """A moment at which trials are compared: after an epoch, or at the end, which is None."""

    epoch: int | None

    @property
    def name(self) -> str:
        return "end" if self.epoch is None else f"epoch {self.epoch}"

    def score(self, trial: TrialRecord, record: SearchRecord) -> float | None:
        """The best score up to then, as rungs compare it; None where the trial did not get there."""
        if self.epoch is None:
            return trial.value if trial.state == "COMPLETE" else None
        values = {e: v for e, v in trial.intermediate_values.items() if v is not None}
        if self.epoch not in values:
            return None
        best = max if record.direction == "maximize" else min
        return best(value for epoch, value in values.items() if epoch <= self.epoch)


def tried(record: SearchRecord) -> list[TrialRecord]:
    """The trials of the search proper that have a score, in the order in which they were begun.

    Finals are no part of the study: they are what was already found good, trained again.
    """
    scored = (t for t in record.trials.values() if not t.of and t.value is not None and t.state != "FAIL")
    return sorted(scored, key=lambda trial: trial.number)


def parameters(trials: Sequence[TrialRecord]) -> list[Parameter]:
    """What differs among the trials' configurations; choices that part them alike are one parameter."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    found: dict[Any, Parameter] = {}
    for name in names:
        values = tuple(trial.params.get(name) for trial in trials)
        parted, parameter = _parts(values), Parameter(name=name, values=values)
        if name in NOT_CHOSEN or len(set(_parts(parameter.known))) < 2:
            continue  # what only some networks know, and with one value, says no more than which these are
        key = name if parameter.numeric else parted
        first = found.setdefault(key, parameter)
        if first is not parameter:
            found[key] = replace(first, alike=(*first.alike, name))
    return list(found.values())


def _parts(values: Sequence[Any]) -> tuple[int, ...]:
    """Equal numbers for equal values, counted in the order of their first place."""
    places: dict[tuple[str, Any], int] = {}
    return tuple(places.setdefault((type(v).__name__, v), len(places)) for v in values)


def counted(trials: int) -> str:
    """So many trials, in words that fit one too."""
    return "1 trial" if trials == 1 else f"{trials} trials"


def on_scale(parameter: Parameter) -> list[float]:
    """A numeric parameter's values, as logarithms to base ten where it spans a wide range."""
    return [math.log10(value) if parameter.logarithmic else float(value) for value in parameter.known]


def levels(record: SearchRecord) -> list[Level]:
    """After which epochs the search compared its trials, thinned where they lie close, and the end."""
    compared = sorted({int(rung["epoch"]) for rung in record.rungs})
    kept: list[int] = []
    for epoch in compared:
        if not kept or epoch >= SPREAD * kept[-1]:
            kept.append(epoch)
    return [*map(Level, kept), Level(None)]
