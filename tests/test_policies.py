"""RandAugment and TrivialAugment: each operation against torchvision's and kornia's, and what is drawn."""

from typing import Any

import kornia.enhance as K
import pytest
import torch
import torchvision.transforms.v2.functional as V
from scipy.stats import kstest  # type: ignore[import-untyped]
from torch import Tensor

from tests.test_same_statistics import photos
from trainables import policies
from trainables.augment import Augment, plain
from trainables.config import TrialConfig
from trainables.fused import FusedRecipe
from trainables.policies import OPERATIONS, RANDAUGMENT, WIDE, Operation, Policy, Reach

SIDE = 32
LEVELS = torch.tensor([-1.0, -0.7, -0.4, -0.1, 0.0, 0.2, 0.6, 1.0])
BOTH = pytest.mark.parametrize("method", ["randaugment", "trivialaugment"])


def pictures(num: int = 8) -> Tensor:
    """Float in 0..255, whole numbers."""
    return photos(8, SIDE).repeat(-(-num // 8), 1, 1, 1)[:num].float().contiguous()


def applied(operation: Operation, levels: Tensor = LEVELS, reach: Reach = WIDE) -> Tensor:
    return operation(pictures(len(levels)), levels, reach)


def one_by_one(change: Any) -> Tensor:
    """A function of a uint8 picture and its level, over all pictures."""
    pairs = zip(pictures().to(torch.uint8), LEVELS.tolist(), strict=True)
    return torch.stack([change(image, level).float() for image, level in pairs])


@pytest.mark.parametrize(
    ("operation", "reference"),
    [
        (policies.brightness, V.adjust_brightness),
        (policies.contrast, V.adjust_contrast),
        (policies.saturation, V.adjust_saturation),
        (policies.sharpness, V.adjust_sharpness),
    ],
)
def test_factors_change_the_picture_as_torchvision_does(operation: Operation, reference: Any) -> None:
    expected = one_by_one(lambda image, level: reference(image, 1 + WIDE.factor * level))
    torch.testing.assert_close(applied(operation), expected, atol=2.0, rtol=0)


@pytest.mark.parametrize("reach", [WIDE, RANDAUGMENT])
def test_posterize_keeps_as_many_bits_as_torchvision(reach: Reach) -> None:
    expected = one_by_one(lambda image, level: V.posterize(image, 8 - round(abs(level) * (8 - reach.bits))))
    assert torch.equal(applied(policies.posterize, reach=reach), expected)


def test_solarize_inverts_what_torchvision_inverts() -> None:
    expected = one_by_one(lambda image, level: V.solarize(image, 255 * (1 - abs(level))))
    assert torch.equal(applied(policies.solarize), expected)


def test_autocontrast_stretches_as_torchvision_does() -> None:
    expected = one_by_one(lambda image, level: V.autocontrast(image))
    torch.testing.assert_close(applied(policies.autocontrast), expected, atol=1.01, rtol=0)


def test_equalize_gives_torchvisions_pixels() -> None:
    assert torch.equal(applied(policies.equalize), one_by_one(lambda image, level: V.equalize(image)))


def test_where_kornia_has_the_operation_its_pixels_are_the_same() -> None:
    x = pictures() / 255
    torch.testing.assert_close(applied(policies.equalize) / 255, K.equalize(x), atol=1.01 / 255, rtol=0)
    thresholds = 1 - LEVELS.abs()
    ours, theirs = applied(policies.solarize) / 255, K.solarize(x, thresholds)
    assert ((ours - theirs).abs() < 1e-5).float().mean() > 0.98  # kornia keeps what equals the threshold
    bits = 8 - (LEVELS.abs() * 6).round().int()
    torch.testing.assert_close(applied(policies.posterize) / 255, K.posterize(x, bits), atol=1e-4, rtol=0)
    factors = 1 + WIDE.factor * LEVELS
    brighter = K.adjust_brightness_accumulative(x, factors)
    torch.testing.assert_close(applied(policies.brightness) / 255, brighter, atol=1e-4, rtol=0)
    sharper = applied(policies.sharpness, LEVELS.abs()) / 255
    torch.testing.assert_close(sharper, K.sharpness(x, 1 + WIDE.factor * LEVELS.abs()), atol=0.01, rtol=0)


@pytest.mark.parametrize("operation", [policies.autocontrast, policies.equalize, policies.contrast])
def test_a_picture_of_one_colour_stays(operation: Operation) -> None:
    grey = torch.full((3, 3, 16, 16), 77.0)
    torch.testing.assert_close(operation(grey.clone(), torch.tensor([-1.0, 0.3, 1.0]), WIDE), grey)


MOVES = [policies.shear_x, policies.shear_y, policies.shift_x, policies.shift_y, policies.rotate]


@pytest.mark.parametrize("operation", MOVES)
def test_moves_go_where_torchvision_moves(operation: Operation) -> None:
    name = operation.__name__

    def reference(image: Tensor, level: float) -> Tensor:
        shear = torch.rad2deg(torch.tensor(0.3 * level).atan()).item()
        moved: Tensor = V.affine(
            image.float(),
            angle=30 * level if name == "rotate" else 0.0,
            translate=[150 / 331 * SIDE * level if name == f"shift_{axis}" else 0 for axis in "xy"],
            scale=1.0,
            shear=[shear if name == f"shear_{axis}" else 0.0 for axis in "xy"],
            interpolation=V.InterpolationMode.BILINEAR,
            fill=[-1000.0],
        )
        return moved

    expected = one_by_one(reference)
    ours = applied(operation, reach=RANDAUGMENT)
    seen = expected >= 0  # elsewhere torchvision fills, and we reflect
    assert seen.float().mean() > 0.6
    difference = (ours - expected)[seen].abs()
    assert difference.mean() < 0.5
    assert difference.quantile(0.99) < 8


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_keeps_the_range_and_leaves_other_images_alone(operation: Operation) -> None:
    together = applied(operation)
    assert together.isfinite().all()
    assert together.min() >= -1e-3
    assert together.max() <= 255 + 1e-3
    alone = [operation(pictures()[k, None], LEVELS[k, None], WIDE)[0] for k in range(8)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-3, rtol=0)


@pytest.mark.parametrize("operation", set(OPERATIONS) - {policies.autocontrast, policies.equalize})
def test_level_zero_changes_nothing(operation: Operation) -> None:
    x = pictures()
    ours = operation(x.clone(), torch.zeros(8), WIDE)
    if operation is policies.solarize:
        x = torch.where(x == 255, 0, x)
    torch.testing.assert_close(ours, x, atol=1e-2, rtol=0)


def augment(method: Any, seed: int = 0, **params: Any) -> Augment:
    config = TrialConfig(model="convnet", image_size=SIDE, augment=method, **params)
    return Augment(config, torch.Generator().manual_seed(seed))


@BOTH
def test_images_of_one_batch_are_changed_differently(method: str) -> None:
    same = photos(1, SIDE).expand(64, -1, -1, -1)
    views = augment(method)(same)
    different = views.flatten(1).unique(dim=0)
    assert len(different) > 20


@BOTH
def test_only_the_given_generator_decides(method: str) -> None:
    x = photos(8, SIDE)
    one = augment(method, 1)(x)
    torch.manual_seed(99)
    assert torch.equal(one, augment(method, 1)(x))
    assert not torch.equal(one, augment(method, 2)(x))


@BOTH
def test_the_source_is_not_written_to(method: str) -> None:
    x = photos(8, SIDE).clone()
    augment(method)(x)
    assert torch.equal(x, photos(8, SIDE))


def test_trivialaugment_draws_one_operation_of_any_strength() -> None:
    policy = Policy(WIDE, torch.Generator().manual_seed(0), num_operations=1, strength=None)
    drawn, levels = policy.draw(14_000)
    counts = drawn.bincount()
    assert len(counts) == len(OPERATIONS)
    assert (counts - 1000).abs().max() < 150
    assert kstest(levels.numpy(), "uniform", args=(-1, 2)).statistic < 0.02


def test_randaugment_draws_operations_of_one_strength_to_either_side() -> None:
    policy = Policy(RANDAUGMENT, torch.Generator().manual_seed(0), num_operations=2, strength=0.3)
    drawn, levels = policy.draw(14_000)
    assert (drawn.bincount() - 1000).abs().max() < 150
    assert torch.equal(levels.abs(), torch.full_like(levels, 0.3))
    assert float((levels > 0).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_each_image_gets_the_operations_drawn_for_it() -> None:
    generator = torch.Generator().manual_seed(5)
    policy = Policy(WIDE, generator, num_operations=2, strength=None)
    before = generator.get_state()
    views = policy(pictures(30))
    generator.set_state(before)
    expected = pictures(30)
    for _ in range(2):
        for k, (place, level) in enumerate(zip(*policy.draw(30), strict=True)):
            expected[k] = OPERATIONS[int(place)](expected[k, None].clone(), level[None], WIDE)[0]
    torch.testing.assert_close(views, expected, atol=1.01, rtol=0)


def test_none_asked_for_is_none_done() -> None:
    torch.testing.assert_close(augment("standard")(photos(8, SIDE)), plain(photos(8, SIDE), SIDE))


@BOTH
def test_accelerators_draw_the_same_operations(method: str) -> None:
    asked = TrialConfig(model="convnet", image_size=24, augment=method, flip=True)  # type: ignore[arg-type]
    rows = torch.arange(8)
    one, other = (
        FusedRecipe(asked, g := torch.Generator().manual_seed(3), policies.policy_of(asked, g))(
            photos(8, 48), rows, batched=batched
        )
        for batched in (False, True)
    )
    # equalize and posterize stretch a rounding to uint8 to several grey levels
    assert (one - other).abs().mean() < 0.08


@BOTH
def test_kornias_path_has_policies_of_its_own(method: Any) -> None:
    config = TrialConfig(model="convnet", image_size=SIDE, augment=method)
    torch.manual_seed(0)
    views = Augment(config, torch.Generator(), path="kornia")(photos(8, SIDE))
    assert views.shape == (8, 3, SIDE, SIDE)
    assert views.isfinite().all()
    assert not torch.equal(views, plain(photos(8, SIDE), SIDE))
