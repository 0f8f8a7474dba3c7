"""Train and valid as one pool: every image once out of fold, nothing copied, nothing leaked."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.images import food11_folder
from tests.test_train import QUICK, store, task
from trainables.config import WHOLE, trial_config
from trainables.errors import DataError, UsageError
from trainables.folding import folded, folds_path, pool, pool_ids, read_folds, write_folds
from trainables.predictions import Dense
from trainables.splits import complete
from trainables.store import Store, prepare
from trainables.task import Sample, Splits, load_task
from trainables.train import EpochReport, train

K = 3
CONFIG = trial_config({**QUICK, "folds": K})


def samples_of(made: Store) -> Splits:
    """The samples that a made store stands for."""
    parts = {}
    for name in ("train", "valid"):
        targets = made.parts[name].targets
        assert targets is not None
        pairs = zip(made.parts[name].ids, targets, strict=True)
        parts[name] = tuple(Sample(id=id, path=Path(id), target=tuple(map(int, row))) for id, row in pairs)
    return Splits(train=parts["train"], valid=parts["valid"])


@pytest.fixture
def made(tmp_path: Path) -> Store:
    found = dataclasses.replace(store(), folder=tmp_path)
    write_folds(found, samples_of(found), K)
    return found


def test_every_image_is_validated_once_and_trained_on_in_all_other_folds(made: Store) -> None:
    seen = np.zeros(len(pool_ids(made)), dtype=int)
    for fold in range(K):
        parts = folded(made, dataclasses.replace(CONFIG, fold=fold))
        train_rows, valid_rows = parts["train"].rows, parts["valid"].rows
        assert train_rows is not None
        assert valid_rows is not None
        assert not set(train_rows) & set(valid_rows)
        assert len(train_rows) + len(valid_rows) == len(seen)
        seen[valid_rows] += 1
    assert (seen == 1).all()


def test_holdout_and_test_stay_as_they_are(made: Store) -> None:
    for config in (CONFIG, dataclasses.replace(CONFIG, folds=WHOLE)):
        parts = folded(made, config)
        assert parts["holdout"] is made.parts["holdout"]
        assert parts["test"] is made.parts["test"]
        assert not set(parts["train"].ids) & set(made.parts["holdout"].ids)


def test_without_folds_the_parts_are_the_datas_own(made: Store) -> None:
    assert folded(made, trial_config(QUICK)) is made.parts


def test_each_fold_has_its_share_of_every_class(made: Store) -> None:
    targets = pool(made).targets
    assert targets is not None
    place = read_folds(made, K)
    counts = [np.bincount(targets[place == fold, 0], minlength=3) for fold in range(K)]
    assert np.ptp(counts, axis=0).max() <= 1


def test_the_pool_of_a_stored_data_set_is_a_view_of_it(tmp_path: Path) -> None:
    description = load_task("food11")
    data = food11_folder(tmp_path / "data", train=2, valid=3, test=1, size=8)
    splits = complete(description.read(data), heads=description.kind.heads)
    found = prepare(description, splits, side=8, root=tmp_path / "stores", workers=1)
    together = pool(found)
    apart = [found.parts[name].images for name in ("train", "valid")]
    assert np.shares_memory(together.images, apart[0])
    assert np.shares_memory(together.images, apart[1])
    assert not together.images.flags.writeable
    assert (together.images == np.concatenate(apart)).all()
    assert len(set(together.ids)) == len(together.ids)  # 0_1 names an image of train and one of valid


def test_a_trial_of_a_fold_answers_the_images_it_was_not_trained_on(made: Store, tmp_path: Path) -> None:
    answered: list[str] = []
    for fold in range(K):
        folder = tmp_path / f"{fold}"
        train(task(), made, dataclasses.replace(CONFIG, fold=fold), lambda _: True, folder=folder)
        answered += Dense.load(folder / "valid.npz").ids
        assert Dense.load(folder / "test.npz").ids == made.parts["test"].ids
    assert sorted(answered) == sorted(pool_ids(made))


def test_with_nothing_to_validate_on_the_last_epoch_is_kept(made: Store, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, folds=WHOLE, lr=0.05, epochs=5)
    rows: list[EpochReport] = []

    def report(row: EpochReport) -> bool:
        rows.append(row)
        return True

    result = train(task(), made, config, report, folder=tmp_path / "trial")
    assert (result.best_epoch, result.value) == (5, rows[-1].valid_metric)
    assert rows[-1].valid_metric <= max(row.valid_metric for row in rows)
    assert Dense.load(tmp_path / "trial" / "valid.npz").ids == made.parts["holdout"].ids


def test_a_fold_too_many_is_refused(made: Store) -> None:
    with pytest.raises(UsageError, match=f"fold={K} is not one of {K}"):
        folded(made, dataclasses.replace(CONFIG, fold=K))


def test_folds_that_are_not_there_or_of_other_images_are_named(made: Store) -> None:
    with pytest.raises(DataError, match="folds-7"):
        folded(made, dataclasses.replace(CONFIG, folds=7))
    path = folds_path(made, K)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match="of other images"):
        folded(made, CONFIG)
