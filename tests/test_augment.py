"""Augmentation: what each key does to the pixels, against kornia, torch and geometry."""

from typing import Any

import kornia.enhance as K
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables.augment import Augment, plain
from trainables.color import LUMA, MEAN, STD, color_maps
from trainables.config import TrialConfig
from trainables.crops import resize
from trainables.draws import Draws, draw
from trainables.fused import sampling_grid


def images(num: int = 16, side: int = 16) -> Tensor:
    """Random uint8 [num, 3, side, side], channels last as the store gives them."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (num, side, side, 3), dtype=torch.uint8, generator=generator)
    return pixels.permute(0, 3, 1, 2)


def augment(size: int = 16, *, seed: int = 0, **params: Any) -> Augment:
    torch.manual_seed(seed)
    config = TrialConfig(model="convnet", image_size=size, **params)
    return Augment(config, torch.Generator().manual_seed(seed))


def pixels(x: Tensor) -> Tensor:
    """Normalised images back in 0..1."""
    return x * STD[:, None, None] + MEAN[:, None, None]


EVERYTHING: dict[str, Any] = {
    "crop": 0.5,
    "flip": True,
    "rotation": 20.0,
    "translate": 0.1,
    "color": 0.4,
    "erasing": 0.5,
}


def test_plain_is_the_picture_normalised() -> None:
    expected = K.normalize(images().float() / 255, MEAN, STD)
    torch.testing.assert_close(plain(images(), 16), expected)


@pytest.mark.parametrize("size", [8, 24])
def test_plain_resizes_as_torch_does(size: int) -> None:
    expected = F.interpolate(images().float() / 255, size=(size, size), mode="bilinear", antialias=True)
    torch.testing.assert_close(pixels(plain(images(), size)), expected, atol=1.01 / 255, rtol=0)


def test_the_right_size_is_left_alone() -> None:
    x = images()
    assert resize(x, 16) is x


@pytest.mark.parametrize("params", [{}, {"augment": "none", **EVERYTHING}])
def test_nothing_asked_for_is_nothing_done(params: dict[str, Any]) -> None:
    torch.testing.assert_close(augment(**params)(images()), plain(images(), 16))


@pytest.mark.parametrize("side", [8, 16, 40])
@pytest.mark.parametrize("method", ["standard", "randaugment"])
def test_everything_together_gives_finite_images_of_the_size(side: int, method: str) -> None:
    views = augment(24, augment=method, **EVERYTHING)(images(side=side))
    assert views.shape == (16, 3, 24, 24)
    assert views.dtype == torch.float32
    assert views.isfinite().all()


@pytest.mark.parametrize("method", ["standard", "randaugment"])
def test_the_same_seed_gives_the_same_views(method: str) -> None:
    first, again, other = (augment(seed=s, augment=method, **EVERYTHING)(images()) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_image_has_its_own_view() -> None:
    same = images(1).expand(8, -1, -1, -1)
    views = augment(crop=0.5, color=0.3)(same)
    assert all(not torch.equal(views[0], view) for view in views[1:])


def test_flip_mirrors_about_half_of_the_images() -> None:
    x = images(200)
    views, straight = augment(flip=True)(x), plain(x, 16)
    kept = [torch.allclose(v, s, atol=1e-4) for v, s in zip(views, straight, strict=True)]
    mirrored = [torch.allclose(v, s.flip(-1), atol=1e-4) for v, s in zip(views, straight, strict=True)]
    assert sum(kept) + sum(mirrored) == 200
    assert 70 < sum(mirrored) < 130


def draws(
    num: int, *, side: int, seed: int = 0, size: int = 32, whole_pixels: bool = False, **p: Any
) -> Draws:
    config = TrialConfig(model="convnet", image_size=size, **p)
    generator = torch.Generator().manual_seed(seed)
    return draw(config, generator, num, side=side, whole_pixels=whole_pixels)


@settings(max_examples=40, deadline=None)
@given(crop=st.floats(0.01, 0.95), whole=st.booleans(), side=st.integers(8, 64), seed=st.integers(0, 999))
def test_crops_lie_inside_the_picture_and_are_large_enough(
    crop: float, whole: bool, side: int, seed: int
) -> None:
    box = draws(8, side=side, seed=seed, crop=crop, whole_pixels=whole).box
    assert (box[:, :2] >= 0).all()
    assert (box[:, :2] + box[:, 2:] <= side + 1e-3).all()
    rounding = 1.5 if whole else 1e-3
    assert ((box[:, 2] + rounding) * (box[:, 3] + rounding) >= (1 - crop) * side**2).all()
    if whole:
        assert torch.equal(box, box.round())
    else:
        assert ((box[:, 2] / box[:, 3]).log().abs() < 0.29).all()


def test_an_enlarged_view_is_the_bilinear_enlargement() -> None:
    x = images(4, side=8)
    views = augment(32, translate=1e-9)(x)
    expected = F.interpolate(x.float() / 255, size=(32, 32), mode="bilinear")
    torch.testing.assert_close(pixels(views)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-4, rtol=0)


def test_rotation_turns_about_the_middle() -> None:
    drawn = draws(500, side=16, rotation=10.0)
    assert 9 < drawn.angle.abs().max() <= 10.01
    grid = sampling_grid(drawn, 33, side=16)
    torch.testing.assert_close(grid[:, 16, 16], torch.zeros(500, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(grid.norm(dim=3)[:, 16, 0], torch.full((500,), 32 / 33))


def test_translation_is_a_share_of_the_side() -> None:
    shift = draws(500, side=40, size=40, translate=0.1).shift
    assert 3.5 < shift.abs().max() <= 4.001


def test_erasing_fills_a_rectangle_with_the_mean_color() -> None:
    erased = augment(erasing=1.0)(images()) == 0
    share = erased.all(1).float().mean((1, 2))
    assert (share > 0.01).all()
    assert (share < 0.45).all()


def color(x: Tensor, **given: Tensor) -> Tensor:
    """Images [n, 3, H, W] after `color_maps` with the given changes [n] and no others."""
    one = torch.ones(len(x))
    change = {"brightness": one, "contrast": one, "saturation": one, "turn": 0 * one, **given}
    maps = color_maps(torch.stack(list(change.values()), 1))
    grey = x.mean((2, 3)) @ LUMA
    return (maps.matrix @ x.flatten(2) + (maps.lift * grey)[:, None, None]).view(x.shape)


@pytest.mark.parametrize(
    ("key", "reference"),
    [
        ("brightness", K.adjust_brightness_accumulative),
        ("contrast", K.adjust_contrast_with_mean_subtraction),
        ("saturation", K.adjust_saturation_with_gray_subtraction),
    ],
)
def test_colors_change_as_kornia_changes_them(key: str, reference: Any) -> None:
    # Away from black and white, where kornia clips.
    x = images().float() / 255 * 0.2 + 0.4
    factor = torch.linspace(0.6, 1.5, 16)
    expected = reference(x, factor)
    torch.testing.assert_close(color(x, **{key: factor}), expected, atol=1e-4, rtol=1e-4)


def test_hue_turns_colors_and_keeps_their_luma() -> None:
    x = images().float() / 255
    turned = color(x, turn=torch.full((16,), 2.0))
    luma = LUMA[:, None, None]
    torch.testing.assert_close((turned * luma).sum(1), (x * luma).sum(1), atol=1e-3, rtol=0)
    assert (turned - x).abs().mean() > 0.1
    torch.testing.assert_close(color(x, turn=torch.full((16,), 2 * torch.pi)), x, atol=1e-4, rtol=0)


def test_grey_images_have_no_hue_to_turn() -> None:
    grey = (images().float() / 255).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(color(grey, turn=torch.full((16,), 1.0)), grey, atol=1e-3, rtol=0)


def test_color_strength_bounds_the_change_of_brightness() -> None:
    grey = torch.full((400, 3, 8, 8), 128, dtype=torch.uint8)
    seen = pixels(augment(8, color=0.25)(grey)).mean((1, 2, 3)) * 255 / 128
    assert seen.min() > 0.79
    assert seen.max() < 1.21
    assert seen.std() > 0.08


def test_colors_are_clipped_to_black_and_white() -> None:
    views = pixels(augment(color=1.0)(images(64)))
    assert views.min() == pytest.approx(0, abs=1e-5)
    assert views.max() == pytest.approx(1, abs=1e-5)
