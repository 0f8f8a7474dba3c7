"""One trial from a store to its folder: what it keeps, when it stops, and that a seed decides it."""

import csv
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from trainables.config import trial_config
from trainables.errors import DataError, OrchestratorError, RuleViolation, UsageError
from trainables.families import load_family
from trainables.feed import num_batches
from trainables.kinds.classification import Classification
from trainables.metrics import ACCURACY, accuracy
from trainables.predictions import Dense
from trainables.store import Part, Store
from trainables.task import Head, Metric, Rules, Splits, Task, load_task
from trainables.train import EpochReport, TrialDiverged, TrialResult, train

CPU = torch.device("cpu")
COLORS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
SHAPES = {"train": 41, "valid": 26, "holdout": 9, "test": 7}
QUICK = {
    "model": "convnet",
    "image_size": 8,
    "depth": 2,
    "width": 8,
    "batch_size": 8,
    "epochs": 3,
    "lr": 0.01,
}


def part(name: str, num_images: int, *, heads: int = 1, labelled: bool = True) -> Part:
    """Noisy pictures whose color tells the class; a second head asks whether they are bright."""
    rng = np.random.default_rng(len(name))
    color, bright = np.arange(num_images) % 3, rng.integers(0, 2, num_images)
    noise = rng.integers(-50, 50, (num_images, 8, 8, 3))
    pixels = (COLORS[color] + 40 * bright[:, None])[:, None, None] + noise
    targets = np.stack([color, bright], 1)[:, :heads].astype(np.int64)
    return Part(
        name=name,
        ids=tuple(f"{name}-{i}" for i in range(num_images)),
        targets=targets if labelled else None,
        images=pixels.clip(0, 255).astype(np.uint8),
    )


def store(heads: int = 1, **sizes: int) -> Store:
    parts = {
        name: part(name, num, heads=heads, labelled=name != "test")
        for name, num in {**SHAPES, **sizes}.items()
    }
    return Store(folder=Path(), side=8, fingerprint="", quarantined=(), parts=parts)


def unread(_: Path) -> Splits:
    raise AssertionError("A trial reads the store alone.")


def task(metric: Metric = ACCURACY, *, heads: int = 1) -> Task:
    questions = (Head(name="color", classes=("r", "g", "b")), Head(name="bright", classes=("no", "yes")))
    digits = load_task("digits")
    return Task(
        name="colors",
        title="Colors",
        kind=Classification(heads=questions[:heads]),
        read=unread,
        metric=metric,
        rules=Rules(pretrained=True, external_data=True),
        answer=digits.answer,
        space="digits",
    )


