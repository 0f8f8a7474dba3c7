"""Once more from what was stored: the submission from the weights, and a trial from its configuration."""

import filecmp
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import folders, journal
from orchestrator.ensemble import read_result
from orchestrator.folders import SearchFolder
from orchestrator.journal import TrialRecord
from orchestrator.leaderboard import trials_named
from trainables import atomic
from trainables.errors import DataError, UsageError, unknown
from trainables.store import Store, open_store
from trainables.task import Task

if TYPE_CHECKING:
    from trainables.train import EpochReport

PARTS = ("valid", "holdout", "test")
WEIGHTS = "weights.safetensors"


def submission_again(folder: SearchFolder, task: Task, say: Callable[[str], None]) -> tuple[Path, bool]:
    """The submission of the chosen ensemble, predicted anew by the trials' stored weights, in `again/`.

    Also whether it has the bytes of the one that the search wrote. Raises what `submit` raises, and
    DataError where weights are missing or damaged.
    """
    from orchestrator.submit import kept, write

    with predicted_again(folder, task, say) as copy:
        result = read_result(copy)
        assert result is not None
        record, store = kept(copy)
        made = write(copy, task, chosen=result.best, record=record, store=store)
        path = folder.path / "again" / made.name
        with atomic.disk_errors("The submission", path):
            path.parent.mkdir(exist_ok=True)
            shutil.move(made, path)
    before = folder.path / path.name
    return path, before.exists() and filecmp.cmp(before, path, shallow=False)


@contextmanager
def predicted_again(folder: SearchFolder, task: Task, say: Callable[[str], None]) -> Iterator[SearchFolder]:
    """A passing copy of a search whose ensemble's members answer anew, by their stored weights.

    Raises DataError where the search has no ensemble, or a member's files are gone or cannot be used.
    """
    result = read_result(folder)
    if result is None:
        raise DataError(
            f"{folder.search_id} has no ensemble.", fix="Make one: python -m orchestrator.ensemble"
        )
    record = journal.read(folder.journal)
    store = open_store(Path(record.asked["store"]))
    task = task.with_heads(store.heads)
    wanted = [trial for member in result.best.trial_ids for trial in trials_named(member)]
    _require_weights(folder, record, wanted)
    with tempfile.TemporaryDirectory(prefix="again-") as place:
        copy = SearchFolder(Path(place) / folder.search_id)
        copy.path.mkdir()
        for source in (folder.journal, folder.ensemble):
            shutil.copyfile(source, copy.path / source.name)
        for count, trial in enumerate(wanted, start=1):
            say(f"Predicting again with trial {trial}, {count} of {len(wanted)} ...")
            _predict(folder.trial(trial), copy.trial(trial), task=task, store=store)
        yield copy


def _require_weights(folder: SearchFolder, record: journal.SearchRecord, wanted: list[str]) -> None:
    gone = [name for name in wanted if name in record.dropped and not (folder.trial(name) / WEIGHTS).exists()]
    if gone:
        raise DataError(
            f"The weights of trial {', '.join(gone)} are gone: --disk removed them when others were better.",
            fix="Its predictions are there: leave --again out.",
        )


def _predict(trained: Path, into: Path, *, task: Task, store: Store) -> None:
    from trainables.restored import recorded_views, restored

    with _threads_of(trained):
        trainer = restored(trained, task, store)
        into.mkdir(parents=True)
        trainer.predict(trainer.validate().answers, into, views=recorded_views(trained))


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A trial that was trained again, beside its record."""

    trial: str
    epochs: int
    recorded: float
    value: float
    """Validation score of the best epoch, as recorded and now."""
    same: bool
    """Whether every epoch's losses and scores, the weights and all predictions are the same bits."""
    lacking: tuple[str, ...]
    """What was not compared, for it is gone: `--disk` removes weights."""
    differs: tuple[str, ...]
    """What is not the same: `epoch 3`, `weights.safetensors`, `valid.npz`, ..."""
    tolerance: float
    """Half the 95 % interval of the score over the images: so much a rerun elsewhere may differ."""

    @property
    def close(self) -> bool:
        return self.same or abs(self.value - self.recorded) <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "close": self.close}

    def sentence(self) -> str:
        if self.same:
            files = "weights and predictions" if not self.lacking else "predictions"
            rest = f" Not compared, for it is gone: {', '.join(self.lacking)}." if self.lacking else ""
            return (
                f"Trial {self.trial} came out the same, bit for bit: {self.epochs} epochs, {files}; "
                f"score {self.value:.4f}.{rest}"
            )
        score = f"score {self.value:.4f}, recorded {self.recorded:.4f}, tolerance {self.tolerance:.4f}"
        verdict = "came out alike" if self.close else "came out otherwise"
        return f"Trial {self.trial} {verdict}: {score}. Not the same bits: {', '.join(self.differs)}."


