"""What a search cost: seconds and device-hours a trial and a rung, and what was wasted on failures."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from orchestrator.evidence.content import Block, Table, Text
from orchestrator.evidence.tried import counted, levels
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.snapshot import clock, score
from trainables.task import Metric

HOUR = 3600.0
MOST_MODELS = 15


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What a trial holds while it runs."""

    name: str
    """`GPU` or `core`."""
    share: float
    """So many of them at once, which may be less than one GPU."""

    def hours(self, seconds: float) -> float:
        return seconds / HOUR * self.share


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What some trials, or one stretch of epochs of theirs, took."""

    name: str
    trials: int
    epochs: int
    seconds: float
    """Of all of them, one after another."""

    @property
    def each(self) -> float:
        """Seconds a trial; 0 without trials."""
        return self.seconds / self.trials if self.trials else 0.0


def devices(record: SearchRecord) -> Devices:
    """What a trial of the search holds: its share of GPUs, or cores where it has none."""
    gpus = float(record.asked.get("gpus_per_trial") or 0)
    if gpus:
        return Devices(name="GPU", share=gpus)
    return Devices(name="core", share=float(record.asked.get("cpus_per_trial") or 1))


def by_outcome(record: SearchRecord) -> list[Cost]:
    """All trials by how they ended, finals by themselves; an outcome without trials is left out."""
    stopped = {str(rung["trial_id"]) for rung in record.rungs if rung["stop"]}
    kinds: dict[str, Callable[[TrialRecord], bool]] = {
        "complete": lambda t: t.state == "COMPLETE" and not t.of,
        "stopped early": lambda t: t.state == "PRUNED" and not t.of and t.trial_id in stopped,
        "cut off": lambda t: t.state == "PRUNED" and not t.of and t.trial_id not in stopped,
        "finals": lambda t: bool(t.of) and t.state in ("COMPLETE", "PRUNED"),
        "failed": lambda t: t.state == "FAIL",
        "still running": lambda t: t.state == "RUNNING",
    }
    return [
        _cost(name, trials)
        for name, holds in kinds.items()
        if (trials := [t for t in record.trials.values() if holds(t)])
    ]


def by_rung(record: SearchRecord) -> list[Cost]:
    """The epochs of the search proper's trials from one rung to the next, and what was no epoch."""
    trials = [t for t in record.trials.values() if not t.of]
    bounds = [0.0, *(float(level.epoch or 0) for level in levels(record)[:-1]), np.inf]
    found = []
    for low, high in pairwise(bounds):
        rows = [[row for row in t.reports if low < row["epoch"] <= high] for t in trials]
        there = [some for some in rows if some]
        name = f"epochs {low + 1:.0f} to {'the end' if np.isinf(high) else f'{high:.0f}'}"
        seconds = sum(row["seconds"] or 0.0 for some in there for row in some)
        found.append(Cost(name=name, trials=len(there), epochs=sum(map(len, there)), seconds=seconds))
    beside = sum(t.seconds for t in trials) - sum(cost.seconds for cost in found)
    found.append(Cost(name="beside epochs", trials=len(trials), epochs=0, seconds=max(beside, 0.0)))
    return found


def by_model(record: SearchRecord) -> dict[str, list[TrialRecord]]:
    """The search proper's trials that reported an epoch, by their network; the dearest first."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in record.trials.values():
        if not trial.of and trial.reports:
            groups.setdefault(str(trial.params.get("model", "?")), []).append(trial)
    return dict(sorted(groups.items(), key=lambda pair: -sum(t.seconds for t in pair[1])))


def _cost(name: str, trials: Sequence[TrialRecord]) -> Cost:
    return Cost(
        name=name,
        trials=len(trials),
        epochs=sum(t.epoch for t in trials),
        seconds=sum(t.seconds for t in trials),
    )


def blocks(record: SearchRecord, metric: Metric) -> list[Block]:
    """Where the time went: by outcome, by rung, by network."""
    found = by_outcome(record)
    if not found:
        return [Text("No trial was begun: nothing was spent.")]
    held = devices(record)
    made: list[Block] = [
        Text(_summary(record, found, held)),
        _table("What the trials cost, by how they ended.", "trials that are", found, held),
    ]
    rungs = [cost for cost in by_rung(record) if cost.trials]
    if len(rungs) > 1:
        made.append(_table("What each rung of the search proper cost.", "stretch", rungs, held))
    if models := by_model(record):
        made.append(_model_table(record, models, held, metric))
    return made


def _summary(record: SearchRecord, found: Sequence[Cost], held: Devices) -> str:
    spent = sum(cost.seconds for cost in found)
    lasted = max(t.started + t.seconds for t in record.trials.values())
    trials = sum(cost.trials for cost in found)
    failed = next((cost for cost in found if cost.name == "failed"), None)
    wasted = "No trial failed."
    if failed is not None:
        share = f", {failed.seconds / spent:.1%} of all" if spent else ""
        wasted = (
            f"{failed.trials} failed and wasted {clock(failed.seconds)} "
            f"({held.hours(failed.seconds):.3g} {held.name}-hours{share})."
        )
    slots = int(record.asked.get("slots") or 0)
    used = f", {spent / (slots * lasted):.0%} of what its {slots} slots had" if slots and lasted else ""
    return (
        f"{counted(trials)} took {clock(spent)} one after another in {clock(lasted)} by the clock{used}: "
        f"{held.hours(spent):.3g} {held.name}-hours, {held.share:g} {held.name} a trial. {wasted}"
    )


def _table(caption: str, what: str, found: Sequence[Cost], held: Devices) -> Table:
    spent = sum(cost.seconds for cost in found)
    total = Cost(name="all", trials=0, epochs=sum(cost.epochs for cost in found), seconds=spent)
    return Table(
        caption=caption,
        columns=(what, "trials", "epochs", "seconds a trial", f"{held.name}-hours", "share"),
        rows=tuple(_row(cost, held, spent) for cost in (*found, total)),
        strong=frozenset({len(found)}),
    )


def _row(cost: Cost, held: Devices, spent: float) -> tuple[str, ...]:
    return (
        cost.name,
        str(cost.trials) if cost.trials else "",
        str(cost.epochs) if cost.epochs else "",
        f"{cost.each:.1f}" if cost.trials else "",
        f"{held.hours(cost.seconds):.3g}",
        f"{cost.seconds / spent:.1%}" if spent else "–",
    )


def _model_table(
    record: SearchRecord, models: dict[str, list[TrialRecord]], held: Devices, metric: Metric
) -> Table:
    rows = []
    for name, trials in list(models.items())[:MOST_MODELS]:
        seconds = sum(t.seconds for t in trials)
        values = [t.value for t in trials if t.value is not None]
        rows.append(
            (
                name,
                str(len(trials)),
                f"{_median(row['seconds'] for t in trials for row in t.reports):.2f}",
                f"{seconds / len(trials):.1f}",
                f"{held.hours(seconds):.3g}",
                score(max(values, key=metric.utility)) if values else "–",
            )
        )
    more = len(models) - len(rows)
    return Table(
        caption="What each network cost in the search proper.",
        columns=(
            "network",
            "trials",
            "seconds an epoch",
            "seconds a trial",
            f"{held.name}-hours",
            f"best {metric.name}",
        ),
        rows=tuple(rows),
        notes=("Seconds an epoch: the median.", *([f"{more} cheaper ones are not shown."] if more else [])),
    )


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else float("nan")
