"""References to the methods that were used: only those that the records, or the report itself, show."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from orchestrator.document import paper
from orchestrator.document.citations import (
    BY_MODEL,
    BY_OPTIMIZER,
    BY_PARAMETER,
    BY_VALUE,
    BY_WORD,
    SEARCH,
)
from orchestrator.document.sources import Sources
from orchestrator.evidence.content import Block, Bullets, Section, Table, Text
from orchestrator.journal import TrialRecord


def section(sources: Sources, said: Sequence[Block]) -> Section:
    """The references, in alphabetical order; `said` is what the report says by itself."""
    trials = list(sources.record.trials.values())
    text = "\n".join(_words(block) for block in paper.inside(said)).lower()
    found = {
        *_of_search(sources),
        *_of_ensemble(sources),
        *(citation for trial in trials for citation in _of_trial(trial)),
        *(citation for word, citation in BY_WORD.items() if word.lower() in text),
    }
    return paper.section("References", Bullets(tuple(sorted(found))) if found else "No method to refer to.")


def _of_search(sources: Sources) -> Iterator[str]:
    asked = sources.asked
    if "strategy" not in asked:
        return
    yield SEARCH["tune"]
    if asked["strategy"] == "asha":
        yield SEARCH["tpe"]
        yield SEARCH["optuna"]
        if asked.get("rungs"):
            yield SEARCH["asha"]
    versions = asked.get("versions") or {}
    if "torch" in versions:
        yield SEARCH["torch"]


def _of_ensemble(sources: Sources) -> Iterator[str]:
    result = sources.result
    if result is None:
        return
    if any(row.method == "greedy" for row in result.ensembles):
        yield SEARCH["greedy"]
    if any(row.holdout_error is not None for row in result.ensembles):
        yield SEARCH["bootstrap"]


def _of_trial(trial: TrialRecord) -> Iterator[str]:
    params = trial.params
    yield BY_MODEL.get(str(params.get("model", "")), SEARCH["timm"])
    if str(params.get("optimizer")) in BY_OPTIMIZER:
        yield BY_OPTIMIZER[str(params["optimizer"])]
    for name, (used, citation) in BY_PARAMETER.items():
        if name in params and _holds(used, params[name]):
            yield citation
    for (name, value), citation in BY_VALUE.items():
        if params.get(name) == value:
            yield citation


def _holds(used: Callable[[Any], bool], value: Any) -> bool:
    return value is not None and used(value)


def _words(block: Block) -> str:
    """The words of a block in which a method may be named."""
    if isinstance(block, Table):
        return " ".join((block.caption, *block.columns, *block.notes))
    if isinstance(block, Text):
        return block.words
    if isinstance(block, Bullets):
        return " ".join(block.items)
    return str(getattr(block, "caption", ""))
