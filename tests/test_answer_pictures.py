"""What a search's answers look like: curves, classes, confusions, confidence, mistakes, from made files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support

from orchestrator import journal
from orchestrator.evidence.content import Block, Picture, Section, Table, Text
from orchestrator.pictures import answers
from orchestrator.pictures.classes import class_scores, class_table, draw_classes
from orchestrator.pictures.confusions import confusion_counts, draw_confusion, worst_confusions
from orchestrator.pictures.curves import draw_search_curves
from orchestrator.pictures.mistakes import draw_mistakes, surest_mistakes
from orchestrator.pictures.style import LARGEST, empty_figure, save
from tests.made_search import MadeSearch, digits_store
from tests.made_study import add_trial, made_record
from tests.shapes import boxes_of, random_rows, shaken
from trainables.predictions import Dense
from trainables.store import Part, Store, open_store
from trainables.task import Head, Metric, Task, load_task

LONG = tuple(f"Mercedes-Benz 300-Class Convertible {year}" for year in range(1900, 2096))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_store(tmp_path_factory)


def files(blocks: list[Block]) -> list[str]:
    """Names of the pictures, in their order, sections opened; each is there and small."""
    found = []
    for block in blocks:
        if isinstance(block, Section):
            found += files(list(block.blocks))
        elif isinstance(block, Picture):
            with Image.open(block.file) as image:
                assert image.format == "PNG"
            assert block.file.stat().st_size <= LARGEST
            found.append(block.file.name)
    return found


def test_the_answers_of_a_search_are_shown_on_the_holdout(tmp_path: Path, store: Path) -> None:
    made = MadeSearch(tmp_path / "runs", store)
    for number in range(3):
        made.whole_trial(number, skill=0.6 + 0.1 * number)
    folder = made.finish()

    found = answers.blocks(
        folder, journal.read(folder.journal), load_task("digits"), open_store(store), tmp_path / "p"
    )
    tables = [block for block in found if isinstance(block, Table)]

    assert files(found) == [
        "curves.png",
        "confusion_counts.png",
        "confusion_shares.png",
        "classes.png",
        "reliability.png",
        "mistakes.png",
    ]
    assert [len(table.rows) for table in tables] == [11, 1]
    assert "trial 0002, 60 holdout images" in tables[0].caption
    assert "fitted on the validation images" in tables[1].notes[0]


def test_a_search_without_predictions_shows_its_curves_and_says_why(tmp_path: Path, store: Path) -> None:
    made = MadeSearch(tmp_path / "runs", store)
    made.report(made.start(0), 1)
    folder = made.finish()

    curves, said = answers.blocks(
        folder, journal.read(folder.journal), load_task("digits"), open_store(store), tmp_path / "p"
    )

    assert isinstance(curves, Picture)
    assert isinstance(said, Text)
    assert "cannot be shown" in said.words
    assert "valid.npz" in said.words or "holdout.npz" in said.words


def test_a_search_without_a_trial_says_so(tmp_path: Path, store: Path) -> None:
    folder = MadeSearch(tmp_path / "runs", store).finish()

    curves, said = answers.blocks(
        folder, journal.read(folder.journal), load_task("digits"), open_store(store), tmp_path / "p"
    )

    assert isinstance(curves, Text)
    assert isinstance(said, Text)
    assert "no trial has a score" in said.words


def several_heads(store: Store) -> tuple[Store, Task]:
    """The digits asked twice: which digit, and whether it is odd."""
    heads = (store.heads[0], Head(name="odd", classes=("even", "odd")))
    parts = {
        name: part
        if part.targets is None
        else replace(part, targets=np.column_stack([part.targets[:, 0], part.targets[:, 0] % 2]))
        for name, part in store.parts.items()
    }
    task = load_task("digits")
    return replace(store, heads=heads, parts=parts), replace(task, kind=task.kind.with_heads(heads))


def test_several_heads_have_a_section_each_and_no_holdout_halves_the_validation(
    tmp_path: Path, store: Path
) -> None:
    made = MadeSearch(tmp_path / "runs", store)
    folder, name = made.folder, made.whole_trial(0)
    two, task = several_heads(made.store)
    parts = {**two.parts, "holdout": replace(two.parts["holdout"], ids=(), targets=None)}
    valid = made.predictions(made.store.parts["valid"], 0.7)
    odd = np.random.default_rng(0).normal(size=(len(valid), 2)).astype(np.float32)
    Dense(ids=valid.ids, fields={**valid.fields, "odd": odd}).save(folder.trial(name) / "valid.npz")
    made.finish()

    found = answers.blocks(
        folder, journal.read(folder.journal), task, replace(two, parts=parts), tmp_path / "p"
    )
    last = found[-1]

    assert [b.title for b in found if isinstance(b, Section)] == ["Head label", "Head odd"]
    assert "mistakes_odd.png" in files(found)
    assert isinstance(last, Table)
    assert [row[0] for row in last.rows] == ["label", "odd"]
    assert " and " in last.rows[0][1]
    assert "other half" in last.notes[0]


def test_answers_that_lie_in_the_picture_are_shown_beside_the_truth(tmp_path: Path, store: Path) -> None:
    made = MadeSearch(tmp_path / "runs", store)
    folder, name = made.folder, made.whole_trial(0)
    random = np.random.default_rng(3)
    truth = boxes_of(*(random_rows(4, seed) for seed in range(8)))
    part = Part(
        name="holdout",
        ids=truth.ids,
        targets=truth,
        images=tuple(random.integers(0, 256, (70, 90, 3), dtype=np.uint8) for _ in truth.ids),
    )
    for where in ("holdout", "valid"):
        boxes_of(*(shaken(random_rows(4, seed), seed) for seed in range(8))).save(
            folder.trial(name) / f"{where}.npz"
        )
    made.finish()
    pictures = replace(made.store, heads=(), parts={**made.store.parts, "holdout": part, "valid": part})
    metric = Metric(name="found", direction="maximize", fn=lambda p, t: len(p.images[0]) / len(t.images[0]))
    task = replace(load_task("digits"), metric=metric)

    found = answers.blocks(folder, journal.read(folder.journal), task, pictures, tmp_path / "p")

    assert files(found) == ["curves.png", "predictions.png"]


def test_class_scores_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    targets, logits = random.integers(0, 6, 300), random.normal(size=(300, 6))
    found = class_scores(confusion_counts(logits, targets), "abcdef")

    precision, recall, f1, images = precision_recall_fscore_support(
        targets, logits.argmax(1), labels=range(6)
    )

    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)
    np.testing.assert_array_equal(found.images, images)


def test_a_class_without_images_or_answers_is_no_zero() -> None:
    found = class_scores(np.array([[3, 0, 0], [2, 0, 0], [0, 0, 0]]), "abc")
    table = class_table(found, caption="")

    assert table.rows[0] == ("a", "0.600", "1.000", "0.750", "3")
    assert table.rows[1] == ("b", "–", "0.000", "0.000", "2")
    assert len(table.rows) == 3
    assert table.rows[2] == ("mean of the classes", "0.600", "0.500", "0.375", "5")


def test_the_worst_confusions_by_images_and_by_share() -> None:
    counts = np.array([[90, 9, 1], [0, 2, 3], [1, 0, 0]])

    assert worst_confusions(counts, "counts")[0] == (0, 1)
    assert worst_confusions(counts, "shares")[:2] == [(1, 2), (0, 1)]


def test_the_surest_mistakes_come_first() -> None:
    logits = np.array([[5.0, 0.0], [3.0, 0.0], [0.0, 4.0], [9.0, 0.0]])

    assert surest_mistakes(logits, np.array([1, 1, 0, 0])) == [0, 2, 1]


def test_many_classes_with_long_names_are_drawn_small(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    targets, logits = random.integers(0, 196, 800), random.normal(size=(800, 196))
    logits[np.arange(800), targets] += random.uniform(0, 6, 800)
    counts = confusion_counts(logits, targets)
    scores = class_scores(counts, LONG)

    drawn = [
        draw_confusion(counts, LONG, tmp_path / "a.png", title="many", says="shares"),
        draw_classes(scores, tmp_path / "b.png", title="many"),
    ]

    assert all(path.stat().st_size <= LARGEST for path in drawn)
    assert len(class_table(scores, caption="").rows) == 26


def test_photographs_are_written_within_the_bound(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    noise = [random.integers(0, 256, (120, 90, 3), dtype=np.uint8) for _ in range(7)]

    path = draw_mistakes(noise, [("cat", "dog", 0.99999)] * 7, tmp_path / "m.png", title="noise")
    figure = empty_figure(7, 7, "noise")
    figure.subplots().imshow(random.random((500, 500, 3)))

    assert path.stat().st_size <= LARGEST
    assert save(figure, tmp_path / "n.png").stat().st_size <= LARGEST


def test_curves_of_many_trials_name_the_best(tmp_path: Path) -> None:
    record = made_record()
    for number in range(70):
        add_trial(record, {"lr": 1.0}, np.linspace(0, number / 70, 5))
    add_trial(record, {"lr": 1.0}, np.array([]), state="FAIL")

    found = draw_search_curves(record, tmp_path / "c.png")

    assert found is not None
    assert "trial 0069 (accuracy 0.9857 at epoch 5)" in found.caption
    assert draw_search_curves(made_record(), tmp_path / "d.png") is None
