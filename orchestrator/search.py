"""The whole job: check, prepare, search, ensemble, submission.

python -m orchestrator.search TASK
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator import cli, plan
from orchestrator.finals import FinalOn, Wanted
from orchestrator.job import SearchResult, how_to_go_on, resume, search
from orchestrator.prepare import LOCAL, Asked, Strategy, prepare
from orchestrator.room import parse_size
from orchestrator.standing import read_board
from orchestrator.summary import show_plan, show_result
from trainables.task import load_task

__all__ = ["SearchResult", "resume", "search"]

Data = Annotated[
    Path | None,
    typer.Option(help="Folder of the data; data/TASK by default. Without TASK: your own pictures."),
]
Space = Annotated[str | None, typer.Option(help="A space of search_spaces.", callback=cli.named)]
MaxEpochs = Annotated[int | None, typer.Option(min=1, help="Epochs of a trial that is not stopped.")]
HowChosen = Annotated[Strategy, typer.Option(help="asha, or guided by the past searches of --out.")]
TopK = Annotated[int | None, typer.Option("-k", min=1, help="Members of the ensemble; 5, or all the finals.")]
FinalSeeds = Annotated[
    int | None,
    typer.Option(min=0, help="Train the best configurations again with so many seeds; 2 with --time."),
]
FinalEpochs = Annotated[int | None, typer.Option(min=1, help="Epochs of these; as many as fit by default.")]
OnWhat = Annotated[
    FinalOn,
    typer.Option(help="train; train+valid, validated on nothing; or auto: the first seed, the others."),
]
Folds = Annotated[
    int | None, typer.Option(min=2, help="Train these as cross-validation over train and valid.")
]
Weights = Annotated[
    Path | None, typer.Option(help="Pretrained weights: a file, or a folder of MODEL.safetensors.")
]
Share = Annotated[
    str | None,
    typer.Option(help="s3://..., gs://...: by way of there the nodes of a cluster get the prepared images."),
]
Disk = Annotated[
    str | None,
    typer.Option(help="The search keeps below, such as 20GB: weights that are not among the best go."),
]
Resume = Annotated[
    str | None, typer.Option("--resume", metavar="[ID]", help="Go on with a search, the latest by default.")
]
Replay = Annotated[
    str | None, typer.Option(help="Train TRIAL, or SEARCH/TRIAL, again from its record, and compare.")
]


def main(
    task: cli.AnyTask = None,
    data: Data = None,
    out: cli.Out = cli.DEFAULT_OUT,
    space: Space = None,
    trials: Annotated[int | None, typer.Option(min=1, help="At most so many trials.")] = None,
    time_limit: Annotated[str | None, typer.Option("--time", help="For example 10m or 2h.")] = None,
    max_epochs: MaxEpochs = None,
    gpus_per_trial: cli.GpusPerTrial = "auto",
    cpus_per_trial: cli.CpusPerTrial = 1,
    strategy: HowChosen = "asha",
    top_k: TopK = None,
    final: FinalSeeds = None,
    final_epochs: FinalEpochs = None,
    final_on: OnWhat = "auto",
    folds: Folds = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster, auto, or local.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Fix a parameter: key=value.")] = None,
    weights: Weights = None,
    share: Share = None,
    disk: Disk = None,
    leaderboard: cli.Board = None,
    search_id: Annotated[str | None, typer.Option("--id", help="Name of this search.")] = None,
    resume_id: Resume = None,
    replay: Replay = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and end.")] = False,
    trust: cli.Trust = False,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Search models for a task, ensemble the best and write the submission."""
    task = cli.task_or_folder(task, data)
    if replay is not None:
        _replay(out, task, replay, as_json=as_json)
        return
    limit = None if time_limit is None else plan.parse_duration(time_limit)
    most = None if disk is None else parse_size(disk)
    if resume_id is not None:
        more = {"trials": trials, "time_limit_s": limit, "disk": most}
        changed = {k: v for k, v in more.items() if v} | where(address)
        _end(resume(task, out, resume_id, more=changed), as_json, leaderboard)
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
        **where(address),
        settings=plan.parse_settings(settings or []),
        weights=weights,
        search_id=search_id,
        disk=most,
        share=share,
    )
    if dry_run:
        show_plan(prepare(task, asked, resources=plan.resources_here()), as_json=as_json)
        return
    if leaderboard is not None:
        read_board(leaderboard, load_task(task).metric)  # a broken one is told before anything is spent
    _end(search(task, asked), as_json, leaderboard)


def where(address: str | None) -> dict[str, Any]:
    """What --address asks for; nothing where it is left out, so that --resume stays where the search was."""
    if address is None:
        return {}
    return {"address": None} if address == LOCAL else {"address": address}


def _end(result: SearchResult, as_json: bool, board: Path | None) -> None:
    """Show what came of it; of a search that ended early also how to go on, and a signal's exit code."""
    from orchestrator.display import say

    show_result(result, as_json=as_json, board=board)
    say(how_to_go_on(result.record))
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
python -m orchestrator.search food11 --time 8h --disk 20GB
python -m orchestrator.search food11 --resume
python -m orchestrator.search food11 --resume --address local
python -m orchestrator.search food11 --replay 0012
"""

if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
