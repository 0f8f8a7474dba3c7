"""Ray Tune around the conductor, with trials that train nothing."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reporting import InstantActor, made_up_search
from orchestrator import connect, journal, tune
from orchestrator.conductor import REPORT_FIELDS, Conductor

SLOTS = 2


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    with connect.cluster(address=None, cpus=SLOTS, gpus=0):
        yield


@pytest.mark.usefixtures("ray")
def test_tune_runs_what_the_conductor_suggests_and_ends_what_it_stops(tmp_path: Path) -> None:
    heard: list[str] = []
    made = made_up_search(tmp_path, slots=SLOTS, trials=12, epochs=9, first_rung=3)
    with made as (folder, record, make):
        conductor = make(lambda event, _: heard.append(event["event"]), Conductor)
        workplace = tune.Workplace(
            task="digits", store=folder.path, folder=folder, threads=1, deadline=float("inf")
        )
        tune.run(conductor, workplace, cpus=1, gpus=0, actor=InstantActor)
    assert conductor.stopped == "all trials done"
    assert (len(record.trials), record.count("RUNNING"), record.count("FAIL")) == (12, 0, 0)
    assert all(trial.epoch == 9 for trial in record.trials.values() if trial.state == "COMPLETE")
    assert any(trial.state == "PRUNED" and trial.epoch == 3 for trial in record.trials.values())
    assert journal.read(folder.journal) == record
    assert heard.count("report") == sum(trial.epoch for trial in record.trials.values())


def test_an_assignment_is_plain_values(tmp_path: Path) -> None:
    with made_up_search(tmp_path, slots=1, trials=1, epochs=1, first_rung=1) as (folder, _, _):
        workplace = tune.Workplace(task="digits", store=folder.path, folder=folder, threads=1, deadline=9.0)
        assignment = workplace.assign("0003", {"lr": 0.1})
    assert assignment.folder == str(folder.trial("0003"))
    assert json.loads(json.dumps(assignment.params)) == {"lr": 0.1}


def test_the_predictions_of_trials_stopped_last_are_waited_for(tmp_path: Path) -> None:
    with made_up_search(tmp_path, slots=1, trials=1, epochs=9, first_rung=3) as (folder, record, make):
        conductor = make(lambda *_: None, Conductor)
        request = conductor.suggest()
        assert request is not None
        row = dict.fromkeys(REPORT_FIELDS, 0.5) | {"epoch": 1, "device": "cpu"}
        conductor.report(request.trial_id, row)
        conductor.interrupt(request.trial_id, "time is up")
        trial = folder.trial(request.trial_id)
        trial.mkdir(parents=True)
        (trial / "config.json").touch()
        timer = threading.Timer(0.3, (trial / "test.npz").touch)
        timer.start()
        tune.settle(record, folder)
        assert (trial / "test.npz").exists()
        timer.join()
