"""What the runs of a search hold, as plain values: tags, parameters, metrics, notes."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord

Metric = tuple[str, float, int, int]
"""Key, value, time in ms since 1970, step: the epoch."""
NOTE = (
    "Searches of the task `{task}`. A run is one trial (`kind = trial`), one ensemble (`kind = ensemble`) or "
    "the report (`kind = report`); the runs of one search share their `search_id`: group or filter the "
    "charts by it. `val/best` is the score of the best epoch; `state` says how a trial ended: COMPLETE, "
    "PRUNED (stopped early) or FAIL."
)


def trial_tags(folder: SearchFolder, record: SearchRecord, trial: TrialRecord) -> dict[str, str]:
    """What is known when a trial starts."""
    return _known(
        {
            **_search_tags(folder, record),
            "kind": "trial",
            "phase": "final" if trial.of else "search",
            "final_of": trial.of,
            "trial_id": trial.trial_id,
            "number": trial.number,
            "seed": trial.params.get("seed", record.asked.get("seed")),
            "state": trial.state,
            "device": trial.device,
            "folder": folder.trial(trial.trial_id),
            "mlflow.runName": f"{trial.trial_id} {trial.params.get('model', '')}".strip(),
        }
    )


def end_tags(trial: TrialRecord) -> dict[str, str]:
    """What is known when a trial has ended. The reason is also the run's description in the UI."""
    reason = {"reason": trial.reason, "mlflow.note.content": trial.reason} if trial.reason else {}
    epochs = {"epochs_done": trial.epoch, "best_epoch": trial.best_epoch}
    return _known({"state": trial.state, "device": trial.device, **epochs, **reason})


def trial_metrics(trial: TrialRecord, metric: str, *, start_ms: int, after: int) -> list[Metric]:
    """The reports after the first `after` ones. Times follow from `start_ms` and the epochs' seconds, so that
    the same report is the same metric in every pass."""
    names = {
        "train_loss": "train/loss",
        "train_metric": f"train/{_allowed(metric)}",
        "valid_loss": "val/loss",
        "valid_metric": f"val/{_allowed(metric)}",
        "lr": "lr",
        "seconds": "seconds",
        "images_per_second": "images_per_second",
    }
    ends = accumulate(row.get("seconds") or 0.0 for row in trial.reports)
    rows = list(zip(trial.reports, ends, strict=True))[after:]
    return [
        (name, float(row[field]), start_ms + int(end * 1000), int(row["epoch"]))
        for row, end in rows
        for field, name in names.items()
        if row.get(field) is not None
    ]


def best_metric(trial: TrialRecord, end_ms: int) -> list[Metric]:
    """`val/best`, if the trial had an epoch; all at step 0, which MLflow shows as bars side by side."""
    return [] if trial.value is None else [("val/best", trial.value, end_ms, 0)]


def ensemble_tags(folder: SearchFolder, record: SearchRecord, ensemble: Mapping[str, Any]) -> dict[str, str]:
    """Tags of the ensemble of ensemble.json; the table of methods is the run's description in the UI."""
    method = ensemble.get("method", "?")
    return _known(
        {
            **_search_tags(folder, record),
            "kind": "ensemble",
            "method": method,
            "seed": record.asked.get("seed"),
            "state": "COMPLETE",
            "folder": folder.path,
            "mlflow.runName": f"ensemble {method}",
            "mlflow.note.content": markdown(ensemble.get("table") or []),
        }
    )


def report_tags(folder: SearchFolder, record: SearchRecord) -> dict[str, str]:
    """Of the run whose artifacts are the report."""
    return _known(
        {
            **_search_tags(folder, record),
            "kind": "report",
            "state": "COMPLETE",
            "folder": folder.report,
            "mlflow.runName": "report",
            "mlflow.note.content": "The report of the search: open report.html among the artifacts.",
        }
    )


def ensemble_params(ensemble: Mapping[str, Any]) -> dict[str, Any]:
    """Method, members and their weights."""
    members = dict(zip(ensemble.get("trial_ids", ()), ensemble.get("weights", ()), strict=False))
    chosen = {key: ensemble[key] for key in ("method", "rule") if key in ensemble}
    return {**chosen, "members": len(members), "weights": json.dumps(members)}


def ensemble_metrics(ensemble: Mapping[str, Any], metric: str, *, at_ms: int) -> list[Metric]:
    """The ensemble's scores, its validation score under the name of the trials'."""
    names = {
        "valid_value": "val/best",
        "holdout_value": f"holdout_{_allowed(metric)}",
        "test_value": f"test_{_allowed(metric)}",
    }
    known = [(name, ensemble.get(field)) for field, name in names.items()]
    return [(name, float(value), at_ms, 0) for name, value in known if isinstance(value, int | float)]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; a column of lists or mappings is left out."""
    columns = [key for key in (rows[0] if rows else ()) if not isinstance(rows[0][key], list | dict)]
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(key)) for key in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if columns else ""


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _search_tags(folder: SearchFolder, record: SearchRecord) -> dict[str, Any]:
    asked = record.asked
    return {
        "search_id": folder.search_id,
        "task": asked.get("task"),
        "space": asked.get("space"),
        "commit": asked.get("commit"),
        "fingerprint": asked.get("fingerprint"),
        "host": asked.get("host"),
        "mlflow.source.name": asked.get("command"),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": asked.get("commit"),
    }


def _known(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in tags.items() if value not in (None, "")}


def _allowed(metric: str) -> str:
    """A metric's name in the characters that MLflow allows."""
    return re.sub(r"[^A-Za-z0-9_. -]", "_", metric)
