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
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from trainables import atomic, execution, pretrained
from trainables.checkpoints import Checkpoints, State, captured, restore
from trainables.config import WHOLE, TrialConfig, Views
from trainables.errors import DataError, OrchestratorError
from trainables.execution import Execution
from trainables.folding import folded
from trainables.store import Part, Store
from trainables.task import Metric, Task
from trainables.trainers import Trainer, trainer_for
from trainables.training import Interrupted, Training, TrialDiverged, go_on

CHECKPOINTS = "checkpoints"
__all__ = ["EpochReport", "TrialDiverged", "TrialResult", "train"]


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One epoch: a row of curve.csv. Losses are means over images."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    train_metric: float | None
    """Of the augmented images, as the network was while it learned from them; so is train_loss. None for
    dense kinds, which see parts of the images."""
    valid_loss: float | None
    """Without label smoothing, so that it compares across trials; None for dense kinds."""
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
    """The best epoch so far: its weights, copied to the CPU, and what it answers to the validation part.

    The answers are None where the trial went on from a checkpoint behind that epoch.
    """

    report: EpochReport
    weights: dict[str, Tensor]
    answers: Any


def at_once() -> None:
    """Nobody has to know of a trial's end before its checkpoints go."""


def train(
    task: Task,
    store: Store,
    config: TrialConfig,
    report: Callable[[EpochReport], bool],
    *,
    folder: Path,
    cancelled: Callable[[], bool] = go_on,
    executed: Execution | None = None,
    settled: Callable[[], None] = at_once,
) -> TrialResult:
    """Train one network and keep its best epoch.

    `report` is called after each epoch and answers whether to go on; `cancelled` is asked between
    batches, and drops the epoch that it interrupts. Best is the best validation metric, then the lower
    validation loss, then the earlier epoch; what is validated and kept are averaged weights where the
    configuration asks for them. On return `folder` holds config.json, curve.csv, weights.safetensors,
    valid.npz, holdout.npz and test.npz, the weights and predictions being the best epoch's, execution.json,
    how its steps were executed and what the network costs, and, where the predictions are of several views,
    tta.json; the value is that of the plain view all the same. A trial that did not come to its own end
    answers by the plain view alone: the others may cost more than its epochs did, and few of those that were
    stopped become members. A configuration with folds is trained and validated as
    `trainables.folding.folded` says; with nothing to validate on, its last epoch is kept.

    After each epoch a checkpoint is written there, while the next one is trained. Called again on the folder
    of a trial that was killed, with the same configuration, it goes on behind the last one, having reported
    the epochs before it once more; so it does until `settled` returns, which is called when all of the above
    is on the disk. On a CPU the same seed, number of threads and execution give the same
    bits, killed or not; `executed` fixes the latter, which is else recalled or probed. Seeds the global
    generators.

    Raises TrialDiverged on a loss or metric that is not finite, UsageError or DataError for what cannot
    be trained, RuleViolation before the first step for a network outside of the task's bounds on cost,
    OrchestratorError when stopped before the first epoch ended or out of GPU memory.
    """
    parts = folded(store, config)
    _require_targets(parts)
    with _memory_errors(config), atomic.disk_errors("The trial", folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write(folder / "config.json", config.to_json().encode())
        checkpoints = Checkpoints(folder / CHECKPOINTS)
        before = checkpoints.latest()
        if before is not None and before.about["config"] != config.to_json():
            before = None
        if before is not None:
            executed = Execution(**before.about["execution"])
        trainer = trainer_for(
            task, parts, config, cancelled=cancelled, findings=_findings(store), executed=executed
        )
        learner = trainer.learner
        try:
            reports, best = _epochs(task.metric, trainer, report, Kept(checkpoints, before))
        finally:
            checkpoints.settle()
        views: Views = config.tta if reports[-1].last else "none"
        atomic.write(folder / execution.FILE, _how(trainer, store, views))
        atomic.write(folder / "curve.csv", _curve(reports))
        atomic.write(folder / "weights.safetensors", _weights(best))
        learner.evaluated.load_state_dict(best.weights)
        trainer.predict(best.answers, folder, views=views)
        settled()
        checkpoints.clear()
    return TrialResult(
        value=best.report.valid_metric,
        best_epoch=best.report.epoch,
        epochs=len(reports),
        device=_device_name(learner.device),
    )


def _epochs(
    metric: Metric, trainer: Trainer, report: Callable[[EpochReport], bool], kept: "Kept"
) -> tuple[list[EpochReport], Best]:
    """Train until the last epoch, the end of patience, a no from `report`, or a cancellation."""
    config = trainer.learner.config
    reports, best = kept.restored(trainer.learner)
    if best is not None and not all(_goes_on(row, report) for row in reports):
        return reports, best
    for epoch in range(len(reports) + 1, config.epochs + 1):
        try:
            row, answers = _epoch(trainer, epoch)
        except Interrupted:
            break
        row = dataclasses.replace(row, last=_is_last([*reports, row], config, metric))
        reports.append(row)
        kept.checkpoints.settle()  # its best weights are about to change
        chosen = best is None or _rank(row, metric) > _rank(best.report, metric)
        if chosen or config.folds == WHOLE:
            weights = _kept(trainer.learner.evaluated, {} if best is None else best.weights)
            best = Best(report=row, weights=weights, answers=answers)
        assert best is not None
        kept.save(trainer.learner, reports, best)
        if not _goes_on(row, report):
            break
    if best is None:
        raise OrchestratorError("Stopped before its first epoch ended.", fix="Give the trial more time.")
    return reports, best


def _goes_on(row: EpochReport, report: Callable[[EpochReport], bool]) -> bool:
    return report(row) and not row.last


@dataclass(frozen=True)
class Kept:
    """The checkpoints of a trial, and the one that it goes on from, if any."""

    checkpoints: Checkpoints
    before: State | None
    place: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    """Where the state is copied to."""

    def restored(self, learner: Training) -> tuple[list[EpochReport], Best | None]:
        """Bring the learner to the checkpoint; the epochs until then, and the best of them."""
        if self.before is None:
            return [], None
        restore(learner, self.before)
        reports = [EpochReport(**row) for row in self.before.about["reports"]]
        best = reports[int(self.before.about["best"]) - 1]
        weights = self.before.under("best") or _kept(learner.evaluated, {})
        return reports, Best(report=best, weights=weights, answers=None)

    def save(self, learner: Training, reports: list[EpochReport], best: Best) -> None:
        """Keep the state after the last of the epochs; the best weights beside it, where they are others.

        A killed trial repeats the epoch whose checkpoint was not on the disk yet, and no other: the next one
        waits for it.
        """
        tensors, about = captured(learner, self.place)
        if best.report.epoch != reports[-1].epoch:
            tensors = tensors | {f"best.{name}": value for name, value in best.weights.items()}
        about |= {
            "best": best.report.epoch,
            "reports": [dataclasses.asdict(row) for row in reports],
            "execution": dataclasses.asdict(learner.step.execution),
            "config": learner.config.to_json(),
        }
        self.checkpoints.save_behind(State(epoch=reports[-1].epoch, tensors=tensors, about=about))


def _is_last(reports: list[EpochReport], config: TrialConfig, metric: Metric) -> bool:
    """Whether the epochs are over, or `patience` of them went by without a better score than before."""
    scores = [metric.utility(row.valid_metric) for row in reports]
    waited = len(scores) - 1 - scores.index(max(scores))
    out_of_patience = 0 < config.patience <= waited and config.folds != WHOLE
    return len(reports) == config.epochs or out_of_patience


def _epoch(trainer: Trainer, epoch: int) -> tuple[EpochReport, Any]:
    """Train and validate once; also the answers to the validation part. Raises Interrupted."""
    start = time.perf_counter()
    learned = trainer.learn(epoch)
    learned_at = time.perf_counter()
    train_metric = learned.metric()
    validated = trainer.validate()
    row = EpochReport(
        epoch=epoch,
        train_loss=learned.loss,
        train_metric=train_metric,
        valid_loss=validated.loss,
        valid_metric=validated.metric,
        lr=learned.lr,
        seconds=time.perf_counter() - start,
        images_per_second=learned.images / (learned_at - start),
    )
    _require_finite(row)
    return row, validated.answers


def _rank(row: EpochReport, metric: Metric) -> tuple[float, float]:
    """Greater is better; of equals the earlier epoch is kept."""
    return metric.utility(row.valid_metric), -(row.valid_loss or 0.0)


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


def _findings(store: Store) -> Path | None:
    """What was found for other trials stands beside the stores; a store made in memory has no place."""
    return store.folder.parent / execution.FILE if store.folder.name else None


def _how(trainer: Trainer, store: Store, views: Views) -> bytes:
    learner = trainer.learner
    how = {
        **dataclasses.asdict(learner.step.execution),
        **trainer.how,
        "store_side": store.side,
        "tta": views,
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
        if value is not None and not math.isfinite(value):
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
