"""What a person sees while a search runs: a live table in a terminal, one plain line an event elsewhere.

Everything goes to stderr; stdout is for data.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console

from orchestrator.journal import Event, SearchRecord
from orchestrator.live import LiveDisplay
from orchestrator.narration import Display
from orchestrator.snapshot import Snapshot, clock, score, status, time_left

HEARTBEAT_S = 30.0
log = logging.getLogger(__name__)


def make_display(record: SearchRecord, *, link: str | None, console: Console | None = None) -> Display:
    """The live table where `console` (stderr by default) is a terminal that can show it, else plain lines.

    `link` is the address of the search in the tracker's UI.
    """
    console = console or stderr_console()
    if can_be_live(console):
        return LiveDisplay(record, link=link, console=console)
    return PlainDisplay(record, link=link, file=console.file)


def stderr_console() -> Console:
    """A console on stderr that takes it for a terminal only if it is one, whatever FORCE_COLOR says."""
    return Console(stderr=True, force_terminal=sys.stderr.isatty())


def can_be_live(console: Console) -> bool:
    """Whether lines may be rewritten: a capable terminal, and neither NO_COLOR nor CI is set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("CI", "").lower() not in ("", "0", "false")
    return console.is_terminal and not console.is_dumb_terminal and not plain


def say(text: str, *, warning: bool = False) -> None:
    """A sentence for the user on stderr, above the table while one is shown; an empty one is not said.

    No markup is read from it: names of files may look like markup.
    """
    if not text:
        return
    line = f"Warning: {text}" if warning else text
    log.info(line)
    colored = f"\x1b[33m{line}\x1b[0m" if warning and can_be_live(stderr_console()) else line
    print(colored, file=sys.stderr, flush=True)


class PlainDisplay(Display):
    """One line an event, and the counts every half minute; in a long search, every twentieth of its age."""

    def __init__(self, record: SearchRecord, *, link: str | None, file: IO[str]) -> None:
        super().__init__(record)
        self._link = link
        self._file = file
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        if self._link:
            self._write(f"MLflow: {self._link}")
        self._thread.start()

    def stop(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            self._write_counts(self._current())

    def _tell(self, event: Event, text: str) -> None:
        self._write(f"{clock(event['at'])}  {text}")

    def _beat(self) -> None:
        while not self._stopped.wait(min(max(HEARTBEAT_S, self._current().now / 20), 10 * HEARTBEAT_S)):
            self._write_counts(self._current())

    def _write_counts(self, current: Snapshot) -> None:
        record, now = current.record, current.now
        parts = [status(record)]
        for leader in current.ranked[:1]:
            parts.append(f"best {record.asked['metric']} {score(leader.value)} (trial {leader.number})")
        parts += time_left(record, now)
        self._write(f"{clock(now)}  {'  '.join(parts)}")

    def _write(self, line: str) -> None:
        """One line at once, so that threads do not mix; whoever reads may be gone."""
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except (OSError, ValueError):
            log.debug("Nothing can be written to stderr.", exc_info=True)


@contextmanager
def store_progress(
    console: Console | None = None, *, what: str = "Decoding images"
) -> Iterator[Callable[[int, int], None]]:
    """Gives `progress(done, total)` for the decoding of images; shows nothing until it is called.

    A bar in a terminal; elsewhere a line each 10 %, at most one in 2 s, and the last.
    """
    console = console or stderr_console()
    if can_be_live(console):
        with _bar(console, what) as progress:
            yield progress
    else:
        yield _percent_lines(console.file, what)


@contextmanager
def _bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty())
    task = bar.add_task(what, total=None)

    def progress(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield progress
    finally:
        bar.stop()


def _percent_lines(file: IO[str], what: str) -> Callable[[int, int], None]:
    shown_at, shown_tenth = time.monotonic(), 0

    def progress(done: int, total: int) -> None:
        nonlocal shown_at, shown_tenth
        tenth = 10 * done // max(total, 1)
        due = tenth > shown_tenth and time.monotonic() - shown_at >= 2.0
        if due or (done == total and shown_tenth < 10):
            shown_at, shown_tenth = time.monotonic(), tenth
            file.write(f"{what}: {done} of {total} ({100 * done // max(total, 1)} %)\n")
            file.flush()

    return progress
