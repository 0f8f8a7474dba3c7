"""Where validation pictures lie in the space of a layer: t-SNE, one point a picture, coloured by class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evidence.content import Picture
from orchestrator.pictures.style import FAINT, INK, empty_figure, save, shortened
from trainables.errors import OrchestratorError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trainables.looking import Seen
    from trainables.task import Head

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7A5C00", "#333333")
"""Of Okabe and Ito's palette, with a brown and a dark grey in place of yellow and black."""
MARKS = "os^Dv"
MOST_COLOURED = 16
"""With more classes only those most confused stand out."""
STANDING_OUT = 10
COMPONENTS, PERPLEXITY, ITERATIONS = 50, 30, 500
FEWEST = 8
"""Points below which there is nothing to arrange."""


def embedding(vectors: np.ndarray) -> np.ndarray:
    """float [n, 2] by t-SNE (van der Maaten and Hinton, 2008) of the first principal components of [n, D].

    Raises OrchestratorError for too few pictures, or where all have the same vector.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    spread = vectors.std(0)
    if len(vectors) < FEWEST or not spread.max(initial=0.0) > 0 or not np.isfinite(vectors).all():
        raise OrchestratorError(f"{len(vectors)} pictures and no spread between them give no embedding")
    kept = min(COMPONENTS, len(vectors) - 1, vectors.shape[1])
    reduced = PCA(kept, svd_solver="full", random_state=0).fit_transform(vectors.astype(np.float64))
    start = reduced[:, :2] if kept > 1 else np.hstack([reduced, np.zeros_like(reduced)])
    tsne = TSNE(
        init=1e-4 * start / start.std(0).max(),
        perplexity=min(PERPLEXITY, (len(vectors) - 1) / 3),
        max_iter=ITERATIONS,
        random_state=0,
        n_jobs=1,
    )
    found: np.ndarray = tsne.fit_transform(reduced)
    return found


def embeddings(
    seen: "Seen", heads: Sequence["Head"], spaces: Mapping[str, np.ndarray], path: Path, *, title: str
) -> Picture:
    """A column a space (its name and vectors [n, D]), a row a head. Raises what `embedding` does."""
    placed = {name: embedding(vectors) for name, vectors in spaces.items()}
    figure = empty_figure(4.1 * len(spaces) + 2.3, 3.9 * len(heads) + 0.5, title)
    grid = figure.subplots(len(heads), len(spaces), squeeze=False)
    for row, (axes_of, head) in enumerate(zip(grid, heads, strict=True)):
        targets = seen.targets[:, row]
        coloured = _coloured(targets, seen.logits[head.name].argmax(1), head.num_classes)
        for axes, (name, points) in zip(axes_of, placed.items(), strict=True):
            _scatter(axes, points, targets, {label: shortened(head.classes[label]) for label in coloured})
            axes.set_title(name if len(heads) == 1 else f"{name}: {head.name}", fontsize=9, color=INK)
        _legend(axes_of[-1], few=len(coloured) == head.num_classes)
    save(figure, path)
    many = any(head.num_classes > MOST_COLOURED for head in heads)
    rest = (
        f" The {STANDING_OUT} classes most often confused are coloured, all others are grey." if many else ""
    )
    return Picture(
        file=path,
        caption=f"t-SNE of {len(seen.rows)} validation pictures, as many of each class as there are alike,"
        f" in two spaces of the network. Distances between groups mean little.{rest}",
    )


def _coloured(targets: np.ndarray, predicted: np.ndarray, num_classes: int) -> list[int]:
    """The classes that get a colour: all, or those that most often are or stand for a wrong answer."""
    if num_classes <= MOST_COLOURED:
        return list(range(num_classes))
    wrong = targets != predicted
    errors = np.bincount(targets[wrong], minlength=num_classes)
    errors += np.bincount(predicted[wrong], minlength=num_classes)
    there = np.isin(np.arange(num_classes), targets)
    return sorted(np.argsort(-errors - there, kind="stable")[:STANDING_OUT].tolist())


def _scatter(axes: "Axes", points: np.ndarray, targets: np.ndarray, names: Mapping[int, str]) -> None:
    others = ~np.isin(targets, list(names))
    size = 16 if len(points) < 1500 else 8
    if others.any():
        x, y = points[others].T
        axes.scatter(x, y, s=size * 0.6, color=FAINT, linewidths=0, label="other classes")
    for place, (label, name) in enumerate(names.items()):
        mark, colour = MARKS[place // len(COLOURS) % len(MARKS)], COLOURS[place % len(COLOURS)]
        x, y = points[targets == label].T
        axes.scatter(x, y, s=size, color=colour, marker=mark, linewidths=0, alpha=0.85, label=name)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _legend(axes: "Axes", *, few: bool) -> None:
    """To the right, the classes in their order."""
    handles, labels = axes.get_legend_handles_labels()
    if not few:  # the rest is named last
        handles, labels = [*handles[1:], handles[0]], [*labels[1:], labels[0]]
    axes.legend(
        handles,
        labels,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
    )
