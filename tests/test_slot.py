"""A slot: one child a trial, from a warm server; whatever happens in a child stays there."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.slot import Assignment, Slot
from trainables import store
from trainables.splits import complete
from trainables.task import load_task


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("slot")
    task = load_task("digits")
    splits = complete(task.read(root / "digits"), heads=task.kind.heads)
    return store.prepare(task, splits, side=16, root=root / "stores").folder


@pytest.fixture(scope="module")
def slot() -> Iterator[Slot]:
    """One for the module: the server takes seconds to warm up, each child after it milliseconds."""
    slot = Slot()
    yield slot
    slot.finish()


def assignment(prepared: Path, folder: Path, **changes: Any) -> Assignment:
    params = {"model": "convnet", "depth": 2, "width": 8, "image_size": 16, "epochs": 2, "batch_size": 128}
    return Assignment(
        task=changes.pop("task", "digits"),
        store=str(prepared),
        folder=str(folder),
        params={**params, **changes},
        threads=1,
        deadline=changes.pop("deadline", float("inf")),
        stop_file=str(folder / "STOP"),
    )


def test_a_trial_reports_each_epoch_and_the_last_when_all_is_written(
    slot: Slot, prepared: Path, tmp_path: Path
) -> None:
    slot.start(assignment(prepared, tmp_path))
    outcome, row = slot.next()
    assert (outcome, row["epoch"]) == ("report", 1)
    outcome, row = slot.next()
    assert (outcome, row["epoch"]) == ("report", 2)
    assert (tmp_path / "test.npz").exists()


def test_a_trial_out_of_patience_says_so_when_all_is_written(
    slot: Slot, prepared: Path, tmp_path: Path
) -> None:
    slot.start(assignment(prepared, tmp_path, epochs=500, patience=1, lr=1e-12))
    rows: list[dict[str, Any]] = []
    while not rows or not rows[-1]["last"]:
        outcome, row = slot.next()
        assert outcome == "report"
        assert row["epoch"] == len(rows) + 1
        rows.append(row)
    assert len(rows) < 20
    assert (tmp_path / "test.npz").exists()
    assert slot.next() == ("done", {"why": ""})


def test_a_trial_that_is_stopped_writes_its_best_epoch(slot: Slot, prepared: Path, tmp_path: Path) -> None:
    slot.start(assignment(prepared, tmp_path, epochs=50))
    assert slot.next()[0] == "report"
    slot.finish()
    assert (tmp_path / "weights.safetensors").exists()
    assert (tmp_path / "test.npz").exists()


STRICT = """
from dataclasses import replace
from trainables.task import Rules
from trainables.tasks.digits import TASK as DIGITS

