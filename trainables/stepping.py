"""One training step, carried out as an Execution says, and the probe that chooses among them."""

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.config import TrialConfig
from trainables.convolutions import quicken
from trainables.execution import PLAIN, Execution, compiled
from trainables.mixing import Targets
from trainables.objective import Goal
from trainables.optimize import create_optimizer

SHARE = 0.01
"""Of a trial's updates, that the probe may take."""
WARM, TIMED = 1, 3
"""Steps of each candidate: first these, then those."""
MARGIN = 0.97
"""A candidate replaces plain float32 when its step takes less than this share of the time."""
COMPILING = 40.0
"""Seconds that torch.compile takes at least, for each of its modes."""


class Step:
    """A network and its optimizer, ready to update; the network is changed in place.

    More than `batch_size` images are taken in parts of no more than that, whose gradients accumulate. What
    does not fit into the device's memory is taken in twice as many parts from then on. Each part is weighted
    by its images, so the gradient is that of all of them up to rounding; batch normalisation alone sees the
    parts, of at least two images, and not the whole.
    """

    def __init__(self, model: nn.Module, objective: Goal, config: TrialConfig, execution: Execution) -> None:
        self.objective, self.config, self.execution = objective, config, execution
        self.layout = torch.channels_last if execution.channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.layout)
        if execution.quick_convolutions:
            quicken(self.model)
        device = next(model.parameters()).device
        self.autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=execution.bf16)
        self.optimizer = create_optimizer(config, self.model, fused=execution.fused)
        self._smallest = 2 if any(isinstance(m, _BatchNorm) for m in model.modules()) else 1
        mode = execution.compiled
        self._trained = self.model if mode == "no" else torch.compile(self.model, mode=mode)

    def __call__(self, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """One update; the loss and what the objective keeps of each image, detached and float32.

        Raises torch.OutOfMemoryError when not even the smallest part fits.
        """
        while True:
            try:
                loss, answer = self._gradients(x, targets)
                break
            except torch.OutOfMemoryError:
                most = len(x) // self._smallest
                if self._parts(x) >= most:
                    raise
            parts = min(2 * self._parts(x), most)
            self.execution = dataclasses.replace(self.execution, micro_batches=parts)
            self._free()
        if self.config.clip_grad:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_grad)
        self.optimizer.step()
        return loss, answer

    def evaluate(self, x: Tensor, model: nn.Module | None = None) -> Tensor:
        """Outputs float32 [B, num_outputs], by the network or another one in its place, uncompiled."""
        outputs: Tensor = self.forward(self.model if model is None else model, x)
        return outputs

    def _gradients(self, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        parts = self._parts(x)
        self.optimizer.zero_grad()
        losses, answers = [], []
        for some, theirs in zip(x.tensor_split(parts), targets.split(parts), strict=True):
            loss, answer = self.objective.reached(partial(self.forward, self._trained), some, theirs)
            loss = loss * (len(some) / len(x))
            loss.backward()
            losses.append(loss.detach())
            answers.append(answer.detach())
        if parts == 1:
            return losses[0], answers[0]
        return torch.stack(losses).sum(), torch.cat(answers)

    def forward(self, model: Callable[..., Any], x: Tensor, *more: Tensor) -> Any:
        """What a network in the place of the trained one answers to x [B, 3, H, W], as this step executes
        it; a tensor comes as float32."""
        with self.autocast:
            answer = model(x.contiguous(memory_format=self.layout), *more)
        if not isinstance(answer, Tensor):
            return answer
        # a CUDA graph writes its next output over this one
        return answer.float().clone() if self.execution.compiled == "reduce-overhead" else answer.float()

    def _parts(self, x: Tensor) -> int:
        asked = max(self.execution.micro_batches, -(-len(x) // self.config.batch_size))
        return max(1, min(asked, len(x) // self._smallest))

    def _free(self) -> None:
        self.optimizer.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def choose(
    step: Callable[[Execution], Step],
    tried: Sequence[Execution],
    batch: tuple[Tensor, Targets],
    *,
    updates: int,
) -> Execution:
    """The fastest execution on a batch, as far as a hundredth of the trial's `updates` pays for finding it.

    `step` makes a Step on a network of its own. Of `tried` the first are timed, and always the last, plain
    one; where not even two can be, the first is taken unseen. Random numbers are left as they were.
    """
    if not is_timed(tried, updates):
        return tried[0]
    device = batch[0].device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seconds = time_steps(step, [*tried[: min(affordable(updates), len(tried)) - 1], tried[-1]], batch)
        if not seconds:
            return tried[-1]
        best = fastest(seconds)
        if SHARE * updates * seconds[best] > COMPILING:
            seconds |= time_steps(step, compiled(best, device), batch)
    return fastest(seconds)


def affordable(updates: int) -> int:
    """How many executions a trial of this many updates can time."""
    return int(SHARE * updates / (WARM + TIMED))


def is_timed(tried: Sequence[Execution], updates: int) -> bool:
    return min(len(tried), affordable(updates)) > 1


def time_steps(
    step: Callable[[Execution], Step], tried: Sequence[Execution], batch: tuple[Tensor, Targets]
) -> dict[Execution, float]:
    """Seconds of the shortest of a few steps of each execution, taken in turns; what fails is left out.

    Keys carry the micro-batches that a step was found to need.
    """
    steps = [step(execution) for execution in tried]
    times: dict[Step, list[float]] = {each: [] for each in steps}
    for turn in range(WARM + TIMED):
        for each in list(times):
            try:
                taken = _seconds(each, batch)
            except RuntimeError:
                del times[each]
                continue
            if turn >= WARM:
                times[each].append(taken)
    return {each.execution: min(taken) for each, taken in times.items()}


def fastest(seconds: dict[Execution, float]) -> Execution:
    """The execution of the shortest step; plain float32 unless another one beats it by a margin."""
    plain = [execution for execution in seconds if dataclasses.replace(execution, micro_batches=1) == PLAIN]
    best = min(seconds, key=seconds.__getitem__)
    if plain and seconds[best] > MARGIN * seconds[plain[0]]:
        return plain[0]
    return best


def probing(model: nn.Module, objective: Goal, config: TrialConfig) -> Callable[[Execution], Step]:
    """Steps on copies of a network, which itself is not touched."""

    def step(execution: Execution) -> Step:
        return Step(copy.deepcopy(model).train(), objective, config, execution)

    return step


def _seconds(step: Step, batch: tuple[Tensor, Targets]) -> float:
    start = time.perf_counter()
    loss, _ = step(*batch)
    loss.item()  # waits for the device
    return time.perf_counter() - start
