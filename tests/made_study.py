"""Records of searches made of numbers alone, for what asks them what they teach."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from orchestrator.asha import Asha, Rungs
from orchestrator.journal import SearchRecord

Curve = Callable[[Mapping[str, Any], np.random.Generator], np.ndarray]


def made_record(direction: str = "maximize", **asked: Any) -> SearchRecord:
    """A search that has just begun."""
    said = {"direction": direction, "metric": "accuracy", "slots": 2, "cpus_per_trial": 1, **asked}
    return SearchRecord(asked={"event": "search", "at": 0.0, **said})


def add_trial(
    record: SearchRecord,
    params: Mapping[str, Any],
    values: np.ndarray,
    *,
    state: str = "COMPLETE",
    stopped_at: int | None = None,
    of: str = "",
) -> str:
    """A trial that reported the values, one an epoch of a second, and ended one second later."""
    number = len(record.trials)
    name, begun = f"{number:04d}", 10.0 * number
    told = {"trial_id": name, "number": number, "params": dict(params), "of": of}
    record.apply({"event": "trial", "at": begun, **told})
    best = max if record.direction == "maximize" else min
    for epoch, value in enumerate(values, start=1):
        so_far = best(float(v) for v in values[:epoch])
        row = {"epoch": epoch, "train_loss": 1 / epoch, "train_metric": float(value), "seconds": 1.0}
        row |= {"valid_loss": 1.2 / epoch, "valid_metric": float(value), "images_per_second": 100.0}
        at = begun + epoch
        kept = {"value": so_far, "best_epoch": 1 + [float(v) for v in values[:epoch]].index(so_far)}
        record.apply({"event": "report", "at": at, "trial_id": name, **row, "best": kept})
    if stopped_at is not None:
        record.apply({"event": "rung", "trial_id": name, "epoch": stopped_at, "stop": True})
    end = {"event": "end", "at": begun + len(values) + 1, "trial_id": name, "state": state, "reason": ""}
    record.apply(end)
    return name


def made_study(
    curve: Curve,
    draw: Callable[[np.random.Generator], dict[str, Any]],
    *,
    trials: int,
    seed: int,
    rungs: Rungs,
) -> tuple[SearchRecord, dict[str, float]]:
    """A search stopped by ASHA, and what each of its trials would have reached."""
    random, asha, record = np.random.default_rng(seed), Asha(rungs), made_record()
    truth = {}
    for _ in range(trials):
        params = {**draw(random), "epochs": rungs.max_epochs}
        values = curve(params, random)
        best = np.maximum.accumulate(values)
        stop = None
        for epoch in rungs.epochs:
            verdict = asha.report(epoch, float(best[epoch - 1]))
            assert verdict is not None
            at = {"event": "rung", "trial_id": f"{len(record.trials):04d}", "epoch": epoch, "stop": False}
            if verdict.stop:
                stop = epoch
                break
            record.rungs.append(at)
        ran = values if stop is None else values[:stop]
        state = "COMPLETE" if stop is None else "PRUNED"
        name = add_trial(record, params, ran, state=state, stopped_at=stop)
        truth[name] = float(best[-1])
    return record, truth
