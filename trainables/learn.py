"""What one trial holds while it trains, and one pass over the training part."""

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables import pretrained
from trainables.augment import Augment
from trainables.averaging import Average
from trainables.config import TrialConfig
from trainables.cost import cost_of
from trainables.errors import DataError, OrchestratorError, UsageError
from trainables.execution import Execution, Findings, candidates, evaluation_batches
from trainables.families import load_family
from trainables.feed import Feed, num_batches
from trainables.mixing import Mixer, Targets
from trainables.objective import Objective
from trainables.optimize import create_schedule
from trainables.sampling import Sampler
from trainables.staged import HeadFirst, require_sizes, size_in
from trainables.stepping import Step, choose, is_timed, probing
from trainables.store import Part
from trainables.task import Kind, Rules
from trainables.tta import View, plain_view

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
class Pass:
    """What one pass over the training part leaves behind."""

    loss: float
    """Mean over the images, as the network was while it learned from them."""
    lr: float
    """Of the last update."""
    rows: Tensor
    """int64 [n] on the CPU: the images in the order in which they were seen."""
    answers: Tensor
    """float32 [n, num_outputs] of these images as they were augmented."""


class Learner:
    """A network with its optimizer, schedule, training data and random numbers. Seeds the global generators.

    How its steps are executed is recalled from the file `findings`, or else probed and kept there.
    Raises DataError or UsageError for data or a configuration that cannot be trained, and RuleViolation
    for a network that costs more or less than the `rules` allow.
    """

    def __init__(
        self,
        kind: Kind,
        part: Part,
        config: TrialConfig,
        *,
        cancelled: Callable[[], bool] = go_on,
        findings: Path | None = None,
        rules: Rules | None = None,
    ) -> None:
        pretrained.check(config)
        seed_everything(config.seed)
        self.kind, self.config, self.cancelled = kind, config, cancelled
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.feed = Feed(part, self.device)
        self.num_updates = num_batches(len(self.feed), self.update_size)
        self.num_outputs = kind.num_outputs(config)
        self.model = load_family(config.model).build(config, self.num_outputs)
        _require_batches(self.model, self.num_updates, config)
        self.model.to(self.device)
        self.cost = cost_of(self.model, config.image_size)
        if rules is not None:
            rules.check_cost(self.cost)
        if config.start_size < 1:
            require_sizes(self.model, config)
        self.findings = Findings(findings, config, self.device)
        targets = self.feed.targets_of(self.feed.rows)
        self.objective = Objective(kind, config, targets)
        self.sampler = Sampler(config, self.feed.rows, targets.cpu())
        self.mixer = Mixer(config, torch.Generator().manual_seed(config.seed + 2))
        self.step = Step(self.model, self.objective, config, self.findings.recall() or self._probe())
        self.schedule = create_schedule(config, self.step.optimizer, updates_per_epoch=self.num_updates)
        self.head_first = HeadFirst(self.model, config)
        self.average = Average(self.model, config.ema_decay) if config.ema_decay else None
        self.order = torch.Generator().manual_seed(config.seed)
        self.draws = torch.Generator().manual_seed(config.seed + 1)
        self.augment, self.size = Augment(config, self.draws), config.image_size

    @property
    def update_size(self) -> int:
        """Images of one update, which lie on the device together; their activations do so by batches."""
        return self.config.batch_size * self.config.accumulate

    @property
    def evaluated(self) -> nn.Module:
        """What is validated and kept: the network, or the average of its weights."""
        return self.model if self.average is None else self.average.model

    def learn(self, epoch: int) -> Pass:
        """Epoch `epoch`, counted from 1, of training. Raises Interrupted and TrialDiverged."""
        self.model.train()
        self.head_first.begin(epoch)
        self._resize(size_in(self.config, epoch))
        losses: list[Tensor] = []
        answers: list[Tensor] = []
        seen: list[Tensor] = []
        every = 1 if self.device.type == "cpu" else CHECK_EVERY
        shown = self.feed.batches(self.sampler.epoch(self.order), self.update_size)
        for step, rows in enumerate(shown, 1):
            if self.cancelled():
                raise Interrupted
            lr = self.lr
            loss, answer = self._update(rows)
            self.schedule.step_update((epoch - 1) * self.num_updates + step)
            losses.append(loss)
            answers.append(answer)
            seen.append(rows)
            if step % every == 0 or step == self.num_updates:
                _require_finite(losses, f"epoch {epoch}")
        sizes = torch.tensor([len(rows) for rows in seen], device=self.device)
        mean = (torch.stack(losses) * sizes).sum() / sizes.sum()
        return Pass(loss=float(mean), lr=lr, rows=torch.cat(seen), answers=torch.cat(answers))

    @property
    def lr(self) -> float:
        return float(max(group["lr"] for group in self.step.optimizer.param_groups))

    @torch.inference_mode()
    def answers(
        self, feed: Feed, *, view: View = plain_view, cancelled: Callable[[], bool] = go_on
    ) -> Tensor:
        """Outputs float32 [n, num_outputs] of a view of every image of a part, in its order.

        The part may be empty. A batch that does not fit into memory is halved, and that is remembered.
        Raises Interrupted when `cancelled` says so between two batches.
        """
        self.evaluated.eval()
        for size in evaluation_batches(self.step.execution, self.config, self.device):
            try:
                return self._answers(feed, size, view, cancelled)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._amend(dataclasses.replace(self.step.execution, evaluation_batch=size // 2))
        raise AssertionError("There is a size to try.")

    def _answers(self, feed: Feed, size: int, view: View, cancelled: Callable[[], bool]) -> Tensor:
        answers = [torch.zeros(0, self.num_outputs, device=self.device)]
        for rows in feed.in_order(size):
            if cancelled():
                raise Interrupted
            views = view(feed, rows, self.config.image_size)
            answers.append(self.step.evaluate(views, None if self.average is None else self.average.model))
        return torch.cat(answers)

    def _update(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """One update on a batch; its loss and outputs [B, num_outputs], detached and float32."""
        before = self.step.execution
        views = self.augment.batch(self.feed, rows)
        result = self.step(*self.mixer(views, self.feed.targets_of(rows)))
        if self.step.execution != before:
            self._amend(self.step.execution)
        if self.average is not None:
            self.average.update()
        return result

    def _resize(self, size: int) -> None:
        """Let training pictures have `size` px from now on; the random numbers go on."""
        if size != self.size:
            config = dataclasses.replace(self.config, image_size=size)
            self.augment, self.size = Augment(config, self.draws, path=self.augment.path), size

    def _amend(self, execution: Execution) -> None:
        """Go on with what fits into memory, and let trials of this kind begin with it."""
        self.step.execution = execution
        self.findings.remember(execution)

    def _probe(self) -> Execution:
        """The fastest execution for this trial; kept where it was timed."""
        rows = self.feed.rows[: self.config.batch_size]
        views = self.feed.plain(rows, self.config.image_size)
        batch = views, Targets(first=self.feed.targets_of(rows))
        updates = self.config.epochs * self.num_updates * self.config.accumulate
        tried = candidates(self.config, self.model, self.device)
        found = choose(probing(self.model, self.objective, self.config), tried, batch, updates=updates)
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
