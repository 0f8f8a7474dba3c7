"""A conductor that hands out what was planned, in order, and stops nothing before its last epoch."""

from dataclasses import dataclass

from orchestrator.asha import Verdict
from orchestrator.conductor import Conductor
from orchestrator.study import Draft


@dataclass(kw_only=True)
class AblationConductor(Conductor):
    """As Conductor, whose study has nothing but candidates; each is tried once, in the order given."""

    def spent(self) -> str | None:
        return "all trials done" if self.study.exhausted else None

    def choose(self) -> Draft | None:
        return min(self.study.pool(), key=lambda draft: draft.key)

    def _verdict(self, trial_id: str, epoch: int, best: float) -> Verdict | None:
        return None
