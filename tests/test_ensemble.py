"""The ensemble of a search on disk, and its leaderboard."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ensembles.blend import blend
from ensembles.methods import known_methods
from orchestrator import ensemble as command
from orchestrator import folders, journal, leaderboard
from orchestrator.ensemble import EnsembleResult, ensemble, legend, read_result, table
from orchestrator.journal import Journal
from tests.small_search import food11_search, logits
from tests.test_standing import board_file
from trainables.errors import DataError, NoTrialSucceeded, UsageError
from trainables.metrics import accuracy
from trainables.predictions import Dense
from trainables.store import Store, open_store
from trainables.task import Metric, load_task

TASK = load_task("food11")


def text_of(result: EnsembleResult, width: int = 80) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(table(result, baselines=TASK.baselines))
        for line in legend(result, baselines=TASK.baselines):
            console.print(line)
    return capture.get()


def test_the_best_trials_are_compared_and_written_down(search: folders.SearchFolder) -> None:
    result = ensemble(search, task=TASK, k=3)
    assert result.members == ("0001", "0003", "0002")
    assert [row.method for row in result.ensembles] == known_methods()
    assert result.chosen in known_methods()
    assert read_result(search) == result
    written = json.loads(search.ensemble.read_text())
    assert written["method"] == result.chosen
    assert [row["method"] for row in written["table"]] == known_methods()


def test_the_scores_are_those_of_the_blend_on_the_holdout(search: folders.SearchFolder, store: Store) -> None:
    result = ensemble(search, task=TASK, k=3, method="prob_mean")
    members = [Dense.load(search.trial(name) / "holdout.npz") for name in result.best.trial_ids]
    targets = store.parts["holdout"].targets
    assert targets is not None
    assert result.best.holdout_value == accuracy(blend(members, result.best.blend), targets)


def test_further_scores_of_the_task_stand_below_and_choose_nothing(
    search: folders.SearchFolder, store: Store
) -> None:
    wrong = Metric(name="error rate", direction="minimize", fn=lambda p, t: 1 - accuracy(p, t))
    result = ensemble(search, task=replace(TASK, beside=(wrong,)), k=3, method="prob_mean")
    assert result.best.holdout_value is not None
    [note] = [note for note in result.notes if note.startswith("error rate of prob_mean")]
    assert note.endswith(f"holdout {1 - result.best.holdout_value:.4f}.")
    assert result.ensembles == ensemble(search, task=TASK, k=3, method="prob_mean").ensembles


def test_a_method_asked_for_is_chosen_and_stands_beside_the_mean_and_the_best(
    search: folders.SearchFolder,
) -> None:
    result = ensemble(search, task=TASK, method="vote")
    assert result.chosen == "vote"
    assert [row.method for row in result.ensembles] == ["best_single", "prob_mean", "vote"]


def test_fewer_trials_than_asked_for_are_all_used_and_it_is_said(search: folders.SearchFolder) -> None:
    result = ensemble(search, task=TASK, k=9)
    assert len(result.members) == 4
    assert "9 members were asked for; there are 4 trials with predictions." in result.notes


def test_one_trial_is_an_ensemble_too(tmp_path: Path, store: Store) -> None:
    result = ensemble(food11_search(tmp_path, store, [0.7]), task=TASK)
    assert result.chosen == "best_single"
    assert "Trial 0000 alone" in text_of(result)


def test_a_cut_file_leaves_its_trial_out_and_the_next_one_joins(search: folders.SearchFolder) -> None:
    path = search.trial("0001") / "test.npz"
    path.write_bytes(path.read_bytes()[:100])
    result = ensemble(search, task=TASK, k=2)
    assert result.members == ("0003", "0002")
    assert any("0001 is left out" in note and "test.npz" in note for note in result.notes)


def test_predictions_that_are_no_numbers_or_of_other_images_are_left_out(
    search: folders.SearchFolder, store: Store
) -> None:
    good = Dense.load(search.trial("0001") / "valid.npz")
    good.take(range(len(good) - 1)).save(search.trial("0001") / "valid.npz")
    broken = logits(store.parts["holdout"], 0.5, np.random.default_rng(0))
    broken.fields["label"][3, 4] = np.nan
    broken.save(search.trial("0003") / "holdout.npz")
    result = ensemble(search, task=TASK)
    assert result.members == ("0002", "0000")
    notes = " ".join(result.notes)
    assert "0001 is left out: Members answer different images" in notes
    assert "some predictions are no numbers" in notes


def test_predictions_in_another_order_are_put_in_order(search: folders.SearchFolder) -> None:
    before = ensemble(search, task=TASK)
    path = search.trial("0001") / "valid.npz"
    good = Dense.load(path)
    good.take(np.random.default_rng(0).permutation(len(good))).save(path)
    assert ensemble(search, task=TASK).ensembles == before.ensembles


def test_a_trial_still_running_is_no_member(search: folders.SearchFolder) -> None:
    log = Journal(search.journal)
    log.append("trial", trial_id="0009", number=9, params={"model": "convnet"})
    best = {"value": 0.999, "best_epoch": 1}
    log.append("report", trial_id="0009", epoch=1, valid_metric=0.999, images_per_second=1.0, best=best)
    log.close()
    result = ensemble(search, task=TASK, k=4)
    assert "0009" not in result.members
    assert not any("0009" in note for note in result.notes)


def test_without_any_predictions_the_first_reason_is_told(tmp_path: Path, store: Store) -> None:
    search = food11_search(tmp_path, store, [])
    log = Journal(search.journal)
    log.append("trial", trial_id="0000", number=0, params={"model": "convnet"})
    log.append("end", trial_id="0000", state="FAIL", reason="loss is nan in epoch 1")
    log.close()
    with pytest.raises(NoTrialSucceeded, match="trial 0000: loss is nan in epoch 1") as error:
        ensemble(search, task=TASK)
    assert error.value.exit_code == 4
    assert not search.ensemble.exists()


def test_a_store_that_is_gone_is_named(tmp_path: Path, store: Store) -> None:
    copy = shutil.copytree(store.folder, tmp_path / "data" / "store")
    search = food11_search(tmp_path, open_store(copy), [0.5])
    shutil.rmtree(copy)
    with pytest.raises(DataError, match="prepared images in"):
        ensemble(search, task=TASK)


def test_a_mistyped_method_gets_the_nearest_name(search: folders.SearchFolder) -> None:
    with pytest.raises(UsageError) as error:
        ensemble(search, task=TASK, method="votes")
    assert "Did you mean 'vote'?" in str(error.value)


def test_a_damaged_result_is_named(search: folders.SearchFolder) -> None:
    search.ensemble.write_text('{"table": [{}]}')
    with pytest.raises(DataError, match=r"ensemble\.json is damaged"):
        read_result(search)


def test_the_table_marks_the_chosen_names_ties_and_fits_eighty_columns(search: folders.SearchFolder) -> None:
    result = ensemble(search, task=TASK)
    text = text_of(result)
    assert f"* {result.chosen} " in text
    assert "0.8845" in text  # of the boss baseline
    assert "tie" in text
    assert "±" in text
    assert "…" not in text
    assert "trained once (seeds 0, 1)" in text.replace("\n", " ")
    assert result.best.ties or any("vote: tied on" in note for note in result.notes)


def test_the_command_prints_the_table_and_the_path(
    search: folders.SearchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main("food11", out=search.path.parent.parent)
    out = capsys.readouterr().out
    assert "greedy" in out
    assert f"Written: {search.ensemble}" in out


def test_json_is_one_object_and_nothing_else(
    search: folders.SearchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main("food11", k=2, out=search.path.parent.parent, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["members"] == ["0001", "0003"]
    assert printed["path"] == str(search.ensemble)
    assert printed["standing"]["value"] == printed["holdout_value"]
    assert printed["standing"]["ranks"] == []


def test_the_holdout_score_is_placed_among_baselines_and_teams(
    search: folders.SearchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board_file(tmp_path / "data" / "leaderboard.csv", [f"{k / 100:.2f}" for k in range(100)])
    command.main("food11", out=search.path.parent.parent)
    out = " ".join(capsys.readouterr().out.split())
    assert "among the baselines." in out
    assert "of 101 teams" in out
    assert "if the public test is like the holdout." in out
    mine = board_file(tmp_path / "mine.csv", [f"{k / 100:.2f}" for k in range(50)])
    command.main("food11", leaderboard=mine, out=search.path.parent.parent, as_json=True)
    assert json.loads(capsys.readouterr().out)["standing"]["teams"] == 51


def test_it_needs_neither_torch_nor_ray_nor_pandas(search: folders.SearchFolder) -> None:
    heavy = ("torch", "ray", "optuna", "mlflow", "pandas", "sklearn", "timm", "kornia")
    script = (
        "import sys; from pathlib import Path; from orchestrator import ensemble, submit;"
        f"ensemble.main('food11', out=Path({str(search.path.parent.parent)!r}));"
        f"submit.main('food11', out=Path({str(search.path.parent.parent)!r}));"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["food12"], 2, "Did you mean 'food11'?"),
        (["food11", "--search", "mode"], 2, "Did you mean 'made'?"),
        (["food11", "--method", "gredy"], 2, "Did you mean 'greedy'?"),
    ],
)
def test_a_mistyped_name_ends_with_the_nearest_one(
    search: folders.SearchFolder, arguments: list[str], code: int, text: str
) -> None:
    program = [sys.executable, "-m", "orchestrator.ensemble", *arguments]
    done = subprocess.run(
        [*program, "--out", search.path.parent.parent], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_the_leaderboard_ranks_and_keeps_the_failed(search: folders.SearchFolder) -> None:
    log = Journal(search.journal)
    log.append("trial", trial_id="0004", number=4, params={"model": "resnet18", "depth": 3})
    log.append("end", trial_id="0004", state="FAIL", reason="out of memory, batch 64")
    log.close()
    record = journal.read(search.journal)
    leaderboard.write(record, search.leaderboard)
    with search.leaderboard.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["0001", "0003", "0002", "0000", "0004"]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", ""]
    assert (rows[0]["best_epoch"], rows[0]["epochs_run"], rows[0]["epochs"]) == ("2", "1", "3")
    assert (rows[4]["reason"], rows[4]["value"], rows[4]["depth"]) == ("out of memory, batch 64", "", "3")
    assert float(rows[0]["value"]) == record.trials["0001"].value


def test_the_leaderboard_shows_what_differs_and_fits_the_screen(search: folders.SearchFolder) -> None:
    record = journal.read(search.journal)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(leaderboard.table(record, width=80, limit=3))
    lines = capture.get().splitlines()
    assert len(lines) == 4
    assert "lr" in lines[0]
    assert "model" not in lines[0]
    assert "0001" in lines[1]
    assert max(map(len, lines)) <= 80
    narrow = leaderboard.table(record, width=45, limit=3)
    assert [column.header for column in narrow.columns][-1] == "time"
