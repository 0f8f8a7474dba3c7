"""What a competition says: its data, its rules, its score and the answer it wants. Free of torch."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from trainables.errors import RuleViolation, UsageError
from trainables.named import known_modules, load_named

if TYPE_CHECKING:
    import numpy as np
    import torch

    from trainables.config import TrialConfig
    from trainables.cost import Cost
    from trainables.predictions import Dense, Predictions
    from trainables.store import Part

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
    row: int | None = None
    """Where `path` is a table of pixels: the image's row in it, counted from 0."""
    group: str = ""
    """Images of one group, not empty, are never parted by a split that we cut."""
    truth: Any = None
    """What a dense kind is to find, as plain JSON values, or the file that holds it; None where unknown.
    `target` may then say which classes there are, for the cuts that we make to be stratified by."""
    shrink: int = 1
    """The model sees the file's picture so many times smaller, by antialiased bicubic interpolation."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Who is in which part. An empty `valid` or `holdout` is cut by `trainables.splits.complete`.

    `notes` are sentences for the user: what was found, cut or assumed. `sample_submission` is the
    organisers' example file where the data brings one. `heads` are given where the task leaves
    the classes to the data, and `answer` where it leaves the form of the answer to them.
    """

    train: tuple[Sample, ...]
    valid: tuple[Sample, ...] = ()
    holdout: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    sample_submission: Path | None = None
    notes: tuple[str, ...] = ()
    heads: tuple[Head, ...] = ()
    answer: "Answer | None" = None

    def part(self, name: str) -> tuple[Sample, ...]:
        samples: tuple[Sample, ...] = getattr(self, name)
        return samples


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of predictions against the truth, and the direction in which it improves.

    The truth are targets int64 [N, heads], or of the type of the predictions where the kind is dense.
    """

    name: str
    direction: Direction
    fn: Callable[[Any, Any], float]
    each: Callable[[Any, Any], "Sequence[Any] | np.ndarray"] | None = None
    """What each image adds to the score: images that are drawn again and again are then judged only once."""
    total: Callable[[Sequence[Any]], float] | None = None
    """The score of what `each` says of some images; None where that are scores and the mean is theirs."""

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
    megabytes: tuple[float, float] | None = None
    """Smallest and largest size of a model's float32 weights, in MB of 10^6 bytes."""
    macs: float | None = None
    """Most multiply-accumulates that a model may take for one image."""

    def check(self, config: "TrialConfig") -> None:
        """Raises RuleViolation when the configuration asks for what is forbidden."""
        if (config.pretrained or config.weights) and not self.pretrained:
            raise RuleViolation(
                f"Pretrained weights are forbidden here: {self.wording}",
                fix="Leave out pretrained=true and --weights.",
            )

    @property
    def bounds_cost(self) -> bool:
        """Whether a network has to be counted before it may be trained."""
        return self.megabytes is not None or self.macs is not None

    def sentences(self) -> tuple[str, ...]:
        """The rules for the user, a sentence each; the organisers' own words come last."""
        low, high = self.megabytes or (0.0, 0.0)
        found = (
            f"pretrained weights {'allowed' if self.pretrained else 'forbidden'}",
            f"external data {'allowed' if self.external_data else 'forbidden'}",
            f"a model of {low:g} to {high:g} MB" if self.megabytes else "",
            f"at most {self.macs / 1e6:g} million multiply-accumulates an image" if self.macs else "",
        )
        return (*filter(None, found), *filter(None, [self.wording]))

    def check_cost(self, cost: "Cost") -> None:
        """Raises RuleViolation when a network is smaller or larger than allowed."""
        low, high = self.megabytes or (0.0, float("inf"))
        if not low <= cost.megabytes <= high:
            raise RuleViolation(
                f"A model of {cost.megabytes:.1f} MB is outside {low:g} to {high:g} MB: {self.wording}",
                fix="Change the model's width or depth.",
            )
        if self.macs is not None and cost.macs > self.macs:
            raise RuleViolation(
                f"{cost.macs / 1e6:.0f} million multiply-accumulates an image are more than the"
                f" {self.macs / 1e6:.0f} million allowed: {self.wording}",
                fix="Make the model narrower, or lower image_size.",
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
    def answers(self) -> str:
        """What it asks of models: `classes`, or of dense kinds `pictures`, `masks`, `boxes`, `instances`."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """The questions asked of each image, in the order of a sample's targets.

        Their classes are empty where the data decides on them.
        """

    def with_heads(self, heads: tuple[Head, ...]) -> "Kind":
        """The same kind with the heads that were found in the data."""

    def num_outputs(self, config: "TrialConfig") -> int:
        """Width of the model's output."""

    def losses(
        self, outputs: "torch.Tensor", targets: "torch.Tensor", config: "TrialConfig"
    ) -> "torch.Tensor":
        """Loss [B] of each image: outputs [B, num_outputs] against targets int64 [B, heads]."""

    def predict(self, ids: Sequence[str], outputs: "torch.Tensor", config: "TrialConfig") -> "Dense":
        """Outputs [N, num_outputs] as logits of every head's classes."""


@runtime_checkable
class DenseKind(Protocol):
    """As Kind, for answers that lie in the picture: its own size is kept, its truth is no class.

    A part's `images[i]` is uint8 [H, W, 3], and its `targets` are of the type of the predictions: `Maps`,
    `Boxes` or `Instances`, in the order of the part.
    """

    @property
    def answers(self) -> str:
        """As of Kind."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """The classes of the answer; empty where there are none."""

    def with_heads(self, heads: tuple[Head, ...]) -> "DenseKind":
        """The same kind with the classes that were found in the data."""

    def num_outputs(self, config: "TrialConfig") -> int:
        """Width of the model's output."""

    def truth(self, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> "Predictions":
        """What the samples of a part hold; `sizes` are the (height, width) that their pictures have here.

        Raises DataError, naming the file, for what contradicts itself.
        """

    def order(self, part: "Part", config: "TrialConfig", rng: "np.random.Generator") -> "np.ndarray":
        """Rows int64 [n] of the part that an epoch shows, always so many; a row may come again."""

    def batch(
        self, part: "Part", rows: Sequence[int], config: "TrialConfig", rng: "np.random.Generator"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Augmented views of rows on the CPU: normalised float32 [B, 3, h, w], and their targets [B, ...]."""

    def losses(
        self,
        forward: "Callable[..., torch.Tensor]",
        views: "torch.Tensor",
        targets: "torch.Tensor",
        config: "TrialConfig",
    ) -> "torch.Tensor":
        """Loss [B] of each view, or [1] their mean; `forward` is the network under the trial's autocast."""

    def answer(
        self,
        forward: "Callable[..., Any]",
        pictures: "Sequence[np.ndarray]",
        config: "TrialConfig",
        device: "torch.device",
    ) -> "list[Any]":
        """What the network says of each picture uint8 [H, W, 3], by the views that `config.tta` asks for."""

    def gather(self, ids: Sequence[str], answers: "Sequence[Any]") -> "Predictions":
        """The answers to all pictures of a part."""


class Decision(Protocol):
    """How logits become an answer where that is more than the likeliest class of each head."""

    def fit(self, predictions: Any, truth: Any, metric: "Metric") -> tuple[float, ...]:
        """Numbers (thresholds, offsets) chosen for the metric on images whose truth is known."""

    def apply(self, predictions: Any, fitted: Sequence[float]) -> Any:
        """The same predictions, moved so that what they say by themselves is what was decided."""


class Answer(Protocol):
    """The file that is handed in."""

    @property
    def filename(self) -> str:
        """Its name."""

    def with_heads(self, heads: tuple[Head, ...]) -> "Answer":
        """The same answer to the heads that were found in the data."""

    def write(self, predictions: Any, path: Path) -> None:
        """Write the answer atomically, one row a test image in the organisers' order."""

    def check(self, path: Path, ids: Sequence[str]) -> None:
        """Raises InvalidSubmission, naming file, row and fix, unless `path` answers `ids` in order."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One competition. `read` may raise UsageError (no data) or DataError (data that cannot be used)."""

    name: str
    title: str
    kind: Any
    """A `Kind`, or a `DenseKind`."""
    read: Callable[[Path], Splits]
    metric: Metric
    rules: Rules
    answer: Answer
    space: str
    baselines: tuple[Baseline, ...] = ()
    beside: tuple[Metric, ...] = ()
    """Further scores, shown for the chosen ensemble; nothing is chosen by them."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Trial parameters that hold for every trial of the task unless the space or the user says otherwise."""
    decision: Decision | None = None
    decides_trials: bool = False
    """Of dense kinds: whether a trial is scored by what it answers once `decision` is fitted to the part that
    it is scored on. Its plain answer may be judged for its level instead of what it tells apart."""
    space_rules: Mapping[str, Rules] = field(default_factory=dict)
    """Rules of those spaces that are studies of their own, with other rules than the task's."""

    def found_in(self, splits: Splits) -> "Task":
        """The task with the heads and the answer's form that were found in the data."""
        task = self if splits.answer is None else replace(self, answer=splits.answer)
        return task.with_heads(splits.heads)

    def under(self, space: str) -> "Task":
        """The task as the study of a space: with the rules that hold there."""
        return replace(self, space=space, rules=self.rules_of(space))

    def with_heads(self, heads: tuple[Head, ...]) -> "Task":
        """The task with the heads that were found in the data; itself where they are known."""
        if not heads or heads == self.kind.heads:
            return self
        return replace(self, kind=self.kind.with_heads(heads), answer=self.answer.with_heads(heads))

    def score_of_trial(self, predictions: Any, truth: Any) -> float:
        """The metric of a trial's predictions of one part; see `decides_trials`."""
        if self.decides_trials and self.decision and len(predictions):
            fitted = self.decision.fit(predictions, truth, self.metric)
            predictions = self.decision.apply(predictions, fitted)
        return self.metric.fn(predictions, truth)

    @property
    def targets(self) -> tuple[Head, ...]:
        """The questions that a sample's target answers; none where the kind is dense."""
        return () if isinstance(self.kind, DenseKind) else tuple(self.kind.heads)

    def rules_of(self, space: str) -> Rules:
        """The rules that hold for trials of a space."""
        return self.space_rules.get(space, self.rules)


def load_task(name: str) -> Task:
    """The task of `trainables/tasks/NAME.py`, or of a file of the user's own given by its path.

    Raises UsageError for an unknown name, a folder, and a file that breaks or describes no task.
    """
    if name and name not in known_modules("trainables.tasks") and Path(name).is_dir():
        raise UsageError(f"{name} is a folder, not a task.", fix=f"Search it with --data {name}")
    task = load_named("trainables.tasks", name, "TASK", "task")
    if not isinstance(task, Task):
        raise UsageError(f"TASK of {name} is no Task.", fix="Make it as trainables/tasks/food11.py does.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", task.name):
        raise UsageError(
            f"{task.name!r} of {name} is no name for a task.", fix="Use letters, digits, '.', '_' and '-'."
        )
    return task


def reference(name: str) -> str:
    """How a process started elsewhere loads the task of that name: a file by its absolute path."""
    return str(Path(name).absolute()) if name.endswith(".py") else name
