"""The description of a trial: what it takes, what it refuses and how it says so."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config import TrialConfig, common_keys, option_keys, trial_config
from trainables.errors import UsageError
from trainables.families import load_family
from trainables.named import known_modules

COMMON = {
    "image_size": st.integers(8, 2048),
    "batch_size": st.integers(1, 65536),
    "epochs": st.integers(1, 100_000),
    "optimizer": st.sampled_from(["sgd", "adamw", "lion"]),
    "lr": st.floats(1e-12, 1e6),
    "weight_decay": st.floats(0, 10),
    "dropout": st.floats(0, 1, exclude_max=True),
    "pretrained": st.booleans(),
    "augment": st.sampled_from(["none", "standard", "randaugment"]),
    "seed": st.integers(0, 2**63),
}
OPTIONS = {
    "convnet": {
        "depth": st.integers(1, 8),
        "residual": st.booleans(),
        "norm": st.sampled_from(["batch", "none"]),
    },
    "resnet18": {"drop_path": st.floats(0, 0.9), "global_pool": st.sampled_from(["default", "max"])},
}


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, Any]:
    """Any subset of the parameters of one model."""
    model = draw(st.sampled_from(sorted(OPTIONS)))
    chosen: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=COMMON | OPTIONS[model]))
    return {"model": model, **chosen}


@settings(max_examples=50, deadline=None)
@given(params=parameters())
def test_a_configuration_survives_the_way_through_its_file(params: dict[str, Any]) -> None:
    config = trial_config(params)
    assert trial_config(json.loads(config.to_json())) == config
    assert params.items() <= config.params().items()
    assert config.params().keys() == common_keys() | option_keys(params["model"])


@pytest.mark.parametrize("family", [*known_modules("trainables.models"), "_timm"])
def test_no_option_of_a_family_hides_a_common_parameter(family: str) -> None:
    options = load_family(family).Options if family != "_timm" else load_family("resnet18").Options
    assert not common_keys() & {field.name for field in dataclasses.fields(options)}


def test_one_value_cannot_be_changed_behind_the_trial() -> None:
    config = trial_config({"model": "convnet"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.lr = 1.0  # type: ignore[misc]


def test_a_mistyped_key_names_the_nearest_of_the_common_ones() -> None:
    with pytest.raises(UsageError) as caught:
        trial_config({"model": "convnet", "weight_decy": 0.1})
    assert "'convnet'" in caught.value.what
    assert "'weight_decy'" in caught.value.what
    assert "Did you mean 'weight_decay'?" in caught.value.fix


def test_a_mistyped_key_names_the_nearest_of_the_family() -> None:
    with pytest.raises(UsageError, match="Did you mean 'kernel_size'"):
        trial_config({"model": "convnet", "kernelsize": 3})


def test_an_option_of_another_family_is_refused() -> None:
    with pytest.raises(UsageError, match="'depth'"):
        trial_config({"model": "resnet18", "depth": 3})


def test_a_configuration_without_a_model_is_refused() -> None:
    with pytest.raises(UsageError, match="names no model"):
        trial_config({"lr": 0.1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", "fast"),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("image_size", 7),
        ("dropout", 1.0),
        ("weight_decay", -1e-9),
        ("optimizer", "adamx"),
        ("seed", -1),
        ("pretrained", "perhaps"),
        ("model", None),
        ("depth", 0),
        ("kernel_size", 4),
        ("norm", ["batch"]),
        ("options", {"depth": 2}),
    ],
)
def test_a_value_out_of_range_is_named_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        trial_config({"model": "convnet", key: value})
    assert key in str(caught.value)
    assert "\n" not in caught.value.what
    assert caught.value.fix


def test_a_choice_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(UsageError, match=r"optimizer='adamx'.*'adamw'"):
        trial_config({"model": "convnet", "optimizer": "adamx"})


def test_numbers_typed_on_the_command_line_are_numbers() -> None:
    config = trial_config(
        {"model": "convnet", "lr": "1e-4", "batch_size": "32", "flip": "true", "depth": "3"}
    )
    assert (config.lr, config.batch_size, config.flip, config.options["depth"]) == (1e-4, 32, True, 3)


def test_defaults_make_a_valid_trial_of_every_model() -> None:
    assert trial_config({"model": "convnet"}) == trial_config(trial_config({"model": "convnet"}).params())
    assert isinstance(trial_config({"model": "resnet18"}), TrialConfig)
