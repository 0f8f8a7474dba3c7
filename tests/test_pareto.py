"""Accuracy against cost: the front, its files and what is left out."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orchestrator import folders, journal, pareto
from orchestrator.folders import SearchFolder
from orchestrator.journal import Journal
from orchestrator.pareto import Point
from trainables.metrics import ACCURACY


def point(trial_id: str, value: float, macs: int) -> Point:
    return Point(trial_id=trial_id, value=value, macs=macs, parameters=macs, megabytes=macs / 1e6)


def made(tmp_path: Path, values: dict[str, tuple[float, int | None]]) -> SearchFolder:
    """A search of complete trials with these scores and costs; None leaves no file of the cost."""
    folder = folders.create(tmp_path, "clipart65", "made")
    log = Journal(folder.journal)
    log.append("search", task="clipart65", direction="maximize", metric="accuracy")
    for number, (trial_id, (value, macs)) in enumerate(values.items()):
        log.append("trial", trial_id=trial_id, number=number, params={"epochs": 1})
        row = {"epoch": 1, "valid_metric": value, "seconds": 1.0, "device": "cpu"}
        log.append("report", trial_id=trial_id, **row, best={"value": value, "best_epoch": 1})
        log.append("end", trial_id=trial_id, state="COMPLETE", reason="")
        folder.trial(trial_id).mkdir()
        if macs is not None:
            cost = {"macs": macs, "parameters": 1000, "megabytes": 0.004}
            (folder.trial(trial_id) / "execution.json").write_text(json.dumps(cost))
    log.close()
    return folder


def test_the_front_leaves_out_what_costs_more_and_scores_no_better() -> None:
    found = [
        point("a", 0.5, 10),
        point("b", 0.7, 20),
        point("c", 0.7, 30),
        point("d", 0.6, 25),
        point("e", 0.9, 40),
    ]
    assert [p.trial_id for p in pareto.front(found, ACCURACY)] == ["a", "b", "e"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=12))
def test_the_front_is_what_no_other_point_dominates(drawn: list[tuple[int, int]]) -> None:
    found = [point(f"{k:02d}", value / 5, macs) for k, (value, macs) in enumerate(drawn)]
    kept = {(p.value, p.macs) for p in pareto.front(found, ACCURACY)}
    free = {
        (p.value, p.macs)
        for p in found
        if not any(
            q.value >= p.value and q.macs <= p.macs and (q.value, q.macs) != (p.value, p.macs) for q in found
        )
    }
    assert kept == free


def test_a_search_gets_its_front_as_a_table_and_a_picture(tmp_path: Path) -> None:
    costs = {
        "0000": (0.8, 30_000_000),
        "0001": (0.7, 40_000_000),
        "0002": (0.6, 9_000_000),
        "0003": (0.9, None),
    }
    folder = made(tmp_path, costs)
    (folder.trial("0003") / "execution.json").write_text("cut off")
    path = pareto.write(folder, journal.read(folder.journal), ACCURACY)
    assert path == folder.path / "pareto.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["trial"], r["front"]) for r in rows] == [("0002", "True"), ("0000", "True"), ("0001", "False")]
    with Image.open(folder.path / "pareto.png") as picture:
        assert picture.width > 300


def test_where_no_cost_is_known_there_is_no_file(tmp_path: Path) -> None:
    folder = made(tmp_path, {"0000": (0.8, None)})
    assert pareto.write(folder, journal.read(folder.journal), ACCURACY) is None
    assert not (folder.path / "pareto.csv").exists()


def test_the_table_shows_the_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    found = [point("0004", 0.5, 10_000_000), point("0001", 0.4, 20_000_000)]
    Console(width=100).print(pareto.table(found, ACCURACY))
    out = capsys.readouterr().out
    assert "0004" in out
    assert "0001" not in out
