"""The driver's memory and its time a report and a suggestion, over a thousand trials that train nothing.

python -m benchmarks.scale [--trials N] [--tune-trials N] [--json]

First the conductor with its journal, study and live table alone; then the same through Ray Tune, where the
driver must also hold what Tune keeps of each trial. What is compared is the last hundred trials with the
first: medians, in the CPU time of the thread that decides, for the journal waits for a disk that others use
too. The CPU seconds of a hundred trials are of the whole process, the live table's thread among them.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from benchmarks.reporting import InstantActor, made_up_search, row
from orchestrator import plan, tune
from orchestrator.conductor import Conductor, Request
from orchestrator.live import LiveDisplay

EPOCHS = 10
SLOTS = 4
STEP = 100


class Watched(Conductor):
    """Times every report and suggestion, and looks at the process' memory, a hundred trials at a time."""

    def suggest(self) -> Request | None:
        begun = time.thread_time()
        request = super().suggest()
        if request is not None:
            self._log("suggest", time.thread_time() - begun)
        return request

    def report(self, trial_id: str, row: Mapping[str, Any]) -> bool:
        begun, wall = time.thread_time(), time.perf_counter()
        stop = super().report(trial_id, row)
        self._log("report", time.thread_time() - begun)
        self._log("waited", time.perf_counter() - wall)
        return stop

    def _log(self, what: str, seconds: float) -> None:
        hundred = (len(self.record.trials) - 1) // STEP
        rows = self.__dict__.setdefault("rows", [])
        if hundred == len(rows):
            rows.append({"report": [], "suggest": [], "waited": [], "began": time.process_time()})
        rows[hundred][what].append(seconds)
        rows[hundred]["mb"] = psutil.Process().memory_info().rss / 2**20

    def table(self) -> list[dict[str, float]]:
        """A line each hundred trials: medians in ms, CPU seconds, MB at the end."""
        rows, now = self.__dict__["rows"], time.process_time()
        ends = [*(r["began"] for r in rows[1:]), now]
        return [
            {
                "trials": min((i + 1) * STEP, len(self.record.trials)),
                "report_ms": 1e3 * statistics.median(r["report"]),
                "suggest_ms": 1e3 * statistics.median(r["suggest"]),
                "report_wall_ms": 1e3 * statistics.median(r["waited"]),
                "cpu_s": end - r["began"],
                "mb": r["mb"],
            }
            for i, (r, end) in enumerate(zip(rows, ends, strict=True))
        ]


@contextlib.contextmanager
def watched(out: Path, *, slots: int, trials: int) -> Iterator[tuple[Any, Watched]]:
    """The folder and the conductor of a search with a live table on a terminal that nobody looks at."""
    with contextlib.ExitStack() as stack:
        made = made_up_search(out, slots=slots, trials=trials, epochs=EPOCHS, first_rung=EPOCHS)
        folder, record, make = stack.enter_context(made)
        terminal = Console(file=stack.enter_context(open(os.devnull, "w")), force_terminal=True, width=120)
        display = stack.enter_context(LiveDisplay(record, link=None, console=terminal))
        conductor = make(display.event, Watched)
        yield folder, conductor


def by_hand(out: Path, trials: int) -> list[dict[str, float]]:
    """The conductor alone: slots take turns, an epoch each."""
    with watched(out, slots=SLOTS, trials=trials) as (_, conductor):
        running: dict[str, int] = {}
        while True:
            while (request := conductor.suggest()) is not None:
                running[request.trial_id] = 0
            if not running:
                return conductor.table()
            for trial_id in list(running):
                running[trial_id] += 1
                report = {"device": "cpu", **row(running[trial_id], int(trial_id))}
                if conductor.report(trial_id, report):
                    del running[trial_id]


def through_tune(out: Path, trials: int) -> list[dict[str, float]]:
    """The same trials through Ray Tune, in actors that do nothing else."""
    slots = int(plan.resources_here()["CPU"])
    with (
        tune.cluster(address=None, cpus=slots, gpus=0),
        watched(out, slots=slots, trials=trials) as (folder, conductor),
    ):
        workplace = tune.Workplace(
            task="digits", store=folder.path, folder=folder, threads=1, deadline=float("inf")
        )
        tune.run(conductor, workplace, cpus=1, gpus=0, actor=InstantActor)
        return conductor.table()


def run_alone(function: Callable[..., list[dict[str, float]]], trials: int) -> list[dict[str, float]]:
    """In a process of its own, so that memory counts from nothing."""
    import multiprocessing

    with (
        tempfile.TemporaryDirectory() as scratch,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        return pool.apply(function, (Path(scratch), trials))


def show(title: str, table: list[dict[str, float]]) -> None:
    print(f"{title}\n  trials  report CPU-ms  by the clock  suggest CPU-ms  CPU-s  driver MB")
    for line in table:
        print(
            f"  {line['trials']:6.0f}  {line['report_ms']:13.2f}  {line['report_wall_ms']:12.2f}"
            f"  {line['suggest_ms']:14.1f}  {line['cpu_s']:5.1f}  {line['mb']:9.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--tune-trials", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    alone = run_alone(by_hand, arguments.trials)
    tuned = run_alone(through_tune, arguments.tune_trials)
    figures = {
        "name": "scale",
        "against": "its own first hundred trials",
        "ratio": alone[-1]["report_ms"] / alone[0]["report_ms"],
        "conductor": alone,
        "tune": tuned,
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    show(f"the conductor alone, {EPOCHS} reports a trial", alone)
    show("through Ray Tune", tuned)
    print(
        f"a report after {arguments.trials} trials takes {figures['ratio']:.2f} times one of the first {STEP}"
    )


if __name__ == "__main__":
    main()
