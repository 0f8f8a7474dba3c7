"""A search from beginning to end: check, prepare, search, ensemble, submission; and going on with one."""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import folders, packing, plan, provenance, resuming, room
from orchestrator.ending import logging_to, orderly_end
from orchestrator.prepare import Asked, Prepared, prepare
from orchestrator.summary import about_data, about_rules
from orchestrator.trust import source_of, space_of, trust_file
from trainables import atomic
from trainables.errors import NoTrialSucceeded
from trainables.task import Task, load_task

if TYPE_CHECKING:
    from orchestrator.conductor import Conductor
    from orchestrator.ensemble import EnsembleResult
    from orchestrator.journal import SearchRecord
    from orchestrator.resuming import Before
    from orchestrator.tracker import Tracker
    from trainables.store import Store


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search leaves behind. `signal` is the number of the signal that ended it early, or None."""

    folder: folders.SearchFolder
    record: "SearchRecord"
    task: Task
    ensemble: "EnsembleResult"
    submission: Path | None
    pareto: Path | None
    """`pareto.csv`, where the trials' costs are known."""
    signal: int | None


def search(task_name: str, asked: Asked | None = None) -> SearchResult:
    """Search, ensemble and write the submission; see `Asked` and `SearchResult`.

    Raises OrchestratorError's subclasses; NoTrialSucceeded when there is nothing to ensemble.
    """
    trust_file(task_name)
    return _search(task_name, asked or Asked())


def resume(task_name: str, out: Path, which: str, *, more: Mapping[str, Any] | None = None) -> SearchResult:
    """Go on with a search that was cut off, or, with `more`, with one that ended: its id, or `latest`.

    `more` may have `disk`, `address` where to go on, or `trials` or `time_limit_s` of the search in all. No
    trial that ended is trained again, one that ran goes on behind its last whole epoch, and what is
    suggested then is what would have been. Raises as `search`; UsageError while the search runs or is not
    trusted, DataError for a damaged journal or other data.
    """
    trust_file(task_name)
    folder = folders.find(out, load_task(task_name).name, None if which == "latest" else which)
    before = resuming.before(folder)
    source = source_of(before.record.asked)
    asked = replace(resuming.wish_of(before.record, folder), **(more or {}))
    if asked.address is None:
        asked = replace(asked, share=None)  # which only nodes of a cluster read
    space_of({**before.record.asked, "space": asked.space}, load_task(source).space)
    return _search(source, asked, before)


def how_to_go_on(record: "SearchRecord") -> str:
    """The command that goes on with a search that ended before it was over; empty for any other."""
    from orchestrator.journal import OPEN

    if not (record.finished or "").startswith(OPEN):
        return ""
    source, name = record.asked["source"], record.asked["search_id"]
    return f"Go on with: python -m orchestrator.search {source} --resume {name}"


def _search(task_name: str, asked: Asked, before: "Before | None" = None) -> SearchResult:
    from orchestrator import connect
    from orchestrator.display import say
    from orchestrator.tracker import Tracker

    started = time.monotonic() - (before.spent if before else 0.0)
    here = plan.resources_here()
    with contextlib.ExitStack() as stack:
        if asked.address is not None:
            here = stack.enter_context(connect.cluster(address=asked.address, cpus=0, gpus=0))
        if before is not None:
            asked = packing.as_before(asked, before.record.asked["gpus_per_trial"], here)
        prepared = prepare(task_name, asked, resources=here)
        if before is None:
            say(_about_room(prepared), warning=True)
        search_id = _place(prepared, before)
        if asked.address is None:
            slots = packing.most_slots(prepared, here)
            cpus, gpus = slots * asked.cpus_per_trial, int(here.get("GPU", 0))
            ready = stack.enter_context(connect.cluster_ahead(cpus=cpus, gpus=gpus))
        costs = () if before else _costs_of(prepared)
        store = _fill_store(prepared, costs)
        if before is None:
            prepared = packing.settled(prepared, store, here)
            say(prepared.plan.packing)
        else:
            resuming.require_same(before, store.fingerprint)
        if asked.address is None:
            ready()
        known = folders.find if before else folders.create
        folder = known(asked.out, prepared.task.name, search_id)
        stack.enter_context(resuming.alone(folder))
        tracker = Tracker(folder)
        stack.callback(lambda: say(tracker.close()))
        record, number = _run(prepared, store, folder, tracker, started=started, before=before)
        return _conclude(prepared, folder, record, number)


