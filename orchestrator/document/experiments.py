"""The experiments of a report: leaderboard, search, ablations, ensemble and figures."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ensembles.compare import Ensemble
from orchestrator import ensemble, pareto
from orchestrator.document import guarded
from orchestrator.document.paper import section
from orchestrator.document.sources import Sources
from orchestrator.evidence.content import Block, Picture, Section, Table, Text
from orchestrator.journal import TrialRecord
from orchestrator.snapshot import clock, epochs_of, key_parameters, one_line, score, short
from trainables.store import Store

ABLATIONS = "Ablations"
SHOWN = 15
PARAMETERS = 4
"""Of the differing parameters, those that explain most of the ranking come first."""
MOST_FAILURES = 10
LOSS = "log loss"
COLUMNS = ("method", "trials", "valid", LOSS, "holdout", "against the best single", "test")


def blocks(sources: Sources, figures: Path | None) -> list[Block]:
    """All experiments; figures are drawn into the folder.

    Without one there are none, nor the tables that take more than reading: importance, classes, calibration.
    """
    return [
        _leaderboard(sources),
        _search(sources, figures),
        _ablations(sources),
        _ensemble(sources),
        *([] if figures is None else _pictures(sources, figures)),
    ]


def _leaderboard(sources: Sources) -> Section:
    record, ranked = sources.record, sources.record.ranked()
    if not ranked:
        return section("Leaderboard", "No trial has a score yet.")
    finals = any(trial.of for trial in ranked)
    names = [name for name in key_parameters(record) if name != "model"][:PARAMETERS]
    rows = []
    for rank, trial in enumerate(ranked[:SHOWN], start=1):
        rows.append(
            (
                trial.trial_id,
                *((trial.of or "",) if finals else ()),
                str(trial.params.get("model", "?")),
                trial.state.lower(),
                str(rank),
                score(trial.value),
                f"{trial.best_epoch} of {epochs_of(record, trial)}",
                clock(trial.seconds),
                *(short(trial.params.get(name)) for name in names),
            )
        )
    words = 4 if finals else 3
    behind = {trial.trial_id for trial in sources.behind}
    notes = [
        f"Of {len(ranked)} trials with a score the {len(rows)} best; {sources.metric.name} on valid, of the "
        f"best epoch{'; all are in leaderboard.csv' if sources.folder.leaderboard.exists() else ''}.",
    ]
    if sources.chosen is not None:
        notes.append("Bold: what the submission is made of.")
    if finals:
        notes.append(
            "of: the trial whose configuration was trained again; a score there may stand in for one "
            "that was validated on nothing."
        )
    table = Table(
        caption="Leaderboard of the trials",
        columns=(
            "trial",
            *(("of",) if finals else ()),
            "model",
            "state",
            "rank",
            sources.metric.name,
            "best epoch",
            "time",
            *names,
        ),
        rows=tuple(rows),
        notes=tuple(notes),
        words=words,
        strong=frozenset(i for i, trial in enumerate(ranked[:SHOWN]) if trial.trial_id in behind),
    )
    return section("Leaderboard", table)


def _search(sources: Sources, figures: Path | None) -> Section:
    record = sources.record
    states = {
        "completed": "COMPLETE",
        "were stopped early": "PRUNED",
        "failed": "FAIL",
        "are running": "RUNNING",
    }
    counts = [(words, record.count(state)) for words, state in states.items()]  # type: ignore[arg-type]
    listed = ", ".join(f"{count} {words}" for words, count in counts if count)
    said = f"Of {len(record.trials)} trials that were started {listed or 'none has ended'}."
    if record.finished:
        said += f" The search ended: {one_line(record.finished)}."
    return section(
        "What the search teaches",
        said,
        _failures([trial for trial in record.trials.values() if trial.state == "FAIL"]),
        *guarded.blocks("Accuracy against cost", lambda: _pareto(sources, figures)),
        *guarded.blocks("Importance, marginals, early stops and cost", lambda: _insight(sources, figures)),
    )


def _failures(failed: Sequence[TrialRecord]) -> Table | None:
    if not failed:
        return None
    return Table(
        caption=f"Failed trials ({len(failed)})",
        columns=("trial", "model", "reason", "time"),
        rows=tuple(
            (t.trial_id, str(t.params.get("model", "?")), one_line(t.reason)[:160], clock(t.seconds))
            for t in failed[:MOST_FAILURES]
        ),
        words=3,
    )


def _pareto(sources: Sources, figures: Path | None) -> list[Block]:
    found = pareto.points(sources.folder, sources.record)
    if not found:
        return []
    best = pareto.front(found, sources.metric)
    table = Table(
        caption="Trials that no other beats in score at the same or a lower cost",
        columns=("trial", sources.metric.name, "million MACs", "parameters", "MB"),
        rows=tuple(
            (p.trial_id, score(p.value), f"{p.macs / 1e6:.1f}", f"{p.parameters:,}", f"{p.megabytes:.1f}")
            for p in best
        ),
    )
    drawn = sources.folder.path / "pareto.png"
    if figures is None or not drawn.exists():
        return [table]
    copy = Path(shutil.copy(drawn, figures / "pareto.png"))
    caption = (
        f"Validation {sources.metric.name} against multiply-accumulates of an image, and the Pareto front."
    )
    return [table, Picture(file=copy, caption=caption)]


def _insight(sources: Sources, figures: Path | None) -> Sequence[Block]:
    if figures is not None:
        from orchestrator.evidence import insight

        return insight.blocks(sources.record, sources.metric, _inside(figures, "search"))
    from orchestrator.evidence import costs, marginals, stopping
    from orchestrator.evidence.stops import stops
    from orchestrator.evidence.tried import tried

    record, metric = sources.record, sources.metric
    if not tried(record):
        return costs.blocks(record, metric)
    return [
        *marginals.blocks(record, metric),
        *stopping.blocks(stops(record, metric), record),
        *costs.blocks(record, metric),
    ]


def _ablations(sources: Sources) -> Section:
    found = guarded.blocks("Ablations", lambda: _ablated(sources))
    start = f"python -m orchestrator.ablate {sources.asked['task']}"
    nothing = f"There is no finished ablation of these data. Start one: {start}"
    return section(ABLATIONS, *(found or [Text(nothing)]))


def _ablated(sources: Sources) -> Sequence[Block]:
    from orchestrator.ablation import results

    return results.sections(sources.folder.path.parent, str(sources.asked.get("fingerprint", "")))


def _ensemble(sources: Sources) -> Section:
    result = sources.result
    if result is None:
        return section("Ensemble", "No ensemble was made yet.")
    notes = ensemble.legend(result)
    measured = ensemble.has_log_loss(result)
    notes[0] = f"Bold, chosen: {notes[0].removeprefix('* chosen: ')}"
    table = Table(
        caption="Ensemble methods compared",
        columns=tuple(name for name in COLUMNS if measured or name != LOSS),
        rows=tuple(_method(row, measured=measured) for row in result.ensembles),
        notes=tuple(notes),
        strong=frozenset(i for i, row in enumerate(result.ensembles) if row.method == result.chosen),
    )
    return section("Ensemble", table)


def _method(row: Ensemble, *, measured: bool) -> tuple[str, ...]:
    holdout = score(row.holdout_value)
    if row.holdout_error is not None:
        holdout += f" ± {row.holdout_error:.3f}"
    gain = (
        "" if row.gain is None or row.method == "best_single" else f"{row.gain:+.4f}{' tie' * bool(row.tie)}"
    )
    return (
        row.method,
        str(len(row.trial_ids)),
        score(row.valid_value),
        *((f"{row.log_loss:.3f}",) if measured else ()),
        holdout,
        gain,
        score(row.test_value),
    )


def _pictures(sources: Sources, figures: Path) -> list[Section]:
    """What the best trial answers, and what its network has learned."""
    if sources.best is None:
        return []
    store = sources.store
    if store is None:
        return [section("Figures", f"Figures of the predictions: not available ({sources.no_store})")]
    return [
        section(
            "Predictions",
            *guarded.blocks("Figures of the predictions", lambda: _answers(sources, store, figures)),
        ),
        section(
            "Inside the best network",
            *guarded.blocks("Figures of the network", lambda: _networks(sources, store, figures)),
        ),
    ]


def _answers(sources: Sources, store: Store, figures: Path) -> Sequence[Block]:
    from orchestrator.pictures import answers

    into = _inside(figures, "answers")
    return answers.blocks(sources.folder, sources.record, sources.task, store, into)


def _networks(sources: Sources, store: Store, figures: Path) -> Sequence[Block]:
    from orchestrator.pictures import networks

    trial = sources.trained
    into = _inside(figures, "network")
    return networks.blocks(sources.folder, sources.record, trial, sources.task, store, into)


def _inside(figures: Path, name: str) -> Path:
    folder = figures / name
    folder.mkdir(exist_ok=True)
    return folder
