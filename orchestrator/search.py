"""The whole job: check, prepare, search, ensemble, submission.

python -m orchestrator.search TASK
"""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator import cli, folders, plan, provenance
from orchestrator.ending import logging_to, orderly_end
from orchestrator.finals import FinalOn, Wanted
from orchestrator.prepare import Asked, Prepared, Strategy, prepare
from orchestrator.standing import read_board
from orchestrator.summary import about_data, about_rules, show_plan, show_result
from trainables.errors import NoTrialSucceeded
from trainables.task import Task, load_task

if TYPE_CHECKING:
    from orchestrator.ensemble import EnsembleResult
    from orchestrator.journal import SearchRecord
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
    from orchestrator import tune
    from orchestrator.display import say
    from orchestrator.tracker import Tracker

    asked = asked or Asked()
    started = time.monotonic()
    here = plan.resources_here()
    with contextlib.ExitStack() as stack:
        if asked.address is not None:
            here = stack.enter_context(tune.cluster(address=asked.address, cpus=0, gpus=0))
        prepared = prepare(task_name, asked, resources=here)
        search_id = folders.new(asked.out, prepared.task.name, asked.search_id).search_id
        if asked.address is None:
            budget = prepared.plan.budget
            cpus, gpus = budget.slots * budget.cpus_per_trial, int(here.get("GPU", 0))
            ready = stack.enter_context(tune.cluster_ahead(cpus=cpus, gpus=gpus))
        store = _fill_store(prepared)
        folder = folders.create(asked.out, prepared.task.name, search_id)
        if asked.address is None:
            ready()
        tracker = Tracker(folder)
        stack.callback(lambda: say(tracker.close()))
        record, number = _run(prepared, store, folder, tracker, started=started)
        return _conclude(prepared, folder, record, number)


def _fill_store(prepared: Prepared) -> "Store":
    """The decoded pictures, while the models of the space are built once to see that they can be."""
    from orchestrator.display import say, store_progress
    from orchestrator.preflight import check_models
    from trainables import store
    from trainables.folding import write_folds
    from trainables.grouping import as_stored

    costs = check_models(
        prepared.configs, task=prepared.source, space=prepared.space, heads=prepared.task.kind.heads
    )
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
    prepared: Prepared, store: "Store", folder: folders.SearchFolder, tracker: "Tracker", *, started: float
) -> tuple["SearchRecord", int | None]:
    """Run the trials; the record, and the number of the signal that ended them early."""
    from orchestrator import tune
    from orchestrator.conducting import conductor_for
    from orchestrator.display import make_display
    from orchestrator.journal import Journal, SearchRecord

    budget = prepared.plan.budget
    left = None if budget.time_limit_s is None else budget.time_limit_s - (time.monotonic() - started)
    asked = _asked_event(prepared, store, folder, left=left)
    folder.asked.write_text(json.dumps(asked, indent=1))
    journal = Journal(folder.journal)
    record = SearchRecord(asked=journal.append("search", **asked))
    folders.point_latest(folder)
    with contextlib.ExitStack() as stack:
        stack.callback(journal.close)
        stack.enter_context(logging_to(folder.log))
        tracker.start()
        display = stack.enter_context(make_display(record, link=tracker.link))
        conductor = conductor_for(prepared, journal, record, left=left, listen=display.event)
        signals = stack.enter_context(orderly_end(conductor, folder))
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
        )
        conductor.note("finish", reason=conductor.stopped or "ended")
    return record, next(iter(signals), None)


