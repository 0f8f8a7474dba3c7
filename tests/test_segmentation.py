"""The kind of masks: crops, flips and views that move masks along, answers of any size, and the losses."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.color import normalise
from trainables.config import TrialConfig
from trainables.errors import DataError, UsageError
from trainables.kinds.segmentation import Segmentation
from trainables.maps import Maps
from trainables.mask_crops import Window, favoured, masks_in, mirrored, picture_in, traces, window
from trainables.run_lengths import encode
from trainables.segmenting import TILE, tiles
from trainables.store import Part
from trainables.task import Head, Sample
from trainables.turns import VIEWS, turned, turned_back

KIND = Segmentation(heads=(Head(name="defect", classes=("a", "b")),))
CONFIG = TrialConfig(model="fpn", image_size=16, batch_size=4, flip=True, vertical_flip=True)
CPU = torch.device("cpu")


def picture_of(masks: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] whose red and green are the masks bool [2, H, W]: what a view shows tells its masks."""
    return np.stack([*masks, np.zeros_like(masks[0])], 2).astype(np.uint8) * 255


def some_masks(height: int, width: int, seed: int) -> np.ndarray:
    """bool [2, height, width]: the second class is in every second picture."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((2, height, width), bool)
    top, left = rng.integers(0, (height, width))
    masks[0, top : top + 9, left : left + 5] = True
    masks[1] = rng.random((height, width)) < 0.1 * (seed % 2)
    return masks


def part_of(masks: Sequence[np.ndarray], folder: Path) -> Part:
    """A part as the store gives it: the truth lies in a file."""
    samples = [
        Sample(id=f"{k}.png", path=folder / f"{k}.png", truth=tuple(encode(mask) for mask in some))
        for k, some in enumerate(masks)
    ]
    KIND.truth(samples, [some.shape[1:] for some in masks]).save(folder / "truth.maps")
    return Part(
        name="train",
        ids=tuple(s.id for s in samples),
        targets=Maps.load(folder / "truth.maps"),
        images=tuple(picture_of(some) for some in masks),
    )


@pytest.fixture
def part(tmp_path: Path) -> Part:
    sizes = [(16, 16), (24, 40), (9, 70), (40, 7), (1, 3), (33, 20)]
    filled = [some_masks(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    return part_of([*filled, *(np.zeros((2, 20, 20), bool) for _ in range(6))], tmp_path)


def shown(views: torch.Tensor) -> torch.Tensor:
    """Red and green of normalised views, bool [B, 2, S, S]."""
    middle = normalise(torch.full((1, 3, 1, 1), 127.5))
    return (views > middle)[:, :2]


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, favour=0.8), replace(CONFIG, color=0.2)])
def test_masks_move_with_their_pictures(part: Part, config: TrialConfig) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        views, masks = KIND.batch(part, range(len(part.ids)), config, rng)
        assert views.shape == (12, 3, 16, 16)
        assert views.dtype == torch.float32
        assert torch.equal(shown(views), masks.bool())


def test_zoomed_masks_stay_on_what_they_show(part: Part) -> None:
    config = replace(CONFIG, crop=0.9, image_size=32)
    views, masks = KIND.batch(part, [0, 2, 3], config, np.random.default_rng(0))
    assert (shown(views)[:, 0] == masks[:, 0].bool()).float().mean() > 0.95


def test_the_same_random_numbers_make_the_same_views(part: Part) -> None:
    config = replace(CONFIG, favour=0.5, color=0.3)
    one, other = (KIND.batch(part, [1, 2, 8], config, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_an_epoch_shows_every_picture_so_many_times(part: Part) -> None:
    order = KIND.order(part, replace(CONFIG, patches=3), np.random.default_rng(0))
    assert np.bincount(order).tolist() == [3] * 12
    fold = replace(part, rows=np.array([1, 4, 9]))
    assert sorted(KIND.order(fold, CONFIG, np.random.default_rng(0))) == [1, 4, 9]


def test_a_share_of_the_views_is_where_something_is(tmp_path: Path) -> None:
    """Two of eight large pictures hold one pixel each: only views that are sent there show it."""
    masks = [np.zeros((2, 300, 300), bool) for _ in range(8)]
    masks[0][0, 150, 150] = masks[1][1, 299, 0] = True
    large = part_of(masks, tmp_path)
    config, rng = replace(CONFIG, favour=0.6, patches=50), np.random.default_rng(0)
    order = KIND.order(large, config, rng)
    assert len(order) == 400
    hits = KIND.batch(large, order.tolist(), config, rng)[1].flatten(1).any(1)
    assert hits.float().mean() == pytest.approx(0.6, abs=0.02)


def test_without_anything_to_find_an_epoch_is_plain(tmp_path: Path) -> None:
    empty = part_of([np.zeros((2, 20, 20), bool)] * 3, tmp_path)
    config, rng = replace(CONFIG, favour=0.5), np.random.default_rng(0)
    order = KIND.order(empty, config, rng)
    assert sorted(order) == [0, 1, 2]
    assert not KIND.batch(empty, order.tolist(), config, rng)[1].any()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), st.integers(0, 1000))
def test_a_window_of_the_runs_is_that_of_the_masks(height: int, width: int, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((2, height, width)) < 0.4
    truth = Maps(ids=("a",), images=[masks.astype(np.float32)])
    place = window((height, width), side, centre=favoured(traces(truth, 0), height, rng), rng=rng)
    assert np.array_equal(masks_in(traces(truth, 0), (height, width), place), whole_window(masks, place))
    assert np.array_equal(
        picture_in(picture_of(masks), place)[..., :2].transpose(2, 0, 1) > 0, whole_window(masks, place)
    )


def whole_window(masks: np.ndarray, place: Window) -> np.ndarray:
    """By numpy's own mirroring."""
    starts = (place.top, place.left)
    before = [max(0, -start) for start in starts]
    after = [max(0, a + place.side - size) for a, size in zip(starts, masks.shape[1:], strict=True)]
    padded = np.pad(masks, [(0, 0), *zip(before, after, strict=True)], mode="reflect")
    top, left = place.top + before[0], place.left + before[1]
    return padded[:, top : top + place.side, left : left + place.side]


