"""What is wrong with the data, before anything is spent on it.

python -m orchestrator.check TASK --data DIR
"""

import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator import cli, data, plan
from orchestrator.room import free_at
from trainables.errors import DataError, OrchestratorError
from trainables.findings import SEVERITIES, Finding, counts
from trainables.splits import complete
from trainables.submissions import organisers_order
from trainables.task import PARTS, Splits, Task, load_task

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Rows = list[tuple[str, ...]]
SHOWN_CLASSES = 20
SHOWN_EXAMPLES = 5
SIGNS = {"problem": "red", "warning": "yellow", "note": "dim"}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """All that was found; `ok` unless something prevents a search."""

    task: str
    data: str
    images: Mapping[str, int]
    """Pictures of every part, as the organisers gave them."""
    classes: Mapping[str, Mapping[str, Mapping[str, int]]]
    """Of every head and part, the pictures of each class."""
    sizes: Mapping[str, int]
    """Sides in px."""
    modes: Mapping[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    forecast: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        return all(finding.severity != "problem" for finding in self.findings)


def check(task_name: str, root: Path | None = None, *, out: Path = cli.DEFAULT_OUT) -> Checked:
    """Look at every picture of a task's data.

    What would end a search is a finding of severity `problem`. Raises UsageError where there is no data.
    """
    from orchestrator.display import store_progress
    from trainables import inspection

    task = load_task(task_name)
    try:
        where, task, splits = data.given(task, root, out=out)
    except DataError as error:
        return _nothing_but(error, task, data.root_of(task, root))
    problems = _refusals(splits, task)
    started = time.monotonic()
    try:
        with store_progress(what="Looking at pictures") as progress:
            seen, found = inspection.look_at(splits, progress=progress)
    except DataError as error:
        return _nothing_but(error, task, where)
    seconds = time.monotonic() - started
    findings = (*problems, *inspection.judge(seen, found, task.targets))
    sizes = inspection.sizes(seen)
    forecast: dict[str, Any] = {"looking_seconds": round(seconds, 1)}
    if not any(finding.severity == "problem" for finding in findings):
        more, short = _forecast(task_name, where, out, longest=sizes["longest"])
        forecast, findings = {**forecast, **more}, (*short, *findings)
    return Checked(
        task=task.name,
        data=str(where),
        images={name: len(splits.part(name)) for name in PARTS if splits.part(name)},
        classes=counts([(one.part, one.sample.target) for one in seen], task.targets),
        sizes=sizes,
        modes=inspection.modes(seen),
        findings=tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity))),
        notes=splits.notes,
        forecast=forecast,
    )


def _nothing_but(error: OrchestratorError, task: Task, where: Path) -> Checked:
    """What is left to say where the data cannot even be read."""
    return Checked(
        task=task.name,
        data=str(where),
        images={},
        classes={},
        sizes={},
        modes={},
        findings=(_problem("layout", error),),
        notes=(),
        forecast={},
    )


def _problem(kind: str, error: OrchestratorError) -> Finding:
    return Finding(kind=kind, severity="problem", text=f"{error.what} {error.fix}".strip())


def _refusals(splits: Splits, task: Task) -> tuple[Finding, ...]:
    """What the search itself would refuse of labels, parts and ids."""
    found = []
    try:
        complete(splits, heads=task.targets)
    except DataError as error:
        found.append(_problem("labels", error))
    try:
        organisers_order(splits.sample_submission, [sample.id for sample in splits.test])
    except DataError as error:
        found.append(_problem("sample_submission", error))
    if not splits.test:
        found.append(
            Finding(kind="test", severity="note", text="No test part: no submission will be written.")
        )
    return tuple(found)


