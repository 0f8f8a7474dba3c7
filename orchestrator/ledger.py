"""The submissions of a task: their scores, today's count, the final picks, validation against public score.

python -m orchestrator.ledger TASK
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import cli, data, journal, standing
from orchestrator.entries import Entry, Ledger, handed_in_on, today
from orchestrator.folders import SearchFolder
from orchestrator.picks import Correlation, Pick, propose, rank_correlation
from orchestrator.snapshot import score
from orchestrator.standing import Board, Standing, find_board
from trainables.errors import DataError
from trainables.task import Task, load_task

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLES = """
python -m orchestrator.ledger food11
python -m orchestrator.ledger aptos2019 --leaderboard publicleaderboard.csv
python -m orchestrator.submit food11 --score 0.8123 --file 3
"""
PICKS = 2
"""Final submissions where the task's rules name no number; Kaggle's usual one."""
WARNING = "A high public score does not assure a high private one: public scores took no part in the picks."


@dataclass(frozen=True, kw_only=True)
class View:
    """What there is to show of a ledger."""

    task: Task
    ledger: Ledger
    entries: tuple[Entry, ...]
    faults: dict[int, str]
    """Number of a submission and what is wrong with its file: `edited` or `missing`."""
    today: str
    picks: tuple[Pick, ...]
    standings: dict[int, Standing]
    """Of the submissions with a public score."""
    correlation: Correlation | None
    plot: Path | None
    notes: tuple[str, ...]
    """Sentences for the user."""


def view(task: Task, ledger: Ledger, *, board: Board | None = None) -> View:
    """Read a task's ledger and judge it; draws `ledger.png` once three submissions have a public score.

    Raises DataError when the ledger is damaged or the picture cannot be written.
    """
    entries = tuple(ledger.read())
    faults = {entry.number: fault for entry in entries if (fault := ledger.fault(entry))}
    intact = {entry.number: _answers(ledger, entry) for entry in entries if entry.number not in faults}
    picks = propose(entries, intact, metric=task.metric, count=task.rules.final_picks or PICKS)
    scored = [(entry, entry.public) for entry in entries if entry.public is not None]
    correlation = rank_correlation([e.made.valid for e, _ in scored], [public for _, public in scored])
    return View(
        task=task,
        ledger=ledger,
        entries=entries,
        faults=faults,
        today=today(),
        picks=tuple(picks),
        standings={
            entry.number: standing.standing(public, metric=task.metric, baselines=task.baselines, board=board)
            for entry, public in scored
        },
        correlation=correlation,
        plot=_plot(task, ledger, entries, picks=picks, correlation=correlation) if len(scored) > 2 else None,
        notes=tuple(_notes(entries, faults, ledger)),
    )


def _answers(ledger: Ledger, entry: Entry) -> list[str]:
    return (ledger.home / entry.file).read_text(encoding="utf-8").splitlines()[1:]


def _plot(
    task: Task,
    ledger: Ledger,
    entries: Sequence[Entry],
    *,
    picks: Sequence[Pick],
    correlation: Correlation | None,
) -> Path:
    from orchestrator.figures import draw_scores
    from trainables import atomic

    path = ledger.home / "ledger.png"
    points = [(e.number, e.made.valid, e.public) for e in entries if e.public is not None]
    with atomic.disk_errors("The picture", path):
        draw_scores(
            points,
            path,
            metric=task.metric.name,
            picked={pick.number for pick in picks},
            title=f"{task.name}: validation and public score\n{_correlated(correlation)}",
        )
    return path


def _correlated(found: Correlation | None) -> str:
    if found is None:
        return "no rank correlation: fewer than three scores that differ"
    interval = f"95 % interval {found.low:.2f} to {found.high:.2f}"
    return f"rank correlation {found.value:.2f} ({interval}, {found.count} submissions)"


def _notes(entries: Sequence[Entry], faults: dict[int, str], ledger: Ledger) -> list[str]:
    lines = []
    for entry in entries:
        match faults.get(entry.number):
            case "edited":
                lines.append(
                    f"Number {entry.number}: {ledger.home / entry.file} was edited after it was written;"
                    " no prediction may be edited by hand, so it is no pick."
                )
            case "missing":
                lines.append(f"Number {entry.number}: {ledger.home / entry.file} is gone, so it is no pick.")
    if len({entry.made.fingerprint for entry in entries}) > 1:
        lines.append("The data was not always the same: validation scores are of different images.")
    return lines


def about_today(task: Task, entries: Sequence[Entry], day: str) -> str:
    """How many submissions were handed in on a UTC day, against the rule."""
    count, limit = len(handed_in_on(entries, day)), task.rules.submissions_per_day
    if limit is None:
        return f"Handed in today (UTC): {count}; {task.name} names no limit."
    return f"Handed in today (UTC): {count} of {limit}."


def table(shown: View) -> "Table":
    """A row a submission, the picks marked; `day` is the UTC one on which it was handed in."""
    from rich.table import Table

    picked = {pick.number for pick in shown.picks}
    private = any(entry.private is not None for entry in shown.entries)
    ranked = any(found.ranks for found in shown.standings.values())
    heads = ["  no.", "search", "method", "valid", "holdout", "day", "public"]
    heads += ["private"] * private + ["rank"] * ranked
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for head in heads:
        left = head in ("  no.", "search", "method", "day", "rank")
        grid.add_column(head, justify="left" if left else "right", no_wrap=head != "search", overflow="fold")
    for entry in shown.entries:
        cells = [f"{'*' if entry.number in picked else ' '} {entry.number}", *_cells(entry)]
        found = shown.standings.get(entry.number)
        cells += [score(entry.private)] * private + [_rank(found)] * ranked
        grid.add_row(*cells, style="bold green" if entry.number in picked else "")
    return grid


def _cells(entry: Entry) -> list[str]:
    made, day = entry.made, (entry.handed_in or "")[5:10]
    return [made.search, made.method, score(made.valid), score(made.holdout), day, score(entry.public)]


def _rank(found: Standing | None) -> str:
    if found is None or not found.ranks:
        return ""
    return " ".join(filter(None, (str(found.ranks[0]), found.medals[0])))


def lines(shown: View) -> list[str]:
    """The sentences below the table."""
    entries = shown.entries
    found = [f"* final pick {pick.number}: {pick.why}" for pick in shown.picks]
    found.append("day: when it was handed in. " + about_today(shown.task, entries, shown.today))
    utility = shown.task.metric.utility
    scored = [(utility(e.public), e.number) for e in entries if e.public is not None]
    if scored:
        found.append(WARNING)
        number = max(scored)[1]
        found += standing.sentences(shown.standings[number], what=f"Best public score (number {number})")
    found += _private(shown)
    if shown.correlation is not None:
        found.append(f"Validation against public score: {_correlated(shown.correlation)}.")
    return [*found, *shown.notes]


def _private(shown: View) -> list[str]:
    """Where the best private score stands among the baselines' private scores."""
    metric = shown.task.metric
    scores = [entry.private for entry in shown.entries if entry.private is not None]
    if not scores:
        return []
    best = standing.standing(
        max(scores, key=metric.utility), metric=metric, baselines=shown.task.baselines, private=True
    )
    return standing.sentences(best, what="Best private score")


