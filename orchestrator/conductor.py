"""Decides: what is tried next, when a trial stops, when the search is over. Every decision is journalled.

Free of Ray, so that it can be driven by Tune, by a replay of recorded curves, or by a test.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.asha import Asha, Verdict
from orchestrator.guide import Guide
from orchestrator.journal import Event, Journal, SearchRecord, State
from orchestrator.study import Draft, Study
from trainables.config import WHOLE, Scalar, TrialConfig
from trainables.task import Metric

REPORT_FIELDS = (
    "epoch",
    "train_loss",
    "train_metric",
    "valid_loss",
    "valid_metric",
    "lr",
    "seconds",
    "images_per_second",
)
SAME_ERROR_LIMIT = 5
RETRIES = 3
SILENCE_S, SILENT_EPOCHS = 300.0, 20
"""A trial hangs that says nothing for so long and so many of the slowest epoch seen: its predictions may take
far longer than an epoch."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A trial to run."""

    trial_id: str
    params: Mapping[str, Scalar]
    seconds: float = math.inf
    """After so many the trial ends with what it has, if the search's own end does not come first."""
    known: int = 0
    """Epochs that are journalled already, of a trial that goes on from its checkpoint."""
    finish: bool = False
    """Whether it ended with these epochs, and only what it leaves behind is missing."""
    silent: float = math.inf
    """Seconds without a word after which it hangs."""


