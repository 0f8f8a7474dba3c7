"""A trial of a dense kind: pictures of their own sizes, and answers that lie in them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.config import TrialConfig, Views
from trainables.execution import Execution
from trainables.feed import num_batches
from trainables.mixing import Targets
from trainables.objective import DenseObjective
from trainables.predictions import Predictions
from trainables.store import Part
from trainables.task import DenseKind, Task
from trainables.trainers import Learned, Validated
from trainables.training import Interrupted, Training, go_on

SLICE = 32
"""Pictures that the kind gets at once, so that a trial can be interrupted between two slices."""


class DenseTrainer:
    """A network that learns from views of the training pictures, as its kind makes them."""

    def __init__(
        self,
        task: Task,
        parts: Mapping[str, Part],
        config: TrialConfig,
        *,
        cancelled: Callable[[], bool] = go_on,
        findings: Path | None = None,
        executed: Execution | None = None,
    ) -> None:
        assert isinstance(task.kind, DenseKind)
        self.task, self.kind, self.parts, self.config = task, task.kind, parts, config
        self.train = parts["train"]
        self.learner = Training(
            config,
            num_outputs=self.kind.num_outputs(config),
            num_rows=len(self.kind.order(self.train, config, np.random.default_rng(config.seed))),
            cancelled=cancelled,
            findings=findings,
            executed=executed,
            rules=task.rules,
        )
        self.learner.begin(DenseObjective(self.kind, config), self._first_batch)

    @property
    def how(self) -> Mapping[str, Any]:
        return {"pictures": "of their own size"}

    def learn(self, epoch: int) -> Learned:
        order = self.kind.order(self.train, self.config, self.learner.rng)
        size = self.learner.update_size
        count = num_batches(len(order), size)
        batches = [order[i * size : (i + 1) * size].tolist() for i in range(count)]
        shown = self.learner.run(epoch, self._views(batches))
        return Learned(loss=shown.loss, lr=shown.lr, images=sum(map(len, batches)), metric=lambda: None)

    def validate(self) -> Validated:
        plain = dataclasses.replace(self.config, tta="none")
        found = self._answers(self.parts["valid"], plain, self.learner.cancelled)
        return Validated(loss=None, metric=self._score(found), answers=found)

    def predict(self, answers: Predictions | None, folder: Path, *, views: Views) -> None:
        config = dataclasses.replace(self.config, tta=views)
        for name in ("valid", "holdout", "test"):
            if name == "valid" and views == "none" and answers is not None:
                found = answers
            else:
                found = self._answers(self.parts[name], config, go_on)
            found.save(folder / f"{name}.npz")

    def _views(self, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Targets]]:
        for rows in batches:
            views, targets = self.kind.batch(self.train, rows, self.config, self.learner.rng)
            yield (
                views.to(self.learner.device, non_blocking=True),
                Targets(first=targets.to(self.learner.device, non_blocking=True)),
            )

    def _first_batch(self) -> tuple[Tensor, Targets]:
        """As training sees them; the random numbers of the epochs are left alone."""
        rng = np.random.default_rng(self.config.seed)
        rows = self.kind.order(self.train, self.config, rng)[: self.config.batch_size].tolist()
        views, targets = self.kind.batch(self.train, rows, self.config, rng)
        return views.to(self.learner.device), Targets(first=targets.to(self.learner.device))

    @torch.inference_mode()
    def _answers(self, part: Part, config: TrialConfig, cancelled: Callable[[], bool]) -> Predictions:
        """What the network says of each picture of a part, which may be empty. Raises Interrupted."""
        network = self.learner.evaluated.eval()
        forward = partial(self.learner.step.forward, network)
        rows = part.places.tolist()
        found: list[Any] = []
        for start in range(0, len(rows), SLICE):
            if cancelled():
                raise Interrupted
            pictures = [part.images[row] for row in rows[start : start + SLICE]]
            found += self.kind.answer(forward, pictures, config, self.learner.device)
        return self.kind.gather([part.ids[row] for row in rows], found)

    def _score(self, found: Predictions) -> float:
        part = self.parts["valid"]
        return self.task.score_of_trial(found, part.targets.take(part.places))
