"""What one epoch's report costs the trial that makes it: ours, and Ray Tune's with its MLflow callback.

python -m benchmarks.report_overhead [--reports N] [--json]

Trials on every core sleep one second an epoch and report the same eight numbers. What counts is how long a
trial waits until it may go on: on both sides the whole way through Tune, with what is done of each report
there. Ours journals it to the disk, redraws the display and has the tracker write it into MLflow's SQLite
meanwhile; the peer's is `tune.report` with `MLflowLoggerCallback` on SQLite.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.reporting import EPOCH_S, WAITS, SleepingActor, made_up_search, row
from orchestrator import connect, plan, tune
from orchestrator.conductor import Conductor
from orchestrator.live import LiveDisplay
from orchestrator.tracker import Tracker

ROUNDS = 2


class TimedConductor(Conductor):
    """Keeps how long each report took: journal, record, display, study, ASHA."""

    def report(self, trial_id: str, row: Mapping[str, Any]) -> bool:
        begun = time.perf_counter()
        stop = super().report(trial_id, row)
        self.__dict__.setdefault("seconds", []).append(time.perf_counter() - begun)
        return stop


def ours(out: Path, *, slots: int, reports: int) -> tuple[list[float], list[float]]:
    """Seconds that trials waited for each report, and of these the seconds in the conductor.

    Raises RuntimeError when the tracker did not keep up: then it would not have been part of the run.
    """
    with contextlib.ExitStack() as stack:
        made = made_up_search(out, slots=slots, trials=slots, epochs=reports, first_rung=reports)
        folder, record, make = stack.enter_context(made)
        tracker = Tracker(folder)
        tracker.start()
        terminal = Console(file=stack.enter_context(open(os.devnull, "w")), force_terminal=True, width=120)
        display = stack.enter_context(LiveDisplay(record, link=None, console=terminal))
        conductor = make(display.event, TimedConductor)
        workplace = tune.Workplace(
            task="digits", store=folder.path, folder=folder, threads=1, deadline=float("inf")
        )
        tune.run(conductor, workplace, cpus=1, gpus=0, actor=SleepingActor)
        conductor.note("finish", reason="done")
        missing = tracker.close()
    if missing:
        raise RuntimeError(missing)
    waits = [json.loads(path.read_text()) for path in sorted((folder.path / "trials").glob(f"*/{WAITS}"))]
    return [wait for each in waits for wait in each[1:]], conductor.__dict__["seconds"]


def report_and_time(config: dict[str, Any]) -> None:
    """The peer's trial."""
    from ray import tune

    waits = []
    for epoch in range(1, config["reports"] + 1):
        time.sleep(EPOCH_S)
        begun = time.perf_counter()
        tune.report(row(epoch, config["seed"]))
        waits.append(time.perf_counter() - begun)
    Path(config["file"].format(config["seed"])).write_text(json.dumps(waits))


def theirs(out: Path, *, slots: int, reports: int) -> list[float]:
    """Seconds that trials waited for each report of Tune with Ray's MLflow callback."""
    os.environ["MLFLOW_LOGGING_LEVEL"] = "ERROR"
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    out.mkdir()
    callback = MLflowLoggerCallback(tracking_uri=f"sqlite:///{out / 'peer.db'}", experiment_name="peer")
    tuner = tune.Tuner(
        report_and_time,
        param_space={
            "seed": tune.grid_search(list(range(slots))),
            "reports": reports,
            "file": str(out / "{}.json"),
        },
        run_config=tune.RunConfig(storage_path=str(out), callbacks=[callback], verbose=0),
    )
    tuner.fit()
    waits = [json.loads((out / f"{seed}.json").read_text()) for seed in range(slots)]
    return [wait for each in waits for wait in each[1:]]


def measure(reports: int) -> dict[str, Any]:
    """Both sides in turns, in one Ray; medians. The first report of a trial is left out on both."""
    slots = int(plan.resources_here()["CPU"])
    our: list[float] = []
    inside: list[float] = []
    their: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, connect.cluster(address=None, cpus=slots, gpus=0):
        for turn in range(ROUNDS):
            waits, conducted = ours(Path(scratch) / f"ours{turn}", slots=slots, reports=reports)
            our += waits
            inside += conducted
            their += theirs(Path(scratch) / f"theirs{turn}", slots=slots, reports=reports)
    ours_s, theirs_s = statistics.median(our), statistics.median(their)
    return {
        "name": "report_overhead",
        "against": "Tune's report with Ray's MLflow callback on SQLite",
        "ratio": theirs_s / ours_s,
        "seconds": ours_s,
        "seconds_in_conductor": statistics.median(inside),
        "against_seconds": theirs_s,
        "share": ours_s / EPOCH_S,
        "share_90th": statistics.quantiles(our, n=10)[-1] / EPOCH_S,
        "against_share": theirs_s / EPOCH_S,
        "reports": len(our),
        "slots": slots,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=12, help="Epochs of each trial.")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.reports)
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"median wait of a trial for one report, {figures['reports']} reports on {figures['slots']} slots")
    print(f"  ours                   {1e3 * figures['seconds']:7.2f} ms", end="")
    print(f"   of which conductor {1e3 * figures['seconds_in_conductor']:.2f} ms")
    print(f"  Tune, MLflow callback  {1e3 * figures['against_seconds']:7.2f} ms   ", end="")
    print(f"{figures['ratio']:.0f} times ours")
    print(f"share of an epoch of {EPOCH_S:g} s: ours {figures['share']:.2%} ", end="")
    print(f"(90th percentile {figures['share_90th']:.2%}), theirs {figures['against_share']:.1%}")


if __name__ == "__main__":
    main()
