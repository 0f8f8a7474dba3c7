"""The driver at scale: thousands of simulated trials on a thousand slots, as fast as the driver takes them.

python -m benchmarks.scale [--trials N] [--slots N] [--out DIR] [--tune-trials N] [--json]

The trials are made-up learning curves; study, ASHA, conductor, journal and live table are the real ones. A
line a tenth of the trials, in the order in which they began: the CPU time of the thread that decides, a
report, a suggestion (Optuna's part of a trial) and a trial in all, median and 99th percentile; by the clock,
how long an event is flushed to the disk, which each is before anything else happens; the process' memory
and the journal's size. Then how long it takes to read the journal and to resume from it. The first
suggestions of all slots are random, for nothing has ended: the last are compared with those after them.
`--tune-trials` has some trials through Ray Tune as well, whose controller keeps more of each trial.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
from rich.console import Console

from orchestrator import journal
from orchestrator.asha import Asha, rungs_for
from orchestrator.conductor import Conductor, Request
from orchestrator.journal import Journal, SearchRecord
from orchestrator.live import LiveDisplay
from orchestrator.study import Study
from trainables.named import load_named
from trainables.task import load_task

EPOCHS = 50
"""Of a trial that nothing stops; ASHA compares after 2, 6 and 18."""
ROWS = 10
Kind = TypeVar("Kind", bound=Conductor)
TUNE_EPOCHS, TUNE_STEP = 10, 100
FIGURES = ("report", "suggest", "trial", "flush")


@dataclass(kw_only=True)
class Tenth:
    """Seconds of each call, of the trials that began together; memory and journal when the last began, MB."""

    report: list[float] = field(default_factory=list)
    suggest: list[float] = field(default_factory=list)
    trial: list[float] = field(default_factory=list)
    flush: list[float] = field(default_factory=list)
    mb: float = 0.0
    journal_mb: float = 0.0


@dataclass(kw_only=True)
class Watched(Conductor):
    """Times every suggestion and report, in steps of `step` trials."""

    step: int
    tenths: list[Tenth] = field(default_factory=list)
    flushes: list[float]
    """Seconds of flushes that no tenth has yet; see `timed_flushes`."""
    _spent: dict[str, float] = field(default_factory=dict)
    """CPU seconds on each trial that runs."""

    def suggest(self) -> Request | None:
        begun = time.thread_time()
        request = super().suggest()
        if request is not None:
            spent = self._spent[request.trial_id] = time.thread_time() - begun
            tenth = self._tenth(request.trial_id)
            tenth.suggest.append(spent)
            tenth.mb = psutil.Process().memory_info().rss / 2**20
            tenth.journal_mb = self.journal.path.stat().st_size / 2**20
        return request

    def report(self, trial_id: str, row: Mapping[str, Any]) -> bool:
        begun = time.thread_time()
        stop = super().report(trial_id, row)
        spent = time.thread_time() - begun
        tenth = self._tenth(trial_id)
        tenth.report.append(spent)
        self._spent[trial_id] += spent
        if stop:
            tenth.trial.append(self._spent.pop(trial_id))
        return stop

    def _tenth(self, trial_id: str) -> Tenth:
        place = int(trial_id) // self.step
        if place == len(self.tenths):
            self.tenths.append(Tenth())
        tenth = self.tenths[place]
        tenth.flush += self.flushes
        self.flushes.clear()
        return tenth

    def table(self) -> list[dict[str, float]]:
        """A row a tenth: medians and 99th percentiles in ms."""
        table: list[dict[str, float]] = []
        for place, tenth in enumerate(self.tenths, start=1):
            row = {"trials": float(min(place * self.step, len(self.record.trials)))}
            for name in FIGURES:
                seconds = sorted(getattr(tenth, name))
                row[f"{name}_ms"] = 1e3 * statistics.median(seconds)
                row[f"{name}_99_ms"] = 1e3 * seconds[int(0.99 * (len(seconds) - 1))]
            table.append(row | {"mb": tenth.mb, "journal_mb": tenth.journal_mb})
        return table


@contextlib.contextmanager
def timed_flushes() -> Iterator[list[float]]:
    """Yields the list that takes the seconds of each `os.fdatasync`."""
    flushed = os.fdatasync
    seconds: list[float] = []

    def timed(fd: Any) -> None:
        begun = time.perf_counter()
        flushed(fd)
        seconds.append(time.perf_counter() - begun)

    os.fdatasync = timed
    try:
        yield seconds
    finally:
        os.fdatasync = flushed


def learning_curve(params: Mapping[str, Any]) -> list[float]:
    """Made-up accuracies of all epochs: a learning rate near 0.01 and wide networks do best, within luck."""
    luck = (int(params["seed"]) * 7919 % 1009) / 1009
    skill = 0.9 - 0.1 * abs(math.log10(float(params["lr"])) + 2) + int(params["width"]) / 1000 + luck / 20
    pace = 0.6 + 0.3 * luck
    return [skill * (1 - pace**epoch) for epoch in range(1, EPOCHS + 1)]


def row_of(epoch: int, value: float) -> dict[str, Any]:
    """What a trial says of an epoch."""
    losses = {"train_loss": 2.3 * (1 - value), "valid_loss": 2.4 * (1 - value)}
    measured = {"train_metric": value, "valid_metric": value, "lr": 0.01 / epoch}
    speed = {"seconds": 1.0, "images_per_second": 1000.0 + epoch}
    return {"epoch": epoch, **losses, **measured, **speed, "device": "cpu"}


def drive(conductor: Conductor) -> None:
    """Every slot reports an epoch in turn; a free one gets the next trial at once."""
    running: dict[str, list[float]] = {}

    def fill() -> None:
        while (request := conductor.suggest()) is not None:
            running[request.trial_id] = learning_curve(request.params)

    fill()
    epochs = dict.fromkeys(running, 0)
    while running:
        for trial_id in list(running):
            epoch = epochs[trial_id] = epochs.get(trial_id, 0) + 1
            if conductor.report(trial_id, row_of(epoch, running[trial_id][epoch - 1])):
                del running[trial_id], epochs[trial_id]
                fill()


def conductor_of(kind: type[Kind], book: Journal, record: SearchRecord, **options: Any) -> Kind:
    """A conductor of the digits, whose space has fifteen parameters, one of them conditional."""
    task = load_task("digits")
    study = Study(
        load_named("search_spaces", "digits", "space", "search space"),
        direction=task.metric.direction,
        seed=0,
        defaults=task.defaults,
        fixed={"epochs": EPOCHS},
        context={"device": "cpu", "pixels": 8},
    )
    return kind(
        study=study,
        asha=Asha(rungs_for(EPOCHS, timed=False)),
        metric=task.metric,
        journal=book,
        record=record,
        deadline=math.inf,
        **options,
    )


def simulated(out: Path, trials: int, slots: int) -> dict[str, Any]:
    """The table of a search of so many trials, the size of its journal, and how long it takes to go on.

    Raises RuntimeError when what the journal tells is not what the search knew.
    """
    path = out / "journal.jsonl"
    told = {"task": "digits", "metric": "accuracy", "direction": "maximize", "search_id": "simulated"}
    with contextlib.ExitStack() as stack:
        nobody, flushes = stack.enter_context(open(os.devnull, "w")), stack.enter_context(timed_flushes())
        book = stack.enter_context(contextlib.closing(Journal(path)))
        record = SearchRecord(asked=book.append("search", **told, trials=trials, max_epochs=EPOCHS))
        terminal = Console(file=nobody, force_terminal=True, width=120)
        display = stack.enter_context(LiveDisplay(record, link=None, console=terminal))
        watch = {"listen": display.event, "step": max(trials // ROWS, 1), "flushes": flushes}
        conductor = conductor_of(Watched, book, record, trials=trials, slots=slots, **watch)
        begun, cpu = time.perf_counter(), time.process_time()
        drive(conductor)
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
    tenths = conductor.tenths
    figures = {
        "trials": trials,
        "slots": slots,
        "reports": sum(len(tenth.report) for tenth in tenths),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "flush_seconds": sum(sum(tenth.flush) for tenth in tenths),
        "bytes": path.stat().st_size,
        "table": conductor.table(),
    }
    return figures | going_on(path, record)


def going_on(path: Path, known: SearchRecord) -> dict[str, float]:
    """CPU seconds to read a journal, and to bring a new conductor to its end."""
    begun = time.thread_time()
    read = journal.read(path)
    read_s = time.thread_time() - begun
    if read != known:
        raise RuntimeError("The journal does not tell what the search knew.")
    with contextlib.closing(Journal(path)) as book:
        events, _ = journal.tail(path)
        record = SearchRecord(asked=events[0])
        again = conductor_of(Conductor, book, record, trials=0, slots=1, listen=lambda *_: None)
        begun = time.thread_time()
        strange = again.resume(events[1:])
        resume_s = time.thread_time() - begun
    if strange or record != known:
        raise RuntimeError(f"The search resumed is another one; not suggested again: {strange}")
    return {"events": float(len(events)), "read_seconds": read_s, "resume_seconds": resume_s}


def through_tune(out: Path, trials: int) -> list[dict[str, float]]:
    """The table of trials through Ray Tune, in actors that do nothing."""
    from benchmarks.reporting import InstantActor, made_up_search
    from orchestrator import connect, plan, tune

    slots = int(plan.resources_here()["CPU"])

    def watched(**options: Any) -> Watched:
        return Watched(**options, step=TUNE_STEP, flushes=flushes)

    made = made_up_search(out, slots=slots, trials=trials, epochs=TUNE_EPOCHS, first_rung=TUNE_EPOCHS)
    cluster = connect.cluster(address=None, cpus=slots, gpus=0)
    with cluster, made as (folder, _, make), timed_flushes() as flushes:
        conductor: Watched = make(lambda *_: None, watched)
        workplace = tune.Workplace(
            task="digits", store=folder.path, folder=folder, threads=1, deadline=math.inf
        )
        tune.run(conductor, workplace, cpus=1, gpus=0, actor=InstantActor)
        return conductor.table()


@contextlib.contextmanager
def _place(out: Path | None) -> Iterator[Path]:
    """An empty folder, in `out` where it is given."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        yield Path(scratch)


