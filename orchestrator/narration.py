"""A search told in words, a line for each event worth one, and what every display of one does."""

import logging
import time
from abc import ABC, abstractmethod
from functools import partial
from typing import Self

from orchestrator.journal import Event, SearchRecord, TrialRecord
from orchestrator.snapshot import clock, cut, epochs_of, one_line, score, short, snapshot, unusual

PARAMS_WIDTH = 120
log = logging.getLogger(__name__)


class Display(ABC):
    """Shows a search between `start` and `stop`, which `with` calls too; `stop` may be called twice."""

    def __init__(self, record: SearchRecord) -> None:
        self._narrator = Narrator(record)
        self._current = partial(snapshot, record, None, seen=time.monotonic())
        """Makes the snapshot of the latest event."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def _tell(self, event: Event, text: str) -> None:
        """Show an event that is worth a line."""

    def event(self, event: Event, record: SearchRecord) -> None:
        """Called for every event once it is folded into the record; takes microseconds, never raises."""
        try:
            at = {"at": float(event["at"])}
            self._current = partial(snapshot, record, at, seen=time.monotonic())
            text = self._narrator.line(event, record)
            if text:
                log.info(text)
                self._tell(event, text)
        except Exception:
            log.debug("The display failed on %r.", event, exc_info=True)


class Narrator:
    """Turns events into lines; keeps who leads and which parameters were seen to differ."""

    def __init__(self, record: SearchRecord) -> None:
        self._leader = next(iter(record.ranked()), None)
        self._varying: dict[str, None] = {}

    def line(self, event: Event, record: SearchRecord) -> str:
        """The event in one line without its time; empty for one that is not worth a line."""
        match event["event"]:
            case "trial":
                return self._started(record.trials[event["trial_id"]], record)
            case "report":
                return self._reported(record.trials[event["trial_id"]], record)
            case "end":
                return self._ended(record.trials[event["trial_id"]], record)
            case "finals":
                if event.get("spare"):
                    return f"time is left: {event['count']} finals in all"
                many = "s" * (event["count"] > 1)
                return f"the search proper is over: {event['count']} final{many} of its best configurations"
            case "retry":
                again = f"trial {int(event['trial_id']):<3} died      {one_line(event['reason'])}"
                return f"{again}; it goes on from its checkpoint, try {event['tries']}"
            case "finish":
                return f"search ended: {one_line(str(event['reason']))}"
        return ""

    def _started(self, trial: TrialRecord, record: SearchRecord) -> str:
        first = next(iter(record.trials.values())).params
        names = trial.params.keys() | first.keys()
        differing = {n for n in names if trial.params.get(n) != first.get(n)} - {"seed"}
        self._varying |= dict.fromkeys(n for n in (*first, *trial.params) if n in differing)
        shown = {n: trial.params.get(n) for n in self._varying} or unusual(trial.params)
        text = " ".join(f"{n}={short(v)}" for n, v in shown.items() if v is not None)
        again = f"again trial {int(trial.of)}: " if trial.of else ""
        return f"trial {trial.number:<3} started   {again}{cut(text, PARAMS_WIDTH)}".rstrip()

    def _reported(self, trial: TrialRecord, record: SearchRecord) -> str:
        """A line only where the lead passes to another trial, and one has ended to compare with."""
        before = self._leader
        if trial.value is None or (before and not _better(trial.value, before.value, record)):
            return ""
        self._leader = trial
        if (
            before is None
            or before.trial_id == trial.trial_id
            or len(record.trials) == record.count("RUNNING")
        ):
            return ""
        return f"trial {trial.number:<3} new best  {_scored(trial, record)}"

    def _ended(self, trial: TrialRecord, record: SearchRecord) -> str:
        leads = self._leader is not None and self._leader.trial_id == trial.trial_id
        if trial.state == "FAIL":
            if leads:
                self._leader = next(iter(record.ranked()), None)
            return f"trial {trial.number:<3} failed    after epoch {trial.epoch}: {one_line(trial.reason)}"
        parts = [
            _scored(trial, record),
            f"ran {trial.epoch} of {epochs_of(record, trial)} epochs in {clock(trial.seconds)}",
            one_line(trial.reason),
            "best so far" if leads else "",
        ]
        return f"trial {trial.number:<3} {trial.state.lower():9} {', '.join(filter(None, parts))}"


def _better(value: float, than: float | None, record: SearchRecord) -> bool:
    return than is None or (value > than if record.direction == "maximize" else value < than)


def _scored(trial: TrialRecord, record: SearchRecord) -> str:
    if trial.value is None:
        return "without a score"
    return f"{record.asked['metric']} {score(trial.value)} at epoch {trial.best_epoch}"
