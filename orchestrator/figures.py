"""Pictures of trials and ensembles as PNG files: learning curves, confusion matrices, contact sheets."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.contact_sheet import contact_sheet
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord
from trainables import gathered
from trainables.predictions import Dense
from trainables.task import load_task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trainables.store import Part, Store

TRAIN, VALID, INK, FAINT = "#E69F00", "#0072B2", "#333333", "#D9D9D9"  # of Okabe and Ito's safe palette
DPI = 110
GAMMA = 0.45
MOST_WRITTEN = 26
"""Classes up to which every cell carries its count; above it the worst confusions are listed instead."""


def trial_pictures(folder: SearchFolder, record: SearchRecord, trial: TrialRecord, into: Path) -> None:
    """A trial's `curves.png` and, where it left predictions of answered images, its confusion matrices.

    Raises OrchestratorError or OSError when the predictions or the store cannot be read.
    """
    name = f"Trial {trial.trial_id} ({trial.params.get('model', '?')}), {trial.state}"
    draw_curves(
        trial.reports,
        into / "curves.png",
        metric=str(record.asked.get("metric", "metric")),
        best_epoch=trial.best_epoch,
        title=name,
    )
    predictions = folder.trial(trial.trial_id) / "valid.npz"
    if predictions.exists() and not trial.params.get("folds"):  # else they answer other images
        _draw(gathered.load(predictions), "valid", record, into, title=f"{name}, validation images")


def ensemble_pictures(
    folder: SearchFolder, record: SearchRecord, ensemble: Mapping[str, Any], into: Path
) -> None:
    """The confusion matrices of an ensemble, on the holdout where there is one. `ensemble` is the content of
    ensemble.json: `rule`, `trial_ids`, `weights`. Raises as `trial_pictures` does."""
    from ensembles.blend import blend
    from ensembles.merging import Blend
    from orchestrator.leaderboard import read_predictions

    store = _store(record)
    names = [n for n in ("holdout", "valid") if _part(record, n).targets is not None and _part(record, n).ids]
    for name in names[:1]:
        members = [read_predictions(folder, i, store=store, part=name) for i in ensemble["trial_ids"]]
        merged = blend(members, Blend(ensemble["rule"], tuple(ensemble["weights"])))
        title = f"{ensemble['method']} of {len(members)} trials, {name} images"
        _draw(merged, name, record, into, title=title)


def _part(record: SearchRecord, name: str) -> "Part":
    return _store(record).parts[name]


def _store(record: SearchRecord) -> "Store":
    from trainables.store import open_store

    return open_store(Path(record.asked["store"]))


def _draw(predictions: Any, name: str, record: SearchRecord, into: Path, *, title: str) -> None:
    """Confusion matrices of classes; of a dense kind `predictions.png`, its pictures beside the truth."""
    part = _part(record, name)
    if isinstance(predictions, Dense):
        _draw_heads(predictions, part, record, into, title=title)
    elif part.targets is not None and part.ids:
        metric = load_task(str(record.asked["source"])).metric
        contact_sheet(predictions, part, metric, into / "predictions.png", title=title)


def _draw_heads(predictions: Dense, part: "Part", record: SearchRecord, into: Path, *, title: str) -> None:
    """`confusion.png`, or with several heads `confusion_HEAD.png` each; nothing without heads or answers."""
    from ensembles.blend import align

    heads = _store(record).heads
    if part.targets is None or not part.ids:
        return
    [aligned] = align([predictions], part.ids)
    for column, head in enumerate(heads):
        counts = confusion_counts(aligned.fields[head.name], part.targets[:, column])
        alone = len(heads) == 1
        path = into / ("confusion.png" if alone else f"confusion_{head.name}.png")
        draw_confusion(counts, head.classes, path, title=title if alone else f"{title}, {head.name}")


def draw_curves(
    reports: Sequence[Mapping[str, float]], path: Path, *, metric: str, best_epoch: int | None, title: str
) -> None:
    """Training and validation loss and metric over the epochs, the best epoch marked.

    `reports` are rows of `trainables.train.EpochReport`; none makes empty axes that say so.
    """
    figure = empty_figure(9.0, 3.8, title)
    for axes, what, name in zip(figure.subplots(1, 2), ("loss", "metric"), ("loss", metric), strict=True):
        _curve(axes, reports, what, best_epoch)
        axes.set_ylabel(name, color=INK)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=DPI)


def confusion_counts(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Images by true class (rows) and most likely class (columns), int64 [C, C].

    `logits` is float [N, C], `targets` int64 [N]; source: the usual confusion matrix, by one bincount.
    """
    classes = logits.shape[1]
    cells = targets * classes + logits.argmax(1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def draw_confusion(counts: np.ndarray, classes: Sequence[str], path: Path, *, title: str) -> None:
    """A confusion matrix (int64 [C, C], rows true) coloured by the share of each row."""
    many = len(counts) > MOST_WRITTEN
    names = [_shortened(str(name)) for name in classes]
    side = 7.2 if many else max(3.8, 0.36 * len(counts) + 1.6)
    right, total = int(np.trace(counts)), int(counts.sum())
    share = f"{right / total:.1%} right ({right:,} of {total:,})" if total else "no images"
    figure = empty_figure(side + (4.3 if many else 1.2), side, f"{title}\n{share}")
    if many:
        axes, beside = figure.subplots(1, 2, width_ratios=(side, 3.0))
        _list_confusions(beside, counts, names)
    else:
        axes = figure.subplots()
    _matrix(axes, counts)
    _name_classes(axes, names)
    if not many:
        _write_counts(axes, counts)
    figure.savefig(path, dpi=DPI)


def draw_scores(
    points: Sequence[tuple[int, float, float]],
    path: Path,
    *,
    metric: str,
    picked: set[int],
    title: str,
) -> None:
    """Public score over validation score of submissions `(number, valid, public)`, the `picked` filled."""
    figure = empty_figure(6.4, 5.6, title)
    axes = figure.subplots()
    for chosen, name in ((True, "final picks"), (False, "others")):
        some = [(valid, public) for number, valid, public in points if (number in picked) == chosen]
        if some:
            xs, ys = zip(*some, strict=True)
            face = VALID if chosen else "white"
            axes.scatter(xs, ys, s=55, facecolor=face, edgecolor=VALID, label=name, zorder=2)
    for number, valid, public in points:
        axes.annotate(str(number), (valid, public), (6, 5), textcoords="offset points", fontsize=9, color=INK)
    axes.margins(0.12)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    same = points[0][1]
    axes.axline((same, same), slope=1, color=FAINT, linestyle="--", zorder=1, label="public = validation")
    axes.set_xlabel(f"{metric} on validation", color=INK)
    axes.set_ylabel(f"public {metric}", color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="best")
    figure.savefig(path, dpi=DPI)


def empty_figure(width: float, height: float, title: str) -> "Figure":
    """An empty light figure of its own canvas: no pyplot, so any thread may draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def _curve(axes: "Axes", reports: Sequence[Mapping[str, float]], what: str, best_epoch: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in reports]
    mark = "o" if len(epochs) < 25 else ""
    for part, name, colour in (("train", "training", TRAIN), ("valid", "validation", VALID)):
        values = [_number(row[f"{part}_{what}"]) for row in reports]
        axes.plot(epochs, values, color=colour, marker=mark, markersize=3.5, linewidth=1.8, label=name)
    for best in [row for row in reports if row["epoch"] == best_epoch][-1:]:
        epoch, value = best["epoch"], _number(best[f"valid_{what}"])
        axes.axvline(epoch, color=INK, lw=0.8, ls=(0, (4, 3)))
        if math.isnan(value):  # this kind does not measure it
            continue
        axes.plot(epoch, value, "o", color=VALID, ms=8, mfc="white", mew=2)
        axes.set_title(f"validation {value:.4g} at the best epoch, {epoch}", fontsize=9, color=INK)
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _plain(axes)
    if not reports:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no epoch was finished", transform=axes.transAxes, ha="center", color=INK)


def _number(value: float | None) -> float:
    """The value; what was not finite is null in the journal and a gap in the curve."""
    return float("nan") if value is None else value


def _plain(axes: "Axes") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _matrix(axes: "Axes", counts: np.ndarray) -> None:
    """The picture of the shares; the gamma lifts the small ones, the confusions one looks for."""
    from matplotlib.colors import PowerNorm

    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
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


def _write_counts(axes: "Axes", counts: np.ndarray) -> None:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for row, column in np.argwhere(counts):
        axes.text(
            column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=8.5,
            color="white" if shares[row, column] > 0.3 else INK,
        )  # fmt: skip


def _list_confusions(axes: "Axes", counts: np.ndarray, names: Sequence[str], most: int = 16) -> None:
    """The pairs of classes most often taken for each other, worst first."""
    axes.set_axis_off()
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    worst = [i for i in np.argsort(-wrong, axis=None, kind="stable")[:most] if wrong.flat[i]]
    axes.text(0, 1, "Most confused (true, taken for)", va="top", fontsize=9.5, color=INK, weight="bold")
    for line, index in enumerate(worst, start=1):
        true, taken = divmod(int(index), len(counts))
        text = f"{wrong.flat[index]} x  {names[true]}\n        {names[taken]}"
        axes.text(0, 1 - 0.058 * line, text, va="top", fontsize=8, color=INK, linespacing=1.15)


def _shortened(name: str, most: int = 24) -> str:
    """The name with its middle left out: what tells classes apart stands at either end."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"
