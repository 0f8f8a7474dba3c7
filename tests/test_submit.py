"""From a search on disk to a checked submission."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ensembles.blend import blend
from ensembles.merging import Blend
from orchestrator import folders
from orchestrator import submit as command
from orchestrator.ensemble import ensemble, read_result
from orchestrator.submit import submit, what_to_answer
from trainables.decisions import Offsets
from trainables.errors import DataError, InvalidSubmission, UsageError
from trainables.predictions import Dense
from trainables.store import Store
from trainables.task import load_task

TASK = load_task("food11")


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_submission_is_the_chosen_blend_of_the_test_images(
    search: folders.SearchFolder, store: Store
) -> None:
    result = ensemble(search, task=TASK)
    path = submit(search, task=TASK)
    assert path == search.path / "submission.csv"
    members = [Dense.load(search.trial(name) / "test.npz") for name in result.best.trial_ids]
    labels = blend(members, result.best.blend).fields["label"].argmax(1)
    wanted = [[name, str(k)] for name, k in zip(store.parts["test"].ids, labels, strict=True)]
    assert rows_of(path) == [["Id", "Category"], *wanted]
    assert not (search.path / ".unchecked").exists()


def test_without_an_ensemble_one_is_made(search: folders.SearchFolder) -> None:
    submit(search, task=TASK)
    assert read_result(search) is not None


def test_another_method_can_be_handed_in_and_the_chosen_one_stays(search: folders.SearchFolder) -> None:
    ensemble(search, task=TASK, k=3, method="greedy")
    path = submit(search, task=TASK, method="vote")
    members = [Dense.load(search.trial(name) / "test.npz") for name in ("0001", "0003", "0002")]
    labels = blend(members, Blend("vote", (1, 1, 1))).fields["label"].argmax(1)
    assert [row[1] for row in rows_of(path)[1:]] == [str(k) for k in labels]
    kept = read_result(search)
    assert kept is not None
    assert kept.chosen == "greedy"


def test_the_organisers_sample_gives_the_order(search: folders.SearchFolder, store: Store) -> None:
    backwards = store.parts["test"].ids[::-1]
    sample = search.path.parents[2] / "data" / "sample_submission.csv"
    sample.write_text("Id,Category\n" + "".join(f"{name},0\n" for name in backwards))
    before = {row[0]: row[1] for row in rows_of(_without(sample, search))}
    rows = rows_of(submit(search, task=TASK))[1:]
    assert [row[0] for row in rows] == list(backwards)
    assert dict(map(tuple, rows)) == {k: v for k, v in before.items() if k != "Id"}  # type: ignore[arg-type]


def _without(sample: Path, search: folders.SearchFolder) -> Path:
    """The submission that is written where the sample is away."""
    text = sample.read_text()
    sample.unlink()
    path = submit(search, task=TASK).rename(search.path / "before.csv")
    sample.write_text(text)
    return path


def test_a_sample_of_other_images_is_refused_and_nothing_is_written(search: folders.SearchFolder) -> None:
    (search.path.parents[2] / "data" / "sample_submission.csv").write_text("Id,Category\n0000,0\n9999,0\n")
    with pytest.raises(DataError, match="9999"):
        submit(search, task=TASK)
    assert not (search.path / "submission.csv").exists()


def test_data_that_is_gone_by_now_is_not_needed(search: folders.SearchFolder) -> None:
    shutil.rmtree(search.path.parents[2] / "data")
    assert len(rows_of(submit(search, task=TASK))) == 21


def test_a_member_that_is_gone_by_now_is_named(search: folders.SearchFolder) -> None:
    ensemble(search, task=TASK, method="best_single")
    (search.trial("0001") / "test.npz").unlink()
    with pytest.raises(DataError, match=r"0001/test\.npz"):
        submit(search, task=TASK)


def test_a_mistyped_method_gets_the_nearest_name(search: folders.SearchFolder) -> None:
    with pytest.raises(UsageError) as error:
        submit(search, task=TASK, method="best_singel")
    assert "Did you mean 'best_single'?" in str(error.value)


def swap(lines: list[str]) -> list[str]:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


SPOILED: dict[str, Callable[[list[str]], list[str]]] = {
    "header": lambda lines: ["id,label", *lines[1:]],
    "0019": lambda lines: lines[:-1],
    "wrong order": swap,
    "already": lambda lines: [*lines, lines[-1]],
    "unknown label": lambda lines: [*lines[:-1], "0019,11"],
}


@pytest.mark.parametrize("reason", SPOILED)
def test_a_spoiled_submission_ends_with_its_reason_and_code_3(
    search: folders.SearchFolder, reason: str
) -> None:
    good = submit(search, task=TASK)
    spoiled = search.path / "spoiled.csv"
    spoiled.write_text("\n".join(SPOILED[reason](good.read_text().splitlines())) + "\n")
    with pytest.raises(InvalidSubmission, match=reason) as error:
        command.main("food11", check_file=spoiled, out=search.path.parent.parent)
    assert error.value.exit_code == 3
    assert "spoiled.csv" in str(error.value)


def test_a_check_needs_data_or_a_search_but_not_both(
    search: folders.SearchFolder,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCH_DATA", raising=False)
    good, out = submit(search, task=TASK), tmp_path / "runs"
    command.main("food11", check_file=good, data_root=tmp_path / "data", out=tmp_path / "nowhere")
    command.main("food11", check_file=good, out=out)
    command.main("food11", check_file=good, search="made", out=out)
    assert capsys.readouterr().out == "OK: 20 rows\n" * 3
    monkeypatch.setenv("ORCH_DATA", str(tmp_path / "data"))
    _, ids = what_to_answer(TASK, root=None, out=tmp_path / "nowhere", search=None)
    assert ids == store.parts["test"].ids


def test_without_data_and_without_a_search_it_is_said_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCH_DATA", raising=False)
    with pytest.raises(UsageError, match="No food11 data") as error:
        command.main("food11", check_file=tmp_path / "a.csv", out=tmp_path / "runs")
    assert "kaggle competitions download" in error.value.fix


def test_options_that_do_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data is for --check"):
        command.main("food11", data_root=tmp_path)
    with pytest.raises(UsageError, match="--method do not go together"):
        command.main("food11", check_file=tmp_path / "a.csv", method="vote")


def test_the_command_says_what_it_wrote(
    search: folders.SearchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    out = search.path.parent.parent
    command.main("food11", method="vote", out=out)
    assert "OK: 20 rows of vote" in capsys.readouterr().out
    command.main("food11", method="vote", out=out, as_json=True)
    path = str(search.path / "submission.csv")
    assert json.loads(capsys.readouterr().out) == {
        "path": path,
        "rows": 20,
        "method": "vote",
        "number": 1,
    }


def test_from_the_command_line(search: folders.SearchFolder) -> None:
    program = [sys.executable, "-m", "orchestrator.submit", "food11", "--out", str(search.path.parents[1])]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert "OK: 20 rows" in done.stdout
    bad = search.path / "bad.csv"
    bad.write_text("Id,Category\n")
    failed = subprocess.run([*program, "--check", str(bad)], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (3, "")
    assert "bad.csv" in failed.stderr


def test_a_fitted_decision_that_was_kept_is_applied_to_the_answer(search: folders.SearchFolder) -> None:
    result = ensemble(search, task=TASK)
    stored = json.loads(search.ensemble.read_text())
    for row in (stored, *stored["table"]):
        row["decision"] = [-99.0] * 3 + [99.0] + [-99.0] * 7
    search.ensemble.write_text(json.dumps(stored))
    decided = replace(TASK, decision=Offsets())
    assert {label for _, label in rows_of(submit(search, task=decided))[1:]} == {"3"}
    ensemble(search, task=TASK)
    assert read_result(search) == result
    assert {label for _, label in rows_of(submit(search, task=TASK))[1:]} != {"3"}


def test_with_and_without_a_fitted_decision_stand_in_the_notes(search: folders.SearchFolder) -> None:
    result = ensemble(search, task=replace(TASK, decision=Offsets()))
    assert all(row.plain_value is not None for row in result.ensembles)
    assert all(row.plain_value <= row.valid_value for row in result.ensembles if row.plain_value is not None)
    assert any("decision" in note and "fitted" in note for note in result.notes)
    assert read_result(search) == result
