"""A dry step: what a trial takes of its device, seen on a few pictures before the first trial runs.

python -m benchmarks.packing measures on a GPU what it says, and what comes of it.
"""

import dataclasses
import gc
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.config import TrialConfig
from trainables.errors import RuleViolation
from trainables.gathered import held, take
from trainables.store import Part, Store
from trainables.task import DenseKind, Head, Task, load_task

if TYPE_CHECKING:
    import torch

KEPT = 32
"""Pictures of a part that stand for all of them; they come again where a batch is larger."""
STEPS = 2
UPDATES = 2000
"""So long a trial pays for timing its executions (see `trainables.stepping`), whose memory counts as well."""
WATCHED = 4
"""Passes of `STEPS` updates in which the device is watched."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a trial takes of its device."""

    model: str
    batch_size: int
    image_size: int
    bytes: int
    """Most that it held at a time: on a GPU what torch reserved and the context of CUDA, with what other
    processes hold there; on a CPU the growth of the process. Without the data, of which it saw little."""
    busy: float
    """Share of its time in which the device computes, 0 to 1; 1 on a CPU."""
    device: str
    cards: tuple[int, ...]
    """Bytes of each GPU that the process sees."""


@dataclass(frozen=True, kw_only=True)
class Dry:
    """All that a dry step needs; plain values and small arrays, so that it crosses processes and hosts."""

    task: str
    """A `trainables.task.reference`."""
    source: bytes
    """Content of the task's file, where it is one."""
    space: str
    heads: tuple[Head, ...]
    store: Store
    """From `few`."""
    configs: tuple[TrialConfig, ...]
    threads: int

    def load(self) -> Task:
        """The task, on whatever host this is."""
        if not self.source or Path(self.task).exists():
            return load_task(self.task).under(self.space).with_heads(self.heads)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(self.task).name
            file.write_bytes(self.source)
            return load_task(str(file)).under(self.space).with_heads(self.heads)


def few(store: Store) -> Store:
    """A store in memory of `KEPT` pictures each, spread over train and valid, with nothing in other parts."""
    parts = {
        name: _some(part, KEPT if name in ("train", "valid") else 0) for name, part in store.parts.items()
    }
    return Store(
        folder=Path(),
        side=store.side,
        fingerprint=store.fingerprint,
        quarantined=(),
        parts=parts,
        heads=store.heads,
    )


def footprints(dry: Dry) -> list[Footprint]:
    """Of the largest of the configurations, and last of a middling one.

    Meant for a process of its own: memory that this one held before would hide some. Raises what a trial
    raises that fails in its first step, and RuleViolation where all cost more than the rules allow.
    """
    import torch

    torch.set_num_threads(dry.threads)
    task = dry.load()
    asked = chosen(task, dry.configs)
    found = {id(config): footprint(task, dry.store, config) for config in {id(c): c for c in asked}.values()}
    return [found[id(config)] for config in asked]


