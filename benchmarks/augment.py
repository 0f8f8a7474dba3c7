"""The standard augmentation recipe on one batch: ours, and kornia's AugmentationSequential.

python -m benchmarks.augment [--rounds N] [--json]

64 images of 128 px, on one thread: random resized crop, flip, rotation, shift, colour jitter, normalisation
and erasing with the same settings. Rounds alternate; medians of CPU time. What both do to the images is
compared over all rounds; `tests/test_same_statistics.py` compares them operation by operation.
"""

import argparse
import json
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.photos import make_photo
from trainables.augment import Augment, Path
from trainables.config import TrialConfig

BATCH, SIZE = 64, 128
RECIPE = TrialConfig(
    model="convnet",
    image_size=SIZE,
    crop=0.5,
    flip=True,
    rotation=15.0,
    translate=0.05,
    color=0.4,
    erasing=0.25,
)


@dataclass
class Side:
    """One path: CPU-seconds of each batch, and what its views looked like."""

    augment: Augment
    seconds: list[float] = field(default_factory=list)
    looks: list[dict[str, float]] = field(default_factory=list)

    def round(self, images: Tensor) -> None:
        start = time.process_time()
        views = self.augment(images)
        self.seconds.append(time.process_time() - start)
        self.looks.append(look(views))

    def mean_look(self) -> dict[str, float]:
        return {key: statistics.mean(one[key] for one in self.looks) for key in self.looks[0]}


def look(views: Tensor) -> dict[str, float]:
    """Figures of views [B, 3, H, W]: of all pixels, of the images' own means, and the erased share."""
    erased = (views == 0).all(1, keepdim=True)
    edges = (views[..., 1:] - views[..., :-1]).abs()
    return {
        "mean": float(views.mean()),
        "std": float(views.std()),
        "std_of_image_means": float(views.mean((1, 2, 3)).std()),
        "mean_edge": float(edges.mean()),
        "erased_share": float(erased.float().mean()),
    }


def photos() -> Tensor:
    """uint8 [64, 3, 128, 128] in channels-last memory, as the store gives them."""
    rng = np.random.default_rng(0)
    shapes = ("circles", "boxes")
    pixels = [np.asarray(make_photo(rng, shapes[k % 2]).resize((SIZE, SIZE))) for k in range(BATCH)]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)


def measure(rounds: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = photos()
    paths: tuple[Path, Path] = ("fused", "kornia")
    ours, theirs = (Side(Augment(RECIPE, torch.Generator().manual_seed(0), path=path)) for path in paths)
    for side in (ours, theirs):
        side.augment(images)
    for _ in range(rounds):
        ours.round(images)
        theirs.round(images)
    our, their = statistics.median(ours.seconds), statistics.median(theirs.seconds)
    return {
        "name": "augment",
        "against": "kornia AugmentationSequential",
        "ratio": their / our,
        "ms_a_batch": 1000 * our,
        "against_ms_a_batch": 1000 * their,
        "looks": ours.mean_look(),
        "against_looks": theirs.mean_look(),
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"CPU-ms for {BATCH} images of {SIZE} px, {figures['rounds']} rounds, medians")
    print(f"  ours                           {figures['ms_a_batch']:6.1f}")
    print(f"  kornia AugmentationSequential  {figures['against_ms_a_batch']:6.1f}", end="")
    print(f"   {figures['ratio']:.1f} times ours")
    print("what the views look like        ours   kornia")
    for key, value in figures["looks"].items():
        print(f"  {key:25} {value:9.3f} {figures['against_looks'][key]:8.3f}")


if __name__ == "__main__":
    main()
