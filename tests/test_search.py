"""The whole job, really run: Ray, Optuna, MLflow on SQLite, processes and signals."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import folders, journal
from orchestrator.folders import SearchFolder

HERE = Path(__file__).resolve().parent.parent
PLAIN = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "default", "COLUMNS": "120"}


def start(out: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "orchestrator.search", *arguments, "--out", str(out / "runs")]
    return subprocess.Popen(
        command, cwd=HERE, env=PLAIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def search(out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    process = start(out, *arguments)
    stdout, stderr = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def done(home: Path) -> "subprocess.CompletedProcess[str]":
    """A finished search of six short trials, its answer in JSON."""
    result = search(
        home,
        "digits",
        "--data",
        str(home / "digits"),
        "--trials",
        "6",
        "--max-epochs",
        "3",
        "--id",
        "one",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="session")
def folder(home: Path, done: Any) -> SearchFolder:
    return folders.find(home / "runs", "digits", "one")


def test_every_trial_ended_and_some_were_stopped(folder: SearchFolder) -> None:
    record = journal.read(folder.journal)
    assert record.finished == "all trials done"
    states = [trial.state for trial in record.trials.values()]
    assert len(states) == 6
    assert set(states) == {"COMPLETE", "PRUNED"}


def test_each_trial_leaves_its_files(folder: SearchFolder) -> None:
    for trial in journal.read(folder.journal).ranked():
        kept = {path.name for path in folder.trial(trial.trial_id).iterdir()}
        assert kept >= {
            "config.json", "curve.csv", "weights.safetensors", "valid.npz", "holdout.npz", "test.npz",
        }  # fmt: skip


def test_the_answer_names_scores_and_files(done: "subprocess.CompletedProcess[str]") -> None:
    answer = json.loads(done.stdout)
    assert {row["method"] for row in answer["table"]} >= {"vote", "logit_sum", "prob_mean", "greedy"}
    assert all(Path(path).exists() for path in answer["paths"].values())


def test_the_submission_answers_every_test_picture(folder: SearchFolder) -> None:
    rows = (folder.path / "submission.csv").read_text().splitlines()
    assert rows[0] == "Id,Category"
    assert len(rows) == 1 + 367


def test_mlflow_holds_every_trial_and_the_ensemble(
    home: Path, folder: SearchFolder, done: "subprocess.CompletedProcess[str]"
) -> None:
    said = " ".join(done.stderr.split())
    if "fill it in with" in said:  # a busy machine: MLflow did not keep up with the search
        subprocess.run([sys.executable, "-m", "orchestrator.tracker", str(folder.path)], check=True)
    with sqlite3.connect(home / "runs" / "mlflow.db") as db:
        query = "select value, count(*) from tags where key = 'kind' group by value"
        assert dict(db.execute(query).fetchall()) == {"trial": 6, "ensemble": 1}
        metrics = {row[0] for row in db.execute("select distinct key from metrics")}
        epochs = db.execute("select count(*) from metrics where key = 'val/accuracy'").fetchone()[0]
    db.close()
    assert {"train/loss", "val/loss", "train/accuracy", "val/accuracy"} <= metrics
    assert epochs == sum(trial.epoch for trial in journal.read(folder.journal).trials.values())


def test_a_second_search_reuses_the_store_and_refuses_the_same_id(home: Path, folder: SearchFolder) -> None:
    stores = list((home / "runs" / "stores").glob("digits-*"))
    again = search(home, "digits", "--data", str(home / "digits"), "--id", "one", "--trials", "1")
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert "Traceback" not in again.stderr
    assert list((home / "runs" / "stores").glob("digits-*")) == stores


@pytest.mark.parametrize("module", ["ensemble", "submit"])
def test_the_last_stages_can_be_done_again_from_disk(home: Path, folder: SearchFolder, module: str) -> None:
    before = (folder.path / "submission.csv").read_bytes()
    command = [sys.executable, "-m", f"orchestrator.{module}", "digits", "--out", str(home / "runs")]
    again = subprocess.run(
        command, cwd=HERE, env=PLAIN, capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode == 0, again.stderr
    assert (folder.path / "submission.csv").read_bytes() == before


def test_when_every_trial_fails_the_first_error_is_shown(home: Path) -> None:
    result = search(
        home,
        "digits",
        "--data",
        str(home / "digits"),
        "--trials",
        "2",
        "--max-epochs",
        "2",
        "--set",
        "lr=1e30",
    )
    assert result.returncode == 4
    assert "Diverged in epoch 1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_search_in_order(home: Path, number: signal.Signals, code: int) -> None:
    name = number.name.lower()
    process = start(
        home, "digits", "--data", str(home / "digits"), "--time", "10m", "--max-epochs", "40", "--id", name
    )
    path = home / "runs" / "digits" / name / "journal.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (path.exists() and '"report"' in path.read_text()):
        time.sleep(0.2)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == code, stderr
    record = journal.read(path)
    assert record.finished == f"interrupted by {number.name}"
    assert all(trial.state != "RUNNING" for trial in record.trials.values())
    assert (path.parent / "submission.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digitz"], "Did you mean 'digits'?"),
        (["digits", "--set", "optimiser=sgd"], "Did you mean 'optimizer'?"),
        (["digits", "--set", "lr=high"], "lr='high' is not possible"),
        (["digits", "--set", "model=resnet81"], "Did you mean 'resnet18'?"),
        (["digits", "--space", "digit"], "Did you mean 'digits'?"),
        (["digits", "--time", "soon"], "--time 'soon' is no duration"),
        (["digits", "--set", "pretrained=true"], "Pretrained weights are forbidden"),
        (["digits", "--cpus-per-trial", "999"], "Ask for less"),
        (["food11", "--data", "nowhere"], "kaggle competitions download"),
    ],
)
def test_a_wrong_call_says_what_to_write_instead(home: Path, arguments: list[str], words: str) -> None:
    data = [] if "--data" in arguments else ["--data", str(home / "digits")]
    result = search(home, *arguments, *data)
    assert result.returncode == 2, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr
