"""Whether the dry step is right: what it says of a trial on this GPU, and what several at once do there.

python -m benchmarks.packing [--model NAME] [--size PX] [--batch N] [--images N] [--epochs N]
                             [--at-once 1,2,4] [--cores N] [--device cuda|cpu] [--json]

Images are noise. The dry step's memory is compared with what a trial held, and the trials an hour of every
number at once with those of one: the number that `--gpus-per-trial auto` would choose is marked. Without a
GPU it ends with code 2; `--device cpu` runs the same code on a CPU, to see that it works
(--model test_resnet --size 32 --images 256 --at-once 1,2).
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu import make_config, read_part, report, trials_at_once, write_images
from orchestrator import packing
from orchestrator.preflight import in_child
from trainables import dry_step
from trainables.config import TrialConfig
from trainables.store import Part, Store
from trainables.task import PARTS, load_task


def noise(folder: Path) -> Store:
    """All pictures to learn from, and a few of them to validate on."""
    train = read_part(folder)
    none = Part(name="", ids=(), targets=None, images=train.images[:0])
    few = slice(dry_step.KEPT)
    valid = replace(train, ids=train.ids[few], targets=train.targets[few], images=train.images[few])
    parts = {**dict.fromkeys(PARTS, none), "train": train, "valid": valid}
    return Store(folder=Path(), side=len(train.images[0]), fingerprint="", quarantined=(), parts=parts)


def decided(store: Store, config: TrialConfig, cores: int) -> tuple[dry_step.Footprint, packing.Packing]:
    """What the dry step says of the trial, and how many would share this card."""
    task = load_task("food11")
    found = in_child(dry_step.footprint, task, dry_step.few(store), config, doing="The dry step")
    cards = found.cards[:1] or (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),)
    need = packing.need_of([found], store)
    return found, packing.decide(need, [packing.Node(cpus=cores, cards=cards)], cpus_per_trial=1)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_images(folder, arguments.images, arguments.size * 5 // 4)
    config = make_config(arguments)
    found, chosen = decided(noise(folder), config, arguments.cores)
    together = []
    for count in sorted({*arguments.at_once, 1, chosen.trials}):
        os.environ.pop(packing.VARIABLE, None)
        os.environ.update(packing.environment(1 / count))
        together.append(trials_at_once(folder, config, arguments.epochs, count))
    rates = {row["at_once"]: row["trials_per_hour"] for row in together}
    return {
        "name": "packing",
        "against": "one trial at a time",
        "ratio": rates[chosen.trials] / rates[1],
        "best_ratio": max(rates.values()) / rates[1],
        "chosen": chosen.trials,
        "why": chosen.text,
        "device": found.device,
        "model": config.model,
        "size": config.image_size,
        "batch_size": config.batch_size,
        "busy": found.busy,
        "mib_of_the_dry_step": found.bytes / 2**20,
        "together": together,
    }


def show(figures: dict[str, Any]) -> None:
    print("{model} at {size} px, batch {batch_size}, on {device}: {why}".format(**figures))
    print(f"  dry step {figures['mib_of_the_dry_step']:.0f} MiB")
    print("  trials at once   trials/hour   of one's   MiB a trial")
    first = figures["together"][0]["trials_per_hour"]
    for row in figures["together"]:
        mark = "  auto" if row["at_once"] == figures["chosen"] else ""
        rate = row["trials_per_hour"]
        print(f"  {row['at_once']:14}{rate:14.0f}{rate / first:11.2f}{row['mib_a_trial']:14.0f}{mark}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Whether the dry step is right.")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--at-once", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4])
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(report(parse(), measure, show))
