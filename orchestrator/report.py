"""The report of a search: as HTML, Markdown, LaTeX, CSV tables and PDF, written from its records.

python -m orchestrator.report TASK
"""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import cli, folders
from orchestrator.display import say
from trainables.errors import OrchestratorError
from trainables.task import load_task

if TYPE_CHECKING:
    from orchestrator.document.writing import Format, Report

EXAMPLES = """
python -m orchestrator.report digits
python -m orchestrator.report food11 --format pdf
python -m orchestrator.report food11 --search 20260101-120000-ab12 --format csv --format tex
"""


def report(folder: folders.SearchFolder, formats: "tuple[Format, ...]" = ()) -> "Report":
    """Write the report of a search into its `report/`; all formats but a PDF that cannot be made, if none is
    named.

    A search that has not ended gives a partial report, marked so. Raises NoTrialSucceeded where a search has
    ended without any score, DataError for damaged records or a disk that refuses, and OrchestratorError for a
    PDF that was asked for without WeasyPrint.
    """
    from orchestrator.document import pdf, writing

    if formats:
        return writing.write(folder, formats)
    try:
        pdf.require()
    except OrchestratorError as error:
        others = tuple(name for name in writing.FORMATS if name != "pdf")
        return writing.write(folder, others).with_note(f"{error.what} {error.fix}")
    return writing.write(folder, writing.FORMATS)


def _formats(given: list[str] | None) -> "tuple[Format, ...]":
    """Raises UsageError for a form that is not known."""
    from orchestrator.document.writing import FORMATS
    from trainables.errors import unknown

    for name in given or ():
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    return tuple(name for name in FORMATS if name in (given or ()))


def main(
    task: cli.TaskName,
    search: cli.Search = None,
    form: Annotated[
        list[str] | None,
        typer.Option("--format", help="html, md, tex, csv or pdf, as often as you like; all by default."),
    ] = None,
    out: cli.Out = cli.DEFAULT_OUT,
    trust: cli.Trust = False,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Write the report of a search from its records. Trains nothing; a place for your own words is kept."""
    from orchestrator.tracker import bring_up

    formats = _formats(form)
    folder = folders.find(out, load_task(task).name, search)
    drawn = formats != ("csv",)
    if drawn:
        say("Drawing the figures, which takes up to a minute.")
    made = report(folder, formats)
    if drawn and (folder.path / "tracking.json").exists() and not made.partial:
        say(bring_up(folder))
    if as_json:
        print(json.dumps(made.to_json()))
        return
    for note in filter(None, (made.partial, *made.notes)):
        print(note)
    for line in made.lines:
        print(line)


if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
