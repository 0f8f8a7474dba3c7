"""Merge the best trials of a search from what is on disk, in seconds and without training.

python -m orchestrator.ensemble TASK
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ensembles.compare import Answers, Ensemble, answer, choose, compare
from ensembles.methods import known_methods
from orchestrator import cli, folders, journal
from orchestrator.display import say
from orchestrator.folders import SearchFolder
from orchestrator.leaderboard import Bank, members_of, read_bank
from orchestrator.snapshot import score
from orchestrator.standing import Board, Standing, find_board, sentences, standing
from trainables import atomic
from trainables.config import WHOLE
from trainables.errors import DataError, unknown
from trainables.store import open_store
from trainables.task import Baseline, Direction, Task, load_task

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLES = """
python -m orchestrator.ensemble digits
python -m orchestrator.ensemble food11 -k 10 --method greedy
python -m orchestrator.ensemble food11 --search 20260101-120000-ab12 --json
"""
MEMBERS = 5
ALWAYS = ("best_single", "prob_mean")
"""Methods that stand in every comparison, whichever was asked for."""


HOW_CHOSEN = (
    "the best mean on valid; another only where it leads by more than chance; of equals, the lower log loss"
)


@dataclass(frozen=True, kw_only=True)
class EnsembleResult:
    """The methods compared on a search's best trials, and the chosen one; its file is `ensemble.json`."""

    task: str
    search_id: str
    metric: str
    direction: Direction
    members: tuple[str, ...]
    """Ids of the trials that the methods could draw on, best first."""
    images: Mapping[str, int]
    """Number of images of each part."""
    chosen: str
    asked: str
    """`all`, or the method that was asked for by name and therefore chosen."""
    ensembles: tuple[Ensemble, ...]
    notes: tuple[str, ...]

    def of(self, method: str) -> Ensemble | None:
        """The ensemble of a method, or None when it was not compared."""
        return next((e for e in self.ensembles if e.method == method), None)

    @property
    def best(self) -> Ensemble:
        """The chosen ensemble."""
        return next(e for e in self.ensembles if e.method == self.chosen)


def ensemble(
    folder: SearchFolder, *, task: Task, k: int | None = None, method: str = "all"
) -> EnsembleResult:
    """Compare the methods on the top `k` members, choose by validation and write `ensemble.json`.

    Raises NoTrialSucceeded when no trial has predictions, UsageError for an unknown method, DataError
    when the search's journal or prepared images cannot be read.
    """
    result = fit(folder, task=task, k=k, method=method)
    with atomic.disk_errors("The ensemble", folder.ensemble):
        atomic.write(folder.ensemble, (json.dumps(_content(result), indent=1) + "\n").encode())
    return result


def fit(folder: SearchFolder, *, task: Task, k: int | None = None, method: str = "all") -> EnsembleResult:
    """As `ensemble`, and writes nothing."""
    if method not in ("all", *known_methods()):
        raise unknown("ensemble method", method, ("all", *known_methods()))
    record = journal.read(folder.journal)
    store = open_store(Path(record.asked["store"]))
    task = task.with_heads(store.heads)
    bank = read_bank(folder, record, store=store, k=k or members_for(record), task=task)
    ensembles = compare(
        {name: Answers(members=m, targets=bank.targets[name]) for name, m in bank.parts.items()},
        trial_ids=[member.name for member in bank.members],
        metric=task.metric,
        methods=[m for m in known_methods() if method in ("all", m) or m in ALWAYS],
        decision=task.decision,
        alike=_alike(bank),
    )
    chosen = choose(ensembles, task.metric).method if method == "all" else method
    return EnsembleResult(
        task=task.name,
        search_id=folder.search_id,
        metric=task.metric.name,
        direction=task.metric.direction,
        members=tuple(member.name for member in bank.members),
        images={name: len(members[0]) for name, members in bank.parts.items()},
        chosen=chosen,
        asked=method,
        ensembles=tuple(ensembles),
        notes=(
            *bank.notes,
            _seeds(bank),
            *_tied(ensembles),
            *_decided(ensembles),
            *_beside(next(e for e in ensembles if e.method == chosen), bank, task),
        ),
    )


def _alike(bank: Bank) -> list[int]:
    """Of each member the place of the one whose validation it has: its own, or that of the trial it is of."""
    places = {member.name: place for place, member in enumerate(bank.members)}
    return [
        places.get(member.trials[0].of, place) if member.folds == WHOLE else place
        for place, member in enumerate(bank.members)
    ]


