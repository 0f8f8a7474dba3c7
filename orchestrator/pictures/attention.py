"""Where the network looks: Grad-CAM on validation pictures that it answers rightly and wrongly."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evidence.content import Picture
from orchestrator.pictures.cells import cells_for
from orchestrator.pictures.style import save, shortened
from trainables.errors import OrchestratorError

if TYPE_CHECKING:
    from trainables.attributed import Attention
    from trainables.looking import Looker, Seen
    from trainables.task import Head

SHOWN = 6
"""Pictures of each group."""
HEAT = 0.55
"""Share of the map's colour in a cell, the rest is the picture in grey."""


def attention(looker: "Looker", seen: "Seen", path: Path, *, title: str) -> Picture:
    """Right answers and what speaks for them; wrong ones, and what speaks for them and for the truth.

    Of the first head where there are several. Raises OrchestratorError where no layer can be asked.
    """
    from trainables.attributed import grad_cam

    head = looker.heads[0]
    truth, answers, sure = seen.targets[:, 0], *_answers(seen, head)
    right, wrong = (_surest(np.flatnonzero(w), truth, sure) for w in (answers == truth, answers != truth))
    lines: list[tuple[str, np.ndarray, Attention | None]] = []
    for name, places in (("right", right), ("wrong", wrong)):
        if len(places):
            rows = seen.rows[places]
            lines.append((f"answered {name}", places, None))
            lines.append(("what speaks for the answer", places, grad_cam(looker, rows, answers[places])))
    if len(wrong):
        told = grad_cam(looker, seen.rows[wrong], truth[wrong])
        lines.append(("what speaks for the truth", wrong, told))
    if not lines:
        raise OrchestratorError("There is no validation picture")
    cells = cells_for(title, SHOWN, [0.06 if maps else 0.4 for _, _, maps in lines], left=1.15)
    for line, (words, places, maps) in enumerate(lines):
        cells.words(line, words)
        for column, (place, picture) in enumerate(zip(places, looker.shown(seen.rows[places]), strict=True)):
            name = "" if maps else _named(head, truth[place], answers[place], sure[place])
            cells.picture(line, column, heated(picture, maps.maps[column]) if maps else picture, name)
    save(cells.figure, path)
    return Picture(file=path, caption=_caption(looker, head, [maps for _, _, maps in lines if maps]))


def _caption(looker: "Looker", head: "Head", told: "Sequence[Attention]") -> str:
    layers = sorted({f"{maps.layer.name} ({maps.layer.side} x {maps.layer.side} cells)" for maps in told})
    of = f" for {head.name}" if len(looker.heads) > 1 else ""
    return (
        f"Grad-CAM{of} on the validation pictures of which the network is surest, right and wrong, each of"
        f" another class where there are enough. Bright places speak for the class, as seen in"
        f" {' and '.join(layers)}; where all is dark, none does."
    )


def _answers(seen: "Seen", head: "Head") -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class [n] of each picture, and its probability [n]."""
    logits = seen.logits[head.name].astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return logits.argmax(1), shares.max(1) / shares.sum(1)


def _surest(places: np.ndarray, truth: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Up to `SHOWN` of `places`, the surest, each of another class as long as there are any."""
    order = places[np.argsort(-sure[places], kind="stable")]
    _, first = np.unique(truth[order], return_index=True)
    later = np.setdiff1d(np.arange(len(order)), first)
    return order[[*np.sort(first), *later][:SHOWN]] if len(order) else order


def _named(head: "Head", truth: int, answer: int, sure: float) -> str:
    said, true = (shortened(head.classes[label], 18) for label in (answer, truth))
    return f"{said}\n{sure:.0%}" if truth == answer else f"true {true}\nsaid {said}\n{sure:.0%}"


def heated(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture uint8 [S, S, 3] in grey under a map float [s, s] of 0..1 in colour."""
    from matplotlib import colormaps
    from PIL import Image

    side = picture.shape[0]
    large = np.asarray(
        Image.fromarray(heat.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    )
    grey = picture.mean(2, keepdims=True)
    colour = 255 * colormaps["viridis"](large.clip(0, 1))[..., :3]
    mixed: np.ndarray = ((1 - HEAT) * grey + HEAT * colour).astype(np.uint8)
    return mixed
