"""Which pictures are copies of each other, and that no cut of ours parts them."""

import io
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from tests.images import food11_folder
from trainables import duplicates
from trainables.duplicates import groups, near_pairs, numbered, prints
from trainables.grouping import as_stored
from trainables.raw_rows import reorder
from trainables.splits import complete
from trainables.store import Store, prepare
from trainables.task import PARTS, Splits
from trainables.tasks.food11 import LABEL, TASK, read


def scene(seed: int, size: int = 64) -> Image.Image:
    """A picture of some structure: smooth color over a few scales."""
    rng = np.random.default_rng(seed)
    layers = [
        Image.fromarray(rng.integers(0, 256, (n, n, 3)).astype(np.uint8)).resize((size, size), 3)
        for n in (3, 6, 12)
    ]
    mixed = sum(
        np.asarray(layer, dtype=np.float32) * w for layer, w in zip(layers, (0.5, 0.3, 0.2), strict=True)
    )
    return Image.fromarray(np.asarray(mixed).astype(np.uint8))


def pixels(*images: Image.Image, side: int = 64) -> np.ndarray:
    return np.stack([np.asarray(i.convert("RGB").resize((side, side), 3)) for i in images])


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


EDITS = {
    "recompressed": lambda image: jpeg(image, 60),
    "half the size": lambda image: image.resize((32, 32)),
    "a little brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.04),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.05),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("side", [64, 50])
def test_another_encoding_of_a_picture_is_its_copy(edit: str, side: int) -> None:
    scenes = [scene(k) for k in range(40)]
    found = near_pairs(prints(pixels(*scenes, *map(EDITS[edit], scenes), side=side)))
    copies = {(int(i), int(j)) for i, j in found}
    assert copies <= {(k, 40 + k) for k in range(40)}
    assert len(copies) >= 38


def test_other_pictures_are_no_copies() -> None:
    plain = [scene(k) for k in range(300)]
    turned = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in plain[:50]]
    gray = [image.convert("L") for image in plain[:50]]
    assert len(near_pairs(prints(pixels(*plain, *turned, *gray)))) == 0


def test_blank_pictures_are_known_and_are_copies_of_none() -> None:
    white, gray = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), (100, 101, 102))
    found = prints(pixels(white, gray, white, scene(1)))
    assert found.blank.tolist() == [True, True, True, False]
    assert len(near_pairs(found)) == 0


def test_many_equal_pictures_make_few_pairs() -> None:
    found = prints(np.repeat(pixels(scene(1)), 500, axis=0))
    assert near_pairs(found).tolist() == [[0, k] for k in range(1, 500)]


def test_the_cells_of_a_side_that_is_no_multiple_are_means() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3)).astype(np.uint8)
    # 96 px as 32 cells of 3 are added up; the other way multiplies by a matrix of shares
    shares = duplicates._averages(96)
    wanted = np.einsum("ij,njkc,lk->nilc", shares, image.astype(np.float64), shares)
    assert np.abs(duplicates._shrunk(image, shares) - wanted).max() < 0.01
    assert np.allclose(duplicates._averages(50).sum(1), 1)
    assert duplicates._shrunk(image[:, :50, :50], duplicates._averages(50)).shape == (1, 32, 32, 3)


def test_no_close_pair_of_hashes_is_missed() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 300, dtype=np.uint64)
    for _ in range(5):
        hashes = np.concatenate(
            [hashes, hashes[-300:] ^ (np.uint64(1) << rng.integers(0, 64, 300, dtype=np.uint64))]
        )
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    wanted = {(i, j) for i, j in np.argwhere(apart <= duplicates.BITS_APART).tolist() if i < j}
    found = {tuple(sorted(pair)) for pairs in duplicates._close_hashes(hashes) for pair in pairs.tolist()}
    assert found == wanted
    assert len(wanted) > 1000


def test_a_hundred_thousand_pictures_are_compared_in_seconds() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, 100_000, dtype=np.uint64)
    started = time.process_time()
    assert sum(len(pairs) for pairs in duplicates._close_hashes(hashes)) == 0
    assert time.process_time() - started < 10


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30), st.lists(st.integers(0, 6)))
@settings(deadline=None)
def test_groups_are_the_connected_pictures(pairs: list[tuple[int, int]], drawn: list[int]) -> None:
    names = [str(k) if k else "" for k in (drawn + [0] * 20)[:20]]
    edges = [*pairs, *((i, j) for i, j in combinations(range(20), 2) if names[i] and names[i] == names[j])]
    reached = np.eye(20, dtype=bool)
    for i, j in edges:
        reached[i, j] = reached[j, i] = True
    for k in range(20):
        reached |= reached[:, k : k + 1] & reached[k]
    wanted = {tuple(np.flatnonzero(row).tolist()) for row in reached}
    found = groups([names], np.array(pairs, np.int64).reshape(-1, 2))
    assert set(found) == {group for group in wanted if len(group) > 1}
    assert [bool(name) for name in numbered(found, 20)] == [row.sum() > 1 for row in reached]


