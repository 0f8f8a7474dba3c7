"""From what was prepared to who decides: the conductor of a search, with finals or without."""

import time
from collections.abc import Callable
from typing import Any

from orchestrator.asha import Asha
from orchestrator.conductor import Conductor
from orchestrator.display import say
from orchestrator.final_conductor import FinalConductor
from orchestrator.finals import GRACE, SEARCH_SHARE
from orchestrator.guide import guide_from
from orchestrator.journal import Journal, SearchRecord
from orchestrator.prepare import Prepared
from orchestrator.study import Study


def conductor_for(
    prepared: Prepared,
    journal: Journal,
    record: SearchRecord,
    *,
    left: float | None,
    listen: Callable[..., None],
    begun: float | None = None,
) -> Conductor:
    """The conductor of a search that lasts `left` seconds, or until its trials are done; see `Conductor`.

    It began now, or at `begun` of the monotonic clock.
    """
    asked, budget = prepared.asked, prepared.plan.budget
    metric = prepared.task.metric
    guide = None
    if asked.strategy == "guided" and begun is not None:
        say("What guided this search is not kept: it goes on under ASHA.")
    elif asked.strategy == "guided":
        guide = guide_from(asked.out, metric, seed=asked.seed) if prepared.plan.guidance else None
        if guide is None:
            say("Too few past searches to be guided by: three, of a hundred trials in all, teach something.")
    study: Study = Study(direction=metric.direction, **prepared.study)
    started, finals = time.monotonic() if begun is None else begun, prepared.plan.finals
    seconds = float("inf") if left is None else left
    common: dict[str, Any] = {
        "study": study,
        "asha": Asha(budget.rungs),
        "metric": metric,
        "guide": guide,
        "journal": journal,
        "record": record,
        "slots": budget.slots,
        "trials": budget.trials,
        "listen": listen,
    }
    if finals is None:
        return Conductor(deadline=started + seconds, **common)
    return FinalConductor(
        deadline=started + SEARCH_SHARE * seconds,
        until=started + seconds,
        grace=GRACE * seconds,
        finals=finals,
        **common,
    )