class Listener:
    """Hears every report and says no after `stop_after` of them."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.reports: list[EpochReport] = []
        self.stop_after = stop_after

    def __call__(self, report: EpochReport) -> bool:
        self.reports.append(report)
        return len(self.reports) < self.stop_after


def quick(folder: Path, listener: Listener | None = None, **params: Any) -> TrialResult:
    return train(task(), store(), trial_config({**QUICK, **params}), listener or Listener(), folder=folder)


def after(polls: int) -> Callable[[], bool]:
    """Cancels at the given poll."""
    answers = iter([False] * polls)
    return lambda: next(answers, True)


def test_it_learns_and_the_folder_holds_everything(tmp_path: Path) -> None:
    listener = Listener()
    result = quick(tmp_path / "trial", listener, epochs=6)
    assert result.value == max(r.valid_metric for r in listener.reports) > 0.9
    assert (result.epochs, result.device) == (6, "cpu")
    names = {"config.json", "curve.csv", "execution.json", "weights.safetensors"}
    names |= {f"{part}.npz" for part in ("valid", "holdout", "test")}
    assert {path.name for path in (tmp_path / "trial").iterdir()} == names
    for name in ("valid", "holdout", "test"):
        predictions = Dense.load(tmp_path / "trial" / f"{name}.npz")
        assert predictions.ids == store().parts[name].ids
        assert predictions.fields["color"].shape == (SHAPES[name], 3)


def test_the_curve_is_what_was_reported(tmp_path: Path) -> None:
    listener = Listener()
    quick(tmp_path, listener)
    with (tmp_path / "curve.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    reported = [dataclasses.asdict(report) for report in listener.reports]
    assert [row.pop("last") for row in reported] == [False, False, True]
    assert rows == reported
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(row["seconds"] > 0 and row["images_per_second"] > 0 for row in rows)


def test_the_configuration_can_be_read_back(tmp_path: Path) -> None:
    quick(tmp_path, dropout=0.25)
    config = trial_config(json.loads((tmp_path / "config.json").read_text()))
    assert config == trial_config({**QUICK, "dropout": 0.25})


def test_the_weights_give_the_predictions_again(tmp_path: Path) -> None:
    quick(tmp_path, lr=0.05)
    config = trial_config(QUICK)
    model = load_family("convnet").build(config, 3).eval()
    weights = load_file(tmp_path / "weights.safetensors")
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    images = torch.from_numpy(store().parts["valid"].images).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    logits = model((images - mean[:, None, None]) / std[:, None, None])
    predictions = Dense.load(tmp_path / "valid.npz").fields["color"]
    np.testing.assert_allclose(logits.detach().numpy(), predictions, atol=0.02, rtol=0.01)


EVERYTHING: dict[str, Any] = {
    "dropout": 0.3,
    "crop": 0.4,
    "flip": True,
    "rotation": 15.0,
    "color": 0.3,
    "erasing": 0.4,
    "augment": "randaugment",
    "clip_grad": 1.0,
}


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    bits = []
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        quick(tmp_path / name, seed=seed, **EVERYTHING)
        bits.append([(tmp_path / name / f).read_bytes() for f in ("weights.safetensors", "valid.npz")])
        torch.rand(7)
    assert bits[0] == bits[1]
    assert bits[0] != bits[2]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_epoch_is_kept_and_not_the_last(tmp_path: Path, direction: Any) -> None:
    # The score of an epoch is scripted: the training part is scored first, then the validation part.
    values = iter([0.0, 0.5, 0.0, 0.9, 0.0, 0.2, 0.0, 0.6])
    metric = Metric(name="scripted", direction=direction, fn=lambda *_: next(values))
    result = train(task(metric), store(), trial_config({**QUICK, "epochs": 4}), Listener(), folder=tmp_path)
    assert (result.best_epoch, result.value) == ((2, 0.9) if direction == "maximize" else (3, 0.2))


def test_of_equal_epochs_the_lower_validation_loss_wins(tmp_path: Path) -> None:
    listener = Listener()
    same = Metric(name="same", direction="maximize", fn=lambda *_: 0.5)
    config = trial_config({**QUICK, "epochs": 5, "lr": 0.1, "schedule": "constant"})
    result = train(task(same), store(), config, listener, folder=tmp_path)
    assert result.best_epoch == min(listener.reports, key=lambda r: r.valid_loss or 0.0).epoch


def test_the_kept_predictions_are_the_best_epochs(tmp_path: Path) -> None:
    listener = Listener()
    config = trial_config({**QUICK, "epochs": 6, "lr": 0.1, "schedule": "constant", "seed": 1})
    result = train(task(), store(), config, listener, folder=tmp_path)
    best = max(listener.reports, key=lambda r: (r.valid_metric, -(r.valid_loss or 0.0)))
    valid = store().parts["valid"]
    assert valid.targets is not None
    kept = Dense.load(tmp_path / "valid.npz")
    assert accuracy(kept, valid.targets) == best.valid_metric == result.value
    logits = torch.from_numpy(kept.fields["color"])
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(valid.targets[:, 0]))
    assert float(loss) == pytest.approx(best.valid_loss, rel=0.01)


def test_what_a_network_costs_is_written_down(tmp_path: Path) -> None:
    quick(tmp_path)
    how = json.loads((tmp_path / "execution.json").read_text())
    weights = load_file(tmp_path / "weights.safetensors")
    counted = [v for name, v in weights.items() if "running" not in name and "num_batches" not in name]
    assert how["parameters"] == sum(value.size for value in counted)
    assert how["megabytes"] == pytest.approx(sum(value.nbytes for value in weights.values()) / 1e6)
    # stem 3 to 8 channels at 4 x 4 px, a block at 4 x 4, one at 2 x 2 with its shortcut, the head
    stem, first = 16 * 27 * 8, 2 * 16 * 72 * 8
    second = 4 * (72 * 16 + 144 * 16 + 8 * 16)
    assert how["macs"] == stem + first + second + 16 * 3


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"megabytes": (5.0, 150.0)}, r"0\.0 MB is outside 5 to 150 MB: by the rules"),
        ({"macs": 1000.0}, "0 million multiply-accumulates an image are more than"),
    ],
)
def test_a_network_beyond_the_bounds_is_refused_before_its_first_step(
    tmp_path: Path, bounds: dict[str, Any], said: str
) -> None:
    rules = Rules(pretrained=True, external_data=True, wording="by the rules", **bounds)
    listener = Listener()
    with pytest.raises(RuleViolation, match=said):
        train(
            dataclasses.replace(task(), rules=rules),
            store(),
            trial_config(QUICK),
            listener,
            folder=tmp_path,
        )
    assert not listener.reports
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_no_to_a_report_ends_the_trial_with_its_files(tmp_path: Path) -> None:
    listener = Listener(stop_after=2)
    assert quick(tmp_path, listener, epochs=50).epochs == 2
    assert (tmp_path / "test.npz").exists()


def test_cancelling_drops_the_epoch_and_keeps_those_before(tmp_path: Path) -> None:
    listener = Listener()
    config = trial_config({**QUICK, "epochs": 50})
    polls = 2 * num_batches(41, 8) + 2 * 2 + 3
    result = train(task(), store(), config, listener, folder=tmp_path, cancelled=after(polls))
    assert result.epochs == len(listener.reports) == 2
    assert (tmp_path / "weights.safetensors").exists()


def test_cancelling_the_first_epoch_leaves_nothing_to_keep(tmp_path: Path) -> None:
    with pytest.raises(OrchestratorError, match="before its first epoch ended"):
        train(task(), store(), trial_config(QUICK), Listener(), folder=tmp_path, cancelled=after(3))
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_diverged_trial_says_when(tmp_path: Path) -> None:
    with pytest.raises(TrialDiverged, match=r"epoch 1, step \d: the training loss is (nan|inf)"):
        quick(tmp_path, lr=1e30, optimizer="sgd", norm="none")


def test_a_metric_that_is_no_number_ends_the_trial(tmp_path: Path) -> None:
    broken = Metric(name="broken", direction="maximize", fn=lambda *_: float("nan"))
    with pytest.raises(TrialDiverged, match="epoch 1: train_metric is nan"):
        train(task(broken), store(), trial_config(QUICK), Listener(), folder=tmp_path)


def test_smoothing_is_left_out_of_the_validation_loss(tmp_path: Path) -> None:
    plain, smooth = Listener(), Listener()
    quick(tmp_path / "plain", plain, lr=1e-9, epochs=1)
    quick(tmp_path / "smooth", smooth, lr=1e-9, epochs=1, label_smoothing=0.5)
    assert smooth.reports[0].valid_loss == pytest.approx(plain.reports[0].valid_loss, rel=1e-4)


def test_several_heads_are_learned_together(tmp_path: Path) -> None:
    config = trial_config({**QUICK, "epochs": 8})
    result = train(task(heads=2), store(heads=2), config, Listener(), folder=tmp_path)
    assert result.value > 0.6
    assert set(Dense.load(tmp_path / "test.npz").fields) == {"color", "bright"}


def test_empty_parts_give_empty_predictions(tmp_path: Path) -> None:
    train(task(), store(holdout=0, test=0), trial_config(QUICK), Listener(), folder=tmp_path)
    for name in ("holdout", "test"):
        assert Dense.load(tmp_path / f"{name}.npz").fields["color"].shape == (0, 3)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"train": 0}, "The train part has no images"),
        ({"valid": 0}, "The valid part has no images"),
        ({"train": 1}, "One training image alone"),
    ],
)
def test_too_little_data_is_refused(tmp_path: Path, sizes: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        train(task(), store(**sizes), trial_config(QUICK), Listener(), folder=tmp_path)


def test_a_validation_part_without_labels_is_refused(tmp_path: Path) -> None:
    full = store()
    bare = dataclasses.replace(full, parts={**full.parts, "valid": part("valid", 9, labelled=False)})
    with pytest.raises(DataError, match="The valid part has no labels"):
        train(task(), bare, trial_config(QUICK), Listener(), folder=tmp_path)


def test_single_images_cannot_be_normalised_over_the_batch(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch_size=1"):
        quick(tmp_path / "batch", batch_size=1)
    assert quick(tmp_path / "group", batch_size=1, norm="group", epochs=1).epochs == 1


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        quick(tmp_path / "file" / "trial")


@pytest.mark.parametrize("optimizer", ["sgd", "lion"])
@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_models_of_timm_train(tmp_path: Path, optimizer: str, model: str) -> None:
    config = trial_config({"model": model, "image_size": 32, "optimizer": optimizer, "epochs": 1, "lr": 1e-3})
    assert train(task(), store(), config, Listener(), folder=tmp_path).epochs == 1


def test_bf16_trains_where_it_is_asked_for(tmp_path: Path) -> None:
    assert quick(tmp_path, amp="bf16", epochs=4).value > 0.6


def digit_parts() -> Store:
    """scikit-learn's digits: 1,000 to train on, the rest in three."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8).repeat(3, axis=3)
    order = np.random.default_rng(0).permutation(len(labels))
    cuts: Sequence[np.ndarray] = np.split(order, [1000, 1250, 1430])
    parts = {
        name: Part(
            name=name,
            ids=tuple(map(str, rows)),
            targets=labels[rows].astype(np.int64)[:, None],
            images=images[rows],
        )
        for name, rows in zip(("train", "valid", "holdout", "test"), cuts, strict=True)
    }
    return Store(folder=Path(), side=8, fingerprint="", quarantined=(), parts=parts)


def test_digits_are_read_after_a_few_seconds(tmp_path: Path) -> None:
    data = digit_parts()
    config = trial_config(
        {
            "model": "convnet",
            "image_size": 8,
            "stem_stride": 1,
            "depth": 3,
            "width": 16,
            "epochs": 10,
            "lr": 0.01,
            "schedule": "onecycle",
            "rotation": 10.0,
            "translate": 0.05,
        }
    )
    train(load_task("digits"), data, config, Listener(), folder=tmp_path)
    targets = data.parts["test"].targets
    assert targets is not None
    assert accuracy(Dense.load(tmp_path / "test.npz"), targets) >= 0.97
