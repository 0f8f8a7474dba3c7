"""Seconds from a free slot to a trial's first training step: ours, and Ray Tune's function trainable.

python -m benchmarks.trial_overhead [--trials N] [--json]

Ours is a real search of `digits`, read from its journal. The peer's trials import the same stack (torch,
timm, kornia) and train nothing. Both run in one call, on the same slots, the first trial of a slot left out.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator import journal, plan
from orchestrator.prepare import Asked
from orchestrator.search import search

EPOCHS = 2


def waits(ends: Sequence[float], readies: Sequence[float], slots: int) -> list[float]:
    """Seconds between a slot's becoming free and the next trial's being ready.

    `ends` and `readies` are moments on one clock; the first trial of each slot waits for nothing.
    """
    later = sorted(readies)[slots:]
    return [ready - end for end, ready in zip(sorted(ends), later, strict=False)]


def ours(trials: int, folder: Path) -> list[float]:
    """Waits of a real search, from its journal: an epoch's row tells when it began."""
    asked = Asked(data=folder / "digits", out=folder / "runs", trials=trials, max_epochs=EPOCHS)
    result = search("digits", asked)
    events, _ = journal.tail(result.folder.journal)
    ends = [event["at"] for event in events if event["event"] == "end"]
    readies = [
        event["at"] - event["seconds"]
        for event in events
        if event["event"] == "report" and event["epoch"] == 1
    ]
    return waits(ends, readies, result.record.asked["slots"])


def imports_only(config: dict[str, Any]) -> None:
    """The peer's trial: it imports the stack and reports when it could have begun."""
    import kornia  # noqa: F401
    import timm  # noqa: F401
    import torch  # noqa: F401
    from ray import tune

    tune.report({"ready": time.time(), "end": time.time()})


def theirs(trials: int, folder: Path, slots: int) -> list[float]:
    """Waits of Tune's function trainable."""
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    import ray
    from ray import tune

    ray.init(num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tuner = tune.Tuner(
        imports_only,
        tune_config=tune.TuneConfig(num_samples=trials),
        run_config=tune.RunConfig(storage_path=str(folder / "peer"), verbose=0),
    )
    metrics = [result.metrics or {} for result in tuner.fit()]
    ray.shutdown()
    return waits([m["end"] for m in metrics], [m["ready"] for m in metrics], slots)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    slots = int(plan.resources_here()["CPU"])
    with tempfile.TemporaryDirectory() as scratch:
        our = statistics.median(ours(arguments.trials, Path(scratch)))
        their = statistics.median(theirs(arguments.trials, Path(scratch), slots))
    figures = {
        "name": "trial_overhead",
        "against": "Tune function trainable",
        "ratio": their / our,
        "seconds": our,
        "against_seconds": their,
        "trials": arguments.trials,
        "slots": slots,
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(
            f"median seconds from a free slot to the first step, {arguments.trials} trials on {slots} slots"
        )
        print(f"  ours                     {our:7.3f}")
        print(f"  Tune function trainable  {their:7.3f}   {their / our:.1f} times ours")


if __name__ == "__main__":
    main()
