"""What the search itself teaches: what mattered, what choices brought, which stops were wrong, the cost."""

from pathlib import Path

from orchestrator.evidence import costs, importance, marginals, stopping
from orchestrator.evidence.content import Block, Section, Text
from orchestrator.evidence.stops import stops
from orchestrator.evidence.tried import tried
from orchestrator.journal import SearchRecord
from orchestrator.pictures.searched import best_founded, draw_importance, draw_stops
from trainables.task import Metric


def blocks(record: SearchRecord, metric: Metric, into: Path) -> list[Block]:
    """A section each on importance, marginals, early stops and cost; the pictures are written to `into`.

    Reads the record alone, of a search that is over or still runs. Finals count among the costs only.
    """
    into.mkdir(parents=True, exist_ok=True)
    if not tried(record):
        nothing = Text("No trial of the search has a score yet: it teaches nothing so far.")
        return [nothing, Section(title="Cost", blocks=tuple(costs.blocks(record, metric)))]
    return [
        Section(title="Importance of the parameters", blocks=tuple(_importance(record, into))),
        Section(title="Scores by parameter", blocks=tuple(marginals.blocks(record, metric))),
        Section(title="Early stops", blocks=tuple(_stops(record, metric, into))),
        Section(title="Cost", blocks=tuple(costs.blocks(record, metric))),
    ]


def _importance(record: SearchRecord, into: Path) -> list[Block]:
    found, notes = importance.importances(record)
    made = importance.blocks(found, notes)
    best = best_founded(found)
    return made if best is None else [*made, draw_importance(best, into / "importance.png")]


def _stops(record: SearchRecord, metric: Metric, into: Path) -> list[Block]:
    found = stops(record, metric)
    picture = draw_stops(found, record, into / "stops.png")
    return [*stopping.blocks(found, record), *([picture] if picture else [])]
