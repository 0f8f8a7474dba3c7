"""Faults of the process that conducts the search."""

import functools
import signal

from orchestrator.chaos.cells import Cell, Fault
from orchestrator.chaos.rig import Unexpected

GROUP = "driver"
AS_IF = "--resume ends as if nothing had been, an epoch a kill again at most"
IN_ORDER = "ends with its code and a submission; --resume adds the rest, nothing twice"


def _killed(cell: Cell, *, times: int) -> None:
    moments = sorted(cell.any_moment() for _ in range(times))
    cell.killed(cell.rig.search(cell.name), moments[0])
    for reports in moments[1:]:
        cell.killed(cell.rig.resume(cell.name), reports)
    cell.require_ended(cell.rig.resume(cell.name))
    cell.require_as_if_nothing_had_been(repeats=times)


def _asked_to_end(cell: Cell, *, number: signal.Signals) -> None:
    code = cell.struck(cell.rig.search(cell.name), cell.late_moment(), number)
    if code != 128 + number:
        raise Unexpected(f"exit code {code} instead of {128 + number}")
    if not (cell.folder.path / "submission.csv").exists():
        raise Unexpected("no submission of what there was")
    _gone_on_with(cell)


def _asked_twice(cell: Cell, *, number: signal.Signals) -> None:
    cell.struck(cell.rig.search(cell.name), cell.late_moment(), number, number)
    _gone_on_with(cell)


def _gone_on_with(cell: Cell) -> None:
    ended = cell.ended
    cell.require_ended(cell.rig.resume(cell.name))
    cell.require_kept(ended)


FAULTS = (
    Fault(GROUP, "killed", AS_IF, functools.partial(_killed, times=1)),
    Fault(GROUP, "killed, and again in the resume", AS_IF, functools.partial(_killed, times=2)),
    Fault(GROUP, "Ctrl-C", IN_ORDER, functools.partial(_asked_to_end, number=signal.SIGINT)),
    Fault(GROUP, "SIGTERM", IN_ORDER, functools.partial(_asked_to_end, number=signal.SIGTERM)),
    Fault(GROUP, "SIGHUP", IN_ORDER, functools.partial(_asked_to_end, number=signal.SIGHUP)),
    Fault(
        GROUP,
        "Ctrl-C twice",
        "ends at once; --resume adds the rest, nothing twice",
        functools.partial(_asked_twice, number=signal.SIGINT),
    ),
)
