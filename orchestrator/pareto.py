"""Accuracy against computing cost: the trials that no other beats in both."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.snapshot import score
from trainables import atomic
from trainables.task import Metric

if TYPE_CHECKING:
    from rich.table import Table

EXECUTION = "execution.json"
"""As `trainables.execution` names it, which would bring torch along."""
COLUMNS = ("trial", "value", "macs", "parameters", "megabytes", "front")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A trial's validation score and what its network costs; see `trainables.cost.Cost`."""

    trial_id: str
    value: float
    macs: int
    parameters: int
    megabytes: float


def points(folder: SearchFolder, record: SearchRecord) -> list[Point]:
    """The ranked trials whose cost is known, the cheapest first."""
    found = [_point(folder.trial(trial.trial_id) / EXECUTION, trial) for trial in record.ranked()]
    return sorted((p for p in found if p is not None), key=lambda p: (p.macs, p.trial_id))


def _point(path: Path, trial: TrialRecord) -> Point | None:
    try:
        cost = json.loads(path.read_bytes())
        return Point(
            trial_id=trial.trial_id,
            value=float(trial.value or 0.0),
            macs=int(cost["macs"]),
            parameters=int(cost["parameters"]),
            megabytes=float(cost["megabytes"]),
        )
    except (OSError, ValueError, KeyError):
        return None  # a trial that was cut off left no such file


def front(found: Sequence[Point], metric: Metric) -> list[Point]:
    """The points that no other equals or beats in score at the same or a lower cost, the cheapest first."""
    best: list[Point] = []
    for point in sorted(found, key=lambda p: (p.macs, -metric.utility(p.value), p.trial_id)):
        if not best or metric.utility(point.value) > metric.utility(best[-1].value):
            best.append(point)
    return best


def write(folder: SearchFolder, record: SearchRecord, metric: Metric) -> Path | None:
    """Write `pareto.csv` and `pareto.png` into the search's folder; the former's path.

    None, and no file, where no trial's cost is known. Raises DataError when they cannot be written.
    """
    found = points(folder, record)
    if not found:
        return None
    on_front = {point.trial_id for point in front(found, metric)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for p in found:
        writer.writerow((p.trial_id, p.value, p.macs, p.parameters, p.megabytes, p.trial_id in on_front))
    path = folder.path / "pareto.csv"
    with atomic.disk_errors("The Pareto front", path):
        atomic.write(path, text.getvalue().encode())
        _draw(found, metric, path.with_suffix(".png"), title=f"Search {folder.search_id}")
    return path


def table(found: Sequence[Point], metric: Metric) -> "Table":
    """The front for the screen, the cheapest trial first."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("cost", "trial", metric.name, "million MACs", "parameters", "MB"):
        grid.add_column(name, no_wrap=True, justify="left" if name == "cost" else "right")
    for point in front(found, metric):
        cost = f"{point.macs / 1e6:.1f}", f"{point.parameters:,}", f"{point.megabytes:.1f}"
        grid.add_row("front", point.trial_id, score(point.value), *cost)
    return grid


def _draw(found: Sequence[Point], metric: Metric, path: Path, *, title: str) -> None:
    """Every trial as a point, the front as a line through the best."""
    from orchestrator.pictures.style import INK, TRAIN, VALID, empty_figure, plain, save

    figure = empty_figure(6.4, 4.2, title)
    axes = figure.subplots()
    plain(axes)
    best = front(found, metric)
    axes.scatter([p.macs / 1e6 for p in found], [p.value for p in found], color=VALID, label="trials", s=22)
    axes.plot(
        [p.macs / 1e6 for p in best],
        [p.value for p in best],
        color=TRAIN,
        marker="o",
        drawstyle="steps-post",
        label="Pareto front",
    )
    for p in best:
        axes.annotate(p.trial_id, (p.macs / 1e6, p.value), (4, 4), textcoords="offset points", color=INK)
    axes.margins(y=0.12)
    axes.set_xscale("log")
    axes.set_xlabel("million multiply-accumulates an image", color=INK)
    axes.set_ylabel(f"validation {metric.name}", color=INK)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)
