"""Budgets, durations, settings: what the user writes becomes a plan or a clear refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import plan
from trainables.config import TrialConfig
from trainables.errors import UsageError


def budget(**changes: object) -> plan.Budget:
    asked: dict[str, object] = {
        "trials": None,
        "time_limit_s": None,
        "max_epochs": 9,
        "cpus_per_trial": 1,
        "gpus_per_trial": 1.0,
        "resources": {"CPU": 8.0, "GPU": 2.0},
    }
    return plan.budget_for(**{**asked, **changes})  # type: ignore[arg-type]


def test_a_gpu_a_trial_bounds_the_slots() -> None:
    assert plan.gpus_each(None, {"CPU": 8.0, "GPU": 2.0}) == 1.0
    assert budget().slots == 2
    assert budget(gpus_per_trial=0.25).slots == 8
    assert budget(gpus_per_trial=0.5, cpus_per_trial=4).slots == 2
    assert budget(gpus_per_trial=2.0).slots == 1


def test_a_share_lies_on_one_card() -> None:
    assert budget(gpus_per_trial=0.4).slots == 4
    assert budget(gpus_per_trial=0.3333).slots == 6
    assert budget(gpus_per_trial=0.6).slots == 2


def test_without_gpus_the_cores_bound_the_slots() -> None:
    assert plan.gpus_each(None, {"CPU": 2.0}) == 0.0
    assert budget(gpus_per_trial=0.0, resources={"CPU": 2.0}).slots == 2
    assert budget(gpus_per_trial=0.0, resources={"CPU": 5.0}, cpus_per_trial=2).slots == 2


def test_a_search_without_a_bound_gets_one() -> None:
    assert budget().trials == plan.DEFAULT_TRIALS
    assert budget(time_limit_s=60.0).trials is None


@pytest.mark.parametrize("wish", [{"cpus_per_trial": 9}, {"gpus_per_trial": 3.0}])
def test_more_than_there_is_is_refused(wish: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="there are"):
        budget(**wish)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("0.5h", 1800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert plan.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "10x", "-5m", "0", "m", "10 m 3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--time"):
        plan.parse_duration(text)


def test_settings_are_numbers_truths_or_text() -> None:
    parsed = plan.parse_settings(["lr=1e-3", "flip=true", "model=resnet18", "depth=3"])
    assert parsed == {"lr": 1e-3, "flip": True, "model": "resnet18", "depth": 3}


@pytest.mark.parametrize("text", ["lr", "=3", "lr=", ""])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        plan.parse_settings([text])


@pytest.mark.parametrize(("text", "share"), [("auto", None), ("0", 0.0), ("0.25", 0.25), ("2", 2.0)])
def test_shares_of_a_gpu(text: str, share: float | None) -> None:
    assert plan.parse_share(text) == share


@pytest.mark.parametrize("text", ["all", "-1", "1.5", "nan"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--gpus-per-trial"):
        plan.parse_share(text)


@given(st.lists(st.integers(8, 512), min_size=1, max_size=5))
def test_the_cache_leaves_room_to_crop_the_largest_size(sizes: list[int]) -> None:
    configs = [TrialConfig(model="convnet", image_size=size) for size in sizes]
    assert 1.15 <= plan.cache_side(configs) / max(sizes) <= 1.5


def test_the_plan_says_by_what_trials_are_stopped() -> None:
    def rows(guidance: plan.Guidance | None) -> dict[str, str]:
        made = plan.make_plan(
            "digits",
            space="digits",
            configs=[TrialConfig(model="convnet", epochs=16)],
            parameters={},
            fixed={},
            budget=budget(max_epochs=16, time_limit_s=60.0),
            images={"train": 100},
            guidance=guidance,
        )
        return dict(made.rows())

    assert rows(None)["rungs"] == "ASHA: best 1/4 go on after epoch 2, 6"
    guided = rows(plan.Guidance(searches=3, trials=120, compared_after=(2, 3)))
    assert "rungs" not in guided
    assert guided["guided by"] == "3 past searches with 120 trials"
    assert guided["compared"] == "with what else could run, after epoch 2, 3"