small = Rules(pretrained=False, external_data=False, macs=1e5, wording="nothing large.")
TASK = replace(DIGITS, name="strict", space_rules={"tiny": small})
"""


def test_a_network_outside_the_bounds_of_its_space_is_refused_before_its_first_step(
    slot: Slot, prepared: Path, tmp_path: Path
) -> None:
    (tmp_path / "strict.py").write_text(STRICT)
    strict = assignment(prepared, tmp_path / "trial", task=str(tmp_path / "strict.py"))
    slot.start(replace(strict, space="tiny"))
    outcome, body = slot.next()
    assert outcome == "refused"
    assert "more than the 0 million allowed: nothing large." in body["reason"]
    slot.start(strict)
    assert slot.next()[0] == "report"
    slot.finish()


def test_an_error_is_told_in_one_line_and_kept_in_the_log(slot: Slot, prepared: Path, tmp_path: Path) -> None:
    slot.start(assignment(prepared, tmp_path, lr=1e30))
    outcome, body = slot.next()
    assert outcome == "failed"
    assert "Diverged" in body["reason"]
    assert "Traceback" in (tmp_path / "trial.log").read_text()


def test_checkpoints_of_a_trial_that_failed_stay_until_that_is_known(
    slot: Slot, prepared: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoints" / "1.checkpoint"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"of the epoch before")
    slot.start(assignment(prepared, tmp_path, lr=1e30))
    assert slot.next()[0] == "failed"
    assert checkpoint.exists()
    slot.finish()
    assert not checkpoint.exists()


def test_a_killed_child_costs_that_trial_only(slot: Slot, prepared: Path, tmp_path: Path) -> None:
    slot.start(assignment(prepared, tmp_path / "one", epochs=50))
    assert slot.next()[0] == "report"
    assert slot.pid is not None
    os.kill(slot.pid, signal.SIGKILL)
    outcome, body = slot.next()
    assert (outcome, "SIGKILL" in body["reason"]) == ("died", True)
    slot.start(assignment(prepared, tmp_path / "two"))
    assert slot.next()[0] == "report"


def test_a_child_that_hangs_is_killed_and_another_goes_on_from_its_checkpoint(
    slot: Slot, prepared: Path, tmp_path: Path
) -> None:
    begun = assignment(prepared, tmp_path, epochs=4)
    slot.start(begun)
    assert slot.next()[0] == "report"
    assert slot.pid is not None
    os.kill(slot.pid, signal.SIGSTOP)
    slot._assignment = replace(begun, silent_s=0.5)
    outcome, body = slot.next()
    assert (outcome, "said nothing for 0 s" in body["reason"]) == ("died", True)
    slot.start(replace(begun, known=1))
    rows = [slot.next()[1] for _ in range(3)]
    assert [row["epoch"] for row in rows] == [2, 3, 4]


def test_a_trial_whose_end_nobody_took_in_ends_again_without_training(
    slot: Slot, prepared: Path, tmp_path: Path
) -> None:
    asked = assignment(prepared, tmp_path)
    killed = Slot()
    killed.start(asked)
    killed.next()
    outcome, last = killed.next()
    assert (outcome, last["last"]) == ("report", True)
    assert killed._child is not None
    killed._child.pipe.close()  # as when its driver is killed, and the process of the slot with it
    killed.close()
    slot.start(replace(asked, known=1))
    assert slot.next() == (outcome, last)  # the seconds that it took as well
    slot.finish()
    assert not (tmp_path / "checkpoints").exists()


def test_a_trial_ends_with_what_it_has_when_told_or_out_of_time(
    slot: Slot, prepared: Path, tmp_path: Path
) -> None:
    slot.start(assignment(prepared, tmp_path, epochs=1000))
    assert slot.next()[0] == "report"
    (tmp_path / "STOP").touch()
    messages = [slot.next() for _ in range(1)]
    while messages[-1][0] == "report":
        messages.append(slot.next())
    assert messages[-1] == ("done", {"why": "the search was stopped"})
    assert (tmp_path / "valid.npz").exists()


def test_a_slot_starts_its_next_trial_at_once(slot: Slot, prepared: Path, tmp_path: Path) -> None:
    slot.start(assignment(prepared, tmp_path / "warm"))
    slot.next()
    slot.finish()
    begun = time.monotonic()
    slot.start(assignment(prepared, tmp_path / "next", epochs=1))
    slot.next()
    assert time.monotonic() - begun < 5, "the server was not warm"


def test_the_next_child_stands_by_while_a_trial_runs_and_goes_with_the_slot(
    prepared: Path, tmp_path: Path
) -> None:
    own = Slot()
    own.start(assignment(prepared, tmp_path / "one", epochs=50))
    assert own.next()[0] == "report"
    spare = own._spare
    assert spare is not None
    own.start(assignment(prepared, tmp_path / "two", epochs=50))
    assert own.pid == spare.process.pid
    assert own.next()[0] == "report"
    assert own._spare is not None
    last = own._spare.process
    own.close()
    assert not last.is_alive()


def test_a_spare_child_that_was_killed_is_replaced(slot: Slot, prepared: Path, tmp_path: Path) -> None:
    slot.start(assignment(prepared, tmp_path / "one", epochs=50))
    assert slot.next()[0] == "report"
    assert slot._spare is not None
    slot._spare.process.kill()
    slot._spare.process.join()
    slot.start(assignment(prepared, tmp_path / "two"))
    assert slot.next()[0] == "report"