def _about_room(prepared: Prepared) -> str:
    """What there is to say of the disk before anything is written to it; empty where it has room."""
    planned, asked = prepared.plan, prepared.asked
    trials = planned.disk_bytes - planned.store_bytes
    return room.forecast(asked.out, trials=trials, store=planned.store_bytes, cap=asked.disk)


def _place(prepared: Prepared, before: "Before | None") -> str:
    """The id of the search: a new one, or the one that goes on."""
    asked = prepared.asked
    if before is not None:
        return str(before.record.asked["search_id"])
    return folders.new(asked.out, prepared.task.name, asked.search_id).search_id


def _costs_of(prepared: Prepared) -> tuple[str, ...]:
    """What the models of the space cost; each is built once, to see that it can be before time is spent."""
    from orchestrator.preflight import check_models

    return check_models(
        prepared.configs, task=prepared.source, space=prepared.space, heads=prepared.task.kind.heads
    )


def _fill_store(prepared: Prepared, costs: Sequence[str]) -> "Store":
    """The decoded pictures, and what there is to say of them, of the rules and of the `costs`."""
    from orchestrator.display import say, store_progress
    from trainables import store
    from trainables.folding import write_folds
    from trainables.grouping import as_stored

    for note in (*about_data(prepared), *about_rules(prepared), *prepared.splits.notes, *costs):
        say(note)
    with store_progress() as progress:
        filled = store.prepare(
            prepared.task,
            prepared.splits,
            side=prepared.plan.side,
            root=prepared.asked.out / "stores",
            uncut=prepared.uncut,
            progress=progress,
        )
    if prepared.plan.finals is not None and prepared.plan.finals.folds > 1:
        stored = {name: (part.ids, part.groups) for name, part in filled.parts.items()}
        splits = as_stored(prepared.splits, prepared.uncut, stored)
        write_folds(filled, splits, prepared.plan.finals.folds)
    for note in filled.notes:
        say(note)
    for finding in filled.findings:
        say(finding.text, warning=finding.severity != "note")
    for bad in filled.quarantined:
        answered = "; it is answered as a gray picture" if bad.part == "test" else "; left out"
        say(f"{bad.part} picture {bad.file} cannot be read: {bad.reason}{answered}", warning=True)
    return filled


def _run(
    prepared: Prepared,
    store: "Store",
    folder: folders.SearchFolder,
    tracker: "Tracker",
    *,
    started: float,
    before: "Before | None",
) -> tuple["SearchRecord", int | None]:
    """Run the trials; the record, and the number of the signal that ended them early.

    `started` is when the search began, of the monotonic clock; without the time between two processes.
    """
    from orchestrator import tune
    from orchestrator.conducting import conductor_for
    from orchestrator.display import make_display
    from orchestrator.ensemble import MEMBERS
    from orchestrator.journal import Journal, SearchRecord

    asked, budget = prepared.asked, prepared.plan.budget
    left = None if budget.time_limit_s is None else budget.time_limit_s - (time.monotonic() - started)
    book = Journal(folder.journal)
    if before is None:
        told = _asked_event(prepared, store, folder, left=left)
        atomic.write(folder.asked, json.dumps(told, indent=1).encode())
        record = SearchRecord(asked=book.append("search", **told))
    else:
        record = SearchRecord(asked=before.events[0])
        folder.stop.unlink(missing_ok=True)
    folders.point_latest(folder)
    with contextlib.ExitStack() as stack:
        stack.callback(book.close)
        stack.enter_context(logging_to(folder.log))
        tracker.start()
        display = stack.enter_context(make_display(record, link=tracker.link))
        conductor = conductor_for(
            prepared,
            book,
            record,
            left=budget.time_limit_s if before else left,
            listen=display.event,
            begun=started if before else None,
        )
        if before is not None:
            _retrace(conductor, before, prepared)
        disk = room.Room(conductor=conductor, folder=folder, cap=asked.disk, keep=asked.top_k or MEMBERS)
        conductor.listen, book.wait = disk.behind(display.event), disk.wait
        disk.tidy()
        signals = stack.enter_context(orderly_end(conductor, folder))
        if conductor.over:
            conductor.note("finish", reason=conductor.stopped)
            return record, next(iter(signals), None)
        tune.run(
            conductor,
            tune.Workplace(
                task=prepared.source,
                space=prepared.space,
                store=store.folder,
                folder=folder,
                threads=budget.cpus_per_trial,
                deadline=tune.seconds_from_now(left),
            ),
            cpus=budget.cpus_per_trial,
            gpus=budget.gpus_per_trial,
            hold=disk.wait,
        )
        disk.tidy()
        conductor.note("finish", reason=conductor.stopped or "ended")
    return record, next(iter(signals), None)


