"""Faults of one trial: its process dies or hangs, its metric is none."""

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from orchestrator.chaos.cells import Cell, Fault
from orchestrator.chaos.rig import Unexpected
from orchestrator.conductor import RETRIES

GROUP = "trial"
GOES_ON = "another process goes on; the outcome is as if nothing had been"
ONE_FAILS = "that trial fails and says why, no other"
SILENT_S = 0.5


def _dies(cell: Cell, *, how: str, most: int) -> None:
    """Dies at most as often as it is tried again."""
    times = cell.random.randint(1, most)
    fault = {"trial": cell.any_trial, "epoch": cell.any_epoch, "do": how, "times": times}
    cell.require_ended(cell.rig.search(cell.name, fault=fault))
    struck = sum("fault" in line for line in cell.rig.witnessed(cell.name))
    if struck != times:
        raise Unexpected(f"the trial was struck {struck} times instead of {times}")
    cell.require_as_if_nothing_had_been(repeats=times)


def _fails(cell: Cell, *, how: str, says: str, times: int = 1) -> None:
    trial = cell.any_trial
    fault = {"trial": trial, "epoch": cell.any_epoch, "do": how, "times": times}
    cell.require_ended(cell.rig.search(cell.name, fault=fault))
    cell.require_whole()
    states = {name: t.state for name, t in cell.rig.record(cell.name).trials.items()}
    if [name for name, state in states.items() if state == "FAIL"] != [trial]:
        raise Unexpected(f"trial {trial} was to fail alone: {states}")
    reason = cell.rig.record(cell.name).trials[trial].reason
    if says not in reason:
        raise Unexpected(f"it says {reason!r} instead of {says!r}")
    if not (cell.folder.path / "submission.csv").exists():
        raise Unexpected("no submission of the others")


def _hangs(cell: Cell) -> None:
    """Of the slot alone, whose patience is minutes in a search."""
    from orchestrator.slot import Assignment, Slot

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        assignment = Assignment(
            task="digits",
            store=scratch,
            folder=str(place / "trials" / "0000"),
            params={},
            threads=1,
            deadline=time.time() + 60,
            stop_file=str(place / "STOP"),
            silent_s=SILENT_S,
        )
        slot = Slot(target=_silent)
        try:
            slot.start(assignment)
            pid = slot.pid
            outcome, said = slot.next()
        finally:
            slot.close()
        if outcome != "died" or "said nothing" not in said["reason"] or Path(f"/proc/{pid}").exists():
            raise Unexpected(f"{outcome}: {said}")


def _silent(pipe: Connection, _: object) -> None:
    with contextlib.suppress(EOFError):  # of the spare one, which is never needed
        pipe.recv()
        time.sleep(60)


def _value(how: str, says: str) -> Callable[[Cell], None]:
    return functools.partial(_fails, how=how, says=says)


FAULTS = (
    Fault(
        GROUP,
        f"process killed up to {RETRIES} times",
        GOES_ON,
        functools.partial(_dies, how="kill", most=RETRIES),
    ),
    Fault(GROUP, "process crashes (SIGSEGV)", GOES_ON, functools.partial(_dies, how="crash", most=1)),
    Fault(
        GROUP,
        "process killed each time",
        ONE_FAILS,
        functools.partial(_fails, how="kill", says="SIGKILL", times=RETRIES + 1),
    ),
    Fault(GROUP, "says nothing any more", "killed after its time, told, tried again", _hangs, quick=True),
    Fault(GROUP, "metric is nan", ONE_FAILS, _value("nan", "nan")),
    Fault(GROUP, "metric is inf", ONE_FAILS, _value("inf", "inf")),
    Fault(GROUP, "metric is None", ONE_FAILS, _value("none", "None")),
    Fault(GROUP, "metric is a text", ONE_FAILS, _value("text", "not str")),
    Fault(GROUP, "metric raises", ONE_FAILS, _value("error", "the metric broke")),
)
