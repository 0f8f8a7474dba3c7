"""What an ablation found: each row's scores, and what seeds and images say of its difference to the base."""

import json
import math
import statistics as plain
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.ablation import images, planned
from orchestrator.ablation.design import Row
from orchestrator.ablation.planned import Planned
from orchestrator.ablation.shared import is_whole, key_of
from orchestrator.ablation.statistics import Comparison, Paired, compare
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, State, TrialRecord
from orchestrator.trust import source_of
from trainables.errors import OrchestratorError
from trainables.store import Store, open_store
from trainables.task import Metric, load_task

EXECUTION = "execution.json"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A row of the table. Means are over its seeds; None stands for what is not known."""

    row: Row
    planned: int
    """Trials that it is to have."""
    trials: Mapping[int, TrialRecord]
    """By seed, those that reached their last epoch."""
    failed: tuple[str, ...]
    """Why others failed."""
    cut_off: tuple[str, ...]
    """Why others were ended from outside, or refused by the task's rules."""
    comparison: Comparison | None
    """With the base, by the seeds that both have; None of the base."""
    over_images: float | None
    """p over the images of valid and holdout: whether the difference holds beyond them."""
    reached: tuple[int, ...]
    """Epochs after which trials were as good as the base is on average; only those that were."""
    parameters: int | None
    macs: int | None

    @property
    def values(self) -> list[float]:
        return [float(trial.value) for trial in self.trials.values() if trial.value is not None]

    @property
    def mean(self) -> float | None:
        return plain.fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        return plain.stdev(self.values) if len(self.values) > 1 else None

    @property
    def seconds(self) -> float | None:
        """Of all epochs of a trial, training and validation."""
        each = [math.fsum(row["seconds"] for row in trial.reports) for trial in self.trials.values()]
        return plain.fmean(each) if each else None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An ablation as far as it has come."""

    folder: SearchFolder
    record: SearchRecord
    planned: Planned
    rows: tuple[Scored, ...]
    """The base first."""
    images: Mapping[str, int]
    """Pictures whose predictions were compared, a part; empty where none could be."""
    notes: tuple[str, ...]

    @property
    def open(self) -> int:
        """Trials that are still to be run."""
        return sum(scored.planned - len(scored.trials) - len(scored.failed) for scored in self.rows)

    @property
    def ties(self) -> list[Scored]:
        """Rows that more seeds might decide, those first that need fewest."""
        found = [row for row in self.rows[1:] if row.comparison and row.comparison.more is not None]
        return sorted(found, key=lambda row: row.comparison.more or 0 if row.comparison else 0)


def read(folder: SearchFolder) -> Outcome:
    """From the journal and the stored predictions alone. Raises DataError where the journal cannot be read.

    Predictions that are missing or damaged are said to be; the seeds' scores stand without them.
    """
    record, plan = planned.read(folder)
    trials = _by_key(record)
    whole = {row.name: _whole(row, plan, trials) for row in plan.rows}
    answers = _Answers(folder, record)
    comparisons, beyond = _compared(plan, whole, answers)
    base = [_value(trial) for trial in whole[plan.base.name].values()]
    rows = [
        Scored(
            row=row,
            planned=len(plan.seeds_of(row)),
            trials=whole[row.name],
            failed=_ended(row, plan, trials, whole[row.name], state="FAIL"),
            cut_off=_ended(row, plan, trials, whole[row.name], state="PRUNED"),
            comparison=comparisons.get(row.name),
            over_images=beyond.get(row.name),
            reached=_reached(whole[row.name].values(), plain.fmean(base) if base else None, record),
            **_cost(folder, whole[row.name]),
        )
        for row in plan.rows
    ]
    return Outcome(
        folder=folder,
        record=record,
        planned=plan,
        rows=tuple(rows),
        images=answers.counts,
        notes=tuple(dict.fromkeys(answers.notes)),
    )


def _compared(
    plan: Planned, whole: Mapping[str, Mapping[int, TrialRecord]], answers: "_Answers"
) -> tuple[dict[str, Comparison], dict[str, float | None]]:
    """By the names of the variants: what the seeds say, and what the images."""
    base = whole[plan.base.name]
    known = answers.of(base)
    paired: dict[str, Paired] = {}
    beyond: dict[str, float | None] = {}
    for row in plan.rows[1:]:
        mine = whole[row.name]
        seeds = [seed for seed in mine if seed in base]
        differences = answers.differences(answers.of(mine), known, seeds)
        paired[row.name] = Paired(
            differences=tuple(_value(mine[seed]) - _value(base[seed]) for seed in seeds),
            least_variance=images.least_variance(differences["valid"]) if differences else 0.0,
            looks=plan.looks(row),
        )
        if differences:
            each = [part.mean(0) for part in differences.values()]
            beyond[row.name] = images.over_images(np.concatenate(each))
    return dict(zip(paired, compare(list(paired.values())), strict=True)), beyond


def _by_key(record: SearchRecord) -> dict[str, list[TrialRecord]]:
    found: dict[str, list[TrialRecord]] = {}
    for trial in record.trials.values():
        found.setdefault(key_of(trial.params), []).append(trial)
    return found


def _whole(row: Row, plan: Planned, trials: Mapping[str, Sequence[TrialRecord]]) -> dict[int, TrialRecord]:
    found = {}
    for seed in plan.seeds_of(row):
        ended = (t for t in trials.get(key_of(row.config(seed).params()), ()) if is_whole(t))
        trial = next(ended, None)
        if trial is not None:
            found[seed] = trial
    return found


def _ended(
    row: Row,
    plan: Planned,
    trials: Mapping[str, Sequence[TrialRecord]],
    whole: Mapping[int, TrialRecord],
    *,
    state: State,
) -> tuple[str, ...]:
    """The reasons of the seeds that are not whole and whose last trial ended so."""
    tried = [
        trials.get(key_of(row.config(seed).params()), ()) for seed in plan.seeds_of(row) if seed not in whole
    ]
    return tuple(found[-1].reason for found in tried if found and found[-1].state == state)


def _value(trial: TrialRecord) -> float:
    assert trial.value is not None
    return float(trial.value)


def _reached(trials: Any, target: float | None, record: SearchRecord) -> tuple[int, ...]:
    if target is None:
        return ()
    sign = 1 if record.direction == "maximize" else -1
    found = []
    for trial in trials:
        good = (e for e, value in trial.intermediate_values.items() if sign * (value - target) >= -1e-12)
        found.append(next(good, None))
    return tuple(epoch for epoch in found if epoch is not None)


def _cost(folder: SearchFolder, trials: Mapping[int, TrialRecord]) -> dict[str, int | None]:
    """Parameters and multiply-accumulates, as the first trial's network was counted."""
    for trial in trials.values():
        try:
            told = json.loads((folder.trial(trial.trial_id) / EXECUTION).read_bytes())
        except (OSError, ValueError):
            continue
        return {name: told.get(name) for name in ("parameters", "macs")}
    return {"parameters": None, "macs": None}


