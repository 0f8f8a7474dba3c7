"""What a search will do, decided and shown before anything is spent."""

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.asha import Rungs, expected_epochs, rungs_for
from orchestrator.finals import SEARCH_SHARE, Finals
from trainables.config import Scalar, TrialConfig
from trainables.errors import UsageError

CACHE_MARGIN = 1.25
DEFAULT_TRIALS = 32
PIXELS_PER_CORE_SECOND = 2.5e6
"""Training throughput of a small network on one core: a rough rule, for an estimate before any trial."""
TRIAL_BYTES = 20 * 2**20
"""Weights and predictions of a middling trial."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a search may spend. Without trials and time it is DEFAULT_TRIALS."""

    trials: int | None
    time_limit_s: float | None
    rungs: Rungs
    slots: int
    cpus_per_trial: int
    gpus_per_trial: float


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """What a guided search goes by."""

    searches: int
    trials: int
    """Past searches beside the new one, and their trials in all."""
    compared_after: tuple[int, ...]
    """Epochs after which a trial is compared with what could be started in its place."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The budget, the space as sampled, and what it will take."""

    task: str
    space: str
    parameters: Mapping[str, str]
    """Each parameter of the space with its range or choices, as text."""
    fixed: Mapping[str, Scalar]
    side: int
    """Side in px at which the pictures are kept."""
    budget: Budget
    images: Mapping[str, int]
    """Pictures in each part."""
    seconds: float | None
    """A rough estimate; None where nothing can be said before the first trial."""
    disk_bytes: int
    picture_bytes: int
    """Of a decoded picture, about."""
    disk_cap: int | None = None
    """Bytes that the search's own folder is kept below."""
    finals: Finals | None = None
    guidance: Guidance | None = None
    """None where ASHA decides, by the budget's rungs."""
    packing: str = ""
    """How many trials share a GPU, and why; "" where that was no question, or is not yet known."""

    @property
    def store_bytes(self) -> int:
        """Of the decoded pictures."""
        return sum(self.images.values()) * self.picture_bytes

    def rows(self) -> list[tuple[str, str]]:
        """The plan as name and text, for the screen."""
        budget, rungs = self.budget, self.budget.rungs
        trials = "as many as fit the time" if budget.trials is None else str(budget.trials)
        each = f"{budget.cpus_per_trial} CPU" + (
            f" + {budget.gpus_per_trial:g} GPU" if budget.gpus_per_trial else ""
        )
        return [
            ("images", ", ".join(f"{name} {count:,}" for name, count in self.images.items())),
            ("cache", f"{f'{self.side} px a side' if self.side else 'own sizes'}, {_size(self.store_bytes)}"),
            ("space", self.space),
            *((f"  {name}", f"{value} (fixed)") for name, value in self.fixed.items()),
            *((f"  {name}", text) for name, text in self.parameters.items()),
            ("trials", f"{trials}, {rungs.max_epochs} epochs each at most"),
            *self._stopping(),
            ("slots", f"{budget.slots} trials at once, {each} each"),
            *([("GPUs", self.packing)] if self.packing else []),
            *([] if self.finals is None else [("finals", self._finals(self.finals))]),
            ("time", self._time()),
            ("disk", self._disk()),
        ]

    def _disk(self) -> str:
        needed = f"up to {_size(self.disk_bytes)}"
        return f"{needed}; trials kept below {_size(self.disk_cap)}" if self.disk_cap else needed

    def _stopping(self) -> list[tuple[str, str]]:
        """By what trials are chosen and stopped."""
        rungs, guidance = self.budget.rungs, self.guidance
        if guidance is None:
            kept = f"ASHA: best 1/{rungs.reduction_factor} go on after epoch {_listed(rungs.epochs)}"
            return [("rungs", kept if rungs.epochs else "none: every trial runs all its epochs")]
        learned = f"{guidance.searches} past searches with {guidance.trials} trials"
        compared = f"with what else could run, after epoch {_listed(guidance.compared_after)}"
        return [("guided by", learned), ("compared", compared)]

    def _finals(self, finals: Finals) -> str:
        limit = self.budget.time_limit_s
        begin = "then" if limit is None else f"after {duration(SEARCH_SHARE * limit)}"
        return f"{begin} {finals.text}"

    def _time(self) -> str:
        limit = self.budget.time_limit_s
        if limit is not None and (self.seconds is None or self.seconds > limit):
            return f"{duration(limit)}, then the ensemble"
        if self.seconds is None:
            return "not known before the first epoch; bound it with --time"
        return f"about {duration(self.seconds)}, by a rough rule"


def budget_for(
    *,
    trials: int | None,
    time_limit_s: float | None,
    max_epochs: int,
    cpus_per_trial: int,
    gpus_per_trial: float,
    resources: Mapping[str, float],
) -> Budget:
    """Slots follow from what is there. Raises UsageError where one trial asks for more than that."""
    cpus, gpus = int(resources["CPU"]), resources.get("GPU", 0.0)
    for name, wanted, there in (("CPU", cpus_per_trial, cpus), ("GPU", gpus_per_trial, gpus)):
        if wanted > there:
            raise UsageError(
                f"A trial is to have {wanted:g} {name}s, and there are {there:g}.",
                fix=f"Ask for less with --{name.lower()}s-per-trial.",
            )
    if trials is None and time_limit_s is None:
        trials = DEFAULT_TRIALS
    return Budget(
        trials=trials,
        time_limit_s=time_limit_s,
        rungs=rungs_for(max_epochs, timed=trials is None),
        slots=slots_for(
            trials, cpus_per_trial=cpus_per_trial, gpus_per_trial=gpus_per_trial, resources=resources
        ),
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
    )


