"""The comparison of craft: fair pairs, disjoint parts, and what the table says of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.craft import BASES, PIECES, TAIL, Data, Outcome, compare, cut, jobs, keep_body, table, thinned
from trainables.config import trial_config
from trainables.store import Part, Store
from trainables.task import Sample, load_task

PLACE = {"task": "digits", "store": "s", "folder": "f"}


def store(num: int = 400) -> Store:
    ids = tuple(f"{k:03d}" for k in range(num))
    targets = np.arange(num)[:, None] % 10
    images = np.zeros((num, 8, 8, 3), np.uint8)
    train = Part(name="train", ids=ids, targets=targets, images=images)
    return Store(folder=Path("s"), side=8, fingerprint="f", quarantined=(), parts={"train": train})


@pytest.mark.parametrize("task", sorted(BASES))
@pytest.mark.parametrize("name", sorted(PIECES))
def test_every_piece_is_a_configuration_that_differs_from_its_base(task: str, name: str) -> None:
    off, on = jobs([name], BASES[task], 0, {**PLACE, "task": task})[name]
    assert trial_config(dict(off.params)) != trial_config(dict(on.params))
    assert (off.data, off.seed) == (on.data, on.seed)
    different = set(dict(on.params).items()) - set(dict(off.params).items())
    assert different == set(PIECES[name].changes.items())


def test_pieces_on_the_same_base_share_its_training() -> None:
    pairs = jobs(["mixup", "focal", "balance"], BASES["digits"], 3, PLACE)
    assert pairs["mixup"][0] == pairs["focal"][0]
    assert pairs["balance"][0] != pairs["focal"][0]


@pytest.mark.parametrize("data", ["plain", "long_tail", "old_classes", "new_classes"])
def test_the_parts_of_a_seed_are_disjoint_and_the_same_again(data: Data) -> None:
    task = load_task("digits")
    one, again, other = (cut(store(), task, seed, data) for seed in (1, 1, 2))
    rows = {name: set(part.rows.tolist()) for name, part in one.parts.items() if part.rows is not None}
    everything = set().union(*rows.values())
    assert sum(len(found) for found in rows.values()) == len(everything)
    assert len(rows["holdout"]) == pytest.approx(0.4 * (400 if data in ("plain", "long_tail") else 200))
    assert not rows["test"]
    for name, part in one.parts.items():
        assert np.array_equal(part.rows, again.parts[name].rows)  # type: ignore[arg-type]
    assert rows["train"] != set(other.parts["train"].rows.tolist())  # type: ignore[union-attr]


def test_old_and_new_classes_are_all_classes_and_have_none_in_common() -> None:
    task = load_task("digits")
    old, new = (
        {k % 10 for k in cut(store(), task, 1, data).parts["train"].rows.tolist()}  # type: ignore[union-attr]
        for data in ("old_classes", "new_classes")
    )
    assert len(old) == len(new) == 5
    assert not old & new


def test_a_long_tail_keeps_ever_less_of_each_class() -> None:
    samples = [Sample(id=str(k), path=Path(str(k)), target=(k % 5,)) for k in range(500)]
    kept = [s.target for s in thinned(samples, 5, seed=0)]
    counts = sorted(kept.count((k,)) for k in range(5))
    assert counts == [round(100 * TAIL ** (k / 4)) for k in (4, 3, 2, 1, 0)]


def outcomes(*pairs: tuple[float, float]) -> list[tuple[Outcome, Outcome]]:
    return [(Outcome(accuracy=off, seconds=2.0), Outcome(accuracy=on, seconds=3.0)) for off, on in pairs]


def test_the_interval_is_students_over_the_pairs() -> None:
    found = compare(outcomes((50, 51), (60, 62), (55, 58)))
    assert found["difference"] == pytest.approx(2)
    # t of two degrees of freedom is 4.303; the standard error of 1, 2, 3 is 1 / sqrt 3.
    assert found["interval"] == pytest.approx([2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5], abs=1e-3)
    assert found["verdict"] == "tie"
    assert found["time"] == pytest.approx(1.5)


def test_only_an_interval_without_zero_is_a_verdict() -> None:
    assert compare(outcomes((50, 52), (60, 62.1), (55, 57.1)))["verdict"] == "better"
    assert compare(outcomes((52, 50), (62.1, 60), (57.1, 55)))["verdict"] == "worse"
    assert compare(outcomes((50, 50), (60, 60)))["verdict"] == "tie"


def test_the_table_has_a_line_a_piece() -> None:
    found = compare(outcomes((50, 51), (60, 62))) | {"changes": {"mixup": 0.2}, "data": "long_tail"}
    figures = {
        "task": "digits",
        "metric": "accuracy",
        "seeds": 2,
        "base": {"epochs": 3},
        "pieces": {"mixup": found},
    }
    lines = table(figures).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("mixup")
    assert lines[2].endswith("mixup=0.2 (long tail)")


def test_fine_tuning_begins_with_a_classifier_of_its_own(tmp_path: Path) -> None:
    save_file({"stem.weight": torch.ones(2), "head.weight": torch.ones(3)}, tmp_path / "whole.safetensors")
    keep_body(tmp_path / "whole.safetensors", tmp_path / "body.safetensors")
    assert set(load_file(tmp_path / "body.safetensors")) == {"stem.weight"}
