"""Batches out of the store: every image once, the pixels and targets that belong together."""

import numpy as np
import pytest
import torch

from trainables.errors import DataError
from trainables.feed import Feed, num_batches
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
    batches = list(feed.shuffled(batch_size, torch.Generator().manual_seed(0)))
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
