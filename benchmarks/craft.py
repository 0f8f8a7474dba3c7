"""Each piece of craft on against off: what it is worth, with an interval, on real pictures.

python -m benchmarks.craft [--task digits|food11|aptos2019] [--data DIR] [--seeds N] [--epochs N]
                           [--only A,B] [--json]

A small network of our own is trained from scratch, with a piece and without it, on the same images in the
same splits from the same seed, one thread each and two at a time. Every seed cuts the labelled images anew:
half to train on, a tenth to choose the best epoch, the rest to report its score. Shown is the mean over
the seeds of the difference, on less off, in points, with its 95 % interval (Student's t over the pairs):
"tie" where it holds zero. Of so many pieces one in twenty lies outside of it by chance. "time" is CPU time on
over CPU time off. Pieces against imbalance are tried on a training part of which the classes keep ever less,
down to a tenth; pieces of fine-tuning start from a network that learned the other half of the classes. How
ordered grades are learned is tried on tasks that have them, by their own metric, without fitted thresholds.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainables.config import trial_config
from trainables.kinds.ordinal import Ordinal
from trainables.splits import stratified
from trainables.store import Part, Store, open_store, prepare
from trainables.task import PARTS, Sample, Splits, Task, load_task

Data = Literal["plain", "long_tail", "old_classes", "new_classes"]
PROCESSES = 2
REPORTED, CHOSEN_ON = 0.4, 1 / 6
"""Shares cut for the report, and of the rest for the choice of the epoch."""
TAIL = 0.1
"""Share that the rarest class of a long tail keeps; the others lie between (Cui et al., 2019)."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Parameters that are changed, over the task's base and `base`, and the data on which it is tried."""

    changes: Mapping[str, Any]
    base: Mapping[str, Any] = field(default_factory=dict)
    data: Data = "plain"


BASES: dict[str, dict[str, Any]] = {
    "digits": {
        "model": "convnet",
        "image_size": 16,
        "depth": 3,
        "width": 16,
        "stem_stride": 1,
        "epochs": 20,
        "batch_size": 32,
        "lr": 0.005,
        "schedule": "onecycle",
        "rotation": 10.0,
        "translate": 0.1,
    },
    "aptos2019": {
        "model": "convnet",
        "image_size": 64,
        "depth": 4,
        "width": 16,
        "epochs": 12,
        "batch_size": 32,
        "lr": 0.004,
        "schedule": "onecycle",
        "flip": True,
        "rotation": 8.0,
    },
    "food11": {
        "model": "convnet",
        "image_size": 48,
        "depth": 3,
        "width": 16,
        "epochs": 12,
        "batch_size": 32,
        "lr": 0.005,
        "schedule": "onecycle",
        "flip": True,
        "crop": 0.3,
    },
}
TUNED = {"pretrained": True, "lr": 0.002}
PIECES: dict[str, Piece] = {
    "mixup": Piece(changes={"mixup": 0.2}),
    "cutmix": Piece(changes={"cutmix": 1.0, "mix_probability": 0.5}),
    "mixup_cutmix": Piece(changes={"mixup": 0.2, "cutmix": 1.0, "mix_probability": 0.5}),
    "label_smoothing": Piece(changes={"label_smoothing": 0.1}),
    "focal": Piece(changes={"focal": 2.0}),
    "focal_tail": Piece(changes={"focal": 2.0}, data="long_tail"),
    "class_weights": Piece(changes={"class_weights": 1.0}, data="long_tail"),
    "balance": Piece(changes={"balance": 1.0}, data="long_tail"),
    "balance_half": Piece(changes={"balance": 0.5}, data="long_tail"),
    "hard_share": Piece(changes={"hard_share": 0.7}),
    "ema_decay": Piece(changes={"ema_decay": 0.99}),
    "ema_constant_lr": Piece(changes={"ema_decay": 0.99}, base={"schedule": "constant"}),
    "accumulate": Piece(changes={"batch_size": 8, "accumulate": 4}),
    "layer_decay": Piece(changes={"layer_decay": 0.7}, base=TUNED, data="new_classes"),
    "head_epochs": Piece(changes={"head_epochs": 2}, base=TUNED, data="new_classes"),
    "start_size": Piece(changes={"start_size": 0.5}),
    "drop_path": Piece(changes={"drop_path": 0.1}),
    "blur": Piece(changes={"pooling": "blur"}),
    "tta_flip": Piece(changes={"tta": "flip"}),
    "tta_crops": Piece(changes={"tta": "crops"}),
    "tta_fitted": Piece(changes={"tta_plain": -1.0}, base={"tta": "flip_crops"}),
    "randaugment": Piece(changes={"augment": "randaugment"}),
    "trivialaugment": Piece(changes={"augment": "trivialaugment"}),
    "patience": Piece(changes={"patience": 4}),
    "regression": Piece(changes={"ordinal": "regression"}),
    "cumulative": Piece(changes={"ordinal": "cumulative"}),
}
ORDERED = frozenset({"regression", "cumulative"})
"""Pieces for grades in an order."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training, as its process is told of it."""

    task: str
    store: str
    params: tuple[tuple[str, Any], ...]
    data: Data
    seed: int
    folder: str
    """Where pretrained weights lie, and are put."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    accuracy: float
    """The task's metric of the reported images in per cent, by the best epoch."""
    seconds: float
    """Of CPU time."""


