"""A conductor that goes on where the search ends: it trains the finals on the slots that get free."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator import finals
from orchestrator.conductor import Conductor, Request
from orchestrator.finals import Finals
from orchestrator.journal import Event, TrialRecord
from trainables.config import TrialConfig


@dataclass(kw_only=True)
class FinalConductor(Conductor):
    """As Conductor, whose `deadline` and `trials` end the search proper; the finals are over at `until`.

    The first final starts on the first slot that is free then, and each one's configuration and length are
    decided when it starts. A trial of the search that nears its end runs on beside them: it survived its
    rungs. Where the time holds no final that is worth it, the search goes on until `until`.
    """

    finals: Finals
    until: float
    """Of `clock`."""
    grace: float
    """Seconds that a trial of the search may still need once finals are planned; with more it ends."""
    _planned: int | None = None
    _first: int = 0
    """Finals that were planned when the search proper was over."""
    _places: int = 1
    """Configurations that are trained again."""
    _chosen: list[TrialRecord] = field(default_factory=list)
    _trained: dict[str, int] = field(default_factory=dict)
    """How often each of the chosen was begun to be trained again, by its id."""
    _now: tuple[TrialRecord, int] | None = None
    """Of whom the latest final is, and under which seed, counted from 0."""
    _started: int = 0
    _epochs: int = 0
    _turns: int = 0
    """Seeds that finals of earlier parts of the search have had."""

    def spent(self) -> str | None:
        if self._planned is None and super().spent():
            self._plan()
        if self._planned is None:
            return None
        if not self._planned:
            return super().spent()
        if self.late:
            return "time is up"
        if self._started < self._planned or len(self._running) >= self.slots:
            return None
        self._extend()
        return "the finals are done" if self._started == self._planned else None

    @property
    def late(self) -> bool:
        return self.clock() >= self.until

    def suggest(self) -> Request | None:
        if self.over or len(self._running) >= self.slots:
            return None
        if self._planned and not self._left:
            return self._final()
        if self._planned is None and not self._left and super().spent():
            return None
        request = super().suggest()
        left = self.until - self.clock()
        return request and replace(request, seconds=left)

    def in_time(self, config: TrialConfig) -> TrialConfig:
        """The configuration with no more epochs than end in time, by the pace of its model so far.

        A schedule that ends is worth more than the first part of a longer one.
        """
        fitting = finals.fitting_epochs(self.record, config.model, seconds=self.until - self.clock())
        return config if fitting is None else replace(config, epochs=max(1, min(config.epochs, fitting)))

    def report(self, trial_id: str, row: Mapping[str, Any]) -> bool:
        if super().report(trial_id, row):
            return True
        if self._planned is None:
            self.spent()
        if not self._planned or not self._is_late(trial_id, row):
            return False
        self.interrupt(trial_id, "the finals need its slot")
        return True

    def _is_late(self, trial_id: str, row: Mapping[str, Any]) -> bool:
        """Whether a trial of the search would take a slot from the finals for long."""
        trial = self.record.trials[trial_id]
        epochs = int(trial.params["epochs"]) - int(row["epoch"])
        return not trial.of and epochs * float(row["seconds"]) > self.grace

    def _plan(self) -> None:
        """Decide how many finals there are; not before there is a trial to be measured by."""
        found = finals.finalists(self.record, self.finals.configurations)
        if not found and self._running:
            return
        left = self.until - self.clock()
        planned = 0
        if found:
            pace = finals.pace_of(found[0], self.record)
            stretch = min(finals.stretch_of(found[0], self.metric), self.finals.longest)
            fitting = finals.how_many(self.finals, pace, seconds=left, slots=self.slots, stretch=stretch)
            planned = min(fitting, len(found) * self.finals.seeds * self.finals.parts)
        self._planned = self._first = planned
        wide = math.ceil(planned / self.finals.seeds) if self.finals.pooled else planned
        self._places = min(self.finals.configurations, planned, max(wide, self.slots))
        if planned:
            seconds = None if math.isinf(left) else round(left, 1)
            self.note("finals", count=planned, places=self._places, seconds=seconds)
        else:
            self.deadline = self.until

    def _retrace(self, event: Event) -> None:
        super()._retrace(event)
        if event["event"] == "extend":
            self.extend()
        elif event["event"] == "finals":
            self._planned = int(event["count"])
            if not event.get("spare"):
                self._first, self._places = self._planned, int(event["places"])
        elif event["event"] == "trial" and event.get("of"):
            self._trained_again(self.record.trials[event["of"]])
            self._epochs = int(event["params"]["epochs"])

    def _trained_again(self, of: TrialRecord) -> None:
        """Count a final that is journalled already; `of` is what it is of."""
        root = self.record.trials[of.of] if of.of else of
        if self._started % self.finals.parts == 0:
            if root.trial_id not in self._trained:
                self._chosen.append(root)
            turn = self._trained.get(root.trial_id, 0)
            self._now, self._trained[root.trial_id] = (of, turn), turn + 1
        self._started += 1

    def extend(self) -> None:
        """Search on in the time that was added, and train finals of it under further seeds."""
        self._turns += max(self._trained.values(), default=0)
        self._planned, self._chosen, self._trained, self._started = None, [], {}, 0
        now = self.clock()
        self.deadline = now + finals.SEARCH_SHARE * (self.until - now)

    def _extend(self) -> None:
        """More finals, under further seeds, where those planned were over sooner than it had seemed."""
        if self._started < self._first + self.finals.spare and any(map(self._has_time, self._chosen)):
            assert self._planned
            self._planned += 1
            left = round(self.until - self.clock(), 1)
            self.note("finals", count=self._planned, seconds=left, spare=True)

    def _has_time(self, trial: TrialRecord) -> bool:
        """Whether the time that is left holds another final of it that is hardly shorter than its first."""
        first = self._first_of(trial)
        if first is trial:
            return False
        least = max(int(trial.params["epochs"]), round(finals.SPARE * int(first.params["epochs"])))
        pace = replace(finals.pace_of(first, self.record), epochs=least)
        return finals.how_many(self.finals, pace, seconds=self.until - self.clock(), slots=1) > 0

    def _final(self) -> Request:
        assert self._planned
        fold = self._started % self.finals.parts
        if fold == 0 or self._now is None:
            self._now = self._next()
        trial, turn = self._now
        asked = self.finals.of_turn(turn)
        epochs = finals.epochs_for(
            asked,
            finals.pace_of(trial, self.record),
            seconds=self.until - self.clock(),
            left=self._planned - self._started,
            slots=self.slots,
        )
        self._epochs = epochs if fold == 0 else min(epochs, self._epochs)
        config = finals.configuration(asked, trial, epochs=self._epochs, turn=turn + self._turns, fold=fold)
        self._started += 1
        return self._begin(len(self.record.trials), config, of=trial.trial_id)

    def _next(self) -> tuple[TrialRecord, int]:
        """The trial to train again, and how often it was: first each of them once, then who had the fewest.

        Where a first final tells how long to train the others, only such are taken whose first has ended; in
        time that is left only those for whom it is enough.
        """
        grown = self._chosen
        if len(grown) < self._places:
            grown = finals.finalists(self.record, len(grown) + 1, self._chosen)
        if len(grown) > len(self._chosen):
            self._chosen, trial = grown, grown[-1]
        else:
            told = [t for t in grown if not self.finals.pooled or self._first_of(t) is not t]
            spare = [t for t in told if self._started >= self._first and self._has_time(t)]
            trial = min(spare or told or grown, key=lambda t: self._trained[t.trial_id])
        turn = self._trained.get(trial.trial_id, 0)
        self._trained[trial.trial_id] = turn + 1
        return (self._first_of(trial) if self.finals.pooled and turn else trial), turn

    def _first_of(self, trial: TrialRecord) -> TrialRecord:
        """The first final of a trial, if it came to its end; else the trial itself."""
        ended = (t for t in self.record.trials.values() if t.of == trial.trial_id and t.state == "COMPLETE")
        return next(ended, trial)
