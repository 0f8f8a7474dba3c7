"""Augmentation: what each key does to the pixels, against kornia, torch and geometry."""

from typing import Any

import kornia.enhance as K
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables.augment import LUMA, MEAN, STD, Augment, color_maps, plain, resize
from trainables.config import TrialConfig


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


@settings(max_examples=40, deadline=None)
@given(crop=st.floats(0.01, 0.95), flip=st.booleans(), side=st.integers(8, 64), seed=st.integers(0, 999))
def test_crops_lie_inside_the_picture_and_are_large_enough(
    crop: float, flip: bool, side: int, seed: int
) -> None:
    matrix = augment(32, crop=crop, flip=flip, seed=seed)._placement(8, side=side)
    corners = torch.tensor([[-0.5, -0.5], [31.5, -0.5], [-0.5, 31.5], [31.5, 31.5]])
    source = (corners - matrix[:, None, :, 2]) @ torch.linalg.inv(matrix[:, :, :2]).mT
    assert source.min() > -0.51
    assert source.max() < side - 0.49
    extent = source.amax(1) - source.amin(1)
    assert ((extent.prod(1) / side**2) > 0.8 * (1 - crop)).all()
    assert ((extent[:, 0] / extent[:, 1]).log().abs() < 0.30).all()


def test_an_enlarged_view_is_the_bilinear_enlargement() -> None:
    x = images(4, side=8)
    views = augment(32, translate=1e-9)(x)
    expected = F.interpolate(x.float() / 255, size=(32, 32), mode="bilinear")
    torch.testing.assert_close(pixels(views)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-4, rtol=0)


def test_rotation_stays_within_its_angle() -> None:
    matrix = augment(rotation=10.0)._placement(500, side=16)
    angles = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    assert 9 < angles.abs().max() <= 10.01
    middle = torch.tensor([7.5, 7.5])
    moved = (matrix[:, :, :2] @ middle) + matrix[:, :, 2]
    torch.testing.assert_close(moved, middle.expand(500, 2), atol=1e-4, rtol=0)


def test_translation_is_a_share_of_the_side() -> None:
    shift = augment(40, translate=0.1)._placement(500, side=40)[:, :, 2]
    assert 3.5 < shift.abs().max() <= 4.001


def test_erasing_fills_a_rectangle_with_the_mean_color() -> None:
    erased = augment(erasing=1.0)(images()) == 0
    share = erased.all(1).float().mean((1, 2))
    assert (share > 0.01).all()
    assert (share < 0.45).all()


def color(x: Tensor, **given: Tensor) -> Tensor:
    """Images [n, 3, H, W] after `color_maps` with the given changes and no others."""
    one, none = torch.ones(len(x), 1, 1), torch.zeros(len(x))
    change = {"brightness": one, "contrast": one, "saturation": one, "turn": none, **given}
    grey = x.mean((2, 3)) @ LUMA
    matrix, offset = color_maps(
        change["brightness"], change["contrast"], change["saturation"], change["turn"], grey
    )
    return (matrix @ x.flatten(2) + offset).view(x.shape)


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
    torch.testing.assert_close(color(x, **{key: factor[:, None, None]}), expected, atol=1e-4, rtol=1e-4)


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
    white = torch.full((400, 3, 8, 8), 255, dtype=torch.uint8)
    seen = pixels(augment(8, color=0.25)(white)).mean((1, 2, 3))
    assert seen.min() > 0.79
    assert seen.max() < 1.21
    assert seen.std() > 0.08
