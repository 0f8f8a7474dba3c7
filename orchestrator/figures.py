"""Pictures of trials and ensembles as PNG files, as the tracker keeps them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.contact_sheet import contact_sheet
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.pictures.confusions import confusion_counts, draw_confusion
from orchestrator.pictures.style import DPI, FAINT, INK, TRAIN, VALID, empty_figure, or_gap, plain
from orchestrator.trust import source_of
from trainables import gathered
from trainables.predictions import Dense
from trainables.task import load_task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trainables.store import Part, Store


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
        metric = load_task(source_of(record.asked)).metric
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
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=DPI)


def _curve(axes: "Axes", reports: Sequence[Mapping[str, float]], what: str, best_epoch: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in reports]
    mark = "o" if len(epochs) < 25 else ""
    for part, name, colour in (("train", "training", TRAIN), ("valid", "validation", VALID)):
        values = [or_gap(row[f"{part}_{what}"]) for row in reports]
        axes.plot(epochs, values, color=colour, marker=mark, markersize=3.5, linewidth=1.8, label=name)
    for best in [row for row in reports if row["epoch"] == best_epoch][-1:]:
        epoch, value = best["epoch"], or_gap(best[f"valid_{what}"])
        axes.axvline(epoch, color=INK, lw=0.8, ls=(0, (4, 3)))
        if math.isnan(value):  # this kind does not measure it
            continue
        axes.plot(epoch, value, "o", color=VALID, ms=8, mfc="white", mew=2)
        axes.set_title(f"validation {value:.4g} at the best epoch, {epoch}", fontsize=9, color=INK)
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    plain(axes)
    if not reports:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no epoch was finished", transform=axes.transAxes, ha="center", color=INK)
