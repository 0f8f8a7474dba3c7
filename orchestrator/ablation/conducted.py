"""A conductor that hands out what was planned, in order, and stops nothing before its last epoch."""

from dataclasses import dataclass

from orchestrator.asha import Verdict
from orchestrator.conductor import Conductor, Request


@dataclass(kw_only=True)
class AblationConductor(Conductor):
    """As Conductor, whose study has nothing but candidates; each is tried once, in the order given."""

    first: int
    """Number of its first trial: those before it ran earlier, or elsewhere."""

    def spent(self) -> str | None:
        return "all trials done" if self.study.exhausted else None

    def suggest(self) -> Request | None:
        if self.over or len(self._running) >= self.slots:
            return None
        draft = min(self.study.pool(), key=lambda draft: draft.key)
        place, config = self.study.ask(draft)
        number = self.first + place
        trial_id = f"{number:04d}"
        self._running[trial_id] = place
        self.note("trial", trial_id=trial_id, number=number, params=config.params())
        return Request(trial_id=trial_id, params=config.params())

    def _verdict(self, trial_id: str, epoch: int, best: float) -> Verdict | None:
        return None
