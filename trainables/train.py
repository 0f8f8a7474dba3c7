"""One trial: a configuration and a seed become a trained network, its curve and its predictions."""

import csv
import dataclasses
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from trainables import atomic, execution, pretrained, tta
from trainables.config import WHOLE, TrialConfig
from trainables.errors import DataError, OrchestratorError
from trainables.feed import Feed
from trainables.folding import folded
from trainables.learn import Interrupted, Learner, TrialDiverged, go_on
from trainables.store import Part, Store
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
    last: bool = False
    """Whether the trial ends by itself here: its epochs are over, or its patience is. Not in curve.csv."""


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
    validation loss, then the earlier epoch; what is validated and kept are averaged weights where the
    configuration asks for them. On return `folder` holds config.json, curve.csv, weights.safetensors,
    valid.npz, holdout.npz and test.npz, the weights and predictions being the best epoch's, execution.json,
    how its steps were executed and what the network costs, and, where the predictions are of several views,
    tta.json; the value is that of the plain view all the same. A configuration with folds is trained and
    validated as `trainables.folding.folded` says; with nothing to validate on, its last epoch is kept. On a
    CPU the same seed, number of threads and execution give the same bits. Seeds the global generators.

    Raises TrialDiverged on a loss or metric that is not finite, UsageError or DataError for what cannot
    be trained, RuleViolation before the first step for a network outside of the task's bounds on cost,
    OrchestratorError when stopped before the first epoch ended or out of GPU memory.
    """
    parts = folded(store, config)
    _require_targets(parts)
    with _memory_errors(config), atomic.disk_errors("The trial", folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write(folder / "config.json", config.to_json().encode())
        learner = Learner(
            task.kind,
            parts["train"],
            config,
            cancelled=cancelled,
            findings=_findings(store),
            rules=task.rules,
        )
        valid = Feed(parts["valid"], learner.device, reread=True)
        reports, best = _epochs(task, learner, valid, report)
        atomic.write(folder / execution.FILE, _how(learner, store))
        atomic.write(folder / "curve.csv", _curve(reports))
        atomic.write(folder / "weights.safetensors", _weights(best))
        learner.evaluated.load_state_dict(best.weights)
        _predict(task, learner, parts, best, folder=folder)
    return TrialResult(
        value=best.report.valid_metric,
        best_epoch=best.report.epoch,
        epochs=len(reports),
        device=_device_name(learner.device),
    )


def _epochs(
    task: Task, learner: Learner, valid: Feed, report: Callable[[EpochReport], bool]
) -> tuple[list[EpochReport], Best]:
    """Train until the last epoch, the end of patience, a no from `report`, or a cancellation."""
    reports: list[EpochReport] = []
    best: Best | None = None
    for epoch in range(1, learner.config.epochs + 1):
        try:
            row, answers = _epoch(task, learner, valid, epoch)
        except Interrupted:
            break
        row = dataclasses.replace(row, last=_is_last([*reports, row], learner.config, task.metric))
        reports.append(row)
        chosen = best is None or _rank(row, task.metric) > _rank(best.report, task.metric)
        if chosen or learner.config.folds == WHOLE:
            weights = _kept(learner.evaluated, {} if best is None else best.weights)
            best = Best(report=row, weights=weights, answers=answers)
        if not report(row) or row.last:
            break
    if best is None:
        raise OrchestratorError("Stopped before its first epoch ended.", fix="Give the trial more time.")
    return reports, best


def _is_last(reports: list[EpochReport], config: TrialConfig, metric: Metric) -> bool:
    """Whether the epochs are over, or `patience` of them went by without a better score than before."""
    scores = [metric.utility(row.valid_metric) for row in reports]
    waited = len(scores) - 1 - scores.index(max(scores))
    out_of_patience = 0 < config.patience <= waited and config.folds != WHOLE
    return len(reports) == config.epochs or out_of_patience


def _epoch(task: Task, learner: Learner, valid: Feed, epoch: int) -> tuple[EpochReport, Tensor]:
    """Train and validate once; also the outputs on the validation part. Raises Interrupted."""
    start = time.perf_counter()
    learned = learner.learn(epoch)
    learned_at = time.perf_counter()
    answers = learner.answers(valid, cancelled=learner.cancelled)
    row = EpochReport(
        epoch=epoch,
        train_loss=learned.loss,
        train_metric=_score(task, learner, learner.feed, learned.rows, learned.answers),
        valid_loss=_loss(task, learner, valid, answers),
        valid_metric=_score(task, learner, valid, valid.rows, answers),
        lr=learned.lr,
        seconds=time.perf_counter() - start,
        images_per_second=len(learned.rows) / (learned_at - start),
    )
    _require_finite(row)
    return row, answers


def _loss(task: Task, learner: Learner, feed: Feed, answers: Tensor) -> float:
    """Mean loss of the outputs of a part, without smoothing."""
    unsmoothed = dataclasses.replace(learner.config, label_smoothing=0.0, focal=0.0)
    return float(task.kind.losses(answers, feed.targets_of(feed.rows), unsmoothed).mean())


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


def _predict(task: Task, learner: Learner, parts: Mapping[str, Part], best: Best, *, folder: Path) -> None:
    """Write the predictions on every part that is not trained on."""
    feeds = {name: Feed(parts[name], learner.device) for name in ("valid", "holdout", "test")}
    views = tta.views(learner.config)
    weight = tta.plain_weight(learner.config)
    for name, feed in feeds.items():
        answers = best.answers if name == "valid" else learner.answers(feed)
        if views:
            others = tta.mean([learner.answers(feed, view=view) for view in views.values()])
            if name == "valid":
                weight, account = _account(task, learner, feed, answers, others)
                atomic.write(folder / tta.FILE, json.dumps(dataclasses.asdict(account), indent=1).encode())
            answers = tta.mixed(answers, others, weight)
        predictions = task.kind.predict(feed.names(feed.rows), answers.cpu(), learner.config)
        predictions.save(folder / f"{name}.npz")


def _account(
    task: Task, learner: Learner, valid: Feed, plain: Tensor, others: Tensor
) -> tuple[float, tta.Account]:
    """The plain view's weight, fitted where that is asked for, and what it does to the validation part."""

    def judge(answers: Tensor) -> tuple[float, float]:
        score = _score(task, learner, valid, valid.rows, answers)
        return task.metric.utility(score), -_loss(task, learner, valid, answers)

    config = learner.config
    fitted = config.tta_plain < 0 and config.folds != WHOLE
    weight = tta.fit(plain, others, judge) if fitted else tta.plain_weight(config)
    mixed = tta.mixed(plain, others, weight)
    return weight, tta.Account(
        views=tuple(tta.views(config)),
        plain=weight,
        fitted=fitted,
        valid_plain=_score(task, learner, valid, valid.rows, plain),
        valid_all=_score(task, learner, valid, valid.rows, mixed),
    )


def _findings(store: Store) -> Path | None:
    """What was found for other trials stands beside the stores; a store made in memory has no place."""
    return store.folder.parent / execution.FILE if store.folder.name else None


def _how(learner: Learner, store: Store) -> bytes:
    how = {
        **dataclasses.asdict(learner.step.execution),
        "augment": learner.augment.path,
        "store_side": store.side,
        "resident": learner.feed.resident,
        **dataclasses.asdict(learner.cost),
        "weights": pretrained.provenance(learner.config),
        "device": _device_name(learner.device),
        "threads": torch.get_num_threads(),
    }
    return json.dumps(how, indent=1).encode()


def _require_targets(parts: Mapping[str, Part]) -> None:
    for name in ("train", "valid"):
        part = parts[name]
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
    columns = [field.name for field in dataclasses.fields(EpochReport) if field.name != "last"]
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
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
