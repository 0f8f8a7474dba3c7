"""Predictions of a dense kind beside the truth, as one picture: the worst, the middling and the best."""

from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.boxes import Boxes
from trainables.gathered import take
from trainables.instances import Instances, Masks
from trainables.maps import Maps
from trainables.predictions import Predictions
from trainables.task import Metric

if TYPE_CHECKING:
    from trainables.store import Part

ROWS = 2
"""Pictures of each of the three groups."""
LONGEST = 420
"""Side in px that a cell is enlarged or shrunk to."""
SURE = 0.5
"""Score from which an object is drawn."""
PALETTE = ((230, 159, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0))
"""Of Okabe and Ito, safe for the color-blind: one a class, or an object."""


def contact_sheet(predictions: Predictions, part: "Part", metric: Metric, path: Path, *, title: str) -> None:
    """Write a row an image: the picture, its truth and its prediction, with the image's own score.

    Raises DataError for predictions of other images or that cannot be read.
    """
    from ensembles.blend import align
    from orchestrator.pictures.style import DPI, INK, empty_figure

    [aligned] = align([predictions], part.ids)
    scores = scores_of(aligned, part.targets, metric)
    shown = chosen(scores, metric)
    figure = empty_figure(9.6, 2.7 * len(shown) + 0.6, title)
    grid = figure.subplots(len(shown), 3, squeeze=False)
    for axes, (rank, row) in zip(grid, shown, strict=True):
        picture, truth = part.images[row], take(part.targets, [row])
        cells = (picture, drawn(truth, picture), drawn(aligned.take([row]), picture))
        names = (f"{rank}: {part.ids[row]}", "truth", f"{metric.name} {scores[row]:.4f}")
        for cell, pixels, name in zip(axes, cells, names, strict=True):
            cell.imshow(_sized(pixels))
            cell.set_title(name, fontsize=9, color=INK)
            cell.axis("off")
    figure.savefig(path, dpi=DPI)


def scores_of(predictions: Any, truth: Any, metric: Metric) -> np.ndarray:
    """The score float [N] of each image by itself."""
    if metric.each is not None and metric.total is None:
        return np.asarray(metric.each(predictions, truth))
    rows = range(len(predictions))
    return np.array([metric.fn(predictions.take([row]), take(truth, [row])) for row in rows])


def chosen(scores: np.ndarray, metric: Metric) -> list[tuple[str, int]]:
    """Rank and row of the images to show: the worst, those around the median, the best; none twice."""
    order = np.argsort([metric.utility(float(score)) for score in scores], kind="stable").tolist()
    middle = max((len(order) - ROWS) // 2, 0)
    places = {"worst": order[:ROWS], "median": order[middle : middle + ROWS], "best": order[-ROWS:]}
    shown: dict[int, str] = {}
    for rank, rows in places.items():
        for row in rows:
            shown.setdefault(row, rank)
    return [(rank, row) for row, rank in shown.items()]


@singledispatch
def drawn(predictions: object, picture: np.ndarray) -> np.ndarray:
    """What is said of one picture uint8 [H, W, 3], drawn over it."""
    raise TypeError(f"{type(predictions).__name__} cannot be drawn.")


@drawn.register
def _(predictions: Maps, picture: np.ndarray) -> np.ndarray:
    found = predictions.image(0)
    return found if predictions.form == "picture" else _tinted(picture, list(found > 0.5))


@drawn.register
def _(predictions: Boxes, picture: np.ndarray) -> np.ndarray:
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    for *edges, score, label in predictions.images[0].tolist():
        if score >= SURE:
            pen.rectangle(edges, outline=PALETTE[int(label) % len(PALETTE)], width=2)
    return np.asarray(canvas)


@drawn.register
def _(predictions: Instances, picture: np.ndarray) -> np.ndarray:
    masks: Masks = predictions.images[0]
    return _tinted(picture, list(masks.pick(np.flatnonzero(masks.scores >= SURE)).pixels()))


def _tinted(picture: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """The picture with each mask bool [H, W] in a color of its own."""
    tinted = picture.astype(np.float32)
    for k, mask in enumerate(masks):
        tinted[mask] = 0.45 * tinted[mask] + 0.55 * np.array(PALETTE[k % len(PALETTE)], np.float32)
    painted: np.ndarray = tinted.astype(np.uint8)
    return painted


def _sized(picture: np.ndarray) -> np.ndarray:
    from PIL import Image

    scale = LONGEST / max(picture.shape[:2])
    size = tuple(max(1, round(scale * side)) for side in picture.shape[1::-1])
    return np.asarray(Image.fromarray(picture).resize((size[0], size[1])))
