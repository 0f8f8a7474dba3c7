"""The trials of a search in order of their scores: as a file, on the screen, and as an ensemble's members."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.blend import align, blend
from ensembles.merging import Blend
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.snapshot import clock, epochs_of, key_parameters, score, short
from trainables import atomic, gathered
from trainables.config import WHOLE
from trainables.errors import DataError, NoTrialSucceeded
from trainables.folding import pool_ids, pool_targets
from trainables.predictions import Dense, Predictions
from trainables.store import Store
from trainables.task import Task

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "rank",
    "trial",
    "of",
    "state",
    "value",
    "best_epoch",
    "epochs_run",
    "seconds",
    "images_per_second",
    "device",
    "reason",
)
POOL = "pool"
"""Train and valid part together, as folds answer them."""
SHOWN = 10
WORSE = 1.5
GAP = 2


def write(record: SearchRecord, path: Path) -> None:
    """Write the leaderboard as CSV: ranked trials first, then those without a score, with their parameters.

    `epochs_run` is how many the trial ran, the parameter `epochs` how many it would have run. Raises
    DataError when the file cannot be written.
    """
    ranked = {trial.trial_id: rank for rank, trial in enumerate(record.ranked(), start=1)}
    trials = sorted(record.trials.values(), key=lambda t: (ranked.get(t.trial_id, len(ranked) + 1), t.number))
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, *names))
    for trial in trials:
        params = [trial.params.get(name, "") for name in names]
        writer.writerow((ranked.get(trial.trial_id, ""), *_measured(trial), *params))
    with atomic.disk_errors("The leaderboard", path):
        atomic.write(path, text.getvalue().encode())


def _measured(trial: TrialRecord) -> tuple[Any, ...]:
    speeds = [row["images_per_second"] for row in trial.reports if row.get("images_per_second")]
    return (
        trial.trial_id,
        trial.of,
        trial.state,
        "" if trial.value is None else trial.value,
        "" if trial.best_epoch is None else trial.best_epoch,
        trial.epoch,
        round(trial.seconds, 1),
        round(float(np.median(speeds)), 1) if speeds else "",
        trial.device,
        trial.reason,
    )


def table(record: SearchRecord, *, width: int, limit: int = SHOWN) -> "Table":
    """The best trials for the screen, with as many of the differing parameters as fit in `width` columns.

    The parameters that explain most of the ranking come first; what does not fit is in `leaderboard.csv`.
    """
    from rich.table import Table

    ranked = record.ranked()[:limit]
    metric = str(record.asked["metric"])
    heads = ("rank", "trial", "state", metric, "epoch", "time")
    rows = [_cells(record, rank, trial) for rank, trial in enumerate(ranked, start=1)]
    taken = sum(GAP + max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(heads))
    names = _fitting(ranked, key_parameters(record), room=width - taken)
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for head in heads:
        grid.add_column(head, no_wrap=True, justify="left" if head == "state" else "right")
    for name in names:
        grid.add_column(name, no_wrap=True)
    for row, trial in zip(rows, ranked, strict=True):
        grid.add_row(*row, *(short(trial.params.get(name)) for name in names))
    return grid


def _cells(record: SearchRecord, rank: int, trial: TrialRecord) -> tuple[str, ...]:
    return (
        str(rank),
        trial.trial_id,
        trial.state.lower(),
        score(trial.value),
        f"{trial.best_epoch} of {epochs_of(record, trial)}",
        clock(trial.seconds),
    )


def _fitting(trials: Sequence[TrialRecord], names: Sequence[str], *, room: int) -> list[str]:
    """The first of the names that differ among the trials shown and fit in `room` columns."""
    chosen = []
    for name in names:
        texts = [short(trial.params.get(name)) for trial in trials]
        needed = GAP + max(len(name), *map(len, texts))
        if len(set(texts)) > 1 and needed <= room:
            chosen.append(name)
            room -= needed
    return chosen


@dataclass(frozen=True, kw_only=True)
class Member:
    """What counts as one in an ensemble: a trial, or the trials of all folds of one training."""

    trials: tuple[TrialRecord, ...]
    value: float
    """Validation score; of folds the mean."""

    @property
    def name(self) -> str:
        """The trial's id, or the first and last one's of the folds: `0031-0035`."""
        first, last = self.trials[0].trial_id, self.trials[-1].trial_id
        return first if first == last else f"{first}-{last}"

    @property
    def folds(self) -> int:
        return int(self.trials[0].params.get("folds", 0))


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The best members' predictions, aligned with the images that all of them answer; best first."""

    members: tuple[Member, ...]
    parts: Mapping[str, tuple[Any, ...]]
    """`valid`, and `holdout` and `test` where the store has any: a prediction a member."""
    targets: Mapping[str, Any]
    """The truth of each part; None where the organisers keep the answers."""
    notes: tuple[str, ...]
    """Sentences for the user: who was left out and why."""


