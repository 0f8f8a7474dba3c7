"""What every task, kind and model must do whose answers lie in the picture; each is found by its name."""

import dataclasses
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ensembles.blend import align, blend
from ensembles.merging import Blend
from ensembles.methods import known_methods, load_method
from orchestrator.contact_sheet import contact_sheet
from trainables import coco_rle, gathered
from trainables.coco_answers import CocoAnswer, CocoImage
from trainables.config import TrialConfig, trial_config
from trainables.errors import InvalidSubmission, UsageError
from trainables.families import answers_of, load_family, require_answers
from trainables.maps import Maps
from trainables.named import known_modules
from trainables.run_lengths import encode
from trainables.splits import complete
from trainables.store import Part, Store, prepare
from trainables.task import Answer, DenseKind, Sample, Splits, Task, load_task
from trainables.train import train

DENSE = [name for name in known_modules("trainables.tasks") if load_task(name).kind.answers != "classes"]
MODELS = {
    name: answers for name in known_modules("trainables.models") if (answers := answers_of(name)) != "classes"
}
SIZES = [(60, 72), (72, 60), (66, 66), (90, 60)]


def closed(name: str) -> Task:
    """A task by its name, with two classes where it leaves them to the data."""
    task = load_task(name)
    if all(head.classes for head in task.kind.heads):
        return task
    return task.with_heads(tuple(dataclasses.replace(h, classes=("1", "2")) for h in task.kind.heads))


def sample(task: Task, folder: Path, number: int) -> Sample:
    """A picture with a bright square on it; every fourth holds nothing."""
    rng = np.random.default_rng(number)
    height, width = SIZES[number % len(SIZES)]
    pixels = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
    x, y, side = *rng.integers(4, 30, 2), 24
    holds = number % 4 != 3
    if holds:
        pixels[y : y + side, x : x + side] = (240, 200, 60)
    path = folder / f"{number:03d}.png"
    Image.fromarray(pixels).save(path)
    mask = np.zeros((height, width), dtype=bool)
    mask[y : y + side, x : x + side] = holds
    truth: Any = path
    if task.kind.answers == "boxes":
        truth = ((float(x), float(y), float(x + side), float(y + side), 0),) if holds else ()
    elif task.kind.answers == "instances":
        counts = coco_rle.pack(coco_rle.runs_of(mask)).decode()
        truth = ((counts, 0, 0),) if holds else ()
    elif task.kind.answers == "masks":
        truth = (encode(mask), *("",) * (task.kind.heads[0].num_classes - 1))
    shrink = 3 if task.kind.answers == "pictures" else 1
    return Sample(id=path.stem, path=path, target=(), truth=truth, shrink=shrink)


@cache
def made(name: str) -> Store:
    folder = Path(mkdtemp(prefix="dense-contracts-"))
    task = closed(name)
    samples = [sample(task, folder, number) for number in range(20)]
    test = tuple(dataclasses.replace(s, truth=None, target=None, shrink=1) for s in samples[16:])
    splits = complete(Splits(train=tuple(samples[:16]), test=test), heads=task.targets)
    return prepare(task, splits, side=1, root=folder / "stores")


def config_of(name: str, **more: Any) -> TrialConfig:
    """A quick configuration of the first model that answers what the task asks for."""
    model = next(model for model, answers in MODELS.items() if answers == load_task(name).kind.answers)
    size = 16 if load_task(name).kind.answers == "pictures" else 64
    return trial_config({"model": model, "image_size": size, "batch_size": 4, "epochs": 1, **more})


def poor(truth: Any) -> Any:
    """An answer that finds nothing; of pictures, their negatives."""
    if isinstance(truth, Maps):
        white = 255 if truth.form == "picture" else 1
        return dataclasses.replace(truth, images=[white - image for image in truth])
    return truth.above(2.0)


def answer_of(task: Task, part: Part) -> Answer:
    """The task's answer to the images of a part; COCO's numbers them, as the organisers' json does."""
    if not isinstance(task.answer, CocoAnswer):
        return task.answer
    images = {
        id: CocoImage(id=number, size=picture.shape[:2])
        for number, (id, picture) in enumerate(zip(part.ids, part.images, strict=True))
    }
    return dataclasses.replace(task.answer, categories=(1,), images=images)


