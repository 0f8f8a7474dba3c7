"""A search whose driver was killed goes on as if nothing had happened."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import folders, job, journal, resuming
from orchestrator.asha import Asha, Rungs
from orchestrator.conductor import Conductor
from orchestrator.final_conductor import FinalConductor
from orchestrator.finals import SEARCH_SHARE, Finals
from orchestrator.folders import SearchFolder
from orchestrator.journal import Journal, SearchRecord
from orchestrator.study import Study
from tests.test_conductor import Clock, row, space
from tests.test_finals import at, finish
from tests.test_search import HERE, PLAIN
from trainables.errors import DataError, UsageError
from trainables.metrics import ACCURACY

EPOCHS = 9


class Cut(Exception):
    """The process ends here."""


def conductor(book: Journal, record: SearchRecord, *, trials: int = 14) -> Conductor:
    return Conductor(
        study=Study(space, direction="maximize", seed=0, defaults={"epochs": EPOCHS}, fixed={}, context={}),
        asha=Asha(Rungs(grace_period=1, reduction_factor=3, max_epochs=EPOCHS)),
        metric=ACCURACY,
        journal=book,
        record=record,
        slots=1,
        trials=trials,
        deadline=float("inf"),
        listen=lambda event, _: None,
    )


def drive(conducted: Conductor, *, events: int) -> None:
    """Run trials whose score follows from their learning rate; cut off after so many reports."""
    while (request := conducted.suggest()) is not None:
        skill = 1 / (1 + abs(float(request.params["lr"]) - 0.01) * 100)
        for epoch in range(request.known + 1, EPOCHS + 1):
            if events == 0:
                raise Cut
            events -= 1
            if conducted.report(request.trial_id, row(epoch, skill * (1 - 0.7**epoch))):
                break


def told(path: Path) -> list[dict[str, Any]]:
    """What was decided, without the times and the resumptions."""
    events, _ = journal.tail(path)
    return [{k: v for k, v in event.items() if k != "at"} for event in events if event["event"] != "resume"]


@pytest.mark.parametrize("every", [1, 2, 5, 17])
def test_resumed_search_decides_what_an_uninterrupted_one_does(tmp_path: Path, every: int) -> None:
    with closing(Journal(tmp_path / "whole.jsonl")) as book:
        asked = book.append("search", task="digits", direction="maximize")
        drive(conductor(book, SearchRecord(asked=asked)), events=-1)
    path = tmp_path / "cut.jsonl"
    with closing(Journal(path)) as book:
        book.append("search", task="digits", direction="maximize")
    for _ in range(400):
        events, _ = journal.tail(path)
        with closing(Journal(path)) as book:
            conducted = conductor(book, SearchRecord(asked=events[0]))
            assert conducted.resume(events[1:]) == []
            conducted.note("resume")
            try:
                drive(conducted, events=every)
                break
            except Cut:
                continue
    assert told(path) == told(tmp_path / "whole.jsonl")


def test_what_the_space_no_longer_suggests_teaches_nothing_and_loses_nothing(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.jsonl")) as book:
        asked = book.append("search", task="digits", direction="maximize")
        params = {"model": "convnet", "lr": 0.5, "epochs": EPOCHS, "seed": 0}
        book.append("trial", trial_id="0000", number=0, params=params)
        best = {"value": 0.9, "best_epoch": 1}
        book.append("report", trial_id="0000", **row(1, 0.9), best=best)
        book.append("end", trial_id="0000", state="COMPLETE", reason="")
        events, _ = journal.tail(book.path)
        conducted = conductor(book, SearchRecord(asked=asked), trials=2)
        assert conducted.resume(events[1:]) == ["0000"]
        request = conducted.suggest()
    assert request is not None
    assert request.trial_id == "0001"
    assert conducted.record.ranked()[0].value == 0.9


ONE_CORE = {min(os.sched_getaffinity(0))}


def arguments(out: Path, name: str) -> list[str]:
    return ["digits", "--data", str(out / "digits"), "--trials", "4", "--max-epochs", "5", "--id", name]


def launched(home: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """The command on one core, so that there is one slot; it says what it says into a file."""
    command = [sys.executable, "-m", "orchestrator.search", *arguments, "--out", str(home / "runs")]
    # not into pipes: what a killed driver leaves for a moment would hold them open
    with (home / "said.log").open("ab") as said:
        return subprocess.Popen(
            command,
            cwd=HERE,
            env=PLAIN,
            stdout=said,
            stderr=said,
            preexec_fn=lambda: os.sched_setaffinity(0, ONE_CORE),
        )


def search(home: Path, *arguments: str) -> None:
    code = launched(home, *arguments).wait(timeout=240)
    assert code == 0, (home / "said.log").read_text()


def killed(home: Path, name: str, *, reports: int, arguments: list[str]) -> None:
    """Start or resume a search, and kill its driver once the journal holds so many reports."""
    process = launched(home, *arguments)
    path = home / "runs" / "digits" / name / "journal.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text().count('"event": "report"') >= reports:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resumed")


@pytest.fixture(scope="module")
def whole(home: Path) -> SearchFolder:
    """A search of four trials, one at a time, that nothing disturbs."""
    search(home, *arguments(home, "whole"))
    return folders.find(home / "runs", "digits", "whole")


def ended(folder: SearchFolder) -> dict[str, Any]:
    trials = journal.read(folder.journal).trials
    return {name: (t.params, t.state, t.value, t.best_epoch, t.epoch) for name, t in trials.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(3,), (2, 4, 6, 8)])
def test_killed_driver_ends_as_if_it_had_not_been(
    home: Path, whole: SearchFolder, kills: tuple[int, ...]
) -> None:
    name = f"cut{len(kills)}"
    for place, reports in enumerate(kills):
        again = ["digits", "--resume", name] if place else arguments(home, name)
        killed(home, name, reports=reports, arguments=again)
    search(home, "digits", "--resume", name)
    cut = folders.find(home / "runs", "digits", name)
    assert ended(cut) == ended(whole)
    for trial in ended(whole):
        for file in ("weights.safetensors", "valid.npz", "test.npz"):
            assert (whole.trial(trial) / file).read_bytes() == (cut.trial(trial) / file).read_bytes()
    one, other = (json.loads(folder.ensemble.read_text()) for folder in (whole, cut))
    assert {**one, "search_id": ""} == {**other, "search_id": ""}
    assert (whole.path / "submission.csv").read_bytes() == (cut.path / "submission.csv").read_bytes()


@pytest.mark.slow
def test_finished_search_is_extended_by_trials(home: Path, whole: SearchFolder) -> None:
    before = journal.read(whole.journal)
    search(home, "digits", "--resume", "whole", "--trials", "5")
    after = journal.read(whole.journal)
    assert list(after.trials) == [*before.trials, "0004"]
    assert {name: after.trials[name] for name in before.trials} == dict(before.trials)


@pytest.mark.slow
def test_search_that_runs_is_not_gone_on_with(whole: SearchFolder) -> None:
    with resuming.alone(whole), pytest.raises(UsageError, match="is running"), resuming.alone(whole):
        pass


@pytest.mark.slow
def test_other_data_are_refused(whole: SearchFolder) -> None:
    found = resuming.before(whole)
    resuming.require_same(found, found.fingerprint)
    with pytest.raises(DataError, match="changed since the search began"):
        resuming.require_same(found, "another")


def final_conductor(book: Journal, record: SearchRecord) -> FinalConductor:
    return FinalConductor(
        study=Study(space, direction="maximize", seed=0, defaults={"epochs": 4}, fixed={}, context={}),
        asha=Asha(Rungs(grace_period=2, reduction_factor=2, max_epochs=4)),
        metric=ACCURACY,
        journal=book,
        record=record,
        slots=1,
        trials=None,
        deadline=50.0,
        listen=lambda event, _: None,
        clock=Clock(),
        finals=Finals(seeds=2, configurations=2, growth=1.25, pooled=True),
        until=100.0,
        grace=10.0,
    )


def train_finals(conducted: FinalConductor, *, epochs: int = -1) -> None:
    """Run what is suggested, a hundredth of a second an epoch; cut off after so many epochs."""
    at(conducted, 51.0)
    while (request := conducted.suggest()) is not None:
        for epoch in range(request.known + 1, int(request.params["epochs"]) + 1):
            if epochs == 0:
                raise Cut
            epochs -= 1
            score = 0.5 + 0.01 * epoch + 0.001 * int(request.trial_id)
            if conducted.report(request.trial_id, {**row(epoch, score), "seconds": 0.01}):
                break


@pytest.mark.parametrize("epochs", [0, 1, 5, 20, 40])
def test_finals_that_were_cut_off_go_on_as_planned(tmp_path: Path, epochs: int) -> None:
    for name, cut in (("whole", -1), ("cut", epochs)):
        with closing(Journal(tmp_path / f"{name}.jsonl")) as book:
            asked = book.append("search", task="digits", direction="maximize")
            conducted = final_conductor(book, SearchRecord(asked=asked))
            for value in (0.4, 0.9, 0.8, 0.1, 0.95, 0.2, 0.3):
                finish(conducted, value)
            with contextlib.suppress(Cut):
                train_finals(conducted, epochs=cut)
    events, _ = journal.tail(tmp_path / "cut.jsonl")
    with closing(Journal(tmp_path / "cut.jsonl")) as book:
        conducted = final_conductor(book, SearchRecord(asked=events[0]))
        assert conducted.resume(events[1:]) == []
        train_finals(conducted)
    shown = [
        {name: (t.of, t.params["seed"], t.params["epochs"], t.params.get("folds"), t.state, t.value)
         for name, t in journal.read(tmp_path / f"{name}.jsonl").trials.items()}
        for name in ("whole", "cut")
    ]  # fmt: skip
    assert shown[0] == shown[1]
    assert sum(bool(of) for of, *_ in shown[0].values()) == 4


def test_time_that_is_added_is_searched_in_and_has_finals_of_other_seeds(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.jsonl")) as book:
        asked = book.append("search", task="digits", direction="maximize")
        conducted = final_conductor(book, SearchRecord(asked=asked))
        finish(conducted, 0.9)
        train_finals(conducted)
        before = list(conducted.record.trials)
        conducted.until, conducted.stopped = 200.0, None
        conducted.extend()
        assert conducted.deadline == pytest.approx(51.0 + SEARCH_SHARE * 149.0)
        searched = finish(conducted, 0.7)
        at(conducted, 120.0)
        final = finish(conducted, 0.95)
    assert searched.trial_id not in before
    assert not searched.of
    assert final.of
    seeds = [t.params["seed"] for t in conducted.record.trials.values()]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("reason", "extended"),
    [("paused: five failed", False), ("interrupted by X", False), ("time is up", True)],
)
def test_only_a_search_that_was_over_is_extended(tmp_path: Path, reason: str, extended: bool) -> None:
    path = tmp_path / "journal.jsonl"
    with closing(Journal(path)) as book:
        asked = book.append("search", task="digits", direction="maximize")
        conducted = final_conductor(book, SearchRecord(asked=asked))
        finish(conducted, 0.9)
        conducted.note("finish", reason=reason)
    events, _ = journal.tail(path)
    before = resuming.Before(events=tuple(events), record=journal.read(path), unwritten=())
    with closing(Journal(path)) as book:
        conducted = final_conductor(book, SearchRecord(asked=events[0]))
        prepared: Any = SimpleNamespace(plan=SimpleNamespace(budget=SimpleNamespace(trials=None)))
        job._retrace(conducted, before, prepared)
    assert ("extend" in [event["event"] for event in journal.tail(path)[0]]) is extended
    assert conducted.record.finished is None
