"""What is printed of a search: the plan before it, leaderboard, ensemble and paths after it."""

import dataclasses
import json
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import cli
from trainables.task import Head

if TYPE_CHECKING:
    from orchestrator.job import SearchResult
    from orchestrator.prepare import Prepared

SHOWN_CLASSES = 12


def about_data(prepared: "Prepared") -> tuple[str, ...]:
    """Sentences on what was found: parts, sizes, the classes of every head and how often each occurs."""
    splits, heads = prepared.splits, prepared.task.targets
    parts = {name: len(splits.part(name)) for name in ("train", "valid", "holdout", "test")}
    counts = ", ".join(f"{name} {count:,}" for name, count in parts.items())
    sentences = [f"Images: {counts}; half of the training images are {prepared.pixels} px or more a side."]
    for column, head in enumerate(heads):
        shares = Counter(s.target[column] for s in splits.train if s.target is not None)
        fewest, most = min(shares.values()), max(shares.values())
        each = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
        sentences.append(f"Classes of {head.name}: {_classes(head)}; {each} training images each.")
    return tuple(sentences)


def _classes(head: Head) -> str:
    shown = ", ".join(head.classes[:SHOWN_CLASSES])
    return f"{head.num_classes} ({shown}{', ...' if head.num_classes > SHOWN_CLASSES else ''})"


def about_rules(prepared: "Prepared") -> tuple[str, ...]:
    """The rules that hold for this search, in one sentence; nothing where nobody made any."""
    rules = prepared.task.rules
    if not rules.wording:
        return ()
    return (f"Rules of {prepared.task.name}, space {prepared.space}: {'; '.join(rules.sentences())}",)


def show_plan(prepared: "Prepared", *, as_json: bool) -> None:
    """Print the plan on stdout."""
    planned = prepared.plan
    notes = prepared.splits.notes
    if as_json:
        found = {"classes": {head.name: head.classes for head in prepared.task.kind.heads}, "notes": notes}
        rules = prepared.task.rules.sentences()
        print(json.dumps({**dataclasses.asdict(planned), **found, "rules": rules}))
        return
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, text in planned.rows():
        grid.add_row(name, text)
    console = Console(highlight=False)
    console.print(f"Plan of a search for {planned.task}; nothing was run.", grid)
    for sentence in (*about_data(prepared), *about_rules(prepared), *notes):
        console.print(sentence, markup=False)


def show_result(result: "SearchResult", *, as_json: bool, board: Path | None = None) -> None:
    """Print the leaderboard, the ensemble table and the paths on stdout; `board` is a saved leaderboard."""
    from rich.console import Console

    from orchestrator import ensemble, leaderboard, pareto
    from orchestrator.standing import find_board

    asked, task = result.record.asked, result.task
    found = find_board(board, Path(asked["data"]), task.metric)
    paths = {
        "leaderboard": str(result.folder.leaderboard),
        "ensemble": str(result.folder.ensemble),
        "submission": str(result.submission) if result.submission else None,
        "pareto": str(result.pareto) if result.pareto else None,
    }
    if as_json:
        counts = {state: result.record.count(state) for state in ("COMPLETE", "PRUNED", "FAIL")}
        about = ensemble.to_json(result.ensemble, result.folder, task=task, board=found)
        origin = {name: asked.get(name) for name in ("space", "seed", "commit", "fingerprint")}
        ended = {"folder": str(result.folder.path), "finished": result.record.finished}
        print(json.dumps({**about, **origin, **ended, "trials": counts, "paths": paths}))
        return
    console = Console(highlight=False)
    console.print(leaderboard.table(result.record, width=console.width))
    console.print()
    ensemble.show(result.ensemble, task, board=found)
    console.print()
    if result.pareto:
        console.print(pareto.table(pareto.points(result.folder, result.record), result.task.metric))
        console.print()
    if task.rules.wording:
        console.print(f"rules: {'; '.join(task.rules.sentences())}", style="dim", markup=False)
    for name, path in paths.items():
        if path:
            print(f"{name:12} {path}")
    out = result.folder.path.parent.parent
    where = "" if out == cli.DEFAULT_OUT.absolute() else f" --out {shlex.quote(str(out))}"
    print(f"{'report':12} python -m orchestrator.report {shlex.quote(str(asked['source']))}{where}")
