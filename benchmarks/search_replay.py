"""Regret against budget on recorded learning curves: random search, ASHA, and ours.

python -m benchmarks.search_replay --curves DIR [--seeds N] [--workers N] [--json] [--figure FILE.png]

Each `DIR/*.npz` is a set of recorded runs: `accuracy` (per cent) and `seconds` [runs, epochs], NaN where
nothing was recorded, `params` [runs, d] and `names` [d]. The conductor, study, ASHA and guide of a real
search choose among the runs; workers are simulated: an epoch takes its recorded seconds, a decision none.

- The candidates are all runs of the set but those with a single epoch, which are censored. A run whose record
  ends early ends there.
- Budget: a share of the time in which random search has trained every run of the set to its end, taken as the
  set's recorded seconds divided by the number of workers.
- Regret: the highest validation accuracy in the set less the highest one seen so far, in points; means over
  seeds, then over sets.
- Random search stops nothing. ASHA draws at random, with eta 3 and the first rung after one epoch. Ours is
  what a search does after past searches: the other sets of DIR stand for these, the set itself is left out.
  Ours without past is a search in a bare directory, but for Optuna, which has no space to suggest from here.
"""

import argparse
import heapq
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.asha import Asha, Rungs, rungs_for
from orchestrator.conductor import REPORT_FIELDS, Conductor, Request
from orchestrator.guide import Guide
from orchestrator.journal import Event, Journal, SearchRecord
from orchestrator.past import PastSearch, PastTrial
from orchestrator.prior import Prior, learn
from orchestrator.study import Study
from trainables.config import TrialConfig
from trainables.metrics import ACCURACY

SHARES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
GRID = np.geomspace(0.002, SHARES[-1], 120)
ASKED = {"direction": ACCURACY.direction, "metric": ACCURACY.name}
COLOURS = {"random": "#7F7F7F", "ASHA": "#E69F00", "ours, no past": "#56B4E9", "ours": "#0072B2"}
"""Of Okabe and Ito's safe palette; the order of the lines."""
INK, FAINT = "#333333", "#D9D9D9"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The uncensored runs of a set."""

    name: str
    accuracy: np.ndarray
    """[n, epochs], a share of one; NaN after the last recorded epoch."""
    seconds: np.ndarray
    """[n, epochs]."""
    candidates: tuple[TrialConfig, ...]
    """[n]; a candidate's seed is its row."""

    @property
    def lengths(self) -> np.ndarray:
        lengths: np.ndarray = np.isfinite(self.accuracy).sum(1)
        return lengths

    @property
    def best(self) -> float:
        return float(np.nanmax(self.accuracy))

    @property
    def total_seconds(self) -> float:
        """Of all runs, one after another."""
        return float(np.nansum(self.seconds))


def read(path: Path) -> Recording:
    """A recorded set. Raises SystemExit where no run of it has two epochs."""
    with np.load(path) as file:
        kept = np.isfinite(file["accuracy"]).sum(1) > 1
        accuracy, seconds = file["accuracy"][kept] / 100.0, file["seconds"][kept]
        names, params = [str(name) for name in file["names"]], np.nan_to_num(file["params"][kept])
    if not len(accuracy):
        raise SystemExit(f"{path} holds no run of two epochs or more.")
    rows = [dict(zip(names, map(float, row), strict=True)) for row in params]
    epochs = accuracy.shape[1]
    return Recording(
        name=path.stem,
        accuracy=accuracy,
        seconds=seconds,
        candidates=tuple(
            TrialConfig(model="recorded", epochs=epochs, seed=i, options=row) for i, row in enumerate(rows)
        ),
    )


def as_past(recording: Recording) -> PastSearch:
    """The set as a finished search."""
    return tuple(
        PastTrial(
            params=config.params(),
            curve=tuple(np.maximum.accumulate(recording.accuracy[i, :length])),
            seconds=float(recording.seconds[i, :length].mean()),
            epochs=config.epochs,
        )
        for i, (config, length) in enumerate(zip(recording.candidates, recording.lengths, strict=True))
    )


class Unwritten(Journal):
    """A journal of the simulated clock that is not kept."""

    def __init__(self, clock: "Clock") -> None:
        self._clock = clock

    def append(self, event: str, **fields: Any) -> Event:
        return {"event": event, "at": self._clock.now, **fields}


