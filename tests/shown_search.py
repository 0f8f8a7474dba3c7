"""A made-up search for what is shown of one, and a terminal to show it in."""

import io
import time
from typing import Any

from rich.console import Console, ConsoleDimensions

from orchestrator.journal import SearchRecord
from orchestrator.live import Parameters, frame
from orchestrator.narration import Display
from orchestrator.snapshot import snapshot

LINK = "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Search:
    """A made-up search: each call journals one event, folds it in and tells the display."""

    def __init__(self, **asked: Any) -> None:
        defaults = {"direction": "maximize", "metric": "accuracy", "trials": 20, "max_epochs": 8, "slots": 2}
        self.record = SearchRecord(asked={"event": "search", "time_limit_s": None, **defaults, **asked})
        self.display: Display | None = None
        self.at = 0.0
        self.costs: list[float] = []

    def tell(self, event: str, **fields: Any) -> None:
        line = {"event": event, "at": self.at, **fields}
        self.record.apply(line)
        if self.display is not None:
            began = time.perf_counter()
            self.display.event(line, self.record)
            self.costs.append(time.perf_counter() - began)

    def trial(self, number: int, **params: Any) -> None:
        self.tell("trial", trial_id=f"{number:04}", number=number, params={"epochs": 8, **params})

    def report(self, number: int, epoch: int, value: float, *, best: float | None = None) -> None:
        top = {"value": value if best is None else best, "best_epoch": epoch}
        self.tell("report", trial_id=f"{number:04}", epoch=epoch, valid_metric=value, best=top)

    def end(self, number: int, state: str = "COMPLETE", reason: str = "") -> None:
        self.tell("end", trial_id=f"{number:04}", state=state, reason=reason)

    def whole_trial(self, number: int, value: float, **params: Any) -> None:
        self.trial(number, **params)
        self.report(number, 1, value)
        self.at += 1.0
        self.end(number)

    def drawn(self, *, width: int = 120, height: int = 30, link: str | None = LINK) -> list[str]:
        """The lines of the table and its footer, without colour."""
        shown = snapshot(self.record, {"at": self.at})
        group = frame(shown, Parameters().columns(shown), link=link, size=ConsoleDimensions(width, height))
        console = Console(file=io.StringIO(), force_terminal=False, width=width, height=height)
        with console.capture() as capture:
            console.print(group)
        return [line.rstrip() for line in capture.get().splitlines()]


def terminal(width: int = 100, height: int = 30) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, color_system="truecolor", width=width, height=height), file


def wait_for(text: str, file: io.StringIO) -> str:
    """What was written once the text is there."""
    deadline = time.monotonic() + 10.0
    while text not in file.getvalue() and time.monotonic() < deadline:
        time.sleep(0.02)
    return file.getvalue()
