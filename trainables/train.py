"""One trial: a configuration and a seed become a trained network, its curve and its predictions."""

import csv
import dataclasses
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from trainables import atomic, execution
from trainables.config import TrialConfig
from trainables.errors import DataError, OrchestratorError
from trainables.feed import Feed
from trainables.learn import Interrupted, Learner, TrialDiverged, go_on
from trainables.store import Store
from trainables.task import Metric, Task

__all__ = ["EpochReport", "TrialDiverged", "TrialResult", "train"]


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One epoch: a row of curve.csv. Losses are means over images."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    train_metric: float
    """Of the augmented images, as the network was while it learned from them; so is train_loss."""
    valid_loss: float
    """Without label smoothing, so that it compares across trials."""
    valid_metric: float
    lr: float
    """Of the epoch's last update."""
    seconds: float
    """Training and validation together."""
    images_per_second: float
    """Of training alone."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The best epoch's validation score; `epochs` is how many were finished."""

    value: float
    best_epoch: int
    epochs: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best epoch so far: its weights, copied to the CPU, and its outputs on the validation part."""

    report: EpochReport
    weights: dict[str, Tensor]
    answers: Tensor


def train(
    task: Task,
    store: Store,
    config: TrialConfig,
    report: Callable[[EpochReport], bool],
    *,
    folder: Path,
    cancelled: Callable[[], bool] = go_on,
) -> TrialResult:
    """Train one network and keep its best epoch.

    `report` is called after each epoch and answers whether to go on; `cancelled` is asked between
    batches, and drops the epoch that it interrupts. Best is the best validation metric, then the lower
    validation loss, then the earlier epoch. On return `folder` holds config.json, curve.csv,
    weights.safetensors, valid.npz, holdout.npz and test.npz, the weights and predictions being the best
    epoch's, and execution.json, how its steps were executed. On a CPU the same seed, number of threads and
    execution give the same bits. Seeds the global generators.

    Raises TrialDiverged on a loss or metric that is not finite, UsageError or DataError for what cannot
    be trained, OrchestratorError when stopped before the first epoch ended or out of GPU memory.
    """
    _require_targets(store)
    with _memory_errors(config), atomic.disk_errors("The trial", folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write(folder / "config.json", config.to_json().encode())
        learner = Learner(
            task.kind, store.parts["train"], config, cancelled=cancelled, findings=_findings(store)
        )
        valid = Feed(store.parts["valid"], learner.device, reread=True)
        reports, best = _epochs(task, learner, valid, report)
        atomic.write(folder / execution.FILE, _how(learner, store))
        atomic.write(folder / "curve.csv", _curve(reports))
        atomic.write(folder / "weights.safetensors", _weights(best))
        learner.model.load_state_dict(best.weights)
        _predict(task, learner, store, best, folder=folder)
    return TrialResult(
        value=best.report.valid_metric,
        best_epoch=best.report.epoch,
        epochs=len(reports),
        device=_device_name(learner.device),
    )


def _epochs(
    task: Task, learner: Learner, valid: Feed, report: Callable[[EpochReport], bool]
) -> tuple[list[EpochReport], Best]:
    """Train until the last epoch, a no from `report`, or a cancellation."""
    reports: list[EpochReport] = []
    best: Best | None = None
    for epoch in range(1, learner.config.epochs + 1):
        try:
            row, answers = _epoch(task, learner, valid, epoch)
        except Interrupted:
            break
        reports.append(row)
        if best is None or _rank(row, task.metric) > _rank(best.report, task.metric):
            weights = _kept(learner.model, {} if best is None else best.weights)
            best = Best(report=row, weights=weights, answers=answers)
        if not report(row):
            break
    if best is None:
        raise OrchestratorError("Stopped before its first epoch ended.", fix="Give the trial more time.")
    return reports, best


def _epoch(task: Task, learner: Learner, valid: Feed, epoch: int) -> tuple[EpochReport, Tensor]:
    """Train and validate once; also the outputs on the validation part. Raises Interrupted."""
    start = time.perf_counter()
    learned = learner.learn(epoch)
    learned_at = time.perf_counter()
    answers = learner.answers(valid, cancelled=learner.cancelled)
    unsmoothed = dataclasses.replace(learner.config, label_smoothing=0.0)
    row = EpochReport(
        epoch=epoch,
        train_loss=learned.loss,
        train_metric=_score(task, learner, learner.feed, learned.rows, learned.answers),
        valid_loss=float(task.kind.losses(answers, valid.targets_of(valid.rows), unsmoothed).mean()),
        valid_metric=_score(task, learner, valid, valid.rows, answers),
        lr=learned.lr,
        seconds=time.perf_counter() - start,
        images_per_second=len(learned.rows) / (learned_at - start),
    )
    _require_finite(row)
    return row, answers


def _score(task: Task, learner: Learner, feed: Feed, rows: Tensor, answers: Tensor) -> float:
    """The metric of the outputs of some rows of a part."""
    predictions = task.kind.predict(feed.names(rows), answers.cpu(), learner.config)
    return task.metric.fn(predictions, feed.targets_of(rows).cpu().numpy())


def _rank(row: EpochReport, metric: Metric) -> tuple[float, float]:
    """Greater is better; of equals the earlier epoch is kept."""
    return metric.utility(row.valid_metric), -row.valid_loss


def _kept(model: nn.Module, place: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's state in memory of its own, on the CPU: in `place`, where a state was kept before.

    Fresh memory for each best epoch, and another layout, would take three times as long.
    """
    for name, value in model.state_dict().items():
        if name in place:
            place[name].copy_(value)
        else:
            place[name] = value.detach().to("cpu", copy=True)
    return place