class Clock:
    """Seconds of the simulation."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def conductor_of(
    recording: Recording, seed: int, *, rungs: Rungs, workers: int, prior: Prior | None = None
) -> Conductor:
    """The conductor of a real search, on the simulation's clock; a `prior` makes it guided."""
    clock = Clock()
    study = Study(
        _no_space, direction=ACCURACY.direction, seed=seed, defaults={}, fixed={}, context={},
        candidates=recording.candidates,
    )  # fmt: skip
    return Conductor(
        study=study,
        asha=Asha(rungs),
        metric=ACCURACY,
        journal=Unwritten(clock),
        record=SearchRecord(asked=ASKED),
        slots=workers,
        trials=None,
        deadline=GRID[-1] * recording.total_seconds / workers,
        listen=lambda event, record: None,
        clock=clock,
        guide=None if prior is None else Guide(prior, seed=seed),
    )


def _no_space(trial: Any) -> Mapping[str, Any]:
    raise AssertionError("the recorded runs are all there is")


def replay(recording: Recording, conductor: Conductor) -> list[tuple[float, float]]:
    """Run a search on the recording: the moments at which its best score improved, and the scores."""
    clock, found = conductor.clock, [(0.0, 0.0)]
    assert isinstance(clock, Clock)
    events: list[tuple[float, int, str, int, int]] = []

    def begin(worker: int) -> None:
        request: Request | None = conductor.suggest()
        if request is not None:
            run = int(request.params["seed"])
            ready = clock.now + float(recording.seconds[run, 0])
            heapq.heappush(events, (ready, worker, request.trial_id, run, 1))

    lengths = recording.lengths
    for worker in range(conductor.slots):
        begin(worker)
    while events:
        clock.now, worker, trial_id, run, epoch = heapq.heappop(events)
        if clock.now > conductor.deadline:
            break
        accuracy = float(recording.accuracy[run, epoch - 1])
        if accuracy > found[-1][1]:
            found.append((clock.now, accuracy))
        row = {**dict.fromkeys(REPORT_FIELDS, 0.0), "epoch": epoch, "valid_metric": accuracy, "device": ""}
        row["seconds"] = float(recording.seconds[run, epoch - 1])
        stop = conductor.report(trial_id, row)
        if not stop and epoch == lengths[run]:
            conductor.interrupt(trial_id, "the record ends here")
            stop = True
        if stop:
            begin(worker)
        else:
            ready = clock.now + float(recording.seconds[run, epoch])
            heapq.heappush(events, (ready, worker, trial_id, run, epoch + 1))
    return found


def regrets(recording: Recording, conductor: Conductor, shares: Sequence[float]) -> np.ndarray:
    """[shares]: regret in points when these shares of the budget are spent."""
    whole = recording.total_seconds / conductor.slots
    moments, scores = np.array(replay(recording, conductor)).T
    reached = np.searchsorted(moments, np.asarray(shares) * whole, side="right") - 1
    left: np.ndarray = 100 * (recording.best - scores[reached])
    return left


