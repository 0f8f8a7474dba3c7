"""Optimizers and the learning rates they are given."""

import itertools
import math
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from trainables.config import Optimizer, Schedule, TrialConfig, trial_config
from trainables.families import load_family
from trainables.optimize import create_optimizer, create_schedule

UPDATES = 10


def rates(**params: Any) -> list[float]:
    """Learning rate of every update of a run of ten updates an epoch."""
    config = TrialConfig(model="convnet", **params)
    optimizer = create_optimizer(config, nn.Linear(2, 2))
    schedule = create_schedule(config, optimizer, updates_per_epoch=UPDATES)
    seen = []
    for update in range(1, config.epochs * UPDATES + 1):
        seen.append(optimizer.param_groups[0]["lr"])
        schedule.step_update(update)
    return seen


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_every_optimizer_finds_the_bottom(name: Optimizer) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    x, y = torch.randn(64, 3), torch.randn(64, 1)
    optimizer = create_optimizer(TrialConfig(model="convnet", optimizer=name, lr=0.01), model)
    with_one = torch.cat([x, torch.ones(64, 1)], 1)
    lowest = (with_one @ torch.linalg.lstsq(with_one, y).solution - y).square().mean().item()
    for _ in range(400):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(lowest, rel=0.02)


def test_tensors_of_one_axis_do_not_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = create_optimizer(TrialConfig(model="convnet", weight_decay=0.3), model)
    decay = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {4: 0.3, 1: 0.0}


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("sgd", "momentum", 0.8),
        ("rmsprop", "momentum", 0.8),
        ("adam", "betas", (0.8, 0.999)),
        ("adamw", "betas", (0.8, 0.999)),
        ("nadamw", "betas", (0.8, 0.999)),
        ("lion", "betas", (0.8, 0.99)),
    ],
)
def test_momentum_reaches_every_optimizer(name: Optimizer, key: str, expected: object) -> None:
    config = TrialConfig(model="convnet", optimizer=name, momentum=0.8)
    optimizer = create_optimizer(config, nn.Linear(2, 2))
    assert optimizer.param_groups[0][key] == expected


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize("epochs", [1, 2, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 3.0])
def test_no_rate_leaves_zero_to_peak(schedule: str, epochs: int, warmup: float) -> None:
    seen = rates(schedule=schedule, epochs=epochs, warmup_epochs=warmup, lr=0.1)
    assert all(0 < lr <= 0.1 + 1e-12 for lr in seen)
    assert max(seen) > 0.09


def test_cosine_falls_from_the_peak_towards_zero() -> None:
    expected = [0.05 * (1 + math.cos(math.pi * t / 50)) for t in range(50)]
    assert rates(schedule="cosine", epochs=5, lr=0.1) == pytest.approx(expected)


def test_step_divides_by_ten_at_each_third() -> None:
    assert rates(schedule="step", epochs=3, lr=1.0) == pytest.approx([1.0] * 10 + [0.1] * 10 + [0.01] * 10)


def test_constant_stays() -> None:
    assert set(rates(schedule="constant", epochs=3, lr=0.2)) == {0.2}


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant", "onecycle"])
def test_warm_up_rises_to_the_schedule(schedule: str) -> None:
    seen = rates(schedule=schedule, epochs=6, warmup_epochs=1.0, lr=0.1)
    assert seen[0] < 0.1 / 24
    assert all(a < b for a, b in itertools.pairwise(seen[:11]))
    assert seen[10] == pytest.approx(0.1)


def test_warm_up_takes_at_most_half_of_the_epochs() -> None:
    seen = rates(schedule="constant", epochs=2, warmup_epochs=50.0, lr=0.1)
    assert seen[9] < 0.1
    assert seen[10:] == pytest.approx([0.1] * 10)


@pytest.mark.parametrize("epochs", [2, 5, 12])
def test_one_cycle_is_torchs(epochs: int) -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    reference = OneCycleLR(
        optimizer, 0.1, total_steps=epochs * UPDATES, final_div_factor=400, cycle_momentum=False
    )
    expected = []
    for _ in range(epochs * UPDATES - 1):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    expected.append(optimizer.param_groups[0]["lr"])
    assert rates(schedule="onecycle", epochs=epochs, lr=0.1) == pytest.approx(expected)


def layer_rates(config: TrialConfig, *, updates: int) -> list[dict[str, float]]:
    """Learning rate of each parameter before each of some updates."""
    model = load_family(config.model).build(config, 5)
    optimizer = create_optimizer(config, model)
    schedule = create_schedule(config, optimizer, updates_per_epoch=UPDATES)
    names = {parameter: name for name, parameter in model.named_parameters()}
    seen = []
    for update in range(1, updates + 1):
        seen.append({names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]})
        schedule.step_update(update)
    return seen


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_each_layer_learns_slower_than_the_next_one_from_the_first_update_on(schedule: Schedule) -> None:
    plain = {"model": "convnet", "depth": 4, "width": 4, "schedule": schedule, "epochs": 2, "lr": 0.1}
    decayed = layer_rates(trial_config({**plain, "layer_decay": 0.5}), updates=20)
    whole = rates(schedule=schedule, epochs=2, lr=0.1)
    for lrs, lr in zip(decayed, whole, strict=True):
        assert lrs["head.weight"] == pytest.approx(lr)
        assert lrs["stem.0.0.weight"] == pytest.approx(lr * 0.5**5)
        blocks = sorted({name.split(".")[1] for name in lrs if name.startswith("stages")}, key=int)
        found = [lrs[f"stages.{block}.first.0.weight"] for block in blocks]
        assert found == pytest.approx([lr * 0.5**n for n in (4, 3, 2, 1)])


def test_models_of_timm_decay_by_their_blocks() -> None:
    config = trial_config({"model": "test_resnet", "layer_decay": 0.5, "schedule": "constant", "lr": 0.1})
    [lrs] = layer_rates(config, updates=1)
    assert lrs["fc.weight"] == pytest.approx(0.1)
    assert lrs["layer4.0.conv1.weight"] == pytest.approx(0.05)
    assert lrs["layer1.0.conv1.weight"] < lrs["layer2.0.conv1.weight"] < lrs["layer3.0.conv1.weight"]
    assert {lr for name, lr in lrs.items() if name.startswith("conv1")} == {min(lrs.values())}


def test_without_layer_decay_all_layers_learn_alike() -> None:
    [lrs] = layer_rates(trial_config({"model": "convnet", "lr": 0.1}), updates=1)
    assert set(lrs.values()) == {0.1}
