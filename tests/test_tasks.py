"""The tasks' own data: the digits as files, and the competition's folders."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tests.images import food11_folder
from trainables.config import TrialConfig
from trainables.errors import DataError, RuleViolation, UsageError
from trainables.kinds.classification import Classification
from trainables.splits import complete
from trainables.submissions import CsvAnswer, organisers_order
from trainables.task import PARTS, Head, load_task
from trainables.tasks import digits, food11


@pytest.fixture(scope="module")
def digits_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "digits"
    digits.read(root)
    return root


def test_the_digits_are_those_of_scikit_learn(digits_root: Path) -> None:
    pixels, labels = load_digits(return_X_y=True)
    splits = digits.read(digits_root)
    samples = [s for name in PARTS for s in splits.part(name)]
    assert sorted(s.id for s in samples) == [f"{k:04d}" for k in range(1797)]
    for sample in samples:
        with Image.open(sample.path) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            assert np.abs(np.asarray(image).ravel() / 255 - pixels[int(sample.id)] / 16).max() < 0.002
        assert sample.target == (labels[int(sample.id)],)


def test_the_digits_have_fixed_stratified_parts_with_known_answers(digits_root: Path) -> None:
    splits = digits.read(digits_root)
    assert [len(splits.part(name)) for name in PARTS] == [1000, 250, 180, 367]
    for name in PARTS:
        counts = Counter(s.target for s in splits.part(name))
        assert len(counts) == 10
        assert max(counts.values()) - min(counts.values()) <= 6
    assert [s.id for s in splits.test[:5]] == ["0002", "0004", "0015", "0019", "0021"]
    assert complete(splits, heads=(digits.LABEL,)) == splits
    assert organisers_order(splits.sample_submission, [s.id for s in splits.test])


def test_digits_that_are_there_are_not_written_again_and_missing_ones_are(
    digits_root: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(digits_root, tmp_path / "digits")
    first = digits.read(root)
    stamp = first.train[0].path.stat().st_mtime_ns
    digits.read(root)
    assert first.train[0].path.stat().st_mtime_ns == stamp
    first.train[1].path.unlink()
    first.test[1].path.write_bytes(b"")
    assert digits.read(root) == first
    assert first.test[1].path.stat().st_size > 0
    assert [p.name for p in tmp_path.iterdir() if p.name[0] != "."] == ["digits"]


def test_digits_are_not_written_into_another_data_set_or_where_nothing_can_be(tmp_path: Path) -> None:
    (tmp_path / "train" / "0").mkdir(parents=True)
    with pytest.raises(UsageError, match="something else than the digits"):
        digits.read(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="The digits cannot be written to"):
        digits.read(tmp_path / "file" / "digits")


def test_food11_is_read_in_the_organisers_layout(tmp_path: Path) -> None:
    root = food11_folder(tmp_path / "food11", train=2, valid=1, test=3)
    (root / "sample_submission.csv").write_text("Id,Category\n0000,0\n0001,0\n0002,0\n")
    splits = food11.read(root)
    assert [len(splits.part(name)) for name in PARTS] == [22, 11, 0, 3]
    assert splits.train[2].id == "10_0"
    assert splits.train[2].target == (10,)
    assert [s.id for s in splits.test] == ["0000", "0001", "0002"]
    assert splits.sample_submission == root / "sample_submission.csv"
    assert food11.read(tmp_path) == splits


def test_food11_without_validation_has_one_cut_from_train(tmp_path: Path) -> None:
    root = food11_folder(tmp_path / "food11", train=5, valid=1)
    shutil.rmtree(root / "validation")
    splits = complete(food11.read(root), heads=(food11.LABEL,))
    assert [len(splits.part(name)) for name in PARTS] == [44, 7, 4, 10]
    assert "No validation part was found" in splits.notes[0]


def test_missing_food11_data_says_what_where_from_and_where_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist") as caught:
        food11.read(tmp_path / "gone")
    assert f"kaggle competitions download -c ml2022spring-hw3b -p {tmp_path / 'gone'}" in caught.value.fix
    assert f"{tmp_path / 'gone'}/training/0_0.jpg" in caught.value.fix
    with pytest.raises(UsageError, match="has no training/ and no test/"):
        food11.read(tmp_path)
    root = food11_folder(tmp_path / "food11", train=1, valid=1, test=0)
    with pytest.raises(UsageError, match="test holds no images"):
        food11.read(root)
    shutil.rmtree(root / "test")
    with pytest.raises(UsageError, match="food11 has no test/"):
        food11.read(root)


def test_a_class_without_an_image_is_named(tmp_path: Path) -> None:
    root = food11_folder(tmp_path / "food11", train=2, valid=1, classes=10)
    with pytest.raises(DataError, match="No training image of class '10'"):
        complete(food11.read(root), heads=(food11.LABEL,))


def test_food11_forbids_pretrained_models() -> None:
    task = load_task("food11")
    with pytest.raises(RuleViolation, match="no pretrained models"):
        task.rules.check(TrialConfig(model="convnet", pretrained=True))
    task.rules.check(TrialConfig(model="convnet"))
    assert [(b.name, b.public) for b in task.baselines][-1] == ("boss", 0.88446)
    assert isinstance(task.answer, CsvAnswer)


HEADS = (Head(name="root", classes=tuple("abcd"), weight=2.0), Head(name="vowel", classes=tuple("xyz")))


def test_the_loss_is_the_weighted_mean_over_the_heads() -> None:
    kind = Classification(heads=HEADS)
    config = TrialConfig(model="convnet", label_smoothing=0.1)
    outputs = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 2], [1, 1], [2, 0], [3, 2], [0, 0]])

    def smoothed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        log = logits.log_softmax(1)
        return -(0.9 * log[torch.arange(5), labels] + 0.1 * log.mean(1)).mean()

    first, second = smoothed(outputs[:, :4], targets[:, 0]), smoothed(outputs[:, 4:], targets[:, 1])
    assert kind.num_outputs(config) == 7
    assert torch.allclose(kind.losses(outputs, targets, config).mean(), (2 * first + second) / 3)


def test_predictions_are_split_by_head() -> None:
    outputs = torch.randn(2, 7, requires_grad=True, dtype=torch.bfloat16)
    dense = Classification(heads=HEADS).predict(["p", "q"], outputs, TrialConfig(model="convnet"))
    assert dense.ids == ("p", "q")
    assert {name: (v.shape, v.dtype) for name, v in dense.fields.items()} == {
        "root": ((2, 4), np.dtype(np.float32)),
        "vowel": ((2, 3), np.dtype(np.float32)),
    }
    assert np.array_equal(np.hstack(list(dense.fields.values())), outputs.detach().float().numpy())
