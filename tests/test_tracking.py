"""MLflow filled from the journal: what a run holds, and that passes, crashes and outages never double one."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator import tracking
from orchestrator.ensemble import ensemble
from orchestrator.run_fields import markdown
from orchestrator.tracker import Tracker, bring_up
from orchestrator.ui import free_port, serving
from tests.made_search import MadeSearch, digits_store
from trainables.errors import DataError, OrchestratorError
from trainables.task import load_task

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"  # of MLflow's own models
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_store(tmp_path_factory)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to make one, so the tests copy it."""
    out = tmp_path_factory.mktemp("mlflow")
    tracking.connect(tracking.tracking_uri(out))
    return out / "mlflow.db"


@pytest.fixture
def made(tmp_path: Path, store: Path, empty_database: Path) -> Iterator[MadeSearch]:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    search = MadeSearch(tmp_path, store)
    yield search
    search.journal.close()


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def runs(made: MadeSearch, uri: str | None = None) -> dict[str, Any]:
    """The runs of the search by name; a doubled one fails."""
    client = tracking.connect(uri or tracking.tracking_uri(tracking.home(made.folder)))
    experiment = client.get_experiment_by_name("digits")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found)
    return named


def history(made: MadeSearch, run: Any, key: str, uri: str | None = None) -> list[tuple[int, float]]:
    client = tracking.connect(uri or tracking.tracking_uri(tracking.home(made.folder)))
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]


def artifacts(made: MadeSearch, run: Any) -> set[str]:
    client = tracking.connect(tracking.tracking_uri(tracking.home(made.folder)))
    return {file.path for file in client.list_artifacts(run.info.run_id)}


def until(holds: Callable[[], Any], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_trial_is_a_run_with_all_that_is_known_of_it(made: MadeSearch) -> None:
    made.whole_trial(0, epochs=3)

    assert tracking.sync(made.folder) == 1

    run = runs(made)["0000 convnet"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {"model": "convnet", "optimizer": "adamw", "lr": "0.003", "seed": "0"}
    known = {
        "search_id": "made-up",
        "trial_id": "0000",
        "kind": "trial",
        "state": "COMPLETE",
        "seed": "0",
        "commit": "0123abc",
        "fingerprint": made.store.fingerprint,
        "device": "cpu",
        "best_epoch": "3",
        "mlflow.source.git.commit": "0123abc",
    }
    assert known.items() <= run.data.tags.items()
    names = "train/loss train/accuracy val/loss val/accuracy lr seconds images_per_second"
    for name in names.split():
        assert [step for step, _ in history(made, run, name)] == [1, 2, 3]
    assert run.data.metrics["val/best"] == pytest.approx(0.9 * (1 - 0.6**3))
    assert artifacts(made, run) == {"config.json", "curve.csv", "curves.png", "confusion.png"}


def test_the_experiment_is_the_task_and_its_artifacts_lie_beside_the_database(made: MadeSearch) -> None:
    made.whole_trial(0)

    tracking.sync(made.folder)

    uri = tracking.tracking_uri(tracking.home(made.folder))
    experiment = tracking.connect(uri).get_experiment_by_name("digits")
    assert experiment.artifact_location == (tracking.home(made.folder) / "mlartifacts/digits").as_uri()
    assert "search_id" in experiment.tags["mlflow.note.content"]
    assert tracking.latest_experiment(uri) == experiment.experiment_id


def test_pruned_and_failed_trials_say_why(made: MadeSearch) -> None:
    pruned, failed = made.start(0), made.start(1, model="resnet18")
    made.report(pruned, 1)
    made.end(pruned, "PRUNED", "below 0.7 at epoch 1")
    made.end(failed, "FAIL", "the loss is nan in epoch 1, step 3")

    tracking.sync(made.folder)

    found = runs(made)
    pruned_run, failed_run = found["0000 convnet"], found["0001 resnet18"]
    assert (pruned_run.info.status, pruned_run.data.tags["state"]) == ("FINISHED", "PRUNED")
    assert (failed_run.info.status, failed_run.data.tags["state"]) == ("FAILED", "FAIL")
    assert pruned_run.data.tags["reason"] == "below 0.7 at epoch 1"
    assert failed_run.data.tags["mlflow.note.content"] == "the loss is nan in epoch 1, step 3"
    assert "val/best" not in failed_run.data.metrics


def test_a_second_pass_writes_nothing(made: MadeSearch) -> None:
    made.whole_trial(0)
    made.whole_trial(1)
    made.ensemble()
    assert tracking.sync(made.folder) == 3

    assert tracking.sync(made.folder) == 0

    assert len(runs(made)) == 3


def test_a_trial_cut_off_and_resumed_goes_on_in_its_run(made: MadeSearch) -> None:
    trial_id = made.start(0)
    made.report(trial_id, 1)
    made.report(trial_id, 2)
    tracking.sync(made.folder)
    assert runs(made)["0000 convnet"].info.status == "KILLED"
    made.report(trial_id, 3)
    made.end(trial_id)

    assert tracking.sync(made.folder) == 1

    run = runs(made)["0000 convnet"]
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(made, run, "val/accuracy")] == [1, 2, 3]


def test_a_trial_started_again_after_a_failure_fails_or_ends_in_the_same_run(made: MadeSearch) -> None:
    trial_id = made.start(0)
    made.end(trial_id, "FAIL", "the host went away")
    tracking.sync(made.folder)
    made.journal.append("trial", trial_id=trial_id, number=0, params={"model": "convnet", "seed": 0})
    made.report(trial_id, 1)
    tracking.sync(made.folder)
    again = runs(made)["0000 convnet"]
    assert (again.info.status, again.data.tags["state"]) == ("KILLED", "RUNNING")
    made.end(trial_id, "FAIL", "the host went away again")

    tracking.sync(made.folder)

    run = runs(made)["0000 convnet"]
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "the host went away again")


