"""The fault matrix: every fault at several random times, on as many cores at once as there are."""

import os
import queue
import random
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from orchestrator.chaos import disks, drivers, files, hostile, nodes, trackers, trials
from orchestrator.chaos.cells import Cell, Fault
from orchestrator.chaos.rig import Rig, Skipped
from orchestrator.folders import SearchFolder
from trainables.errors import OrchestratorError

FAULTS: tuple[Fault, ...] = (
    *drivers.FAULTS,
    *trials.FAULTS,
    *nodes.FAULTS,
    *files.FAULTS,
    *trackers.FAULTS,
    *disks.FAULTS,
    *hostile.FAULTS,
)
WHOLE = "whole"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a fault at one random time."""

    fault: Fault
    turn: int
    problem: str = ""
    """What was not as it must be; empty where all was."""
    skipped: str = ""
    seconds: float

    @property
    def green(self) -> bool:
        return not self.problem and not self.skipped


def run(
    home: Path,
    faults: Sequence[Fault],
    *,
    times: int,
    seed: int,
    heard: Callable[[Outcome], None],
) -> list[Outcome]:
    """Try each fault `times` times; `heard` gets each outcome when it is known.

    What a fault that is not green left stays in `home`. Raises Unexpected where processes are left in the
    end, or where not even a search that nothing disturbs works.
    """
    cores = sorted(os.sched_getaffinity(0))
    rigs: queue.Queue[tuple[Rig, SearchFolder]] = queue.Queue()
    lock, found = threading.Lock(), list[Outcome]()

    def tried(alike: Sequence[Fault], turn: int) -> None:
        rig, whole = rigs.get()
        try:
            for fault in alike:
                outcome = attempt(rig, whole, fault, turn=turn, seed=seed)
                with lock:
                    found.append(outcome)
                    heard(outcome)
        finally:
            rigs.put((rig, whole))

    with ThreadPoolExecutor(len(cores)) as pool:
        for made in pool.map(lambda core: undisturbed(home, core), cores):
            rigs.put(made)
        # turn by turn, so that a matrix that is cut short has tried each fault
        jobs = [(alike, turn) for turn in range(times) for alike in together(faults)]
        list(pool.map(lambda job: tried(*job), jobs))
    while not rigs.empty():
        rigs.get()[0].require_none_left(agents=True)
    return found


def together(faults: Sequence[Fault]) -> list[tuple[Fault, ...]]:
    """Faults that begin from the same state, which is made once for them; the others each alone."""
    alike: dict[str, tuple[Fault, ...]] = {}
    for number, fault in enumerate(faults):
        key = fault.state or str(number)
        alike[key] = (*alike.get(key, ()), fault)
    return sorted(alike.values(), key=len, reverse=True)  # the long ones first: all cores end together


def undisturbed(home: Path, core: int) -> tuple[Rig, SearchFolder]:
    """A rig, and the search on it that nothing disturbs. Raises Unexpected where that one fails."""
    rig = Rig(home / f"core{core}", core)
    rig.require_success(rig.search(WHOLE))
    return rig, rig.folder(WHOLE)


def attempt(rig: Rig, whole: SearchFolder, fault: Fault, *, turn: int, seed: int) -> Outcome:
    """Try a fault once; `whole` is the undisturbed search of the rig."""
    label = f"{fault.group}-{FAULTS.index(fault)}-{turn}"
    name = f"{fault.state}-{turn}" if fault.state else label
    cell = Cell(rig, name, whole, random.Random(f"{seed}/{fault.group}/{fault.name}/{turn}"))
    began = time.monotonic()
    problem = skipped = ""
    try:
        fault.strike(cell)
    except Skipped as reason:
        skipped = str(reason)
    except Exception as error:  # whatever a fault brings about is an outcome, and the matrix goes on
        problem = error.what if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {error}"
    if problem:
        rig.set_aside(name, rig.home / "red" / label)
    else:
        rig.remove(name)
        shutil.rmtree(rig.home / name, ignore_errors=True)
    seconds = time.monotonic() - began
    return Outcome(fault=fault, turn=turn, problem=problem, skipped=skipped, seconds=seconds)
