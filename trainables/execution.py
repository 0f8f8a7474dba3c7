"""How the same training step is carried out fastest on a device, and where that finding is kept."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock
from torch import nn

from trainables import atomic
from trainables.config import TrialConfig

FILE = "execution.json"
"""Beside the stores: what was found for every kind of trial. In a trial's folder: what it ran with."""
EVALUATION = {"cpu": 2, "cuda": 8}
"""Evaluation takes up to this many times the training batch at once: it keeps no activations."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Choices that change the seconds of a step, and its results by no more than rounding."""

    channels_last: bool = False
    bf16: bool = False
    """Autocast to bfloat16; float32 otherwise."""
    fused: bool = False
    """The optimizer's update as one kernel, where torch has it."""
    quick_convolutions: bool = False
    """Weight gradients by `trainables.convolutions`."""
    compiled: Literal["no", "default", "reduce-overhead"] = "no"
    """Mode of torch.compile; reduce-overhead captures CUDA graphs."""
    micro_batches: int = 1
    """A batch is taken in this many parts, whose gradients add up to the whole batch's."""
    evaluation_batch: int = 0
    """Images at once in evaluation; 0 leaves it to `EVALUATION`."""


PLAIN = Execution()


def candidates(config: TrialConfig, model: nn.Module, device: torch.device) -> list[Execution]:
    """Executions worth timing, the likeliest first; PLAIN is always one, in bf16 where that is asked for.

    `config.amp` fixes bf16 unless it is "auto": then it is tried where the hardware multiplies in it.
    """
    auto = [True, False] if has_bf16(device) else [False]
    found = [
        Execution(channels_last=layout, bf16=bf16, fused=True, quick_convolutions=quick)
        for bf16 in {"bf16": [True], "off": [False], "auto": auto}[config.amp]
        for layout in (True, False)
        for quick in (True, False)
        if (not quick or (layout and not bf16 and device.type == "cpu"))
        and (not layout or layout_is_safe(model, device))
    ]
    return [*found, dataclasses.replace(PLAIN, bf16=config.amp == "bf16")]


def compiled(execution: Execution, device: torch.device) -> list[Execution]:
    """The same execution compiled, and with CUDA graphs; nothing on a CPU, where compiling takes minutes."""
    if device.type == "cpu":
        return []
    return [
        dataclasses.replace(execution, compiled="default"),
        dataclasses.replace(execution, compiled="reduce-overhead"),
    ]


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bfloat16, without emulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def layout_is_safe(model: nn.Module, device: torch.device) -> bool:
    """Whether torch 2.14 trains this network in channels-last memory without corrupting it.

    On a CPU its weight gradient of a strided 1x1 convolution of fewer than 8 channels does, and the
    process crashes sooner or later (seen with mobileone_s0 under AVX2).
    """
    strided = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    return device.type != "cpu" or not any(m.kernel_size == (1, 1) and m.in_channels < 8 for m in strided)


class Findings:
    """Executions found before, by kind of trial, in one JSON file that many trials share.

    With `path` None nothing is kept. An unreadable file counts as empty, an unwritable one is left as it
    is: a finding saves time and decides nothing else. To force a choice, edit the file.
    """

    def __init__(self, path: Path | None, config: TrialConfig, device: torch.device) -> None:
        self.path = path
        self.key = kind_of_trial(config, device)

    def recall(self) -> Execution | None:
        with suppress(KeyError, TypeError):
            return Execution(**self._read()[self.key])
        return None

    def remember(self, execution: Execution) -> None:
        if self.path is None:
            return
        with suppress(OSError), FileLock(self.path.with_suffix(".lock")):
            found = {**self._read(), self.key: dataclasses.asdict(execution)}
            atomic.write(self.path, json.dumps(found, indent=1, sort_keys=True).encode())

    def _read(self) -> dict[str, Any]:
        if self.path is None:
            return {}
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def kind_of_trial(config: TrialConfig, device: torch.device) -> str:
    """What a finding holds for: trials of one kind differ in nothing that a step's time depends on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    options = ",".join(f"{key}={value}" for key, value in sorted(config.options.items()))
    parts = (
        f"{config.model}({options})",
        f"{config.image_size} px",
        f"batch {config.batch_size}" + (f" x {config.accumulate}" if config.accumulate > 1 else ""),
        config.optimizer,
        f"amp {config.amp}",
        f"{name}, {torch.get_num_threads()} threads",
        f"torch {torch.__version__}",
    )
    return "; ".join(parts)


def evaluation_batches(execution: Execution, config: TrialConfig, device: torch.device) -> Iterator[int]:
    """Sizes to try in turn, each after the one before it ran out of memory."""
    size = execution.evaluation_batch or EVALUATION.get(device.type, 2) * config.batch_size
    while size:
        yield size
        size //= 2
