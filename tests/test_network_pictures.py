"""The pictures of a trained network: each is made of a real small trial, and fits into a report."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator import journal
from orchestrator.evidence.content import Picture, Table, Text
from orchestrator.folders import SearchFolder
from orchestrator.journal import SearchRecord, TrialRecord
from orchestrator.pictures import augmented, embedding, networks
from orchestrator.pictures.attention import heated
from orchestrator.pictures.filters import patch
from tests import test_super_resolution as enlarging
from tests.made_search import MadeSearch, digits_store
from tests.test_looking import config_of, trainer_of
from tests.test_train import Listener
from trainables.config import trial_config
from trainables.errors import DataError, OrchestratorError
from trainables.looking import Seen
from trainables.maps import Maps
from trainables.store import Part, Store, open_store
from trainables.task import PARTS, Head, Task, load_task
from trainables.train import train

OURS = {
    "model": "convnet",
    "image_size": 8,
    "stem_stride": 1,
    "depth": 3,
    "width": 8,
    "crop": 0.3,
    "mixup": 0.2,
}
THEIRS = {"model": "test_vit", "image_size": 32}
LARGEST = 300_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(digits_store(tmp_path_factory))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small: Store) -> SearchFolder:
    """Two trials of two epochs, our network and a transformer of timm, and one that left no weights."""
    made = MadeSearch(tmp_path_factory.mktemp("trained"), small.folder)
    for number, params in enumerate((OURS, THEIRS)):
        whole = {**params, "epochs": 2, "batch_size": 8, "lr": 0.003}
        trial_id = made.start(number, **whole)
        train(task(), small, trial_config(whole), Listener(), folder=made.folder.trial(trial_id))
        made.report(trial_id, 2)
        made.journal.append("end", trial_id=trial_id, state="COMPLETE", reason="")
    made.whole_trial(2)
    return made.finish()


def task() -> Task:
    return load_task("digits")


def fits(picture: Picture) -> bool:
    with Image.open(picture.file) as image:
        return image.format == "PNG" and picture.file.stat().st_size < LARGEST and image.width > 600


INSIDE = ["filters", "tsne", "maps", "responses", "gradcam"]


@pytest.mark.parametrize(("trial_id", "names"), [("0000", ["augmented", *INSIDE]), ("0001", INSIDE)])
def test_every_picture_is_made_of_our_network_and_of_a_transformer(
    trained: SearchFolder, small: Store, tmp_path: Path, trial_id: str, names: list[str]
) -> None:
    record = journal.read(trained.journal)
    found = networks.blocks(trained, record, record.trials[trial_id], task(), small, tmp_path / "network")
    pictures = [block for block in found if isinstance(block, Picture)]
    assert [picture.file.stem for picture in pictures] == names
    assert all(fits(picture) and picture.caption.endswith(".") for picture in pictures)
    assert [block.words for block in found if isinstance(block, Text)] == (
        []
        if "augmented" in names
        else ["Views of training pictures: left out, for the trial saw every training picture as it is."]
    )


def test_the_table_of_layers_adds_up(trained: SearchFolder, small: Store) -> None:
    trial = journal.read(trained.journal).trials["0001"]
    table = networks.layers(trained, trial, task(), small)
    assert isinstance(table, Table)
    *rows, total = table.rows
    assert all(len(row) == len(table.columns) for row in table.rows)
    for column in (3, 4):
        assert sum(int(row[column].replace(",", "")) for row in rows) == int(total[column].replace(",", ""))
    assert rows[-2][:3] == ("head", "Linear", "10")


def test_mixed_pictures_stand_below_the_views(tmp_path: Path) -> None:
    config = config_of("convnet", crop=0.3, mixup=0.2)
    picture = augmented.augmented(trainer_of(config), config, tmp_path / "a.png", title="t")
    assert picture is not None
    assert fits(picture)
    assert "crop=0.3" in picture.caption
    assert "All batches were mixed by mixup (0.2), as in the last row." in picture.caption


def test_a_trial_that_left_no_network_is_named(trained: SearchFolder, small: Store, tmp_path: Path) -> None:
    record = journal.read(trained.journal)
    with pytest.raises(DataError, match="0002"):
        networks.blocks(trained, record, record.trials["0002"], task(), small, tmp_path)


def test_a_picture_that_cannot_be_made_is_a_sentence() -> None:
    def fails() -> Picture:
        raise RuntimeError("size mismatch\nsomewhere")

    def refuses() -> Picture:
        raise OrchestratorError("it has no eyes")

    said = [networks._or_why("Filters", make) for make in (fails, refuses)]
    assert said == [
        Text("Filters: left out, for it failed (size mismatch somewhere)."),
        Text("Filters: left out, for it has no eyes."),
    ]


def test_clusters_stay_apart_and_the_same_vectors_are_refused() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 20)) + 30 * (np.arange(60) % 2)[:, None]
    points = embedding.embedding(vectors)
    one, other = points[::2], points[1::2]
    between = np.linalg.norm(one.mean(0) - other.mean(0))
    assert between > 2 * max(one.std(), other.std()) or between > np.ptp(points) / 4
    np.testing.assert_array_equal(points, embedding.embedding(vectors))
    with pytest.raises(OrchestratorError, match="spread"):
        embedding.embedding(np.ones((60, 20)))
    with pytest.raises(OrchestratorError, match="3 pictures"):
        embedding.embedding(vectors[:3])


@pytest.mark.parametrize("num_classes", [11, 196])
def test_an_embedding_is_drawn_with_few_and_with_many_classes(tmp_path: Path, num_classes: int) -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(num_classes * 2) % num_classes
    vectors = rng.normal(size=(len(targets), 6))
    seen = Seen(
        rows=np.arange(len(targets)),
        targets=targets[:, None],
        logits={"label": rng.normal(size=(len(targets), num_classes))},
        last=vectors,
        maps={},
        peaks={},
    )
    head = Head(name="label", classes=tuple(f"A long name of number {i}" for i in range(num_classes)))
    picture = embedding.embeddings(seen, [head], {"last": vectors}, tmp_path / "tsne.png", title="t")
    assert fits(picture)
    assert ("grey" in picture.caption) == (num_classes == 196)


def test_a_patch_lies_around_its_place_and_inside_the_picture() -> None:
    picture = np.arange(64 * 64 * 3).reshape(64, 64, 3)
    np.testing.assert_array_equal(patch(picture, np.array([8, 8]), 16), picture[26:42, 26:42])
    np.testing.assert_array_equal(patch(picture, np.array([0, 15]), 16), picture[:16, 48:])
    np.testing.assert_array_equal(patch(picture, np.array([1, 0]), 2), picture)


def test_heat_brightens_where_the_map_is_high() -> None:
    heat = heated(np.full((8, 8, 3), 100, dtype=np.uint8), np.array([[0.0, 0.0], [0.0, 1.0]]))
    assert heat.shape == (8, 8, 3)
    assert heat[7, 7].sum() > heat[0, 0].sum()


def test_what_was_asked_of_augmentation_is_spelled_as_in_the_configuration() -> None:
    def said(**params: Any) -> str:
        return augmented.asked(dataclasses.replace(config_of("convnet"), **params))

    assert said(crop=0.25, flip=True) == "crop=0.25, flip=true"
    assert said(augment="randaugment") == "augment=randaugment"
    assert said(augment="none", crop=0.25) == "augment=none"
    assert said() == ""


def test_of_a_dense_kind_its_own_patches_and_the_filters_are_drawn(tmp_path: Path) -> None:
    task, folder = load_task("super_resolution"), SearchFolder(tmp_path / "search")
    config = enlarging.config(model="fsrcnn", patches=2, epochs=1)
    small = [np.asarray(enlarging.picture(*size, seed=k)) for k, size in enumerate(enlarging.SIZES)]
    large = tuple(picture.repeat(3, 0).repeat(3, 1) for picture in small)
    truth = Maps(ids=tuple("abcdef"), images=large, form="picture")
    part = Part(name="train", ids=truth.ids, targets=truth, images=tuple(small))
    parts = dict.fromkeys(PARTS, part)
    store = Store(folder=tmp_path, side=0, fingerprint="", quarantined=(), parts=parts)
    train(task, store, config, Listener(), folder=folder.trial("0000"))
    trial = TrialRecord(trial_id="0000", number=0, params={"model": "fsrcnn"}, started=0.0)
    views, first = networks.blocks(folder, SearchRecord(asked={}), trial, task, store, tmp_path / "network")
    assert isinstance(views, Picture)
    assert "flip=true, vertical_flip=true" in views.caption
    assert "no more than" not in views.caption
    assert isinstance(first, Picture)
    assert fits(views)
    assert fits(first)
    assert networks.layers(folder, trial, task, store).rows[0][1].startswith("Conv2d 5 x 5")


def test_fewer_different_views_than_places_are_said(tmp_path: Path) -> None:
    config = config_of("convnet", flip=True)
    picture = augmented.augmented(trainer_of(config), config, tmp_path / "a.png", title="t")
    assert picture is not None
    assert "no more than 2 different views" in picture.caption
