"""Everything that is decided and checked before a search spends or writes anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator import cli, data, plan
from orchestrator.plan import Plan
from trainables.config import Scalar, TrialConfig
from trainables.submissions import organisers_order
from trainables.task import PARTS, Splits, Task, load_named, load_task

SAMPLED_CONFIGS = 60
PROBED_PICTURES = 64


Strategy = Literal["asha", "guided"]


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
    top_k: int = 5
    seed: int = 0
    address: str | None = None
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    search_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A search that is planned and checked, with nothing spent and nothing written."""

    task: Task
    asked: Asked
    root: Path
    splits: Splits
    space: str
    study: Mapping[str, Any]
    """Arguments of `Study`."""
    configs: list[TrialConfig]
    plan: Plan


def prepare(task_name: str, asked: Asked, *, resources: Mapping[str, float]) -> Prepared:
    """Read the data, sample the space, make the plan. Raises UsageError, DataError or RuleViolation."""
    from orchestrator.study import sample_space

    task = load_task(task_name)
    space_name = asked.space or task.space
    space = load_named("search_spaces", space_name, "space", "search space")
    root, task, splits = data.read(task, asked.data)
    organisers_order(splits.sample_submission, [sample.id for sample in splits.test])
    gpus = plan.gpus_each(asked.gpus_per_trial, resources)
    fixed = (
        dict(asked.settings) if asked.max_epochs is None else {**asked.settings, "epochs": asked.max_epochs}
    )
    study = {
        "space": space,
        "seed": asked.seed,
        "defaults": task.defaults,
        "fixed": fixed,
        "context": {
            "device": "cuda" if gpus else "cpu",
            "pixels": data.median_side(splits, count=PROBED_PICTURES),
        },
    }
    configs, parameters = sample_space(task, count=SAMPLED_CONFIGS, **study)
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
        fixed=fixed,
        budget=budget,
        images={name: len(splits.part(name)) for name in PARTS},
    )
    return Prepared(
        task=task,
        asked=asked,
        root=root,
        splits=splits,
        space=space_name,
        study=study,
        configs=configs,
        plan=planned,
    )
