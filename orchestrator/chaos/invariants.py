"""What must hold of a search that went through a fault, beside one that nothing disturbed."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator import journal
from orchestrator.chaos.rig import Rig, Unexpected
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord
from orchestrator.tracking import STATUS

PREDICTED = ("valid.npz", "holdout.npz", "test.npz")
HALF_WRITTEN = ("*.tmp", "*.building", ".latest-*")


def require_whole(rig: Rig, name: str) -> None:
    """Raises Unexpected unless journal, files and tracker tell of one search that ended, without a rest.

    Each trial began once and ended once, with as many epochs as the witness saw at least.
    """
    folder = rig.folder(name)
    events, _ = journal.tail(folder.journal)
    record = journal.replay(events)
    for kind in ("trial", "end"):
        ids = [event["trial_id"] for event in events if event["event"] == kind]
        if len(ids) != len(set(ids)) or set(ids) != set(record.trials):
            raise Unexpected(f"the journal has {kind} events of {ids}, of trials {list(record.trials)}")
    for trial in record.trials.values():
        epochs = [int(row["epoch"]) for row in trial.reports]
        if epochs != list(range(1, len(epochs) + 1)):
            raise Unexpected(f"trial {trial.trial_id} reported the epochs {epochs}")
        if rig.scorings(name).get(trial.trial_id, 0) < len(epochs):
            raise Unexpected(f"trial {trial.trial_id} reported epochs that nobody trained")
    left = [path for pattern in HALF_WRITTEN for path in rig.out.rglob(pattern)]
    if left:
        raise Unexpected(f"half-written: {', '.join(str(path.relative_to(rig.out)) for path in left)}")
    _require_tracked(rig, name, record)


def require_equal(rig: Rig, name: str, whole: SearchFolder) -> None:
    """Raises Unexpected unless trials, stops, predictions, ensemble and submission are those of `whole`."""
    folder = rig.folder(name)
    one, other = (_outcome(journal.read(f.journal)) for f in (whole, folder))
    if one != other:
        differ = [trial for trial in {**one, **other} if one.get(trial) != other.get(trial)]
        raise Unexpected(f"trials {', '.join(sorted(differ))} are not those of the undisturbed search")
    for trial in one:
        for file in PREDICTED:
            if _content(whole.trial(trial) / file) != _content(folder.trial(trial) / file):
                raise Unexpected(f"{file} of trial {trial} is not that of the undisturbed search")
    if _ensemble(whole) != _ensemble(folder):
        raise Unexpected("the ensemble is not that of the undisturbed search")
    if _content(whole.path / "submission.csv") != _content(folder.path / "submission.csv"):
        raise Unexpected("the submission is not that of the undisturbed search")


def require_repeats(rig: Rig, name: str, whole: str, *, most: int) -> None:
    """Raises Unexpected where more epochs were trained again than `most`, one for each trial cut off."""
    base, seen = rig.scorings(whole), rig.scorings(name)
    if repeated(seen, base) > most:
        again = {trial: seen.get(trial, 0) - count for trial, count in base.items()}
        raise Unexpected(f"epochs trained again: {again}, at most {most} expected")


def repeated(seen: Mapping[str, int], base: Mapping[str, int]) -> int:
    """How many scorings of the trials of `base` were seen beyond those."""
    return sum(max(0, seen.get(trial, 0) - count) for trial, count in base.items())


def _outcome(record: SearchRecord) -> dict[str, Any]:
    return {
        name: (dict(trial.params), trial.state, trial.value, trial.best_epoch, trial.epoch)
        for name, trial in record.trials.items()
    }


def _ensemble(folder: SearchFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(folder.ensemble.read_text())
    return {**content, "search_id": ""}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _require_tracked(rig: Rig, name: str, record: SearchRecord) -> None:
    """One closed run a trial, with a value an epoch; read from MLflow's tables, not through our writer."""
    found = dict(_runs(rig.out / "mlflow.db", name))
    told = {trial.trial_id: (1, STATUS[trial.state], trial.epoch) for trial in record.trials.values()}
    if found != told:
        raise Unexpected(f"MLflow has {found} where the journal has {told}")


def _runs(database: Path, name: str) -> Iterator[tuple[str, tuple[int, str, int]]]:
    """Of each trial: how many runs it has, how the last one ended, and of how many epochs its scores are."""
    rows = """
        SELECT trial.value, COUNT(DISTINCT runs.run_uuid), MAX(runs.status), COUNT(DISTINCT metrics.step)
        FROM runs
        JOIN tags AS search ON search.run_uuid = runs.run_uuid AND search.key = 'search_id'
        JOIN tags AS trial ON trial.run_uuid = runs.run_uuid AND trial.key = 'trial_id'
        LEFT JOIN metrics ON metrics.run_uuid = runs.run_uuid AND metrics.key LIKE 'val/%'
             AND metrics.key NOT IN ('val/best', 'val/loss')
        WHERE search.value = ? GROUP BY trial.value
    """
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        for trial, runs, status, epochs in connection.execute(rows, (name,)):
            yield trial, (runs, status, epochs)
