"""The whole job: check, prepare, search, ensemble, submission.

python -m orchestrator.search TASK
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import cli, plan
from orchestrator.finals import FinalOn, Wanted
from orchestrator.job import SearchResult, resume, search
from orchestrator.prepare import Asked, Strategy, prepare
from orchestrator.standing import read_board
from orchestrator.summary import show_plan, show_result
from trainables.task import load_task

__all__ = ["SearchResult", "resume", "search"]


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
    resume_id: Annotated[
        str | None,
        typer.Option("--resume", metavar="[ID]", help="Go on with a search, the latest by default."),
    ] = None,
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
    limit = None if time_limit is None else plan.parse_duration(time_limit)
    if resume_id is not None:
        more = {"trials": trials, "time_limit_s": limit}
        _end(resume(task, out, resume_id, more={k: v for k, v in more.items() if v}), as_json, leaderboard)
        return
    asked = Asked(
        data=data,
        out=out,
        space=space,
        trials=trials,
        time_limit_s=limit,
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
    _end(search(task, asked), as_json, leaderboard)


def _end(result: SearchResult, as_json: bool, board: Path | None) -> None:
    """Show what came of it; of a search that was ended early also how to go on, and with its exit code."""
    from orchestrator.display import say

    show_result(result, as_json=as_json, board=board)
    if result.signal is not None:
        name, source = result.folder.search_id, result.record.asked["source"]
        say(f"Go on with: python -m orchestrator.search {source} --resume {name}")
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
python -m orchestrator.search food11 --resume
python -m orchestrator.search food11 --replay 0012
"""

if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