def to_json(shown: View) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "task": shown.task.name,
        "ledger": str(shown.ledger.path),
        "submissions": [
            {
                **entry.to_json(),
                "fault": shown.faults.get(entry.number),
                "standing": asdict(shown.standings[entry.number])
                if entry.number in shown.standings
                else None,
            }
            for entry in shown.entries
        ],
        "handed_in_today": len(handed_in_on(shown.entries, shown.today)),
        "submissions_per_day": shown.task.rules.submissions_per_day,
        "picks": [asdict(pick) for pick in shown.picks],
        "correlation": None if shown.correlation is None else asdict(shown.correlation),
        "plot": None if shown.plot is None else str(shown.plot),
        "notes": list(shown.notes),
    }


def _data_of(task: Task, ledger: Ledger) -> Path:
    """The data of the latest submission's search, or where the task's data lies by default."""
    for entry in reversed(ledger.read()):
        try:
            record = journal.read(SearchFolder(ledger.home / entry.made.search).journal)
            return Path(record.asked["data"])
        except DataError:
            continue  # the search was removed
    return data.root_of(task, None)


def main(
    task: cli.TaskName,
    leaderboard: cli.Board = None,
    out: cli.Out = cli.DEFAULT_OUT,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Show a task's submissions, propose the final picks and draw validation against public score."""
    described = load_task(task)
    ledger = Ledger((out / described.name).absolute())
    board = find_board(leaderboard, _data_of(described, ledger), described.metric)
    shown = view(described, ledger, board=board)
    if as_json:
        print(json.dumps(to_json(shown)))
        return
    if not shown.entries:
        print(f"No submission of {described.name} in {out}. Write one: python -m orchestrator.submit {task}")
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(table(shown))
    for line in lines(shown):
        console.print(line, style="dim", markup=False)
    if shown.plot is not None:
        print(f"Written: {shown.plot}")


if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
