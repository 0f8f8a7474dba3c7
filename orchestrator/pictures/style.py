"""The one style of every picture: light, plain axes, Okabe and Ito's colors, files that a page can carry."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, VALID, INK, FAINT = "#E69F00", "#0072B2", "#333333", "#D9D9D9"  # of Okabe and Ito's safe palette
WRONG = "#D55E00"
DPI = 110
LARGEST = 280_000
"""Bytes of a picture file; photographs are written in fewer colours, then smaller, until they fit."""
COLORS, SMALLER = 256, 0.95


def empty_figure(width: float, height: float, title: str) -> "Figure":
    """An empty light figure of its own canvas: no pyplot, so any thread may draw. Inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def plain(axes: "Axes") -> None:
    """Axes on the left and below alone, and a faint grid behind what is drawn."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def or_gap(value: float | None) -> float:
    """The value; what was not finite is null in the journal and a gap in the curve."""
    return math.nan if value is None else value


def shortened(name: str, most: int = 24) -> str:
    """The name with its middle left out: what tells classes apart stands at either end."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"


def save(figure: "Figure", path: Path) -> Path:
    """Write the figure as a PNG of at most `LARGEST` bytes and give back its path."""
    figure.savefig(path, dpi=DPI)
    return slim(path)


def slim(path: Path) -> Path:
    """Bring a PNG down to `LARGEST` bytes where it is larger."""
    size = path.stat().st_size
    if size <= LARGEST:
        return path
    from PIL import Image

    with Image.open(path) as image:
        picture = image.convert("RGB")
    while size > LARGEST:
        picture.quantize(COLORS).save(path)
        size = path.stat().st_size
        scale = SMALLER * min(1.0, (LARGEST / size) ** 0.5)
        picture = picture.resize((round(scale * picture.width), round(scale * picture.height)))
    return path