def _beside(chosen: Ensemble, bank: Bank, task: Task) -> list[str]:
    """The task's further scores of the chosen ensemble, by its fitted weights."""
    places = [[member.name for member in bank.members].index(name) for name in chosen.trial_ids]
    notes = []
    for metric in task.beside:
        scores = []
        for part in ("valid", "holdout", "test"):
            truth, members = bank.targets.get(part), bank.parts.get(part)
            if truth is not None and members and len(truth):
                merged = answer(chosen, [members[place] for place in places], task.decision)
                scores.append(f"{part} {score(metric.fn(merged, truth))}")
        notes += [f"{metric.name} of {chosen.method}: {', '.join(scores)}."] if scores else []
    return notes


def members_for(record: journal.SearchRecord) -> int:
    """How many members there are where nobody says: the finals alone, or `MEMBERS` where there is but one.

    The finals come first and are trained for longer: beside several of them, others would spoil a mean.
    """
    finals = [member for member in members_of(record)[0] if member.trials[0].of]
    return len(finals) if len(finals) > 1 else MEMBERS


def _seeds(bank: Bank) -> str:
    """How often and under which seeds the members were trained."""
    trials = [member.trials[0] for member in bank.members]
    seeds = sorted({int(trial.params["seed"]) for trial in trials if "seed" in trial.params})
    which = f" (seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))})" if seeds else ""
    return f"Each member was trained once{which}: its score includes the luck of its seed."


def _tied(ensembles: Sequence[Ensemble]) -> list[str]:
    return [
        f"{e.method}: tied on {', '.join(f'{count} {part}' for part, count in e.ties.items())} images; "
        "there the summed probability decided."
        for e in ensembles
        if any(e.ties.values())
    ]


def _decided(ensembles: Sequence[Ensemble]) -> list[str]:
    """With and without a fitted decision, where the task has one."""
    notes = []
    for e in ensembles:
        if e.plain_value is None or not e.decision:
            continue
        numbers = ", ".join(f"{number:.2f}" for number in e.decision[:5])
        numbers += ", ..." if len(e.decision) > 5 else ""
        gained = f"valid {score(e.plain_value)} without, {score(e.valid_value)} with"
        if e.holdout_value is not None:
            gained += f"; holdout {score(e.plain_holdout_value)} without, {score(e.holdout_value)} with"
        notes.append(f"{e.method}: decision fitted on valid ({numbers}): {gained}.")
    plain = [e.method for e in ensembles if e.plain_value is not None and not e.decision]
    if plain:
        notes.append(f"{', '.join(plain)}: no fitted decision, for it was no better when cross-fitted.")
    return notes


def to_json(
    result: EnsembleResult, folder: SearchFolder, *, task: Task, board: Board | None = None
) -> dict[str, Any]:
    """What `--json` prints: the content of `ensemble.json`, its path and where the holdout score stands."""
    found = standing_of(result, task, board=board)
    stands = None if found is None else asdict(found)
    return {**_content(result), "path": str(folder.ensemble), "standing": stands}


def standing_of(result: EnsembleResult, task: Task, *, board: Board | None = None) -> Standing | None:
    """Where the chosen ensemble's holdout score would stand; None without a holdout."""
    value, error = result.best.holdout_value, result.best.holdout_error
    if value is None:
        return None
    return standing(value, error=error, metric=task.metric, baselines=task.baselines, board=board)


def _content(result: EnsembleResult) -> dict[str, Any]:
    """The content of `ensemble.json`: the chosen ensemble, what it was chosen from, and all in `table`."""
    about = {k: v for k, v in asdict(result).items() if k not in ("chosen", "ensembles")}
    return {**asdict(result.best), **about, "table": [asdict(row) for row in result.ensembles]}


def read_result(folder: SearchFolder) -> EnsembleResult | None:
    """What `ensemble` wrote, or None when it never did. Raises DataError when the file is damaged."""
    try:
        stored = json.loads(folder.ensemble.read_bytes())
        rows = tuple(
            Ensemble(**row | {k: tuple(row[k]) for k in ("trial_ids", "weights", "decision")})
            for row in stored["table"]
        )
        about = {f.name: stored[f.name] for f in fields(EnsembleResult) if f.name in stored}
        lists = {name: tuple(stored[name]) for name in ("members", "notes")}
        return EnsembleResult(**{**about, **lists}, chosen=stored["method"], ensembles=rows)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder.ensemble} is damaged: {error!r}.", fix="Make it again: python -m orchestrator.ensemble"
        ) from error