def jobs(
    names: Iterable[str], base: Mapping[str, Any], seed: int, place: Mapping[str, str]
) -> dict[str, tuple[Job, Job]]:
    """For each piece its training off and on with one seed; pieces share what they have in common."""

    def job(piece: Piece, *changes: Mapping[str, Any]) -> Job:
        params = dict(base)
        for change in changes:
            params |= change
        return Job(params=tuple(sorted(params.items())), data=piece.data, seed=seed, **place)

    chosen = {name: PIECES[name] for name in names}
    return {name: (job(p, p.base), job(p, p.base, p.changes)) for name, p in chosen.items()}


def run(job: Job) -> Outcome:
    """Train as the job says, in a process of its own with one thread."""
    import torch

    from trainables.train import train

    torch.set_num_threads(1)
    task = load_task(job.task)
    params = dict(job.params)
    if params.get("pretrained"):
        params["weights"] = str(weights_of(job))
    config = trial_config({**params, "seed": job.seed})
    parts = cut(_opened(job.store), task, job.seed, job.data)
    start = time.process_time()
    with tempfile.TemporaryDirectory(dir=job.folder) as scratch:
        train(task, parts, config, lambda report: True, folder=Path(scratch))
        seconds = time.process_time() - start
        accuracy = score(task, parts.parts["holdout"], Path(scratch) / "holdout.npz")
        if job.data == "old_classes":
            keep_body(Path(scratch, "weights.safetensors"), weights_of(job))
    return Outcome(accuracy=accuracy, seconds=seconds)


def weights_of(job: Job) -> Path:
    """Where the network lies that learned the old classes with the job's seed."""
    return Path(job.folder) / f"old-classes-{job.seed}.safetensors"


def keep_body(file: Path, kept: Path) -> None:
    """The weights of a file without those of the classifier, which fine-tuning begins anew."""
    from safetensors.torch import load_file, save_file

    save_file({name: w for name, w in load_file(file).items() if not name.startswith("head.")}, kept)


@cache
def _opened(folder: str) -> Store:
    return open_store(Path(folder))


def score(task: Task, part: Part, file: Path) -> float:
    """The task's metric of predictions on a part, in per cent."""
    from trainables.predictions import Dense

    assert part.targets is not None
    return 100 * task.metric.fn(Dense.load(file), part.targets[part.rows])