def test_a_pass_that_broke_off_is_filled_in_without_doubling(
    made: MadeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.whole_trial(0, epochs=4)
    with monkeypatch.context() as broken:
        broken.setattr(tracking, "STATUS", {})  # the very last step fails
        with pytest.raises(OrchestratorError, match="does not work"):
            tracking.sync(made.folder)
    assert runs(made)["0000 convnet"].info.status == "RUNNING"

    tracking.sync(made.folder)

    run = runs(made)["0000 convnet"]
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(made, run, "val/loss")] == [1, 2, 3, 4]


def test_long_values_many_parameters_and_odd_metric_names_are_taken(
    tmp_path: Path, store: Path, empty_database: Path
) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    made = MadeSearch(tmp_path, store, metric="top-5 @ 224 px?")
    made.whole_trial(0, note="x" * 20_000, **{f"option_{i}": i for i in range(230)})

    tracking.sync(made.finish())

    run = runs(made)["0000 convnet"]
    assert len(run.data.params) == 235
    assert run.data.params["note"].startswith("xxx")
    assert "val/top-5 _ 224 px_" in run.data.metrics


def test_a_long_trial_is_written_in_several_requests(made: MadeSearch) -> None:
    made.whole_trial(0, epochs=200)

    tracking.sync(made.folder)

    run = runs(made)["0000 convnet"]
    assert len(history(made, run, "val/loss")) == 200


