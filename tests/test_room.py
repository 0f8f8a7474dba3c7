"""What a search holds on the disk, and what it does where little is left."""

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import folders, journal, room
from orchestrator.asha import Asha, Rungs
from orchestrator.conductor import Conductor
from orchestrator.folders import SearchFolder
from orchestrator.job import how_to_go_on
from orchestrator.journal import Journal, SearchRecord
from orchestrator.prepare import Asked
from orchestrator.resuming import wish_json, wish_of
from orchestrator.room import RESERVE, Room, forecast, free_at, parse_size
from orchestrator.study import Study
from tests.test_conductor import Clock, row, space
from trainables.errors import UsageError
from trainables.metrics import ACCURACY

KB = 1000
Made = tuple[Conductor, SearchFolder]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """A conductor of up to 50 trials of one epoch, and its folder."""
    folder = folders.create(tmp_path, "digits", "s")
    with closing(Journal(folder.journal)) as book:
        asked = book.append("search", task="digits", direction="maximize", search_id="s", source="digits")
        yield conducted(book, SearchRecord(asked=asked)), folder


def conducted(book: Journal, record: SearchRecord) -> Conductor:
    return Conductor(
        study=Study(space, direction="maximize", seed=0, defaults={"epochs": 1}, fixed={}, context={}),
        asha=Asha(Rungs(grace_period=1, reduction_factor=2, max_epochs=1)),
        metric=ACCURACY,
        journal=book,
        record=record,
        slots=2,
        trials=50,
        deadline=100.0,
        listen=lambda event, _: None,
        clock=Clock(),
    )


def leave(folder: SearchFolder, trial_id: str, **sizes: int) -> None:
    """What a trial leaves: files of so many bytes."""
    for name, size in {"weights.safetensors": 100 * KB, "valid.npz": KB, "test.npz": KB, **sizes}.items():
        path = folder.trial(trial_id) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))


def trial(made: Made, value: float, *, of: str = "") -> str:
    """A trial that scores so and leaves its files; a final where `of` names another."""
    conductor, folder = made
    if of:
        number = len(conductor.record.trials)
        conductor.note("trial", trial_id=f"{number:04d}", number=number, params={"epochs": 1}, of=of)
        trial_id = f"{number:04d}"
        conductor.note("report", trial_id=trial_id, **row(1, value), best={"value": value, "best_epoch": 1})
        leave(folder, trial_id)
        conductor.note("end", trial_id=trial_id, state="COMPLETE", reason="")
        return trial_id
    request = conductor.suggest()
    assert request is not None
    leave(folder, request.trial_id)
    conductor.report(request.trial_id, row(1, value))
    return request.trial_id


def watched(made: Made, **given: Any) -> Room:
    found = Room(conductor=made[0], folder=made[1], **given)
    made[0].listen = found.behind(made[0].listen)
    return found


def with_weights(folder: SearchFolder) -> list[str]:
    return sorted(path.parent.name for path in folder.path.glob("trials/*/weights.safetensors"))


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 5e8), ("20GB", 2e10), ("1.5tb", 1.5e12), (" 30 kB ", 3e4)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: float) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "20", "GB", "-5GB", "0GB", "20GiB", "many", "1e3MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size") as caught:
        parse_size(text)
    assert "20GB" in caught.value.fix


def test_weights_of_the_worst_go_first_and_all_predictions_stay(made: Made) -> None:
    conductor, folder = made
    disk = watched(made, cap=420 * KB, keep=2)
    for value in (0.5, 0.9, 0.1, 0.7, 0.3, 0.8):
        trial(made, value)
    disk.tidy()
    assert with_weights(folder) == ["0001", "0003", "0005"]
    assert len(list(folder.path.glob("trials/*/valid.npz"))) == 6
    assert conductor.record.dropped == {"0000", "0002", "0004"}
    told = [event for event in journal.tail(folder.journal)[0] if event["event"] == "dropped"]
    assert [name for event in told for name in event["trial_ids"]] == ["0002", "0004", "0000"]
    assert sum(event["bytes"] for event in told) == 300 * KB
    assert journal.read(folder.journal).dropped == conductor.record.dropped


def test_of_equal_scores_the_later_goes(made: Made) -> None:
    disk = watched(made, cap=150 * KB, keep=1)
    for _ in range(3):
        trial(made, 0.5)
    disk.tidy()
    assert with_weights(made[1]) == ["0000"]


