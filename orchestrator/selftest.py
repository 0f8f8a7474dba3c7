"""Whether it works on this machine, and with --chaos whether a search survives what can go wrong.

python -m orchestrator.selftest
"""

import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator import cli
from trainables.errors import OrchestratorError, UsageError, unknown

if TYPE_CHECKING:
    from orchestrator.chaos.cells import Fault
    from orchestrator.chaos.matrix import Outcome

TIMES = 3
GREEN, RED, SKIPPED = "green", "RED", "skipped"


class Failed(OrchestratorError):
    """A fault that a search did not survive as it must."""


def main(
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Break searches in every way there is, at random times.")
    ] = False,
    times: Annotated[int, typer.Option(min=1, help="Random times of each fault.")] = TIMES,
    only: Annotated[
        list[str] | None, typer.Option(help="A group of faults, or part of a fault's name.")
    ] = None,
    kills: Annotated[
        int,
        typer.Option(min=0, help="Kill the driver of one search so often, and compare with one left alone."),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random times.")] = 0,
    home: Annotated[
        Path | None,
        typer.Option(help="Where it is tried, and what is not green stays; a temporary folder."),
    ] = None,
    as_json: cli.Json = False,
    debug: cli.Debug = False,
) -> None:
    """Search the digits once; or, with --chaos or --kills, break searches and print what came of them."""
    if (chaos or kills) and not Path("/proc/self/environ").exists():
        raise UsageError("The fault matrix needs Linux: it looks for what a search leaves running in /proc.")
    if chaos and kills:
        raise UsageError("--chaos and --kills are two things.", fix="Ask for one of them.")
    from orchestrator.chaos.matrix import FAULTS

    faults = _asked_for(FAULTS, only or []) if chaos else ()
    place = home or Path(tempfile.mkdtemp(prefix="selftest-"))
    if kills:
        _killed(place, kills, seed=seed, as_json=as_json)
        return
    if not chaos:
        _search_once(place)
        return
    outcomes = _matrix(place, faults, times=times, seed=seed)
    rows = _rows(outcomes, faults)
    if as_json:
        print(json.dumps({"seed": seed, "times": times, "faults": rows}))
    else:
        _show(rows, times=times, seed=seed)
    red = sum(row["red"] for row in rows)
    if red:
        raise Failed(
            f"{red} of {len(outcomes)} outcomes are not as they must be.", fix=f"They are in {place}"
        )


def _search_once(place: Path) -> None:
    """A small search that nothing disturbs. Raises Failed with what it said where it does not work."""
    from orchestrator.chaos.rig import Rig
    from orchestrator.display import say

    rig, began = Rig(place, 0), time.monotonic()
    running = rig.search("whole")
    if code := running.end():
        raise Failed(f"A search of the digits ended with exit code {code}: {running.tail}", fix=str(place))
    say(f"A search of the digits with submission and MLflow works: {time.monotonic() - began:.0f} s, {place}")


def _killed(place: Path, times: int, *, seed: int, as_json: bool) -> None:
    """Raises Unexpected where the search did not survive as it must."""
    from orchestrator.chaos import kills
    from orchestrator.display import say

    cores = sorted(os.sched_getaffinity(0))
    found = kills.run(
        place, kills=times, seed=seed, cores=cores, heard=lambda n: say(f"{n:4d} of {times} kills")
    )
    print(json.dumps(dataclasses.asdict(found)) if as_json else found.text)


def _asked_for(faults: "tuple[Fault, ...]", only: list[str]) -> "tuple[Fault, ...]":
    """The faults that are named. Raises UsageError for a word that names none."""
    groups = list(dict.fromkeys(fault.group for fault in faults))
    for word in only:
        if not any(word == fault.group or word in fault.name for fault in faults):
            raise unknown("group of faults", word, groups)
    return tuple(f for f in faults if not only or any(w == f.group or w in f.name for w in only))


def _matrix(place: Path, faults: "tuple[Fault, ...]", *, times: int, seed: int) -> "list[Outcome]":
    from orchestrator.chaos import matrix
    from orchestrator.display import say

    total, done = len(faults) * times, 0

    def heard(outcome: "Outcome") -> None:
        nonlocal done
        done += 1
        word = GREEN if outcome.green else f"{RED}: {outcome.problem}" if outcome.problem else SKIPPED
        fault = outcome.fault
        say(f"{done:4d} of {total}  {fault.group}: {fault.name}  {outcome.seconds:.0f} s  {word}")

    return matrix.run(place, faults, times=times, seed=seed, heard=heard)


def _rows(outcomes: "list[Outcome]", faults: "tuple[Fault, ...]") -> list[dict[str, Any]]:
    rows = []
    for fault in faults:
        own = [outcome for outcome in outcomes if outcome.fault is fault]
        rows.append(
            {
                "group": fault.group,
                "fault": fault.name,
                "expected": fault.expected,
                "green": sum(outcome.green for outcome in own),
                "red": sum(bool(outcome.problem) for outcome in own),
                "skipped": sum(bool(outcome.skipped) for outcome in own),
                "why": next((o.problem or o.skipped for o in own if not o.green), ""),
                "seconds": round(sum(outcome.seconds for outcome in own), 1),
            }
        )
    return rows


def _show(rows: list[dict[str, Any]], *, times: int, seed: int) -> None:
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("", "fault", "what must be", "green", ""):
        grid.add_column(name)
    before = ""
    for row in rows:
        group = row["group"] if row["group"] != before else ""
        before = row["group"]
        tried = times - row["skipped"]
        grid.add_row(group, row["fault"], row["expected"], f"{row['green']} of {tried}", row["why"])
    console = Console(highlight=False)
    console.print(grid)
    console.print(f"Each fault at {times} random times of seed {seed}.")


EXAMPLES = """
python -m orchestrator.selftest
python -m orchestrator.selftest --kills 100
python -m orchestrator.selftest --chaos
python -m orchestrator.selftest --chaos --only driver --only journal --times 10
"""

if __name__ == "__main__":
    cli.run_command(main, examples=EXAMPLES)
