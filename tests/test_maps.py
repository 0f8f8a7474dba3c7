"""Maps and pictures on disk, and merged."""

import pickle
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from ensembles.blend import align, blend
from ensembles.merging import Blend, Rule
from trainables import maps
from trainables.errors import DataError
from trainables.maps import Form, Maps

SHAPES = [(2, 5, 7), (2, 3, 4), (2, 9, 1), (2, 6, 6)]


def chances(seed: int = 0) -> Maps:
    """Probabilities of two classes in images of different sizes, none near a half."""
    rng = np.random.default_rng(seed)
    images = [rng.choice([0.0, 0.1, 0.3, 0.45, 0.55, 0.8, 1.0], s).astype(np.float32) for s in SHAPES]
    return Maps(ids=("a", "b", "c", "d"), images=images)


def pictures(seed: int = 0) -> Maps:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for _, h, w in SHAPES]
    return Maps(ids=("a", "b", "c", "d"), images=images, form="picture")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    chances().save(tmp_path / "maps.bin")
    return tmp_path / "maps.bin"


@pytest.mark.parametrize(("form", "error"), [("byte", 0.5 / 255), ("half", 2**-12)])
def test_probabilities_come_back_to_half_a_step(tmp_path: Path, form: Form, error: float) -> None:
    made = Maps(ids=chances().ids, images=chances().images, form=form)
    made.save(tmp_path / "maps.bin")
    again = Maps.load(tmp_path / "maps.bin")
    assert (again.ids, again.form) == (made.ids, form)
    for before, after in zip(made, again, strict=True):
        assert after.dtype == np.float32
        assert after.shape == before.shape
        assert np.abs(after - before).max() <= error + 1e-7


def test_pictures_come_back_as_they_were(tmp_path: Path) -> None:
    pictures().save(tmp_path / "maps.bin")
    again = Maps.load(tmp_path / "maps.bin")
    assert all((a == b).all() and a.dtype == np.uint8 for a, b in zip(pictures(), again, strict=True))
    assert list(tmp_path.iterdir()) == [tmp_path / "maps.bin"]


def test_what_was_read_saves_to_the_same_bytes(file: Path) -> None:
    before = file.read_bytes()
    Maps.load(file).save(file)
    assert file.read_bytes() == before


def test_one_image_is_read_without_the_others(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(maps.MAGIC) + 3] ^= 255  # of the first image
    file.write_bytes(content)
    opened = Maps.load(file)
    assert opened.image(3).shape == (2, 6, 6)
    with pytest.raises(DataError, match=r"maps\.bin: the map 0 in it is damaged"):
        opened.image(0)


def test_rows_are_taken_in_the_order_asked_for(file: Path) -> None:
    taken = Maps.load(file).take([2, 0]).take(np.array([1, 0, 1]))
    assert taken.ids == ("a", "c", "a")
    assert [image.shape for image in taken] == [SHAPES[0], SHAPES[2], SHAPES[0]]


def test_an_open_file_goes_to_other_processes(file: Path) -> None:
    again: Maps = pickle.loads(pickle.dumps(Maps.load(file)))
    assert (again.image(1) == Maps.load(file).image(1)).all()


def test_images_are_held_no_longer_than_the_next_is_made(tmp_path: Path) -> None:
    made: list[weakref.ref[np.ndarray]] = []

    def one_by_one() -> Iterator[np.ndarray]:
        for k in range(5):
            assert [ref() is None for ref in made[: k - 1]] == [True] * max(k - 1, 0)
            image = np.full((1, 2, 2), k / 4, np.float32)
            made.append(weakref.ref(image))
            yield image

    maps.write(tmp_path / "maps.bin", list("abcde"), one_by_one(), form="half")
    assert [image[0, 0, 0] for image in Maps.load(tmp_path / "maps.bin")] == [0, 0.25, 0.5, 0.75, 1]


def test_empty_masks_take_little_room(tmp_path: Path) -> None:
    empty = Maps(ids=("a",), images=[np.zeros((4, 256, 1600), np.float32)])
    empty.save(tmp_path / "maps.bin")
    assert (tmp_path / "maps.bin").stat().st_size < 4 * 256 * 1600 / 100


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "short": lambda content: content[:10],
    "cut": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "no index": lambda content: content[:-200],
    "index": lambda content: content[:-40] + b"\0" + content[-39:],
    "another": lambda content: b"PK" + content[2:],
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_damaged_file_is_refused(file: Path, spoil: str) -> None:
    file.write_bytes(SPOILED[spoil](file.read_bytes()))
    with pytest.raises(DataError, match=r"maps\.bin: these predictions cannot be read"):
        Maps.load(file)


def test_a_missing_file_is_named(file: Path) -> None:
    opened = Maps.load(file)
    file.unlink()
    with pytest.raises(DataError, match=r"maps\.bin cannot be read"):
        opened.image(0)
    with pytest.raises(DataError, match=r"maps\.bin: these predictions cannot be read"):
        Maps.load(file)