class _Answers:
    """What each image adds to each trial's score, read from the stored predictions once."""

    def __init__(self, folder: SearchFolder, record: SearchRecord) -> None:
        self._folder = folder
        self.notes: list[str] = []
        self._metric: Metric | None = None
        self._store: Store | None = None
        self.counts: dict[str, int] = {}
        try:
            self._metric = load_task(source_of(record.asked)).metric
            self._store = open_store(Path(record.asked["store"]))
        except OrchestratorError as error:
            self.notes.append(f"No image was compared: {error.what} {error.fix}")

    def of(self, trials: Mapping[int, TrialRecord]) -> dict[int, dict[str, np.ndarray]]:
        """By seed and part, float [N]; a trial whose predictions cannot be read is left out."""
        found = {}
        for seed, trial in trials.items():
            scores = self._scores(trial.trial_id)
            if scores:
                found[seed] = scores
        return found

    def _scores(self, trial_id: str) -> dict[str, np.ndarray]:
        from orchestrator.leaderboard import read_predictions

        if self._store is None or self._metric is None:
            return {}
        found: dict[str, np.ndarray] = {}
        for name in ("valid", "holdout"):
            part = self._store.parts[name]
            if not part.ids or part.targets is None:
                continue
            try:
                answered = read_predictions(self._folder, trial_id, store=self._store, part=name)
            except OrchestratorError as error:
                self.notes.append(f"Trial {trial_id} is not compared image by image: {error.what}")
                return {}
            scores = images.each_score(answered, part.targets, self._metric)
            if scores is None:
                self.notes.append(f"{self._metric.name} is no mean over images: none was compared alone.")
                self._metric = None
                return {}
            found[name] = scores
        return found

    def differences(
        self,
        scores: Mapping[int, Mapping[str, np.ndarray]],
        base: Mapping[int, Mapping[str, np.ndarray]],
        seeds: Sequence[int],
    ) -> dict[str, np.ndarray]:
        """A part, variant minus base, float [seeds, N]; empty unless every seed's can be read."""
        if not seeds or any(seed not in scores or seed not in base for seed in seeds):
            return {}
        parts = scores[seeds[0]]
        found = {name: np.stack([scores[s][name] - base[s][name] for s in seeds]) for name in parts}
        self.counts = {name: values.shape[1] for name, values in found.items()}
        return found
