"""Trials that were trained before: found by configuration, seed and data, and taken over with their files."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator import journal
from orchestrator.ablation.places import runs_of
from orchestrator.folders import SearchFolder
from orchestrator.journal import Journal, SearchRecord, TrialRecord
from trainables.config import TrialConfig, trial_config
from trainables.errors import OrchestratorError

NEEDED = ("config.json", "valid.npz")
KEPT = {".json", ".csv", ".npz", ".safetensors"}
"""What belongs to a trial that is over; its log stays where it was written."""
Found = tuple[SearchFolder, TrialRecord]


def key_of(params: Mapping[str, Any]) -> str:
    """Says of two configurations, seed included, whether they are one."""
    return json.dumps(trial_config(params).params(), sort_keys=True)


def is_whole(trial: TrialRecord) -> bool:
    """Whether a trial reached the end that its configuration asked for: only such are compared."""
    return (
        trial.state == "COMPLETE" and trial.value is not None and trial.epoch >= int(trial.params["epochs"])
    )


def finished(home: Path, fingerprint: str, wanted: Sequence[TrialConfig]) -> dict[str, Found]:
    """By `key_of`: of the wanted trials those that a search or an ablation of the same data has finished."""
    keys = {key_of(config.params()) for config in wanted}
    found: dict[str, Found] = {}
    for folder in runs_of(home):
        try:
            record = journal.read(folder.journal)
        except OrchestratorError:
            continue
        if record.asked.get("fingerprint") == fingerprint:
            found = {**_of(folder, record, keys), **found}
    return found


def _of(folder: SearchFolder, record: SearchRecord, keys: set[str]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for trial in record.trials.values():
        files = folder.trial(trial.trial_id)
        if is_whole(trial) and all((files / name).exists() for name in NEEDED):
            try:
                key = key_of(trial.params)
            except OrchestratorError:
                continue  # of a version with other parameters
            if key in keys:
                found[key] = (folder, trial)
    return found


def take_over(folder: SearchFolder, book: Journal, record: SearchRecord, found: Sequence[Found]) -> None:
    """Link the files of finished trials into `folder`, and journal them with where they are from.

    A file that cannot be linked is copied.
    """
    for source, trial in found:
        number = 1 + max((other.number for other in record.trials.values()), default=-1)
        trial_id = f"{number:04d}"
        _link(source.trial(trial.trial_id), folder.trial(trial_id))
        origin = f"{source.path.parent.name}/{source.search_id}/{trial.trial_id}"
        events = [
            ("trial", {"number": number, "params": dict(trial.params), "shared": origin}),
            *(("report", _report(trial, row)) for row in trial.reports),
            ("end", {"state": trial.state, "reason": trial.reason}),
        ]
        for event, fields in events:
            record.apply(book.append(event, trial_id=trial_id, **fields))


def _report(trial: TrialRecord, row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "device": trial.device, "best": {"value": trial.value, "best_epoch": trial.best_epoch}}


def _link(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.suffix not in KEPT or (target / file.name).exists():
            continue
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copy2(file, target / file.name)
