"""How a search is ended early, and where what it says is kept."""

import contextlib
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.conductor import Conductor
    from orchestrator.folders import SearchFolder


class _Quiet(logging.FileHandler):
    """A full disk costs lines of the log, and puts no traceback on the screen."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing to do."""


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Keep what is said, and every reason of a failure, in a file."""
    handler = _Quiet(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("orchestrator")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        with contextlib.suppress(OSError):
            handler.close()


@contextlib.contextmanager
def orderly_end(conductor: "Conductor", folder: "SearchFolder") -> Iterator[list[int]]:
    """The first SIGINT, SIGTERM or SIGHUP ends what runs in order, the second at once.

    Yields the list that the signals' numbers are put in.
    """
    from orchestrator.display import say

    seen: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        if seen:
            raise SystemExit(128 + number)
        seen.append(number)
        conductor.stop(f"interrupted by {signal.Signals(number).name}")
        with contextlib.suppress(OSError):  # a full disk: the second signal ends it all the same
            folder.stop.touch()
        say("Ending: running trials write what they have, then the results follow. Once more to end at once.")

    before = {name: signal.signal(name, end) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield seen
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
