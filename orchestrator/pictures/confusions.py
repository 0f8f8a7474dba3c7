"""Which classes are taken for which: the confusion matrix, as counts and as shares of the true class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from orchestrator.pictures.style import FAINT, INK, empty_figure, save, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Says = Literal["counts", "shares"]
GAMMA = 0.45
MOST_WRITTEN = 26
"""Classes up to which every cell carries its number; above it the worst confusions are listed instead."""
LISTED, FEWEST_OF_CLASS = 16, 3
"""Confusions in the list, and images that a class must have for its shares to be in it."""


def confusion_counts(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Images by true class (rows) and most likely class (columns), int64 [C, C].

    `logits` is float [N, C], `targets` int64 [N]; source: the usual confusion matrix, by one bincount.
    """
    classes = logits.shape[1]
    cells = targets * classes + logits.argmax(1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def draw_confusion(
    counts: np.ndarray, classes: Sequence[str], path: Path, *, title: str, says: Says = "counts"
) -> Path:
    """A confusion matrix (int64 [C, C], rows true) colored by the share of each row; gives back its path.

    Its cells, or with many classes the list beside it, say counts or shares of the true class.
    """
    many = len(counts) > MOST_WRITTEN
    names = [shortened(str(name)) for name in classes]
    side = 7.2 if many else max(3.8, 0.36 * len(counts) + 1.6)
    right, total = int(np.trace(counts)), int(counts.sum())
    share = f"{right / total:.1%} right ({right:,} of {total:,})" if total else "no images"
    figure = empty_figure(side + (4.3 if many else 1.2), side, f"{title}\n{share}")
    if many:
        axes, beside = figure.subplots(1, 2, width_ratios=(side, 3.0))
        _list_confusions(beside, counts, names, says)
    else:
        axes = figure.subplots()
    _matrix(axes, counts)
    _name_classes(axes, names)
    if not many:
        _write_cells(axes, counts, says)
    return save(figure, path)


def shares_of(counts: np.ndarray) -> np.ndarray:
    """Each row as shares of its sum, float64 [C, C]; a class without images has none."""
    shares: np.ndarray = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def worst_confusions(counts: np.ndarray, says: Says) -> list[tuple[int, int]]:
    """Pairs (true, taken for) of classes, worst first: by images, or by share of the true class."""
    wrong = (counts if says == "counts" else shares_of(counts)) * (1 - np.eye(len(counts)))
    if says == "shares":
        wrong[counts.sum(1) < FEWEST_OF_CLASS] = 0.0
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    return [divmod(int(index), len(counts)) for index in order if wrong.flat[index]]


def _matrix(axes: "Axes", counts: np.ndarray) -> None:
    """The picture of the shares; the gamma lifts the small ones, the confusions one looks for."""
    from matplotlib.colors import PowerNorm

    shares = shares_of(counts)
    picture = axes.imshow(shares, cmap="Blues", norm=PowerNorm(GAMMA, 0, 1), interpolation="nearest")
    bar = axes.figure.colorbar(picture, ax=axes, shrink=0.75, ticks=[0, 0.05, 0.25, 0.5, 1])
    bar.ax.set_yticklabels([f"{tick:.0%}" for tick in bar.get_ticks()], fontsize=8, color=INK)
    bar.outline.set_visible(False)
    bar.set_label("share of the true class", fontsize=8.5, color=INK)
    axes.set_xlabel("predicted", fontsize=9.5, color=INK)
    axes.set_ylabel("true", fontsize=9.5, color=INK)
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _name_classes(axes: "Axes", names: Sequence[str]) -> None:
    step = max(1, round(len(names) / MOST_WRITTEN))
    where = range(0, len(names), step)
    small: Mapping[str, Any] = {"fontsize": 8.5 if step == 1 else 6.5, "color": INK}
    turn = 90 if max(map(len, names)) > 3 else 0
    axes.set_xticks(where, [names[i] for i in where], rotation=turn, **small)
    axes.set_yticks(where, [names[i] for i in where], **small)
    axes.tick_params(length=0 if step == 1 else 2, color=FAINT)


def _write_cells(axes: "Axes", counts: np.ndarray, says: Says) -> None:
    shares = shares_of(counts)
    for row, column in np.argwhere(counts):
        share = shares[row, column]
        text = f"{counts[row, column]}" if says == "counts" else f"{100 * share:.0f}"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=8.5,
            color="white" if share > 0.3 else INK,
        )  # fmt: skip


def _list_confusions(axes: "Axes", counts: np.ndarray, names: Sequence[str], says: Says) -> None:
    axes.set_axis_off()
    axes.text(0, 1, "Most confused (true, taken for)", va="top", fontsize=9.5, color=INK, weight="bold")
    shares = shares_of(counts)
    for line, (true, taken) in enumerate(worst_confusions(counts, says), start=1):
        count = counts[true, taken]
        how = f"{count} x" if says == "counts" else f"{shares[true, taken]:.0%} of {counts[true].sum()}"
        text = f"{how}  {names[true]}\n        {names[taken]}"
        axes.text(0, 1 - 0.058 * line, text, va="top", fontsize=8, color=INK, linespacing=1.15)
