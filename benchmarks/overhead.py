"""What journal, checkpoints and tracker cost a trial whose epochs take one second each.

python -m benchmarks.overhead [--epochs N] [--model NAME ...] [--out DIR] [--json]

Each part is the real one. A report goes through the conductor, which flushes it to the journal while the
trial waits. A checkpoint is that of a training with its optimizer: the trial waits while its state is copied,
the rest is written beside it. Rows reach MLflow on SQLite by the tracker's own process. Shares are of a
second: what the trial waits by the clock, how much of that is work and not the disk or other processes, and
what is worked beside it in CPU time, which counts only where no core is free. With checkpoints and without
are trained in turns too, the same updates, by the clock.
"""

import argparse
import contextlib
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.scale import row_of
from orchestrator import folders
from orchestrator.asha import Asha, rungs_for
from orchestrator.conductor import Conductor
from orchestrator.journal import Journal, SearchRecord
from orchestrator.study import Study
from orchestrator.tracker import POLL_S, Progress, Tracker
from trainables.config import trial_config
from trainables.named import load_named
from trainables.task import load_task

if TYPE_CHECKING:
    from trainables.train import Best, EpochReport, Kept

EPOCH_S = 1.0
BOUND = 0.02
"""Share of the time that all of it may cost."""
TRIALS = 4
"""How many report at once to the tracker."""
ROUNDS = 2
LONGEST_S = 300.0
CONVNET = {"model": "convnet", "image_size": 8, "width": 32, "depth": 3, "batch_size": 64}
NETWORKS: dict[str, dict[str, Any]] = {
    "convnet": CONVNET,
    "resnet18": {"model": "resnet18", "image_size": 64, "batch_size": 32, "pretrained": False},
}


@contextlib.contextmanager
def conducted(out: Path, *, trials: int, epochs: int) -> Iterator[tuple[folders.SearchFolder, Conductor]]:
    """The folder and the conductor of a search of the digits that stops no trial before its last epoch."""
    folder, task = folders.create(out, "digits"), load_task("digits")
    asked = {"task": "digits", "metric": "accuracy", "direction": "maximize", "search_id": folder.search_id}
    folder.asked.write_text(json.dumps(asked))
    with contextlib.closing(Journal(folder.journal)) as book:
        study = Study(
            load_named("search_spaces", "digits", "space", "search space"),
            direction=task.metric.direction,
            seed=0,
            defaults=task.defaults,
            fixed={"epochs": epochs},
            context={"device": "cpu", "pixels": 8},
        )
        yield (
            folder,
            Conductor(
                study=study,
                asha=Asha(rungs_for(epochs, timed=False)),
                metric=task.metric,
                journal=book,
                record=SearchRecord(asked=book.append("search", **asked)),
                slots=trials,
                trials=trials,
                deadline=math.inf,
                listen=lambda *_: None,
            ),
        )


def begun(conductor: Conductor) -> list[str]:
    """Ids of as many trials as there are slots."""
    found = []
    while (request := conductor.suggest()) is not None:
        found.append(request.trial_id)
    return found


def report_seconds(out: Path, epochs: int) -> tuple[list[float], list[float]]:
    """Of each epoch's report, by the clock and of the CPU; scores rise, so that every rung is passed."""
    waits, works = [], []
    with conducted(out, trials=1, epochs=epochs + 1) as (_, conductor):
        [trial_id] = begun(conductor)
        for epoch in range(1, epochs + 1):
            start, cpu = time.perf_counter(), time.thread_time()
            conductor.report(trial_id, row_of(epoch, epoch / (epochs + 1)))
            works.append(time.thread_time() - cpu)
            waits.append(time.perf_counter() - start)
    return waits, works


def tracker_seconds(out: Path, epochs: int) -> float:
    """CPU seconds of the tracker a report, of `TRIALS` that report once a second; its start left out."""
    with conducted(out, trials=TRIALS, epochs=epochs + 2) as (folder, conductor):
        trials = begun(conductor)
        for trial_id in trials:
            conductor.report(trial_id, row_of(1, 0.1))
        tracker = Tracker(folder, f"sqlite:///{out / 'mlflow.db'}")
        tracker.start()
        wait_for(folder)
        process = tracker_process()
        before = cpu_of(process)
        for epoch in range(2, epochs + 2):
            for trial_id in trials:
                conductor.report(trial_id, row_of(epoch, epoch / 1000))
            time.sleep(EPOCH_S)
        wait_for(folder)
        spent = cpu_of(process) - before
        if missing := tracker.close(LONGEST_S):
            raise RuntimeError(missing)
    return spent / (epochs * TRIALS)


def wait_for(folder: folders.SearchFolder) -> None:
    """Until MLflow has the rows of all trials; the tracker looks once a second."""
    time.sleep(2 * POLL_S)
    while Progress.load(folder).written < TRIALS:
        time.sleep(POLL_S)


def tracker_process() -> psutil.Process:
    """The child that writes into MLflow."""
    found = [p for p in psutil.Process().children() if "orchestrator.tracker" in p.cmdline()]
    return found[0]


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