@pytest.mark.parametrize(
    ("image", "form", "fault"),
    [
        (np.full((1, 2, 2), np.nan), "byte", "no probabilities"),
        (np.full((1, 2, 2), 1.5), "half", "1.5 to 1.5, no probabilities"),
        (np.zeros((2, 2)), "byte", r"is \[C, H, W\], not \(2, 2\)"),
        (np.zeros((2, 2, 3)), "picture", "not float64"),
        (np.zeros((3, 2, 2), np.uint8), "picture", r"\[H, W, 3\]"),
    ],
)
def test_what_is_no_map_is_not_written(tmp_path: Path, image: np.ndarray, form: Form, fault: str) -> None:
    with pytest.raises(DataError, match=f"'steel': .*{fault}"):
        Maps(ids=("steel",), images=[image], form=form).save(tmp_path / "maps.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_map_too_few_is_refused() -> None:
    with pytest.raises(DataError, match="1 maps do not fit 2 ids"):
        Maps(ids=("a", "b"), images=[np.zeros((1, 2, 2))])


def merged(rule: Rule, *weights: float) -> list[np.ndarray]:
    both: Maps = blend([chances(k) for k in range(len(weights))], Blend(rule, weights))
    return list(both)


def stacked(count: int) -> list[np.ndarray]:
    """The members' maps of each image, float64 [members, C, H, W]."""
    return [np.stack([chances(k).image(i) for k in range(count)]).astype(float) for i in range(4)]


def test_prob_is_the_weighted_mean() -> None:
    for found, members in zip(merged("prob", 1, 2, 5), stacked(3), strict=True):
        assert np.allclose(found, np.average(members, axis=0, weights=[1, 2, 5]), atol=1e-6)


def test_logit_is_the_weighted_mean_of_the_logits() -> None:
    for found, members in zip(merged("logit", 1, 3), stacked(2), strict=True):
        inside = members.clip(1 / 510, 1 - 1 / 510)
        logits = np.average(np.log(inside / (1 - inside)), axis=0, weights=[1, 3])
        assert np.allclose(np.log(found / (1 - found)), logits, atol=1e-4)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 1.0), (2.0, 1.0, 1.0), (0.2, 0.3, 0.1)])
def test_a_vote_goes_pixel_by_pixel_and_ties_by_probability(weights: tuple[float, ...]) -> None:
    ties = 0
    for found, members in zip(merged("vote", *weights), stacked(len(weights)), strict=True):
        for place in np.ndindex(found.shape):
            values = [float(member[place]) for member in members]
            votes = sum(w if v > 0.5 else -w for v, w in zip(values, weights, strict=True))
            likely = mean(v * w for v, w in zip(values, weights, strict=True)) * len(weights) / sum(weights)
            ties += abs(votes) < 1e-9
            if abs(votes) < 1e-9 and abs(likely - 0.5) < 1e-6:
                continue
            assert (found[place] > 0.5) == (likely > 0.5 if abs(votes) < 1e-9 else votes > 0), values
    assert (ties > 0) == (weights != (1.0, 1.0, 1.0))


def test_the_vote_survives_its_file(tmp_path: Path) -> None:
    both: Maps = blend([chances(0), chances(1)], Blend("vote", (1, 1)))
    both.save(tmp_path / "maps.bin")
    for before, after in zip(both, Maps.load(tmp_path / "maps.bin"), strict=True):
        sure = np.abs(before - 0.5) > 1e-6
        assert ((before > 0.5) == (after > 0.5))[sure].all()


@pytest.mark.parametrize("rule", ["prob", "logit", "vote"])
def test_pictures_are_merged_by_their_rounded_mean(rule: Rule) -> None:
    both: Maps = blend([pictures(0), pictures(1)], Blend(rule, (3, 1)))
    for found, one, other in zip(both, pictures(0), pictures(1), strict=True):
        assert found.dtype == np.uint8
        assert np.abs(found - (one * 0.75 + other * 0.25)).max() <= 0.5


def test_members_without_weight_are_not_read(file: Path, tmp_path: Path) -> None:
    both: Maps = blend([chances(), Maps.load(file)], Blend("prob", (1, 0)))
    file.unlink()
    both.save(tmp_path / "both.bin")
    assert Maps.load(tmp_path / "both.bin").ids == chances().ids


def test_members_are_put_in_order() -> None:
    mixed = chances().take([3, 1, 0, 2])
    one, other = align([chances(), mixed], chances().ids)
    assert other.ids == one.ids
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("rows", "fault"),
    [([0, 1, 2], "4 and 3|3 and 4"), ([0, 1, 2, 2], "only once|twice"), ([0, 1, 2, 3, 3], "twice")],
)
def test_members_of_other_images_are_refused(rows: list[int], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        align([chances().take(rows)], chances().ids)


def test_maps_of_other_sizes_or_forms_are_not_merged() -> None:
    turned = Maps(ids=chances().ids, images=[image.transpose(0, 2, 1) for image in chances()])
    both: Maps = blend([chances(), turned], Blend("prob", (1, 1)))
    with pytest.raises(DataError, match="'a' in other shapes"):
        both.image(0)
    with pytest.raises(DataError, match="other forms"):
        blend([chances(), pictures()], Blend("prob", (1, 1)))
