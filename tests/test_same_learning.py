"""What is learned does not depend on the path that augments: five seeds of each on digits."""

import statistics
from pathlib import Path

import pytest
import torch

from trainables.augment import Augment
from trainables.augment import Path as AugmentPath
from trainables.config import trial_config
from trainables.feed import Feed
from trainables.learn import Learner
from trainables.splits import complete
from trainables.store import Store, prepare
from trainables.task import load_task

SEEDS = range(5)
EPOCHS = 2
RECIPE = {"crop": 0.2, "rotation": 10.0, "translate": 0.05, "color": 0.2, "erasing": 0.2}
DIGITS = load_task("digits")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Store:
    splits = complete(DIGITS.read(Path("data/digits")), heads=DIGITS.kind.heads, seed=0)
    return prepare(DIGITS, splits, side=8, root=tmp_path_factory.mktemp("stores"), workers=1)


def score(store: Store, path: AugmentPath, seed: int) -> float:
    """Validation accuracy after a few epochs."""
    config = trial_config(
        {"model": "convnet", "depth": 2, "width": 8, "image_size": 16, "batch_size": 32, "lr": 0.01}
        | {"epochs": EPOCHS, "seed": seed, **RECIPE}
    )
    learner = Learner(DIGITS.kind, store.parts["train"], config)
    learner.augment = Augment(config, torch.Generator().manual_seed(seed), path=path)
    for epoch in range(1, EPOCHS + 1):
        learner.learn(epoch)
    valid = Feed(store.parts["valid"], learner.device)
    predictions = DIGITS.kind.predict(valid.ids, learner.answers(valid).cpu(), config)
    return DIGITS.metric.fn(predictions, valid.targets_of(valid.rows).cpu().numpy())


def test_both_paths_teach_the_same_within_noise(digits: Store) -> None:
    fused, kornia = ([score(digits, path, seed) for seed in SEEDS] for path in ("fused", "kornia"))
    noise = statistics.stdev(fused) + statistics.stdev(kornia)
    assert min(fused + kornia) > 0.5
    assert abs(statistics.mean(fused) - statistics.mean(kornia)) < noise
