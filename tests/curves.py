"""Made learning curves, as recorded sets and as past searches."""

from pathlib import Path

import numpy as np

RUNS, EPOCHS = 24, 10
NAMES = ("lr", "cat:model:big", "depth")


def made_set(seed: int) -> dict[str, np.ndarray]:
    """Runs whose final accuracy follows from `lr` and a slow, better model, on a scale of the set's own."""
    random = np.random.default_rng(seed)
    params = np.column_stack(
        [random.uniform(0, 1, RUNS), random.integers(0, 2, RUNS), random.integers(1, 5, RUNS)]
    )
    final = random.uniform(60, 80) + 15 * params[:, 1] - 40 * (params[:, 0] - 0.5) ** 2
    rise = 1 - np.exp(-np.arange(1, EPOCHS + 1) / 3)
    accuracy = final[:, None] * rise + random.normal(0, 0.2, (RUNS, EPOCHS))
    seconds = np.tile((1 + 2 * params[:, 1])[:, None], EPOCHS) * random.uniform(5, 50)
    accuracy[0, 1:] = seconds[0, 1:] = np.nan  # censored
    accuracy[1, 6:] = seconds[1, 6:] = np.nan  # ends early
    return {
        "accuracy": accuracy.astype(np.float32),
        "seconds": seconds.astype(np.float32),
        "params": params,
        "names": np.array(NAMES),
    }


def made_sets(folder: Path, count: int) -> Path:
    """A folder of recorded sets."""
    folder.mkdir()
    for seed in range(count):
        np.savez(folder / f"made{seed}.npz", **made_set(seed))  # type: ignore[arg-type]
    return folder
