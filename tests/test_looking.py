"""What is seen inside a network: its table of layers, maps, Grad-CAM, and the views that it learned from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.test_train import QUICK, Listener, part, store, task
from trainables import layers
from trainables.attributed import grad_cam, liked
from trainables.augment import Augment
from trainables.color import normalise
from trainables.config import TrialConfig, trial_config
from trainables.convolutions import quicken
from trainables.cost import cost_of
from trainables.families import load_family
from trainables.feed import Feed
from trainables.kinds.ordinal import Ordinal
from trainables.looking import Looker, NotShown, plainly, stratified, unnormalised
from trainables.predictions import Dense
from trainables.restored import restored
from trainables.shown import different_views, mixed_views, training_rows
from trainables.task import Head, Task
from trainables.train import train
from trainables.trainers import ClassTrainer, trainer_for

MODELS = ("convnet", "test_resnet", "test_efficientnet", "test_convnext", "test_vit")
"""Ours, and of timm plain and depthwise convolutions, layer norms, and tokens instead of maps."""


def config_of(model: str, **params: Any) -> TrialConfig:
    ours = QUICK if model == "convnet" else {"model": model, "image_size": 32, "batch_size": 8}
    return trial_config({**ours, **params})


def trainer_of(config: TrialConfig, of: Task | None = None, *, heads: int = 1) -> ClassTrainer:
    """Of a network that has learned nothing yet."""
    trainer = trainer_for(of or task(heads=heads), store(heads).parts, config)
    assert isinstance(trainer, ClassTrainer)
    return trainer


@pytest.fixture(scope="module", params=MODELS)
def looker(request: pytest.FixtureRequest) -> Looker:
    return Looker(trainer_of(config_of(request.param)))


@pytest.mark.parametrize("model", MODELS)
def test_the_layers_add_up_to_the_network_in_a_table_that_is_read(model: str) -> None:
    config = config_of(model)
    network = load_family(model).build(config, 3)
    rows, whole = layers.table(network, config.image_size), cost_of(network, config.image_size)
    assert 5 <= len(rows) <= layers.MOST
    assert sum(row.parameters for row in rows) == whole.parameters
    assert sum(row.macs for row in rows) == whole.macs
    assert all(row.shape and row.name and row.kind for row in rows)
    assert rows[-1].shape == (3,)


def test_a_layer_is_described_as_one_counts_it_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    first, flat, last = layers.table(network, 8)
    assert (first.name, first.kind, first.shape) == ("0", "Conv2d 3 x 3, stride 2", (4, 4, 4))
    assert (first.parameters, first.macs) == (4 * 27 + 4, 16 * 4 * 27)
    assert (flat.kind, flat.shape) == ("Flatten", (64,))
    assert (last.parameters, last.macs) == (64 * 5 + 5, 64 * 5)


def test_many_like_blocks_are_one_row() -> None:
    network = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(2 * layers.MOST)], nn.Flatten())
    many, _ = layers.table(network, 4)
    assert (many.name, many.kind, many.parameters) == ("0 to 49", "50 x Conv2d 1 x 1", 50 * 12)


def test_a_plain_copy_answers_alike_and_leaves_the_network_as_it_was() -> None:
    network = quicken(load_family("test_resnet").build(config_of("test_resnet"), 3)).train()
    kinds = [type(module) for module in network.modules()]
    pictures = torch.randn(4, 3, 32, 32)
    copied = plainly(network)
    torch.testing.assert_close(copied(pictures), network.eval()(pictures), rtol=1e-4, atol=1e-5)
    assert [type(module) for module in network.modules()] == kinds
    assert all(p.requires_grad for p in network.parameters())


def test_the_trial_s_own_answers_are_seen(tmp_path: Path) -> None:
    train(task(), store(), config_of("convnet", epochs=2), Listener(), folder=tmp_path)
    trainer = restored(tmp_path, task(), store())
    assert isinstance(trainer, ClassTrainer)
    looker = Looker(trainer)
    rows = np.array([3, 0, 7])
    seen = looker.look(rows, looker.spots)
    kept = Dense.load(tmp_path / "valid.npz").fields["color"]
    np.testing.assert_allclose(seen.logits["color"], kept[rows], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(seen.targets, part("valid", 26).targets[rows])
    head = looker.model.get_submodule("head")
    assert isinstance(head, nn.Linear)
    np.testing.assert_allclose(head(torch.from_numpy(seen.last)).numpy(), seen.logits["color"], atol=1e-4)


def test_peaks_are_the_largest_values_of_the_maps(looker: Looker) -> None:
    rows = np.arange(5)
    seen, maps = looker.look(rows, looker.spots), looker.maps(rows, looker.spots)
    assert len(looker.spots) >= 3
    for spot in looker.spots:
        whole, peaks = maps[spot.name], seen.peaks[spot.name]
        assert whole.shape == (5, spot.channels, spot.side, spot.side)
        np.testing.assert_allclose(peaks.values, whole.max((2, 3)), rtol=1e-4, atol=1e-5)
        at = whole[
            np.arange(5)[:, None], np.arange(spot.channels), peaks.places[..., 0], peaks.places[..., 1]
        ]
        np.testing.assert_allclose(at, peaks.values, rtol=1e-4, atol=1e-5)


def test_grad_cam_is_what_its_paper_says(looker: Looker) -> None:
    rows, classes = np.array([1, 2]), np.array([0, 2])
    found = grad_cam(looker, rows, classes)
    assert found.maps.shape == (2, found.layer.side, found.layer.side)
    held: list[Tensor] = []

    def hold(x: Tensor) -> Tensor:
        held.append(x.detach().requires_grad_())
        return held[0]

    with looker.tapped({found.layer.name: hold}):
        looker.model(looker.pictures(rows))[torch.arange(2), torch.from_numpy(classes)].sum().backward()
    assert held[0].grad is not None
    cam = (held[0].grad.mean((2, 3), keepdim=True) * held[0]).sum(1).clamp(min=0).detach()
    scaled = cam / cam.amax((1, 2), keepdim=True).clamp(min=1e-12)
    np.testing.assert_allclose(found.maps, scaled.numpy(), rtol=1e-3, atol=1e-4)
    assert held[0].grad.any()


def test_what_is_made_for_a_channel_excites_it_more_than_what_is_made_for_another(looker: Looker) -> None:
    spot = looker.spots[0]
    made = liked(looker, spot, [1, 2])
    assert made.shape == (2, looker.size, looker.size, 3)
    assert made.dtype == np.uint8

    answers: list[Tensor] = []
    with looker.tapped({spot.name: lambda x: answers.append(x.mean((2, 3)))}), torch.no_grad():
        looker.model(normalise(torch.from_numpy(made).permute(0, 3, 1, 2)))
    (excited,) = answers
    assert excited[0, 1] > excited[1, 1]
    assert excited[1, 2] > excited[0, 2]


def test_pictures_are_shown_as_the_store_has_them() -> None:
    looker = Looker(trainer_of(config_of("convnet")))
    np.testing.assert_array_equal(looker.shown([2, 5]), part("valid", 26).images[[2, 5]])


@pytest.mark.parametrize("ordinal", ["regression", "cumulative"])
def test_grades_are_explained_by_their_loss(ordinal: str) -> None:
    graded = Task(**{**vars(task()), "kind": Ordinal(heads=(Head(name="color", classes=("r", "g", "b")),))})
    looker = Looker(trainer_of(config_of("convnet", ordinal=ordinal), graded))
    low, high = (grad_cam(looker, np.arange(4), np.full(4, grade)).maps for grade in (0, 2))
    assert low.max() == high.max() == 1
    assert not np.allclose(low, high)


def test_of_several_heads_the_one_asked_for_is_explained() -> None:
    looker = Looker(trainer_of(config_of("convnet"), heads=2))
    one, other = (grad_cam(looker, np.arange(3), np.ones(3, dtype=int), head=h).maps for h in (0, 1))
    assert not np.allclose(one, other)


def test_a_network_that_takes_no_account_of_the_picture_is_refused() -> None:
    looker = Looker(trainer_of(config_of("convnet")))
    nn.init.zeros_(looker.model.get_submodule("head").weight)  # type: ignore[arg-type]
    with pytest.raises(NotShown, match="none of its maps"):
        grad_cam(looker, np.arange(2), np.array([0, 1]))


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 50))
def test_a_stratified_choice_takes_of_each_class_alike(labels: list[int], most: int) -> None:
    targets = np.array(labels, dtype=np.int64)
    chosen = stratified(targets, most)
    assert len(chosen) == min(most, len(labels)) == len(set(chosen.tolist()))
    taken, there = (np.bincount(t, minlength=6) for t in (targets[chosen], targets))
    short = taken < there
    assert not short.any() or taken[short].min() >= taken.max() - 1


VIEWS = {"crop": 0.5, "flip": True, "rotation": 10.0, "color": 0.3, "erasing": 0.3}


def test_the_views_are_those_of_the_trial_s_own_augmentation() -> None:
    config = config_of("convnet", **VIEWS)
    trainer = trainer_of(config)
    views = different_views(trainer, 3, 7)
    feed = Feed(part("train", 41), torch.device("cpu"))
    again = Augment(config, torch.Generator().manual_seed(config.seed + 1))
    torch.testing.assert_close(views, again.batch(feed, torch.tensor([3] * 28))[:7], rtol=0, atol=0)
    assert len({view.numpy().tobytes() for view in views}) == 7


def test_a_trial_without_augmentation_has_one_view_of_a_picture() -> None:
    trainer = trainer_of(config_of("convnet"))
    views = different_views(trainer, 3, 7)
    np.testing.assert_array_equal(unnormalised(views), part("train", 41).images[3:4])
    assert mixed_views(trainer, [0, 1]) is None
    assert len(different_views(trainer_of(config_of("convnet", flip=True)), 3, 7)) == 2


def test_mixed_views_hold_two_pictures() -> None:
    trainer = trainer_of(config_of("convnet", mixup=1.0, mix_probability=0.1))
    rows = training_rows(trainer, 4)
    mixed = mixed_views(trainer, rows)
    assert mixed is not None
    assert rows == [0, 13, 27, 40]
    alone: Sequence[Any] = part("train", 41).images[rows].astype(np.float64)
    for place, view in enumerate(unnormalised(mixed).astype(np.float64)):
        first, second = alone[place] - view, alone[place - 1] - view
        assert (first * second <= 4).mean() > 0.95  # each pixel lies between the two
