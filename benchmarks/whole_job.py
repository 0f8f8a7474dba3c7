"""The whole search against the way Ray's and Optuna's tutorials write it: same space, slots and wall time.

python -m benchmarks.whole_job --task food11 --data DIR --time 10m [--seed N] [--json]

One after the other, each with the whole machine and counted from its process' start. The ratio is the time
the tutorial's search took to reach its best validation score, over the time ours took to reach that score.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import tutorial
from orchestrator import folders, journal, plan
from orchestrator.prepare import Asked, Prepared, prepare
from trainables.errors import NoTrialSucceeded, UsageError
from trainables.task import Metric


class Report(NamedTuple):
    """One epoch of a trial; `seconds` since the search was started."""

    seconds: float
    trial: str
    score: float


@dataclass(frozen=True)
class Side:
    """What one search did."""

    reports: Sequence[Report]
    metric: Metric

    @property
    def best(self) -> Report | None:
        """The best score, where it was reached first."""
        ordered = sorted(self.reports)
        return max(ordered, key=lambda r: self.metric.utility(r.score)) if ordered else None

    def time_to(self, other: Report | None) -> float | None:
        """Seconds until a score as good as the other's was there; None where it never was."""
        if other is None:
            return None
        wanted = self.metric.utility(other.score)
        return min((r.seconds for r in self.reports if self.metric.utility(r.score) >= wanted), default=None)

    def figures(self, other: "Side") -> dict[str, Any]:
        best = self.best
        return {
            "trials": len({r.trial for r in self.reports}),
            "epochs": len(self.reports),
            "best": best.score if best else None,
            "seconds_to_best": best.seconds if best else None,
            "seconds_to_best_of_other": self.time_to(other.best),
        }


def ours(prepared: Prepared, out: Path, *, seconds: float) -> list[Report]:
    """The product's own command, in a process of its own."""
    command = [sys.executable, "-m", "orchestrator.search", prepared.task.name, "--data", str(prepared.root)]
    command += ["--out", str(out), "--time", f"{seconds:g}", "--seed", str(prepared.asked.seed)]
    begun = time.time()
    ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    if ended not in (0, NoTrialSucceeded.exit_code):
        raise RuntimeError(f"The search ended with exit code {ended}.")
    folder = folders.find(out, prepared.task.name)
    events, _ = journal.tail(folder.journal)
    zero = folder.asked.stat().st_mtime - begun  # written just before the journal's clock starts
    return [
        Report(zero + event["at"], event["trial_id"], event["valid_metric"])
        for event in events
        if event["event"] == "report"
    ]


def theirs(prepared: Prepared, images: Path, out: Path, *, seconds: float) -> list[Report]:
    """The tutorials' way, in a process of its own."""
    out.mkdir()
    budget = prepared.plan.budget
    begun = time.time()
    settings = tutorial.Settings(
        task=prepared.task.name,
        images=str(images),
        out=str(out),
        space=prepared.space,
        context=prepared.study["context"],
        defaults=prepared.study["defaults"],
        epochs=budget.rungs.max_epochs,
        slots=budget.slots,
        cpus=budget.cpus_per_trial,
        gpus=budget.gpus_per_trial,
        seed=prepared.asked.seed,
        until=begun + seconds,
    )
    child = multiprocessing.get_context("spawn").Process(target=tutorial.search, args=(settings,))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"The tutorials' search broke: {(out / tutorial.LOG).read_text()[-2000:]}")
    curves = out / tutorial.CURVES
    lines = [json.loads(line) for line in curves.read_text().splitlines()] if curves.exists() else []
    return [Report(line["time"] - begun, line["trial"], line["score"]) for line in lines]


def measure(task: str, where: Path | None, *, seconds: float, seed: int) -> dict[str, Any]:
    """Both searches, without what came after the time; UsageError for a task that ImageFolder cannot hold."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory() as scratch:
        asked = Asked(data=where, time_limit_s=seconds, seed=seed)
        prepared = prepare(task, asked, resources=plan.resources_here())
        if len(prepared.task.kind.heads) != 1 or prepared.task.metric.name != "accuracy":
            raise UsageError(f"{task} is not a task of one label and accuracy, as the tutorials have.")
        images = tutorial.class_folders(prepared.splits, Path(scratch) / "images")
        first = ours(prepared, Path(scratch) / "ours", seconds=seconds)
        second = theirs(prepared, images, Path(scratch) / "theirs", seconds=seconds)
        our, their = (
            Side([report for report in reports if report.seconds <= seconds], prepared.task.metric)
            for reports in (first, second)
        )
    reached, needed = their.best, our.time_to(their.best)
    return {
        "name": "whole_job",
        "against": "function trainable, ImageFolder, DataLoader, OptunaSearch, ASHAScheduler",
        "ratio": reached.seconds / needed if reached and needed else None,
        "task": task,
        "seconds": seconds,
        "slots": prepared.plan.budget.slots,
        "ours": our.figures(their),
        "theirs": their.figures(our),
    }


def show(figures: dict[str, Any]) -> None:
    print(f"{figures['task']}, {plan.duration(figures['seconds'])} on {figures['slots']} slots")
    print(f"{'':14}trials  epochs  best valid  s to it  s to the other's best")
    for name, side in (("ours", figures["ours"]), ("tutorials' way", figures["theirs"])):
        best = "-" if side["best"] is None else f"{side['best']:.4f}"
        to_best, to_other = (
            "never" if side[key] is None else f"{side[key]:.0f}"
            for key in ("seconds_to_best", "seconds_to_best_of_other")
        )
        print(f"{name:14}{side['trials']:6}{side['epochs']:8}{best:>12}{to_best:>9}{to_other:>23}")
    ratio = figures["ratio"]
    print("ours never reached their best" if ratio is None else f"their best score {ratio:.1f} times sooner")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="food11")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--time", default="10m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(
        arguments.task, arguments.data, seconds=plan.parse_duration(arguments.time), seed=arguments.seed
    )
    if arguments.json:
        print(json.dumps(figures))
    else:
        show(figures)


if __name__ == "__main__":
    main()
