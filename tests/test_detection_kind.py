"""Detection: windows and their boxes, four families, views and the way back, the threshold, the task."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from trainables import detecting
from trainables.boxes import Boxes
from trainables.config import TrialConfig, trial_config
from trainables.cost import cost_of
from trainables.detecting import ABSENT, EIGHT, PLAIN, Turn, Window
from trainables.detection_metrics import box_ap, fit_wheat_threshold, wheat_score
from trainables.errors import DataError, UsageError
from trainables.families import load_family
from trainables.kinds.detection import CAP, Detection
from trainables.nets.centres import assigned
from trainables.score_decision import ACCEPTED, ScoreThreshold, accepted_wheat_score
from trainables.store import Part
from trainables.task import Head, Sample, load_task

KIND = Detection(heads=(Head(name="object", classes=("dark", "light")),))
FAMILIES = {
    "centres": {"width": 4, "context": 1},
    "fcos": {"width": 4, "channels": 32, "head_depth": 1},
    "retinanet": {"width": 4, "channels": 32},
    "faster_rcnn": {"width": 4, "channels": 32, "proposals": 20, "sampled": 16, "representation": 16},
}


def config_of(model: str, **changes: Any) -> TrialConfig:
    plain = {"model": model, "image_size": 64, "batch_size": 4, **FAMILIES.get(model, {})}
    return trial_config(plain | changes)


PLAINLY = config_of("centres")


def part_of(pictures: list[np.ndarray], objects: list[tuple[Any, ...]]) -> Part:
    samples = [
        Sample(id=str(k), path=Path(f"{k}.png"), target=(), truth=truth) for k, truth in enumerate(objects)
    ]
    truth = KIND.truth(samples, [picture.shape[:2] for picture in pictures])
    return Part(name="train", ids=truth.ids, images=tuple(pictures), targets=truth)


def drawn(boxes: Any, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """A black picture with white boxes."""
    picture = np.zeros((*size, 3), dtype=np.uint8)
    for x1, y1, x2, y2, _ in boxes:
        picture[y1:y2, x1:x2] = 255
    return picture


def squares(count: int) -> Any:
    """Pictures of one or two white boxes each, the last without any."""
    rng = np.random.default_rng(0)
    objects: list[Any] = []
    for k in range(count - 1):
        x, y, side = rng.integers(0, 20), rng.integers(0, 30), int(rng.integers(14, 24))
        one = (int(x), int(y), int(x) + side, int(y) + side, 1)
        objects.append((one, (50, 20, 72, 44, 1)) if k % 2 else (one,))
    objects.append(())
    return part_of([drawn(boxes) for boxes in objects], objects)


class Seer(nn.Module):
    """Answers, of each view, the box around what is white."""

    def forward(self, views: Tensor) -> Tensor:
        answers = torch.zeros(len(views), 1, 6)
        for row, view in zip(answers, views, strict=True):
            y, x = (view.mean(0) > 0.7).nonzero(as_tuple=True)
            row[0] = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1, 0.8, 1.0])
        return answers


turns = st.builds(Turn, mirrored=st.booleans(), flipped=st.booleans(), swapped=st.booleans())


@settings(deadline=None, max_examples=40)
@given(turn=turns, seed=st.integers(0, 99))
def test_a_turn_has_an_exact_inverse(turn: Turn, seed: int) -> None:
    image = torch.from_numpy(np.random.default_rng(seed).integers(0, 9, (3, 5, 8)))
    assert torch.equal(turn.pixels_back(turn.pixels(image)), image)
    boxes = np.array([[1.0, 2.0, 3.0, 5.0, 0.5, 1.0]])
    assert turn.boxes_back(turn.boxes(boxes, 5, 8), 5, 8) == pytest.approx(boxes)


@pytest.mark.parametrize("turn", EIGHT)
@pytest.mark.parametrize(
    ("left", "top", "side"),
    [
        (
            10,
            0,
            60,
        ),
        (-8, -12, 90),
        (20, 5, 50),
    ],
)
def test_boxes_move_with_the_pixels(turn: Turn, left: int, top: int, side: int) -> None:
    box = (30, 10, 50, 40, 1)
    view = Window(left=left, top=top, side=side, size=96, turn=turn)
    seen, rows = detecting.seen(np.array([box], dtype=np.float32), view)
    assert rows.tolist() == [0]
    white = (view.pixels(drawn([box])).float().mean(0) > 160).nonzero()
    found = [*white.amin(0).flip(0).tolist(), *(white.amax(0).flip(0) + 1).tolist()]
    assert seen[0, :4] == pytest.approx(found, abs=1.5)


def test_what_a_window_cuts_off_is_no_object() -> None:
    view = Window(left=20, top=0, side=40, size=40)
    boxes = np.array([[0, 0, 22, 10, 1, 0], [10, 0, 30, 10, 1, 1], [58, 5, 79, 9, 1, 0]], dtype=np.float32)
    seen, rows = detecting.seen(boxes, view)
    assert rows.tolist() == [1]
    assert seen[0].tolist() == [0, 0, 10, 10, 1, 1]


def test_windows_keep_to_their_scale_and_may_favour_objects() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([[70, 2, 78, 10, 1, 0]], dtype=np.float32)
    config = config_of("centres", crop=0.5, favour=1.0)
    views = [detecting.window((60, 80), boxes, config, rng) for _ in range(200)]
    sides = [view.side for view in views]
    assert min(sides) >= math.floor(60 * math.sqrt(0.5))
    assert max(sides) <= math.ceil(60 / math.sqrt(0.5))
    assert all(view.left <= 74 <= view.left + view.side for view in views)


@pytest.mark.parametrize(
    "odd",
    [
        (5, 5, 5, 9, 0),
        (-3, 0, 4, 4, 0),
        (70, 0, 90, 9, 0),
        (0, float("nan"), 4, 4, 0),
        (0, 0, 4, 4, 2),
    ],
)
def test_a_box_that_is_none_is_refused_with_its_file(odd: tuple[Any, ...]) -> None:
    with pytest.raises(DataError, match=r"1\.png.*80 x 60"):
        part_of([drawn([]), drawn([])], [(), (odd,)])


def test_a_batch_holds_the_objects_in_its_views() -> None:
    part = squares(5)
    config = config_of("centres", flip=True, vertical_flip=True, color=0.5, crop=0.2, patches=2)
    rng = np.random.default_rng(0)
    order = KIND.order(part, config, rng)
    assert sorted(order.tolist()) == sorted([*range(5)] * 2)
    views, targets = KIND.batch(part, [1, 4], config, rng)
    assert views.shape == (2, 3, 64, 64)
    assert views.dtype == targets.dtype == torch.float32
    assert targets.shape[2] == 5
    assert (targets[1, :, 4] == ABSENT).all()
    real = targets[0][targets[0, :, 4] >= 0]
    assert len(real)
    assert (real[:, 2:4] > real[:, :2]).all()


def test_only_the_rows_of_a_fold_are_shown() -> None:
    part = squares(5)
    part = replace(part, rows=np.array([1, 3]))
    assert sorted(KIND.order(part, PLAINLY, np.random.default_rng(0)).tolist()) == [1, 3]


@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_trains_with_and_without_objects_and_predicts_any_size(model: str) -> None:
    config = config_of(model)
    torch.manual_seed(0)
    network = load_family(model).build(config, KIND.num_outputs(config))
    assert cost_of(network, 64).macs > 0
    part, rng = squares(5), np.random.default_rng(0)
    for rows in ([0, 1, 4], [4, 4]):
        network.train()
        losses = KIND.losses(network, *KIND.batch(part, rows, config, rng), config)
        assert losses.shape in {(len(rows),), (1,)}
        assert losses.isfinite().all()
        losses.mean().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)
    pictures = [drawn([], size) for size in ((60, 80), (7, 9), (80, 60), (10, 90))]
    with torch.inference_mode():
        answers = KIND.answer(network.eval(), pictures, config, torch.device("cpu"))
    found = KIND.gather([*"abcd"], answers)
    for boxes, picture in zip(found.images, pictures, strict=True):
        assert len(boxes) <= CAP
        assert boxes.dtype == np.float32
        assert (boxes[:, :4] >= 0).all()
        assert (boxes[:, [2, 3]] <= np.array(picture.shape[1::-1]) + 1e-3).all()
        assert (np.diff(boxes[:, 4]) <= 0).all()


@pytest.mark.parametrize("model", ["fcos", "faster_rcnn"])
def test_a_backbone_of_timm_with_groups_has_no_batch_statistics(model: str) -> None:
    config = config_of(model, backbone="test_resnet", norm="group", levels=3)
    network = load_family(model).build(config, 2)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape[2] == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pretrained": True}, "light"),
        ({"backbone": "nosuch"}, "nosuch"),
        ({"backbone": "test_vit", "finest": 4}, "test_vit"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_family("fcos").build(config_of("fcos", **changes), 1)


def test_the_own_detector_has_no_pretrained_weights() -> None:
    with pytest.raises(UsageError, match="no pretrained"):
        load_family("centres").build(config_of("centres", pretrained=True), 1)


def test_points_learn_the_smallest_box_around_them_and_each_box_has_one() -> None:
    points = torch.tensor([[4.0, 4], [12, 4], [4, 12], [12, 12]])
    targets = torch.tensor([[[0.0, 0, 16, 16, 0], [2, 2, 7, 7, 1], [0, 0, 0, 0, ABSENT]]])
    owner, positive = assigned(points, targets, radius=5.0)
    assert positive.tolist() == [[True, True, True, True]]
    assert owner.tolist() == [[1, 0, 0, 0]]
    tiny = torch.tensor([[[9.0, 9, 10, 10, 0]]])
    owner, positive = assigned(points, tiny, radius=0.5)
    assert positive.tolist() == [[False, False, False, True]]


@pytest.mark.parametrize("tta", ["none", "flip", "eight"])
def test_all_views_lead_back_to_the_same_boxes(tta: str) -> None:
    boxes = [[(8, 20, 32, 44, 1)], [(40, 4, 70, 16, 1)]]
    pictures = [drawn(boxes[0]), drawn(boxes[1], (40, 90))]
    config = config_of("centres", image_size=80, tta=tta)
    answers = KIND.answer(Seer(), pictures, config, torch.device("cpu"))
    for rows, ((*edges, label),) in zip(answers, boxes, strict=True):
        assert len(rows) == 1
        assert rows[0, :4] == pytest.approx(edges, abs=1.0)
        assert rows[0, 4:] == pytest.approx([0.8, label])


def test_views_are_merged_by_score_and_a_missing_one_counts_nothing() -> None:
    rows = np.array([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 12, 0.3, 0], [50, 0, 60, 9, 0.4, 0]])
    parts = detecting.shares(rows, 2)
    assert parts == pytest.approx(np.array([[0.75, 0.25, 0], [0, 0, 1]]))
    merged = detecting.merged(rows, parts, 2)
    assert merged == pytest.approx(np.array([[0, 0, 10, 10.5, 0.6, 0], [50, 0, 60, 9, 0.2, 0]]))


def test_one_view_and_no_view_with_anything_stay_as_they_are() -> None:
    rows = np.array([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 12, 0.3, 0]])
    assert detecting.merged(rows, detecting.shares(rows, 1), 1) == pytest.approx(rows)
    none = np.zeros((0, 6))
    assert detecting.merged(none, detecting.shares(none, 8), 8).shape == (0, 6)


def test_the_own_detector_learns() -> None:
    torch.manual_seed(0)
    part, rng = squares(8), np.random.default_rng(0)
    config = config_of("centres", width=8, flip=True)
    network = load_family("centres").build(config, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for _ in range(30):
        views, targets = KIND.batch(part, [*range(8)], config, rng)
        optimizer.zero_grad()
        KIND.losses(network.train(), views, targets, config).mean().backward()
        optimizer.step()
    with torch.inference_mode():
        answers = KIND.answer(network.eval(), part.images, config, torch.device("cpu"))
    assert box_ap(KIND.gather(part.ids, answers), part.targets).ap50 > 0.9


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 200))
def test_the_decided_boxes_score_as_the_fitted_threshold_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = Boxes(ids=("a", "b"), images=(_random(rng, 3, known=True), _random(rng, 0, known=True)))
    found = Boxes(ids=("a", "b"), images=(_random(rng, 6), _random(rng, 2)))
    decision = ScoreThreshold()
    fitted = decision.fit(found, truth, load_task("global_wheat").metric)
    decided = decision.apply(found, fitted)
    best = fit_wheat_threshold(found, truth)
    assert accepted_wheat_score(decided, truth) == pytest.approx(best.value)
    assert wheat_score(decided, truth) == pytest.approx(best.value)
    for rows in decided.images:
        assert ((rows[:, 4] >= ACCEPTED) & (rows[:, 4] <= 1)).all()


def _random(rng: np.random.Generator, count: int, *, known: bool = False) -> np.ndarray:
    corner, side = rng.uniform(0, 20, (count, 2)), rng.uniform(10, 20, (count, 2))
    score = np.ones(count) if known else rng.uniform(size=count)
    return np.column_stack([corner, corner + side, score, np.zeros(count)]).astype(np.float32)


def wheat_data(root: Path, bad: str = "") -> Path:
    """Three training pictures, one without a box, and a test picture."""
    for folder in ("train", "test"):
        (root / folder).mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(drawn([(4, 6, 20, 30, 0)])).save(root / "train" / f"{name}.jpg")
    Image.fromarray(drawn([])).save(root / "test" / "t.jpg")
    with (root / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "width", "height", "bbox", "source"])
        writer.writerow(["a", 80, 60, "[4, 6, 16, 24]", "farm"])
        writer.writerow(["b", 80, 60, bad or "[4, 6, 16, 24]", "farm"])
    return root


def test_the_task_reads_its_layout_and_writes_its_answer(tmp_path: Path) -> None:
    task = load_task("global_wheat")
    splits = task.read(wheat_data(tmp_path))
    task = task.found_in(splits)
    assert [sample.truth for sample in splits.train] == [((4.0, 6.0, 20.0, 30.0, 0),)] * 2 + [()]
    truth = task.kind.truth(splits.train, [(60, 80)] * 3)
    assert task.metric.fn(truth, truth) == 1.0
    found = Boxes(ids=("t",), images=(np.array([[70, 5, 85, 20, 0.7, 0]], dtype=np.float32),))
    assert task.decision is not None
    task.answer.write(task.decision.apply(found, (0.4,)), tmp_path / "answer.csv")
    task.answer.check(tmp_path / "answer.csv", ["t"])
    assert (tmp_path / "answer.csv").read_text().splitlines()[1] == "t,0.7500 70 5 10 15"


@pytest.mark.parametrize("bad", ["[4, 6, 0, 24]", "[90, 6, 5, 5]", "[4, nan, 5, 5]", "[4, 6]"])
def test_a_broken_box_is_refused_with_its_line(tmp_path: Path, bad: str) -> None:
    with pytest.raises(DataError, match="line 3"):
        load_task("global_wheat").read(wheat_data(tmp_path, bad))


def test_the_plain_view_comes_first() -> None:
    assert {tta: detecting.turns(config_of("centres", tta=tta))[0] for tta in ("none", "flip", "eight")} == {
        "none": PLAIN,
        "flip": PLAIN,
        "eight": PLAIN,
    }
    assert len(set(detecting.turns(config_of("centres", tta="eight")))) == 8
