"""Averaged weights: the average is the formula's, and it is what a trial validates and keeps."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.test_train import QUICK, Listener, quick, store, task
from trainables.averaging import Average
from trainables.config import trial_config
from trainables.families import load_family
from trainables.feed import Feed
from trainables.learn import Learner
from trainables.predictions import Dense

DECAY = 0.4


def by_hand(states: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    """The average of the states after each update, the first one being that before any."""
    average = {name: value.double() for name, value in states[0].items()}
    for t, state in enumerate(states[1:], 1):
        d = min(decay, (1 + t) / (10 + t))
        average = {name: d * average[name] + (1 - d) * state[name].double() for name in average}
    return average


def test_the_average_is_the_one_computed_by_hand() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    average = Average(model, DECAY)
    states = [{name: value.clone() for name, value in model.state_dict().items()}]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(12):
        optimizer.zero_grad()
        (model(torch.randn(8, 3, 5, 5)) ** 3).mean().tanh().backward()
        optimizer.step()
        average.update()
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    expected = by_hand(states, DECAY)
    found = average.model.state_dict()
    assert int(found.pop("1.num_batches_tracked")) == 12
    for name, value in found.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)
    assert not torch.allclose(found["0.weight"], model.state_dict()["0.weight"])


def test_early_updates_count_more_than_the_decay_says() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = Average(model, 0.9999)
    nn.init.ones_(model.weight)
    average.update()
    assert float(next(average.model.parameters())) == pytest.approx(1 - 2 / 11)


def test_a_trial_validates_and_keeps_the_average(tmp_path: Path) -> None:
    listener = Listener()
    result = quick(tmp_path, listener, ema_decay=0.9)
    config = trial_config(json.loads((tmp_path / "config.json").read_text()))
    learner = Learner(task().kind, store().parts["train"], config)
    for epoch in range(1, result.best_epoch + 1):
        learner.learn(epoch)
    assert learner.average is not None
    kept = load_file(tmp_path / "weights.safetensors")
    for name, value in learner.average.model.state_dict().items():
        torch.testing.assert_close(kept[name], value)
    assert not torch.allclose(kept["head.weight"], learner.model.state_dict()["head.weight"])

    plain = load_family("convnet").build(config, 3).eval()
    plain.load_state_dict(kept)
    valid = Feed(store().parts["valid"], torch.device("cpu"))
    expected = plain(valid.plain(valid.rows, config.image_size)).detach()
    found = Dense.load(tmp_path / "valid.npz").fields["color"]
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=0.02, rtol=0.01)


def test_training_itself_is_not_changed_by_averaging() -> None:
    weights = []
    for decay in (0.0, 0.99):
        config = trial_config({**QUICK, "ema_decay": decay})
        learner = Learner(task().kind, store().parts["train"], config)
        learner.learn(1)
        weights.append(learner.model.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name])