def table(result: EnsembleResult, *, baselines: Sequence[Baseline] = ()) -> "Table":
    """The methods side by side, the chosen one marked, and the task's published baselines below."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    loss = ("log loss",) if has_log_loss(result) else ()
    names = ("  method", "trials", "valid", *loss, "holdout", "vs. single", "test")
    for name in names:
        grid.add_column(name, no_wrap=True, justify="left" if name == "  method" else "right")
    for row in result.ensembles:
        grid.add_row(*_cells(row, result), style="bold green" if row.method == result.chosen else "")
    for baseline in baselines:
        between = ("",) * (len(names) - 2)
        grid.add_row(f"  {baseline.name}", *between, score(baseline.public), style="dim")
        if baseline.private is not None:
            grid.add_row(f"  {baseline.name} (private)", *between, score(baseline.private), style="dim")
    return grid


def has_log_loss(result: EnsembleResult) -> bool:
    """Whether these are predictions that have one: masks, boxes and pictures do not."""
    return any(row.log_loss and math.isfinite(row.log_loss) for row in result.ensembles)


def _cells(row: Ensemble, result: EnsembleResult) -> tuple[str, ...]:
    return (
        f"{'*' if row.method == result.chosen else ' '} {row.method}",
        str(len(row.trial_ids)),
        score(row.valid_value),
        *((f"{row.log_loss:.3f}",) if has_log_loss(result) else ()),
        score(row.holdout_value) + ("" if row.holdout_error is None else f" ±{row.holdout_error:.3f}"),
        _against(row),
        score(row.test_value),
    )


def _against(row: Ensemble) -> str:
    """The gain over the best single trial, and whether it is a tie, in texts of one width."""
    if row.gain is None or row.method == "best_single":
        return ""
    return f"{row.gain:+.4f}" + (" tie" if row.tie else "    ")


def legend(result: EnsembleResult, *, baselines: Sequence[Baseline] = ()) -> list[str]:
    """The sentences below the table: what the columns say, who was chosen and of whom it is made."""
    images = result.images
    chosen = "as asked" if result.asked != "all" else HOW_CHOSEN
    lines = [
        f"* chosen: {chosen}. {_makeup(result.best)}.",
        f"valid: {result.metric} on {images['valid']} images, cross-fitted (weights chosen on the others).",
    ]
    if "holdout" in images:
        lines.append(
            f"holdout: {images['holdout']} images that chose nothing, ± half a 95 % interval; "
            "tie: a difference from the best single trial that may be chance."
        )
    if baselines:
        lines.append(
            f"{', '.join(b.name for b in baselines)}: the leaderboard's baselines, on its test images."
        )
    return [*lines, *result.notes]


def _makeup(best: Ensemble) -> str:
    """Whom an ensemble is made of: `trials 0003 60 %, 0007 40 %`."""
    if len(best.trial_ids) == 1:
        return f"Trial {best.trial_ids[0]} alone"
    if max(best.weights) - min(best.weights) < 1e-9:
        return f"Trials {', '.join(best.trial_ids)}, equally"
    pairs = sorted(zip(best.trial_ids, best.weights, strict=True), key=lambda pair: -pair[1])
    return "Trials " + ", ".join(f"{name} {weight:.0%}" for name, weight in pairs)


def show(result: EnsembleResult, task: Task, *, board: Board | None = None) -> None:
    """Print the table and what there is to say about it on stdout."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(table(result, baselines=task.baselines))
    found = standing_of(result, task, board=board)
    stands = [] if found is None else sentences(found, what="Holdout")
    for line in (*legend(result, baselines=task.baselines), *stands):
        console.print(line, style="dim", markup=False)


def main(
    task: cli.TaskName,
    search: cli.Search = None,
    k: Annotated[
        int | None,
        typer.Option("-k", min=1, help="How many of the best trials may be members; 5, or all finals."),
    ] = None,
    method: Annotated[str, typer.Option(help=f"all, or one of: {', '.join(known_methods())}.")] = "all",
    leaderboard: cli.Board = None,
    out: cli.Out = cli.DEFAULT_OUT,
    trust: cli.Trust = False,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Compare ways to merge the best trials of a search, and choose one by validation. Trains nothing."""
    from orchestrator.tracker import bring_up

    described = load_task(task)
    folder = folders.find(out, described.name, search)
    board = find_board(leaderboard, Path(journal.read(folder.journal).asked["data"]), described.metric)
    before = folder.ensemble.read_bytes() if folder.ensemble.exists() else b""
    result = ensemble(folder, task=described, k=k, method=method)
    if (folder.path / "tracking.json").exists() and folder.ensemble.read_bytes() != before:
        say(bring_up(folder))
    if as_json:
        print(json.dumps(to_json(result, folder, task=described, board=board)))
        return
    show(result, described, board=board)
    print(f"Written: {folder.ensemble}")


if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
