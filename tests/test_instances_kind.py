"""Instance segmentation: frames and the way back, both families, views, COCO's own reader, the task."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]
from torch import Tensor, nn

from trainables import coco_rle, masking
from trainables.config import TrialConfig, trial_config
from trainables.cost import cost_of
from trainables.detecting import EIGHT, Turn, Window
from trainables.detection_metrics import mask_ap
from trainables.errors import DataError, UsageError
from trainables.families import load_family
from trainables.instances import Instances, Masks
from trainables.kinds.instance_segmentation import CAP, InstanceSegmentation
from trainables.nets.masks import mask_loss
from trainables.store import Part
from trainables.task import Head, Sample, load_task

KIND = InstanceSegmentation(heads=(Head(name="object", classes=("disc", "bar")),))
FAMILIES = {
    "centre_masks": {"width": 4, "mask_width": 8, "mask_depth": 1},
    "mask_rcnn": {
        "width": 4,
        "channels": 32,
        "proposals": 20,
        "sampled": 16,
        "representation": 16,
        "mask_width": 8,
        "mask_depth": 1,
    },
}
SIZE = (60, 80)


def config_of(model: str, **changes: Any) -> TrialConfig:
    return trial_config({"model": model, "image_size": 64, "batch_size": 4, **FAMILIES[model]} | changes)


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    inside: np.ndarray = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    return inside


def counts_of(mask: np.ndarray) -> str:
    return coco_rle.pack(coco_rle.runs_of(mask)).decode()


def part_of(masks: list[list[np.ndarray]], *, crowd: int = 0) -> Part:
    samples = [
        Sample(
            id=str(k), path=Path(f"{k}.png"), target=(), truth=tuple((counts_of(m), 1, crowd) for m in some)
        )
        for k, some in enumerate(masks)
    ]
    pictures = [drawn(some) for some in masks]
    return Part(
        name="train",
        ids=tuple(s.id for s in samples),
        images=tuple(pictures),
        targets=KIND.truth(samples, [p.shape[:2] for p in pictures]),
    )


def drawn(masks: list[np.ndarray]) -> np.ndarray:
    """A black picture with white masks."""
    picture = np.zeros((*SIZE, 3), dtype=np.uint8)
    for mask in masks:
        picture[mask] = 255
    return picture


def discs(count: int) -> Any:
    """Pictures of one or two discs each, the last without any."""
    rng = np.random.default_rng(0)
    masks = []
    for k in range(count - 1):
        one = disc(rng.uniform(12, 30), rng.uniform(14, 46), rng.uniform(8, 12))
        masks.append([one, disc(60, 30, 10)] if k % 2 else [one])
    return part_of([*masks, []])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


class Seer(nn.Module):
    """Answers, of each view, the box around what is white, and what is white in it."""

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        answers, frames = torch.zeros(len(views), 1, 6), torch.zeros(len(views), 1, 28, 28)
        for k, view in enumerate(views):
            white = (view.mean(0) > 0.7).float()
            y, x = white.nonzero(as_tuple=True)
            answers[k, 0] = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1, 0.8, 1.0])
            frames[k] = masking.sampled(white[None], answers[k, :, :4], 28)
        return answers, frames


@pytest.mark.parametrize("turn", EIGHT)
def test_a_mask_comes_back_from_its_frame_in_any_view(turn: Turn) -> None:
    mask = disc(33, 28, 14) & ~disc(40, 28, 8)
    view = Window(left=10, top=5, side=50, size=100, turn=turn)
    boxes = Masks.of([mask], SIZE, scores=np.ones(1), labels=np.zeros(1)).boxes()
    frame = masking.frames(mask[None], boxes, view).reshape(1, masking.FRAME, masking.FRAME)
    upright = masking.upright(torch.from_numpy(frame), turn)
    again = masking.pasted(list(upright), boxes, np.ones(1), SIZE)
    assert overlap(again, mask) > 0.95


def test_what_a_window_cuts_off_is_not_in_the_frame() -> None:
    mask = disc(20, 30, 10)
    boxes = Masks.of([mask], SIZE, scores=np.ones(1), labels=np.zeros(1)).boxes()
    view = Window(left=20, top=0, side=60, size=60)
    frame = masking.frames(mask[None], boxes, view).reshape(masking.FRAME, masking.FRAME)
    half = masking.pasted([torch.from_numpy(frame)], np.array([[20.0, 20, 30, 40]]), np.ones(1), SIZE)
    right = mask.copy()
    right[:, :20] = False
    assert overlap(half, right) > 0.95


def test_masks_of_several_views_are_merged_by_weight() -> None:
    full, empty = torch.ones(28, 28), torch.zeros(28, 28)
    box = np.array([[10.0, 10, 20, 20]] * 2)
    assert masking.pasted([full, empty], box, np.array([0.6, 0.4]), SIZE).sum() == 100
    assert masking.pasted([full, empty], box, np.array([0.4, 0.6]), SIZE).sum() == 0


@pytest.mark.parametrize(
    ("counts", "label", "said"),
    [
        (counts_of(disc(5, 5, 3, (60, 70))), 0, "60 x 80"),
        (counts_of(np.zeros(SIZE, dtype=bool)), 0, "without a pixel"),
        (counts_of(disc(9, 9, 3)), 2, "no class 2"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_with_its_file(counts: str, label: int, said: str) -> None:
    sample = Sample(id="a", path=Path("a.png"), target=(), truth=((counts, label, 0),))
    with pytest.raises(DataError, match=rf"a\.png.*{said}"):
        KIND.truth([sample], [SIZE])


def test_a_crowd_is_not_learned() -> None:
    part = part_of([[disc(30, 30, 12)]], crowd=1)
    targets = KIND.batch(part, [0], config_of("centre_masks"), np.random.default_rng(0))[1]
    assert (targets[..., 4] == -1).all()
    assert part.targets.images[0].scores.tolist() == [0]


def test_the_loss_of_a_mask_is_least_where_it_is_right() -> None:
    mask = disc(30, 30, 12)
    boxes = Masks.of([mask], SIZE, scores=np.ones(1), labels=np.zeros(1)).boxes()
    view = Window(left=0, top=0, side=60, size=60)
    known = torch.from_numpy(
        np.column_stack([boxes[:, :4], [[1.0]], masking.frames(mask[None], boxes, view)])
    ).float()
    shifted = torch.tensor([[12.0, 16, 36, 40]])
    right = masking.sampled(torch.from_numpy(mask[None]).float(), shifted, 28)
    logits = torch.stack([torch.zeros_like(right), (right >= 0.5) * 20 - 10.0], 1)
    assert mask_loss(logits, shifted, known).item() < 0.2
    assert mask_loss(-logits, shifted, known).item() > 5


@pytest.mark.parametrize("model", FAMILIES)
def test_both_families_train_with_and_without_objects_and_predict_any_size(model: str) -> None:
    config = config_of(model, flip=True, crop=0.3)
    torch.manual_seed(0)
    network = load_family(model).build(config, KIND.num_outputs(config))
    assert cost_of(network, 64).macs > 0
    part, rng = discs(4), np.random.default_rng(0)
    for rows in ([0, 1, 3], [3, 3]):
        losses = KIND.losses(network.train(), *KIND.batch(part, rows, config, rng), config)
        assert losses.isfinite().all()
        losses.mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    pictures = [np.full((*size, 3), 90, dtype=np.uint8) for size in ((60, 80), (7, 9), (80, 60))]
    with torch.inference_mode():
        answers = KIND.answer(network.eval(), pictures, config, torch.device("cpu"))
    found = KIND.gather([*"abc"], answers)
    for masks, picture in zip(found.images, pictures, strict=True):
        assert masks.size == picture.shape[:2]
        assert len(masks) <= CAP
        assert masks.pixels().shape == (len(masks), *masks.size)


@pytest.mark.parametrize("tta", ["none", "flip", "eight"])
def test_all_views_lead_back_to_the_same_masks(tta: str) -> None:
    masks = [disc(25, 32, 14) & ~disc(32, 32, 8), disc(50, 20, 12)]
    config = config_of("centre_masks", image_size=120, tta=tta)
    answers = KIND.answer(Seer(), [drawn([mask]) for mask in masks], config, torch.device("cpu"))
    for found, mask in zip(answers, masks, strict=True):
        assert found.scores == pytest.approx([0.8])
        assert found.labels.tolist() == [1]
        assert overlap(found.pixels()[0], mask) > 0.93


def test_the_own_network_learns() -> None:
    torch.manual_seed(0)
    part, rng = discs(5), np.random.default_rng(0)
    config = config_of("centre_masks", width=8, mask_width=16, flip=True)
    network = load_family("centre_masks").build(config, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for _ in range(40):
        views, targets = KIND.batch(part, [*range(5)], config, rng)
        optimizer.zero_grad()
        KIND.losses(network.train(), views, targets, config).mean().backward()
        optimizer.step()
    with torch.inference_mode():
        answers = KIND.answer(network.eval(), part.images, config, torch.device("cpu"))
    assert mask_ap(KIND.gather(part.ids, answers), part.targets).ap50 > 0.8


def coco_data(root: Path, *, test_category: str = "person") -> Path:
    """Two training pictures, one without an object, and a test picture."""
    mask = disc(30, 30, 12)
    for folder, names in (("train_images", "ab"), ("test_images", "t")):
        (root / folder).mkdir()
        for name in names:
            Image.fromarray(drawn([mask])).save(root / folder / f"{name}.jpg")
    segmentation = {"size": [60, 80], "counts": counts_of(mask)}
    train = {
        "images": [_entry(1, "a"), _entry(2, "b")],
        "categories": [{"id": 7, "name": "person"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "segmentation": segmentation}],
    }
    test = {"images": [_entry(5, "t")], "categories": [{"id": 7, "name": test_category}]}
    (root / "pascal_train.json").write_text(json.dumps(train))
    (root / "test.json").write_text(json.dumps(test))
    return root


def _entry(id: int, name: str) -> dict[str, Any]:
    return {"id": id, "file_name": f"{name}.jpg", "width": 80, "height": 60}


def test_the_task_reads_its_layout_and_cocos_reader_its_answer(tmp_path: Path) -> None:
    task = load_task("instance_segmentation")
    splits = task.read(coco_data(tmp_path))
    task = task.found_in(splits)
    assert task.kind.heads[0].classes == ("person",)
    assert [sample.target for sample in splits.train] == [(1,), (0,)]
    truth = task.kind.truth(splits.train, [SIZE] * 2)
    assert task.metric.fn(truth, truth) == 1.0
    found = Masks.of([disc(31, 29, 12)], SIZE, scores=np.array([0.9]), labels=np.zeros(1))
    task.answer.write(Instances(ids=("t",), images=(found,)), tmp_path / "answer.json")
    task.answer.check(tmp_path / "answer.json", ["t"])
    reference = _reference_ap(tmp_path, found)
    same = Masks.of([disc(30, 30, 12)], SIZE, scores=np.ones(1), labels=np.zeros(1))
    ours = task.metric.fn(Instances(ids=("t",), images=(found,)), Instances(ids=("t",), images=(same,)))
    assert ours == pytest.approx(reference)


def _reference_ap(root: Path, found: Masks) -> float:
    """pycocotools' AP of the answer, were the test picture's object that of the training picture."""
    test = json.loads((root / "test.json").read_text())
    known = json.loads((root / "pascal_train.json").read_text())["annotations"][0]
    area = int(disc(30, 30, 12).sum())
    known |= {"image_id": 5, "iscrowd": 0, "area": area, "bbox": [18, 18, 24, 24]}
    (root / "known.json").write_text(json.dumps(test | {"annotations": [known]}))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(root / "known.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(root / "answer.json")), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def test_a_test_part_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="other categories"):
        load_task("instance_segmentation").read(coco_data(tmp_path, test_category="horse"))


def test_the_own_network_has_no_pretrained_weights() -> None:
    with pytest.raises(UsageError, match="no pretrained"):
        load_family("centre_masks").build(config_of("centre_masks", pretrained=True), 1)


def test_nothing_to_find_and_nothing_found_scores_nothing() -> None:
    none = Masks.of([], SIZE, scores=np.zeros(0), labels=np.zeros(0))
    empty = Instances(ids=("a",), images=(none,))
    assert load_task("instance_segmentation").metric.fn(empty, empty) == 0.0
