"""Super-resolution from the organisers' folders to the answer, in real files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables import bicubic
from trainables.color import LUMA
from trainables.config import TrialConfig, trial_config
from trainables.dense_layouts import picture_pairs
from trainables.errors import DataError, UsageError
from trainables.kinds.super_resolution import SuperResolution
from trainables.maps import Maps
from trainables.nets.upscale import Enlarge
from trainables.picture_answers import PictureAnswer
from trainables.picture_metrics import mean_psnr, psnr
from trainables.store import Part, prepare
from trainables.task import Sample, Task, load_task
from trainables.tasks.super_resolution import each_psnr
from trainables.train import train

KIND = SuperResolution(scale=3)
SIZES = [(80, 90), (31, 37), (88, 60), (66, 66), (44, 41), (70, 63)]


def picture(height: int, width: int, *, seed: int) -> Image.Image:
    """Smooth disks, whose edges bicubic interpolation blurs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: 4 * height, : 4 * width] / 4
    values = np.full((*y.shape, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(8):
        distance = np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width))
        values[distance < rng.uniform(5, 15)] = rng.integers(0, 256, 3)
    return Image.fromarray(values).reduce(4)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "training_hr_images").mkdir(parents=True)
    (root / "testing_lr_images").mkdir()
    for k, size in enumerate(SIZES):
        picture(*size, seed=k).save(root / "training_hr_images" / f"t{k}.png")
    for k, (height, width) in enumerate([(12, 17), (4, 9)]):
        picture(height, width, seed=90 + k).save(root / "testing_lr_images" / f"img_{k}.png")
    return root


def config(**params: object) -> TrialConfig:
    common = {"model": "vdsr", "depth": 2, "width": 8, "image_size": 8, "batch_size": 8, "patches": 16}
    return trial_config({**common, "flip": True, "vertical_flip": True, **params})


def large(path: Path) -> np.ndarray:
    return bicubic.cropped(np.asarray(Image.open(path)), 3)


def part_of(data: Path) -> Part:
    """All training pictures, as the store gives them."""
    files = sorted((data / "training_hr_images").iterdir())
    images = tuple(bicubic.shrink(large(file), 3) for file in files)
    samples = [Sample(id=f.stem, path=f, target=(), truth=f, shrink=3) for f in files]
    truth = KIND.truth(samples, [image.shape[:2] for image in images])
    return Part(name="train", ids=truth.ids, targets=truth, images=images, groups=("",) * len(files))


class TestTask:
    def test_training_pictures_are_their_own_truth(self, data: Path) -> None:
        task: Task = load_task("super_resolution")
        splits = task.read(data)
        assert [s.id for s in splits.train] == [f"t{k}" for k in range(len(SIZES))]
        assert all(s.truth == s.path and s.shrink == 3 for s in splits.train)
        assert [(s.id, s.truth, s.shrink) for s in splits.test] == [("img_0", None, 1), ("img_1", None, 1)]
        answer = task.found_in(splits).answer
        assert isinstance(answer, PictureAnswer)
        assert answer.sizes == {"img_0": (12, 17), "img_1": (4, 9)}

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "training_hr_images").mkdir()
        with pytest.raises(UsageError, match="has no testing_lr_images/"):
            load_task("super_resolution").read(tmp_path)

    def test_a_picture_smaller_than_the_factor_is_left_out_with_a_note(self, data: Path) -> None:
        picture(2, 40, seed=0).save(data / "training_hr_images" / "tiny.png")
        splits = load_task("super_resolution").read(data)
        assert "tiny" not in [s.id for s in splits.train]
        assert any("smaller than 3 px" in note for note in splits.notes)

    def test_the_score_is_the_mean_of_the_pictures_scores(self, data: Path) -> None:
        truth = part_of(data).targets
        blurred = [bicubic.enlarge(bicubic.shrink(image, 3), 3) for image in truth]
        found = Maps(ids=truth.ids, images=blurred, form="picture")
        each = each_psnr(found, truth)
        assert each == pytest.approx([psnr(a, b) for a, b in zip(blurred, truth, strict=True)])
        assert each.mean() == pytest.approx(mean_psnr(found, truth))


