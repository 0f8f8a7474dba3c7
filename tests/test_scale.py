"""What is around training: the driver at scale, a large search resumed, and what an epoch pays for them."""

import contextlib
import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from benchmarks import overhead, scale
from orchestrator import journal, study
from orchestrator.conductor import Conductor
from orchestrator.journal import Journal, SearchRecord

FEW = {"MOST_TOLD": 24, "BEST_KEPT": 8, "LATEST_KEPT": 8, "MOST_ASKED": 40}
MEMORY = Path("/dev/shm")


@pytest.fixture
def soon_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna forgets after few trials."""
    for name, value in FEW.items():
        monkeypatch.setattr(study, name, value)


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: what is compared is CPU time, not the disk."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        yield Path(folder)


def test_last_of_a_thousand_trials_cost_what_the_first_did(
    quick: Path, soon_forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "EPOCHS", 6)
    figures = scale.simulated(quick, 1000, 100)
    table, times = figures["table"], scale.growth(figures)
    assert [line["trials"] for line in table] == [100.0 * (i + 1) for i in range(10)]
    assert times["report"] < 2
    assert times["suggest"] < 2
    assert statistics.median(line["trial_ms"] for line in table[-3:]) < 2 * max(
        line["trial_ms"] for line in table[1:4]
    )
    assert figures["resume_seconds"] < figures["cpu_seconds"]
    assert figures["bytes"] < 10_000 * figures["trials"]


def conductor(book: Journal, record: SearchRecord, slots: int) -> Conductor:
    return scale.conductor_of(Conductor, book, record, trials=90, slots=slots, listen=lambda *_: None)


class Cut(Exception):
    """The process ends here."""


def drive(conducted: Conductor, *, reports: int) -> None:
    """One trial after another, cut off after so many reports."""
    while (request := conducted.suggest()) is not None:
        curve = scale.learning_curve(request.params)
        for epoch in range(request.known + 1, scale.EPOCHS + 1):
            if reports == 0:
                raise Cut
            reports -= 1
            if conducted.report(request.trial_id, scale.row_of(epoch, curve[epoch - 1])):
                break


def test_search_is_resumed_as_it_was_though_nothing_forgotten_is_thought_up_again(
    quick: Path, soon_forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(path: Path) -> list[dict[str, object]]:
        events, _ = journal.tail(path)
        return [{k: v for k, v in event.items() if k != "at"} for event in events]

    for name, cuts in (("whole", ()), ("cut", (150, 200))):
        with contextlib.closing(Journal(quick / name)) as book:
            book.append("search", direction="maximize")
        for reports in (*cuts, -1):
            events, _ = journal.tail(quick / name)
            with contextlib.closing(Journal(quick / name)) as book, contextlib.suppress(Cut):
                conducted = conductor(book, SearchRecord(asked=events[0]), slots=1)
                assert conducted.resume(events[1:]) == []
                drive(conducted, reports=reports)
    assert told(quick / "cut") == told(quick / "whole")
    asked = 0
    sampler = study._tpe

    def counted(seed: int) -> object:
        nonlocal asked
        asked += 1
        return sampler(seed)

    monkeypatch.setattr(study, "_tpe", counted)
    events, _ = journal.tail(quick / "whole")
    with contextlib.closing(Journal(quick / "whole")) as book:
        conductor(book, SearchRecord(asked=events[0]), slots=1).resume(events[1:])
    assert asked == 2  # the one that a new study begins with, and the one that it went on with last


def test_more_slots_than_optuna_remembers_are_all_served(quick: Path, soon_forgotten: None) -> None:
    with contextlib.closing(Journal(quick / "journal.jsonl")) as book:
        record = SearchRecord(asked=book.append("search", direction="maximize"))
        conducted = conductor(book, record, slots=60)
        scale.drive(conducted)
        assert len(conducted.study.trials()) <= sum(FEW.values())
    assert {trial.state for trial in record.trials.values()} == {"COMPLETE", "PRUNED"}
    assert len(record.trials) == 90


def test_an_epoch_pays_little_for_its_report_and_its_checkpoint(quick: Path) -> None:
    _, reports = overhead.report_seconds(quick / "reports", 20)
    found = overhead.checkpoint_seconds(quick / "kept", overhead.Trained("convnet"), 5)
    assert statistics.median(reports) + found["works"] < overhead.BOUND * overhead.EPOCH_S
