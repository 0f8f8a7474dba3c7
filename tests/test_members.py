"""Members that are more than a trial: folds of one training, and finals validated on nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensembles.blend import softmax
from orchestrator import journal
from orchestrator.ensemble import MEMBERS, ensemble, members_for
from orchestrator.folders import SearchFolder
from orchestrator.journal import Journal
from orchestrator.leaderboard import read_bank, read_predictions, trials_named
from orchestrator.submit import submit
from tests.small_search import food11_search, food11_store, logits
from trainables.config import WHOLE
from trainables.folding import pool_ids, pool_targets, write_folds
from trainables.metrics import accuracy
from trainables.predictions import Dense
from trainables.splits import complete
from trainables.store import Part, Store
from trainables.task import load_task

K = 3
TASK = load_task("food11")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("food11")
    made = food11_store(root)
    write_folds(made, complete(TASK.read(root / "data"), heads=TASK.kind.heads), K)
    return made


@pytest.fixture
def search(tmp_path: Path, store: Store) -> SearchFolder:
    return food11_search(tmp_path, store, [0.5, 0.6])


@pytest.fixture
def book(search: SearchFolder) -> Iterator[Journal]:
    log = Journal(search.journal)
    yield log
    log.close()


def write_trial(
    book: Journal, search: SearchFolder, number: int, parts: dict[str, Dense], value: float, **params: Any
) -> None:
    trial_id = f"{number:04d}"
    params = {"model": "convnet", "epochs": 3, "seed": 1000, **params}
    book.append("trial", trial_id=trial_id, number=number, params=params, of="0001")
    search.trial(trial_id).mkdir()
    for name, predictions in parts.items():
        predictions.save(search.trial(trial_id) / f"{name}.npz")
    best = {"value": value, "best_epoch": 2}
    book.append("report", trial_id=trial_id, epoch=2, valid_metric=value, images_per_second=1.0, best=best)
    book.append("end", trial_id=trial_id, state="COMPLETE", reason="")


def write_folds_of(
    book: Journal, search: SearchFolder, store: Store, numbers: Sequence[int], *, skill: float, seed: int
) -> Dense:
    """A group of folds in the search's folder; its out-of-fold logits in the order of the pool."""
    random = np.random.default_rng(seed)
    everything = Part(name="pool", ids=pool_ids(store), targets=pool_targets(store), images=np.zeros(0))
    answers = logits(everything, skill, random)
    order = random.permutation(len(answers))
    for fold, number in enumerate(numbers):
        parts = {name: logits(store.parts[name], skill, random) for name in ("holdout", "test")}
        parts["valid"] = answers.take(order[fold::K])
        write_trial(book, search, number, parts, skill, folds=K, fold=fold, seed=seed)
    return answers


def test_the_folds_of_one_training_are_one_member(book: Journal, search: SearchFolder, store: Store) -> None:
    answers = write_folds_of(book, search, store, [2, 3, 4], skill=0.9, seed=1000)
    result = ensemble(search, task=TASK, k=2, method="best_single")
    assert result.members[0] == "0002-0004"
    rows = range(len(store.parts["train"].ids), len(answers))
    targets = store.parts["valid"].targets
    assert targets is not None
    assert result.images["valid"] == len(targets)  # a single trial beside it answers no more
    assert result.best.valid_value == accuracy(answers.take(rows), targets)


def test_where_every_member_is_folds_the_whole_pool_validates(
    book: Journal, search: SearchFolder, store: Store
) -> None:
    answers = write_folds_of(book, search, store, [2, 3, 4], skill=0.9, seed=1000)
    write_folds_of(book, search, store, [5, 6, 7], skill=0.8, seed=2000)
    result = ensemble(search, task=TASK, method="best_single")
    assert result.members == ("0002-0004", "0005-0007")
    assert result.images["valid"] == len(pool_ids(store))
    assert result.best.valid_value == accuracy(answers, pool_targets(store))
    assert any("train and valid together" in note for note in result.notes)


