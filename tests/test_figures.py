"""Learning curves and confusion matrices."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from orchestrator import journal
from orchestrator.figures import draw_curves, ensemble_pictures, trial_pictures
from orchestrator.pictures.confusions import confusion_counts, draw_confusion
from tests.made_search import MadeSearch, digits_store
from trainables.errors import DataError
from trainables.predictions import Dense
from trainables.store import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_store(tmp_path_factory)


def rows(epochs: int) -> list[dict[str, float]]:
    names = ("train_loss", "valid_loss", "train_metric", "valid_metric")
    return [{"epoch": e, **dict.fromkeys(names, 0.7**e)} for e in range(1, epochs + 1)]


def inked(path: Path) -> float:
    """Share of the pixels that are not white."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return float((np.asarray(image.convert("L")) < 250).mean())


def test_confusion_counts_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    logits, targets = random.normal(size=(500, 7)), random.integers(0, 7, 500)

    counts = confusion_counts(logits, targets)

    np.testing.assert_array_equal(counts, confusion_matrix(targets, logits.argmax(1), labels=range(7)))


def test_confusion_counts_of_no_image_are_zeros_of_the_full_shape() -> None:
    counts = confusion_counts(np.zeros((0, 3)), np.zeros(0, dtype=np.int64))

    np.testing.assert_array_equal(counts, np.zeros((3, 3), dtype=np.int64))


@pytest.mark.parametrize("classes", [2, 11, 196])
def test_a_confusion_matrix_is_drawn_with_few_and_many_classes(tmp_path: Path, classes: int) -> None:
    random = np.random.default_rng(2)
    targets = random.integers(0, classes, 400)
    counts = confusion_counts(random.normal(size=(400, classes)), targets)
    names = [f"a class with quite a long name, {i}" for i in range(classes)]

    draw_confusion(counts, names, tmp_path / "confusion.png", title="Trial 0001")

    assert inked(tmp_path / "confusion.png") > 0.03


def test_an_empty_confusion_matrix_is_drawn_without_dividing_by_zero(tmp_path: Path) -> None:
    draw_confusion(np.zeros((3, 3), dtype=np.int64), "abc", tmp_path / "empty.png", title="Nothing")

    assert inked(tmp_path / "empty.png") > 0


@pytest.mark.parametrize(("epochs", "best"), [(0, None), (1, 1), (60, 12)])
def test_curves_are_drawn_from_any_number_of_epochs(tmp_path: Path, epochs: int, best: int | None) -> None:
    draw_curves(rows(epochs), tmp_path / "curves.png", metric="accuracy", best_epoch=best, title="Trial 0001")

    assert inked(tmp_path / "curves.png") > 0.01


def test_a_loss_that_was_not_finite_leaves_a_gap(tmp_path: Path) -> None:
    reports = [dict(row) for row in rows(3)]
    reports[1]["valid_loss"] = None  # type: ignore[assignment]

    draw_curves(reports, tmp_path / "curves.png", metric="accuracy", best_epoch=2, title="Trial 0001")

    assert inked(tmp_path / "curves.png") > 0.01


def test_pictures_of_a_trial_and_an_ensemble_come_from_their_files(tmp_path: Path, store: Path) -> None:
    made = MadeSearch(tmp_path, store)
    made.whole_trial(0)
    made.whole_trial(1)
    ensemble = made.ensemble()
    record = journal.read(made.finish().journal)
    (tmp_path / "trial").mkdir()
    (tmp_path / "ensemble").mkdir()

    trial_pictures(made.folder, record, record.trials["0000"], tmp_path / "trial")
    ensemble_pictures(made.folder, record, ensemble, tmp_path / "ensemble")

    assert {p.name for p in (tmp_path / "trial").iterdir()} == {"curves.png", "confusion.png"}
    assert {p.name for p in (tmp_path / "ensemble").iterdir()} == {"confusion.png"}


def test_a_trial_without_predictions_has_curves_only(tmp_path: Path, store: Path) -> None:
    made = MadeSearch(tmp_path, store)
    made.end(made.start(0), "FAIL", "out of memory")
    record = journal.read(made.finish().journal)

    trial_pictures(made.folder, record, record.trials["0000"], tmp_path)

    assert (tmp_path / "curves.png").exists()
    assert not (tmp_path / "confusion.png").exists()


def test_predictions_of_other_images_are_refused(tmp_path: Path, store: Path) -> None:
    made = MadeSearch(tmp_path, store)
    trial_id = made.whole_trial(0)
    holdout = open_store(store).parts["holdout"]
    Dense(ids=holdout.ids, fields={"label": np.zeros((len(holdout.ids), 10))}).save(
        made.folder.trial(trial_id) / "valid.npz"
    )
    record = journal.read(made.finish().journal)

    with pytest.raises(DataError, match="different images"):
        trial_pictures(made.folder, record, record.trials[trial_id], tmp_path)
