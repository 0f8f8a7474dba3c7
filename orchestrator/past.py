"""What earlier searches tell: the learning curves in the journals beside a new one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator import journal
from orchestrator.journal import SearchRecord, TrialRecord
from trainables.config import Scalar
from trainables.errors import DataError
from trainables.task import Metric


@dataclass(frozen=True, kw_only=True)
class PastTrial:
    """One trained configuration."""

    params: Mapping[str, Scalar]
    curve: tuple[float, ...]
    """The best utility (greater is better) after each epoch, at least one."""
    seconds: float
    """Mean seconds of an epoch."""
    epochs: int
    """Epochs that it was meant to run; fewer in `curve` where it was stopped."""


PastSearch = tuple[PastTrial, ...]
FEWEST_SEARCHES, FEWEST_TRIALS = 3, 100
"""Below these there is too little to learn from: what pays differs too much between tasks."""


def past_searches(out: Path, metric: Metric) -> list[PastSearch]:
    """Searches under `out` of any task with this metric, oldest first; none when they are too few.

    A journal that cannot be read teaches nothing and is passed over.
    """
    found = []
    for path in sorted(out.glob("*/*/journal.jsonl"), key=lambda path: (path.parent.name, str(path))):
        if path.parent.is_symlink():
            continue
        try:
            record = journal.read(path)
        except DataError:
            continue
        trials = past_trials(record, metric)
        if trials:
            found.append(trials)
    enough = len(found) >= FEWEST_SEARCHES and sum(map(len, found)) >= FEWEST_TRIALS
    return found if enough else []


def past_trials(record: SearchRecord, metric: Metric) -> PastSearch:
    """The trials of a search that reported; none where it measured something else."""
    if (record.asked.get("metric"), record.asked.get("direction")) != (metric.name, metric.direction):
        return ()
    return tuple(_past_trial(t, metric) for t in record.trials.values() if _teaches(t))


def _teaches(trial: TrialRecord) -> bool:
    """A final is trained for another time, perhaps on more images: its curve is of another kind."""
    return bool(trial.reports) and trial.state != "FAIL" and not trial.of


def _past_trial(trial: TrialRecord, metric: Metric) -> PastTrial:
    curve, best = [], -math.inf
    for row in trial.reports:
        best = max(best, metric.utility(row["valid_metric"]))
        curve.append(best)
    seconds = math.fsum(row["seconds"] for row in trial.reports) / len(trial.reports)
    planned = int(trial.params.get("epochs", len(curve)))
    return PastTrial(params=trial.params, curve=tuple(curve), seconds=seconds, epochs=planned)
