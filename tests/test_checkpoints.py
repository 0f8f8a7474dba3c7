"""A trial that is killed after any epoch goes on, and comes to the same bits as one that was not."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made_search import digits_store
from trainables.checkpoints import DTYPES, Checkpoints, State
from trainables.config import TrialConfig, trial_config
from trainables.store import Store, open_store
from trainables.task import Task, load_task
from trainables.train import EpochReport, train

PARAMS: dict[str, Any] = {
    "model": "convnet",
    "image_size": 8,
    "epochs": 4,
    "batch_size": 16,
    "width": 8,
    "depth": 1,
    "rotation": 9.0,
    "mixup": 0.3,
    "dropout": 0.2,
    "schedule": "onecycle",
}
WRITTEN = ("weights.safetensors", "valid.npz", "holdout.npz", "test.npz")


class Killed(BaseException):
    """Stands for the end of the process: nothing of the trial runs after it."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(digits_store(tmp_path_factory))


@pytest.fixture(scope="module")
def task(store: Store) -> Task:
    return load_task("digits").with_heads(store.heads)


def run(
    task: Task, store: Store, config: TrialConfig, folder: Path, *, killed_at: tuple[int, ...] = ()
) -> list[EpochReport]:
    """Train, killed when these epochs are reported for the first time; the rows as the last process told."""
    killed: set[int] = set()
    while True:
        rows: list[EpochReport] = []

        def report(row: EpochReport, rows: list[EpochReport] = rows) -> bool:
            rows.append(row)
            if row.epoch in killed_at and row.epoch not in killed:
                killed.add(row.epoch)
                raise Killed
            return True

        try:
            train(task, store, config, report, folder=folder)
        except Killed:
            continue
        return rows


def told(rows: list[EpochReport]) -> list[dict[str, Any]]:
    timed = ("seconds", "images_per_second")
    return [{name: value for name, value in asdict(row).items() if name not in timed} for row in rows]


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": "adamw"},
        {"optimizer": "sgd", "lr": 0.05, "ema_decay": 0.9},
        {"optimizer": "lion", "start_size": 0.5, "image_size": 16},
        {"augment": "randaugment", "balance": 0.5, "accumulate": 2, "layer_decay": 0.8},
    ],
)
def test_killed_trial_comes_to_the_same_bits(
    task: Task, store: Store, tmp_path: Path, changed: dict[str, Any]
) -> None:
    config = trial_config({**PARAMS, **changed})
    whole = run(task, store, config, tmp_path / "whole")
    broken = run(task, store, config, tmp_path / "broken", killed_at=(1, 3, 4))
    assert told(broken) == told(whole)
    for name in WRITTEN:
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not (tmp_path / "broken" / "checkpoints").exists()


def test_damaged_checkpoint_costs_an_epoch_and_nothing_else(task: Task, store: Store, tmp_path: Path) -> None:
    config = trial_config(PARAMS)
    run(task, store, config, tmp_path / "whole")
    epochs: list[int] = []

    def killed(row: EpochReport) -> bool:
        if row.epoch == 3:
            raise Killed
        return True

    with pytest.raises(Killed):
        train(task, store, config, killed, folder=tmp_path / "broken")
    newest = tmp_path / "broken" / "checkpoints" / "1.checkpoint"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    found = Checkpoints(newest.parent).latest()
    assert found is not None
    assert found.epoch == 2

    def count(row: EpochReport) -> bool:
        epochs.append(row.epoch)
        return True

    train(task, store, config, count, folder=tmp_path / "broken")
    assert epochs == [1, 2, 3, 4]
    for name in WRITTEN:
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_every_dtype_is_kept_bit_by_bit(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    tensors = {str(d): torch.randint(0, 2, (3, 2, 5), generator=random).to(d) for d in DTYPES}
    tensors |= {"nothing": torch.zeros(0, 4), "number": torch.tensor(7), "strided": torch.rand(4, 6).T}
    tensors["last"] = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    kept = Checkpoints(tmp_path / "kept")
    kept.save(State(epoch=1, tensors=tensors, about={}))
    found = kept.latest()
    assert found is not None
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_what_is_written_beside_the_training_is_there_once_it_has_settled(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "kept")
    for epoch in (1, 2, 3):
        kept.save_behind(State(epoch=epoch, tensors={"w": torch.full((50, 50), float(epoch))}, about={}))
    kept.settle()
    found = kept.latest()
    assert found is not None
    assert (found.epoch, found.tensors["w"].mean().item()) == (3, 3.0)
    kept.clear()
    kept.folder.touch()  # a file where the folder is to be
    kept.save_behind(State(epoch=4, tensors={}, about={}))
    with pytest.raises(OSError, match="kept"):
        kept.settle()
    kept.settle()


def test_checkpoint_of_another_configuration_is_not_gone_on_from(
    task: Task, store: Store, tmp_path: Path
) -> None:
    def killed(row: EpochReport) -> bool:
        raise Killed

    with pytest.raises(Killed):
        train(task, store, trial_config(PARAMS), killed, folder=tmp_path / "broken")
    other = trial_config({**PARAMS, "lr": 0.002})
    run(task, store, other, tmp_path / "broken")
    run(task, store, other, tmp_path / "whole")
    name = "weights.safetensors"
    assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_two_checkpoints_are_kept_and_torn_ones_passed_over(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "kept")
    assert kept.latest() is None
    for epoch in (1, 2, 3):
        kept.save(State(epoch=epoch, tensors={"w": torch.full((2,), float(epoch))}, about={"note": "ä"}))
    assert sorted(path.name for path in kept.folder.iterdir()) == ["0.checkpoint", "1.checkpoint"]
    found = kept.latest()
    assert found is not None
    assert (found.epoch, found.tensors["w"].tolist(), found.about) == (3, [3.0, 3.0], {"note": "ä"})
    for cut in (0, 10, 65, 200):
        (kept.folder / "1.checkpoint").write_bytes((kept.folder / "1.checkpoint").read_bytes()[:cut])
        found = kept.latest()
        assert found is not None
        assert found.epoch == 2
    (kept.folder / "0.checkpoint").write_text(json.dumps({"not": "a checkpoint"}))
    assert kept.latest() is None
    kept.clear()
    assert not kept.folder.exists()