def test_the_ensemble_is_a_run_with_its_table_and_its_submission(made: MadeSearch) -> None:
    made.whole_trial(0)
    made.whole_trial(1)
    made.ensemble()

    tracking.sync(made.folder)

    run = runs(made)["ensemble prob_mean"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["kind"] == "ensemble"
    assert run.data.metrics == {"val/best": 0.95, "holdout_accuracy": 0.94}
    assert run.data.params["weights"] == '{"0000": 0.5, "0001": 0.5}'
    assert "| prob_mean | 0.9500 | 0.9400 |" in run.data.tags["mlflow.note.content"]
    assert artifacts(made, run) == {
        "confusion.png",
        "ensemble.json",
        "methods.md",
        "search.json",
        "submission.csv",
    }


def test_the_file_that_the_ensemble_command_writes_is_taken(made: MadeSearch) -> None:
    for number in range(3):
        made.whole_trial(number)
    ensemble(made.finish(), task=load_task("digits"))

    tracking.sync(made.folder)

    run = next(run for name, run in runs(made).items() if name.startswith("ensemble"))
    assert {"0000", "0001", "0002"} >= json.loads(run.data.params["weights"]).keys()
    assert "confusion.png" in artifacts(made, run)
    assert 0 < run.data.metrics["holdout_accuracy"] <= 1


def test_an_ensemble_made_anew_is_another_run(made: MadeSearch) -> None:
    made.whole_trial(0)
    made.whole_trial(1)
    made.ensemble()
    tracking.sync(made.folder)
    made.ensemble(method="vote", rule="vote", table=[])

    tracking.sync(made.folder)

    assert {"ensemble prob_mean", "ensemble vote"} < set(runs(made))


def test_a_report_is_one_run_and_what_was_written_anew_takes_its_place(made: MadeSearch) -> None:
    made.whole_trial(0)
    made.folder.report.mkdir()
    (made.folder.report / "report.html").write_text("<h1>first</h1>")
    folder = made.finish()
    tracking.sync(folder)
    (folder.report / "report.html").write_text("<h1>second</h1>")
    tracking.sync(folder)
    assert tracking.sync(folder) == 0
    run = runs(made)["report"]
    assert (run.data.tags["kind"], run.info.status) == ("report", "FINISHED")
    kept = Path(run.info.artifact_uri.removeprefix("file://")) / "report.html"
    assert kept.read_text() == "<h1>second</h1>"


def test_an_ensemble_file_that_tells_little_is_still_a_run(made: MadeSearch) -> None:
    made.whole_trial(0)
    made.folder.ensemble.write_text('{"method": "greedy"}')

    tracking.sync(made.folder)

    assert runs(made)["ensemble greedy"].info.status == "FINISHED"


def test_an_experiment_in_the_bin_is_taken_out_again(made: MadeSearch) -> None:
    made.whole_trial(0)
    tracking.sync(made.folder)
    uri = tracking.tracking_uri(tracking.home(made.folder))
    client = tracking.connect(uri)
    client.delete_experiment(client.get_experiment_by_name("digits").experiment_id)
    made.whole_trial(1)

    tracking.sync(made.folder)

    assert "0001 convnet" in runs(made)


def test_a_database_cut_off_while_it_was_made_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    def interrupted(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow, "MlflowClient", interrupted)

    with pytest.raises(KeyboardInterrupt):
        tracking.connect(tracking.tracking_uri(tmp_path))

    assert not (tmp_path / "mlflow.db").exists()


def test_sync_of_no_search_says_so(tmp_path: Path, made: MadeSearch) -> None:
    with pytest.raises(DataError, match="does not exist"):
        tracking.sync(type(made.folder)(tmp_path / "digits" / "none"))


def test_charts_url_lands_on_the_charts() -> None:
    assert tracking.charts_url("http://127.0.0.1:5000/", "7") == (
        "http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning&compareRunsMode=CHART"
    )


def test_a_table_leaves_out_lists_and_escapes_bars() -> None:
    rows: list[dict[str, Any]] = [
        {"method": "a|b", "value": 0.5, "weights": [1, 2]},
        {"method": "c", "value": None},
    ]

    assert markdown(rows) == "| method | value |\n| --- | --- |\n| a\\|b | 0.5000 |\n| c |  |"


def test_the_writer_follows_a_running_search(made: MadeSearch) -> None:
    tracker = Tracker(made.folder)
    tracker.start()
    trial_id = made.start(0)
    made.report(trial_id, 1)
    until(lambda: "val/loss" in next((run.data.metrics for run in runs(made).values()), {}))
    assert runs(made)["0000 convnet"].info.status == "RUNNING"
    made.report(trial_id, 2)
    made.end(trial_id)

    assert tracker.close() == ""

    run = runs(made)["0000 convnet"]
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(made, run, "val/loss")] == [1, 2]
    assert tracker.link.startswith("python -m orchestrator.ui --out ")
    assert tracker.close() == ""