class Trained:
    """A network in training, whose epochs of about a second are the same updates again and again."""

    def __init__(self, name: str) -> None:
        import torch

        from trainables.execution import PLAIN
        from trainables.kinds.classification import Classification
        from trainables.mixing import Targets
        from trainables.objective import Objective
        from trainables.task import Head
        from trainables.training import Training

        torch.set_num_threads(1)
        config = trial_config({**NETWORKS[name], "epochs": 1000, "optimizer": "adamw"})
        kind = Classification(heads=(Head(name="label", classes=tuple("abcdefghij")),))
        size = config.image_size
        labels = torch.randint(0, 10, (config.batch_size, 1))
        self._batch = torch.randn(config.batch_size, 3, size, size), Targets(first=labels)
        self.learner: Training = Training(config, num_outputs=10, num_rows=1000, executed=PLAIN)
        self.learner.begin(Objective(kind, config, labels), lambda: self._batch)
        self.epochs: list[EpochReport] = []
        self.best: Best | None = None
        self._updates = 1
        self.epoch()
        start = time.perf_counter()
        self.epoch()
        self._updates = max(1, round(EPOCH_S / (time.perf_counter() - start)))

    def epoch(self) -> float:
        """Seconds of an epoch, by the clock."""
        from trainables.train import Best, EpochReport, _kept

        start = time.perf_counter()
        for _ in range(self._updates):
            self.learner.step(*self._batch)
        row = {name: value for name, value in row_of(len(self.epochs) + 1, 0.5).items() if name != "device"}
        self.epochs.append(EpochReport(**row))
        weights = {} if self.best is None else self.best.weights
        if self.best is None:
            weights = _kept(self.learner.evaluated, {})
            self.best = Best(report=self.epochs[0], weights=weights, answers=None)
        return time.perf_counter() - start


def checkpoint_seconds(out: Path, trained: Trained, epochs: int) -> dict[str, float]:
    """Medians: seconds that the training waits for a checkpoint, CPU seconds then and beside it; its MB."""
    from trainables.checkpoints import Checkpoints
    from trainables.train import Kept

    kept = Kept(Checkpoints(out), None)
    waits, works, beside = [], [], []
    for _ in range(epochs + 1):
        start, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
        save(kept, trained)
        waits.append(time.perf_counter() - start)
        works.append(time.thread_time() - own)
        kept.checkpoints.settle()
        beside.append(time.process_time() - cpu - works[-1])
    size = max(path.stat().st_size for path in out.iterdir())
    return {
        "waits": statistics.median(waits[1:]),
        "works": statistics.median(works[1:]),
        "beside": statistics.median(beside[1:]),
        "mb": size / 2**20,
    }


def save(kept: "Kept", trained: Trained) -> None:
    assert trained.best is not None
    kept.checkpoints.settle()
    kept.save(trained.learner, trained.epochs, trained.best)


def in_turns(out: Path, trained: Trained, epochs: int) -> float:
    """An epoch with a checkpoint, by the clock, relative to one without; medians, in turns of `epochs`."""
    from trainables.checkpoints import Checkpoints
    from trainables.train import Kept

    kept = Kept(Checkpoints(out), None)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for saved in (False, True):
            for _ in range(epochs):
                start = time.perf_counter()
                trained.epoch()
                if saved:
                    save(kept, trained)
                times[saved].append(time.perf_counter() - start)
            kept.checkpoints.settle()
    return statistics.median(times[True]) / statistics.median(times[False])


def measure(out: Path, models: Sequence[str], epochs: int, turns: int) -> dict[str, Any]:
    """All parts, in seconds of an epoch of one."""
    reports, works = report_seconds(out / "reports", 20 * epochs)
    figures: dict[str, Any] = {
        "report": statistics.median(reports),
        "report_works": statistics.median(works),
        "report_90th": statistics.quantiles(reports, n=10)[-1],
        "tracker": tracker_seconds(out / "tracked", epochs),
        "networks": {},
    }
    for name in models:
        trained = Trained(name)
        found = checkpoint_seconds(out / f"{name}-alone", trained, epochs)
        found["ratio"] = in_turns(out / f"{name}-turns", trained, turns) if turns else math.nan
        found["waits_in_all"] = found["waits"] + figures["report"]
        found["in_all"] = found["waits_in_all"] + found["beside"] + figures["tracker"]
        figures["networks"][name] = found
    return figures


def show(figures: dict[str, Any]) -> None:
    line = "  {:24}{:7.2%}      {:7.2%}      {:7.2%}"
    print(f"share of an epoch of {EPOCH_S:g} s\n{'':26}  waits   works then       beside")
    print(line.format("a report, journalled", figures["report"], figures["report_works"], 0.0), end="")
    print(f"   (90th percentile of the wait {figures['report_90th']:.2%})")
    print(line.format("its row in MLflow", 0.0, 0.0, figures["tracker"]))
    for name, found in figures["networks"].items():
        print(f"{name}, a checkpoint of {found['mb']:.1f} MB after every epoch")
        print(line.format("the checkpoint", found["waits"], found["works"], found["beside"]))
        verdict = "within" if found["in_all"] <= BOUND else "over"
        print(
            f"  waits in all {found['waits_in_all']:.2%}, with what is beside {found['in_all']:.2%}", end=""
        )
        print(f": {verdict} {BOUND:.0%}")
        print(f"  an epoch with checkpoints takes {found['ratio']:.3f} times one without, by the clock")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15, help="How often each part is measured.")
    parser.add_argument("--turns", type=int, default=5, help="Epochs trained in a turn, of four; 0 for none.")
    parser.add_argument("--model", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--out", type=Path, help="On the disk of this folder; the temporary one otherwise.")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out) as scratch:
        figures = measure(Path(scratch), arguments.model, arguments.epochs, arguments.turns)
    worst = max(found["in_all"] for found in figures["networks"].values())
    figures |= {"name": "overhead", "against": f"{BOUND:.0%} of an epoch", "ratio": BOUND / worst}
    if arguments.json:
        print(json.dumps(figures))
        return
    show(figures)


if __name__ == "__main__":
    main()
