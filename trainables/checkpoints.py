"""What a trial needs to go on after its process was killed: written after every epoch, two deep, checked.

A checkpoint is one file: the SHA-256 of the rest in hexadecimal and a newline, then a safetensors block. It
is written beside the training, which waits only while its state is copied.
"""

import hashlib
import json
import random
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from trainables import atomic

if TYPE_CHECKING:
    from trainables.training import Training

KEPT = 2
DIGEST = 64
"""Characters of the checksum, with which a file begins."""
ABOUT = "about"
"""The tensor that holds what is no tensor, as JSON."""
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Their names in safetensors."""


@dataclass(frozen=True, kw_only=True)
class State:
    """A training after an epoch. `about` is plain JSON."""

    epoch: int
    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix.`, without it."""
        return {
            n.removeprefix(f"{prefix}."): t for n, t in self.tensors.items() if n.startswith(f"{prefix}.")
        }


class Checkpoints:
    """The last `KEPT` checkpoints of a trial, in a folder that appears with the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing: threading.Thread | None = None
        self._failed: OSError | None = None

    def save(self, state: State) -> None:
        """Write a checkpoint in the place of the oldest; whole, or not at all. Raises OSError."""
        self.folder.mkdir(exist_ok=True)
        about = json.dumps({"epoch": state.epoch, **state.about}).encode()
        block = _block({**state.tensors, ABOUT: torch.frombuffer(bytearray(about), dtype=torch.uint8)})
        digest = hashlib.sha256()
        for part in block:
            digest.update(part)
        atomic.write(self._path(state.epoch), digest.hexdigest().encode() + b"\n", *block)

    def save_behind(self, state: State) -> None:
        """As `save`, in a thread; the tensors must stay as they are until `settle`, which also waits for the
        checkpoint before. Raises what that met with."""
        self.settle()
        self._writing = threading.Thread(target=self._save_behind, args=(state,), name="checkpoint")
        self._writing.start()

    def _save_behind(self, state: State) -> None:
        try:
            self.save(state)
        except OSError as error:
            self._failed = error

    def settle(self) -> None:
        """Wait until the latest checkpoint is on the disk. Raises the OSError that kept it from that."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def latest(self) -> State | None:
        """The newest checkpoint that is whole; None where there is none. Damaged ones are passed over."""
        found = [state for state in map(_read, self.folder.glob("*.checkpoint")) if state is not None]
        return max(found, key=lambda state: state.epoch, default=None)

    def clear(self) -> None:
        """Remove them: the trial has ended, and what it leaves is in its other files."""
        for path in self.folder.glob("*.checkpoint"):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _path(self, epoch: int) -> Path:
        return self.folder / f"{epoch % KEPT}.checkpoint"


def _block(tensors: Mapping[str, Tensor]) -> list[bytes | memoryview]:
    """A safetensors block in parts: the header, and the memory of each tensor, of which nothing is copied.

    The library's own would copy all of it three times, while no other thread can run.
    """
    header: dict[str, Any] = {}
    parts: list[bytes | memoryview] = []
    end = 0
    for name, tensor in tensors.items():
        part = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
        place = [end, end := end + len(part)]
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
        parts.append(part)
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)
    return [len(said).to_bytes(8, "little") + said, *parts]


def _read(path: Path) -> State | None:
    with suppress(OSError, ValueError, KeyError):
        content = path.read_bytes()
        digest, block = content[:DIGEST], content[DIGEST + 1 :]
        if hashlib.sha256(block).hexdigest().encode() == digest:
            tensors = load(block)
            about = json.loads(bytes(tensors.pop(ABOUT).tolist()))
            return State(epoch=about.pop("epoch"), tensors=tensors, about=about)
    return None


def captured(
    learner: "Training", place: dict[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that changes in training, copied to the CPU: weights, averages, optimizer, random numbers.

    It takes the `place` of what was captured before, where that is given: fresh memory takes far longer.
    """
    tensors = {f"model.{name}": value for name, value in learner.model.state_dict().items()}
    about: dict[str, Any] = {}
    if learner.average is not None:
        tensors |= {f"average.{n}": v for n, v in learner.average.model.state_dict().items()}
        about["averaged"] = learner.average.updates
    optimizer = learner.step.optimizer.state_dict()
    about["groups"], about["numbers"] = optimizer["param_groups"], {}
    for index, values in optimizer["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                about["numbers"].setdefault(str(index), {})[name] = value
    drawn, told = _random_state(learner)
    place = {} if place is None else place
    for name, value in (tensors | drawn).items():
        if name in place:
            place[name].copy_(value)
        else:
            place[name] = value.detach().to("cpu", copy=True)
    return place, about | told


def restore(learner: "Training", state: State) -> None:
    """Bring a learner that was just made to where `captured` found another of the same configuration."""
    learner.model.load_state_dict(state.under("model"))
    if learner.average is not None:
        learner.average.model.load_state_dict(state.under("average"))
        learner.average.updates = int(state.about["averaged"])
    _restore_optimizer(learner.step.optimizer, state)
    _set_random_state(learner, state)


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    values: dict[int, dict[str, Any]] = {int(i): dict(n) for i, n in state.about["numbers"].items()}
    for name, value in state.under("optimizer").items():
        index, _, key = name.partition(".")
        if value.shape == params[int(index)].shape:
            # a fused update walks over the memory: moments must lie there as the weights do
            value = torch.empty_like(params[int(index)], device="cpu", requires_grad=False).copy_(value)
        values.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": values, "param_groups": state.about["groups"]})


def _random_state(learner: "Training") -> tuple[dict[str, Tensor], dict[str, Any]]:
    name, keys, place, has_gauss, gauss = np.random.get_state()
    version, internal, cached = random.getstate()
    tensors = {
        "random.torch": torch.get_rng_state(),
        "random.numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "random.python": torch.tensor(internal),
        **{f"random.of.{n}": g.get_state() for n, g in learner.generators.items()},
    }
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state(learner.device)
    about: dict[str, Any] = {"numpy": [name, place, has_gauss, gauss], "python": [version, cached]}
    return tensors, about | {"rng": learner.rng.bit_generator.state}


def _set_random_state(learner: "Training", state: State) -> None:
    name, *rest = state.about["numpy"]
    np.random.set_state((name, state.tensors["random.numpy"].numpy().astype(np.uint32), *rest))
    version, cached = state.about["python"]
    random.setstate((version, tuple(state.tensors["random.python"].tolist()), cached))
    torch.set_rng_state(state.tensors["random.torch"])
    for key, generator in learner.generators.items():
        generator.set_state(state.tensors[f"random.of.{key}"])
    if "random.cuda" in state.tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(state.tensors["random.cuda"], learner.device)
    learner.rng.bit_generator.state = state.about["rng"]
