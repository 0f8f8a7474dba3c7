"""Blocks that others make of the records, or one sentence that says why they are not there."""

import logging
from collections.abc import Callable, Sequence

from orchestrator.evidence.content import Block, Text
from trainables.errors import OrchestratorError

log = logging.getLogger(__name__)


def blocks(what: str, make: Callable[[], Sequence[Block]]) -> list[Block]:
    """What `make` gives; where it fails, the report goes on without it and says so."""
    try:
        return list(make())
    except OrchestratorError as error:
        return [_missing(what, error.what)]
    except Exception as error:
        log.debug("%s", what, exc_info=True)
        return [_missing(what, f"{type(error).__name__}: {error}")]


def _missing(what: str, why: str) -> Text:
    reason = " ".join(why.split())
    return Text(f"{what}: not available ({reason.rstrip('.')}).")