@dataclass
class Conductor:
    """The state of a running search. Not thread-safe but for `stop`.

    `trials` and `deadline` (of `clock`) bound it; `slots` bounds how many trials run at once. With a `guide`,
    which has learned from past searches, that decides what is tried and stopped; without, `study` and `asha`.
    """

    study: Study
    asha: Asha
    metric: Metric
    journal: Journal
    record: SearchRecord
    slots: int
    trials: int | None
    deadline: float
    listen: Callable[[Event, SearchRecord], None]
    clock: Callable[[], float] = time.monotonic
    guide: Guide | None = None
    stopped: str | None = None
    """Why no more trials are started, once that is decided."""
    _running: dict[str, int] = field(default_factory=dict)
    _cut: dict[str, int] = field(default_factory=dict)
    """Trials that ran when an earlier process ended, to go on before any other; see `resume`."""
    _unwritten: list[str] = field(default_factory=list)
    _written_again: set[str] = field(default_factory=set)
    _deaths: dict[str, int] = field(default_factory=dict)
    """How often the process of a trial died."""
    _strange: set[str] = field(default_factory=set)
    """Trials that are not what the study suggests when it is asked again."""
    _same_error: tuple[str, int] = ("", 0)
    _used_up: str | None = None
    """Why nothing more was to be begun, where that was no order from outside."""
    _slowest: float | None = None
    """Seconds of the slowest epoch so far."""

    def note(self, event: str, **fields: Any) -> None:
        """Journal an event, fold it into the record, tell the listener."""
        line = self.journal.append(event, **fields)
        self._fold(line)
        self.listen(line, self.record)

    def _fold(self, event: Event) -> None:
        self.record.apply(event)
        if event["event"] == "report" and event.get("seconds") is not None:
            self._slowest = max(self._slowest or 0.0, float(event["seconds"]))

    @property
    def over(self) -> bool:
        """Whether no more trials will be suggested."""
        if self.stopped is None and not self._left:
            self.stopped = self._used_up = self.spent()
        return self.stopped is not None

    @property
    def busy(self) -> bool:
        """Whether trials run, of which one may have to be gone on with."""
        return bool(self._running)

    @property
    def late(self) -> bool:
        """Whether no time is left for any trial."""
        return self.clock() >= self.deadline

    def spent(self) -> str | None:
        """What is used up of the budget, or None while more trials are to be started."""
        if self.trials is not None and len(self.record.trials) >= self.trials:
            return "all trials done"
        if self.clock() >= self.deadline:
            return "time is up"
        return "every candidate was tried" if self.study.exhausted else None

    def stop(self, reason: str) -> None:
        """Start no more trials; running ones end at their next report."""
        self.stopped = reason

    def suggest(self) -> Request | None:
        """The next trial, or None while every slot is taken or the search is over."""
        if self.over or len(self._running) >= self.slots:
            return None
        if self._left:
            return self._go_on()
        draft = self.choose()
        number, config = self.study.ask(draft)
        if self.guide and draft:
            self.guide.started(number, draft)
        drawn = self.study.drawn(number)
        return self._begin(number, self.in_time(config), **({"drawn": drawn} if drawn else {}))

    def choose(self) -> Draft | None:
        """The draft to try next; None leaves it to the study."""
        return self.guide.choose(self.study.pool()) if self.guide else None

    def _begin(self, key: int, config: TrialConfig, **about: Any) -> Request:
        """Journal a new trial, which the study knows by `key`, under the next free number."""
        number = len(self.record.trials)
        trial_id = f"{number:04d}"
        self._running[trial_id] = key
        self.note("trial", trial_id=trial_id, number=number, params=config.params(), **about)
        return Request(trial_id=trial_id, params=config.params(), silent=self.silence())

    @property
    def _left(self) -> bool:
        """Whether trials that were begun are still to go on."""
        return bool(self._cut or self._unwritten)

    def silence(self) -> float:
        """Seconds without a word after which a trial is taken to hang, by the slowest epoch so far."""
        return math.inf if self._slowest is None else SILENCE_S + SILENT_EPOCHS * self._slowest

    def resume(self, events: Sequence[Event], *, unwritten: Sequence[str] = ()) -> list[str]:
        """Bring a conductor that was just made to where the journal of another one ends.

        What was suggested is suggested again, and what came of it told again: the sampler and the rungs are
        then as they were. Trials that were cut off go on first, and those that ended `unwritten`, without
        their predictions, leave them behind. Returns the trials that came out of the space otherwise than
        they are journalled; nothing is learned from these.
        """
        self._foresee(events)
        for event in events:
            self._fold(event)
            self._retrace(event)
        self._cut, self._running = self._running, {}
        self._unwritten = list(unwritten)
        self.stopped = None
        return sorted(self._strange)

    def write_again(self, trials: Sequence[str]) -> bool:
        """Go on with ended trials whose predictions are lost, once each; whether there is anything to do.

        A node that went may have had them still to deliver, a process may have died after its last epoch.
        """
        lost = [name for name in trials if name not in self._written_again]
        if not lost or self.late or self.stopped is None or self.stopped != self._used_up:
            return False
        self._written_again.update(lost)
        self._unwritten, self.stopped = lost, None
        return True

    def _foresee(self, events: Sequence[Event]) -> None:
        """Tell the study what will begin and end: what it forgets on the way need not be thought up again."""
        searched = {e["trial_id"]: "drawn" in e for e in events if e["event"] == "trial" and not e.get("of")}
        if all(searched.values()):
            steps = (e["event"] for e in events if e.get("trial_id") in searched)
            self.study.foresee(step for step in steps if step in ("trial", "end"))

    def _retrace(self, event: Event) -> None:
        trial_id = event.get("trial_id", "")
        match event["event"]:
            case "trial":
                self._running[trial_id] = event["number"] if event.get("of") else self._suggested_again(event)
            case "report" if not self.record.trials[trial_id].of and trial_id not in self._strange:
                self.study.report(self._running[trial_id], int(event["epoch"]), float(event["valid_metric"]))
            case "rung":
                self.asha.report(int(event["epoch"]), self.metric.utility(event["value"]))
            case "end":
                self._ended(trial_id, event["state"])

    def _suggested_again(self, event: Event) -> int:
        number, config = self.study.ask(drawn=event.get("drawn"))
        if {**config.params(), "epochs": event["params"]["epochs"]} != event["params"]:
            self._strange.add(event["trial_id"])
        return number

    def _ended(self, trial_id: str, state: State) -> None:
        """What the study learns of a trial's end, which is journalled."""
        number, trial = self._running.pop(trial_id), self.record.trials[trial_id]
        if not trial.of:
            self.study.tell(number, "FAIL" if trial_id in self._strange else state, trial.value)

    def _go_on(self) -> Request:
        """A trial that an earlier process left: one that ran, or one whose predictions are missing."""
        if self._cut:
            trial_id = next(iter(self._cut))
            self._running[trial_id] = self._cut.pop(trial_id)
        else:
            trial_id = self._unwritten.pop(0)
        trial = self.record.trials[trial_id]
        ended = trial_id not in self._running
        return Request(
            trial_id=trial_id,
            params=trial.params,
            known=trial.epoch,
            finish=ended,
            silent=self.silence(),
        )

    def in_time(self, config: TrialConfig) -> TrialConfig:
        """What is trained of a suggestion in the time that is left: here all of it."""
        return config

    def report(self, trial_id: str, row: Mapping[str, Any]) -> bool:
        """Take in one epoch's row; True when the trial is to stop now."""
        if trial_id not in self._running:
            return True
        value = row.get("valid_metric")
        if not isinstance(value, int | float) or not math.isfinite(value):
            self.end(trial_id, "FAIL", f"reported {self.metric.name} {value!r} in epoch {row.get('epoch')}")
            return True
        epoch = int(row["epoch"])
        fields = {k: row[k] if row[k] is not None and math.isfinite(row[k]) else None for k in REPORT_FIELDS}
        best = self._best(trial_id, epoch, float(value))
        self.note("report", trial_id=trial_id, **fields, device=row["device"], best=best)
        if not self.record.trials[trial_id].of:
            self._learn(trial_id, row, best["value"])
        return self._judge(trial_id, epoch, best["value"], last=bool(row.get("last")))

    def _learn(self, trial_id: str, row: Mapping[str, Any], best: float) -> None:
        """Tell who suggested the trial of one epoch and the best score so far."""
        number, epoch = self._running[trial_id], int(row["epoch"])
        if trial_id not in self._strange:
            self.study.report(number, epoch, float(row["valid_metric"]))
        if self.guide:
            self.guide.report(number, epoch, self.metric.utility(best), float(row["seconds"]))

    def _best(self, trial_id: str, epoch: int, value: float) -> dict[str, Any]:
        trial = self.record.trials[trial_id]
        utility = self.metric.utility
        if trial.params.get("folds") == WHOLE:
            return {"value": self.record.trials[trial.of].value, "best_epoch": epoch}
        if trial.value is not None and utility(trial.value) >= utility(value):
            return {"value": trial.value, "best_epoch": trial.best_epoch}
        return {"value": value, "best_epoch": epoch}

    def _judge(self, trial_id: str, epoch: int, best: float, *, last: bool) -> bool:
        """Whether the trial stops; `last` where it ended by itself, its epochs or its patience over."""
        params = self.record.trials[trial_id].params
        if last or epoch >= int(params["epochs"]):
            early = epoch < int(params["epochs"])
            reason = f"no better score for {params['patience']} epochs" if early else ""
            self.end(trial_id, "COMPLETE", reason)
            return True
        verdict = None if self.record.trials[trial_id].of else self._verdict(trial_id, epoch, best)
        if verdict is not None:
            cutoff = self.metric.utility(verdict.cutoff)
            self.note("rung", trial_id=trial_id, epoch=epoch, value=best, cutoff=cutoff, stop=verdict.stop)
            if verdict.stop:
                if self.guide:
                    self.study.put_back(self._running[trial_id])
                self.end(trial_id, "PRUNED", verdict.reason or f"below {cutoff:.4f} at epoch {epoch}")
                return True
        return False

    def _verdict(self, trial_id: str, epoch: int, best: float) -> Verdict | None:
        if self.guide:
            return self.guide.judge(self._running[trial_id], epoch, self.study.pool())
        return self.asha.report(epoch, self.metric.utility(best))

    def end(self, trial_id: str, state: State, reason: str) -> None:
        """A trial is over. One already over stays as it was."""
        if trial_id not in self._running:
            return
        self._ended(trial_id, state)
        self.note("end", trial_id=trial_id, state=state, reason=reason)
        if state == "FAIL":
            self._count_error(reason)
        else:
            self._same_error = ("", 0)

    def died(self, trial_id: str, reason: str) -> None:
        """A trial's process is gone: another one goes on from its checkpoint, `RETRIES` times at most."""
        if trial_id not in self._running:
            return
        tries = self._deaths[trial_id] = self._deaths.get(trial_id, 0) + 1
        if self.stopped == self._used_up and not self.late:
            self.stopped = None  # nothing more was to be begun, and this one is to be ended
        if tries > RETRIES or self.stopped is not None:
            self.end(trial_id, "FAIL", f"{reason}, {tries} times" if tries > 1 else reason)
            return
        self.note("retry", trial_id=trial_id, reason=reason, tries=tries)
        self._cut[trial_id] = self._running.pop(trial_id)

    def interrupt(self, trial_id: str, reason: str) -> None:
        """A trial was cut off from outside: its best epoch counts, if it had one."""
        self.end(trial_id, "PRUNED", reason)

    def _count_error(self, reason: str) -> None:
        """A search whose latest trials all failed alike is paused: the next one would fail too."""
        last, times = self._same_error
        self._same_error = (reason, times + 1 if reason == last else 1)
        if self._same_error[1] >= SAME_ERROR_LIMIT:
            self.stop(f"paused: the last {SAME_ERROR_LIMIT} trials failed alike: {reason}")
