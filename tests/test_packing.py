"""How many trials share a GPU: by memory, cores and what there is to gain; and shares that do not fit."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import packing
from orchestrator.packing import MARGIN, MOST, Need, Node, decide, environment, fits, need_of, require_fit
from orchestrator.prepare import Asked, Prepared, prepare
from trainables import feed, store
from trainables.dry_step import Footprint
from trainables.errors import OrchestratorError, UsageError
from trainables.store import Store

GB = 10**9
CARD = 24 * GB


def node(*cards: int, cpus: float = 64) -> Node:
    return Node(cpus=cpus, cards=cards or (CARD,))


def trials(need: Need, *nodes: Node, cpus_per_trial: int = 1) -> int:
    return decide(need, nodes or (node(),), cpus_per_trial=cpus_per_trial).trials


def test_a_small_idle_trial_shares_its_card() -> None:
    found = decide(Need(bytes=3 * GB, busy=0.2), [node()], cpus_per_trial=1)
    assert (found.trials, found.share) == (5, 0.2)
    assert found.text == "5 a card: one takes up to 3 GB of 24 GB and keeps it busy 20% of the time"


@pytest.mark.parametrize(("busy", "expected"), [(1.0, 1), (0.7, 1), (0.6, 2), (0.4, 3), (0.05, MOST)])
def test_no_more_trials_than_the_card_gains_from(busy: float, expected: int) -> None:
    assert trials(Need(bytes=GB, busy=busy)) == expected


@pytest.mark.parametrize(("size", "expected"), [(2, 8), (5, 4), (8, 2), (11, 1), (40, 1)])
def test_no_more_trials_than_fit_with_a_margin(size: int, expected: int) -> None:
    assert trials(Need(bytes=size * GB, busy=0.1)) == expected


def test_no_more_trials_than_there_are_cores_on_any_node() -> None:
    idle = Need(bytes=GB, busy=0.1)
    assert trials(idle, node(cpus=4)) == 4
    assert trials(idle, node(cpus=4), cpus_per_trial=2) == 2
    assert trials(idle, node(CARD, CARD, cpus=6)) == 3
    assert trials(idle, node(cpus=64), node(cpus=2)) == 2
    assert trials(idle, node(cpus=0)) == 1
    assert decide(idle, [node(cpus=4)], cpus_per_trial=1).text.endswith("; there are cores for 4")


def test_the_smallest_card_decides() -> None:
    need = Need(bytes=5 * GB, busy=0.1)
    assert trials(need, node(80 * GB)) == 8
    assert trials(need, node(80 * GB), node(CARD)) == 4
    assert trials(need, node(80 * GB, CARD, cpus=64)) == 4


def test_data_that_a_trial_copies_to_its_card_take_room(monkeypatch: pytest.MonkeyPatch) -> None:
    need = Need(bytes=2 * GB, data=(3 * GB,), busy=0.1)
    assert need.on(CARD, 1) == need.on(CARD, 3) == 5 * GB
    assert need.on(CARD, 4) == 2 * GB, "with so little memory each, they are brought batch by batch"
    assert trials(need) == 8
    monkeypatch.setenv(packing.VARIABLE, "1")
    assert trials(need) == 4


def test_trials_that_share_a_card_copy_less_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (packing.DATA_SHARE, packing.VARIABLE) == (feed.RESIDENT_SHARE, feed.SHARE_VARIABLE)
    assert environment(0) == environment(1) == environment(2) == {}
    assert environment(0.25) == environment(0.2500) == {packing.VARIABLE: "0.1"}
    monkeypatch.setenv(packing.VARIABLE, "0.3")
    assert environment(0.25) == {packing.VARIABLE: "0.3"}


@given(st.integers(1, 100), st.integers(8, 200), st.floats(0.01, 1.0), st.integers(1, 64))
def test_what_is_decided_fits(size: int, card: int, busy: float, cpus: int) -> None:
    need = Need(bytes=size * GB // 4, data=(GB,), busy=busy)
    found = decide(need, [node(card * GB, cpus=cpus)], cpus_per_trial=1)
    assert 1 <= found.trials <= min(MOST, max(1, cpus))
    assert fits(need, card * GB, found.trials)
    assert found.trials == 1 or MARGIN * need.bytes * found.trials <= card * GB
    assert int(1 / found.share) == found.trials, "Ray would place another number on a card"
    assert require_fit(need, [node(card * GB)], share=found.share).trials == found.trials


def test_a_share_that_leaves_too_little_is_refused_with_what_would_do() -> None:
    need = Need(bytes=5 * GB, busy=0.1)
    with pytest.raises(UsageError) as found:
        require_fit(need, [node(80 * GB), node()], share=0.2)
    assert found.value.what == (
        "A trial takes up to 5 GB of a GPU's memory, and --gpus-per-trial 0.2 leaves it 4.8 GB of 24 GB."
    )
    assert found.value.fix == "At least --gpus-per-trial 0.25 fits; auto finds what does."
    assert require_fit(need, [node()], share=0.25).trials == 4
    assert require_fit(Need(bytes=90 * GB), [node()], share=1.0).trials == 1, "it takes smaller steps"
    with pytest.raises(UsageError, match="leaves it 12 GB") as found:
        require_fit(Need(bytes=90 * GB), [node()], share=0.5)
    assert "--gpus-per-trial 1 fits" in found.value.fix


def footprint(*, size: int = 2 * GB, busy: float = 0.25, cards: tuple[int, ...] = (CARD,)) -> Footprint:
    about: Mapping[str, Any] = {"model": "convnet", "batch_size": 64, "image_size": 64, "device": "a card"}
    return Footprint(bytes=size, busy=busy, cards=cards, **about)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packing")


def planned(root: Path, *, cpus: float = 8.0, gpus: float = 1.0, **asked: Any) -> Prepared:
    wish = Asked(data=root / "digits", out=root / "runs", **asked)
    return prepare("digits", wish, resources={"CPU": cpus, "GPU": gpus})


@pytest.fixture(scope="module")
def filled(root: Path) -> Store:
    prepared = planned(root)
    return store.prepare(
        prepared.task, prepared.splits, side=prepared.plan.side, root=root / "stores", workers=1
    )


def see(monkeypatch: pytest.MonkeyPatch, *found: Footprint, cpus: float = 8.0) -> None:
    """No GPU is here: this is what a dry step would have found."""
    nodes = [Node(cpus=cpus, cards=found[0].cards)]
    monkeypatch.setattr(packing, "_seen", lambda *_: ([*found], nodes))


def settled(prepared: Prepared, filled: Store, *, cpus: float = 8.0, gpus: float = 1.0) -> Prepared:
    return packing.settled(prepared, filled, {"CPU": cpus, "GPU": gpus})


def test_memory_is_that_of_the_largest_and_idleness_that_of_the_middling(filled: Store) -> None:
    need = need_of([footprint(size=7), footprint(size=9), footprint(size=5, busy=0.5)], filled)
    assert (need.bytes, need.busy) == (9, 0.5)
    sizes = [part.images.nbytes for part in filled.parts.values()]
    assert sorted(need.data) == sorted([*sizes, filled.parts["valid"].images.nbytes])


def test_auto_becomes_a_share_with_slots_and_finals_for_it(
    root: Path, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = planned(root, time_limit_s=600.0)
    assert (prepared.plan.budget.slots, packing.most_slots(prepared, {"CPU": 8.0, "GPU": 1.0})) == (1, 8)
    see(monkeypatch, footprint())
    found = settled(prepared, filled).plan
    assert (found.budget.gpus_per_trial, found.budget.slots) == (0.25, 4)
    assert found.finals == planned(root, time_limit_s=600.0, gpus_per_trial=0.25).plan.finals
    assert dict(found.rows())["GPUs"].startswith("4 a card: one takes up to 2 GB of 24 GB")
    assert dict(found.rows())["slots"] == "4 trials at once, 1 CPU + 0.25 GPU each"


def test_an_asked_share_is_kept_or_refused(
    root: Path, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = planned(root, gpus_per_trial=0.125)
    see(monkeypatch, footprint())
    assert settled(prepared, filled).plan.budget == prepared.plan.budget
    see(monkeypatch, footprint(size=4 * GB))
    with pytest.raises(UsageError, match=r"leaves it 3 GB of 24 GB"):
        settled(prepared, filled)


@pytest.mark.parametrize(
    ("resources", "asked"),
    [
        ({"gpus": 0.0}, {}),
        ({"cpus": 1.0}, {}),
        ({"cpus": 8.0}, {"cpus_per_trial": 8}),
        ({"cpus": 8.0}, {"trials": 1}),
        ({"cpus": 8.0}, {"gpus_per_trial": 1.0}),
        ({"cpus": 8.0}, {"gpus_per_trial": 0.0}),
    ],
)
def test_where_nothing_could_share_a_card_no_dry_step_is_taken(
    root: Path, filled: Store, resources: dict[str, float], asked: dict[str, Any]
) -> None:
    prepared = planned(root, **resources, **asked)
    assert settled(prepared, filled, **resources) is prepared


def test_where_torch_sees_no_gpu_the_plan_stands_and_says_so(root: Path, filled: Store) -> None:
    prepared = planned(root, trials=4)
    small = replace(prepared, configs=prepared.configs[:1])
    found = settled(small, filled).plan
    assert found.budget == prepared.plan.budget
    assert (
        found.packing == "1 GPU each, for the dry step failed: torch sees no GPU where there should be one."
    )


def test_a_dry_step_that_fails_leaves_the_plan(
    root: Path, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OrchestratorError("It crashed.")

    monkeypatch.setattr(packing, "_seen", fail)
    found = settled(planned(root), filled).plan
    assert (found.budget.gpus_per_trial, found.packing) == (
        1.0,
        "1 GPU each, for the dry step failed: It crashed.",
    )


def test_a_search_that_goes_on_keeps_its_share(root: Path) -> None:
    asked = Asked(data=root)
    assert packing.as_before(asked, 0.25, {"CPU": 8.0, "GPU": 1.0}).gpus_per_trial == 0.25
    assert packing.as_before(asked, 0.25, {"CPU": 8.0}) == asked
    assert packing.as_before(asked, 0.0, {"CPU": 8.0, "GPU": 1.0}) == asked
