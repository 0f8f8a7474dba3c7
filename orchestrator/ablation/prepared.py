"""From what the user asks of an ablation to its rows, checked and forecast, with nothing spent."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator import cli, journal, plan
from orchestrator.ablation import places
from orchestrator.ablation.bases import BEST, Base, base_of, plain
from orchestrator.ablation.design import Design, Rate, Row, rate_notes, rate_of, rates_from, rows_of
from orchestrator.ablation.factors import factors_of
from orchestrator.ablation.places import runs_of
from orchestrator.ablation.planned import Planned, seeds_after
from orchestrator.ablation.shared import finished
from orchestrator.prepare import Asked, Prepared, prepare
from orchestrator.trust import space_of
from trainables.config import Scalar, TrialConfig, trial_config
from trainables.errors import OrchestratorError
from trainables.task import load_task

SEEDS = 5
START_S = 1.0
"""Of a trial, beside its epochs."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user asked of an ablation; None leaves the choice to the base."""

    task: str
    base: str = BEST
    """`best`, of the latest search, or the path of a config.json."""
    factors: tuple[str, ...] = ()
    design: Design = "one"
    seeds: int = SEEDS
    epochs: int | None = None
    data: Path | None = None
    out: Path = cli.DEFAULT_OUT
    space: str | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: int = 1
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    ablation_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ready:
    """An ablation that is planned and checked."""

    prepared: Prepared
    """As a search of the base's space would be."""
    home: Path
    """OUT/TASK."""
    planned: Planned
    side: int
    """Of the store, in px; 0 where pictures keep their sizes."""
    slots: int
    shared: int
    """Trials that are there already, as far as is known before the data is read."""
    seconds: float | None
    """A forecast; None where nothing can be said."""


def make_ready(wish: Wish, *, resources: Mapping[str, float]) -> Ready:
    """Plan and check. Raises UsageError, DataError or RuleViolation for what cannot be done."""
    task = load_task(wish.task)
    home = wish.out / task.name
    base = base_of(home, wish.base)
    prepared = prepare(wish.task, _asked(wish, base, task.space), resources=resources)
    planned = _planned(wish, base, prepared)
    configs = planned.trials()
    for config in configs[: len(planned.rows)]:
        prepared.task.rules.check(config)
    side = prepared.plan.side and max(prepared.plan.side, plan.cache_side(configs))
    slots = min(prepared.plan.budget.slots, len(configs))
    shared = len(finished(home, _fingerprint(home, base), configs))
    ready = Ready(
        prepared=prepared,
        home=home,
        planned=planned,
        side=side,
        slots=slots,
        shared=shared,
        seconds=None,
    )
    return replace(ready, seconds=_forecast(ready, configs, base))


def _fingerprint(home: Path, base: Base) -> str:
    """Of the data as the base's search or the latest ablation had it; whether it changed is not known yet."""
    if base.record:
        return str(base.record.asked.get("fingerprint"))
    latest = next((journal.read(folder.journal) for folder in places.all_of(home)[::-1]), None)
    return str(latest.asked.get("fingerprint")) if latest else ""


def _asked(wish: Wish, base: Base, space: str) -> Asked:
    """The search that prepares the data: of the space, and with what was fixed, where the base is from."""
    told = base.record.asked if base.record else {}
    data = Path(told["data"]) if wish.data is None and told.get("data") else wish.data
    return Asked(
        data=data,
        out=wish.out,
        space=wish.space or space_of(told, space),
        gpus_per_trial=wish.gpus_per_trial,
        cpus_per_trial=wish.cpus_per_trial,
        settings=dict(told.get("fixed") or {}),
    )


def _planned(wish: Wish, base: Base, prepared: Prepared) -> Planned:
    config = _base_config(wish, base, prepared)
    factors, notes = factors_of(wish.factors, config)
    known = rates_from(config, base.record, prepared.configs)

    def rates(optimizer: str) -> Rate:
        return rate_of(optimizer, config, known)

    rows = rows_of(config, factors, wish.design, rates)
    skipped = config.seed if base.trained else None
    return Planned(
        rows=tuple(rows),
        seeds=seeds_after(-1, wish.seeds, skipped=skipped),
        design=wish.design,
        origin=base.origin,
        factors=tuple(factor.key for factor in factors),
        skipped=skipped,
        notes=(*notes, *rate_notes(rows, rates), *_about_seed(skipped)),
    )


def _base_config(wish: Wish, base: Base, prepared: Prepared) -> TrialConfig:
    config = base.config or plain(prepared.configs[0])
    changes = dict(wish.settings) | ({} if wish.epochs is None else {"epochs": wish.epochs})
    return plain(trial_config({**config.params(), **changes}))


def _about_seed(skipped: int | None) -> list[str]:
    if skipped is None:
        return []
    return [f"Seed {skipped} is left out: the base was chosen for its score under it."]


def _forecast(ready: Ready, configs: Sequence[TrialConfig], base: Base) -> float | None:
    """Seconds of all trials that are not there yet: at the pace of earlier ones, else by a rough rule."""
    budget = ready.prepared.plan.budget
    config = configs[0]
    epoch = _pace(ready.home, config)
    if epoch is None and budget.gpus_per_trial:
        return None
    if epoch is None:
        pixels = config.image_size**2 * ready.prepared.plan.images["train"]
        epoch = pixels / (plan.PIXELS_PER_CORE_SECOND * budget.cpus_per_trial)
    each = [START_S + c.epochs * epoch for c in configs]
    return sum(each[ready.shared :]) / ready.slots


def _pace(home: Path, config: TrialConfig) -> float | None:
    """Median seconds of an epoch of the same model at the same size in the latest run that has one."""
    for folder in runs_of(home):
        try:
            trials = journal.read(folder.journal).trials.values()
        except OrchestratorError:
            continue
        alike = [t for t in trials if _alike(t.params, config)]
        seconds = [float(row["seconds"]) for trial in alike for row in trial.reports]
        if seconds:
            return statistics.median(seconds)
    return None


def _alike(params: Mapping[str, object], config: TrialConfig) -> bool:
    mine = config.params()
    return all(params.get(key) == mine[key] for key in ("model", "image_size"))


def lines_of(ready: Ready) -> list[tuple[str, str]]:
    """The plan as name and text, for the screen."""
    planned, budget = ready.planned, ready.prepared.plan.budget
    each = f"{budget.cpus_per_trial} CPU" + (
        f" + {budget.gpus_per_trial:g} GPU" if budget.gpus_per_trial else ""
    )
    trials = len(planned.trials())
    shared = f"; {ready.shared} of them are there already" if ready.shared else ""
    seconds = "not known before the first epoch"
    if ready.seconds is not None:
        seconds = f"about {plan.duration(ready.seconds)}"
    return [
        ("base", planned.origin),
        ("factors", ", ".join(planned.factors)),
        ("design", planned.design),
        *((f"row {number}", row.name) for number, row in enumerate(planned.rows)),
        ("seeds", ", ".join(map(str, planned.seeds))),
        ("trials", f"{trials}, {planned.base.params['epochs']} epochs each, none stopped early{shared}"),
        ("slots", f"{ready.slots} trials at once, {each} each"),
        ("time", seconds),
    ]


def row_json(row: Row) -> dict[str, object]:
    """A row of `--dry-run --json`."""
    return {"name": row.name, "params": dict(row.params)}