def test_a_favoured_pixel_is_one_of_a_class_that_is_there() -> None:
    masks = np.zeros((2, 10, 8), bool)
    masks[0, 2:5, 3] = masks[1, 9, 7] = True
    truth, rng = Maps(ids=("a",), images=[masks.astype(np.float32)]), np.random.default_rng(0)
    found = [favoured(traces(truth, 0), 10, rng) for _ in range(200)]
    assert set(found) == {(2, 3), (3, 3), (4, 3), (9, 7)}
    assert found.count((9, 7)) == pytest.approx(100, abs=30)


def test_mirroring_turns_back_at_both_ends() -> None:
    assert mirrored(-3, 10, 4).tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirrored(-2, 4, 1).tolist() == [0, 0, 0, 0]


def reds(views: torch.Tensor) -> torch.Tensor:
    """A network that answers each pixel by itself: sure of red for class a and of green for class b."""
    return 20.0 * views[:, :2].sign() * (1 + views[:, 2:].abs())


@pytest.mark.parametrize("tta", ["none", "flip", "eight"])
def test_pictures_of_any_size_are_answered_by_all_views(
    part: Part, tta: Literal["none", "flip", "eight"]
) -> None:
    answers = KIND.answer(reds, part.images, replace(CONFIG, tta=tta), CPU)
    found = KIND.gather(part.ids, answers)
    for values, masks in zip(found, part.targets, strict=True):
        assert values.dtype == np.float32
        assert np.array_equal(values, masks)
    assert sum(len(answer.data) for answer in answers) < sum(image.size for image in part.images)


@pytest.mark.parametrize("view", VIEWS["eight"])
def test_a_view_is_undone_exactly(view: int) -> None:
    images = torch.rand(2, 3, 5, 8)
    assert torch.equal(turned_back(turned(images, view), view), images)


def test_the_eight_views_are_eight() -> None:
    assert (
        len({tuple(turned(torch.arange(6).view(2, 3), view).flatten().tolist()) for view in VIEWS["eight"]})
        == 8
    )


def test_large_pictures_go_through_in_tiles() -> None:
    masks = some_masks(TILE + 40, 5 * TILE, 1)
    seen: list[tuple[int, ...]] = []

    def network(views: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(views.shape[2:]))
        return reds(views)

    (answer,) = KIND.answer(network, [picture_of(masks)], CONFIG, CPU)
    assert np.array_equal(answer.image() > 0.5, masks)
    assert len(seen) == 2 * 6
    assert set(seen) == {(TILE, TILE)}


@given(st.integers(1, 9000))
def test_tiles_cover_a_side_once(side: int) -> None:
    found = tiles(side)
    assert [first for _, first, _ in found] == [0, *(last for _, _, last in found[:-1])]
    assert found[-1][2] == side
    for start, first, last in found:
        assert start <= first < last <= start + TILE


def test_crops_are_no_view_of_a_mask(part: Part) -> None:
    with pytest.raises(UsageError, match="tta='crops'"):
        KIND.answer(reds, part.images, replace(CONFIG, tta="crops"), CPU)


def test_runs_past_the_end_are_refused_by_the_file() -> None:
    sample = Sample(id="a.png", path=Path("train/a.png"), truth=("", "20 9"))
    with pytest.raises(DataError, match=r"train/a.png, class 'b': run 1 \(20 9\) ends past the last pixel"):
        KIND.truth([sample], [(5, 5)]).image(0)