def cut(store: Store, task: Task, seed: int, data: Data) -> Store:
    """The store, all of whose images lie in its training part, with the parts of a seed."""
    whole = store.parts["train"]
    assert whole.targets is not None
    label = whole.targets[:, 0]
    num_classes = task.kind.heads[0].num_classes
    samples = [
        Sample(id=name, path=Path(name), target=(int(k),)) for name, k in zip(whole.ids, label, strict=True)
    ]
    if data in ("old_classes", "new_classes"):
        old = np.random.default_rng(seed).permutation(num_classes)[: num_classes // 2]
        kept = np.isin(label, old) == (data == "old_classes")
        samples = [sample for sample, keep in zip(samples, kept, strict=True) if keep]
    rest, reported = stratified(samples, REPORTED, seed=seed)
    learned, chosen_on = stratified(rest, CHOSEN_ON, seed=seed + 1)
    if data == "long_tail":
        learned = thinned(learned, num_classes, seed=seed)
    row = {name: i for i, name in enumerate(whole.ids)}
    rows = {"train": learned, "valid": chosen_on, "holdout": reported, "test": ()}
    parts = {
        name: dataclasses.replace(
            whole, name=name, rows=np.array(sorted(row[s.id] for s in rows[name]), np.int64)
        )
        for name in PARTS
    }
    return dataclasses.replace(store, folder=Path(), parts=parts)


def thinned(samples: Iterable[Sample], num_classes: int, *, seed: int) -> tuple[Sample, ...]:
    """Of every class a share between 1 and `TAIL`, geometrically, in an order drawn from the seed."""
    rng = np.random.default_rng(seed)
    rank = rng.permutation(num_classes)
    by_class: dict[int, list[Sample]] = {}
    for sample in samples:
        assert sample.target is not None
        by_class.setdefault(sample.target[0], []).append(sample)
    kept: list[Sample] = []
    for k, members in sorted(by_class.items()):
        count = max(1, round(len(members) * TAIL ** (rank[k] / (num_classes - 1))))
        kept += [members[i] for i in rng.permutation(len(members))[:count]]
    return tuple(kept)


def suited(task_name: str) -> list[str]:
    """The pieces that a task can be trained with."""
    ordered = isinstance(load_task(task_name).kind, Ordinal)
    return [name for name in PIECES if ordered or name not in ORDERED]


def measure(task_name: str, folder: Path, asked: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    base = BASES[task_name] | ({} if asked.epochs is None else {"epochs": asked.epochs})
    task = load_task(task_name)
    splits = task.read(asked.data or folder / "data")
    labelled = splits.train + splits.valid + splits.holdout
    store = prepare(
        task, Splits(train=labelled), side=base["image_size"], root=folder / "stores", workers=PROCESSES
    )
    place = {"task": task_name, "store": str(store.folder), "folder": str(folder)}
    pairs = [jobs(names, base, seed, place) for seed in range(asked.seeds)]
    wanted = dict.fromkeys(job for pair in pairs for both in pair.values() for job in both)
    learned_before = [
        Job(params=tuple(sorted(base.items())), data="old_classes", seed=seed, **place)
        for seed in sorted({job.seed for job in wanted if job.data == "new_classes"})
    ]
    run_all(learned_before)
    outcomes = run_all(list(wanted))
    return {
        "name": "craft",
        "task": task_name,
        "metric": task.metric.name,
        "seeds": asked.seeds,
        "base": base,
        "pieces": {
            name: compare([(outcomes[pair[name][0]], outcomes[pair[name][1]]) for pair in pairs])
            | {"changes": dict(PIECES[name].changes), "data": PIECES[name].data}
            for name in names
        },
    }


def run_all(wanted: list[Job]) -> dict[Job, Outcome]:
    """Each job's outcome, a few at a time; progress goes to stderr."""
    outcomes: dict[Job, Outcome] = {}
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, job): job for job in wanted}
        for future in as_completed(futures):
            job = futures[future]
            outcomes[job] = future.result()
            print(
                f"{len(outcomes)}/{len(wanted)}  seed {job.seed}  {outcomes[job].accuracy:5.2f} %  "
                f"{outcomes[job].seconds:5.1f} s",
                file=sys.stderr,
                flush=True,
            )
    return outcomes


def compare(pairs: list[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    """Figures of pairs (off, on): accuracies, their mean difference with its interval, and what it says."""
    from scipy.stats import t  # type: ignore[import-untyped]

    differences = [on.accuracy - off.accuracy for off, on in pairs]
    mean = statistics.mean(differences)
    spread = statistics.stdev(differences) / len(pairs) ** 0.5 * float(t.ppf(0.975, len(pairs) - 1))
    verdict = "tie" if abs(mean) <= spread else "better" if mean > 0 else "worse"
    return {
        "off": statistics.mean(off.accuracy for off, _ in pairs),
        "on": statistics.mean(on.accuracy for _, on in pairs),
        "difference": mean,
        "interval": [mean - spread, mean + spread],
        "verdict": verdict,
        "time": sum(on.seconds for _, on in pairs) / sum(off.seconds for off, _ in pairs),
        "differences": differences,
    }


def table(figures: Mapping[str, Any]) -> str:
    lines = [
        f"{figures['task']}, {figures['seeds']} seeds, {figures['base']['epochs']} epochs; "
        f"{figures['metric']} in %",
        f"{'piece':18}{'off':>7}{'on':>7}{'gain':>7}   {'95 % interval':19}{'':8}{'time':>5}  changes",
    ]
    for name, found in figures["pieces"].items():
        low, high = found["interval"]
        changes = ", ".join(f"{key}={value}" for key, value in found["changes"].items())
        where = "" if found["data"] == "plain" else f" ({found['data'].replace('_', ' ')})"
        lines.append(
            f"{name:18}{found['off']:7.2f}{found['on']:7.2f}{found['difference']:+7.2f}   "
            f"{f'{low:+.2f} to {high:+.2f}':19}{found['verdict']:8}{found['time']:5.2f}  {changes}{where}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=sorted(BASES), default="digits")
    parser.add_argument("--data", type=Path, help="folder of the task's data; the digits are written by us")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--only", default="", help="names of pieces, joined by commas; all without it")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    asked = parser.parse_args()
    names = [name for name in asked.only.split(",") if name] or suited(asked.task)
    if unknown := set(names) - set(PIECES):
        parser.error(f"no such piece: {', '.join(sorted(unknown))}; there are {', '.join(PIECES)}")
    if asked.seeds < 2:
        parser.error("--seeds must be at least 2: an interval needs two differences")
    if asked.task != "digits" and asked.data is None:
        parser.error(f"{asked.task} needs --data, the folder of its pictures")
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(asked.task, Path(scratch), asked, names)
    print(json.dumps(figures) if asked.json else table(figures))


if __name__ == "__main__":
    main()
