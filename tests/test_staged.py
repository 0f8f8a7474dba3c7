"""What changes in the course of a training: head first, growing pictures, patience."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.test_train import QUICK, Listener, quick, store, task
from trainables.config import TrialConfig, trial_config
from trainables.errors import UsageError
from trainables.learn import Learner
from trainables.metrics import ACCURACY
from trainables.staged import size_in
from trainables.task import Metric
from trainables.train import EpochReport, train


def learner(**params: Any) -> Learner:
    return Learner(task().kind, store().parts["train"], trial_config({**QUICK, **params}))


def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("params", "head"),
    [({}, "head."), ({"model": "test_resnet", "depth": None, "width": None, "image_size": 32}, "fc.")],
)
def test_at_first_the_classifier_alone_learns_then_all_layers(params: dict[str, Any], head: str) -> None:
    wanted = {key: value for key, value in {**QUICK, **params, "head_epochs": 2}.items() if value is not None}
    trained = Learner(task().kind, store().parts["train"], trial_config(wanted))
    states = [state(trained.model)]
    for epoch in (1, 2, 3):
        trained.learn(epoch)
        states.append(state(trained.model))
    for name, value in states[0].items():
        assert torch.equal(states[2][name], value) == (not name.startswith(head))
    changed = [name for name in states[0] if not torch.equal(states[3][name], states[2][name])]
    assert set(changed) == set(states[0])


def test_the_schedule_goes_over_both_stages() -> None:
    plain, staged = learner(), learner(head_epochs=1)
    for epoch in (1, 2):
        assert plain.learn(epoch).lr == staged.learn(epoch).lr


def test_a_model_without_a_classifier_is_refused() -> None:
    from trainables.staged import HeadFirst

    with pytest.raises(UsageError, match="which of its layers is the classifier"):
        HeadFirst(torch.nn.Linear(2, 2), TrialConfig(model="mine", head_epochs=1))


def test_pictures_grow_to_their_size_at_two_thirds_of_the_epochs() -> None:
    config = TrialConfig(model="convnet", image_size=64, start_size=0.5, epochs=12)
    sizes = [size_in(config, epoch) for epoch in range(1, 13)]
    assert sizes == [32, 32, 40, 48, 48, 48, 56, 64, 64, 64, 64, 64]
    exact = [min(64, 32 + 32 * (epoch - 1) / 8) for epoch in range(1, 13)]
    assert all(abs(size - wanted) <= 4 for size, wanted in zip(sizes, exact, strict=True))


@pytest.mark.parametrize("image_size", [30, 50, 8])
def test_the_last_size_is_the_one_asked_for_whatever_it_is(image_size: int) -> None:
    config = TrialConfig(model="convnet", image_size=image_size, start_size=0.3, epochs=7)
    sizes = [size_in(config, epoch) for epoch in range(1, 8)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == image_size
    assert sizes[0] >= 8


def test_the_network_sees_small_pictures_first_and_is_validated_at_full_size(tmp_path: Path) -> None:
    config = trial_config({**QUICK, "image_size": 32, "start_size": 0.5, "epochs": 3})
    trained = Learner(task().kind, store().parts["train"], config)
    seen: list[int] = []
    trained.model.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[-1]))
    sides = []
    for epoch in (1, 2, 3):
        seen.clear()
        trained.learn(epoch)
        sides.append(set(seen))
    assert sides == [{16}, {24}, {32}]
    seen.clear()
    trained.answers(trained.feed)
    assert set(seen) == {32}


def test_a_model_of_one_size_cannot_begin_with_smaller_pictures() -> None:
    with pytest.raises(UsageError, match=r"cannot take the 16 px of start_size=0\.5"):
        Learner(
            task().kind,
            store().parts["train"],
            trial_config({"model": "vit_tiny_patch16_224", "image_size": 32, "start_size": 0.5}),
        )


def scripted(values: list[float]) -> Metric:
    """Scores the validation part with the given values, epoch by epoch."""
    both = iter([value for value in values for _ in range(2)])
    return Metric(name="scripted", direction=ACCURACY.direction, fn=lambda *_: next(both))


def test_a_trial_ends_after_so_many_epochs_without_a_better_score(tmp_path: Path) -> None:
    listener = Listener()
    metric = scripted([0.1, 0.5, 0.5, 0.4, 0.6, 0.6, 0.5, 0.6, 0.9])
    config = trial_config({**QUICK, "epochs": 50, "patience": 3})
    result = train(task(metric), store(), config, listener, folder=tmp_path)
    assert result.epochs == 8
    assert [report.last for report in listener.reports] == [False] * 7 + [True]
    assert result.value == 0.6
    assert (tmp_path / "test.npz").exists()


def test_without_patience_a_trial_runs_to_its_last_epoch(tmp_path: Path) -> None:
    reports: list[EpochReport] = []

    def heard(report: EpochReport) -> bool:
        reports.append(report)
        return True

    same = Metric(name="same", direction="maximize", fn=lambda *_: 0.5)
    train(task(same), store(), trial_config({**QUICK, "epochs": 6}), heard, folder=tmp_path)
    assert [report.last for report in reports] == [False] * 5 + [True]


def test_all_of_it_together_trains(tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "head_epochs": 1,
        "ema_decay": 0.9,
        "accumulate": 2,
        "layer_decay": 0.7,
        "patience": 5,
    }
    result = quick(
        tmp_path, image_size=16, start_size=0.5, tta="flip", tta_plain=-1, drop_path=0.1, epochs=4, **asked
    )
    assert result.value > 0.5