def _asked_event(
    prepared: Prepared, store: "Store", folder: folders.SearchFolder, *, left: float | None
) -> dict[str, Any]:
    task, budget, rungs = prepared.task, prepared.plan.budget, prepared.plan.budget.rungs
    return {
        "task": task.name,
        "source": prepared.source,
        "rules": list(task.rules.sentences()),
        "search_id": folder.search_id,
        "direction": task.metric.direction,
        "metric": task.metric.name,
        "seed": prepared.asked.seed,
        "trials": budget.trials,
        "time_limit_s": left,
        "max_epochs": rungs.max_epochs,
        "slots": budget.slots,
        "cpus_per_trial": budget.cpus_per_trial,
        "gpus_per_trial": budget.gpus_per_trial,
        "space": prepared.space,
        **_strategy(prepared),
        "fixed": dict(prepared.asked.settings),
        "finals": None if prepared.plan.finals is None else asdict(prepared.plan.finals),
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
            fix=f"Logs of the trials: {folder.path / 'trials'}",
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


def main(
    task: cli.AnyTask = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the data; data/TASK by default. Without TASK: your own pictures."),
    ] = None,
    out: cli.Out = cli.DEFAULT_OUT,
    space: Annotated[str | None, typer.Option(help="A space of search_spaces.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="At most so many trials.")] = None,
    time_limit: Annotated[str | None, typer.Option("--time", help="For example 10m or 2h.")] = None,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of a trial that is not stopped.")
    ] = None,
    gpus_per_trial: Annotated[str, typer.Option(help="auto, or a share such as 0.5.")] = "auto",
    cpus_per_trial: Annotated[int, typer.Option(min=1, help="Cores of a trial.")] = 1,
    strategy: Annotated[
        Strategy, typer.Option(help="asha, or guided by the past searches of --out.")
    ] = "asha",
    top_k: Annotated[
        int | None, typer.Option("-k", min=1, help="Members of the ensemble; 5, or all the finals.")
    ] = None,
    final: Annotated[
        int | None,
        typer.Option(min=0, help="Train the best configurations again with so many seeds; 2 with --time."),
    ] = None,
    final_epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of these; as many as fit by default.")
    ] = None,
    final_on: Annotated[
        FinalOn,
        typer.Option(help="train; train+valid, validated on nothing; or auto: the first seed, the others."),
    ] = "auto",
    folds: Annotated[
        int | None, typer.Option(min=2, help="Train these as cross-validation over train and valid.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster, or auto.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Fix a parameter: key=value.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Pretrained weights: a file, or a folder of MODEL.safetensors.")
    ] = None,
    leaderboard: cli.Board = None,
    search_id: Annotated[str | None, typer.Option("--id", help="Name of this search.")] = None,
    replay: Annotated[
        str | None, typer.Option(help="Train TRIAL, or SEARCH/TRIAL, again from its record, and compare.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and end.")] = False,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Search models for a task, ensemble the best and write the submission."""
    task = cli.task_or_folder(task, data)
    if replay is not None:
        _replay(out, task, replay, as_json=as_json)
        return
    asked = Asked(
        data=data,
        out=out,
        space=space,
        trials=trials,
        time_limit_s=None if time_limit is None else plan.parse_duration(time_limit),
        max_epochs=max_epochs,
        gpus_per_trial=plan.parse_share(gpus_per_trial),
        cpus_per_trial=cpus_per_trial,
        strategy=strategy,
        top_k=top_k,
        finals=Wanted(seeds=final, epochs=final_epochs, folds=folds or 0, on=final_on),
        seed=seed,
        address=address,
        settings=plan.parse_settings(settings or []),
        weights=weights,
        search_id=search_id,
    )
    if dry_run:
        show_plan(prepare(task, asked, resources=plan.resources_here()), as_json=as_json)
        return
    if leaderboard is not None:
        read_board(leaderboard, load_task(task).metric)  # a broken one is told before anything is spent
    result = search(task, asked)
    show_result(result, as_json=as_json, board=leaderboard)
    if result.signal is not None:
        raise SystemExit(128 + result.signal)


def _replay(out: Path, task: str, which: str, *, as_json: bool) -> None:
    """Say each epoch, then whether the trial came out the same; exit code 1 where it did not even alike."""
    from orchestrator.again import replay
    from orchestrator.display import say

    metric = load_task(task).metric.name
    found = replay(
        out, task, which, heard=lambda row: say(f"epoch {row.epoch}: {metric} {row.valid_metric:.4f}")
    )
    print(json.dumps(found.to_json()) if as_json else found.sentence())
    if not found.close:
        raise SystemExit(1)


EXAMPLES = """
python -m orchestrator.search digits
python -m orchestrator.search food11 --data ~/food11 --time 2h
python -m orchestrator.search --data my_photos/ --time 20m
python -m orchestrator.search my_task.py --data my_data/
python -m orchestrator.search food11 --set optimizer=sgd --dry-run
python -m orchestrator.search food11 --replay 0012
"""

if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
