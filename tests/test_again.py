"""Trials and submissions made once more from what a search left."""

import json
import shutil
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator import journal
from orchestrator.again import replay, submission_again
from orchestrator.ensemble import ensemble
from orchestrator.folders import SearchFolder, point_latest
from orchestrator.journal import Journal
from orchestrator.submit import submit
from tests.made_search import MadeSearch, digits_store
from trainables.config import trial_config
from trainables.errors import DataError, UsageError
from trainables.restored import restored
from trainables.store import open_store
from trainables.task import load_task
from trainables.train import EpochReport, train

PARAMS = {
    "model": "convnet",
    "image_size": 8,
    "epochs": 3,
    "batch_size": 16,
    "width": 8,
    "depth": 1,
    "rotation": 9.0,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    """Two trials of the digits, really trained; the second is stopped after two of its three epochs."""
    made = MadeSearch(tmp_path_factory.mktemp("runs"), digits_store(tmp_path_factory), data="nowhere")
    task = load_task("digits").with_heads(made.store.heads)
    for number, epochs in ((0, 3), (1, 2)):
        config = trial_config({**PARAMS, "seed": number})
        trial_id = made.start(number, **config.params())
        rows: list[EpochReport] = []

        def report(row: EpochReport, rows: list[EpochReport] = rows, epochs: int = epochs) -> bool:
            rows.append(row)
            return row.epoch < epochs

        result = train(task, made.store, config, report, folder=made.folder.trial(trial_id))
        for row in rows:
            best = {"value": result.value, "best_epoch": result.best_epoch}
            made.journal.append("report", trial_id=trial_id, **asdict(row), device="cpu", best=best)
        state = "COMPLETE" if epochs == 3 else "PRUNED"
        made.journal.append("end", trial_id=trial_id, state=state, reason="")
    folder = made.finish()
    point_latest(folder)
    ensemble(folder, task=task)
    return folder


def test_restored_network_answers_with_the_same_bits(trained: SearchFolder, tmp_path: Path) -> None:
    store = open_store(Path(json.loads(trained.asked.read_text())["store"]))
    trainer = restored(trained.trial("0000"), load_task("digits").with_heads(store.heads), store)
    trainer.predict(trainer.validate().answers, tmp_path, views="none")
    for part in ("valid.npz", "holdout.npz", "test.npz"):
        assert (tmp_path / part).read_bytes() == (trained.trial("0000") / part).read_bytes()


@pytest.mark.parametrize(("which", "epochs"), [("0000", 3), ("made-up/0001", 2)])
def test_trial_comes_out_the_same_for_as_many_epochs_as_it_ran(
    trained: SearchFolder, which: str, epochs: int
) -> None:
    heard: list[int] = []
    found = replay(trained.path.parent.parent, "digits", which, heard=lambda row: heard.append(row.epoch))
    assert found.same
    assert found.close
    assert heard == list(range(1, epochs + 1))
    assert "bit for bit" in found.sentence()


def test_weights_that_the_cap_of_the_disk_took_are_told_and_not_compared(
    trained: SearchFolder, tmp_path: Path
) -> None:
    folder = SearchFolder(shutil.copytree(trained.path, tmp_path / "digits" / "made-up"))
    with closing(Journal(folder.journal)) as book:
        book.append("dropped", trial_ids=["0000", "0001"], bytes=1)
    for name in ("0000", "0001"):
        (folder.trial(name) / "weights.safetensors").unlink()
    found = replay(tmp_path, "digits", "made-up/0001")
    assert found.same
    assert "predictions; score" in found.sentence()
    assert found.sentence().endswith("Not compared, for it is gone: weights.safetensors.")
    with pytest.raises(DataError, match="--disk removed them when others were better"):
        submission_again(folder, load_task("digits"), lambda _: None)
    store = open_store(Path(journal.read(folder.journal).asked["store"]))
    with pytest.raises(DataError, match=r"does not exist: the trial failed, or .* its --disk"):
        restored(folder.trial("0000"), load_task("digits").with_heads(store.heads), store)


def test_other_execution_is_told_with_what_differs(trained: SearchFolder) -> None:
    """Gradients summed in two halves round differently: no longer the same bits, and about the same score."""
    path = trained.trial("0000") / "execution.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "micro_batches": 2}))
    try:
        found = replay(trained.path.parent.parent, "digits", "0000")
    finally:
        path.write_text(before)
    assert not found.same
    assert "weights.safetensors" in found.differs
    assert found.tolerance > 0
    assert "Not the same bits" in found.sentence()


@pytest.mark.parametrize("which", ["0007", "made-up/12"])
def test_unknown_trial_is_refused(trained: SearchFolder, which: str) -> None:
    with pytest.raises(UsageError, match="trial"):
        replay(trained.path.parent.parent, "digits", which)


def test_submission_is_made_again_from_the_weights(trained: SearchFolder) -> None:
    task = load_task("digits")
    before = submit(trained, task=task)
    path, same = submission_again(trained, task, lambda _: None)
    assert same
    assert path != before
    assert path.read_bytes() == before.read_bytes()


def test_submission_of_other_weights_is_another(trained: SearchFolder) -> None:
    from safetensors.torch import load_file, save_file

    submit(trained, task=load_task("digits"))
    weights = trained.trial("0000") / "weights.safetensors"
    before = weights.read_bytes()
    turned = {name: -value if value.ndim == 2 else value for name, value in load_file(weights).items()}
    save_file(turned, weights)
    try:
        _, same = submission_again(trained, load_task("digits"), lambda _: None)
        assert not same
        weights.unlink()
        with pytest.raises(DataError, match="weights"):
            submission_again(trained, load_task("digits"), lambda _: None)
    finally:
        weights.write_bytes(before)
