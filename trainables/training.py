"""A network on its way through the epochs: built, stepped, scheduled and averaged, whatever it learns."""

import dataclasses
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables import pretrained
from trainables.averaging import Average
from trainables.config import TrialConfig
from trainables.cost import cost_of
from trainables.errors import DataError, OrchestratorError, UsageError
from trainables.execution import Execution, Findings, candidates, evaluation_batches
from trainables.families import load_family
from trainables.feed import num_batches
from trainables.mixing import Targets
from trainables.objective import Goal
from trainables.optimize import create_schedule
from trainables.staged import HeadFirst
from trainables.stepping import Step, choose, is_timed, probing
from trainables.task import Rules

CHECK_EVERY = 16
"""Updates between two looks at the loss on a GPU, where each look waits for the device."""


class TrialDiverged(OrchestratorError):
    """A loss or a score is not a finite number."""


class Interrupted(Exception):
    """The caller cancelled the trial in the middle of an epoch."""


def go_on() -> bool:
    """The answer to `cancelled` where nobody cancels."""
    return False


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the updates of an epoch leave behind."""

    losses: tuple[Tensor, ...]
    """Of each update, as the network was while it learned."""
    kept: tuple[Tensor, ...]
    """Of each update what the objective kept of its images, [B, ...] each."""
    lr: float
    """Of the last update."""

    @property
    def loss(self) -> float:
        """Mean over the images."""
        sizes = torch.tensor([len(kept) for kept in self.kept], device=self.losses[0].device)
        return float((torch.stack(self.losses) * sizes).sum() / sizes.sum())


class Training:
    """A network with its optimizer, schedule and averages; `begin` completes it.

    How its steps are executed is given by `executed`, recalled from the file `findings`, or else probed and
    kept there. Seeds the global generators. Raises DataError or UsageError for data or a configuration that
    cannot be trained, and RuleViolation for a network that costs more or less than the `rules` allow.
    """

    step: Step
    average: Average | None
    generators: dict[str, torch.Generator]
    """Where the random numbers of the epochs come from, on the CPU; so does `rng`."""
    rng: np.random.Generator

    def __init__(
        self,
        config: TrialConfig,
        *,
        num_outputs: int,
        num_rows: int,
        cancelled: Callable[[], bool] = go_on,
        findings: Path | None = None,
        executed: Execution | None = None,
        rules: Rules | None = None,
    ) -> None:
        pretrained.check(config)
        seed_everything(config.seed)
        self.config, self.cancelled, self.num_outputs = config, cancelled, num_outputs
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.num_updates = num_batches(num_rows, self.update_size)
        self.model = load_family(config.model).build(config, num_outputs)
        _require_batches(self.model, self.num_updates, config)
        self.model.to(self.device)
        self.cost = cost_of(self.model, config.image_size)
        if rules is not None:
            rules.check_cost(self.cost)
        self.findings = Findings(findings, config, self.device)
        self.executed = executed
        self.generators, self.rng = {}, np.random.default_rng(config.seed)

    def begin(self, goal: Goal, batch: Callable[[], tuple[Tensor, Targets]]) -> None:
        """Make the step, by a probe on a `batch` where no earlier trial left a finding."""
        execution = self.executed or self.findings.recall() or self._probe(goal, batch())
        self.step = Step(self.model, goal, self.config, execution)
        self.schedule = create_schedule(self.config, self.step.optimizer, updates_per_epoch=self.num_updates)
        self.head_first = HeadFirst(self.model, self.config)
        self.average = Average(self.model, self.config.ema_decay) if self.config.ema_decay else None

    @property
    def update_size(self) -> int:
        """Images of one update, which lie on the device together; their activations do so by batches."""
        return self.config.batch_size * self.config.accumulate

    @property
    def evaluated(self) -> nn.Module:
        """What is validated and kept: the network, or the average of its weights."""
        return self.model if self.average is None else self.average.model

    @property
    def lr(self) -> float:
        return float(max(group["lr"] for group in self.step.optimizer.param_groups))

    def run(self, epoch: int, batches: Iterable[tuple[Tensor, Targets]]) -> Shown:
        """The updates of epoch `epoch`, counted from 1. Raises Interrupted and TrialDiverged."""
        self.model.train()
        self.head_first.begin(epoch)
        losses: list[Tensor] = []
        kept: list[Tensor] = []
        lr = self.lr
        every = 1 if self.device.type == "cpu" else CHECK_EVERY
        for step, (views, targets) in enumerate(batches, 1):
            if self.cancelled():
                raise Interrupted
            lr = self.lr
            loss, answer = self._update(views, targets)
            self.schedule.step_update((epoch - 1) * self.num_updates + step)
            losses.append(loss)
            kept.append(answer)
            if step % every == 0 or step == self.num_updates:
                _require_finite(losses, f"epoch {epoch}")
        return Shown(losses=tuple(losses), kept=tuple(kept), lr=lr)

    def fitting(self, evaluate: Callable[[int], Any]) -> Any:
        """`evaluate` of as many images at once as fit into memory, halved as often as they do not.

        What fits is remembered.
        """
        for size in evaluation_batches(self.step.execution, self.config, self.device):
            try:
                return evaluate(size)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._amend(dataclasses.replace(self.step.execution, evaluation_batch=size // 2))
        raise AssertionError("There is a size to try.")

    def _update(self, views: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        before = self.step.execution
        result = self.step(views, targets)
        if self.step.execution != before:
            self._amend(self.step.execution)
        if self.average is not None:
            self.average.update()
        return result

    def _amend(self, execution: Execution) -> None:
        """Go on with what fits into memory, and let trials of this kind begin with it."""
        self.step.execution = execution
        self.findings.remember(execution)

    def _probe(self, goal: Goal, batch: tuple[Tensor, Targets]) -> Execution:
        """The fastest execution for this trial; kept where it was timed."""
        updates = self.config.epochs * self.num_updates * self.config.accumulate
        tried = candidates(self.config, self.model, self.device)
        found = choose(probing(self.model, goal, self.config), tried, batch, updates=updates)
        if is_timed(tried, updates):
            self.findings.remember(found)
        return found


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, numpy and random."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _require_batches(model: nn.Module, batches: int, config: TrialConfig) -> None:
    if not batches:
        raise DataError(
            "One training image alone cannot be learned from.", fix="Give at least two, or batch_size=1."
        )
    if config.batch_size == 1 and any(isinstance(m, _BatchNorm) for m in model.modules()):
        raise UsageError(
            f"{config.model} normalises over the batch: batch_size=1 cannot train it.",
            fix="Set batch_size to 2 or more, or choose another normalisation.",
        )


def _require_finite(losses: list[Tensor], where: str) -> None:
    broken = (~torch.stack(losses[-CHECK_EVERY:]).isfinite()).nonzero()
    if len(broken):
        step = max(0, len(losses) - CHECK_EVERY) + int(broken[0]) + 1
        raise TrialDiverged(
            f"Diverged in {where}, step {step}: the training loss is {float(losses[step - 1])}.",
            fix="Lower lr, or set clip_grad and warmup_epochs.",
        )
