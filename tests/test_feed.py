"""Batches out of the store: every image once, the pixels and targets that belong together."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables import feed as feed_module
from trainables.augment import Augment, plain
from trainables.config import trial_config
from trainables.errors import DataError, UsageError
from trainables.feed import Feed, num_batches
from trainables.staging import BUFFERS, Staging
from trainables.store import Part

CPU = torch.device("cpu")


def part(num_images: int, *, labelled: bool = True) -> Part:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_images, 8, 8, 3)).astype(np.uint8)
    images.setflags(write=False)
    return Part(
        name="train",
        ids=tuple(map(str, range(num_images))),
        targets=rng.integers(0, 3, (num_images, 2)) if labelled else None,
        images=images,
    )


@pytest.mark.parametrize(("num_images", "batch_size"), [(41, 8), (40, 8), (7, 100), (5, 1), (2, 2)])
def test_an_epoch_shows_every_image_once(num_images: int, batch_size: int) -> None:
    feed = Feed(part(num_images), CPU)
    batches = list(feed.batches(feed.rows.flip(0), batch_size))
    seen = torch.cat(batches).tolist()
    assert len(batches) == num_batches(num_images, batch_size)
    assert len(set(seen)) == len(seen) >= num_images - 1
    assert (len(seen) < num_images) == (batch_size > 1 and num_images % batch_size == 1)
    assert torch.cat(list(feed.in_order(batch_size))).tolist() == list(range(num_images))


def test_the_feed_gives_the_stores_pixels_and_targets() -> None:
    source = part(12)
    feed = Feed(source, CPU)
    rows = torch.tensor([5, 0, 11])
    assert torch.equal(feed.images(rows).permute(0, 2, 3, 1), torch.tensor(source.images[rows.numpy()]))
    assert feed.images(rows).is_contiguous(memory_format=torch.channels_last)
    assert source.targets is not None
    assert feed.targets_of(rows).tolist() == source.targets[rows.numpy()].tolist()


def test_unknown_targets_are_not_made_up() -> None:
    with pytest.raises(DataError, match="no labels"):
        Feed(part(3, labelled=False), CPU).targets_of(torch.tensor([0]))


def test_the_feed_copies_nothing_on_a_cpu(tmp_path: Path) -> None:
    pixels = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    (tmp_path / "images.u8").write_bytes(pixels.tobytes())
    mapped = np.memmap(tmp_path / "images.u8", np.uint8, "r", shape=pixels.shape).view(np.ndarray)
    feed = Feed(dataclasses.replace(part(4), images=mapped), CPU)
    assert feed.source is not None
    assert feed.source.data_ptr() == mapped.ctypes.data
    assert not feed.resident
    assert torch.equal(feed.images(torch.tensor([2])).permute(0, 2, 3, 1)[0], torch.tensor(pixels[2]))


@pytest.mark.parametrize("params", [{"crop": 0.5}, {"crop": 0.5, "rotation": 10.0, "color": 0.3}, {}])
@pytest.mark.parametrize("size", [8, 12])
def test_views_from_the_feed_are_views_of_its_images(params: dict[str, float], size: int) -> None:
    feed, rows = Feed(part(12), CPU), torch.tensor([5, 0, 11])
    config = trial_config({"model": "convnet", "image_size": size, **params})
    views = Augment(config, torch.Generator().manual_seed(0)).batch(feed, rows)
    expected = Augment(config, torch.Generator().manual_seed(0))(feed.images(rows))
    assert torch.equal(views, expected)


@pytest.mark.parametrize("reread", [False, True])
@pytest.mark.parametrize("size", [6, 8, 12])
def test_whole_pictures_are_the_same_kept_or_not(reread: bool, size: int) -> None:
    feed = Feed(part(11), CPU, reread=reread)
    for _ in range(2):
        for rows in feed.in_order(4):
            assert torch.equal(feed.plain(rows, size), plain(feed.images(rows), size))


def test_a_part_that_is_looked_at_again_is_not_resized_again(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(part(11), CPU, reread=True)
    first = [feed.plain(rows, 6) for rows in feed.in_order(4)]
    monkeypatch.setattr(feed, "source", torch.zeros(11, 3, 8, 8, dtype=torch.uint8))
    again = [feed.plain(rows, 6) for rows in feed.in_order(3)]
    assert torch.equal(torch.cat(first), torch.cat(again))


def test_a_large_part_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "KEPT_BYTES", 1000)
    feed = Feed(part(11), CPU, reread=True)
    feed.plain(feed.rows, 6)
    monkeypatch.setattr(feed, "source", torch.zeros(11, 3, 8, 8, dtype=torch.uint8))
    assert torch.equal(feed.plain(feed.rows, 6), plain(torch.zeros(11, 3, 8, 8, dtype=torch.uint8), 6))


def test_staged_batches_are_the_ones_asked_for_in_any_order() -> None:
    images = part(40).images
    staging = Staging(images, CPU)
    batches = staging.follow(torch.randperm(40).split(7))
    # As announced, then out of order, then never announced.
    for rows in [*batches, *batches[::2], *batches, torch.tensor([3, 3])]:
        assert torch.equal(staging.take(rows), torch.tensor(images[rows.numpy()]))


def test_the_next_batch_is_brought_ahead_into_another_buffer() -> None:
    staging = Staging(part(40).images, CPU)
    batches = staging.follow(torch.arange(40).split(10))
    taken = [staging.take(rows) for rows in batches]
    assert len({batch.data_ptr() for batch in taken}) == len(batches) > BUFFERS
    assert torch.equal(torch.cat(taken), torch.tensor(part(40).images))


@pytest.mark.parametrize("share", ["much", "-0.1", "1.5", "nan"])
def test_a_share_of_memory_that_is_none_is_refused(share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_RESIDENT_SHARE", share)
    with pytest.raises(UsageError, match="ORCH_RESIDENT_SHARE"):
        feed_module.resident_share()


def test_the_share_of_memory_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert feed_module.resident_share() == feed_module.RESIDENT_SHARE
    monkeypatch.setenv("ORCH_RESIDENT_SHARE", "0.1")
    assert feed_module.resident_share() == 0.1
