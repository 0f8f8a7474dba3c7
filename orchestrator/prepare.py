"""Everything that is decided and checked before a search spends or writes anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator import cli, data, depot, plan
from orchestrator.finals import Wanted, finals_for
from orchestrator.plan import Guidance, Plan
from trainables.config import Scalar, TrialConfig
from trainables.errors import UsageError
from trainables.named import load_named
from trainables.splits import complete
from trainables.submissions import organisers_order
from trainables.task import PARTS, DenseKind, Metric, Rules, Splits, Task, load_task, reference

SAMPLED_CONFIGS = 60
PROBED_PICTURES = 64


Strategy = Literal["asha", "guided"]
LOCAL = "local"
"""For --address: this machine, also where a search that is gone on with ran on a cluster."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asked of a search; None leaves the choice to the plan."""

    data: Path | None = None
    out: Path = cli.DEFAULT_OUT
    space: str | None = None
    trials: int | None = None
    time_limit_s: float | None = None
    max_epochs: int | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: int = 1
    strategy: Strategy = "asha"
    top_k: int | None = None
    finals: Wanted = field(default_factory=Wanted)
    seed: int = 0
    address: str | None = None
    """Of the Ray cluster to run on; None starts a Ray on this machine."""
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    weights: Path | None = None
    """A file or folder of pretrained weights, where they cannot be fetched."""
    search_id: str | None = None
    disk: int | None = None
    """Bytes that the search's folder may hold; see `orchestrator.room`."""
    share: str | None = None
    """URL of an object store from which nodes of a cluster take the images; see `orchestrator.depot`."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A search that is planned and checked, with nothing spent and nothing written."""

    task: Task
    """With the heads found in the data and the rules of the space."""
    source: str
    """How another process loads the task: see `trainables.task.reference`."""
    asked: Asked
    root: Path
    splits: Splits
    uncut: Splits
    """The parts as the organisers gave them."""
    space: str
    study: Mapping[str, Any]
    """Arguments of `Study`."""
    configs: list[TrialConfig]
    plan: Plan

    @property
    def pixels(self) -> int:
        """Median side of the training pictures."""
        return int(self.study["context"]["pixels"])


def prepare(task_name: str, asked: Asked, *, resources: Mapping[str, float]) -> Prepared:
    """Read the data, sample the space, make the plan. Raises UsageError, DataError or RuleViolation."""
    from orchestrator.study import sample_space

    depot.check(asked.share, address=asked.address)
    task = load_task(task_name)
    space_name = asked.space or task.space
    task = task.under(space_name)
    space = load_named("search_spaces", space_name, "space", "search space")
    root, task, uncut = data.given(task, asked.data, out=asked.out)
    splits = complete(uncut, heads=task.targets)
    organisers_order(splits.sample_submission, [sample.id for sample in splits.test])
    gpus = plan.gpus_each(asked.gpus_per_trial, resources)
    images = {name: len(splits.part(name)) for name in PARTS}
    study = {
        "space": space,
        "seed": asked.seed,
        "defaults": task.defaults,
        "fixed": _fixed(asked),
        "context": _context(asked, splits, on_gpu=gpus > 0),
    }
    configs, parameters = sample_space(task, count=SAMPLED_CONFIGS, **study)
    _require_use_of_weights(asked, task.rules, space_name, configs)
    budget = plan.budget_for(
        trials=asked.trials,
        time_limit_s=asked.time_limit_s,
        max_epochs=max(config.epochs for config in configs),
        cpus_per_trial=asked.cpus_per_trial,
        gpus_per_trial=gpus,
        resources=resources,
    )
    planned = plan.make_plan(
        task.name,
        space=space_name,
        configs=configs,
        parameters=parameters,
        fixed=study["fixed"],
        budget=budget,
        images=images,
        finals=finals_for(
            asked.finals,
            slots=budget.slots,
            timed=asked.time_limit_s is not None,
            images=images,
        ),
        guidance=_guidance(asked, task.metric, budget.rungs.max_epochs),
        own_side=study["context"]["pixels"] if isinstance(task.kind, DenseKind) else 0,
    )
    return Prepared(
        task=task,
        source=reference(task_name),
        asked=asked,
        root=root,
        splits=splits,
        uncut=uncut,
        space=space_name,
        study=study,
        configs=configs,
        plan=replace(planned, disk_cap=asked.disk),
    )


def _context(asked: Asked, splits: Splits, *, on_gpu: bool) -> dict[str, Any]:
    """What a space may adapt to."""
    return {
        "device": "cuda" if on_gpu else "cpu",
        "pixels": data.median_side(splits, count=PROBED_PICTURES),
        "weights": str(asked.weights or asked.settings.get("weights", "")),
    }


def _guidance(asked: Asked, metric: Metric, epochs: int) -> Guidance | None:
    """None unless it was asked for and there are past searches enough to learn from."""
    from orchestrator.past import past_searches

    past = past_searches(asked.out, metric) if asked.strategy == "guided" else []
    if not past:
        return None
    from orchestrator.guide import comparisons

    trials = sum(map(len, past))
    return Guidance(searches=len(past), trials=trials, compared_after=comparisons(epochs))


def _fixed(asked: Asked) -> dict[str, Scalar]:
    """The parameters that the user decided on. Raises UsageError for weights or folds that cannot be."""
    fixed = dict(asked.settings)
    if {"folds", "fold"} & fixed.keys():
        raise UsageError(
            "A search is not made of folds: it would compare trials on different images.",
            fix="Train the best of it as folds: --folds 3",
        )
    if asked.max_epochs is not None:
        fixed["epochs"] = asked.max_epochs
    if asked.weights is not None:
        path = asked.weights.expanduser().absolute()
        if not path.exists():
            raise UsageError(f"--weights {path} does not exist.", fix="Give a file, or a folder of files.")
        fixed["weights"] = str(path)
    return fixed


def _require_use_of_weights(asked: Asked, rules: Rules, space: str, configs: list[TrialConfig]) -> None:
    if asked.weights is None:
        return
    rules.check(replace(configs[0], pretrained=True))
    if not any(config.pretrained for config in configs):
        raise UsageError(
            f"--weights is given, and the space {space!r} trains from scratch.",
            fix="Add --set pretrained=true, or choose another --space.",
        )
