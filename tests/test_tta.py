"""Test-time augmentation: which views there are, how they are weighted, and what a trial does with them."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.test_train import QUICK, Listener, quick, store, task
from trainables import tta
from trainables.config import WHOLE, TrialConfig, trial_config
from trainables.feed import Feed
from trainables.learn import Learner
from trainables.metrics import accuracy
from trainables.predictions import Dense

SIZE = 16


def config(kind: Any, **params: Any) -> TrialConfig:
    return TrialConfig(model="convnet", image_size=SIZE, tta=kind, **params)


def feed() -> Feed:
    return Feed(store().parts["valid"], torch.device("cpu"))


@pytest.mark.parametrize(("kind", "number"), [("none", 0), ("flip", 1), ("crops", 5), ("flip_crops", 11)])
def test_how_many_views_there_are_beside_the_plain_one(kind: str, number: int) -> None:
    given = feed()
    found = [view(given, given.rows[:3], SIZE) for view in tta.views(config(kind)).values()]
    assert len(found) == number
    assert all(images.shape == (3, 3, SIZE, SIZE) for images in found)
    different = {images.numpy().tobytes() for images in found}
    assert len(different) == number


def test_a_crop_is_a_corner_of_the_larger_picture() -> None:
    given = feed()
    whole = given.plain(given.rows, 18)
    found = {name: view(given, given.rows, SIZE) for name, view in tta.views(config("flip_crops")).items()}
    assert torch.equal(found["top-left"], whole[:, :, :16, :16])
    assert torch.equal(found["bottom-right"], whole[:, :, 2:, 2:])
    assert torch.equal(found["bottom-right flip"], whole[:, :, 2:, 2:].flip(-1))
    assert torch.equal(found["flip"], given.plain(given.rows, SIZE).flip(-1))


class ColumnsMean(nn.Module):
    """Answers the same to a picture and to its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


def test_a_mirrored_view_changes_nothing_for_a_network_that_does_not_see_it() -> None:
    learner = Learner(task().kind, store().parts["train"], trial_config({**QUICK, "tta": "flip"}))
    learner.step.model = ColumnsMean()
    plain = learner.answers(feed())
    [view] = tta.views(learner.config).values()
    torch.testing.assert_close(tta.mixed(plain, learner.answers(feed(), view=view), 0.5), plain)


def test_the_plain_view_has_its_weight_against_the_mean_of_the_others() -> None:
    plain, first, second = torch.randn(3, 5, 2).unbind()
    mixed = tta.mixed(plain, tta.mean([first, second]), 0.3)
    torch.testing.assert_close(mixed, 0.3 * plain + 0.7 * (first + second) / 2)
    assert torch.equal(tta.mixed(plain, first, 1.0), plain)


def test_the_fitted_weight_is_the_best_of_the_grid() -> None:
    plain, others = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    for wanted in (0.0, 0.3, 1.0):
        nearest = functools.partial(lambda to, mix: (-abs(1 - float(mix) - to),), wanted)
        assert tta.fit(plain, others, nearest) == wanted


def test_views_that_do_not_help_get_no_weight() -> None:
    plain, others = torch.randn(2, 6, 3).unbind()
    assert tta.fit(plain, others, lambda mix: (0.5, -float((mix - plain).square().sum()))) == 1
    assert tta.fit(plain, others, lambda mix: (0.5, 0.0)) == 1


@pytest.mark.parametrize("plain", [0.25, -1.0])
def test_a_trial_predicts_from_all_views_and_reports_the_plain_one(tmp_path: Path, plain: float) -> None:
    listener = Listener()
    result = quick(tmp_path / "all", listener, tta="flip_crops", tta_plain=plain)
    assert quick(tmp_path / "plain", Listener()).value == result.value
    account = json.loads((tmp_path / "all" / "tta.json").read_text())
    assert not (tmp_path / "plain" / "tta.json").exists()
    assert account["valid_plain"] == result.value
    assert account["fitted"] == (plain < 0)
    assert len(account["views"]) == 11
    targets = store().parts["valid"].targets
    assert targets is not None
    assert accuracy(Dense.load(tmp_path / "all" / "valid.npz"), targets) == account["valid_all"]
    if plain < 0:
        assert account["valid_all"] >= account["valid_plain"]
    else:
        assert account["plain"] == plain


def test_a_trial_that_was_stopped_answers_by_the_plain_view(tmp_path: Path) -> None:
    quick(tmp_path / "stopped", Listener(stop_after=1), tta="flip_crops")
    quick(tmp_path / "plain", Listener(stop_after=1))
    assert not (tmp_path / "stopped" / "tta.json").exists()
    for name in ("valid.npz", "holdout.npz", "test.npz"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_every_part_is_predicted_with_the_same_views_and_weight(tmp_path: Path) -> None:
    quick(tmp_path, tta="flip", tta_plain=0.25, epochs=1)
    learner = Learner(task().kind, store().parts["train"], trial_config({**QUICK, "epochs": 1}))
    learner.learn(1)
    for name in ("valid", "holdout", "test"):
        part = store().parts[name]
        mirrored = dataclasses.replace(part, images=np.ascontiguousarray(part.images[:, :, ::-1]))
        plain, flipped = (learner.answers(Feed(each, learner.device)) for each in (part, mirrored))
        found = Dense.load(tmp_path / f"{name}.npz").fields["color"]
        np.testing.assert_allclose(found, (0.25 * plain + 0.75 * flipped).numpy(), atol=0.01)


def test_nothing_is_fitted_where_there_is_nothing_to_fit_on(tmp_path: Path) -> None:
    quick(tmp_path, tta="flip", tta_plain=-1, folds=WHOLE, patience=1, lr=1e-9, epochs=3)
    account = json.loads((tmp_path / "tta.json").read_text())
    assert (account["plain"], account["fitted"]) == (0.5, False)
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 1 + 3