def measure(recordings: Sequence[Recording], *, seeds: int, workers: int) -> dict[str, np.ndarray]:
    """Method to regret [sets, seeds, SHARES then GRID]; sets are spread over the cores."""
    measure_set = partial(_measure_set, recordings, seeds=seeds, workers=workers)
    cores = min(len(recordings), len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        sets = list(pool.map(measure_set, range(len(recordings))))
    return {method: np.array([found[method] for found in sets]) for method in COLOURS}


def _measure_set(
    recordings: Sequence[Recording], which: int, *, seeds: int, workers: int
) -> dict[str, np.ndarray]:
    recording, epochs = recordings[which], recordings[which].accuracy.shape[1]
    prior = learn([as_past(other) for other in recordings if other is not recording], seed=0)
    make = partial(conductor_of, recording, workers=workers)
    whole = Rungs(grace_period=epochs, reduction_factor=3, max_epochs=epochs)
    early = Rungs(grace_period=1, reduction_factor=3, max_epochs=epochs)
    methods: dict[str, Callable[[int], Conductor]] = {
        "random": partial(make, rungs=whole),
        "ASHA": partial(make, rungs=early),
        "ours, no past": partial(make, rungs=rungs_for(epochs, timed=True)),
        "ours": partial(make, rungs=rungs_for(epochs, timed=True), prior=prior),
    }
    shares = (*SHARES, *GRID)
    return {
        method: np.array([regrets(recording, conductor(seed), shares) for seed in range(seeds)])
        for method, conductor in methods.items()
    }


def draw(found: Mapping[str, np.ndarray], path: Path, *, title: str) -> None:
    """Mean regret against budget as a PNG, on two logarithmic axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    for method, colour in COLOURS.items():
        mean = found[method][:, :, len(SHARES) :].mean((0, 1))
        axes.plot(100 * GRID, mean, color=colour, lw=2.4 if method == "ours" else 1.8)
        axes.annotate(
            f"{method} {mean[-1]:.1f}", (100 * GRID[-1], mean[-1]), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=9.5, color=colour,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(100 * GRID[0], 100 * GRID[-1]))
    ticks = [100 * share for share in SHARES]
    axes.set_xticks([0.2, 0.5, *ticks], [f"{tick:g} %" for tick in (0.2, 0.5, *ticks)])
    axes.set_yticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
    axes.set_ylim(bottom=0.3)
    axes.minorticks_off()
    axes.set_xlabel("time, as a share of what random search takes for all runs", color=INK)
    axes.set_ylabel("regret in points of accuracy", color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=FAINT, linewidth=0.6)
    figure.savefig(path, dpi=130)


def table(found: Mapping[str, np.ndarray], recordings: Sequence[Recording]) -> str:
    """Mean regrets, then each set at 5 % of the budget beside ASHA's at 10 %."""
    lines = ["regret in points after      " + "".join(f"{share:>8.0%}" for share in SHARES)]
    for method, regret in found.items():
        mean = regret[:, :, : len(SHARES)].mean((0, 1))
        lines.append(f"  {method:<26}" + "".join(f"{value:8.2f}" for value in mean))
    ours, asha = found["ours"].mean(1), found["ASHA"].mean(1)
    three, five, ten = SHARES.index(0.03), SHARES.index(0.05), SHARES.index(0.1)
    lines.append("set             ours at 3 %  ours at 5 %  ASHA at 5 %  ASHA at 10 %")
    for recording, our, their in zip(recordings, ours, asha, strict=True):
        lines.append(
            f"  {recording.name:<14}{our[three]:11.2f}{our[five]:13.2f}{their[five]:13.2f}{their[ten]:14.2f}"
        )
    wins = int((ours[:, five] <= asha[:, ten]).sum())
    lines.append(f"ours at 5 % is no worse than ASHA at 10 % on {wins} of {len(recordings)} sets")
    return "\n".join(lines)


def summary(found: Mapping[str, np.ndarray], *, seeds: int, workers: int) -> dict[str, Any]:
    """The line of --json; `ratio` is ASHA's regret at 10 % over ours at 5 %."""
    means = {m: [round(float(x), 3) for x in r[:, :, : len(SHARES)].mean((0, 1))] for m, r in found.items()}
    ours, theirs = means["ours"][SHARES.index(0.05)], means["ASHA"][SHARES.index(0.1)]
    return {
        "name": "search_replay",
        "against": "ASHA (eta 3, first rung 1), at 10 % of random search's budget",
        "ratio": theirs / ours if ours else math.inf,
        "regret": ours,
        "against_regret": theirs,
        "regrets": means,
        "shares": SHARES,
        "sets": len(found["ours"]),
        "seeds": seeds,
        "workers": workers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--curves", type=Path, required=True, help="folder of recorded sets, *.npz")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="one line instead of the table")
    parser.add_argument("--figure", type=Path, help="draw the curves into this PNG")
    asked = parser.parse_args()
    recordings = [read(path) for path in sorted(asked.curves.glob("*.npz"))]
    if len(recordings) < 2:
        raise SystemExit(f"{asked.curves} holds {len(recordings)} sets (*.npz); at least two are needed.")
    found = measure(recordings, seeds=asked.seeds, workers=asked.workers)
    print(
        json.dumps(summary(found, seeds=asked.seeds, workers=asked.workers))
        if asked.json
        else table(found, recordings)
    )
    if asked.figure:
        title = f"{len(recordings)} recorded searches, {asked.workers} workers, {asked.seeds} seeds"
        draw(found, asked.figure, title=title)


if __name__ == "__main__":
    main()