def chosen(task: Task, configs: Sequence[TrialConfig]) -> list[TrialConfig]:
    """The configurations that may take most memory, and last a middling one.

    These are the one with most weights, with most multiply-accumulates a batch, and with most pixels a
    batch, for what a network keeps for its backward pass grows with either. The middling one is it by its
    multiply-accumulates a batch, and may be one of these. Raises RuleViolation where none may be run.
    """
    costs, refused = _costs(task, configs)
    if not costs:
        raise refused[0]
    sides: list[Callable[[int], float]] = [
        lambda i: costs[i][0],
        lambda i: costs[i][1] * configs[i].batch_size,
        lambda i: configs[i].image_size ** 2 * configs[i].batch_size,
    ]
    largest = dict.fromkeys(max(costs, key=side) for side in sides)
    ordered = sorted(costs, key=sides[1])
    return [configs[i] for i in (*largest, ordered[len(ordered) // 2])]


def footprint(task: Task, store: Store, config: TrialConfig) -> Footprint:
    """Train `STEPS` batches twice, evaluate one, and see what that took; `store` is of `few`."""
    import torch

    from trainables.execution import EVALUATION
    from trainables.trainers import trainer_for

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = _as_measured(config)
    size = config.batch_size * config.accumulate
    parts = {**store.parts, "train": _repeated(store.parts["train"], STEPS * size)}
    if not isinstance(task.kind, DenseKind):
        rows = EVALUATION[device.type] * config.batch_size
        parts["valid"] = _repeated(store.parts["valid"], rows)
    before = _held_before(device)
    trainer = trainer_for(task, parts, config)
    trainer.learn(1)
    trainer.validate()
    held_most = max(0, _held_most(device) - before)
    busy = _busy(lambda: [trainer.learn(2 + i) for i in range(WATCHED)], device)
    return Footprint(
        model=config.model,
        batch_size=config.batch_size,
        image_size=config.image_size,
        bytes=held_most,
        busy=busy,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        cards=cards(),
    )


def cards() -> tuple[int, ...]:
    """Bytes of each GPU that this process sees."""
    import torch

    count = torch.cuda.device_count()
    return tuple(int(torch.cuda.get_device_properties(i).total_memory) for i in range(count))


def _costs(
    task: Task, configs: Sequence[TrialConfig]
) -> tuple[dict[int, tuple[float, int]], list[RuleViolation]]:
    """Megabytes and multiply-accumulates an image of the configurations that the rules allow."""
    import torch

    from trainables.cost import Cost, cost_of
    from trainables.families import load_family

    known: dict[Any, Cost] = {}
    found, refused = {}, []
    for i, config in enumerate(configs):
        plain = dataclasses.replace(config, pretrained=False, weights="")
        key = (config.model, config.image_size, task.kind.num_outputs(config), repr(config.options))
        if key not in known:
            with torch.device("meta"):
                model = load_family(config.model).build(plain, task.kind.num_outputs(config))
            known[key] = cost_of(model, config.image_size)
        try:
            task.rules.check_cost(known[key])
            found[i] = known[key].megabytes, known[key].macs
        except RuleViolation as error:
            refused.append(error)
    return found, refused


def _as_measured(config: TrialConfig) -> TrialConfig:
    """The same work a step, from the first one on: every layer is trained, at the full size."""
    return dataclasses.replace(
        config,
        epochs=math.ceil(UPDATES / (STEPS * config.accumulate)),
        pretrained=False,
        weights="",
        lr=1e-6,
        warmup_epochs=0.0,
        head_epochs=0,
        start_size=1.0,
        folds=0,
        patches=1,
        tta="none",
        patience=0,
    )


def _some(part: Part, count: int) -> Part:
    rows = np.unique(np.linspace(0, len(part.ids) - 1, min(count, len(part.ids))).astype(np.int64))
    images = part.images[:0]
    if len(rows):
        squares = isinstance(part.images, np.ndarray)
        images = part.images[rows] if squares else tuple(np.array(part.images[row]) for row in rows)
    targets = held(take(part.targets, rows)) if part.targets is not None and len(rows) else None
    return Part(name=part.name, ids=tuple(part.ids[row] for row in rows), targets=targets, images=images)


def _repeated(part: Part, count: int) -> Part:
    return dataclasses.replace(part, rows=np.resize(np.arange(len(part.ids)), count))


def _held_before(device: "torch.device") -> int:
    """What does not count: on a CPU the process as it is."""
    import torch

    gc.collect()
    if device.type == "cpu":
        with suppress(OSError):  # forgets what was held at most, where Linux can
            Path("/proc/self/clear_refs").write_text("5")
        return _resident("VmRSS")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return 0


def _held_most(device: "torch.device") -> int:
    """The context's share is what is missing on the card beside the memory that torch reserved."""
    import torch

    if device.type == "cpu":
        return _resident("VmHWM")
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    beside = total - free - torch.cuda.memory_reserved(device)
    return int(torch.cuda.max_memory_reserved(device) + beside)


def _resident(line: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at most. Where Linux does not tell, at most."""
    import resource
    import sys

    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    found = [text.split()[1] for text in status.read_text().splitlines() if text.startswith(f"{line}:")]
    return int(found[0]) * 1024


def _busy(work: Callable[[], object], device: "torch.device") -> float:
    """Time in kernels and copies over wall time; 1 too where a container lets nobody watch."""
    if device.type == "cpu":
        return 1.0
    import torch
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as found:
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        wall = time.perf_counter() - start
    spent = sum(event.self_device_time_total for event in found.key_averages()) / 1e6
    return float(min(1.0, spent / wall)) or 1.0
