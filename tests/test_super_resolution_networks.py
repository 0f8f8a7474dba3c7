"""Networks that enlarge pictures, their patches, views and tiles."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.images import photo
from trainables import bicubic, upscaling
from trainables.color import normalise
from trainables.config import trial_config
from trainables.errors import UsageError
from trainables.families import load_family
from trainables.maps import Maps
from trainables.nets.upscale import Enlarge
from trainables.turns import turned, turned_back
from trainables.upscaling import Kept, by_area, enlarged, patch_pair, random_view

FAMILIES: dict[str, dict[str, Any]] = {
    "vdsr": {"depth": 3, "width": 4},
    "edsr": {"depth": 2, "width": 4, "residual_scale": 0.5, "activation": "silu"},
    "fsrcnn": {"depth": 2, "width": 6, "narrow": 3},
}
CPU = torch.device("cpu")


def build(model: str, *, scale: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    config = trial_config({"model": model, **FAMILIES[model]})
    return load_family(model).build(config, scale**2)


def noise(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def untrained(model: str) -> torch.nn.Module:
    """A network whose answer is more than bicubic."""
    network = build(model)
    torch.nn.init.normal_(network.head.weight, std=0.02)  # type: ignore[union-attr, arg-type]
    return network.eval()


def as_picture(x: Tensor) -> np.ndarray:
    return (x[0] * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_enlargement_is_that_of_the_metric_up_to_rounding(scale: int) -> None:
    picture = np.asarray(photo(23, 17))
    x = normalise(torch.tensor(picture).permute(2, 0, 1)[None])
    found = as_picture(Enlarge(scale)(x)).astype(int)
    assert np.abs(found - bicubic.enlarge(picture, scale)).max() <= 1


@pytest.mark.parametrize("model", FAMILIES)
def test_a_network_begins_as_bicubic_and_learns_in_every_layer(model: str) -> None:
    network = build(model)
    x = torch.randn(2, 3, 9, 12)
    assert torch.equal(network(x), Enlarge(3)(x))
    torch.nn.init.ones_(network.head.weight)  # type: ignore[union-attr, arg-type]
    outputs = network(x)
    assert outputs.shape == (2, 3, 27, 36)
    outputs.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("model", FAMILIES)
def test_the_layout_in_memory_changes_nothing(model: str) -> None:
    network, x = untrained(model), torch.randn(2, 3, 7, 8)
    found = network(x)
    turned_over = network.to(memory_format=torch.channels_last)
    again = turned_over(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(found, again, atol=1e-5)


@pytest.mark.parametrize("model", FAMILIES)
def test_a_network_answers_in_float32_under_autocast(model: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = build(model)(torch.randn(1, 3, 8, 8))
    assert found.dtype == torch.float32


@pytest.mark.parametrize("model", FAMILIES)
def test_pretrained_weights_that_nobody_published_are_refused(model: str) -> None:
    config = trial_config({"model": model, "pretrained": True})
    with pytest.raises(UsageError, match="Nobody publishes"):
        load_family(model).build(config, 9)


def test_the_eight_views_differ_and_are_undone_exactly() -> None:
    x = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    views = [turned(x, view) for view in range(8)]
    assert len({(tuple(v.shape), tuple(v.flatten().tolist())) for v in views}) == 8
    assert all(torch.equal(turned_back(v, view), x) for view, v in enumerate(views))


@pytest.mark.parametrize(
    ("flip", "vertical", "allowed"),
    [(False, False, {0}), (True, False, {0, 1}), (False, True, {0, 2}), (True, True, set(range(8)))],
)
def test_training_sees_the_views_that_are_asked_for(flip: bool, vertical: bool, allowed: set[int]) -> None:
    rng = np.random.default_rng(0)
    assert {random_view(flip, vertical, rng) for _ in range(200)} == allowed


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20), st.integers(1, 200), st.integers(0, 9))
def test_pictures_are_drawn_by_their_area(areas: list[int], count: int, seed: int) -> None:
    drawn = by_area(np.array(areas, dtype=np.float64), count, np.random.default_rng(seed))
    share = np.array(areas) / sum(areas) * count
    assert len(drawn) == count
    assert (np.abs(np.bincount(drawn, minlength=len(areas)) - share) <= 1 + 1e-6).all()


@pytest.mark.parametrize("view", range(8))
@pytest.mark.parametrize("size", [(20, 30), (5, 30), (3, 2), (1, 1)])
def test_both_sides_of_a_patch_show_the_same_place(size: tuple[int, int], view: int) -> None:
    small = noise(*size)
    large = small.repeat(3, 0).repeat(3, 1)
    rng = np.random.default_rng(view)
    x, y = patch_pair(small, large, side=8, view=view, rng=rng)
    assert x.shape == (3, 8, 8)
    assert torch.equal(y, x.repeat_interleave(3, 1).repeat_interleave(3, 2))


def test_decoded_pictures_are_kept_as_long_as_there_is_room() -> None:
    class Counted(list[np.ndarray]):
        reads = 0

        def __getitem__(self, row: int) -> np.ndarray:  # type: ignore[override]
            self.reads += 1
            return super().__getitem__(row)

    images = Counted([noise(3, 3), noise(30, 30)])
    maps = Maps(ids=("a", "b"), images=images, form="picture")
    kept = Kept(maps)
    kept.room = 100
    for row in (0, 1, 0, 1):
        assert (kept.picture(maps, row) == noise(*[(3, 3), (30, 30)][row])).all()
    assert images.reads == 3


@pytest.mark.parametrize("model", FAMILIES)
def test_pictures_of_all_sizes_are_enlarged_as_each_by_itself(model: str) -> None:
    network = untrained(model)
    sizes = [(7, 9), (1, 1), (12, 5), (7, 9), (2, 30), (7, 9)]
    pictures = [noise(*size, seed=k) for k, size in enumerate(sizes)]
    with torch.inference_mode():
        together = enlarged(network, pictures, scale=3, tta="none", device=CPU)
        alone = [enlarged(network, [p], scale=3, tta="none", device=CPU)[0] for p in pictures]
        plain = as_picture(network(normalise(torch.tensor(pictures[2]).permute(2, 0, 1)[None])))
    assert [p.shape for p in together] == [(3 * h, 3 * w, 3) for h, w in sizes]
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(together, alone, strict=True))
    assert (together[2] == plain).all()


def test_a_large_picture_is_enlarged_by_tiles_without_seams() -> None:
    network = untrained("vdsr")
    picture = noise(390, 401)
    assert picture.shape[0] * picture.shape[1] > upscaling.AT_ONCE["cpu"]
    with torch.inference_mode():
        tiled = enlarged(network, [picture], scale=3, tta="none", device=CPU)[0]
        whole = as_picture(network(normalise(torch.tensor(picture).permute(2, 0, 1)[None])))
    assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_a_long_narrow_picture_is_cut_along_its_length() -> None:
    network = untrained("fsrcnn")
    picture = noise(2, upscaling.AT_ONCE["cpu"])
    with torch.inference_mode():
        found = enlarged(network, [picture], scale=3, tta="none", device=CPU)[0]
        whole = as_picture(network(normalise(torch.tensor(picture[:, :500]).permute(2, 0, 1)[None])))
    assert found.shape == (6, 3 * upscaling.AT_ONCE["cpu"], 3)
    assert np.abs(found[:, :1400].astype(int) - whole[:, :1400]).max() <= 1


def test_the_mean_of_eight_views_turns_with_the_picture() -> None:
    network, picture = untrained("edsr"), noise(6, 9)
    turned_picture = np.rot90(picture)[:, ::-1].copy()
    with torch.inference_mode():
        first, second = enlarged(network, [picture, turned_picture], scale=3, tta="eight", device=CPU)
        plain = enlarged(network, [turned_picture], scale=3, tta="none", device=CPU)[0]
    expected = np.rot90(first)[:, ::-1].astype(int)
    assert np.abs(expected - second).max() <= 1
    assert np.abs(expected - plain).max() > 1