@given(st.permutations(range(9)))
def test_rows_are_reordered_in_place(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    file = tmp_path_factory.getbasetemp() / "rows"
    file.write_bytes(b"".join(bytes([k]) * 3 for k in range(9)))
    reorder(file, order, 3)
    assert file.read_bytes() == b"".join(bytes([k]) * 3 for k in order)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """food11 without a validation part; six copies of one picture and five of another in train."""
    root = food11_folder(tmp_path / "food11", train=8, valid=2, size=32)
    (root / "validation").rename(root / "unused")
    for label in range(11):
        for k in range(8):
            scene(label * 8 + k).save(root / "training" / f"{label}_{k}.jpg", quality=95)
    for k in range(10):
        scene(1000 + k).save(root / "test" / f"{k:04d}.jpg")
    for label in range(1, 6):
        jpeg(scene(0), 50).save(root / "training" / f"{label}_0.jpg")
    for k in range(1, 5):
        scene(48).save(root / "training" / f"6_{k}.jpg", quality=95)
    return root


def made(data: Path, given: Splits, *, side: int = 32) -> Store:
    splits = complete(given, heads=(LABEL,))
    return prepare(TASK, splits, uncut=given, side=side, root=data.parent / "stores")


def parts_of(store: Store, ids: set[str]) -> set[str]:
    return {name for name in PARTS for id in store.parts[name].ids if id in ids}


COPIES = {"0_0", "1_0", "2_0", "3_0", "4_0", "5_0"}
SAME = {"6_0", "6_1", "6_2", "6_3", "6_4"}


def test_copies_are_not_parted_by_our_cut_and_each_row_stays_its_picture(data: Path) -> None:
    given = read(data)
    apart = complete(given, heads=(LABEL,))
    assert len({name for name in PARTS for s in apart.part(name) if s.id in COPIES | SAME}) > 1
    store = made(data, given)
    assert len(parts_of(store, COPIES)) == 1
    assert len(parts_of(store, SAME)) == 1
    plain = prepare(TASK, apart, side=32, root=data.parent / "stores")
    images = {
        id: image for part in plain.parts.values() for id, image in zip(part.ids, part.images, strict=True)
    }
    for name, part in store.parts.items():
        for id, image in zip(part.ids, part.images, strict=True):
            assert np.array_equal(images[id], image), (name, id)
        if part.targets is not None:
            assert [f"{t}" for t in part.targets[:, 0]] == [id.split("_")[0] for id in part.ids]
    assert sorted(images) == sorted(id for part in store.parts.values() for id in part.ids)
    named = {id: g for part in store.parts.values() for id, g in zip(part.ids, part.groups, strict=True)}
    assert len({named[id] for id in COPIES}) == 1
    assert {id for id, group in named.items() if group} == COPIES | SAME
    assert made(data, given).folder == store.folder
    assert made(data, given).findings == store.findings


def test_what_is_found_is_said(data: Path) -> None:
    texts = {finding.kind: finding for finding in made(data, read(data)).findings}
    assert texts["conflict"].severity == "warning"
    assert texts["conflict"].text.startswith("1 group of copies has different labels")
    assert "0_0.jpg (0)" in texts["conflict"].examples[0]
    assert texts["copies"].text == "11 train pictures form 2 groups of copies (1 of the same bytes)."
    assert texts["recut"].text.startswith("Cut anew, so that no copies are parted: train ")
    assert "leak" not in texts


def test_a_leak_between_given_parts_is_counted_and_nothing_is_moved(data: Path) -> None:
    (data / "validation").mkdir()
    for label in range(11):
        for k in range(3):
            scene(500 + 3 * label + k).save(data / "validation" / f"{label}_{k}.jpg")
    scene(0).save(data / "validation" / "7_0.jpg", quality=95)
    scene(9).save(data / "test" / "0003.jpg")
    given = read(data)
    store = made(data, given)
    leaks = [finding.text for finding in store.findings if finding.kind == "leak"]
    assert leaks == [
        "1 valid picture is a copy of train pictures: valid scores may be too good. Nothing was moved.",
        "1 test picture is a copy of train pictures: test scores may be too good. Nothing was moved.",
    ]
    assert set(store.parts["train"].ids) == {s.id for s in given.train}
    kept = set(store.parts["valid"].ids) | set(store.parts["holdout"].ids)
    assert kept == {s.id for s in given.valid}


def test_the_splits_follow_the_store(data: Path) -> None:
    given = read(data)
    store = made(data, given)
    stored = {name: (part.ids, part.groups) for name, part in store.parts.items()}
    splits = as_stored(complete(given, heads=(LABEL,)), given, stored)
    for name in PARTS:
        assert tuple(s.id for s in splits.part(name)) == store.parts[name].ids
        assert tuple(s.group for s in splits.part(name)) == store.parts[name].groups


def test_groups_that_the_data_names_are_kept_together_and_are_no_copies(data: Path) -> None:
    given = read(data)
    patients = replace(given, train=tuple(replace(s, group=f"p{s.id[-1]}") for s in given.train))
    store = made(data, patients)
    for k in range(8):
        assert len(parts_of(store, {f"{label}_{k}" for label in range(11)})) == 1
    assert {finding.kind for finding in store.findings} <= {"conflict", "copies", "recut"}


def test_pictures_of_one_group_only_cannot_be_cut(data: Path) -> None:
    given = read(data)
    one = replace(given, train=tuple(replace(s, group="all") for s in given.train))
    with pytest.raises(Exception, match="too few to cut one"):
        complete(one, heads=(LABEL,))
