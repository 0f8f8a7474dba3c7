"""Precision and recall of each class, as a table and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evidence.content import Table
from orchestrator.pictures.style import FAINT, INK, TRAIN, VALID, empty_figure, plain, save, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED = 40
"""Classes up to which each is drawn with its name; of more, those with the lowest F1."""
LOWEST, HIGHEST = 20, 5
"""Rows of the table of many classes: those with the lowest F1, and with the highest."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of each class, float [C]; NaN where it is not defined: no image is of it, or none was taken for it."""

    classes: tuple[str, ...]
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    """0 where no image of the class was found; NaN where it neither occurs nor is answered."""
    images: np.ndarray
    """Images that are of the class, int [C]."""

    @property
    def order(self) -> list[int]:
        """Classes that occur, the lowest F1 first."""
        rows = [int(i) for i in np.argsort(self.f1, kind="stable")]
        return [i for i in rows if self.images[i]]


def class_scores(counts: np.ndarray, classes: Sequence[str]) -> Scores:
    """Precision, recall and F1 by class of a confusion matrix, int64 [C, C] with the truth as rows."""
    right, true, taken = np.diag(counts), counts.sum(1), counts.sum(0)

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        found = np.full(len(part), np.nan)
        np.divide(part, whole, out=found, where=whole > 0)
        return found

    return Scores(
        classes=tuple(str(name) for name in classes),
        precision=share(right, taken),
        recall=share(right, true),
        f1=share(2 * right, true + taken),
        images=true,
    )


def class_table(found: Scores, *, caption: str) -> Table:
    """Each class that occurs, or the lowest and the highest of many, and their mean."""
    order = found.order
    many = len(order) > MOST_NAMED
    rows = [*order[:LOWEST], *order[-HIGHEST:]] if many else sorted(order)
    notes = (
        [f"{len(order)} of {len(found.classes)} classes occur."] if len(order) < len(found.classes) else []
    )
    if many:
        notes.insert(0, f"The {LOWEST} classes with the lowest F1 and the {HIGHEST} with the highest.")
    mean = (
        "mean of the classes",
        *(_cell(float(np.nanmean(v[order]))) for v in (found.precision, found.recall, found.f1)),
        str(int(found.images.sum())),
    ) if order else ()  # fmt: skip
    cells = [
        (
            found.classes[i],
            _cell(found.precision[i]),
            _cell(found.recall[i]),
            _cell(found.f1[i]),
            str(found.images[i]),
        )
        for i in rows
    ]
    return Table(
        caption=caption,
        columns=("class", "precision", "recall", "F1", "images"),
        rows=(*cells, *([mean] if mean else [])),
        strong=frozenset({len(cells)}) if mean else frozenset(),
        notes=(
            *notes,
            "–: no image was taken for the class; such a class is left out of the mean precision.",
        ),
    )


def _cell(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def draw_classes(found: Scores, path: Path, *, title: str) -> Path:
    """Precision and recall of each class as two dots, the lowest F1 on top; of many also the whole run."""
    order = found.order
    many = len(order) > MOST_NAMED
    shown = order[:MOST_NAMED]
    height = 1.5 + 0.21 * max(len(shown), 4)
    figure = empty_figure(10.4 if many else 7.0, height, title)
    if many:
        axes, beside = figure.subplots(1, 2, width_ratios=(3, 2))
        _run(beside, found, order)
    else:
        axes = figure.subplots()
    _dots(axes, found, shown)
    if many:
        axes.set_title(f"the {len(shown)} lowest of {len(order)} classes", fontsize=9.5, color=INK)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return save(figure, path)


def _dots(axes: "Axes", found: Scores, shown: Sequence[int]) -> None:
    rows = np.arange(len(shown))
    precision, recall = found.precision[shown], found.recall[shown]
    axes.hlines(rows, precision, recall, color=FAINT, lw=2.2, zorder=1)
    axes.plot(precision, rows, "s", color=TRAIN, ms=5.5, label="precision", zorder=2)
    axes.plot(recall, rows, "o", color=VALID, ms=5.5, label="recall", zorder=3)
    names = [f"{shortened(found.classes[i])} ({found.images[i]})" for i in shown]
    axes.set_yticks(rows, names)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    plain(axes)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("share (in brackets: images of the class)", fontsize=9, color=INK)


def _run(axes: "Axes", found: Scores, order: Sequence[int]) -> None:
    """F1 of all classes in order."""
    axes.plot(np.arange(1, len(order) + 1), found.f1[list(order)], color=VALID, lw=2)
    axes.set(xlim=(1, len(order)), ylim=(-0.02, 1.02))
    axes.set_xlabel("classes, the lowest F1 first", color=INK)
    axes.set_ylabel("F1", color=INK)
    axes.set_title(f"all {len(order)} classes", fontsize=9.5, color=INK)
    plain(axes)
