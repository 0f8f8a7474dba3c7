"""What a competition says: its data, its rules, its score and the answer it wants. Free of torch."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from trainables.errors import RuleViolation, UsageError, unknown

if TYPE_CHECKING:
    import numpy as np
    import torch

    from trainables.config import TrialConfig
    from trainables.predictions import Dense

PARTS = ("train", "valid", "holdout", "test")
Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, kw_only=True)
class Head:
    """One question asked of each image; `classes` are the labels as the answer file spells them."""

    name: str
    classes: tuple[str, ...]
    weight: float = 1.0

    @property
    def num_classes(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image. `target` holds a class index a head, or None where the organisers keep the answer."""

    id: str
    path: Path
    target: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Who is in which part. An empty `valid` or `holdout` is cut by `trainables.splits.complete`.

    `notes` are sentences for the user: what was found, cut or assumed. `sample_submission` is the
    organisers' example file where the data brings one.
    """

    train: tuple[Sample, ...]
    valid: tuple[Sample, ...] = ()
    holdout: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    sample_submission: Path | None = None
    notes: tuple[str, ...] = ()

    def part(self, name: str) -> tuple[Sample, ...]:
        samples: tuple[Sample, ...] = getattr(self, name)
        return samples


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of predictions against targets (int64 [N, heads]) and the direction in which it improves."""

    name: str
    direction: Direction
    fn: Callable[["Dense", "np.ndarray"], float]

    def utility(self, value: float) -> float:
        """The value turned so that greater is better."""
        return value if self.direction == "maximize" else -value


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the organisers forbid or limit; `wording` is their sentence, shown on a violation."""

    pretrained: bool
    external_data: bool
    submissions_per_day: int | None = None
    final_picks: int | None = None
    wording: str = ""

    def check(self, config: "TrialConfig") -> None:
        """Raises RuleViolation when the configuration asks for what is forbidden."""
        if config.pretrained and not self.pretrained:
            raise RuleViolation(
                f"Pretrained weights are forbidden here: {self.wording}", fix="Leave out pretrained=true."
            )


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A published leaderboard score to be measured against."""

    name: str
    public: float
    private: float | None = None
    source: str = ""


class Kind(Protocol):
    """What a model of this shape of answer must output, how it is trained and how it is read."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """The questions asked of each image, in the order of a sample's targets."""

    @property
    def num_outputs(self) -> int:
        """Width of the model's output: the sum of the heads' classes."""

    def loss(self, outputs: "torch.Tensor", targets: "torch.Tensor", config: "TrialConfig") -> "torch.Tensor":
        """Mean loss of outputs [B, num_outputs] against targets int64 [B, heads]."""

    def predict(self, ids: Sequence[str], outputs: "torch.Tensor") -> "Dense":
        """Outputs [N, num_outputs] as predictions."""


class Answer(Protocol):
    """The file that is handed in."""

    @property
    def filename(self) -> str:
        """Its name."""

    def write(self, predictions: "Dense", path: Path) -> None:
        """Write the answer atomically, one row a test image in the organisers' order."""

    def check(self, path: Path, ids: Sequence[str]) -> None:
        """Raises InvalidSubmission, naming file, row and fix, unless `path` answers `ids` in order."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One competition. `read` may raise UsageError (no data) or DataError (data that cannot be used)."""

    name: str
    title: str
    kind: Kind
    read: Callable[[Path], Splits]
    metric: Metric
    rules: Rules
    answer: Answer
    space: str
    baselines: tuple[Baseline, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Trial parameters that hold for every trial of the task unless the space or the user says otherwise."""


def known_modules(package: str) -> list[str]:
    """Names of the public modules of a package, without importing any of them."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return []
    return sorted(m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if m.name[0] != "_")


def load_named(package: str, name: str, attribute: str, what: str) -> Any:
    """`attribute` of the module `package.name`; an unknown name raises UsageError with the nearest one."""
    if name not in known_modules(package):
        raise unknown(what, name, known_modules(package))
    module = importlib.import_module(f"{package}.{name}")
    if not hasattr(module, attribute):
        raise UsageError(
            f"{package}/{name}.py has no {attribute!r}.",
            fix=f"Define {attribute} in it, as the other files do.",
        )
    return getattr(module, attribute)


def load_task(name: str) -> Task:
    """The task of `trainables/tasks/NAME.py`."""
    task: Task = load_named("trainables.tasks", name, "TASK", "task")
    return task
