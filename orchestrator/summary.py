"""What is printed of a search: the plan before it, leaderboard, ensemble and paths after it."""

import dataclasses
import json
from typing import TYPE_CHECKING

from orchestrator.plan import Plan
from trainables.task import Task

if TYPE_CHECKING:
    from orchestrator.search import SearchResult


def show_plan(planned: Plan, *, as_json: bool) -> None:
    """Print the plan on stdout."""
    if as_json:
        print(json.dumps(dataclasses.asdict(planned)))
        return
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, text in planned.rows():
        grid.add_row(name, text)
    Console(highlight=False).print(f"Plan of a search for {planned.task}; nothing was run.", grid)


def show_result(result: "SearchResult", task: Task, *, as_json: bool) -> None:
    """Print the leaderboard, the ensemble table and the paths on stdout."""
    from rich.console import Console

    from orchestrator import ensemble, leaderboard

    paths = {
        "leaderboard": str(result.folder.leaderboard),
        "ensemble": str(result.folder.ensemble),
        "submission": str(result.submission) if result.submission else None,
    }
    if as_json:
        counts = {state: result.record.count(state) for state in ("COMPLETE", "PRUNED", "FAIL")}
        print(
            json.dumps({**ensemble.to_json(result.ensemble, result.folder), "trials": counts, "paths": paths})
        )
        return
    console = Console(highlight=False)
    console.print(leaderboard.table(result.record, width=console.width))
    console.print()
    ensemble.show(result.ensemble, task)
    console.print()
    for name, path in paths.items():
        if path:
            print(f"{name:12} {path}")
