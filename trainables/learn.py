"""What one trial holds while it trains, and one pass over the training part."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.augment import Augment, plain
from trainables.config import TrialConfig
from trainables.errors import DataError, OrchestratorError, UsageError
from trainables.families import load_family
from trainables.feed import Feed, num_batches
from trainables.optimize import create_optimizer, create_schedule
from trainables.store import Part
from trainables.task import Kind

EVALUATION_BATCH = 2
"""Evaluation takes this many times the training batch at once: it keeps no activations."""
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

    Raises DataError or UsageError for data or a configuration that cannot be trained.
    """

    def __init__(self, kind: Kind, part: Part, config: TrialConfig, cancelled: Callable[[], bool]) -> None:
        seed_everything(config.seed)
        self.kind, self.config, self.cancelled = kind, config, cancelled
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.autocast = choose_autocast(config, self.device)
        self.feed = Feed(part, self.device)
        self.num_batches = num_batches(len(self.feed), config.batch_size)
        model = load_family(config.model).build(config, kind.num_outputs)
        _require_batches(model, self.num_batches, config)
        self.layout = choose_layout(model, self.device)
        self.model = model.to(self.device).to(memory_format=self.layout)
        self.optimizer = create_optimizer(config, self.model)
        self.schedule = create_schedule(config, self.optimizer, updates_per_epoch=self.num_batches)
        self.order = torch.Generator().manual_seed(config.seed)
        self.augment = Augment(config, torch.Generator().manual_seed(config.seed + 1))

    def learn(self, epoch: int) -> Pass:
        """Epoch `epoch`, counted from 1, of training. Raises Interrupted and TrialDiverged."""
        self.model.train()
        losses: list[Tensor] = []
        answers: list[Tensor] = []
        order = list(self.feed.shuffled(self.config.batch_size, self.order))
        every = 1 if self.device.type == "cpu" else CHECK_EVERY
        for step, rows in enumerate(order, 1):
            if self.cancelled():
                raise Interrupted
            lr = self.lr
            loss, answer = self._update(rows)
            self.schedule.step_update((epoch - 1) * self.num_batches + step)
            losses.append(loss)
            answers.append(answer)
            if step % every == 0 or step == self.num_batches:
                _require_finite(losses, f"epoch {epoch}")
        sizes = torch.tensor([len(rows) for rows in order], device=self.device)
        mean = (torch.stack(losses) * sizes).sum() / sizes.sum()
        return Pass(loss=float(mean), lr=lr, rows=torch.cat(order), answers=torch.cat(answers))

    @property
    def lr(self) -> float:
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    @torch.inference_mode()
    def answers(self, feed: Feed, *, cancelled: Callable[[], bool] = go_on) -> Tensor:
        """Outputs float32 [n, num_outputs] of every image of a part, looked at plainly, in its order.

        The part may be empty. Raises Interrupted when `cancelled` says so between two batches.
        """
        self.model.eval()
        answers = [torch.zeros(0, self.kind.num_outputs, device=self.device)]
        for rows in feed.in_order(EVALUATION_BATCH * self.config.batch_size):
            if cancelled():
                raise Interrupted
            answers.append(self._forward(plain(feed.images(rows), self.config.image_size)))
        return torch.cat(answers)

    def _forward(self, x: Tensor) -> Tensor:
        with self.autocast:
            answer: Tensor = self.model(x.contiguous(memory_format=self.layout))
        return answer.float()

    def _update(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """One update on a batch; its loss and outputs [B, num_outputs], detached and float32."""
        answer = self._forward(self.augment(self.feed.images(rows)))
        loss = self.kind.loss(answer, self.feed.targets_of(rows), self.config)
        self.optimizer.zero_grad()
        loss.backward()
        if self.config.clip_grad:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_grad)
        self.optimizer.step()
        return loss.detach(), answer.detach()


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, numpy and random."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def choose_autocast(config: TrialConfig, device: torch.device) -> torch.autocast:
    """bf16 where it is asked for, or by "auto" where the hardware multiplies in bf16."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        native = bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    enabled = config.amp == "bf16" or (config.amp == "auto" and native)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def choose_layout(model: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, the faster one, unless torch 2.14 corrupts memory with it.

    On a CPU its weight gradient of a strided 1x1 convolution of fewer than 8 channels does, and the
    process crashes sooner or later (seen with mobileone_s0 under AVX2).
    """
    strided = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    if device.type == "cpu" and any(m.kernel_size == (1, 1) and m.in_channels < 8 for m in strided):
        return torch.contiguous_format
    return torch.channels_last


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
