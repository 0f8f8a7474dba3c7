"""Searches that end in finals, really run."""

import csv
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator import folders, journal
from tests.test_search import HERE, PLAIN, search, start


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def by_folds(home: Path) -> "subprocess.CompletedProcess[str]":
    """Two short trials, the better one trained again as two folds."""
    given = ("--trials", "2", "--max-epochs", "2", "--folds", "2", "--id", "folds", "--json")
    result = search(home, "digits", "--data", str(home / "digits"), *given)
    assert result.returncode == 0, result.stderr
    return result


def test_finals_are_trials_of_the_same_search(
    home: Path, by_folds: "subprocess.CompletedProcess[str]"
) -> None:
    record = journal.read(folders.find(home / "runs", "digits", "folds").journal)
    assert record.finished == "the finals are done"
    finals = [trial for trial in record.trials.values() if trial.of]
    assert len(finals) == record.finals == 2
    assert [trial.params["fold"] for trial in finals] == [0, 1]
    assert {trial.state for trial in finals} == {"COMPLETE"}
    assert "the search proper is over: 2 finals" in by_folds.stderr


def test_the_ensemble_counts_the_folds_as_one_member(by_folds: "subprocess.CompletedProcess[str]") -> None:
    answer = json.loads(by_folds.stdout)
    assert "0002-0003" in answer["members"]
    assert all(Path(path).exists() for path in answer["paths"].values())


def test_mlflow_tells_finals_from_the_search(
    home: Path, by_folds: "subprocess.CompletedProcess[str]"
) -> None:
    with sqlite3.connect(home / "runs" / "mlflow.db") as db:
        query = "select value, count(*) from tags where key = 'phase' group by value"
        assert dict(db.execute(query).fetchall()) == {"search": 2, "final": 2}
    db.close()


def test_an_ensemble_made_anew_is_tracked_too(
    home: Path, by_folds: "subprocess.CompletedProcess[str]"
) -> None:
    command = [
        sys.executable,
        "-m",
        "orchestrator.ensemble",
        "digits",
        "--search",
        "folds",
        "--method",
        "vote",
    ]
    again = subprocess.run(
        [*command, "--out", home / "runs"], cwd=HERE, env=PLAIN, capture_output=True, text=True, check=True
    )
    assert "misses" not in again.stderr
    with sqlite3.connect(home / "runs" / "mlflow.db") as db:
        query = "select count(*) from tags where key = 'kind' and value = 'ensemble'"
        assert db.execute(query).fetchone() == (2,)
    db.close()


def test_the_leaderboard_says_of_which_trial_a_final_is(
    home: Path, by_folds: "subprocess.CompletedProcess[str]"
) -> None:
    record = journal.read(folders.find(home / "runs", "digits", "folds").journal)
    with (home / "runs" / "digits" / "folds" / "leaderboard.csv").open(newline="") as file:
        said = {row["trial"]: row["of"] for row in csv.DictReader(file)}
    assert said == {trial.trial_id: trial.of for trial in record.trials.values()}


def test_a_signal_ends_the_finals_in_order(home: Path) -> None:
    given = ("--trials", "1", "--max-epochs", "2", "--final", "1", "--final-epochs", "500", "--id", "cut")
    process = start(home, "digits", "--data", str(home / "digits"), *given)
    path = home / "runs" / "digits" / "cut" / "journal.jsonl"
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if (
            path.exists()
            and path.stat().st_size
            and any(t.of and t.epoch for t in journal.read(path).trials.values())
        ):
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    record = journal.read(path)
    assert record.finished == "interrupted by SIGINT"
    assert all(trial.state != "RUNNING" for trial in record.trials.values())
    assert (path.parent / "submission.csv").exists()


def test_the_plan_shows_the_finals(home: Path) -> None:
    given = ("--time", "20m", "--final-epochs", "60", "--dry-run")
    result = search(home, "digits", "--data", str(home / "digits"), *given)
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stdout.split())
    assert "after 5 min up to 3 of the best configurations again, 2 seeds each, 60 epochs" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--folds", "2", "--final-on", "train+valid"), "Leave one of the two out"),
        (("--final", "0", "--folds", "3"), "--final 0 wants no finals"),
        (("--set", "folds=3"), "--folds 3"),
    ],
)
def test_wishes_that_cannot_be_are_refused(home: Path, arguments: tuple[str, ...], words: str) -> None:
    result = search(home, "digits", "--data", str(home / "digits"), *arguments)
    assert result.returncode == 2, result.stderr
    assert words in result.stderr
