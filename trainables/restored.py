"""A trained network again, from what its trial left in its folder."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from trainables import execution
from trainables.config import TrialConfig, Views, trial_config
from trainables.errors import DataError
from trainables.execution import Execution
from trainables.folding import folded
from trainables.store import Store
from trainables.task import Task
from trainables.trainers import Trainer, trainer_for

WEIGHTS = "weights.safetensors"


def restored(folder: Path, task: Task, store: Store) -> Trainer:
    """The trainer of a finished trial, its `learner.evaluated` being the network of the best epoch.

    `task` has the heads of the store. It is executed as the trial was, so that on the same kind of machine
    it answers with the same bits. Raises DataError where a file is missing, damaged or of another network.
    """
    config = dataclasses.replace(recorded_config(folder), pretrained=False, weights="")
    trainer = trainer_for(task, folded(store, config), config, executed=recorded_execution(folder))
    path = folder / WEIGHTS
    if not path.exists():
        raise DataError(
            f"{path} does not exist: the trial failed, or the search removed it to stay below its --disk.",
            fix="Train the trial again: python -m orchestrator.search --replay TRIAL",
        )
    try:
        trainer.learner.evaluated.load_state_dict(load_file(path))
    except Exception as error:
        raise DataError(
            f"{path}: these weights cannot be used ({' '.join(str(error).split())[:200]}).",
            fix="Train the trial again: python -m orchestrator.search --replay TRIAL",
        ) from error
    trainer.learner.evaluated.eval()
    return trainer


def recorded_config(folder: Path) -> TrialConfig:
    """The configuration of a trial. Raises DataError where it is missing or damaged."""
    return trial_config(_read(folder / "config.json"))


def recorded_execution(folder: Path) -> Execution:
    """How the trial's steps were executed. Raises DataError where that is missing or damaged."""
    found = _read(folder / execution.FILE)
    names = {field.name for field in dataclasses.fields(Execution)}
    return Execution(**{name: value for name, value in found.items() if name in names})


def recorded_views(folder: Path) -> Views:
    """Of what views the trial's predictions are; see `train`."""
    config, how = _read(folder / "config.json"), _read(folder / execution.FILE)
    return trial_config({**config, "tta": how.get("tta", config["tta"])}).tta


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", fix="Train the trial again.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged: it holds no object.", fix="Train the trial again.")
    return found
