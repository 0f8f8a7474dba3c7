"""What every command shares: its app, its errors on the screen and its exit codes."""

import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from orchestrator.trust import trust_all, trust_file
from trainables.errors import OrchestratorError, UsageError
from trainables.named import known_modules


def named(name: str | None) -> str | None:
    """A task's or a space's file on the command line is one that the user wants to be run."""
    trust_file(name or "")
    return name


def _trusted(given: bool) -> bool:
    if given:
        trust_all()
    return given


TASK_HELP = f"One of: {', '.join(known_modules('trainables.tasks'))}; or the path of a task file."
TaskName = Annotated[str, typer.Argument(help=TASK_HELP, show_default=False, callback=named)]
AnyTask = Annotated[
    str | None,
    typer.Argument(help=f"{TASK_HELP} Left out, --data is any folder.", show_default=False, callback=named),
]
Out = Annotated[Path, typer.Option(envvar="ORCH_OUT", help="Where searches are kept.")]
Search = Annotated[str | None, typer.Option(help="Id of the search; the latest by default.")]
Board = Annotated[
    Path | None, typer.Option(help="Kaggle's exported leaderboard; DATA/leaderboard.csv by default.")
]
GpusPerTrial = Annotated[str, typer.Option(help="auto, or a share such as 0.5.")]
CpusPerTrial = Annotated[int, typer.Option(min=1, help="Cores of a trial.")]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", callback=_trusted, help="Read searches of other users, and run the files that they name."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of tables.")]

DEFAULT_OUT = Path("runs")


def run_command(command: Callable[..., Any], *, examples: str) -> None:
    """Run one function as a command line program and exit with its code; never a bare traceback.

    `examples` has a line each.
    """
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    parameters = inspect.signature(command).parameters
    required = "task" in parameters or any(p.default is p.empty for p in parameters.values())
    app.command(epilog="Examples:\n\n" + examples.strip().replace("\n", "\n\n"), no_args_is_help=required)(
        command
    )
    exit_on_signals()
    sys.argv[1:] = _with_latest(sys.argv[1:])
    debug = "--debug" in sys.argv or bool(os.environ.get("ORCH_DEBUG"))
    try:
        app()
    except OrchestratorError as error:
        fail(error, debug=debug)
    except OSError as error:
        fail(OrchestratorError(_os_error(error)), debug=debug)
    except Exception as error:
        fail(
            OrchestratorError(f"{type(error).__name__}: {error}", fix="Run again with --debug."), debug=debug
        )


def _with_latest(arguments: list[str]) -> list[str]:
    """`--resume` without an id means the latest."""
    found: list[str] = []
    for place, word in enumerate(arguments):
        follows = arguments[place + 1 : place + 2]
        alone = word == "--resume" and (not follows or follows[0].startswith("-"))
        found += [word, "latest"] if alone else [word]
    return found


def task_or_folder(task: str | None, data: Path | None) -> str:
    """The task that was named, or that the data look like. Raises UsageError where there is neither."""
    if task is None and data is None:
        raise UsageError("Neither a task nor data.", fix="Name a task, or give your pictures with --data.")
    return task or task_of(data)


OWN = {
    "own_objects": ("annotations.json", "images"),
    "own_masks": ("images", "masks"),
    "own_pairs": ("low", "high"),
}
"""What lies in the folders of the tasks for data of one's own; any other folder holds classes."""


def task_of(data: Path | None) -> str:
    """The task that data of one's own are for, by what lies in the folder or in the only folder in it."""
    folder = data.expanduser() if data else Path()
    inside = [p for p in folder.iterdir() if p.name[0] != "."] if folder.is_dir() else []
    places = (folder, inside[0]) if len(inside) == 1 else (folder,)
    found = (
        name for place in places for name, needs in OWN.items() if all((place / n).exists() for n in needs)
    )
    return next(found, "folder")


def fail(error: OrchestratorError, *, debug: bool) -> None:
    """Show an error on stderr and exit with its code."""
    if debug:
        traceback.print_exc()
    print(f"Error: {error.what}", file=sys.stderr)
    if error.fix:
        print(f"       {error.fix}", file=sys.stderr)
    raise SystemExit(error.exit_code)


def _os_error(error: OSError) -> str:
    return f"{error.filename or 'file'}: {error.strerror or error}"


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind a command as Ctrl-C does, with their own exit codes."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, end)
    # a shell without job control starts background commands with SIGINT ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
