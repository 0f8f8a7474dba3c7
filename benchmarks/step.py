"""A training step: ours, executed as the probe chooses, and plain float32 with torch.optim.AdamW.

python -m benchmarks.step [--size PX] [--batch N] [--steps N] [--check] [--json]

Both sides train the same network from the same weights on the same batch, in turns; medians. On a CPU it is
one thread's CPU time, which other processes disturb less than the clock on the wall.
--check trains `digits` with five seeds both ways instead, and compares the scores.
"""

import argparse
import copy
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables import execution
from trainables.config import trial_config
from trainables.execution import PLAIN, Execution, Findings, candidates
from trainables.families import load_family
from trainables.kinds.classification import Classification
from trainables.mixing import Targets
from trainables.objective import Objective
from trainables.stepping import Step, choose, probing
from trainables.store import Store, prepare
from trainables.task import Head, load_task
from trainables.train import train

MODELS = {
    "resnet18": "resnet18",
    "efficientnet_b0": "efficientnet_b0",
    "convnext_atto": "convnext_atto",
    "vit_tiny": "vit_tiny_patch16_224",
}
KIND = Classification(heads=(Head(name="label", classes=tuple("abcdefghijk")),))
LONG = 10**5
"""Updates of a trial that affords to time every execution."""
SEEDS = range(5)


def theirs(model: nn.Module, batch: tuple[Tensor, Targets]) -> Callable[[], float]:
    """A plain step: float32, NCHW, AdamW as it comes."""
    optimizer = torch.optim.AdamW(model.parameters())
    x, targets = batch

    def step() -> float:
        loss = nn.functional.cross_entropy(model(x), targets.first[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def compare(name: str, *, size: int, batch_size: int, steps: int) -> dict[str, Any]:
    """Median seconds of a step of both sides, and what ours chose."""
    options = {"model": MODELS[name], "image_size": size, "batch_size": batch_size}
    torch.manual_seed(0)
    config = trial_config(options)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_family(config.model).build(config, KIND.num_outputs(config)).train().to(device)
    batch = (
        torch.randn(batch_size, 3, size, size, device=device),
        Targets(first=torch.randint(0, len(KIND.heads[0].classes), (batch_size, 1), device=device)),
    )
    objective = Objective(KIND, config, batch[1].first)
    tried = candidates(config, model, device)
    chosen = choose(probing(model, objective, config), tried, batch, updates=LONG)
    plain = theirs(copy.deepcopy(model), batch)
    step = Step(model, objective, config, chosen)
    sides: dict[str, Callable[[], float]] = {"ours": lambda: step(*batch)[0].item(), "plain": plain}
    times = in_turns(sides, steps=steps)
    return {**times, "ratio": times["plain"] / times["ours"], "execution": dataclasses.asdict(chosen)}


def in_turns(sides: dict[str, Callable[[], float]], *, steps: int) -> dict[str, float]:
    """Median seconds of each side's call, the first two left out."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(steps + 2):
        for name, side in sides.items():
            start = clock()
            side()
            times[name].append(clock() - start)
    return {name: statistics.median(taken[2:]) for name, taken in times.items()}


def check() -> dict[str, Any]:
    """Test accuracy of small residual networks on the digits, five seeds, plain and as chosen on a CPU."""
    task = load_task("digits")
    scores: dict[str, list[float]] = {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = prepare(task, task.read(folder / "data"), side=8, root=folder / "stores", workers=1)
        fast = Execution(channels_last=True, fused=True, quick_convolutions=True)
        for seed in SEEDS:
            for name, forced in (("plain", PLAIN), ("ours", fast)):
                scores[name].append(digits(store, folder / name / str(seed), forced, seed=seed))
    return {name: {"scores": found, "mean": statistics.mean(found)} for name, found in scores.items()}


def digits(store: Store, folder: Path, forced: Execution, *, seed: int) -> float:
    """Best validation accuracy of one short trial whose execution is given."""
    params = {"model": "convnet", "image_size": 16, "depth": 3, "width": 64, "residual": True, "epochs": 6}
    config = trial_config({**params, "batch_size": 32, "seed": seed, "rotation": 10.0, "amp": "off"})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    Findings(store.folder.parent / execution.FILE, config, device).remember(forced)
    return train(load_task("digits"), store, config, lambda _: True, folder=folder).value


def show(found: dict[str, dict[str, Any]], ratio: float) -> None:
    print(f"{'':18}{'plain ms':>9}{'ours ms':>9}{'ratio':>7}  execution")
    for name, side in found.items():
        used = ", ".join(key for key, value in side["execution"].items() if value is True) or "plain"
        print(f"{name:18}{1e3 * side['plain']:9.0f}{1e3 * side['ours']:9.0f}{side['ratio']:7.2f}  {used}")
    print(f"{'geometric mean':18}{'':18}{ratio:7.2f}")


def show_check(found: dict[str, Any]) -> None:
    for name, side in found.items():
        print(f"{name:6}{side['mean']:7.4f}  {'  '.join(f'{score:.4f}' for score in side['scores'])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        checked = check()
        print(json.dumps({"name": "step_check", **checked})) if arguments.json else show_check(checked)
        return
    sizes = {"size": arguments.size, "batch_size": arguments.batch, "steps": arguments.steps}
    found = {name: compare(name, **sizes) for name in MODELS}
    ratio = statistics.geometric_mean(side["ratio"] for side in found.values())
    against = "float32, NCHW, torch.optim.AdamW"
    figures = {"name": "step", "against": against, "ratio": ratio, **sizes, "models": found}
    print(json.dumps(figures)) if arguments.json else show(found, ratio)


if __name__ == "__main__":
    main()
