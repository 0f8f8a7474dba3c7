"""A dry step: real batches of a real trial on a few pictures, whose memory it tells. Here on a CPU."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.images import photo
from trainables import dry_step, store
from trainables.config import TrialConfig, trial_config
from trainables.dry_step import KEPT, Dry, chosen, few, footprint, footprints
from trainables.errors import RuleViolation
from trainables.splits import complete
from trainables.store import Store
from trainables.task import PARTS, Rules, load_task

TASK = load_task("digits")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("dry")
    splits = complete(TASK.read(root / "digits"), heads=TASK.kind.heads)
    return store.prepare(TASK, splits, side=16, root=root / "stores", workers=1)


def config(**params: Any) -> TrialConfig:
    return trial_config({"model": "convnet", "depth": 1, "width": 8, "image_size": 16, **params})


def test_few_pictures_of_a_store_cross_processes(digits: Store) -> None:
    small = pickle.loads(pickle.dumps(few(digits)))
    assert set(small.parts) == set(PARTS)
    assert {name: len(part.ids) for name, part in small.parts.items()} == {
        "train": KEPT,
        "valid": KEPT,
        "holdout": 0,
        "test": 0,
    }
    train, whole = small.parts["train"], digits.parts["train"]
    rows = [whole.ids.index(id) for id in train.ids]
    np.testing.assert_array_equal(train.images, whole.images[rows])
    np.testing.assert_array_equal(train.targets, whole.targets[rows])
    assert len({int(target) for target in train.targets[:, 0]}) > 5


def test_the_largest_are_those_of_most_weights_products_and_pixels() -> None:
    wide = config(width=64, batch_size=8)
    busy = config(width=32, batch_size=256)
    large = config(image_size=64, batch_size=64)
    plain = [config(batch_size=32, lr=0.001 * k) for k in range(1, 4)]
    found = chosen(TASK, [*plain, wide, large, busy])
    assert found[:-1] == [wide, busy, large]
    assert found[-1] in (*plain, wide)


def test_what_the_rules_refuse_is_not_measured() -> None:
    small, large = config(), config(width=64)
    bounded = replace(
        TASK, rules=Rules(pretrained=False, external_data=False, macs=1e6, wording="be frugal.")
    )
    assert chosen(bounded, [large, small]) == [small, small]
    with pytest.raises(RuleViolation, match=r"be frugal\."):
        chosen(bounded, [large])


def test_a_larger_batch_takes_more_memory(digits: Store) -> None:
    small = footprint(TASK, few(digits), config(batch_size=16))
    large = footprint(TASK, few(digits), config(batch_size=512, image_size=32, width=16))
    assert (small.device, small.busy, small.cards) == ("cpu", 1.0, ())
    activations = 512 * 16 * 32 * 32 * 4
    assert large.bytes - small.bytes > activations
    assert (large.model, large.batch_size, large.image_size) == ("convnet", 512, 32)


@pytest.mark.parametrize(
    "params",
    [
        {"head_epochs": 3, "start_size": 0.5, "warmup_epochs": 2.0, "accumulate": 2},
        {"ema_decay": 0.99, "mixup": 0.2, "tta": "flip", "tta_plain": -1, "lr": 1e6},
        {"folds": 5, "pretrained": True, "weights": "/nowhere", "balance": 1.0},
    ],
)
def test_any_trial_can_be_tried_dry(digits: Store, params: dict[str, Any]) -> None:
    assert footprint(TASK, few(digits), config(batch_size=16, **params)).bytes >= 0


def test_a_dense_trial_too(tmp_path: Path) -> None:
    task = load_task("severstal")
    root = tmp_path / "severstal"
    for folder in ("train_images", "test_images"):
        (root / folder).mkdir(parents=True)
        for k in range(8):
            photo(20 + 3 * k, 12 + k, seed=k).save(root / folder / f"{folder[:2]}{k}.jpg")
    (root / "train.csv").write_text("ImageId,ClassId,EncodedPixels\ntr1.jpg,1,1 3 10 2\ntr3.jpg,2,7 1\n")
    asked = "\n".join(f"te{k}.jpg_{label}," for k in range(8) for label in "1234")
    (root / "sample_submission.csv").write_text(f"ImageId_ClassId,EncodedPixels\n{asked}\n")
    given = task.read(root)
    task = task.with_heads(given.heads)
    made = store.prepare(
        task, complete(given, heads=task.targets), side=1, root=tmp_path / "stores", workers=1
    )
    small = pickle.loads(pickle.dumps(few(made)))
    unet = trial_config({"model": "unet", "image_size": 32, "batch_size": 4, "patches": 3})
    assert footprint(task, small, unet).bytes > 0


def test_a_task_in_a_file_is_read_where_it_is_not(digits: Store, tmp_path: Path) -> None:
    source = b"from trainables.tasks.digits import TASK as DIGITS\nTASK = DIGITS\n"
    dry = Dry(
        task=str(tmp_path / "elsewhere" / "mine.py"),
        source=source,
        space="digits",
        heads=TASK.kind.heads,
        store=few(digits),
        configs=(config(batch_size=16),),
        threads=1,
    )
    found = footprints(dry)
    assert len(found) == 2
    assert found[0] is found[1], "the same configuration was measured twice"
    assert dry_step.cards() == found[0].cards
