"""What a report is written from: the records of one search, read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensembles.compare import Ensemble
from orchestrator import journal
from orchestrator.ensemble import EnsembleResult, read_result
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.leaderboard import trials_named
from orchestrator.trust import source_of
from trainables.errors import DataError, NoTrialSucceeded, OrchestratorError
from trainables.store import Store, open_store
from trainables.task import Head, Metric, Rules, Task, load_task


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The records of a search; what is missing is None, and the report says so."""

    folder: SearchFolder
    record: SearchRecord
    task: Task
    """With the heads of the store, where there is one."""
    store: Store | None
    no_store: str
    """Why there is no store; empty where there is one."""
    result: EnsembleResult | None

    @property
    def asked(self) -> Mapping[str, Any]:
        return self.record.asked

    @property
    def metric(self) -> Metric:
        return self.task.metric

    @property
    def heads(self) -> tuple[Head, ...]:
        """The questions asked of an image, or the classes of a dense answer."""
        return tuple(self.task.kind.heads)

    @property
    def rules(self) -> Rules:
        return self.task.rules_of(str(self.asked.get("space", "")))

    @property
    def chosen(self) -> Ensemble | None:
        """The ensemble behind the submission."""
        return None if self.result is None else self.result.best

    @property
    def best(self) -> TrialRecord | None:
        """The best single trial that was validated, or None before any was."""
        return next(iter(self.record.ranked()), None)

    @property
    def behind(self) -> list[TrialRecord]:
        """The trials that the submission is made of, or the best one where there is no ensemble yet."""
        if self.chosen is None:
            return [self.best] if self.best else []
        names = [trial for name in self.chosen.trial_ids for trial in trials_named(name)]
        return [self.record.trials[name] for name in names if name in self.record.trials]

    @property
    def trained(self) -> TrialRecord:
        """The best trial that left its network and was validated on the valid part itself.

        Raises DataError where there is none.
        """
        for trial in self.record.ranked():
            there = (self.folder.trial(trial.trial_id) / "weights.safetensors").exists()
            if there and not trial.params.get("folds"):
                return trial
        gone = f" --disk removed those of {len(self.record.dropped)}." if self.record.dropped else ""
        raise DataError(f"No trial left weights and was validated on the valid part.{gone}")

    @property
    def partial(self) -> str:
        """Why the report cannot be whole; empty where it can."""
        if self.record.finished is None:
            running = self.record.count("RUNNING")
            return (
                "PARTIAL REPORT: the search has not ended. It is still running, or was cut off; "
                f"{running} of {len(self.record.trials)} trials have not ended. All figures may change."
            )
        if self.result is None:
            return (
                "PARTIAL REPORT: no ensemble was made yet. "
                f"Make it with: python -m orchestrator.ensemble {self.asked['task']}"
            )
        return ""


def read(folder: SearchFolder) -> Sources:
    """The records of a search. Raises DataError for a damaged journal, UsageError for a task that is gone or
    not trusted, NoTrialSucceeded where a search has ended without any score."""
    record = journal.read(folder.journal)
    task = load_task(source_of(record.asked))
    if not record.ranked() and record.finished is not None:
        raise _nothing_to_report(folder, record)
    store, why = _store(record)
    if store is not None:
        task = task.with_heads(store.heads)
    return Sources(
        folder=folder, record=record, task=task, store=store, no_store=why, result=read_result(folder)
    )


def _store(record: SearchRecord) -> tuple[Store | None, str]:
    try:
        return open_store(Path(str(record.asked.get("store", "")))), ""
    except OrchestratorError as error:
        return None, error.what


def _nothing_to_report(folder: SearchFolder, record: SearchRecord) -> NoTrialSucceeded:
    failed = [f"trial {t.trial_id}: {t.reason}" for t in record.trials.values() if t.state == "FAIL"]
    first = next(iter(failed), "no trial has finished an epoch")
    return NoTrialSucceeded(
        f"Search {folder.search_id} has no trial with a score to report on ({first}).",
        fix=f"See {folder.log}, then search again.",
    )