def test_finals_stay_and_what_cannot_fit_is_said_once(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    disk = watched(made, cap=50 * KB, keep=1)
    names = [trial(made, value) for value in (0.5, 0.9, 0.4)]
    finals = [trial(made, 0.2, of=names[1]) for _ in range(2)]
    disk.tidy()
    disk.tidy()
    assert with_weights(made[1]) == [names[1], *finals]
    said = capsys.readouterr().err
    assert said.count("Nothing more can go") == 1
    assert "weights of the 1 best trials and of the finals stay" in " ".join(said.split())


def test_a_trial_that_still_writes_is_left_alone(made: Made) -> None:
    conductor, folder = made
    disk = watched(made, cap=50 * KB, keep=1)
    trial(made, 0.9)
    late = conductor.suggest()
    assert late is not None
    leave(folder, late.trial_id)
    (folder.trial(late.trial_id) / "test.npz").unlink()
    conductor.report(late.trial_id, row(1, 0.1))
    disk.tidy()
    assert with_weights(folder) == ["0000", "0001"]
    leave(folder, late.trial_id)
    disk.tidy()
    assert with_weights(folder) == ["0000"]


def test_what_a_failed_trial_left_goes_before_all_else(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    conductor, folder = made
    disk = watched(made, cap=150 * KB, keep=1)
    request = conductor.suggest()
    assert request is not None
    leave(folder, request.trial_id, **{"checkpoints/1.checkpoint": 300 * KB})
    conductor.end(request.trial_id, "FAIL", "it broke")
    trial(made, 0.3)
    monkeypatch.setattr(room, "WRITING_S", -1.0)  # its process is long gone
    disk.tidy()
    assert with_weights(folder) == ["0001"]
    assert not list(folder.trial("0000").glob("checkpoints/*"))
    assert (folder.trial("0000") / "valid.npz").exists()


def test_a_resumed_search_keeps_below_its_cap_too(made: Made) -> None:
    for value in (0.5, 0.9, 0.1):
        trial(made, value)
    Room(conductor=made[0], folder=made[1], cap=150 * KB, keep=1).tidy()
    assert with_weights(made[1]) == ["0001"]


def test_without_a_cap_nothing_is_removed(made: Made) -> None:
    disk = watched(made)
    trial(made, 0.5)
    disk.tidy()
    assert with_weights(made[1]) == ["0000"]


def test_each_trial_is_measured_a_few_times_however_many_there_are(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    measure = room._files

    def counted(folder: Path) -> dict[Path, int]:
        looked.append(folder)
        return measure(folder)

    monkeypatch.setattr(room, "_files", counted)
    monkeypatch.setattr(room, "TIDY_S", 0.0)
    watched(made, cap=10**9, keep=2)
    counts = []
    for _ in range(2):
        before = len(looked)
        for number in range(20):
            trial(made, number / 100)
        counts.append(len(looked) - before)
    assert counts[1] <= counts[0] + 2


class Disk:
    """A disk of which so much is free at each look; the last figure stays."""

    def __init__(self, *free: float, total: float = 1e12) -> None:
        self.free = list(free)
        self.total = total

    def __call__(self, _: Path) -> tuple[int, int, int]:
        free = self.free.pop(0) if len(self.free) > 1 else self.free[0]
        return int(self.total), int(self.total - free), int(free)


def test_search_pauses_where_little_is_left_and_goes_on_by_itself(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    conductor, folder = made
    before = folder.journal.read_bytes()
    assert not watched(made, usage=Disk(RESERVE)).wait()
    assert capsys.readouterr().err == ""
    conductor.stopped = "all trials done"  # those that run yet still write
    disk = watched(made, usage=Disk(RESERVE - 1, 0, RESERVE, 2 * RESERVE), poll_s=0.0)
    assert disk.wait()
    said = " ".join(capsys.readouterr().err.split())
    assert f"Paused: 300 MB free at {folder.path}" in said
    assert "goes on by itself. Ctrl-C ends it. The pause counts to --time." in said
    assert "600 MB are free: the search goes on." in said
    assert folder.journal.read_bytes() == before


def test_mark_is_what_every_slot_may_write_and_small_on_a_small_disk(made: Made) -> None:
    assert not watched(made, usage=Disk(6e6, total=1e8)).wait()
    disk = watched(made, usage=Disk(1e9, 5e9), poll_s=0.0)
    request = made[0].suggest()
    assert request is not None
    (folder := made[1].trial(request.trial_id)).mkdir(parents=True)
    with (folder / "weights.safetensors").open("wb") as file:
        file.truncate(10**9)  # sparse: two such trials want 2 GB
    made[0].report(request.trial_id, row(1, 0.5))
    assert disk.wait()


def _signal(conductor: Conductor, _: SearchFolder) -> None:
    conductor.stop("interrupted by SIGTERM")


def _stop_file(_: Conductor, folder: SearchFolder) -> None:
    folder.stop.touch()


def _time_is_up(conductor: Conductor, _: SearchFolder) -> None:
    conductor.clock.now = 101.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", [_signal, _stop_file, _time_is_up])
def test_a_pause_ends_with_the_search(made: Made, end: Callable[[Conductor, SearchFolder], None]) -> None:
    looks = 0

    def usage(_: Path) -> tuple[int, int, int]:
        nonlocal looks
        looks += 1
        if looks == 4:
            end(*made)
        return 10**12, 0, 0

    assert not watched(made, usage=usage, poll_s=0.0).wait()
    assert looks == 4


def test_a_disk_that_cannot_be_asked_holds_nobody_up(made: Made) -> None:
    def usage(_: Path) -> tuple[int, int, int]:
        raise OSError(5, "Input/output error")

    assert not watched(made, usage=usage).wait()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def filled(place: Path) -> Path:
    """A file that leaves no room."""
    with (place / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return place / "ballast"


def test_event_that_a_full_disk_refuses_is_written_once_there_is_room(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folders.create(small, "digits", "s")
    with closing(Journal(folder.journal)) as book:
        conductor = conducted(book, SearchRecord(asked=book.append("search", direction="maximize")))
        book.wait = Room(conductor=conductor, folder=folder, poll_s=0.02).wait
        ballast = filled(small)
        threading.Timer(0.2, ballast.unlink).start()
        conductor.note("rung", note="x" * 9000)
    assert not ballast.exists()
    assert "Paused: 0 MB free" in capsys.readouterr().err
    assert [event["event"] for event in journal.tail(folder.journal)[0]] == ["search", "rung"]


def test_cap_holds_after_a_resumption(tmp_path: Path) -> None:
    wish = json.loads(json.dumps(wish_json(Asked(disk=parse_size("20GB")))))
    record = SearchRecord(asked={"wish": wish})
    assert wish_of(record, SearchFolder(tmp_path / "digits" / "s")).disk == 20 * 10**9
    del wish["disk"]  # of an earlier version
    assert wish_of(record, SearchFolder(tmp_path / "digits" / "s")).disk is None


def test_too_small_a_disk_is_said_before_the_search(tmp_path: Path) -> None:
    free = free_at(tmp_path / "not" / "yet")
    assert forecast(tmp_path, trials=1.0, store=1.0, cap=None) == ""
    assert "It pauses where little is left" in forecast(tmp_path, trials=2.0 * free, store=1.0, cap=None)
    assert forecast(tmp_path, trials=2.0 * free, store=1.0, cap=10) == ""


def test_trial_that_found_the_disk_full_goes_on(made: Made) -> None:
    from orchestrator.tune import ConductedScheduler

    conductor, _ = made
    request = conductor.suggest()
    assert request is not None
    trial = SimpleNamespace(config={"trial_id": request.trial_id})
    held: list[bool] = []
    scheduler = ConductedScheduler(conductor, partial(held.append, True))
    full = {"outcome": "failed", "reason": "The trial cannot be written to x: No space left on device."}
    scheduler.on_trial_result(None, trial, full)
    assert held
    assert conductor.record.trials[request.trial_id].state == "RUNNING"
    again = conductor.suggest()
    assert again is not None
    assert again.trial_id == request.trial_id
    conductor.stop("interrupted by SIGINT")
    scheduler.on_trial_result(None, trial, full)
    assert conductor.record.trials[request.trial_id].state == "RUNNING"
    scheduler.on_trial_result(None, trial, {"outcome": "failed", "reason": "it broke"})
    assert conductor.record.trials[request.trial_id].state == "FAIL"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("paused: the last 5 trials failed alike: it broke", "--resume s"),
        ("interrupted by SIGINT", "python -m orchestrator.search digits --resume s"),
        ("all trials done", ""),
    ],
)
def test_a_search_that_ended_early_says_how_to_go_on(made: Made, reason: str, said: str) -> None:
    made[0].note("finish", reason=reason)
    line = how_to_go_on(made[0].record)
    assert said in line
    assert bool(line) == bool(said)


def test_log_on_a_full_disk_loses_lines_and_nothing_else(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.display import say
    from orchestrator.ending import logging_to

    with logging_to(small / "search.log"):
        filled(small)
        say("It is full.")
    said = capsys.readouterr().err
    assert said == "It is full.\n"
