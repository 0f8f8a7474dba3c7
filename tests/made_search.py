"""A small search folder with real files, made without training: what tracking, figures and the UI read."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import folders
from orchestrator.folders import SearchFolder
from orchestrator.journal import Journal
from trainables.predictions import Dense
from trainables.store import Part, open_store, prepare
from trainables.task import load_task


def digits_store(temporary: pytest.TempPathFactory) -> Path:
    """A store of a few of the real digits in 8 px, made once a session."""
    root = temporary.getbasetemp() / "made-digits"
    task = load_task("digits")
    splits = task.read(root / "data")
    few = replace(
        splits,
        train=splits.train[:40],
        valid=splits.valid[:80],
        holdout=splits.holdout[:60],
        test=splits.test[:5],
    )
    return prepare(task, few, side=8, root=root / "stores", workers=1).folder


class MadeSearch:
    """A search of the digits, told event by event; call `finish` or `close` at the end."""

    def __init__(self, out: Path, store: Path, search_id: str = "made-up", **asked: Any) -> None:
        self.folder: SearchFolder = folders.create(out, "digits", search_id)
        self.store = open_store(store)
        self.journal = Journal(self.folder.journal)
        told = {
            "task": "digits",
            "search_id": search_id,
            "direction": "maximize",
            "metric": "accuracy",
            "seed": 3,
            "space": "digits",
            "store": str(store),
            "fingerprint": self.store.fingerprint,
            "commit": "0123abc",
            "host": "x86_64, 2 cores",
            "command": "python -m orchestrator.search digits",
            **asked,
        }
        self.folder.asked.write_text(json.dumps(told))
        self.journal.append("search", **told)
        self.random = np.random.default_rng(0)

    def start(self, number: int, **params: Any) -> str:
        trial_id = f"{number:04d}"
        chosen = {"model": "convnet", "optimizer": "adamw", "lr": 0.003, "seed": number, **params}
        self.folder.trial(trial_id).mkdir()
        self.journal.append("trial", trial_id=trial_id, number=number, params=chosen)
        return trial_id

    def report(self, trial_id: str, epoch: int, skill: float = 0.9) -> None:
        value = skill * (1 - 0.6**epoch)
        row = {
            "epoch": epoch,
            "train_loss": 2.3 * 0.7**epoch,
            "train_metric": value + 0.02,
            "valid_loss": 2.3 * 0.7**epoch + 0.1,
            "valid_metric": value,
            "lr": 0.003 / epoch,
            "seconds": 0.5,
            "images_per_second": 2000.0,
        }
        best = {"value": value, "best_epoch": epoch}
        self.journal.append("report", trial_id=trial_id, **row, device="cpu", best=best)

    def end(self, trial_id: str, state: str = "COMPLETE", reason: str = "", skill: float = 0.9) -> None:
        trial = self.folder.trial(trial_id)
        (trial / "config.json").write_text('{"model": "convnet"}')
        with (trial / "curve.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["epoch", "train_loss"], [1, 2.3]])
        if state != "FAIL":
            for name in ("valid", "holdout", "test"):
                self.predictions(self.store.parts[name], skill).save(trial / f"{name}.npz")
        self.journal.append("end", trial_id=trial_id, state=state, reason=reason)

    def predictions(self, part: Part, skill: float) -> Dense:
        """Logits of which about `skill` are right."""
        assert part.targets is not None
        logits = self.random.normal(size=(len(part.ids), 10)).astype(np.float32)
        right = self.random.random(len(part.ids)) < skill
        logits[np.flatnonzero(right), part.targets[right, 0]] += 9
        return Dense(ids=part.ids, fields={"label": logits})

    def whole_trial(self, number: int, *, epochs: int = 3, skill: float = 0.9, **params: Any) -> str:
        trial_id = self.start(number, **params)
        for epoch in range(1, epochs + 1):
            self.report(trial_id, epoch, skill)
        self.end(trial_id, skill=skill)
        return trial_id

    def ensemble(self, **changed: Any) -> Mapping[str, Any]:
        rows = [
            {"method": "prob_mean", "valid_value": 0.95, "holdout_value": 0.94},
            {"method": "best_single", "valid_value": 0.92, "holdout_value": None},
        ]
        content: dict[str, Any] = {
            "method": "prob_mean",
            "rule": "prob",
            "trial_ids": ["0000", "0001"],
            "weights": [0.5, 0.5],
            "valid_value": 0.95,
            "holdout_value": 0.94,
            "table": rows,
            **changed,
        }
        self.folder.ensemble.write_text(json.dumps(content))
        (self.folder.path / "submission.csv").write_text("Id,Category\n0001,3\n")
        return content

    def finish(self) -> SearchFolder:
        self.journal.append("finish", reason="all trials done")
        self.journal.close()
        return self.folder
