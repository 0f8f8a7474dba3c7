"""The fault matrix: every fault at several random times, on all cores at once."""

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

import psutil

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
RIGS_A_CORE = 2
"""While one waits for MLflow, or for what a killed search left, the other one works."""
RIG_BYTES = 3 * 2**30
"""What a search takes with Ray, MLflow and the server of its trials."""


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
    cores = places(sorted(os.sched_getaffinity(0)), free=psutil.virtual_memory().available)
    rigs: queue.Queue[tuple[Rig, SearchFolder]] = queue.Queue()
    lock, found = threading.Lock(), list[Outcome]()

    def tried(alike: Sequence[Fault], turn: int) -> None:
        rig, whole = rigs.get()
        try:
            for faults in at_once(alike):
                outcomes = attempt(rig, whole, faults, turn=turn, seed=seed)
                with lock:
                    found.extend(outcomes)
                    for outcome in outcomes:
                        heard(outcome)
        finally:
            rigs.put((rig, whole))

    with ThreadPoolExecutor(len(cores)) as pool:
        homes = [home / f"rig{number}" for number in range(len(cores))]
        for made in pool.map(undisturbed, homes, cores):
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


def at_once(alike: Sequence[Fault]) -> list[list[Fault]]:
    """Of faults of one state those that damage different things, to be struck at once; others alone."""
    found: list[list[Fault]] = []
    for fault in alike:
        for faults in found:
            damaged = {other.damages for other in faults}
            if fault.damages and "" not in damaged and fault.damages not in damaged:
                faults.append(fault)
                break
        else:
            found.append([fault])
    return found


def places(cores: Sequence[int], *, free: int) -> list[int]:
    """The core of each rig: as many as there is memory for, of `free` bytes."""
    return ([*cores] * RIGS_A_CORE)[: max(1, free // RIG_BYTES)]


def undisturbed(home: Path, core: int) -> tuple[Rig, SearchFolder]:
    """A rig, and the search on it that nothing disturbs. Raises Unexpected where that one fails."""
    rig = Rig(home, core)
    rig.require_success(rig.search(WHOLE))
    return rig, rig.folder(WHOLE)


def attempt(rig: Rig, whole: SearchFolder, faults: Sequence[Fault], *, turn: int, seed: int) -> list[Outcome]:
    """Strike faults at once, and see what comes of it; `whole` is the undisturbed search of the rig."""
    first = faults[0]
    label = f"{first.group}-{FAULTS.index(first)}-{turn}"
    name = f"{first.state}-{turn}" if first.state else label
    draws = [random.Random(f"{seed}/{fault.group}/{fault.name}/{turn}") for fault in faults]
    began = time.monotonic()
    problem = skipped = ""
    try:
        strike(faults, [Cell(rig, name, whole, own) for own in draws])
    except Skipped as reason:
        skipped = str(reason)
    except Exception as error:  # whatever a fault brings about is an outcome, and the matrix goes on
        problem = error.what if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {error}"
    if problem:
        rig.set_aside(name, rig.home / "red" / label)
    else:
        rig.remove(name)
        shutil.rmtree(rig.home / name, ignore_errors=True)
    seconds = (time.monotonic() - began) / len(faults)
    return [Outcome(fault=f, turn=turn, problem=problem, skipped=skipped, seconds=seconds) for f in faults]


def strike(faults: Sequence[Fault], cells: Sequence[Cell]) -> None:
    """Each in its own cell of one search. Raises what `Fault.strike` does."""
    cells[0].begin(faults[0].state)
    for fault, cell in zip(faults, cells, strict=True):
        fault.strike(cell)
    if faults[0].damages:
        cells[0].require_recovered()