def test_the_writer_of_a_killed_search_finishes_and_ends(made: MadeSearch) -> None:
    made.whole_trial(0)
    code = """
import os, signal, sys
from pathlib import Path
from orchestrator.folders import SearchFolder
from orchestrator.tracker import Tracker
Tracker(SearchFolder(Path(sys.argv[1]))).start()
os.kill(os.getpid(), signal.SIGKILL)
"""
    before = set(psutil.pids())
    subprocess.run([sys.executable, "-c", code, str(made.folder.path)], check=False, timeout=60)
    follow = [p for p in set(psutil.pids()) - before if str(made.folder.path) in _command(p)]

    until(lambda: not any(map(psutil.pid_exists, follow)))

    assert runs(made)["0000 convnet"].info.status == "FINISHED"


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def test_a_locked_database_neither_holds_the_search_up_nor_loses_anything(made: MadeSearch) -> None:
    made.whole_trial(0)
    lock = sqlite3.connect(tracking.home(made.folder) / "mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        started = time.monotonic()
        missing = bring_up(made.folder, timeout_s=4)
        assert time.monotonic() - started < 6
    finally:
        lock.close()

    assert "misses 1 of 1 trials" in missing
    assert f"python -m orchestrator.tracker {made.folder.path}" in missing
    assert tracking.sync(made.folder) == 1
    assert runs(made)["0000 convnet"].info.status == "FINISHED"


def test_a_server_that_never_answers_is_left_behind_in_time(made: MadeSearch) -> None:
    made.whole_trial(0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracker = Tracker(made.folder, f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}")
        tracker.start()
        started = time.monotonic()
        missing = tracker.close(timeout_s=3)

    assert time.monotonic() - started < 5
    assert "misses 1 of 1 trials" in missing
    assert "secret" not in missing + tracker.link


def test_a_folder_that_cannot_be_written_is_said_at_the_end(tmp_path: Path, made: MadeSearch) -> None:
    tracker = Tracker(type(made.folder)(tmp_path / "digits" / "gone"))
    tracker.start()

    assert "No such file" in tracker.close()


def test_a_server_killed_and_back_again_has_one_whole_run_a_trial(made: MadeSearch) -> None:
    port = free_port("127.0.0.1", 0)
    database = tracking.tracking_uri(tracking.home(made.folder))
    first, second = made.start(0), made.start(1)
    with serving(database, port=port) as server:
        tracker = Tracker(made.folder, server.address)
        tracker.start()
        made.report(first, 1)
        until(lambda: len(runs(made)) == 2 and "val/loss" in runs(made)["0000 convnet"].data.metrics)
        os.killpg(server.process.pid, signal.SIGKILL)
    made.report(first, 2)
    made.end(first)
    until(lambda: "refused" in (made.folder.path / "tracking.json").read_text())
    with serving(database, port=port):
        made.report(second, 1)
        made.end(second)

        assert tracker.close() == ""

    found = runs(made)
    assert {name: run.info.status for name, run in found.items()} == {
        "0000 convnet": "FINISHED",
        "0001 convnet": "FINISHED",
    }
    assert [step for step, _ in history(made, found["0000 convnet"], "val/loss")] == [1, 2]
    assert "curves.png" in {p.name for p in tracking.home(made.folder).glob("mlartifacts/*/*/artifacts/*")}
    assert tracker.link.startswith(f"{server.address}/#/experiments/")