def slots_for(
    trials: int | None, *, cpus_per_trial: int, gpus_per_trial: float, resources: Mapping[str, float]
) -> int:
    """Trials at once, of so many in all. A share of a GPU lies on one card: 0.4 makes two trials a card."""
    slots = int(resources["CPU"]) // cpus_per_trial
    gpus = resources.get("GPU", 0.0)
    if gpus_per_trial >= 1:
        slots = min(slots, int(gpus // gpus_per_trial))
    elif gpus_per_trial:
        slots = min(slots, int(gpus * math.floor(1 / gpus_per_trial + 1e-9)))
    return min(slots, trials) if trials else slots


def gpus_each(asked: float | None, resources: Mapping[str, float]) -> float:
    """GPUs of a trial: what was asked for, else one where there are any."""
    return min(1.0, resources.get("GPU", 0.0)) if asked is None else asked


def resources_here() -> dict[str, float]:
    """CPUs that this process may use and GPUs of this machine."""
    return {"CPU": float(len(os.sched_getaffinity(0))), "GPU": float(_count_gpus())}


def _count_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=30)
    return listed.stdout.count("GPU ")


def cache_side(configs: Sequence[TrialConfig]) -> int:
    """Side of the store in px: the largest training size of the space with room to crop."""
    return math.ceil(CACHE_MARGIN * max(config.image_size for config in configs))


def make_plan(
    task: str,
    *,
    space: str,
    configs: Sequence[TrialConfig],
    parameters: Mapping[str, str],
    fixed: Mapping[str, Scalar],
    budget: Budget,
    images: Mapping[str, int],
    finals: Finals | None = None,
    guidance: Guidance | None = None,
    own_side: int = 0,
) -> Plan:
    """The plan of a search whose space gave the sampled `configs`.

    `own_side` is the median side in px of pictures that keep their sizes; 0 where they are made squares.
    """
    side = 0 if own_side else cache_side(configs)
    picture_bytes = (own_side or side) ** 2 * 3
    trials = (budget.trials or DEFAULT_TRIALS) + (finals.most if finals else 0)
    return Plan(
        task=task,
        space=space,
        parameters={name: text for name, text in parameters.items() if name not in fixed},
        fixed=fixed,
        side=side,
        budget=budget,
        images=images,
        seconds=_estimate(budget, images["train"], configs, finals),
        disk_bytes=sum(images.values()) * picture_bytes + trials * TRIAL_BYTES,
        picture_bytes=picture_bytes,
        finals=finals,
        guidance=guidance,
    )


def _estimate(
    budget: Budget, images: int, configs: Sequence[TrialConfig], finals: Finals | None
) -> float | None:
    if budget.trials is None or budget.gpus_per_trial:
        return None
    pixels = sum(config.image_size**2 for config in configs) / len(configs) * images
    epoch = pixels / (PIXELS_PER_CORE_SECOND * budget.cpus_per_trial)
    seconds = budget.trials * (1 + epoch * expected_epochs(budget.rungs))
    if finals is not None:
        longer = finals.growth * (finals.epochs or budget.rungs.max_epochs)
        seconds += finals.most * (1 + epoch * longer)
    return seconds / budget.slots


def parse_duration(text: str) -> float:
    """Seconds of `90`, `90s`, `10m`, `2h`, `1d` or `1h30m`. Raises UsageError."""
    units = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(a + b for a, b in parts) != text.strip():
        raise UsageError(f"--time {text!r} is no duration.", fix="Write 90s, 10m, 2h or 1h30m.")
    seconds = sum(float(number) * units[unit] for number, unit in parts)
    if seconds <= 0:
        raise UsageError("--time must be more than nothing.", fix="Write 90s, 10m, 2h or 1h30m.")
    return seconds


def parse_settings(settings: Sequence[str]) -> dict[str, Scalar]:
    """The `key=value` pairs of --set; numbers and true / false as such. Raises UsageError."""
    parsed: dict[str, Scalar] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip() or not text.strip():
            raise UsageError(f"--set {setting!r} is not key=value.", fix="For example: --set lr=0.001")
        try:
            value = json.loads(text)
        except ValueError:
            value = text.strip()
        parsed[key.strip()] = value if isinstance(value, bool | int | float | str) else text.strip()
    return parsed


def duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def _listed(epochs: Sequence[int]) -> str:
    return ", ".join(map(str, epochs))


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def parse_share(text: str) -> float | None:
    """GPUs a trial: a number, or None for `auto`. Raises UsageError."""
    if text == "auto":
        return None
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < math.inf or (share > 1 and not share.is_integer()):
        raise UsageError(f"--gpus-per-trial {text!r} is no share.", fix="Write auto, 0, 0.25, 1 or 2.")
    return share