def replay(
    out: Path, task_name: str, which: str, *, heard: Callable[["EpochReport"], None] | None = None
) -> Replayed:
    """Train one trial of a search again, for as many epochs as it ran, and compare.

    `which` is `TRIAL` of the latest search, or `SEARCH/TRIAL`; `heard` is told every epoch. The same seed,
    threads and execution give the same bits on the same build of torch. Raises UsageError for a trial that
    does not exist or finished no epoch, and what `train` raises.
    """
    from trainables.restored import recorded_config, recorded_execution
    from trainables.task import load_task
    from trainables.train import train

    search_id, _, trial_id = which.rpartition("/")
    folder = folders.find(out, load_task(task_name).name, search_id or None)
    record = journal.read(folder.journal)
    trial = _recorded(record, trial_id)
    store = open_store(Path(record.asked["store"]))
    task = load_task(task_name).under(str(record.asked["space"])).with_heads(store.heads)
    known = folder.trial(trial_id)
    finished: list[EpochReport] = []

    def report(row: "EpochReport") -> bool:
        finished.append(row)
        if heard is not None:
            heard(row)
        return row.epoch < trial.epoch

    with tempfile.TemporaryDirectory(prefix="replay-") as place, _threads_of(known):
        config = recorded_config(known)
        result = train(task, store, config, report, folder=Path(place), executed=recorded_execution(known))
        lacking = () if (known / WEIGHTS).exists() else (WEIGHTS,)
        differs = (*_other_epochs(trial, finished), *_other_files(known, Path(place), lacking=lacking))
    return Replayed(
        trial=trial_id,
        epochs=len(finished),
        recorded=float(trial.value or 0.0),
        value=result.value,
        same=not differs,
        lacking=lacking,
        differs=differs,
        tolerance=_tolerance(known, task, store),
    )


def _recorded(record: journal.SearchRecord, trial_id: str) -> TrialRecord:
    trial = record.trials.get(trial_id)
    if trial is None:
        raise unknown("trial", trial_id, sorted(record.trials))
    if not trial.epoch:
        raise UsageError(f"Trial {trial_id} finished no epoch ({trial.reason}).", fix="Choose another one.")
    return trial


def _other_epochs(trial: TrialRecord, finished: list["EpochReport"]) -> list[str]:
    """Epochs whose losses or scores are not those of the journal."""
    names = ("train_loss", "train_metric", "valid_loss", "valid_metric")
    pairs = zip(trial.reports, finished, strict=False)
    other = [row.epoch for known, row in pairs if any(known.get(n) != getattr(row, n) for n in names)]
    return [f"epoch {epoch}" for epoch in other[:1]] + ["later epochs"] * (len(other) > 1)


def _other_files(known: Path, now: Path, *, lacking: tuple[str, ...]) -> list[str]:
    names = {WEIGHTS, *(f"{part}.npz" for part in PARTS)} - set(lacking)
    return sorted(name for name in names if (known / name).read_bytes() != (now / name).read_bytes())


def _tolerance(known: Path, task: Task, store: Store) -> float:
    from ensembles.compare import half_interval
    from trainables import gathered
    from trainables.folding import folded
    from trainables.restored import recorded_config

    part = folded(store, recorded_config(known))["valid"]
    truth = gathered.take(part.targets, part.places) if part.rows is not None else part.targets
    return half_interval(gathered.load(known / "valid.npz"), truth, task.metric)


@contextmanager
def _threads_of(trained: Path) -> Iterator[None]:
    """As many threads as a trial had: sums over other shares of the work round differently."""
    import torch

    before = torch.get_num_threads()
    recorded = json.loads((trained / "execution.json").read_bytes()).get("threads", before)
    torch.set_num_threads(int(recorded))
    try:
        yield
    finally:
        torch.set_num_threads(before)