def members_of(record: SearchRecord) -> tuple[list[Member], list[str]]:
    """Trials that have a score, and whole groups of folds, best first; and what is not whole, in words."""
    groups: dict[tuple[str, ...], list[TrialRecord]] = {}
    for trial in record.ranked():
        folds = int(trial.params.get("folds", 0))
        alone = ("alone", trial.trial_id)
        key = (trial.of, str(trial.params.get("seed"))) if folds > WHOLE else alone
        groups.setdefault(key, []).append(trial)
    members, notes = [], []
    for trials in groups.values():
        trials.sort(key=lambda trial: trial.number)
        folds = int(trials[0].params.get("folds", 0))
        if folds > WHOLE and len(trials) < folds:
            notes.append(f"Only {len(trials)} of {folds} folds of trial {trials[0].of} are there: left out.")
            continue
        value = sum(trial.value or 0.0 for trial in trials) / len(trials)
        members.append(Member(trials=tuple(trials), value=value))
    sign = -1 if record.direction == "maximize" else 1
    return sorted(members, key=lambda m: (sign * m.value, not m.trials[0].of, m.trials[0].number)), notes


def read_bank(
    folder: SearchFolder, record: SearchRecord, *, store: Store, k: int, task: Task | None = None
) -> Bank:
    """The top `k` members by validation whose predictions can be read; all where there are fewer.

    Where all of them are folds, `valid` is the whole of train and valid, answered out of fold; else it is
    the valid part. With a `task` a final without a validation of its own that is worse on the holdout than
    the trial it is of is left out. Raises NoTrialSucceeded when there is no member.
    """
    found, notes = members_of(record)
    kept: list[Member] = []
    read: list[dict[str, Any]] = []
    for member in found:
        if len(kept) == k:
            break
        if any(_is_unwritten(folder, trial) for trial in member.trials):
            continue
        try:
            answers = _read(folder, member, store=store)
            for name, predictions in answers.items():
                align([*(other[name] for other in read[:1] if name in other), predictions], predictions.ids)
            if member.folds == WHOLE and task is not None:
                notes.append(_checked(folder, member, answers, store=store, task=task))
        except DataError as error:
            notes.append(f"{_left_out(member)}: {error.what}")
            continue
        kept.append(member)
        read.append(answers)
    if not kept:
        raise _nothing_to_read(folder, record, notes)
    if len(kept) < k:
        notes.append(f"{k} members were asked for; {_trials(len(kept))} with predictions.")
    return _bank(kept, read, store=store, notes=notes)


def _bank(
    members: Sequence[Member], read: Sequence[Mapping[str, Any]], *, store: Store, notes: Sequence[str]
) -> Bank:
    pooled = all(POOL in answers for answers in read)
    names = {"valid": POOL if pooled else "valid"} | {n: n for n in ("holdout", "test") if n in read[0]}
    targets = {name: store.parts[name].targets for name in names}
    if pooled:
        targets["valid"] = pool_targets(store)
        notes = [*notes, "valid is train and valid together, each image as the fold without it says."]
    return Bank(
        members=tuple(members),
        parts={name: tuple(answers[source] for answers in read) for name, source in names.items()},
        targets=targets,
        notes=tuple(notes),
    )


def _is_unwritten(folder: SearchFolder, trial: TrialRecord) -> bool:
    return trial.state == "RUNNING" and not (folder.trial(trial.trial_id) / "valid.npz").exists()


def _left_out(member: Member) -> str:
    if len(member.trials) > 1:
        return f"Trials {member.name} are left out"
    return f"Trial {member.name} is left out"


