"""What a search teaches, as pictures: importance by two methods, and rungs against the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.evidence.content import Picture
from orchestrator.evidence.importance import Importance
from orchestrator.evidence.stops import Stops
from orchestrator.evidence.tried import Level, tried
from orchestrator.journal import SearchRecord
from orchestrator.pictures.style import INK, TRAIN, VALID, WRONG, empty_figure, plain, save, shortened
from orchestrator.snapshot import score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 15


def draw_importance(found: Importance, path: Path) -> Picture:
    """Both methods' shares side by side, the largest on top."""
    names = list(dict.fromkeys((*found.fanova, *found.ped)))
    names.sort(key=lambda name: -max(found.fanova.get(name, 0), found.ped.get(name, 0)))
    shown = names[:MOST_BARS]
    moment = found.level.name if found.level.epoch is not None else "the end"
    figure = empty_figure(7.6, 1.5 + 0.36 * len(shown), f"Importance at {moment}, {found.trials} trials")
    axes = figure.subplots()
    for shift, name, shares, colour in (
        (-0.19, "fANOVA", found.fanova, VALID),
        (0.19, "PED-ANOVA", found.ped, TRAIN),
    ):
        rows = [i for i, parameter in enumerate(shown) if parameter in shares]
        axes.barh(
            [i + shift for i in rows], [shares[shown[i]] for i in rows], height=0.36, color=colour, label=name
        )
        for i in set(range(len(shown))) - set(rows):
            axes.text(0.004, i + shift, "not judged", fontsize=7.5, color=INK, va="center")
    axes.set_yticks(range(len(shown)), [shortened(name, 32) for name in shown])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("share of what all parameters explain", color=INK)
    plain(axes)
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    left = f" {len(names) - len(shown)} smaller ones are not drawn." if len(names) > len(shown) else ""
    return Picture(
        file=save(figure, path),
        caption=f"Importance of each parameter for the score at {moment}, of {found.trials} trials.{left}",
    )


def draw_stops(found: Stops, record: SearchRecord, path: Path) -> Picture | None:
    """The score at each rung against the score at the end, seen or as drawn; None without a rung."""
    rungs = found.rungs[:3]
    if not rungs or not found.complete:
        return None
    figure = empty_figure(4.0 * len(rungs) + 0.6, 4.3, "What the rungs say of the end")
    grid = figure.subplots(1, len(rungs), squeeze=False)[0]
    for axes, rung in zip(grid, rungs, strict=True):
        _scatter(axes, found, record, rung.epoch)
        axes.set_title(f"epoch {rung.epoch}: {rung.reached} trials", fontsize=9.5, color=INK)
        axes.set_xlabel(f"score at epoch {rung.epoch}", color=INK)
    grid[0].set_ylabel("score at the end", color=INK)
    handles = {
        name: handle for axes in grid for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3, frameon=False)
    drawn = "; trials that were stopped as what others did lets expect" if found.stops else ""
    return Picture(
        file=save(figure, path),
        caption=f"Scores at the rungs and at the end: trials that ended as seen{drawn}. "
        f"Dashed: the best score found, {score(found.best)}.",
    )


def _scatter(axes: "Axes", found: Stops, record: SearchRecord, epoch: int) -> None:
    level = Level(epoch)
    ended = [(level.score(t, record), t.value) for t in tried(record) if t.state == "COMPLETE"]
    stopped = [(level.score(stop.trial, record), stop.expected) for stop in found.stops]
    for pairs, mark, colour, name in (
        (stopped, "x", WRONG, "stopped, as expected"),
        (ended, "o", VALID, "went to the end"),
    ):
        there = [(x, y) for x, y in pairs if x is not None and y is not None]
        if there:
            axes.plot(*zip(*there, strict=True), mark, color=colour, ms=5.5, label=name)
    axes.axhline(found.best, color=INK, lw=0.9, ls=(0, (4, 3)))
    plain(axes)
    axes.margins(0.08)


def best_founded(found: Sequence[Importance]) -> Importance | None:
    """The latest level whose forest foretells most: what is worth drawing."""
    return max(found, key=lambda each: (each.foretold, each.trials), default=None)
