"""The mistakes that were made with the greatest confidence, as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchestrator.evidence.calibration import probabilities
from orchestrator.pictures.style import INK, WRONG, empty_figure, save, shortened

ROWS, COLUMNS = 3, 6
SIDE = 128
"""Px that a small picture is enlarged to."""


def surest_mistakes(logits: np.ndarray, targets: np.ndarray, *, most: int = ROWS * COLUMNS) -> list[int]:
    """Rows of the wrong answers, the most confident first; logits [N, C], targets int64 [N]."""
    shares = probabilities(logits)
    wrong = np.flatnonzero(shares.argmax(1) != targets)
    order = np.argsort(-shares[wrong].max(1), kind="stable")
    return [int(row) for row in wrong[order][:most]]


def draw_mistakes(
    images: Sequence[np.ndarray],
    said: Sequence[tuple[str, str, float]],
    path: Path,
    *,
    title: str,
) -> Path:
    """A grid of pictures uint8 [H, W, 3]; of each is `said` its class, what it was taken for, how surely."""
    lines = -(-len(images) // COLUMNS)
    figure = empty_figure(10.0, 2.35 * lines + 0.6, title)
    grid = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, (true, taken, sure) in zip(grid, images, said, strict=False):
        axes.imshow(_enlarged(image))
        axes.set_title(
            f"{shortened(true, 22)}\n→ {shortened(taken, 22)}\n{_percent(sure)}",
            fontsize=7.6,
            color=INK,
            linespacing=1.25,
        )
        axes.add_patch(_frame(image))
    return save(figure, path)


def _percent(sure: float) -> str:
    return "> 99.9 %" if sure > 0.999 else f"{100 * sure:.1f} %"


def _frame(image: np.ndarray) -> "object":
    from matplotlib.patches import Rectangle

    height, width = _enlarged(image).shape[:2]
    return Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=WRONG, lw=1.2)


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Small pictures by whole steps, so that their pixels stay sharp."""
    times = max(1, SIDE // max(image.shape[:2]))
    return image.repeat(times, 0).repeat(times, 1)
