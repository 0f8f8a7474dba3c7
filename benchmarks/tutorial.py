"""The way Ray's and Optuna's own tutorials write a search: what `benchmarks.whole_job` compares with.

A function trainable with `tune.report`, torchvision's ImageFolder and v2 transforms, DataLoader workers, a
plain fp32 loop, OptunaSearch over the same space and ASHAScheduler as in the tutorials. The networks are
built by the same families, so that one score means the same on both sides. Checkpoints, which the tutorials
write with every report, are left out: they would only cost the peer time.
"""

import functools
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from trainables.config import TrialConfig, common_keys, option_keys, trial_config
from trainables.families import load_family
from trainables.named import load_named
from trainables.task import Splits, load_task

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
ENOUGH = 100_000
"""More trials than any search runs: time ends it."""
CURVES, LOG = "curves.jsonl", "tutorial.log"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One search the tutorial way; `cpus` and `gpus` are a trial's."""

    task: str
    images: str
    """Folder with `train/CLASS/` and `valid/CLASS/`."""
    out: str
    space: str
    context: Mapping[str, Any]
    defaults: Mapping[str, Any]
    epochs: int
    slots: int
    cpus: int
    gpus: float
    seed: int
    until: float
    """Wall time (time.time()) at which the search ends."""


def class_folders(splits: Splits, root: Path) -> Path:
    """The training and validation pictures as links in class folders, which sort as the classes do."""
    for part in ("train", "valid"):
        for sample in splits.part(part):
            assert sample.target is not None
            folder = root / part / f"{sample.target[0]:04d}"
            folder.mkdir(parents=True, exist_ok=True)
            path = sample.path.resolve()
            (folder / f"{len(list(folder.iterdir())):06d}{path.suffix}").symlink_to(path)
    return root


def search(settings: Settings) -> None:
    """Search until the time is up; every report is a line of `curves.jsonl`: trial, epoch, score, time.

    What is said meanwhile goes to `tutorial.log`.
    """
    import ray

    log = os.open(Path(settings.out) / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    task = load_task(settings.task)
    mode = "max" if task.metric.direction == "maximize" else "min"
    ray.init(
        num_cpus=settings.slots * settings.cpus,
        num_gpus=round(settings.slots * settings.gpus) or None,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train_model, settings=settings),
            {"cpu": settings.cpus, "gpu": settings.gpus},
        ),
        tune_config=tune.TuneConfig(
            metric="score",
            mode=mode,
            num_samples=ENOUGH,
            max_concurrent_trials=settings.slots,
            search_alg=OptunaSearch(
                functools.partial(suggest, settings), metric="score", mode=mode, seed=settings.seed
            ),
            scheduler=ASHAScheduler(max_t=settings.epochs, grace_period=1, reduction_factor=3),
            time_budget_s=settings.until - time.time(),
        ),
        run_config=tune.RunConfig(storage_path=settings.out, name="tutorial", verbose=0),
    )
    tuner.fit()
    ray.shutdown()


def suggest(settings: Settings, trial: Any) -> dict[str, Any]:
    """The space of the task, define-by-run."""
    for key, value in settings.context.items():
        trial.set_user_attr(key, value)
    space = load_named("search_spaces", settings.space, "space", "search space")
    return {**settings.defaults, **space(trial), "epochs": settings.epochs}


def train_model(config: dict[str, Any], settings: Settings) -> None:
    """The trainable: one network, an epoch a report."""
    trial = chosen(config)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = load_task(settings.task)
    train_loader, valid_loader = loaders(trial, settings)
    model = load_family(trial.model).build(trial, task.kind.num_outputs(trial)).to(device)
    criterion = nn.CrossEntropyLoss(label_smoothing=trial.label_smoothing)
    optimizer = make_optimizer(trial, model)
    scheduler = make_scheduler(trial, optimizer, len(train_loader))
    for epoch in range(1, trial.epochs + 1):
        model.train()
        for images, labels in train_loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
        score = evaluate(model, valid_loader, device)
        note(settings, epoch, score)
        tune.report({"score": score, "loss": loss.item()})


def chosen(config: Mapping[str, Any]) -> TrialConfig:
    """The keys of a suggestion that the networks know; the others are Optuna's own names of them."""
    known = common_keys() | option_keys(config["model"])
    return trial_config({key: value for key, value in config.items() if key in known})


def loaders(trial: TrialConfig, settings: Settings) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation batches, with a worker for each core of the trial."""
    side = trial.image_size
    to_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    augment: list[nn.Module] = [v2.RandomResizedCrop(side, scale=(1 - trial.crop, 1.0))]
    if trial.flip:
        augment.append(v2.RandomHorizontalFlip())
    if trial.rotation or trial.translate:
        augment.append(v2.RandomAffine(trial.rotation, translate=(trial.translate, trial.translate)))
    if trial.color:
        strength = trial.color
        augment.append(v2.ColorJitter(strength, strength, strength, min(strength / 4, 0.5)))
    erase = [v2.RandomErasing(trial.erasing)] if trial.erasing else []
    transforms = {
        "train": v2.Compose([*augment, *to_tensor, *erase]),
        "valid": v2.Compose([v2.Resize((side, side)), *to_tensor]),
    }
    train, valid = (
        DataLoader(
            ImageFolder(f"{settings.images}/{part}", transform),
            batch_size=trial.batch_size,
            shuffle=part == "train",
            num_workers=settings.cpus,
            persistent_workers=True,
        )
        for part, transform in transforms.items()
    )
    return train, valid


def make_optimizer(trial: TrialConfig, model: nn.Module) -> torch.optim.Optimizer:
    if trial.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=trial.lr,
            momentum=trial.momentum,
            nesterov=True,
            weight_decay=trial.weight_decay,
        )
    return torch.optim.AdamW(model.parameters(), lr=trial.lr, weight_decay=trial.weight_decay)


def make_scheduler(trial: TrialConfig, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> Any:
    steps = trial.epochs * steps_per_epoch
    if trial.schedule == "onecycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=trial.lr, total_steps=steps)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader[Any], device: torch.device) -> float:
    """Accuracy on the validation part."""
    model.eval()
    correct = total = 0
    for images, labels in loader:
        predicted = model(images.to(device)).argmax(1)
        correct += int((predicted == labels.to(device)).sum())
        total += len(labels)
    return correct / total


def note(settings: Settings, epoch: int, score: float) -> None:
    """A line for the comparison, written at once: the search may end at any moment."""
    line = {"trial": tune.get_context().get_trial_id(), "epoch": epoch, "score": score, "time": time.time()}
    with (Path(settings.out) / CURVES).open("a") as file:
        file.write(json.dumps(line) + "\n")
