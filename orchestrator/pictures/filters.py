"""What the layers of a network compute: first filters, maps through the depth, what channels respond to."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evidence.content import Picture
from orchestrator.pictures.cells import cells_for
from orchestrator.pictures.style import save
from trainables.errors import OrchestratorError

if TYPE_CHECKING:
    from torch import nn

    from trainables.looking import Looker, Seen, Spot

MOST_FILTERS, COLUMNS = 64, 16
DEPTHS, CHANNELS = 5, 8
"""Layers and channels of the maps through the depth."""
RESPONDING, PATCHES = 5, 5
"""Channels of a layer, and pictures that excite each."""
CONTEXT = 4
"""A patch is so many cells of the layer's map wide."""


def first_filters(model: "nn.Module", path: Path, *, title: str) -> Picture:
    """The filters of the first convolution. Raises OrchestratorError where no layer takes the colours."""
    from torch import nn

    named = model.named_modules()
    layers = [(name, m) for name, m in named if isinstance(m, nn.Conv2d) and m.in_channels == 3]
    if not layers:
        raise OrchestratorError("no convolution of this network takes the picture itself")
    name, layer = layers[0]
    weights = layer.weight.detach().cpu().numpy()
    shown = weights[:MOST_FILTERS]
    cells = cells_for(title, COLUMNS, [0.0] * -(-len(shown) // COLUMNS))
    for place, each in enumerate(shown):
        cells.picture(*divmod(place, COLUMNS), _coloured(each))
    save(cells.figure, path)
    which = f"{len(shown)} of the {len(weights)}" if len(shown) < len(weights) else f"The {len(weights)}"
    height, width = layer.kernel_size
    return Picture(
        file=path,
        caption=f"{which} filters of {height} x {width} px of the first convolution, {name}. Grey is zero;"
        " each is scaled by its own largest weight.",
    )


def _coloured(weights: np.ndarray) -> np.ndarray:
    """A filter float [3, k, k] as uint8 [k, k, 3], zero in the middle of the range."""
    scaled = 127.5 + 127.5 * weights.transpose(1, 2, 0) / max(float(np.abs(weights).max()), 1e-12)
    coloured: np.ndarray = scaled.round().astype(np.uint8)
    return coloured


def maps_through_the_depth(looker: "Looker", row: int, path: Path, *, title: str) -> Picture:
    """The strongest channels of a few layers, for one picture of the validation part."""
    spots = looker.spread(DEPTHS)
    maps = looker.maps([row], spots)
    cells = cells_for(title, CHANNELS + 1, [0.18] * len(spots), left=1.2)
    cells.picture(0, 0, looker.shown([row])[0])
    for line, spot in enumerate(spots):
        found = maps[spot.name][0]
        cells.words(line, f"{spot.name}\n{spot.side} x {spot.side}")
        for column, channel in enumerate(np.argsort(-found.std((1, 2)), kind="stable")[:CHANNELS], 1):
            cells.picture(line, column, found[channel], str(channel))
    save(cells.figure, path)
    return Picture(
        file=path,
        caption=f"The validation picture {looker.valid.ids[row]} in {len(spots)} layers from input to output:"
        f" of each the {CHANNELS} channels that vary most over it, bright where they answer strongly.",
    )


def responses(looker: "Looker", seen: "Seen", spots: Sequence["Spot"], path: Path, *, title: str) -> Picture:
    """Of channels of some layers: what excites them most, made by ascent and found among the pictures."""
    from trainables.attributed import liked

    wide = PATCHES + 1
    cells = cells_for(title, (wide + 1) * len(spots) - 1, [0.4, *[0.16] * (RESPONDING - 1)])
    for panel, spot in enumerate(spots):
        start = panel * (wide + 1)
        cells.heading(start, wide, f"{spot.name}, {spot.side} x {spot.side}")
        channels = _telling(seen.peaks[spot.name].values)
        made = liked(looker, spot, channels)
        for row, channel in enumerate(channels):
            cells.picture(row, start, made[row], str(channel))
            for column, cut in enumerate(_exciting(looker, seen, spot, channel), start + 1):
                cells.picture(row, column, cut)
    save(cells.figure, path)
    return Picture(
        file=path,
        caption=f"What channels of {len(spots)} layers respond to. First in each row a picture made by"
        f" activation maximisation, then the {PATCHES} validation pictures that excite the channel most, each"
        " cut around the place of its strongest answer.",
    )


def _exciting(looker: "Looker", seen: "Seen", spot: "Spot", channel: int) -> list[np.ndarray]:
    """What of the pictures excites a channel most, the strongest first."""
    peaks = seen.peaks[spot.name]
    best = np.argsort(-peaks.values[:, channel], kind="stable")[:PATCHES]
    pictures = zip(looker.shown(seen.rows[best]), peaks.places[best, channel], strict=True)
    return [patch(picture, where, spot.side) for picture, where in pictures]


def _telling(values: np.ndarray) -> list[int]:
    """Channels whose peaks [n, C] stand out most from their mean: they answer to something special."""
    spread = values.std(0)
    rise = np.where(spread > 0, (values.max(0) - values.mean(0)) / np.maximum(spread, 1e-12), 0.0)
    alive = np.flatnonzero(spread > 1e-6 * max(float(spread.max()), 1e-12))
    chosen: list[int] = alive[np.argsort(-rise[alive], kind="stable")][:RESPONDING].tolist()
    return chosen


def patch(picture: np.ndarray, where: np.ndarray, side: int) -> np.ndarray:
    """The part of a picture [S, S, 3] that lies around a cell (row, column) of a map of `side` cells."""
    size = picture.shape[0]
    extent = min(size, max(4, round(CONTEXT * size / side)))
    top, left = ((int(at) + 0.5) * size / side - extent / 2 for at in where)
    top, left = (round(min(max(edge, 0), size - extent)) for edge in (top, left))
    return picture[top : top + extent, left : left + extent]
