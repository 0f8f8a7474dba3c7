"""Training what an ablation still misses: a search's machinery under a conductor that stops nothing early."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import resuming
from orchestrator.ablation import places, planned
from orchestrator.ablation.design import BASE
from orchestrator.ablation.outcome import Outcome
from orchestrator.ablation.planned import MORE_SEEDS, Extension
from orchestrator.ablation.prepared import Ready
from orchestrator.ablation.shared import finished, is_whole, key_of, take_over
from orchestrator.display import say
from orchestrator.folders import SearchFolder, point_latest
from orchestrator.job import origin
from orchestrator.journal import Journal, SearchRecord
from orchestrator.room import Room
from orchestrator.trust import source_of, space_of
from trainables.config import TrialConfig
from trainables.task import Task, load_task

if TYPE_CHECKING:
    from orchestrator.ablation.conducted import AblationConductor
    from trainables.store import Store

MOST_FURTHER = 10
"""Seeds that `--decide` adds, at most; ties that would need more stay ties."""


def begin(ready: Ready, ablation_id: str | None) -> SearchFolder:
    """Make the folder of a new ablation, with the data decoded and the finished trials taken over.

    Nothing is trained yet: `go_on` does.
    """
    store = _filled(ready)
    folder = places.create(ready.home, ablation_id)
    asked = _asked_event(ready, store, folder)
    folder.asked.write_text(json.dumps(asked, indent=1))
    with contextlib.closing(Journal(folder.journal)) as book:
        record = SearchRecord(asked=book.append("search", **asked))
        _share(folder, book, record)
    point_latest(folder)
    return folder


def go_on(folder: SearchFolder, *, again: bool = True) -> int | None:
    """Train what is missing, on a Ray of this machine; the number of the signal that ended it early.

    What failed before is tried `again`. Raises UsageError where the task is gone or not trusted.
    """
    record, plan = planned.read(folder)
    missing = _missing(record, plan.trials(), again=again)
    if not missing:
        return None
    from orchestrator import connect

    task = load_task(source_of(record.asked))
    task = task.under(space_of(record.asked, task.space))
    slots = min(record.asked["slots"], len(missing))
    cpus, gpus = record.asked["cpus_per_trial"], record.asked["gpus_per_trial"]
    with (
        resuming.alone(folder),
        connect.cluster(address=None, cpus=slots * cpus, gpus=math.ceil(slots * gpus)),
    ):
        folder.stop.unlink(missing_ok=True)
        return _conduct(folder, task, record, missing, slots)


def decide(folder: SearchFolder, outcome: Outcome) -> list[str]:
    """Plan further seeds for the ties that few of them would decide; sentences on it, or none.

    Each gets as many as the one that needs most, at most `MOST_FURTHER`, and the base with them.
    """
    wanted = [row for row in outcome.ties if row.comparison and _few(row.comparison.more)]
    if outcome.open or not wanted:
        return []
    count = max(row.comparison.more or 0 for row in wanted if row.comparison)
    extension = Extension(rows=tuple(row.row.name for row in wanted), seeds=outcome.planned.further(count))
    with contextlib.closing(Journal(folder.journal)) as book:
        book.append(MORE_SEEDS, **dataclasses.asdict(extension))
        record, _ = planned.read(folder)
        _share(folder, book, record)
    names = "; ".join(extension.rows)
    return [f"{count} further seeds may decide {names}: {count * (len(wanted) + 1)} more trials with {BASE}."]


def _few(more: int | None) -> bool:
    return more is not None and more <= MOST_FURTHER


def _filled(ready: Ready) -> "Store":
    """The decoded pictures, once the base's network was built to see that it can be."""
    from orchestrator.display import store_progress
    from orchestrator.preflight import check_models
    from trainables import store

    prepared = ready.prepared
    configs = [row.config(0) for row in ready.planned.rows]
    heads = prepared.task.kind.heads
    for note in check_models(configs, task=prepared.source, space=prepared.space, heads=heads):
        say(note)
    with store_progress() as progress:
        return store.prepare(
            prepared.task,
            prepared.splits,
            side=ready.side,
            root=prepared.asked.out / "stores",
            uncut=prepared.uncut,
            progress=progress,
        )


