"""What a GPU does with the trials it is given: steps alone, steps that are fed, and several trials at once.

python -m benchmarks.gpu [--model NAME] [--size PX] [--batch N] [--images N] [--epochs N]
                         [--at-once 1,2,4,8] [--device cuda|cpu] [--json]

Images are noise, in a store of 1.25 times the size. The fed step is an epoch of a real trial: crop, flip and
colour on the device. Trials at once are processes that share the GPU, timed from the moment when all have
warmed up. Needs torch, timm and kornia alone. Without a GPU it ends with code 2; `--device cpu` runs the same
code on a CPU, to see that it works (--model test_resnet --size 32 --images 256 --at-once 1,2).
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from trainables.config import TrialConfig, trial_config
from trainables.kinds.classification import Classification
from trainables.learn import Learner
from trainables.mixing import Targets
from trainables.store import Part
from trainables.task import Head

CLASSES = 11
KIND = Classification(heads=(Head(name="label", classes=tuple("abcdefghijk")),))
WAIT = 900.0
"""Seconds that a trial waits for the others to be ready."""


def write_images(folder: Path, num_images: int, side: int) -> None:
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (num_images, side, side, 3), dtype=np.uint8))


def read_part(folder: Path) -> Part:
    images = np.load(folder / "images.npy", mmap_mode="r")
    targets = np.arange(len(images), dtype=np.int64)[:, None] % CLASSES
    return Part(name="train", ids=tuple(map(str, range(len(images)))), targets=targets, images=images)


def make_config(arguments: argparse.Namespace) -> TrialConfig:
    """A trial that is long enough for its execution to be probed, of which a few epochs are run."""
    return trial_config(
        {
            "model": arguments.model,
            "image_size": arguments.size,
            "batch_size": arguments.batch,
            "epochs": 1000,
            "flip": True,
            "crop": 0.6,
            "color": 0.4,
        }
    )


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def one_trial(folder: Path, config: TrialConfig, epochs: int) -> dict[str, Any]:
    """Images a second of the step alone and of the fed step, and the share of time that the GPU is busy."""
    learner = Learner(KIND, read_part(folder), config, findings=folder / "execution.json")
    device = learner.device
    learner.learn(1)
    alone, fed = [], []
    for epoch in range(2, 2 + epochs):
        alone.append(seconds_of(lambda: steps_alone(learner), device))
        fed.append(seconds_of(lambda epoch=epoch: learner.learn(epoch), device))  # type: ignore[misc]
    whole = learner.num_updates * config.batch_size
    return {
        "alone_images_per_second": whole / float(np.median(alone)),
        "fed_images_per_second": len(learner.feed) / float(np.median(fed)),
        "busy": busy_share(lambda: learner.learn(2 + epochs), device),
        "execution": repr(learner.step.execution),
        "augment": learner.augment.path,
        "resident": learner.feed.resident,
    }


def steps_alone(learner: Learner) -> None:
    """As many steps as an epoch has, on one augmented batch that lies on the device."""
    learner.model.train()
    rows = learner.feed.rows[: learner.config.batch_size]
    x, targets = learner.augment.batch(learner.feed, rows), Targets(first=learner.feed.targets_of(rows))
    for _ in range(learner.num_updates):
        learner.step(x, targets)


def busy_share(call: Callable[[], object], device: torch.device) -> float:
    """Time in kernels and copies over wall time; on a CPU, the process's share of one core."""
    if device.type == "cpu":
        before = time.process_time()
        wall = seconds_of(call, device)
        return (time.process_time() - before) / wall
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        wall = seconds_of(call, device)
    return float(sum(event.self_device_time_total for event in found.key_averages())) / 1e6 / wall


def trials_at_once(folder: Path, config: TrialConfig, epochs: int, count: int) -> dict[str, Any]:
    """Trials an hour with so many at once, each of so many epochs, and the memory that one holds.

    Raises RuntimeError when one of them fails.
    """
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    trials = [
        context.Process(target=trial, args=(folder, config, epochs, barrier, results)) for _ in range(count)
    ]
    for process in trials:
        process.start()
    for process in trials:
        process.join()
    if any(process.exitcode for process in trials):
        raise RuntimeError(f"A trial of {count} at once failed: {[process.exitcode for process in trials]}.")
    ends = [results.get() for _ in trials]
    wall = max(end["end"] for end in ends) - min(end["start"] for end in ends)
    return {
        "at_once": count,
        "trials_per_hour": 3600 * count / wall,
        "mib_a_trial": max(end["bytes"] for end in ends) / 2**20,
    }


def trial(folder: Path, config: TrialConfig, epochs: int, barrier: Barrier, results: Any) -> None:
    """One of several: it warms up for an epoch, waits for the others, and trains."""
    torch.set_num_threads(1)
    learner = Learner(KIND, read_part(folder), config, findings=folder / "execution.json")
    learner.learn(1)
    wait(learner.device)
    barrier.wait(WAIT)
    start = time.time()
    for epoch in range(2, 2 + epochs):
        learner.learn(epoch)
        learner.answers(learner.feed)
    wait(learner.device)
    results.put({"start": start, "end": time.time(), "bytes": bytes_held(learner.device)})


def bytes_held(device: torch.device) -> int:
    """By this process: what torch reserved on the GPU, its context not counted; on a CPU the largest RSS."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_images(folder, arguments.images, arguments.size * 5 // 4)
    config = make_config(arguments)
    figures = one_trial(folder, config, arguments.epochs)
    if arguments.device == "cuda":
        torch.cuda.empty_cache()
    together = [trials_at_once(folder, config, arguments.epochs, n) for n in arguments.at_once]
    rates = [row["trials_per_hour"] for row in together]
    return {
        "name": "gpu",
        "against": "the step alone; trials one after another",
        "ratio": figures["fed_images_per_second"] / figures["alone_images_per_second"],
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "model": config.model,
        "size": config.image_size,
        "batch_size": config.batch_size,
        **figures,
        "together": together,
        "together_ratio": max(rates) / rates[0],
    }


def show(figures: dict[str, Any]) -> None:
    print("{model} at {size} px, batch {batch_size}, on {device}".format(**figures))
    print(f"  step alone   {figures['alone_images_per_second']:9.0f} images/s")
    print(f"  fed step     {figures['fed_images_per_second']:9.0f} images/s   {figures['ratio']:.2f} of it")
    print(f"  busy         {figures['busy']:9.0%}")
    print(f"  {figures['execution']}")
    print("  trials at once   trials/hour   MiB a trial")
    for row in figures["together"]:
        print(f"  {row['at_once']:14}{row['trials_per_hour']:14.0f}{row['mib_a_trial']:14.0f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a GPU does with the trials it is given.")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--at-once", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4, 8]
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def report(
    arguments: argparse.Namespace,
    measure: Callable[[argparse.Namespace, Path], dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
) -> int:
    """Measure on the device that was asked for and print it; exit code 2 where it is not here."""
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        print("No GPU is here: nothing was measured. --device cpu only shows that it runs.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(arguments, Path(scratch))
    print(json.dumps(figures)) if arguments.json else show(figures)
    return 0


if __name__ == "__main__":
    sys.exit(report(parse(), measure, show))
