"""The live table of a search, on stderr."""

import atexit
import logging
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleDimensions, Group
from rich.control import Control
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.journal import Event, SearchRecord, TrialRecord
from orchestrator.narration import Narrator
from orchestrator.snapshot import (
    Shown,
    Snapshot,
    choose,
    clock,
    cut,
    epochs_of,
    key_parameters,
    one_line,
    score,
    short,
    snapshot,
    status,
    time_left,
)

REFRESH_S = 0.25
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


class LiveDisplay:
    """A table redrawn by its own thread, four times a second and only where something changed."""

    def __init__(self, record: SearchRecord, *, link: str | None, console: Console) -> None:
        self._console = console
        self._link = link
        self._snapshot = snapshot(record)
        self._narrator = Narrator(record)
        self._failures: deque[str] = deque()
        self._columns: tuple[Column, ...] = ()
        self._columns_for: tuple[int, int] = (-1, -1)
        self._drawn: tuple[Any, ...] = ()
        self._size = console.size
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=sys.stdout.isatty())
        self._moved: list[tuple[logging.StreamHandler[Any], TextIO]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="display", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        before = (sys.stdout, sys.stderr)
        self._live.start()
        atexit.register(self._live.stop)
        self._move_handlers(before)
        self._thread.start()

    def event(self, event: Event, record: SearchRecord) -> None:
        try:
            text = self._narrator.line(event, record)
            if text:
                log.info(text)
            if event["event"] == "end" and event["state"] == "FAIL":
                self._failures.append(f"{clock(event['at'])}  {text}")
            self._snapshot = snapshot(record, event)
        except Exception:
            log.debug("The display failed on %r.", event, exc_info=True)

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
        while not self._stopped.wait(REFRESH_S):
            self._try_to_draw()

    def _try_to_draw(self) -> None:
        try:
            self._draw()
        except Exception:
            log.debug("The table could not be drawn.", exc_info=True)

    def _draw(self) -> None:
        while self._failures:
            self._console.print(Text(self._failures.popleft(), style="red"))
        current, size = self._snapshot, self._console.size
        state = (current.seen, int(current.now), size)
        if state == self._drawn:
            return
        if size != self._size:
            # The terminal has wrapped or scrolled lines, so that nobody knows how far up the table began.
            self._console.control(Control.clear(), Control.home())
        self._size, self._drawn = size, state
        columns = self._parameters(current.record)
        self._live.update(frame(current, columns, link=self._link, size=size), refresh=True)

    def _parameters(self, record: SearchRecord) -> tuple[Column, ...]:
        """Ordered anew only when the scored trials have doubled, so that columns do not jump about."""
        doubled = sum(t.value is not None for t in record.trials.values()).bit_length()
        key = (len(record.trials), doubled)
        if key != self._columns_for:
            order = [c.name for c in self._columns if doubled == self._columns_for[1]]
            names = key_parameters(record)
            self._columns = parameter_columns(record, [*order, *(n for n in names if n not in order)])
            self._columns_for = key
        return self._columns

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


def parameter_columns(record: SearchRecord, names: Sequence[str]) -> tuple[Column, ...]:
    """Columns as wide as the widest value of any trial."""
    trials = record.trials.values()
    return tuple(
        Column(n, max([cell_len(n), *(cell_len(short(t.params.get(n))) for t in trials)])) for n in names
    )


def frame(
    current: Snapshot, columns: Sequence[Column], *, link: str | None, size: ConsoleDimensions
) -> Group:
    """Table and footer in less lines than the terminal has."""
    foot = footer(current, link, size.width)[: max(size.height - 6, 1)]
    record, room = current.record, max(size.height - len(foot) - 3, 1)
    shown = choose(record, room if len(record.trials) <= room else max(room - 1, 1))
    more = [Text(f"… {shown.left_out} more", style="dim")] if shown.left_out else []
    return Group(table(current, shown, columns, size.width), *more, Text(), *foot)


def table(current: Snapshot, shown: Shown, columns: Sequence[Column], width: int) -> Table:
    """One line a trial; as many of the parameters as fit."""
    heads = ("trial", "state", "epoch", cut(current.record.asked["metric"], 12), "best", "time")
    trials = [*shown.running, *shown.best, *shown.recent]
    leader = next((t.trial_id for t in current.record.ranked()), None)
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
    for leader in record.ranked()[:1]:
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