def run_alone(function: Callable[..., Any], out: Path | None, *counts: int) -> Any:
    """In a process of its own, so that memory counts from nothing."""
    import multiprocessing

    with _place(out) as scratch, multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (scratch, *counts))


def growth(figures: Mapping[str, Any]) -> dict[str, float]:
    """How many times the first tenth's medians the last's are; of suggestions, those of the first tenth that
    began when every slot had had a trial."""
    table = figures["table"]
    thought_up = next((row for row in table if row["trials"] > figures["slots"]), table[-1])
    return {
        "report": table[-1]["report_ms"] / table[0]["report_ms"],
        "suggest": table[-1]["suggest_ms"] / thought_up["suggest_ms"],
    }


def show(title: str, table: Sequence[Mapping[str, float]]) -> None:
    print(f"{title}; ms, median and 99th percentile: of the CPU, and of the clock for flushing an event")
    heads = ("a report", "a suggestion", "a trial in all", "flushing an event")
    print(f" trials {''.join(f'{head:>19}' for head in heads)}      MB  journal MB")
    for row in table:
        pairs = "  ".join(f"{row[f'{name}_ms']:8.2f} {row[f'{name}_99_ms']:8.2f}" for name in FIGURES)
        print(f"{row['trials']:7.0f}  {pairs}  {row['mb']:6.0f}  {row['journal_mb']:8.1f}")


