"""The reliability diagram: how often answers of each confidence are right, with and without temperature."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.evidence.calibration import BINS, Reliability
from orchestrator.pictures.style import FAINT, INK, TRAIN, VALID, empty_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

FEW = 5
"""Images of a bin below which its share of right ones says little."""
PALE = "#A6CEE3"
GAP: dict[str, Any] = {"facecolor": "none", "edgecolor": TRAIN, "hatch": "////", "lw": 1.1}
PERFECT: dict[str, Any] = {"color": INK, "lw": 1, "ls": (0, (4, 3))}


def draw_reliability(panels: Sequence[tuple[str, Reliability]], path: Path, *, title: str) -> Path:
    """A column a panel: the diagram, and below it how many images had which confidence."""
    figure = empty_figure(4.4 * len(panels) + 0.4, 5.2, title)
    grid = figure.subplots(2, len(panels), height_ratios=(3, 1), squeeze=False, sharex="col")
    for (name, found), above, below in zip(panels, grid[0], grid[1], strict=True):
        _diagram(above, found)
        said = f"calibration error {found.error:.3f}, by chance {found.chance:.3f}"
        above.set_title(f"{name}\n{said}\nlog loss {found.log_loss:.3f}", fontsize=9.5, color=INK)
        _histogram(below, found)
    grid[0][0].set_ylabel("share that is right", color=INK)
    grid[1][0].set_ylabel("images", color=INK)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return save(figure, path)


def _diagram(axes: "Axes", found: Reliability) -> None:
    """A bar a bin from 0 to its accuracy, and the gap to its confidence; pale where it holds few images."""
    middles, width = (np.arange(BINS) + 0.5) / BINS, 0.94 / BINS
    some = found.counts > 0
    colours = [VALID if count >= FEW else PALE for count in found.counts[some]]
    axes.bar(middles[some], found.accuracy[some], width, color=colours)
    low = np.minimum(found.accuracy, found.confidence)[some]
    gap = np.abs(found.accuracy - found.confidence)[some]
    axes.bar(middles[some], gap, width, bottom=low, **GAP)
    axes.plot([0, 1], [0, 1], **PERFECT)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    plain(axes)


def _histogram(axes: "Axes", found: Reliability) -> None:
    axes.bar((np.arange(BINS) + 0.5) / BINS, found.counts, 0.94 / BINS, color=FAINT, edgecolor=INK, lw=0.5)
    axes.set_xlabel("confidence", color=INK)
    plain(axes)


def _legend() -> "list[Artist]":
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(color=VALID, label="right"),
        Patch(color=PALE, label=f"right, of fewer than {FEW} images"),
        Patch(label="gap to the mean confidence", **GAP),
        Line2D([], [], label="perfect", **PERFECT),
    ]
