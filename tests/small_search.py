"""A finished food11 search in real files, made without training: what ensembles and submissions read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchestrator import folders
from orchestrator.folders import SearchFolder
from orchestrator.journal import Journal
from tests.images import food11_folder
from trainables.metrics import accuracy
from trainables.predictions import Dense
from trainables.splits import complete
from trainables.store import Part, Store, prepare
from trainables.task import load_task

CLASSES = 11


def food11_store(root: Path) -> Store:
    """132 validation, 66 holdout and 20 test images in the competition's layout, under `root / "data"`."""
    task = load_task("food11")
    data = food11_folder(root / "data", train=2, valid=18, test=20, size=8)
    splits = complete(task.read(data), heads=task.kind.heads)
    return prepare(task, splits, side=8, root=root / "stores", workers=1)


def food11_search(
    root: Path, store: Store, skills: Sequence[float], *, search_id: str = "made", data: Path | None = None
) -> SearchFolder:
    """A search of one complete trial a skill: the share of images on which the right class gets a push."""
    folder = folders.create(root / "runs", "food11", search_id)
    journal = Journal(folder.journal)
    asked = {"task": "food11", "direction": "maximize", "metric": "accuracy", "max_epochs": 3}
    data = data or store.folder.parent.parent / "data"
    journal.append("search", **asked, search_id=search_id, data=str(data), store=str(store.folder))
    for number, skill in enumerate(skills):
        _trial(journal, folder, store, number=number, skill=skill)
    journal.append("finish", reason="all trials done")
    journal.close()
    folders.point_latest(folder)
    return folder


def _trial(journal: Journal, folder: SearchFolder, store: Store, *, number: int, skill: float) -> None:
    trial_id = f"{number:04d}"
    params = {"model": "convnet", "lr": 0.001 * (number + 1), "epochs": 3, "seed": number % 2}
    journal.append("trial", trial_id=trial_id, number=number, params=params)
    folder.trial(trial_id).mkdir()
    random = np.random.default_rng(number)
    for name in ("valid", "holdout", "test"):
        logits(store.parts[name], skill, random).save(folder.trial(trial_id) / f"{name}.npz")
    targets = store.parts["valid"].targets
    assert targets is not None
    value = accuracy(Dense.load(folder.trial(trial_id) / "valid.npz"), targets)
    losses = {"train_loss": 1.0, "train_metric": 0.5, "valid_loss": 1.0, "valid_metric": value}
    speed = {"lr": 0.001, "seconds": 1.0, "images_per_second": 100.0, "device": "cpu"}
    best = {"value": value, "best_epoch": 2}
    journal.append("report", trial_id=trial_id, epoch=2, **losses, **speed, best=best)
    journal.append("end", trial_id=trial_id, state="COMPLETE", reason="")


def logits(part: Part, skill: float, random: np.random.Generator) -> Dense:
    """Noise, with 3 on top at the right class of about `skill` of the images; test images have class 0."""
    values = random.normal(size=(len(part.ids), CLASSES)).astype(np.float32)
    pushed = np.flatnonzero(random.random(len(part.ids)) < skill)
    right = np.zeros(len(part.ids), dtype=int) if part.targets is None else part.targets[:, 0]
    values[pushed, right[pushed]] += 3
    return Dense(ids=part.ids, fields={"label": values})
