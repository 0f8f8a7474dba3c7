"""Faults of one trial: its process dies or hangs, its metric is none."""

import contextlib
import functools
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from orchestrator.chaos.cells import Cell, Fault
from orchestrator.chaos.rig import Unexpected
from orchestrator.conductor import RETRIES

GROUP = "trial"
GOES_ON = "another process goes on; the outcome is as if nothing had been"
SILENT_S = 0.5
BAD_METRICS = {
    "nan": "nan",
    "inf": "inf",
    "none": "None",
    "text": "not str",
    "error": "the metric broke",
}
"""What a metric does, and what its trial must say of it."""


def _dies(cell: Cell, *, how: str, most: int) -> None:
    """Dies at most as often as it is tried again."""
    times = cell.random.randint(1, most)
    fault = {"trial": cell.any_trial, "epoch": cell.any_epoch, "do": how, "times": times}
    cell.require_ended(cell.rig.search(cell.name, faults=[fault]))
    struck = sum("fault" in line for line in cell.rig.witnessed(cell.name))
    if struck != times:
        raise Unexpected(f"the trial was struck {struck} times instead of {times}")
    cell.require_as_if_nothing_had_been(repeats=times)


def _killed_each_time(cell: Cell) -> None:
    trial = cell.any_trial
    fault = {"trial": trial, "epoch": cell.any_epoch, "do": "kill", "times": RETRIES + 1}
    cell.require_ended(cell.rig.search(cell.name, faults=[fault]))
    _require_failed(cell, {trial: "SIGKILL"})


def _metric_is_none(cell: Cell) -> None:
    """Each bad metric in a trial of its own, and one trial more."""
    trials = [f"{k:04d}" for k in range(len(BAD_METRICS) + 1)]
    struck = dict(zip(cell.random.sample(trials, len(BAD_METRICS)), BAD_METRICS, strict=True))
    faults = [
        {"trial": trial, "epoch": cell.any_epoch, "do": how, "times": 1} for trial, how in struck.items()
    ]
    cell.require_ended(cell.rig.search(cell.name, "--trials", str(len(trials)), faults=faults))
    _require_failed(cell, {trial: BAD_METRICS[how] for trial, how in struck.items()})


def _require_failed(cell: Cell, says: Mapping[str, str]) -> None:
    """Raises Unexpected unless these trials failed, each with the words, and no other."""
    cell.require_whole()
    trials = cell.rig.record(cell.name).trials
    failed = {name: trial.reason for name, trial in trials.items() if trial.state == "FAIL"}
    if failed.keys() != says.keys():
        raise Unexpected(f"trials {sorted(says)} were to fail, and no other: {failed}")
    for name, reason in failed.items():
        if says[name] not in reason:
            raise Unexpected(f"trial {name} says {reason!r} instead of {says[name]!r}")
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


FAULTS = (
    Fault(
        GROUP,
        f"process killed up to {RETRIES} times",
        GOES_ON,
        functools.partial(_dies, how="kill", most=RETRIES),
    ),
    Fault(GROUP, "process crashes (SIGSEGV)", GOES_ON, functools.partial(_dies, how="crash", most=1)),
    Fault(GROUP, "process killed each time", "that trial fails and says why, no other", _killed_each_time),
    Fault(GROUP, "says nothing any more", "killed after its time, told, tried again", _hangs, quick=True),
    Fault(
        GROUP,
        "metric is nan, inf, None or a text, or raises",
        "each such trial fails and says why, no other",
        _metric_is_none,
    ),
)