def _forecast(
    name: str, root: Path, out: Path, *, longest: int
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Room and time that a search with its defaults takes, and what stands against it.

    `longest` is the longest side in px of any picture: the store enlarges none.
    """
    from orchestrator.prepare import Asked, prepare

    try:
        prepared = prepare(name, Asked(data=root, out=out), resources=plan.resources_here())
    except OrchestratorError as error:
        return {}, (_problem("plan", error),)
    planned = prepared.plan
    side = min(planned.side, longest)
    picture_bytes = side**2 * 3 or planned.picture_bytes
    images = sum(planned.images.values())
    store = images * picture_bytes
    needed = planned.disk_bytes - planned.store_bytes + store
    free = free_at(out)
    epochs = _past_epochs(prepared.task, out)
    forecast = {
        "side": side,
        "store_bytes": store,
        "disk_bytes": needed,
        "free_bytes": free,
        "trials": planned.budget.trials,
        "search_seconds": planned.seconds,
        "past_trials": len(epochs),
        "past_epoch_seconds": statistics.median(epochs) if epochs else None,
    }
    if needed <= free:
        return forecast, ()
    text = f"A search needs up to {needed / 1e6:,.0f} MB in {out}, and {free / 1e6:,.0f} MB are free."
    return forecast, (Finding(kind="disk", severity="problem" if store > free else "warning", text=text),)


def _past_epochs(task: Task, out: Path) -> list[float]:
    """Mean seconds of an epoch of every trial of this task's past searches."""
    from orchestrator import journal

    seconds = []
    for path in sorted((out / task.name).glob("*/journal.jsonl")):
        try:
            trials = journal.read(path).trials.values()
        except DataError:
            continue  # there is only less to say of the time
        if not path.parent.is_symlink():
            seconds += [trial.seconds / trial.epoch for trial in trials if trial.epoch]
    return seconds


def show(checked: Checked) -> None:
    """Print what was found on stdout, as tables."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"Data of {checked.task}: {checked.data}", markup=False)
    for title, rows in _tables(checked):
        console.print()
        console.print(_table(title, rows))
    console.print()
    for finding in checked.findings:
        _show_finding(console, finding)
    for note in checked.notes:
        console.print(f"Note: {note}", markup=False)
    console.print(_verdict(checked), markup=False)


def _tables(checked: Checked) -> Iterator[tuple[tuple[str, ...], Rows]]:
    """(header, rows) of each table."""
    parts = list(checked.images)
    if parts:
        rows: Rows = [("pictures", *(f"{checked.images[part]:,}" for part in parts))]
        for head, classes in checked.classes.items():
            labelled = [part for part in parts if part in classes]
            each = {part: sorted(classes[part].values()) for part in labelled}
            spans = [_span(each[p][0], each[p][-1]) if p in each else "" for p in parts]
            rows.append((f"each of {len(next(iter(classes.values()), {}))} classes of {head}", *spans))
        yield ("", *parts), rows
    for head, classes in checked.classes.items():
        yield from _classes(head, classes)
    if checked.sizes:
        facts: Rows = [("sides", _sides(checked.sizes))]
        facts.append(
            ("modes", ", ".join(f"{mode} {n:,}" for mode, n in Counter(checked.modes).most_common()))
        )
        yield ("", ""), [*facts, *_forecast_rows(checked.forecast)]


def _sides(sizes: Mapping[str, int]) -> str:
    if sizes["distinct"] == 1:
        return f"{sizes['median_short']} x {sizes['median_long']} px"
    return (
        f"{sizes['shortest']} to {sizes['longest']} px, in the middle {sizes['median_short']} x"
        f" {sizes['median_long']} px; {sizes['distinct']:,} sizes"
    )


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _classes(head: str, classes: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[tuple[str, ...], Rows]]:
    """The counts of each class, the largest in train first; of many classes the ends."""
    train = Counter(classes.get("train", {}))
    if not train:
        return
    ranked = [name for name, _ in train.most_common()]
    shown = ranked if len(ranked) <= SHOWN_CLASSES else [*ranked[:5], "...", *ranked[-5:]]
    yield (
        (head, *classes),
        [
            (name, *("" if name == "..." else f"{part[name]:,}" for part in classes.values()))
            for name in shown
        ],
    )


def _forecast_rows(forecast: Mapping[str, Any]) -> Rows:
    rows: Rows = [("decoding", f"about {plan.duration(forecast['looking_seconds'])} for all, once")]
    if "disk_bytes" not in forecast:
        return rows
    needed, free = forecast["disk_bytes"] / 1e6, forecast["free_bytes"] / 1e6
    rows.append(("disk", f"up to {needed:,.0f} MB of {free:,.0f} MB free"))
    seconds = forecast["search_seconds"]
    if seconds is not None:
        rows.append(
            ("search", f"{forecast['trials']} trials: about {plan.duration(seconds)}, by a rough rule")
        )
    if forecast["past_trials"]:
        each = forecast["past_epoch_seconds"]
        rows.append(
            ("epoch", f"{each:.1f} s in the middle of {forecast['past_trials']} trials of past searches")
        )
    return rows


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=any(header), pad_edge=False, padding=(0, 2, 0, 0))
    for name in header:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _show_finding(console: "Console", finding: Finding) -> None:
    from rich.text import Text

    console.print(
        Text(finding.severity.capitalize(), SIGNS[finding.severity]) + f": {finding.text}", soft_wrap=True
    )
    for example in finding.examples[:SHOWN_EXAMPLES]:
        console.print(Text(f"    {example}"), soft_wrap=True)
    if len(finding.examples) > SHOWN_EXAMPLES:
        console.print(f"    ... and {len(finding.examples) - SHOWN_EXAMPLES:,} more (--json lists them)")


def _verdict(checked: Checked) -> str:
    problems = sum(finding.severity == "problem" for finding in checked.findings)
    warnings = sum(finding.severity == "warning" for finding in checked.findings)
    if problems:
        return f"{problems} problem{'s' * (problems > 1)}: a search would be refused."
    if warnings:
        return f"No problem; {warnings} warning{'s' * (warnings > 1)}, with which a search runs."
    return "Nothing stands against a search."


def main(
    task: cli.AnyTask = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder or archive of the data; data/TASK by default. Without TASK: your pictures."
        ),
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="A file for `ray up`: say what in it is unsafe or not filled in.")
    ] = None,
    out: cli.Out = cli.DEFAULT_OUT,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Look at every picture of the data; exit code 1 for what prevents a search, 0 with warnings."""
    if cluster is not None:
        from orchestrator import cluster_file

        raise SystemExit(0 if cluster_file.show(cluster, as_json=as_json) else 1)
    checked = check(cli.task_or_folder(task, data), data, out=out)
    if as_json:
        print(json.dumps({**asdict(checked), "ok": checked.ok}))
    else:
        show(checked)
    raise SystemExit(0 if checked.ok else 1)


EXAMPLES = """
python -m orchestrator.check food11 --data ~/food11
python -m orchestrator.check --data my_photos/
python -m orchestrator.check aptos2019 --data aptos2019.zip --json
python -m orchestrator.check --cluster cluster.yaml
"""

if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