def test_on_other_images_the_folds_answer_by_the_mean_of_their_probabilities(
    book: Journal, search: SearchFolder, store: Store
) -> None:
    write_folds_of(book, search, store, [2, 3, 4], skill=0.9, seed=1000)
    folds = [Dense.load(search.trial(name) / "test.npz") for name in trials_named("0002-0004")]
    mean = np.mean([softmax(fold.fields["label"]) for fold in folds], axis=0)
    merged = read_predictions(search, "0002-0004", store=store, part="test")
    np.testing.assert_allclose(softmax(merged.fields["label"]), mean, atol=1e-6)


def test_the_submission_is_made_again_from_what_is_on_disk(
    book: Journal, search: SearchFolder, store: Store
) -> None:
    write_folds_of(book, search, store, [2, 3, 4], skill=0.9, seed=1000)
    result = ensemble(search, task=TASK, k=1)
    assert result.best.trial_ids == ("0002-0004",)
    first = submit(search, task=TASK).read_bytes()
    assert submit(search, task=TASK).read_bytes() == first


def test_a_group_that_misses_a_fold_is_left_out_and_named(
    book: Journal, search: SearchFolder, store: Store
) -> None:
    write_folds_of(book, search, store, [2, 3, 4], skill=0.9, seed=1000)
    book.append("end", trial_id="0003", state="FAIL", reason="out of memory")
    result = ensemble(search, task=TASK)
    assert result.members == ("0001", "0000")
    assert "Only 2 of 3 folds of trial 0001 are there: left out." in result.notes


def test_a_damaged_fold_leaves_its_group_out(book: Journal, search: SearchFolder, store: Store) -> None:
    write_folds_of(book, search, store, [2, 3, 4], skill=0.9, seed=1000)
    (search.trial("0003") / "valid.npz").write_bytes(b"cut")
    result = ensemble(search, task=TASK)
    assert result.members == ("0001", "0000")
    assert any("Trials 0002-0004 are left out" in note and "0003" in note for note in result.notes)


def test_without_validation_a_final_is_judged_as_the_trial_it_is_of(
    book: Journal, search: SearchFolder, store: Store
) -> None:
    random = np.random.default_rng(7)
    parts = {name: logits(store.parts[name], 0.9, random) for name in ("holdout", "test")}
    parts["valid"] = parts["holdout"]
    write_trial(book, search, 2, parts, 0.6, folds=WHOLE)
    record = journal.read(search.journal)
    bank = read_bank(search, record, store=store, k=3, task=TASK)
    place = [member.name for member in bank.members].index("0002")
    own = read_predictions(search, "0001", store=store, part="valid")
    np.testing.assert_array_equal(bank.parts["valid"][place].fields["label"], own.fields["label"])
    assert any("of trial 0001, whose validation stands in" in note for note in bank.notes)


def test_without_validation_a_final_that_is_worse_on_the_holdout_is_left_out(
    book: Journal, search: SearchFolder, store: Store
) -> None:
    random = np.random.default_rng(7)
    parts = {name: logits(store.parts[name], 0.05, random) for name in ("valid", "holdout", "test")}
    write_trial(book, search, 2, parts, 0.99, folds=WHOLE)
    result = ensemble(search, task=TASK)
    assert "0002" not in result.members
    assert any("0002 is left out: Trained on train and valid it is worse" in n for n in result.notes)


def test_as_many_members_as_finals_unless_these_are_few(
    book: Journal, search: SearchFolder, store: Store
) -> None:
    assert members_for(journal.read(search.journal)) == MEMBERS
    write_folds_of(book, search, store, [2, 3, 4], skill=0.9, seed=1000)
    assert members_for(journal.read(search.journal)) == MEMBERS
    write_folds_of(book, search, store, [5, 6, 7], skill=0.8, seed=2000)
    assert members_for(journal.read(search.journal)) == 2
