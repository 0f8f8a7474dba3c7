"""The learning curves of a whole search: every trial faint, the best one strong."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.evidence.content import Picture
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.pictures.style import INK, TRAIN, VALID, empty_figure, or_gap, plain, save
from orchestrator.snapshot import score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 400
"""Trials that are drawn; of more, the best and the latest."""
MARGIN = 1.15
"""The loss is shown up to so many times the highest that nine in ten of its values keep to."""


def draw_search_curves(record: SearchRecord, path: Path) -> Picture | None:
    """Training and validation curves, metric and loss; None where no trial finished an epoch.

    The best is that of the search's leaderboard which was validated, a final or not.
    """
    trials = [t for t in record.trials.values() if t.reports]
    if not trials:
        return None
    validated = [t for t in record.ranked() if t.reports and _has(t, "valid_metric")]
    best = validated[0] if validated else None
    shown = _shown(trials, validated)
    metric = str(record.asked.get("metric", "metric"))
    figure = empty_figure(10.0, 4.2, f"Learning curves of {len(trials)} trials")
    for axes, (what, name) in zip(figure.subplots(1, 2), (("metric", metric), ("loss", "loss")), strict=True):
        _faint(axes, shown, what)
        if best is not None:
            _strong(axes, best, what)
        _limits(axes, shown, what)
        axes.set_xlabel("epoch", color=INK)
        axes.set_ylabel(name, color=INK)
        plain(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    said = "none has a validation score"
    if best is not None:
        reached = f"{metric} {score(best.value)} at epoch {best.best_epoch}"
        said = f"the best, trial {best.trial_id} ({reached}), strong"
    left = f" {len(trials) - len(shown)} of them are not drawn." if len(shown) < len(trials) else ""
    return Picture(
        file=save(figure, path),
        caption=f"Training and validation curves: all trials faint, {said}.{left}",
    )


def _shown(trials: Sequence[TrialRecord], ranked: Sequence[TrialRecord]) -> list[TrialRecord]:
    if len(trials) <= MOST:
        return list(trials)
    kept = {t.trial_id: t for t in (*ranked[: MOST // 2], *trials[-(MOST // 2) :])}
    return list(kept.values())


def _has(trial: TrialRecord, name: str) -> bool:
    return any(row.get(name) is not None for row in trial.reports)


def _values(trial: TrialRecord, name: str) -> list[float]:
    return [or_gap(row.get(name)) for row in trial.reports]


def _faint(axes: "Axes", trials: Sequence[TrialRecord], what: str) -> None:
    """One line a trial and part; a trial of a single epoch is a dot, which a line would not show."""
    width = 0.35 if len(trials) < 60 else 0.2
    for trial in trials:
        epochs = [row["epoch"] for row in trial.reports]
        mark = "." if len(epochs) == 1 else ""
        for part, colour in (("train", TRAIN), ("valid", VALID)):
            axes.plot(
                epochs, _values(trial, f"{part}_{what}"), color=colour, alpha=width, lw=0.9, marker=mark, ms=3
            )


def _strong(axes: "Axes", best: TrialRecord, what: str) -> None:
    epochs = [row["epoch"] for row in best.reports]
    mark = "o" if len(epochs) < 25 else ""
    for part, name, colour in (("train", "training", TRAIN), ("valid", "validation", VALID)):
        values = _values(best, f"{part}_{what}")
        axes.plot(epochs, values, color="white", lw=4.5, zorder=3)
        axes.plot(
            epochs, values, color=colour, lw=2.4, marker=mark, ms=3.5, zorder=4, label=f"{name}, best trial"
        )
    for row in best.reports:
        if row["epoch"] == best.best_epoch and row.get(f"valid_{what}") is not None:
            axes.plot(
                row["epoch"], row[f"valid_{what}"], "o", ms=9, mfc="white", mec=VALID, mew=2.2, zorder=5,
                ls="", label="its best epoch",
            )  # fmt: skip


def _limits(axes: "Axes", trials: Sequence[TrialRecord], what: str) -> None:
    """Whole epochs below; a few losses that ran away do not press the others flat."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    values = np.array([v for t in trials for p in ("train", "valid") for v in _values(t, f"{p}_{what}")])
    values = values[np.isfinite(values)]
    if what == "loss" and len(values):
        most = MARGIN * float(np.quantile(values, 0.95))
        if values.max() > 2 * most > 0:
            axes.set_ylim(min(0.0, float(values.min())), most)
