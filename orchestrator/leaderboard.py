"""The trials of a search in order of their scores: as a file, on the screen, and as an ensemble's members."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.blend import align
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.snapshot import clock, epochs_of, key_parameters, score, short
from trainables import atomic
from trainables.errors import DataError, NoTrialSucceeded
from trainables.predictions import Dense
from trainables.store import Store

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "rank",
    "trial",
    "state",
    "value",
    "best_epoch",
    "epochs_run",
    "seconds",
    "images_per_second",
    "device",
    "reason",
)
SHOWN = 10
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


def differences(params: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What `other` does differently, in one line: `lr 0.001 -> 0.01, flip no -> yes`."""
    names = [name for name in {**params, **other} if params.get(name) != other.get(name)]
    return ", ".join(f"{name} {short(params.get(name))} -> {short(other.get(name))}" for name in names)


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The best trials' predictions, aligned with the store's parts; members come best first."""

    trials: tuple[TrialRecord, ...]
    parts: Mapping[str, tuple[Dense, ...]]
    """`valid`, and `holdout` and `test` where the store has any: a prediction a trial."""
    notes: tuple[str, ...]
    """Sentences for the user: who was left out and why."""


def read_bank(folder: SearchFolder, record: SearchRecord, *, store: Store, k: int) -> Bank:
    """The top `k` trials by validation whose predictions can be read; all where there are fewer.

    Raises NoTrialSucceeded when there is none.
    """
    names = [name for name in ("valid", "holdout", "test") if store.parts[name].ids]
    trials: list[TrialRecord] = []
    parts: dict[str, list[Dense]] = {name: [] for name in names}
    notes = []
    for trial in record.ranked():
        if len(trials) == k:
            break
        if trial.state == "RUNNING" and not (folder.trial(trial.trial_id) / "valid.npz").exists():
            continue
        try:
            read = {name: read_predictions(folder, trial.trial_id, store=store, part=name) for name in names}
            for name in names:
                align([*parts[name][:1], read[name]], store.parts[name].ids)
        except DataError as error:
            notes.append(f"Trial {trial.trial_id} is left out: {error.what}")
            continue
        trials.append(trial)
        for name in names:
            parts[name].append(read[name])
    if not trials:
        raise _nothing_to_read(folder, record, notes)
    if len(trials) < k:
        notes.append(f"{k} members were asked for; {_trials(len(trials))} with predictions.")
    return Bank(trials=tuple(trials), parts={n: tuple(p) for n, p in parts.items()}, notes=tuple(notes))


def read_predictions(folder: SearchFolder, trial_id: str, *, store: Store, part: str) -> Dense:
    """A trial's predictions of one part, in the order of the store.

    Raises DataError when they cannot be read, are of other images or are not numbers.
    """
    path = folder.trial(trial_id) / f"{part}.npz"
    predictions = align([Dense.load(path)], store.parts[part].ids)[0]
    if not all(np.isfinite(values).all() for values in predictions.fields.values()):
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
