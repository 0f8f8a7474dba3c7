"""Which choice made the difference: variants of one configuration, each trained with the same seeds.

python -m orchestrator.ablate TASK

Rows differ from the base in one factor, in pairs or in all. Another optimizer gets its own learning rate and
weight decay: those of the search's best trial with it, else the middle of what the space draws for it, else
by a rule of thumb from the base's; the table says which. All else of a row is the base's.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator import cli, plan
from orchestrator.ablation import places
from orchestrator.ablation.design import Design
from orchestrator.ablation.factors import BUILT_IN
from orchestrator.ablation.prepared import SEEDS, Ready, Wish, lines_of, make_ready, row_json
from orchestrator.display import say
from orchestrator.evidence.content import Table
from orchestrator.folders import SearchFolder
from orchestrator.trust import trust_file
from trainables.errors import NoTrialSucceeded, UsageError
from trainables.task import load_task

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.ablation.outcome import Outcome

GAP = 2


def ablate(wish: Wish, *, decide: bool = False) -> tuple["Outcome", int | None]:
    """Train and compare; what was found, and the number of the signal that ended it early.

    Raises OrchestratorError's subclasses; NoTrialSucceeded where no trial of the base came to its end.
    """
    from orchestrator.ablation import running

    for name in (wish.task, wish.space or ""):
        trust_file(name)
    ready = make_ready(wish, resources=plan.resources_here())
    rows, trials = len(ready.planned.rows), len(ready.planned.trials())
    for note in (f"{rows} rows, {trials} trials.", *ready.planned.notes):
        say(note)
    return finish(running.begin(ready, wish.ablation_id), decide=decide)


def finish(folder: SearchFolder, *, decide: bool = False) -> tuple["Outcome", int | None]:
    """Train what is missing, and with `decide` the seeds that may decide ties; as `ablate`."""
    from orchestrator.ablation import running

    number = running.go_on(folder)
    outcome = compared(folder)
    if decide and number is None:
        said = running.decide(folder, outcome)
        for sentence in said or ["No tie that few seeds would decide."]:
            say(sentence)
        if said:
            number = running.go_on(folder, again=False)
            outcome = compared(folder)
    return outcome, number


def compared(folder: SearchFolder) -> "Outcome":
    """The tables made again from the journal and the stored predictions, and written; trains nothing.

    Raises NoTrialSucceeded where no trial of the base came to its end.
    """
    from orchestrator.ablation import outcome as outcomes
    from orchestrator.ablation import results

    found = outcomes.read(folder)
    if not found.rows[0].trials:
        first = next(iter(found.rows[0].failed), "none has ended yet")
        raise NoTrialSucceeded(
            f"No trial of the base of ablation {folder.search_id} came to its end: {first}.",
            fix=f"Go on with: python -m orchestrator.ablate {found.record.asked['task']} "
            f"--resume {folder.search_id}",
        )
    results.write(found)
    return found


def show(outcome: "Outcome") -> None:
    """Print the table and what it says on stdout."""
    from rich.console import Console

    from orchestrator.ablation import results

    console, made = Console(highlight=False), results.table(outcome)
    console.print(results.about(outcome), markup=False)
    _print_table(console, made)
    for sentence in results.sentences(outcome):
        console.print(sentence, markup=False)
    for note in made.notes:
        console.print(note, style="dim", markup=False)
    if outcome.open:
        task, name = outcome.record.asked["task"], outcome.folder.search_id
        console.print(f"Go on with: python -m orchestrator.ablate {task} --resume {name}", markup=False)
    print(f"Written: {', '.join(str(outcome.folder.path / name) for name in results.FILES.values())}")


def _print_table(console: "Console", table: Table) -> None:
    """As many tables one below the other as the width asks for, each with the names of the rows."""
    from rich.table import Table as Grid

    for columns in _fitting(table, console.width):
        grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for column in columns:
            grid.add_column(table.columns[column], no_wrap=True, justify="left" if column == 0 else "right")
        for number, row in enumerate(table.rows):
            cells = [row[column] for column in columns]
            grid.add_row(*cells, style="bold" if number in table.strong else "")
        console.print(grid)


def _fitting(table: Table, width: int) -> list[list[int]]:
    """Columns of each table; the first column is in all of them."""
    wide = [GAP + max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
    found, room = [[0]], width - wide[0]
    for column in range(1, len(wide)):
        if wide[column] > room and len(found[-1]) > 1:
            found.append([0])
            room = width - wide[0]
        found[-1].append(column)
        room -= wide[column]
    return found


def show_plan(ready: Ready, *, as_json: bool) -> None:
    """Print what would be trained on stdout."""
    if as_json:
        planned = ready.planned
        content: dict[str, Any] = {
            **planned.to_json(),
            "rows": [row_json(row) for row in planned.rows],
            "trials": len(planned.trials()),
            "shared": ready.shared,
            "slots": ready.slots,
            "seconds": ready.seconds,
        }
        print(json.dumps(content))
        return
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    for name, text in lines_of(ready):
        grid.add_row(name, text)
    console = Console(highlight=False)
    console.print(f"Plan of an ablation of {ready.prepared.task.name}; nothing was run.", grid)
    for note in ready.planned.notes:
        console.print(note, markup=False)


def main(
    task: cli.TaskName,
    base: Annotated[
        str, typer.Option(help="best: of the latest search; or the config.json of a trial.")
    ] = "best",
    factors: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Of {', '.join(BUILT_IN)}; or name=a,b,c. By default optimizer,pooling,dropout,norm."
        ),
    ] = None,
    design: Annotated[
        Design, typer.Option(help="One factor at a time, also in pairs, or the full grid.")
    ] = "one",
    seeds: Annotated[int, typer.Option(min=1, help="Trials of each row.")] = SEEDS,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of every trial; the base's by default.")] = None,
    decide: Annotated[
        bool, typer.Option("--decide", help="Then run the seeds, at most ten, that may decide ties.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of the data; the search's by default.")] = None,
    out: cli.Out = cli.DEFAULT_OUT,
    space: Annotated[
        str | None, typer.Option(help="A space of search_spaces, where no search is.", callback=cli.named)
    ] = None,
    gpus_per_trial: cli.GpusPerTrial = "auto",
    cpus_per_trial: cli.CpusPerTrial = 1,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change the base: key=value.")] = None,
    ablation_id: Annotated[str | None, typer.Option("--id", help="Name of this ablation.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on with an ablation: its id, or latest.", metavar="ID")
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(help="Make the tables of an ablation again: its id, or latest.", metavar="ID"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show rows, trials and time, and end.")] = False,
    trust: cli.Trust = False,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Compare variants of a configuration over seeds, and say which differences are real."""
    wish = Wish(
        task=task,
        base=base,
        factors=tuple(factors or ()),
        design=design,
        seeds=seeds,
        epochs=epochs,
        data=data,
        out=out,
        space=space,
        gpus_per_trial=plan.parse_share(gpus_per_trial),
        cpus_per_trial=cpus_per_trial,
        settings=plan.parse_settings(settings or []),
        ablation_id=ablation_id,
    )
    if resume is not None or table is not None:
        _require_nothing_new(wish, both=resume is not None and table is not None)
        folder = places.find(out / load_task(task).name, resume or table or "")
        outcome, number = (compared(folder), None) if resume is None else finish(folder, decide=decide)
    elif dry_run:
        show_plan(make_ready(wish, resources=plan.resources_here()), as_json=as_json)
        return
    else:
        outcome, number = ablate(wish, decide=decide)
    _show_all(outcome, as_json=as_json)
    if number is not None:
        raise SystemExit(128 + number)


def _require_nothing_new(wish: Wish, *, both: bool) -> None:
    """Raises UsageError where an ablation that has its design is given another one."""
    if both:
        raise UsageError("--resume trains and --table does not.", fix="Give one of the two.")
    if wish != Wish(task=wish.task, out=wish.out):
        raise UsageError(
            "An ablation that was begun has its base, rows and seeds.",
            fix="Give only --decide, --out, --trust and --json; or start another one without --resume.",
        )


def _show_all(outcome: "Outcome", *, as_json: bool) -> None:
    from orchestrator.ablation import results

    if as_json:
        print(json.dumps(results.to_json(outcome)))
    else:
        show(outcome)


EXAMPLES = """
python -m orchestrator.ablate digits
python -m orchestrator.ablate food11 --factors augment,schedule --seeds 8 --dry-run
python -m orchestrator.ablate food11 --factors lr=0.001,0.003,0.01 --factors norm --design grid
python -m orchestrator.ablate food11 --resume latest --decide
python -m orchestrator.ablate food11 --table latest --json
"""

if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
