"""The live table of a search, on stderr."""

import atexit
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleDimensions, Group
from rich.control import Control
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.journal import Event, SearchRecord, TrialRecord
from orchestrator.narration import Display
from orchestrator.snapshot import (
    Shown,
    Snapshot,
    choose,
    clock,
    cut,
    epochs_of,
    one_line,
    ordered,
    score,
    short,
    status,
    time_left,
    unusual,
)

REFRESH_S = 0.25
SHARE = 0.05
"""Of a core, for drawing at most: the more trials, the longer it takes, and the rarer it is done."""
GAP = 2
STATES = {
    "RUNNING": ("running", "cyan"),
    "COMPLETE": ("done", "green"),
    "PRUNED": ("pruned", "yellow"),
    "FAIL": ("failed", "red"),
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Column:
    """A parameter's place in the table."""

    name: str
    width: int


class LiveDisplay(Display):
    """A table redrawn by its own thread, four times a second at most and only where something changed."""

    def __init__(self, record: SearchRecord, *, link: str | None, console: Console) -> None:
        super().__init__(record)
        self._console = console
        self._link = link
        self._failures: deque[str] = deque()
        self._parameters = Parameters()
        self._drawn: tuple[Any, ...] = ()
        self._size = console.size
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=sys.stdout.isatty())
        self._moved: list[tuple[logging.StreamHandler[Any], TextIO]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="display", daemon=True)

    def start(self) -> None:
        before = (sys.stdout, sys.stderr)
        self._live.start()
        atexit.register(self._live.stop)
        self._move_handlers(before)
        self._thread.start()

    def _tell(self, event: Event, text: str) -> None:
        if event["event"] == "end" and event["state"] == "FAIL":
            self._failures.append(f"{clock(event['at'])}  {text}")

    def stop(self) -> None:
        """Draw the last state and give the terminal back as it was."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        try:
            self._thread.join(timeout=5)
            self._try_to_draw()
        finally:
            for handler, stream in self._moved:
                handler.setStream(stream)
            self._live.stop()
            atexit.unregister(self._live.stop)

    def _refresh(self) -> None:
        pause = REFRESH_S
        while not self._stopped.wait(pause):
            begun = time.thread_time()
            self._try_to_draw()
            pause = max(REFRESH_S, (time.thread_time() - begun) / SHARE)

    def _try_to_draw(self) -> None:
        try:
            self._draw()
        except Exception:
            log.debug("The table could not be drawn.", exc_info=True)

    def _draw(self) -> None:
        while self._failures:
            self._console.print(Text(self._failures.popleft(), style="red"))
        current, size = self._current(), self._console.size
        state = (current.seen, int(current.now), size)
        if state == self._drawn:
            return
        if size != self._size:
            # The terminal has wrapped or scrolled lines, so that nobody knows how far up the table began.
            self._console.control(Control.clear(), Control.home())
        self._size, self._drawn = size, state
        columns = self._parameters.columns(current)
        self._live.update(frame(current, columns, link=self._link, size=size), refresh=True)

    def _move_handlers(self, before: tuple[TextIO, TextIO]) -> None:
        """Let log handlers that hold the real stderr or stdout print above the table too."""
        known = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
        for handler in {h for logger in (logging.root, *known) for h in logger.handlers}:
            if not isinstance(handler, logging.StreamHandler):
                continue
            for old, new in zip(before, (sys.stdout, sys.stderr), strict=True):
                if handler.stream is old and new is not old:
                    handler.setStream(new)
                    self._moved.append((handler, old))
                    break


class Parameters:
    """Which parameters have a column, how wide and in which order; looks at each trial once."""

    def __init__(self) -> None:
        self._taken = 0
        self._first: dict[str, Any] = {}
        """Of each parameter of any trial, its value in the first one."""
        self._widths: dict[str, int] = {}
        self._varying: set[str] = set()
        self._order: list[str] = []
        self._doubled = -1

    def columns(self, current: Snapshot) -> tuple[Column, ...]:
        """Those that differ. Ordered anew only when the scored trials have doubled, lest columns jump."""
        for trial in islice(current.record.trials.values(), self._taken, None):
            self._take(trial)
        names = [name for name in self._first if name in self._varying]
        if self._taken == 1:
            names = list(unusual(self._first))
        doubled = len(current.ranked).bit_length()
        if doubled != self._doubled:
            self._order, self._doubled = ordered(current.ranked, names), doubled
        else:
            self._order += [name for name in names if name not in self._order]
        return tuple(Column(name, max(cell_len(name), self._widths[name])) for name in self._order)

    def _take(self, trial: TrialRecord) -> None:
        for name in trial.params:
            if name not in self._first:
                self._first[name] = None if self._taken else trial.params[name]
                self._widths[name] = cell_len(short(None)) if self._taken else 0
        for name, first in self._first.items():
            value = trial.params.get(name)
            self._widths[name] = max(self._widths[name], cell_len(short(value)))
            if value != first and name != "seed":
                self._varying.add(name)
        self._taken += 1


def frame(
    current: Snapshot, columns: Sequence[Column], *, link: str | None, size: ConsoleDimensions
) -> Group:
    """Table and footer in less lines than the terminal has."""
    foot = footer(current, link, size.width)[: max(size.height - 6, 1)]
    record, room = current.record, max(size.height - len(foot) - 3, 1)
    shown = choose(current, room if len(record.trials) <= room else max(room - 1, 1))
    more = [Text(f"… {shown.left_out} more", style="dim")] if shown.left_out else []
    return Group(table(current, shown, columns, size.width), *more, Text(), *foot)


def table(current: Snapshot, shown: Shown, columns: Sequence[Column], width: int) -> Table:
    """One line a trial; as many of the parameters as fit."""
    heads = ("trial", "state", "epoch", cut(current.record.asked["metric"], 12), "best", "time")
    trials = [*shown.running, *shown.best, *shown.recent]
    leader = next((t.trial_id for t in current.ranked), None)
    cells = [_cells(current, trial, leads=trial.trial_id == leader) for trial in trials]
    widths = [max([cell_len(h), *(row[i].cell_len for row in cells)]) for i, h in enumerate(heads)]
    fitting = _fitting(columns, width - sum(widths) - GAP * len(heads))
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", expand=True)
    for name in heads:
        grid.add_column(name, no_wrap=True, justify="left" if name == "state" else "right")
    heading = _aligned([c.name for c in fitting], fitting)
    grid.add_column(Text(heading), no_wrap=True, overflow="ellipsis", ratio=1)
    for trial, row in zip(trials, cells, strict=True):
        grid.add_row(*row, _tail(trial, fitting), style="dim" if trial in shown.recent else "")
    return grid


def _cells(current: Snapshot, trial: TrialRecord, *, leads: bool) -> list[Text]:
    word, color = STATES[trial.state]
    last = trial.reports[-1]["valid_metric"] if trial.reports else None
    seconds = current.now - trial.started if trial.state == "RUNNING" else trial.seconds
    return [
        Text(str(trial.number)),
        Text(word, style=color),
        Text(f"{trial.epoch}/{epochs_of(current.record, trial)}"),
        Text(score(last)),
        Text(score(trial.value), style="bold green" if leads else ""),
        Text(clock(seconds)),
    ]


def _tail(trial: TrialRecord, columns: Sequence[Column]) -> Text:
    """The parameters under their names, or, of a failed trial, the reason."""
    if trial.state == "FAIL":
        return Text(one_line(trial.reason), style="red")
    return Text(_aligned([short(trial.params.get(c.name)) for c in columns], columns))


def _fitting(columns: Sequence[Column], room: int) -> list[Column]:
    chosen: list[Column] = []
    for column in columns:
        if column.width <= room:
            chosen.append(column)
            room -= column.width + GAP
    return chosen


def _aligned(texts: Sequence[str], columns: Sequence[Column]) -> str:
    return (" " * GAP).join(set_cell_size(t, c.width) for t, c in zip(texts, columns, strict=True))


def footer(current: Snapshot, link: str | None, width: int) -> list[Text]:
    """Counts, best score, time and the link, in as many lines as they need."""
    record, now = current.record, current.now
    parts = [status(record), ", ".join([f"{clock(now)} elapsed", *time_left(record, now)])]
    for leader in current.ranked[:1]:
        best = f"best {record.asked['metric']} {score(leader.value)}"
        parts.append(f"{best} (trial {leader.number}, epoch {leader.best_epoch})")
    lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in _filled(parts, width)]
    if link:
        folded = [link[i : i + width] for i in range(0, len(link), width)]
        lines += [Text(line, style=f"link {link}") for line in _filled(["MLflow", *folded], width)]
    return lines


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """The parts side by side, on as few lines as hold them."""
    lines = [parts[0]]
    for part in parts[1:]:
        joined = f"{lines[-1]}   {part}"
        if cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(part)
    return lines