def _weights(best: Best) -> bytes:
    data: bytes = safetensors_bytes({name: value.contiguous() for name, value in best.weights.items()})
    return data


def _predict(task: Task, learner: Learner, store: Store, best: Best, *, folder: Path) -> None:
    """Write the predictions on every part that is not trained on."""
    valid = Feed(store.parts["valid"], learner.device)
    task.kind.predict(valid.names(valid.rows), best.answers.cpu(), learner.config).save(folder / "valid.npz")
    for name in ("holdout", "test"):
        feed = Feed(store.parts[name], learner.device)
        answers = learner.answers(feed).cpu()
        task.kind.predict(feed.names(feed.rows), answers, learner.config).save(folder / f"{name}.npz")


def _findings(store: Store) -> Path | None:
    """What was found for other trials stands beside the stores; a store made in memory has no place."""
    return store.folder.parent / execution.FILE if store.folder.name else None


def _how(learner: Learner, store: Store) -> bytes:
    how = {
        **dataclasses.asdict(learner.step.execution),
        "augment": learner.augment.path,
        "store_side": store.side,
        "resident": learner.feed.resident,
        "device": _device_name(learner.device),
        "threads": torch.get_num_threads(),
    }
    return json.dumps(how, indent=1).encode()


def _require_targets(store: Store) -> None:
    for name in ("train", "valid"):
        part = store.parts[name]
        if not part.ids or part.targets is None:
            raise DataError(
                f"The {name} part has no {'labels' if part.ids else 'images'}.",
                fix="Check the data with python -m orchestrator.check.",
            )


def _require_finite(row: EpochReport) -> None:
    for name in ("train_metric", "valid_loss", "valid_metric"):
        value = getattr(row, name)
        if not math.isfinite(value):
            raise TrialDiverged(
                f"Diverged in epoch {row.epoch}: {name} is {value}.",
                fix="Lower lr, or set clip_grad and warmup_epochs.",
            )


def _curve(reports: list[EpochReport]) -> bytes:
    text = io.StringIO()
    columns = [field.name for field in dataclasses.fields(EpochReport)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in reports)
    return text.getvalue().encode()


@contextmanager
def _memory_errors(config: TrialConfig) -> Iterator[None]:
    """Say which numbers to lower when the GPU's memory is too small."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OrchestratorError(
            f"The GPU has too little memory for {config.model} with batch_size={config.batch_size} "
            f"and image_size={config.image_size}.",
            fix="Lower batch_size or image_size, or give each trial a larger share of the GPU.",
        ) from error


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
