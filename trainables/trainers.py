"""What one trial does in an epoch and at its end, by kind: of classes, or dense."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from trainables import atomic, tta
from trainables.config import WHOLE, TrialConfig, Views
from trainables.execution import Execution
from trainables.families import require_answers, require_read
from trainables.feed import Feed
from trainables.learn import Learner, Pass
from trainables.store import Part
from trainables.task import DenseKind, Kind, Task
from trainables.training import Training, go_on


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What an epoch of training says of itself."""

    loss: float
    lr: float
    """Of the last update."""
    images: int
    """How many were shown."""
    metric: Callable[[], float | None]
    """Score of what was shown, computed when it is asked for; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Validated:
    """What the network makes of the validation part."""

    loss: float | None
    metric: float
    answers: Any
    """What `Trainer.predict` may need again, if this is the best epoch."""


class Trainer(Protocol):
    """A trial's network with the parts of the data that it sees."""

    @property
    def learner(self) -> Training:
        """The network and what updates it."""

    @property
    def how(self) -> Mapping[str, Any]:
        """How its pictures are prepared, for the record."""

    def learn(self, epoch: int) -> Learned:
        """One epoch, counted from 1. Raises Interrupted and TrialDiverged."""

    def validate(self) -> Validated:
        """Score the network, or its average. Raises Interrupted."""

    def predict(self, answers: Any, folder: Path, *, views: Views) -> None:
        """Write what the network, as it is now, answers to every part that is not trained on.

        `answers` are what `validate` left when it was in this state, or None where that is not there; `views`
        names those beside the plain one, as `TrialConfig.tta` does.
        """


def trainer_for(
    task: Task,
    parts: Mapping[str, Part],
    config: TrialConfig,
    *,
    cancelled: Callable[[], bool] = go_on,
    findings: Path | None = None,
    executed: Execution | None = None,
) -> Trainer:
    """The trainer of the task's kind. Raises what `Training` raises; see there for the options."""
    require_answers(config.model, task.kind.answers)
    require_read(config, task.kind.answers)
    if isinstance(task.kind, DenseKind):
        from trainables.dense_trainer import DenseTrainer

        return DenseTrainer(task, parts, config, cancelled=cancelled, findings=findings, executed=executed)
    learner = Learner(
        task.kind,
        parts["train"],
        config,
        cancelled=cancelled,
        findings=findings,
        executed=executed,
        rules=task.rules,
    )
    return ClassTrainer(task, task.kind, parts, learner)


class ClassTrainer:
    """A trial of classes: the pictures are squares, and the answers logits."""

    def __init__(self, task: Task, kind: Kind, parts: Mapping[str, Part], learner: Learner) -> None:
        self.task, self.kind, self.parts, self.learner = task, kind, parts, learner
        self.valid = Feed(parts["valid"], learner.device, reread=True)

    @property
    def how(self) -> Mapping[str, Any]:
        return {"augment": self.learner.augment.path, "resident": self.learner.feed.resident}

    def learn(self, epoch: int) -> Learned:
        learned: Pass = self.learner.learn(epoch)
        return Learned(
            loss=learned.loss,
            lr=learned.lr,
            images=len(learned.rows),
            metric=lambda: self._score(self.learner.feed, learned.rows, learned.answers),
        )

    def validate(self) -> Validated:
        answers = self.learner.answers(self.valid, cancelled=self.learner.cancelled)
        return Validated(
            loss=self._loss(self.valid, answers),
            metric=self._score(self.valid, self.valid.rows, answers),
            answers=answers,
        )

    def predict(self, answers: Tensor | None, folder: Path, *, views: Views) -> None:
        """Also writes `tta.json` where the predictions are of several views."""
        learner, config = self.learner, dataclasses.replace(self.learner.config, tta=views)
        beside = tta.views(config)
        weight = tta.plain_weight(config)
        for name in ("valid", "holdout", "test"):
            feed = Feed(self.parts[name], learner.device)
            found = answers if name == "valid" and answers is not None else learner.answers(feed)
            if beside:
                others = tta.mean([learner.answers(feed, view=view) for view in beside.values()])
                if name == "valid":
                    weight, account = self._account(feed, found, others, config)
                    content = json.dumps(dataclasses.asdict(account), indent=1)
                    atomic.write(folder / tta.FILE, content.encode())
                found = tta.mixed(found, others, weight)
            predictions = self.kind.predict(feed.names(feed.rows), found.cpu(), config)
            predictions.save(folder / f"{name}.npz")

    def _loss(self, feed: Feed, answers: Tensor) -> float:
        """Mean loss of the outputs of a part, without smoothing."""
        unsmoothed = dataclasses.replace(self.learner.config, label_smoothing=0.0, focal=0.0)
        return float(self.kind.losses(answers, feed.targets_of(feed.rows), unsmoothed).mean())

    def _score(self, feed: Feed, rows: Tensor, answers: Tensor) -> float:
        """The metric of the outputs of some rows of a part."""
        predictions = self.kind.predict(feed.names(rows), answers.cpu(), self.learner.config)
        return self.task.metric.fn(predictions, feed.targets_of(rows).cpu().numpy())

    def _account(
        self, valid: Feed, plain: Tensor, others: Tensor, config: TrialConfig
    ) -> tuple[float, tta.Account]:
        """The plain view's weight, fitted where that is asked for, and what it does to validation."""

        def judge(answers: Tensor) -> tuple[float, float]:
            score = self._score(valid, valid.rows, answers)
            return self.task.metric.utility(score), -self._loss(valid, answers)

        fitted = config.tta_plain < 0 and config.folds != WHOLE
        weight = tta.fit(plain, others, judge) if fitted else tta.plain_weight(config)
        mixed = tta.mixed(plain, others, weight)
        return weight, tta.Account(
            views=tuple(tta.views(config)),
            plain=weight,
            fitted=fitted,
            valid_plain=self._score(valid, valid.rows, plain),
            valid_all=self._score(valid, valid.rows, mixed),
        )
