"""The fused path against kornia's classes, operation by operation: the same draws, the same pixels."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kornia import augmentation as K
from kornia.enhance import adjust_hue
from torch import Tensor

from benchmarks.photos import make_photo
from trainables.augment import Augment
from trainables.color import LUMA, MEAN, STD, color_maps
from trainables.config import TrialConfig
from trainables.crops import crop_products, crop_views
from trainables.draws import ERASED_AREA, ERASED_ASPECT, HUE_TURN, JITTER, Draws, draw
from trainables.fused import FusedRecipe, erase_mask, erase_slices, sampling_grid
from trainables.kornia_path import KorniaRecipe

MANY, SIDE, SIZE = 4000, 48, 32
RECIPE: dict[str, Any] = {
    "crop": 0.6,
    "flip": True,
    "rotation": 25.0,
    "translate": 0.1,
    "color": 0.5,
    "erasing": 0.3,
}
SAME = 0.04
"""Largest distance of two distributions of 4,000 draws; of equal ones, one in a hundred exceeds 0.036."""


@cache
def photos(num: int, side: int) -> Tensor:
    """uint8 [num, 3, side, side], channels last."""
    rng = np.random.default_rng(0)
    pixels = [
        np.asarray(make_photo(rng, ("circles", "boxes")[k % 2]).resize((side, side))) for k in range(num)
    ]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)


def config(**params: Any) -> TrialConfig:
    return TrialConfig(model="convnet", image_size=SIZE, **params)


def ours(num: int = MANY, **params: Any) -> Draws:
    generator = torch.Generator().manual_seed(0)
    return draw(config(**params), generator, num, side=SIDE, whole_pixels=True)


def theirs(operation: Any, side: int = SIDE) -> dict[str, Tensor]:
    """Parameters that a kornia class draws for as many images of `side` px."""
    torch.manual_seed(0)
    drawn: dict[str, Tensor] = operation.forward_parameters(torch.Size((MANY, 3, side, side)))
    return drawn


def distance(one: Tensor, other: Tensor) -> float:
    """Kolmogorov's and Smirnov's, the largest difference of two empirical distribution functions."""
    at = torch.cat([one, other])
    below = [torch.searchsorted(x.sort().values, at, right=True) / len(x) for x in (one, other)]
    return float((below[0] - below[1]).abs().max())


def assert_same(our: Tensor, their: Tensor) -> None:
    """Of one distribution: all of it, and its mean and standard deviation."""
    assert distance(our, their) < SAME
    assert float(our.mean()) == pytest.approx(float(their.mean()), abs=0.1 * float(their.std()) + 1e-6)
    assert float(our.std()) == pytest.approx(float(their.std()), rel=0.06, abs=1e-6)


def test_crops_are_drawn_alike() -> None:
    corners = theirs(K.RandomResizedCrop((SIZE, SIZE), (0.4, 1.0), (3 / 4, 4 / 3)))["src"]
    their_size = corners[:, 2] - corners[:, 0] + 1
    box = ours(crop=0.6).box
    assert_same(box[:, 2:].prod(1), their_size.prod(1))
    assert_same((box[:, 2] / box[:, 3]).log(), (their_size[:, 0] / their_size[:, 1]).log())
    for axis in (0, 1):
        assert_same(box[:, axis], corners[:, 0, axis])


def test_flips_are_drawn_alike() -> None:
    theirs_flipped = theirs(K.RandomHorizontalFlip())["batch_prob"].float().mean()
    flipped = (ours(flip=True).sign < 0).float().mean()
    assert float(flipped) == pytest.approx(0.5, abs=0.03)
    assert float(theirs_flipped) == pytest.approx(0.5, abs=0.03)


def test_turns_and_shifts_are_drawn_alike() -> None:
    drawn = theirs(K.RandomAffine(25.0, (0.1, 0.1), p=1.0), side=SIZE)
    our = ours(rotation=25.0, translate=0.1)
    assert_same(our.angle[:, 0], drawn["angle"])
    for axis in (0, 1):
        assert_same(our.shift[:, axis], drawn["translations"][:, axis])


def test_color_changes_are_drawn_alike() -> None:
    reach = JITTER * 0.5
    drawn = theirs(K.ColorJitter(reach, reach, reach, HUE_TURN * 0.5))
    brightness, contrast, saturation, turn = ours(color=0.5).color.unbind(1)
    assert_same(brightness, drawn["brightness_factor"])
    assert_same(contrast, drawn["contrast_factor"])
    assert_same(saturation, drawn["saturation_factor"])
    assert_same(turn, 2 * torch.pi * drawn["hue_factor"])


def test_erased_rectangles_are_drawn_alike() -> None:
    drawn = theirs(K.RandomErasing(ERASED_AREA, ERASED_ASPECT, p=1.0), side=SIZE)
    left, top, width, height = ours(erasing=1.0).erased.unbind(1)
    assert_same(width * height, drawn["widths"] * drawn["heights"])
    assert_same(width.log(), drawn["widths"].log())
    assert_same(height.log(), drawn["heights"].log())
    assert_same(left, drawn["xs"])
    assert_same(top, drawn["ys"])
    rate = (ours(erasing=0.3).erased[:, 2] > 0).float().mean()
    assert float(rate) == pytest.approx(0.3, abs=0.02)


def test_the_same_crop_gives_kornias_pixels() -> None:
    # Crops that are enlarged: where it shrinks, kornia's crop is not antialiased.
    x, drawn = photos(8, SIDE), ours(8, crop=0.6)
    drawn.box[:, 2:].clamp_(max=SIZE)
    operation = K.RandomResizedCrop((SIZE, SIZE), align_corners=False)
    operation(x.float())
    left, top, width, height = drawn.box.unbind(1)
    right, bottom = left + width - 1, top + height - 1
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    given = {**operation._params, "src": torch.stack([torch.stack(c, 1) for c in corners], 1)}
    expected = operation(x.float(), params=given)
    views = crop_views(x, torch.arange(8), drawn, SIZE).float()
    torch.testing.assert_close(views, expected, atol=1.01, rtol=0)
    torch.testing.assert_close(crop_products(x, drawn, SIZE), expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize("size", [7, 32, 60])
def test_both_ways_to_crop_resize_as_torch_does(size: int) -> None:
    x, drawn = photos(8, SIDE), ours(8, crop=0.6, flip=True)
    rows = torch.tensor([3, 1, 0, 2, 7, 7, 5, 6])
    left, top, width, height = drawn.box.int().unbind(1)
    for k, (view, product) in enumerate(
        zip(crop_views(x, rows, drawn, size), crop_products(x[rows], drawn, size), strict=True)
    ):
        crop = x[rows[k], None, :, top[k] : top[k] + height[k], left[k] : left[k] + width[k]]
        expected = F.interpolate(crop.float(), (size, size), mode="bilinear", antialias=True)[0]
        expected = expected.flip(-1) if drawn.sign[k] < 0 else expected
        torch.testing.assert_close(product, expected, atol=1e-2, rtol=0)
        torch.testing.assert_close(view.float(), expected, atol=1.6, rtol=0)


def test_the_same_turn_and_shift_give_kornias_pixels() -> None:
    x, drawn = photos(8, SIZE).float(), ours(8, rotation=25.0, translate=0.1)
    drawn.box[:, 2:] = SIZE
    operation = K.RandomAffine(25.0, (0.1, 0.1), padding_mode="reflection", p=1.0)
    operation(x)
    given = {**operation._params, "angle": drawn.angle[:, 0], "translations": drawn.shift}
    grid = sampling_grid(drawn, SIZE, side=SIZE)
    views = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(views, operation(x, params=given), atol=0.05, rtol=0)


def mapped(x: Tensor, changes: Tensor) -> Tensor:
    """Images in 0..1 with changed colours, neither clipped nor normalised."""
    maps = color_maps(changes)
    grey = x.mean((2, 3)) @ LUMA
    return (maps.matrix @ x.flatten(2) + (maps.lift * grey)[:, None, None]).view(x.shape)


def test_the_same_factors_give_kornias_colors() -> None:
    # Muted pictures and small changes: kornia clips after every step.
    x = photos(8, SIZE).float() / 255 * 0.3 + 0.35
    operation = K.ColorJitter(0.3, 0.3, 0.3, 0.0, order=(2, 1, 0))
    expected = operation(x)
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    changes = torch.stack([operation._params[name] for name in names], 1)
    torch.testing.assert_close(mapped(x, changes), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("turn", [-0.6, 0.3, 1.2])
def test_hue_turns_as_far_and_the_same_way_as_kornias(turn: float) -> None:
    # kornia turns in HSV, the fused path in YIQ, which keeps the luma: alike, not equal.
    x = photos(16, SIZE).float() / 255
    changes = torch.tensor([1.0, 1.0, 1.0, turn]).repeat(16, 1)
    our, their = mapped(x, changes) - x, adjust_hue(x, turn) - x
    assert float(our.norm() / their.norm()) == pytest.approx(1, abs=0.2)
    assert float(F.cosine_similarity(our.flatten(), their.flatten(), dim=0)) > 0.6


def test_the_same_rectangle_is_erased() -> None:
    x = torch.rand(8, 3, SIZE, SIZE) + 0.1
    operation = K.RandomErasing(ERASED_AREA, ERASED_ASPECT, p=1.0)
    expected = operation(x)
    erased = torch.stack([operation._params[name] for name in ("xs", "ys", "widths", "heights")], 1)
    for erase in (erase_slices, erase_mask):
        views = x.clone()
        erase(views, erased)
        assert torch.equal(views, expected)


def looks(views: Tensor) -> Tensor:
    """Figures of views of many images: of pixels, of whole images, of their texture and of what is erased."""
    means = views.mean((1, 2, 3))
    erased = (views == 0).all(1).float().mean((1, 2))
    edges = (views[..., 1:] - views[..., :-1]).abs().mean()
    colored = views.std(1).mean()
    return torch.stack([views.mean(), views.std(), means.std(), edges, colored, erased.mean(), erased.std()])


@pytest.mark.parametrize(
    "left_out", [{}, {"rotation": 0.0, "translate": 0.0}, {"color": 0.0, "erasing": 0.0}]
)
def test_the_whole_recipe_looks_alike(left_out: dict[str, float]) -> None:
    asked = config(**{**RECIPE, **left_out})
    x = photos(20, SIZE).repeat(30, 1, 1, 1)
    rows = torch.arange(len(x))
    torch.manual_seed(0)
    our = looks(FusedRecipe(asked, torch.Generator().manual_seed(0))(x, rows))
    torch.testing.assert_close(our, looks(KorniaRecipe(asked)(x, rows)), rtol=0.1, atol=0.03)


@pytest.mark.parametrize(
    "left_out", [{}, {"rotation": 0.0, "translate": 0.0}, {"color": 0.0, "erasing": 0.0}]
)
@pytest.mark.parametrize("side", [16, 48, 100])
def test_the_way_of_accelerators_gives_the_same_pixels(side: int, left_out: dict[str, float]) -> None:
    source, rows = photos(20, side), torch.randperm(20, generator=torch.Generator().manual_seed(1))
    asked = config(**{**RECIPE, **left_out})
    one, other = (
        FusedRecipe(asked, torch.Generator().manual_seed(0))(source, rows, batched=batched)
        for batched in (False, True)
    )
    # 1.6 gray levels of rounding, stretched by the strongest contrast.
    difference = ((one - other) * STD[:, None, None] * 255).abs()
    assert difference.max() < 5
    assert difference.mean() < 0.6


def test_any_other_device_takes_whole_batches() -> None:
    meta = torch.device("meta")
    source = photos(6, SIDE).to(meta)
    views = FusedRecipe(config(**RECIPE), torch.Generator())(source, torch.tensor([5, 0, 1]))
    assert views.device == meta
    assert views.shape == (3, 3, SIZE, SIZE)


def test_the_path_is_told_and_can_be_chosen() -> None:
    generator = torch.Generator().manual_seed(0)
    assert Augment(config(), generator).path == "fused"
    reference = Augment(config(**RECIPE), generator, path="kornia")
    assert reference.path == "kornia"
    views = reference(photos(4, SIDE))
    assert views.shape == (4, 3, SIZE, SIZE)
    assert views.isfinite().all()
    nothing = Augment(config(augment="none", **RECIPE), generator, path="kornia")(photos(4, SIZE))
    expected = (photos(4, SIZE) / 255 - MEAN[:, None, None]) / STD[:, None, None]
    torch.testing.assert_close(nothing, expected)
