"""Optimizers and learning-rate schedules, by timm."""

import math
from typing import Any

from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from trainables.config import TrialConfig

WARMUP_START = 0.01
"""Warm-up rises from this share of the peak learning rate."""
STEP_RATE = 0.1
"""The step schedule multiplies by this after each third of the epochs that follow the warm-up."""
BETA2 = {"adam": 0.999, "adamw": 0.999, "nadamw": 0.999, "lion": 0.99}
FUSED = ("sgd", "adam", "adamw")


def create_optimizer(config: TrialConfig, model: nn.Module, *, fused: bool = True) -> Optimizer:
    """The configuration's optimizer; biases, gains and norms (tensors of one axis) do not decay.

    SGD is Nesterov's. Adam's weight decay is L2, AdamW's is decoupled. `fused` where torch has it so.
    With `layer_decay` d the rate of the layers n groups below the head is lr d^n (as in BEiT, Bao et al.,
    2022); the groups are timm's, mostly blocks.
    """
    extra: dict[str, Any] = {"fused": True} if fused and config.optimizer in FUSED else {}
    if config.optimizer in BETA2:
        extra["betas"] = (config.momentum, BETA2[config.optimizer])
    if config.layer_decay < 1:
        extra["layer_decay"] = config.layer_decay
    optimizer: Optimizer = create_optimizer_v2(
        model,
        opt=config.optimizer,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        **extra,
    )
    return optimizer


def create_schedule(config: TrialConfig, optimizer: Optimizer, *, updates_per_epoch: int) -> Scheduler:
    """A schedule to be asked for its next rate with `step_update(updates so far)`.

    Cosine and step follow a linear warm-up of `warmup_epochs`, at most half of the epochs. One-cycle
    rises for the warm-up, or where none is asked for 30 % of the updates.
    """
    warmup_epochs = min(config.warmup_epochs, config.epochs / 2)
    if config.schedule == "onecycle":
        total = config.epochs * updates_per_epoch
        rise = warmup_epochs * updates_per_epoch or OneCycle.RISE * total - 1
        return OneCycle(optimizer, last=total - 1, rise=rise)
    scheduler: Scheduler
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=config.schedule,
        num_epochs=config.epochs - warmup_epochs,
        decay_epochs=(config.epochs - warmup_epochs) / 3,
        decay_rate=STEP_RATE,
        warmup_epochs=warmup_epochs,
        warmup_prefix=True,
        warmup_lr=config.lr * WARMUP_START,
        step_on_epochs=False,
        updates_per_epoch=updates_per_epoch,
    )
    if config.layer_decay < 1:
        scheduler.step_update(0)  # timm scales the layers' rates at the first call only
    return scheduler


class OneCycle(Scheduler):
    """The 1cycle policy (Smith and Topin, 2018) with cosine ramps, in timm's interface.

    From peak / 25 up to the peak at update `rise`, then down to peak / 10,000 at update `last`.
    """

    RISE = 0.3
    START = 1 / 25
    END = 1e-4

    def __init__(self, optimizer: Optimizer, *, last: int, rise: float) -> None:
        super().__init__(optimizer, param_group_field="lr", t_in_epochs=False)
        self.last = last
        self.rise = rise
        self.step_update(0)

    def _get_lr(self, t: int) -> list[float]:
        if t < self.rise:
            share = _ramp(self.START, 1.0, t / self.rise)
        else:
            share = _ramp(1.0, self.END, min(1.0, (t - self.rise) / max(1.0, self.last - self.rise)))
        return [peak * share for peak in self.base_values]


def _ramp(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