def _read(folder: SearchFolder, member: Member, *, store: Store) -> dict[str, Any]:
    """The member's predictions of each part that there is; of folds also those of the pool."""
    read = {}
    if member.folds > WHOLE:
        read[POOL] = _out_of_fold(folder, trials_named(member.name), store=store)
    judged = member.trials[0].of if member.folds == WHOLE else member.name
    read["valid"] = read_predictions(folder, judged, store=store, part="valid")
    for name in ("holdout", "test"):
        if store.parts[name].ids:
            read[name] = read_predictions(folder, member.name, store=store, part=name)
    return read


def _checked(
    folder: SearchFolder, member: Member, answers: Mapping[str, Any], *, store: Store, task: Task
) -> str:
    """How a final that was validated on nothing does on the holdout. Raises DataError where that is worse.

    Worse is by more than 1.5 / sqrt(n), about three standard errors of a share of n images: the holdout is to
    keep out what went wrong, and to choose nothing.
    """
    trial, targets = member.trials[0], store.parts["holdout"].targets
    if targets is None or "holdout" not in answers:
        return f"Trial {trial.trial_id} was validated on nothing."
    before = read_predictions(folder, trial.of, store=store, part="holdout")
    value, other = (task.score_of_trial(each, targets) for each in (answers["holdout"], before))
    figures = f"holdout {score(value)}, and {score(other)} of trial {trial.of}, whose validation stands in"
    figures += ", each with a decision of its own" * task.decides_trials
    utility = task.metric.utility
    if utility(value) < utility(other) - WORSE * len(targets) ** -0.5:
        raise DataError(f"Trained on train and valid it is worse: {figures}.")
    return f"Trial {trial.trial_id} was trained on train and valid: {figures}."


def trials_named(name: str) -> list[str]:
    """Ids of the trials of a member: of `0031-0033` they are 0031, 0032, 0033."""
    first, _, last = name.partition("-")
    return [f"{number:04d}" for number in range(int(first), int(last) + 1)] if last else [first]


def read_predictions(folder: SearchFolder, name: str, *, store: Store, part: str) -> Any:
    """A member's predictions of one part, in the order of the store; the mean of the folds' probabilities.

    Of `valid` each image as the fold without it says. Raises DataError when they cannot be read, are of
    other images or are not numbers.
    """
    trials = trials_named(name)
    if len(trials) == 1:
        return _aligned(folder, name, part, store.parts[part].ids)
    if part == "valid":
        count = len(store.parts["valid"].ids)
        rows = range(len(store.parts["train"].ids), len(store.parts["train"].ids) + count)
        answered = _out_of_fold(folder, trials, store=store).take(rows)
        return dataclasses.replace(answered, ids=store.parts["valid"].ids)
    folds = [_aligned(folder, trial, part, store.parts[part].ids) for trial in trials]
    return blend(folds, Blend("prob", (1.0,) * len(folds)))


def _aligned(folder: SearchFolder, trial_id: str, part: str, ids: Sequence[str]) -> Predictions:
    path = folder.trial(trial_id) / f"{part}.npz"
    return _finite(align([gathered.load(path)], ids)[0], path)


def _out_of_fold(folder: SearchFolder, trials: Sequence[str], *, store: Store) -> Any:
    """Every image of the pool as the fold that was not trained on it says, as logarithms of probabilities."""
    paths = [folder.trial(trial) / "valid.npz" for trial in trials]
    together = gathered.joined([_finite(gathered.load(path), path) for path in paths])
    return blend(align([together], pool_ids(store)), Blend("prob", (1.0,)))


def _finite(predictions: Predictions, path: Path) -> Predictions:
    """Predictions that are numbers; the other types than logits are checked where they are made."""
    if isinstance(predictions, Dense) and not all(
        np.isfinite(values).all() for values in predictions.fields.values()
    ):
        raise DataError(f"{path}: some predictions are no numbers.", fix="Run the trial again.")
    return predictions


def _trials(count: int) -> str:
    return "there is one trial" if count == 1 else f"there are {count} trials"


def _nothing_to_read(folder: SearchFolder, record: SearchRecord, notes: Sequence[str]) -> NoTrialSucceeded:
    failed = [f"trial {t.trial_id}: {t.reason}" for t in record.trials.values() if t.state == "FAIL"]
    first = next(iter([*notes, *failed]), "no trial has finished an epoch")
    return NoTrialSucceeded(
        f"Search {folder.search_id} has no trial with predictions ({first}).",
        fix=f"See {folder.log}, then search again.",
    )