@pytest.mark.parametrize("name", DENSE)
class TestDenseTask:
    def test_its_kind_is_dense_and_its_truth_has_the_best_score(self, name: str) -> None:
        task, part = closed(name), made(name).parts["train"]
        assert isinstance(task.kind, DenseKind)
        assert part.targets.ids == part.ids
        best = task.metric.fn(part.targets, part.targets)
        assert task.metric.utility(best) > task.metric.utility(
            task.metric.fn(poor(part.targets), part.targets)
        )
        if task.metric.each is not None:
            total: Any = task.metric.total or np.mean
            assert total(task.metric.each(part.targets, part.targets)) == pytest.approx(best)

    def test_an_epoch_shows_as_many_views_every_time(self, name: str) -> None:
        task, part, rng = closed(name), made(name).parts["train"], np.random.default_rng(0)
        config = config_of(name, patches=2, favour=0.5, flip=True, vertical_flip=True)
        orders = [task.kind.order(part, config, rng) for _ in range(3)]
        assert len({len(order) for order in orders}) == 1
        assert set(np.concatenate(orders).tolist()) <= set(range(len(part.ids)))
        views, targets = task.kind.batch(part, orders[0][:5].tolist(), config, rng)
        assert views.shape == (5, 3, config.image_size, config.image_size)
        assert views.dtype == torch.float32
        assert len(targets) == 5

    def test_rows_of_a_fold_are_all_that_it_shows(self, name: str) -> None:
        part = dataclasses.replace(made(name).parts["train"], rows=np.array([1, 4, 7]))
        order = closed(name).kind.order(part, config_of(name, patches=3), np.random.default_rng(0))
        assert set(order.tolist()) == {1, 4, 7}

    @pytest.mark.parametrize("tta", ["none", "eight"])
    def test_a_trial_leaves_predictions_that_can_be_blended_drawn_and_handed_in(
        self, name: str, tta: str, tmp_path: Path
    ) -> None:
        task, store = closed(name), made(name)
        result = train(task, store, config_of(name, tta=tta), lambda _: True, folder=tmp_path / "trial")
        assert np.isfinite(result.value)
        found = {part: gathered.load(tmp_path / "trial" / f"{part}.npz") for part in ("valid", "test")}
        valid = store.parts["valid"]
        if tta == "none":
            answered = found["valid"]
            if task.decides_trials:
                assert task.decision is not None
                fitted = task.decision.fit(answered, valid.targets, task.metric)
                answered = task.decision.apply(answered, fitted)
            assert task.metric.fn(answered, valid.targets) == pytest.approx(result.value, abs=2e-3)
        for rule in ("vote", "prob", "logit"):
            merged = blend([found["test"]] * 2, Blend(rule, (1.0, 2.0)))
            assert merged.ids == store.parts["test"].ids
        path, answer = tmp_path / task.answer.filename, answer_of(task, store.parts["test"])
        answer.write(found["test"], path)
        answer.check(path, found["test"].ids)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(InvalidSubmission, match=path.name):
            answer.check(path, found["test"].ids)
        contact_sheet(found["valid"], valid, task.metric, tmp_path / "sheet.png", title=name)
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.width > 600

    def test_its_decision_is_no_worse_where_it_was_fitted(self, name: str) -> None:
        task, part = closed(name), made(name).parts["train"]
        if task.decision is None:
            assert task.kind.answers in ("pictures", "instances")  # there is nothing to decide on
            return
        fitted = task.decision.fit(part.targets, part.targets, task.metric)
        decided = task.decision.apply(part.targets, fitted)
        assert task.metric.fn(decided, part.targets) >= task.metric.fn(part.targets, part.targets) - 1e-9

    def test_every_method_makes_one_of_its_members(self, name: str) -> None:
        task, truth = closed(name), made(name).parts["valid"].targets
        members = align([truth, truth, truth], truth.ids)
        for method in known_methods():
            how = load_method(method)(3, lambda b: task.metric.fn(blend(members, b), truth)).normalised()
            assert len(blend(members, how)) == len(truth)


@pytest.mark.parametrize("model", MODELS)
class TestDenseModel:
    def test_it_learns_and_answers_to_any_size(self, model: str) -> None:
        name = next(name for name in DENSE if load_task(name).kind.answers == MODELS[model])
        task, part, rng = closed(name), made(name).parts["train"], np.random.default_rng(0)
        config = dataclasses.replace(
            config_of(name), model=model, options=trial_config({"model": model}).options
        )
        torch.manual_seed(0)
        network = load_family(model).build(config, task.kind.num_outputs(config))
        views, targets = task.kind.batch(part, [0, 1, 2], config, rng)
        losses = task.kind.losses(network.train(), views, targets, config)
        assert losses.isfinite().all()
        losses.mean().backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
        pictures = [
            rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in ((17, 40), (64, 64), (64, 64))
        ]
        with torch.inference_mode():
            answers = task.kind.answer(network.eval(), pictures, config, torch.device("cpu"))
            network(torch.zeros(1, 3, config.image_size, config.image_size))
        assert len(task.kind.gather(["a", "b", "c"], answers)) == 3

    def test_the_same_seed_builds_the_same_weights(self, model: str) -> None:
        states = []
        for _ in range(2):
            torch.manual_seed(7)
            config = trial_config({"model": model})
            states.append(
                load_family(model).build(config, 9 if MODELS[model] == "pictures" else 2).state_dict()
            )
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    def test_it_is_refused_where_classes_are_asked_for(self, model: str) -> None:
        with pytest.raises(UsageError, match=f"{model!r} answers with {MODELS[model]}"):
            require_answers(model, "classes")


def test_a_classifier_is_refused_for_masks_and_those_that_make_masks_are_named() -> None:
    with pytest.raises(UsageError) as refused:
        require_answers("resnet18", "masks")
    assert "unet" in refused.value.fix


def test_there_is_something_of_each_kind() -> None:
    assert {"super_resolution", "severstal", "global_wheat", "instance_segmentation"} < set(DENSE)
    for answers in {load_task(name).kind.answers for name in DENSE}:
        assert list(MODELS.values()).count(answers) >= 2