class TestTruth:
    def test_it_is_cropped_to_a_multiple_and_saved(self, data: Path, tmp_path: Path) -> None:
        truth = part_of(data).targets
        truth.save(tmp_path / "truth")
        again = Maps.load(tmp_path / "truth")
        assert again.image(1).shape == (30, 36, 3)
        for k in range(len(SIZES)):
            assert (again.image(k) == large(data / "training_hr_images" / f"t{k}.png")).all()

    def test_the_small_picture_may_have_a_file_of_its_own(self, tmp_path: Path) -> None:
        for name, size in (("small", (10, 13)), ("large", (20, 26))):
            (tmp_path / name).mkdir()
            picture(*size, seed=3).save(tmp_path / name / "a.png")
        pairs = picture_pairs(tmp_path / "small", tmp_path / "large")
        samples = [replace(pairs.samples[0], target=(), truth=pairs.targets[0])]
        truth = SuperResolution(scale=pairs.scale).truth(samples, [(10, 13)])
        assert (truth.image(0) == np.asarray(Image.open(pairs.targets[0]))).all()

    def test_nothing_is_decoded_before_it_is_read(self, tmp_path: Path) -> None:
        sample = Sample(id="a", path=tmp_path / "a.png", truth=tmp_path / "large.png")
        truth = KIND.truth([sample], [(4, 5)])
        with pytest.raises(DataError, match=r"large\.png"):
            truth.image(0)

    def test_a_large_picture_of_another_size_is_named(self, tmp_path: Path) -> None:
        picture(12, 18, seed=0).save(tmp_path / "a.png")
        truth = KIND.truth([Sample(id="a", path=tmp_path, truth=tmp_path / "a.png")], [(4, 5)])
        with pytest.raises(DataError, match=r"a\.png has 18x12 px, which is not 3 times the 5x4 px"):
            truth.image(0)


class TestKind:
    def test_an_epoch_takes_so_many_patches_of_the_rows_of_the_part(self, data: Path) -> None:
        part = replace(part_of(data), rows=np.array([1, 4]))
        rng = np.random.default_rng(0)
        orders = [KIND.order(part, config(), rng) for _ in range(2)]
        assert [len(order) for order in orders] == [32, 32]
        assert set(orders[0]) == {1, 4}
        assert list(orders[0]) != list(orders[1])

    def test_a_batch_shows_small_and_large_side_of_the_same_places(self, data: Path) -> None:
        part = part_of(data)
        views, targets = KIND.batch(part, range(6), config(), np.random.default_rng(0))
        assert views.shape == (6, 3, 8, 8)
        assert targets.shape == (6, 3, 24, 24)
        assert targets.dtype == torch.uint8
        assert (Enlarge(3)(views) * 255 - targets).abs().mean() < 15

    @pytest.mark.parametrize("loss", ["default", "l1", "l2", "charbonnier"])
    def test_losses_are_of_luma(self, loss: str) -> None:
        generator = torch.Generator().manual_seed(0)
        answers = torch.rand(2, 3, 6, 6, generator=generator)
        targets = torch.randint(0, 256, (2, 3, 6, 6), generator=generator, dtype=torch.uint8)
        error = ((answers - targets / 255) * LUMA[:, None, None]).sum(1).double().numpy()
        expected = {"l2": error**2, "charbonnier": np.sqrt(error**2 + 1e-6)}.get(loss, np.abs(error))
        found = KIND.losses(lambda _: answers, torch.zeros(2, 3, 2, 2), targets, config(loss=loss))
        assert found.numpy() == pytest.approx(expected.mean((1, 2)), rel=1e-5)

    def test_an_unknown_loss_and_views_of_crops_are_refused(self) -> None:
        with pytest.raises(UsageError, match="Did you mean 'charbonnier'"):
            KIND.num_outputs(config(loss="charbonier"))
        with pytest.raises(UsageError, match="tta='crops' is not possible"):
            KIND.num_outputs(config(tta="crops"))
        assert KIND.num_outputs(config(loss="l2", tta="flip")) == 9


def test_a_trial_learns_more_than_bicubic_and_its_answer_is_valid(data: Path, tmp_path: Path) -> None:
    task = load_task("super_resolution")
    splits = task.read(data)
    task = task.found_in(splits)
    cut = replace(splits, train=splits.train[:4], valid=splits.train[4:5], holdout=splits.train[5:])
    store = prepare(task, cut, side=0, root=tmp_path / "stores")
    settings = config(epochs=10, patches=64, width=16, lr=3e-3, schedule="onecycle", tta="eight")
    result = train(task, store, settings, lambda _: True, folder=tmp_path / "trial")

    holdout, truth = Maps.load(tmp_path / "trial" / "holdout.npz"), store.parts["holdout"].targets
    plain = bicubic.enlarge(store.parts["holdout"].images[0], 3)
    assert result.epochs == 10
    assert mean_psnr(holdout, truth) > psnr(plain, truth.image(0)) + 0.3

    test = Maps.load(tmp_path / "trial" / "test.npz")
    assert [image.shape for image in test] == [(36, 51, 3), (12, 27, 3)]
    task.answer.write(test, tmp_path / "answer.zip")
    task.answer.check(tmp_path / "answer.zip", [s.id for s in splits.test])