def _retrace(conductor: "Conductor", before: "Before", prepared: Prepared) -> None:
    """Bring the conductor to where the search was, and say what goes on."""
    from orchestrator.display import say
    from orchestrator.final_conductor import FinalConductor
    from orchestrator.journal import OPEN

    strange = conductor.resume(before.events[1:], unwritten=before.unwritten)
    if strange:
        say(f"Trials {', '.join(strange)} are not suggested by this version: nothing is learned from them.")
    cut = [t.trial_id for t in conductor.record.trials.values() if t.state == "RUNNING"]
    conductor.note("resume", cut=cut, unwritten=list(before.unwritten), limit=prepared.plan.budget.trials)
    ended = before.record.finished and not before.record.finished.startswith(OPEN)
    if isinstance(conductor, FinalConductor) and ended and not conductor.late:
        conductor.note("extend", seconds=round(conductor.until - conductor.clock(), 1))
        conductor.extend()


def _asked_event(
    prepared: Prepared, store: "Store", folder: folders.SearchFolder, *, left: float | None
) -> dict[str, Any]:
    budget = prepared.plan.budget
    return {
        **origin(prepared, store, folder),
        "seed": prepared.asked.seed,
        "trials": budget.trials,
        "time_limit_s": left,
        "max_epochs": budget.rungs.max_epochs,
        **_strategy(prepared),
        "finals": None if prepared.plan.finals is None else asdict(prepared.plan.finals),
        "wish": resuming.wish_json(prepared.asked),
    }


def origin(prepared: Prepared, store: "Store", folder: folders.SearchFolder) -> dict[str, Any]:
    """Of what a search or an ablation is made: task, data, slots, versions, host; for its journal."""
    task, budget = prepared.task, prepared.plan.budget
    return {
        "task": task.name,
        "source": prepared.source,
        "rules": list(task.rules.sentences()),
        "search_id": folder.search_id,
        "direction": task.metric.direction,
        "metric": task.metric.name,
        "slots": budget.slots,
        "cpus_per_trial": budget.cpus_per_trial,
        "gpus_per_trial": budget.gpus_per_trial,
        "share": prepared.asked.share or "",
        "weights": str(prepared.study["fixed"].get("weights", "")),
        "space": prepared.space,
        "fixed": dict(prepared.asked.settings),
        "data": str(prepared.root),
        "store": str(store.folder),
        "fingerprint": store.fingerprint,
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "host": provenance.host(),
        "command": provenance.command(),
    }


def _strategy(prepared: Prepared) -> dict[str, Any]:
    """What decides which trials run and how long, for the record."""
    guidance, rungs = prepared.plan.guidance, prepared.plan.budget.rungs
    if guidance is not None:
        past = {"past_searches": guidance.searches, "past_trials": guidance.trials}
        return {"strategy": "guided", **past, "compared_after": guidance.compared_after}
    return {"strategy": "asha", "rungs": rungs.epochs, "reduction_factor": rungs.reduction_factor}


def _conclude(
    prepared: Prepared, folder: folders.SearchFolder, record: "SearchRecord", number: int | None
) -> SearchResult:
    """Leaderboard, ensemble and submission of what the trials left on disk."""
    from orchestrator import leaderboard, pareto
    from orchestrator.ensemble import ensemble
    from orchestrator.submit import submit

    leaderboard.write(record, folder.leaderboard)
    if not record.ranked():
        reasons = [trial.reason for trial in record.trials.values() if trial.reason]
        first = reasons[0] if reasons else (record.finished or "no trial was started")
        raise NoTrialSucceeded(
            f"No trial of {folder.search_id} succeeded. The first error: {first}",
            fix=f"Logs of the trials: {folder.path / 'trials'}. {how_to_go_on(record)}".rstrip(". ") + ".",
        )
    result = ensemble(folder, task=prepared.task, k=prepared.asked.top_k)
    submission = submit(folder, task=prepared.task) if prepared.splits.test else None
    return SearchResult(
        folder=folder,
        record=record,
        task=prepared.task,
        ensemble=result,
        submission=submission,
        pareto=pareto.write(folder, record, prepared.task.metric),
        signal=number,
    )
