"""Ordered grades from two lists and two folders, and the decision all the way into the answer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ensembles.compare import Answers, Ensemble, answer, compare
from tests.images import photo
from trainables.errors import DataError, UsageError
from trainables.metrics import QUADRATIC_KAPPA, quadratic_kappa
from trainables.predictions import Dense
from trainables.splits import complete
from trainables.submissions import organisers_order
from trainables.task import load_task
from trainables.tasks import aptos2019

TASK = load_task("aptos2019")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """30 training pictures and 4 of the test, listed in another order than their names'."""
    root = tmp_path / "aptos2019"
    for part, names in (("train", [f"a{k:02d}" for k in range(30)]), ("test", ["t3", "t1", "t0", "t2"])):
        (root / f"{part}_images").mkdir(parents=True)
        for k, name in enumerate(names):
            photo(8, 8, seed=k).save(root / f"{part}_images" / f"{name}.png")
    lines = [f"a{k:02d},{k % 5}" for k in range(30)]
    (root / "train.csv").write_text("\n".join(["id_code,diagnosis", *lines]) + "\n")
    (root / "test.csv").write_text("id_code\nt3\nt1\nt0\nt2\n")
    return root


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_the_parts_are_those_of_the_lists(data: Path) -> None:
    splits = aptos2019.read(data)
    assert [s.target for s in splits.train[:6]] == [(0,), (1,), (2,), (3,), (4,), (0,)]
    assert organisers_order(splits.sample_submission, [s.id for s in splits.test]) == ("t3", "t1", "t0", "t2")
    assert len(complete(splits, heads=TASK.kind.heads).valid) == 4
    assert aptos2019.read(data.parent) == splits


@pytest.mark.parametrize(
    ("file", "old", "new", "wrong"),
    [
        ("train.csv", "a03,", "a99,", r"train.csv, line 5: there is no image 'a99'"),
        ("train.csv", "a03,", "a02,", r"train.csv, line 5: 'a02' has a row already"),
        ("train.csv", "a03,3", "a03,7", r"train.csv, line 5: unknown label '7'"),
        ("train.csv", "a03,3", "a03", r"train.csv, line 5: 1 fields where the header has 2"),
        ("train.csv", "diagnosis", "grade", r"train.csv, line 1: no column 'diagnosis'"),
        ("test.csv", "t1", "t9", r"test.csv, line 3: there is no image 't9'"),
        ("test.csv", "t1", "t3", r"test.csv, line 3: 't3' has a row already"),
    ],
)
def test_a_wrong_row_is_named(data: Path, file: str, old: str, new: str, wrong: str) -> None:
    edit(data / file, old, new)
    with pytest.raises(DataError, match=wrong):
        aptos2019.read(data)


def test_pictures_without_a_row_are_left_out_with_a_note(data: Path) -> None:
    edit(data / "train.csv", "a03,3\n", "")
    edit(data / "test.csv", "t1\n", "")
    splits = aptos2019.read(data)
    assert (len(splits.train), len(splits.test)) == (29, 3)
    assert "1 images of" in splits.notes[0]
    assert "have no row in test.csv" in splits.notes[1]


def test_missing_data_say_what_is_missing_and_where_to_get_it(data: Path) -> None:
    (data / "test.csv").unlink()
    with pytest.raises(UsageError, match=r"has no test\.csv") as caught:
        aptos2019.read(data)
    assert "aptos2019-blindness-detection" in caught.value.fix


def members(known: np.ndarray, *, seed: int, shift: float) -> tuple[Dense, ...]:
    """Two answers that are `shift` grades too high, with noise of their own."""
    rng = np.random.default_rng(seed)
    ids = tuple(f"{k}" for k in range(len(known)))
    seen = [known + shift + rng.normal(0, 0.5, len(known)) for _ in range(2)]
    grades = [-((values[:, None] - np.arange(5)) ** 2).astype(np.float32) for values in seen]
    return tuple(Dense(ids=ids, fields={"diagnosis": values}) for values in grades)


def compared(shift: float) -> tuple[dict[str, Answers], Ensemble]:
    rng = np.random.default_rng(0)
    parts = {}
    for seed, (name, count) in enumerate((("valid", 200), ("holdout", 200), ("test", 50))):
        known = rng.choice(5, count, p=[0.4, 0.15, 0.2, 0.15, 0.1])
        parts[name] = Answers(members=members(known, seed=seed, shift=shift), targets=known[:, None])
    (found,) = compare(
        parts,
        trial_ids=["0000", "0001"],
        metric=QUADRATIC_KAPPA,
        methods=["prob_mean"],
        decision=TASK.decision,
    )
    return parts, found


def test_thresholds_that_help_when_cross_fitted_are_used_on_images_that_did_not_fit_them() -> None:
    parts, found = compared(shift=0.45)
    assert found.plain_value is not None
    assert found.plain_holdout_value is not None
    assert found.holdout_value is not None
    assert found.valid_value > found.plain_value + 0.01
    assert found.holdout_value > found.plain_holdout_value + 0.01
    assert len(found.decision) == 4
    holdout = parts["holdout"]
    assert holdout.targets is not None
    decided = answer(found, holdout.members, TASK.decision)
    assert quadratic_kappa(decided, holdout.targets) == found.holdout_value
    plain = answer(replace(found, decision=()), holdout.members, TASK.decision)
    assert quadratic_kappa(plain, holdout.targets) == found.plain_holdout_value


def test_the_gain_is_over_the_best_single_trial_with_thresholds_of_its_own() -> None:
    parts, _ = compared(shift=0.45)
    found = compare(
        parts,
        trial_ids=["0000", "0001"],
        metric=QUADRATIC_KAPPA,
        methods=["best_single", "prob_mean"],
        decision=TASK.decision,
    )
    single, mean = (row.holdout_value for row in found)
    assert single is not None
    assert mean is not None
    assert found[0].decision
    assert found[0].gain == pytest.approx(0.0)
    assert found[1].gain == pytest.approx(mean - single)


def test_thresholds_that_do_not_help_when_cross_fitted_are_not_used() -> None:
    known = np.tile(np.arange(5), 8)
    right = tuple(
        Dense(ids=tuple(f"{k}" for k in range(40)), fields={"diagnosis": 9 * np.eye(5)[known]}) for _ in "ab"
    )
    (found,) = compare(
        {"valid": Answers(members=right, targets=known[:, None])},
        trial_ids=["0000", "0001"],
        metric=QUADRATIC_KAPPA,
        methods=["prob_mean"],
        decision=TASK.decision,
    )
    assert found.decision == ()
    assert found.valid_value == found.plain_value == 1.0


def test_a_task_without_a_decision_has_none_to_show() -> None:
    parts, _ = compared(shift=0.45)
    (found,) = compare(parts, trial_ids=["0000", "0001"], metric=QUADRATIC_KAPPA, methods=["prob_mean"])
    assert (found.decision, found.plain_value, found.plain_holdout_value) == ((), None, None)
    assert json.loads(json.dumps(found.decision)) == []
