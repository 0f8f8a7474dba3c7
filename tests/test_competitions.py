"""The bench over all competitions: its table, its stand-in folders, and a task that fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.competitions import LAYOUT_OF, TASKS, Row, folder_of, show
from tests.images import food11_folder
from trainables.named import known_modules

DONE = Row(
    task="food11",
    metric="accuracy",
    trials=7,
    method="greedy",
    single=0.41,
    valid=0.4251,
    holdout=0.43,
    holdout_error=0.061,
    rows=880,
    checked=True,
    seconds=121.7,
)


def test_every_task_of_the_bench_exists() -> None:
    assert set(TASKS) | set(LAYOUT_OF.values()) <= set(known_modules("trainables.tasks"))


def test_the_table_has_a_row_a_task_and_the_reason_of_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    show([DONE, Row(task="aptos2019", seconds=3.0, failure="search ended with 2: Error: No data.")])
    head, done, failed, _ = capsys.readouterr().out.splitlines()
    assert " ".join(done.split()) == "food11 accuracy 7 0.4100 0.4251 0.4300 ±0.061 greedy 880 OK 122"
    assert head.index("holdout") == done.index("0.4300")
    assert failed == "aptos2019  search ended with 2: Error: No data."


def test_a_task_without_a_folder_gets_links_to_one_of_its_layout(tmp_path: Path) -> None:
    picture = tmp_path / "data" / "clipart65" / "train" / "0" / "a.jpg"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"jpeg")
    made = folder_of("mygo", tmp_path / "data", tmp_path / "scratch")
    assert (made / "train" / "0" / "a.jpg").read_bytes() == b"jpeg"
    assert (made / "train" / "0" / "a.jpg").is_symlink()
    (tmp_path / "data" / "mygo").mkdir()
    assert folder_of("mygo", tmp_path / "data", tmp_path / "scratch") == tmp_path / "data" / "mygo"


def test_a_task_that_fails_is_told_in_its_row(tmp_path: Path) -> None:
    food11_folder(tmp_path / "food11", train=2, valid=2, test=2, size=8)
    for picture in (tmp_path / "food11" / "training").iterdir():
        picture.unlink()
    program = [sys.executable, "-m", "benchmarks.competitions", "--only", "food11", "--data", str(tmp_path)]
    done = subprocess.run([*program, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    [row] = json.loads(done.stdout)
    assert row["failure"].startswith("search ended with")
    assert "Error:" in row["failure"]
    assert "training" in row["failure"]


def test_a_mistyped_task_gets_the_nearest_name(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "benchmarks.competitions", "--only", "food12", "--data", str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Did you mean 'food11'?" in done.stderr
