"""The competitions whose classes stand in their data: layouts, answers, rules."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator import data
from orchestrator.study import sample_space
from tests.images import photo
from trainables.config import TrialConfig
from trainables.cost import Cost
from trainables.errors import DataError, InvalidSubmission, RuleViolation, UsageError
from trainables.named import load_named
from trainables.predictions import Dense
from trainables.submissions import CsvAnswer, organisers_order
from trainables.task import PARTS, Splits, Task, load_task

CARS = ("Acura TL Sedan 2012", "BMW M3 Coupe 2012", "Ford F-150 Regular Cab 2007")


def write(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        photo(seed=seed).save(root / name)
    return root


def cars(root: Path, each: int = 6) -> Path:
    names = [f"{k:06d}" for k in range(1, 1 + each * len(CARS))]
    write(root, *(f"training_data/{name}.jpg" for name in names))
    write(root, "testing_data/000100.jpg", "testing_data/000020.jpg")
    rows = [f"{name},{CARS[-1 - k % len(CARS)]}\n" for k, name in enumerate(names)]
    (root / "training_labels.csv").write_text("id,label\n" + "".join(rows))
    return root


def by_class(root: Path, *, parts: tuple[str, ...] = ("train", "valid"), classes: tuple[str, ...]) -> Path:
    write(root, *(f"{part}/{name}/{k}.jpg" for part in parts for name in classes for k in range(4)))
    return write(root, "test/0002.jpg", "test/0001.jpg")


def found(name: str, root: Path) -> tuple[Task, Splits]:
    _, task, splits = data.read(load_task(name), root)
    return task, splits


def answer_of(task: Task, splits: Splits, path: Path) -> str:
    """What is written when every image is given the last class."""
    ids = tuple(s.id for s in splits.test)
    width = task.kind.heads[0].num_classes
    logits = np.tile(np.eye(width, dtype=np.float32)[-1], (len(ids), 1))
    task.answer.write(Dense(ids=ids, fields={"label": logits}), path)
    task.answer.check(path, ids)
    return path.read_text()


def test_cars196_answers_with_the_names_of_the_cars_and_ids_with_their_zeros(tmp_path: Path) -> None:
    task, splits = found("cars196", cars(tmp_path / "data"))
    assert task.kind.heads[0].classes == CARS
    assert [s.id for s in splits.test] == ["000020", "000100"]
    assert {len(splits.part(name)) for name in ("train", "valid", "holdout")} == {14, 3, 1}
    assert any("cut from train, stratified" in note for note in splits.notes)
    text = answer_of(task, splits, tmp_path / "submission.csv")
    assert text == f"id,label\n000020,{CARS[2]}\n000100,{CARS[2]}\n"


def test_cars196_follows_the_order_of_the_sample_submission(tmp_path: Path) -> None:
    root = cars(tmp_path)
    (root / "sample_submission.csv").write_text("id,label\n000100,x\n000020,x\n")
    _, splits = found("cars196", root)
    assert organisers_order(splits.sample_submission, [s.id for s in splits.test]) == ("000100", "000020")


def test_clipart65_counts_its_classes_and_writes_text(tmp_path: Path) -> None:
    task, splits = found("clipart65", by_class(tmp_path / "data", classes=("0", "1", "2", "10")))
    assert task.kind.heads[0].classes == ("0", "1", "2", "10")
    assert [len(splits.part(name)) for name in PARTS] == [16, 11, 5, 2]
    assert task.answer.filename == "submission.txt"
    assert answer_of(task, splits, tmp_path / "submission.txt") == "id,label\n0001, 10\n0002, 10\n"


SPOILED: dict[str, tuple[Callable[[str], str], str]] = {
    "no space": (lambda text: text.replace("0001, 2", "0001,2"), "line 2: no ' ' between the comma and the"),
    "two spaces": (lambda text: text.replace("0001, 2", "0001,  2"), "line 2: spaces around the label"),
    "float": (
        lambda text: text.replace("0001, 2", "0001, 2.0"),
        "line 2: the label '2.0' is written as a float",
    ),
    "other class": (lambda text: text.replace("0001, 2", "0001, 65"), "line 2: unknown label '65'"),
    "no label": (lambda text: text.replace("0001, 2", "0001, "), "line 2: no label for '0001'"),
    "space in the header": (lambda text: text.replace("id,label", "id, label"), "line 1: wrong header"),
    "zeros": (lambda text: text.replace("0002,", "2,"), "line 3: the id '2' should read '0002'"),
    "missing": (lambda text: text.replace("0001, 2\n", ""), "the id '0001' is missing"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_text_is_refused_with_its_own_reason(tmp_path: Path, name: str) -> None:
    task = load_task("clipart65")
    answer = task.with_heads((replace(task.kind.heads[0], classes=("0", "1", "2")),)).answer
    spoil, reason = SPOILED[name]
    path = tmp_path / "submission.txt"
    path.write_text(spoil("id,label\n0001, 2\n0002, 0\n"))
    with pytest.raises(InvalidSubmission, match=reason) as caught:
        answer.check(path, ["0001", "0002"])
    assert caught.value.fix


@pytest.mark.parametrize("valid", ["valid", "val"])
def test_mygo_takes_the_classes_from_the_folders(tmp_path: Path, valid: str) -> None:
    root = by_class(tmp_path / "data", parts=("train", valid), classes=("anon", "soyo", "tomori"))
    task, splits = found("mygo", root)
    assert task.kind.heads[0].classes == ("anon", "soyo", "tomori")
    assert [len(splits.part(name)) for name in PARTS] == [12, 8, 4, 2]
    text = answer_of(task, splits, tmp_path / "submission.csv")
    assert text == "id,label\n0001,tomori\n0002,tomori\n"


def test_mygo_answers_as_the_sample_submission_does(tmp_path: Path) -> None:
    root = by_class(tmp_path / "data", parts=("train",), classes=("anon", "soyo"))
    (root / "sample_submission.csv").write_text("filename,character\n0002.jpg,anon\n0001.jpg,anon\n")
    task, splits = found("mygo", root)
    assert [s.id for s in splits.test] == ["0001.jpg", "0002.jpg"]
    text = answer_of(task, splits, tmp_path / "submission.csv")
    assert text.startswith("filename,character\n0001.jpg,soyo\n")
    (root / "sample_submission.csv").write_text("filename\n0001.jpg\n")
    with pytest.raises(DataError, match="line 1: 1 columns where an answer has two"):
        found("mygo", root)


@pytest.mark.parametrize("name", ["mygo", "clipart65"])
def test_a_class_unseen_in_training_is_named(tmp_path: Path, name: str) -> None:
    root = by_class(tmp_path, classes=("0", "1"))
    write(root, "valid/7/x.jpg")
    with pytest.raises(DataError, match="unknown label '7'"):
        found(name, root)


@pytest.mark.parametrize("name", ["mygo", "clipart65", "cars196"])
def test_data_that_are_not_there_are_explained(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="does not exist") as caught:
        found(name, tmp_path / "gone")
    assert str(tmp_path / "gone") in caught.value.fix
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=f"No {name} data: .* has no "):
        found(name, tmp_path / "empty")
    root = cars(tmp_path / "x") if name == "cars196" else by_class(tmp_path / "x", classes=("0", "1"))
    test = root / ("testing_data" if name == "cars196" else "test")
    shutil.rmtree(test)
    test.mkdir()
    with pytest.raises(UsageError, match="holds no images"):
        found(name, root)


def test_the_three_studies_of_clipart65_have_rules_of_their_own() -> None:
    task = load_task("clipart65")
    tuned = TrialConfig(model="resnet50", pretrained=True)
    heavy = Cost(parameters=24_000_000, megabytes=94.0, macs=4_000_000_000)
    task.under("clipart65_a").rules.check(tuned)
    task.under("clipart65_a").rules.check_cost(heavy)
    task.under("clipart65_b").rules.check_cost(heavy)
    with pytest.raises(RuleViolation, match="model B is a ResNet-50 trained from scratch"):
        task.under("clipart65_b").rules.check(tuned)
    with pytest.raises(RuleViolation, match="model C is an architecture of one's own"):
        task.under("clipart65").rules.check(tuned)
    with pytest.raises(RuleViolation, match="4000 million multiply-accumulates"):
        task.under("clipart65").rules.check_cost(heavy)


def test_weights_are_refused_where_pretraining_is() -> None:
    with pytest.raises(RuleViolation, match="no pretrained models"):
        load_task("food11").rules.check(TrialConfig(model="resnet18", weights="resnet18.safetensors"))


def test_mygo_bounds_the_size_of_a_model() -> None:
    rules = load_task("mygo").rules
    rules.check_cost(Cost(parameters=11_000_000, megabytes=44.8, macs=1))
    for megabytes in (4.9, 151.0):
        with pytest.raises(RuleViolation, match=f"{megabytes} MB is outside 5 to 150 MB"):
            rules.check_cost(Cost(parameters=1, megabytes=megabytes, macs=1))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("mygo", "mygo"),
        ("cars196", "cars196"),
        ("clipart65", "clipart65"),
        ("clipart65", "clipart65_a"),
        ("clipart65", "clipart65_b"),
        ("folder", "folder"),
    ],
)
@pytest.mark.parametrize("weights", ["", "weights/"])
def test_every_space_keeps_to_the_rules_of_its_study(
    name: str, space: str, device: str, weights: str
) -> None:
    task = load_task(name).under(space)
    function = load_named("search_spaces", space, "space", "search space")
    context = {"device": device, "pixels": 96, "weights": weights}
    configs, parameters = sample_space(
        task, function, count=20, seed=0, defaults={}, fixed={}, context=context
    )
    assert parameters
    if weights and task.rules.pretrained:
        assert any(config.pretrained for config in configs)


def test_an_answer_without_a_gap_is_as_it_was(tmp_path: Path) -> None:
    answer = CsvAnswer(head=replace(load_task("clipart65").kind.heads[0], classes=("0", "1")))
    path = tmp_path / "submission.csv"
    path.write_text("Id,Category\n1, 0\n")
    with pytest.raises(InvalidSubmission, match="spaces around the label ' 0'"):
        answer.check(path, ["1"])
