"""Trials that train nothing, and a search to run them in, for measuring what is around a trial."""

import functools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orchestrator import folders
from orchestrator.asha import Asha, Rungs
from orchestrator.conductor import Conductor
from orchestrator.folders import SearchFolder
from orchestrator.journal import Journal, SearchRecord
from orchestrator.slot import Assignment, Slot
from orchestrator.study import Study
from orchestrator.tune import TrialActor
from trainables.named import load_named
from trainables.task import load_task

EPOCH_S = 1.0
WAITS = "waits.json"
PREDICTED = "test.npz"
"""Left empty: a trial that ends without predictions is gone on with."""


def row(epoch: int, seed: int) -> dict[str, float]:
    """The eight numbers of an epoch, of a made-up curve; `seed` tells trials apart."""
    value = (0.5 + (seed * 7919 % 101) / 250) * (1 - 0.7**epoch)
    return {
        "epoch": epoch,
        "train_loss": 2.3 * 0.8**epoch,
        "train_metric": value,
        "valid_loss": 2.3 * 0.8**epoch,
        "valid_metric": value,
        "lr": 0.001 / epoch,
        "seconds": EPOCH_S,
        "images_per_second": 1000.0 + epoch,
    }


def only_report(pipe: "Connection[Any, Any]", _: Assignment, *, pause: float) -> None:
    """A slot's child: sleeps `pause` seconds an epoch; leaves in its folder how long each report took."""
    try:
        assignment: Assignment = pipe.recv()
        pipe.recv()
        waits = []
        for epoch in range(1, int(assignment.params["epochs"]) + 1):
            time.sleep(pause)
            begun = time.perf_counter()
            pipe.send(("report", {**row(epoch, int(assignment.params["seed"])), "device": "cpu"}))
            go_on = pipe.recv()
            waits.append(time.perf_counter() - begun)
            if not go_on:
                break
        folder = Path(assignment.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WAITS).write_text(json.dumps(waits))
        (folder / PREDICTED).touch()
        pipe.send(("done", {"why": ""}))
    except EOFError:
        return


class SleepingActor(TrialActor):
    """The real slot, whose children sleep an epoch and report."""

    @staticmethod
    def make_slot() -> Slot:
        return Slot(functools.partial(only_report, pause=EPOCH_S))


class InstantActor(TrialActor):
    """No child at all: rows as fast as Tune takes them."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._params = new_config["assignment"]["params"]
        folder = Path(new_config["assignment"]["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PREDICTED).touch()
        self._epoch = 0
        return True

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        return {"outcome": "report", "device": "cpu", **row(self._epoch, int(self._params["seed"]))}

    def cleanup(self) -> None:
        """Nothing runs."""


@contextmanager
def made_up_search(
    out: Path, *, slots: int, trials: int, epochs: int, first_rung: int
) -> Iterator[tuple[SearchFolder, SearchRecord, Callable[..., Any]]]:
    """A search of digits that has not begun: its folder, its record, and what makes its conductor.

    That takes the listener and the conductor's class; study, ASHA and journal are the real ones. A rung at
    or beyond `epochs` stops no trial.
    """
    folder = folders.create(out, "digits")
    asked: dict[str, Any] = {
        "task": "digits",
        "direction": "maximize",
        "metric": "accuracy",
        "search_id": folder.search_id,
    }
    asked |= {"max_epochs": epochs, "slots": slots, "trials": trials, "seed": 0, "space": "digits"}
    folder.asked.write_text(json.dumps(asked))
    journal = Journal(folder.journal)
    record = SearchRecord(asked=journal.append("search", **asked))
    task = load_task("digits")
    study = Study(
        load_named("search_spaces", "digits", "space", "search space"),
        direction="maximize",
        seed=0,
        defaults=task.defaults,
        fixed={"epochs": epochs},
        context={"device": "cpu", "pixels": 8},
    )

    def conductor(listen: Callable[..., None], kind: type[Conductor]) -> Conductor:
        return kind(
            study=study,
            asha=Asha(Rungs(grace_period=first_rung, reduction_factor=3, max_epochs=epochs)),
            metric=task.metric,
            journal=journal,
            record=record,
            slots=slots,
            trials=trials,
            deadline=float("inf"),
            listen=listen,
        )

    try:
        yield folder, record, conductor
    finally:
        journal.close()