def show_all(figures: Mapping[str, Any]) -> None:
    """The table and what follows from it."""
    show(f"{figures['trials']} trials on {figures['slots']} slots", figures["table"])
    rate = figures["reports"] / figures["seconds"]
    waited, busy = (figures[name] / figures["seconds"] for name in ("flush_seconds", "cpu_seconds"))
    print(f"{figures['reports']} reports in {figures['seconds']:.0f} s, {rate:.0f} a second", end="; ")
    print(f"of the time {waited:.0%} flushing to the disk; {busy:.0%} of a core")
    print(
        f"the journal: {figures['bytes'] / 2**20:.1f} MB, {figures['events']:.0f} events;"
        f" read in {figures['read_seconds']:.1f} CPU-s, resumed in {figures['resume_seconds']:.1f} CPU-s"
    )
    times = figures["growth"]
    print(f"the last tenth against the first: a report {times['report']:.2f} times", end=", ")
    print(f"a suggestion {times['suggest']:.2f} times the first ones that are not random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="On the disk of this folder; the temporary one otherwise.")
    parser.add_argument("--tune-trials", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = run_alone(simulated, arguments.out, arguments.trials, arguments.slots)
    times = growth(figures)
    figures |= {"name": "scale", "against": "its own first tenth", "ratio": times["report"], "growth": times}
    tuned = run_alone(through_tune, arguments.out, arguments.tune_trials) if arguments.tune_trials else []
    if arguments.json:
        print(json.dumps({**figures, "tune": tuned}))
        return
    show_all(figures)
    if tuned:
        show("through Ray Tune", tuned)


if __name__ == "__main__":
    main()