def _asked_event(ready: Ready, store: "Store", folder: SearchFolder) -> dict[str, Any]:
    return {
        **origin(ready.prepared, store, folder),
        "seed": ready.planned.seeds[0],
        "trials": len(ready.planned.trials()),
        "time_limit_s": None,
        "max_epochs": ready.planned.base.params["epochs"],
        "strategy": "ablation",
        "ablation": ready.planned.to_json(),
    }


def _share(folder: SearchFolder, book: Journal, record: SearchRecord) -> None:
    """Take over what was trained before, and say how much that is."""
    plan = planned.read(folder)[1]
    missing = _missing(record, plan.trials())
    home = folder.path.parent.parent
    found = finished(home, record.asked["fingerprint"], missing)
    take_over(folder, book, record, list(found.values()))
    if found:
        say(f"{len(found)} of {len(missing)} trials were trained before, and are taken over.")


def _missing(record: SearchRecord, trials: Sequence[TrialConfig], *, again: bool = True) -> list[TrialConfig]:
    done = {
        key_of(trial.params)
        for trial in record.trials.values()
        if is_whole(trial) or (trial.state == "FAIL" and not again)
    }
    return [config for config in trials if key_of(config.params()) not in done]


def _conduct(
    folder: SearchFolder, task: Task, record: SearchRecord, missing: Sequence[TrialConfig], slots: int
) -> int | None:
    from orchestrator import tune
    from orchestrator.display import make_display
    from orchestrator.ending import logging_to, orderly_end
    from orchestrator.tracker import Tracker

    asked = record.asked
    record.finished = None
    record.asked = {**asked, "trials": len(record.trials) + len(missing)}
    tracker = Tracker(folder)
    with contextlib.ExitStack() as stack:
        book = stack.enter_context(contextlib.closing(Journal(folder.journal)))
        stack.enter_context(logging_to(folder.log))
        stack.callback(lambda: say(tracker.close()))
        tracker.start()
        display = stack.enter_context(make_display(record, link=tracker.link))
        conductor = _conductor(task, book, record, missing, slots)
        room = Room(conductor=conductor, folder=folder)
        conductor.listen, book.wait = room.behind(display.event), room.wait
        signals = stack.enter_context(orderly_end(conductor, folder))
        tune.run(
            conductor,
            tune.Workplace(
                task=asked["source"],
                space=asked["space"],
                store=Path(asked["store"]),
                folder=folder,
                threads=asked["cpus_per_trial"],
                deadline=tune.seconds_from_now(None),
            ),
            cpus=asked["cpus_per_trial"],
            gpus=asked["gpus_per_trial"],
            hold=room.wait,
        )
        conductor.note("finish", reason=conductor.stopped or "ended")
        return next(iter(signals), None)


def _conductor(
    task: Task, book: Journal, record: SearchRecord, missing: Sequence[TrialConfig], slots: int
) -> "AblationConductor":
    from orchestrator.ablation.conducted import AblationConductor
    from orchestrator.asha import Asha, rungs_for
    from orchestrator.study import Study
    from trainables.named import load_named

    study = Study(
        load_named("search_spaces", task.space, "space", "search space"),
        direction=task.metric.direction,
        seed=0,
        defaults={},
        fixed={},
        context={},
        candidates=missing,
    )
    return AblationConductor(
        study=study,
        asha=Asha(rungs_for(max(config.epochs for config in missing), timed=False)),
        metric=task.metric,
        journal=book,
        record=record,
        slots=slots,
        trials=None,
        deadline=math.inf,
        listen=lambda event, record: None,
    )
