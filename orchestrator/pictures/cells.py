"""Square cells of pictures in rows and columns, placed by hand: much faster than a solver's layout."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.pictures.style import INK, empty_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, TITLE, GAP = 9.6, 0.36, 0.07
"""Inches: of the figure, of the place for its title, and between cells."""
SMALL = 160
"""Pictures of a longer side, in px, are smoothed as they shrink; others show their pixels."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A figure with places for pictures; what is not drawn stays white."""

    figure: "Figure"
    side: float
    """Of a cell, in inches."""
    left: float
    """Inches for words on the left."""
    above: tuple[float, ...]
    """Inches over the cells of each row, for their names."""

    def top(self, row: int) -> float:
        """Inches from the figure's upper edge to the cells of a row."""
        return TITLE + sum(self.above[: row + 1]) + row * (self.side + GAP)

    def axes(self, row: int, column: float) -> "Axes":
        """The place of a cell, without axes."""
        height = float(self.figure.get_figheight())
        x = self.left + GAP + column * (self.side + GAP)
        y = height - self.top(row) - self.side
        axes = self.figure.add_axes((x / WIDTH, y / height, self.side / WIDTH, self.side / height))
        axes.set_axis_off()
        return axes

    def picture(self, row: int, column: float, pixels: np.ndarray, name: str = "") -> None:
        """Draw uint8 [H, W, 3], or float [H, W] in colours, dark where it is least."""
        axes = self.axes(row, column)
        smooth = "auto" if max(pixels.shape[:2]) > SMALL else "nearest"
        axes.imshow(pixels, cmap="cividis", interpolation=smooth)
        if name:
            axes.set_title(name, fontsize=7, color=INK, pad=3)

    def words(self, row: int, words: str) -> None:
        """Words before the cells of a row."""
        text = "\n".join(textwrap.fill(line, 17) for line in words.splitlines())
        self._write(self.left, self.top(row) + self.side / 2, text, ha="right", va="center", fontsize=8.5)

    def heading(self, column: float, width: int, words: str) -> None:
        """Words above the first row, in the middle of `width` columns."""
        x = self.left + GAP + (column + width / 2) * (self.side + GAP)
        self._write(x, TITLE, words, ha="center", va="top", fontsize=9)

    def _write(self, x: float, y: float, words: str, **style: Any) -> None:
        """Inches from the left and from above."""
        height = float(self.figure.get_figheight())
        self.figure.text(x / WIDTH, 1 - y / height, words, color=INK, **style)


def cells_for(title: str, columns: int, above: Sequence[float], *, left: float = 0.0) -> Cells:
    """An empty figure with a row of `columns` cells for each of `above`, the inches over its cells."""
    side = (WIDTH - left - GAP) / columns - GAP
    height = TITLE + sum(above) + len(above) * (side + GAP)
    figure = empty_figure(WIDTH, height, "")
    figure.set_layout_engine("none")
    figure.suptitle(title, fontsize=11, color=INK, y=1 - 0.06 / height, va="top")
    return Cells(figure=figure, side=side, left=left, above=tuple(above))
