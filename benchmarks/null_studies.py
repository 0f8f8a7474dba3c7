"""How often an ablation claims a difference: where there is none, and where there is one.

python -m benchmarks.null_studies [--studies N] [--json]

Simulated studies go through the statistics of the table, `orchestrator.ablation`. In studies of scores each
trial's score is normal, variants of one table beside one base. In studies of images each image is as easy for
one trial as for another, each seed has its own luck, and the score is the share of right images, so that
differences are few, discrete and often equal. A null study claims falsely if any of its rows does.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orchestrator.ablation.images import least_variance
from orchestrator.ablation.statistics import Paired, compare

SEEDS, IMAGES = 5, 250
PLANTED = 2.0
"""Standard deviations of the paired difference."""
MOST_FURTHER = 10

Random = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Study:
    """The trials of a table: of each row its differences to the base, float [rows, seeds]."""

    differences: np.ndarray
    least: tuple[float, ...]

    def rows(self, seeds: int, looks: int = 1) -> list[Paired]:
        return [
            Paired(differences=tuple(map(float, row[:seeds])), least_variance=least, looks=looks)
            for row, least in zip(self.differences, self.least, strict=True)
        ]


def of_scores(random: Random, spreads: tuple[float, ...], *, planted: float, seeds: int = SEEDS) -> Study:
    """Variants whose scores spread so much beside the base's 1; the first one is moved by `planted` sd."""
    scales = np.array(spreads)
    differences = random.normal(size=(len(spreads), seeds)) * scales[:, None] - random.normal(size=seeds)
    differences[0] += planted * math.hypot(scales[0], 1)
    return Study(differences=differences, least=(0.0,) * len(spreads))


def of_images(random: Random, rows: int, *, planted: float) -> Study:
    """Trials that are right on an image as it is easy and as their seed is lucky."""
    ease = random.normal(3.0, 2.5, size=IMAGES)

    def right(moved: float) -> np.ndarray:
        luck = random.normal(0, 0.15, size=(SEEDS, 1))
        return (random.random((SEEDS, IMAGES)) < 1 / (1 + np.exp(-ease - luck - moved))).astype(float)

    base = right(0.0)
    each = [right(planted if i == 0 else 0.0) - base for i in range(rows)]
    return Study(
        differences=np.array([differences.mean(1) for differences in each]),
        least=tuple(least_variance(differences) for differences in each),
    )


def claimed(study: Study) -> bool:
    """Whether any row claims a difference."""
    return any(found.real for found in compare(study.rows(SEEDS)))


def found_first(study: Study) -> bool:
    """Whether the planted one is claimed, and in its own direction."""
    first = compare(study.rows(SEEDS))[0]
    return first.real and (first.mean or 0) > 0


def claimed_in_two_looks(random: Random) -> bool:
    """Of one null row, with the seeds that `--decide` adds where it calls a tie."""
    study = of_scores(random, (1.0,), planted=0.0, seeds=SEEDS + MOST_FURTHER)
    first = compare(study.rows(SEEDS))[0]
    if first.real or first.more is None or first.more > MOST_FURTHER:
        return first.real
    return compare(study.rows(SEEDS + first.more, looks=2))[0].real


def share(count: int, study: Callable[[Random], bool]) -> float:
    """Of so many studies, those of which it holds."""
    random = np.random.default_rng(0)
    return sum(study(random) for _ in range(count)) / count


def rates(count: int) -> dict[str, float]:
    """The share of claims of each kind of study."""
    noisy = (4.0, 1.0, 1.0, 1.0)
    return {
        "null, one row": share(count, lambda r: claimed(of_scores(r, (1.0,), planted=0))),
        "null, four rows": share(count, lambda r: claimed(of_scores(r, (1.0,) * 4, planted=0))),
        "null, four rows, one of four times the spread": share(
            count, lambda r: claimed(of_scores(r, noisy, planted=0))
        ),
        "null, one row of images": share(count, lambda r: claimed(of_images(r, 1, planted=0))),
        "null, four rows of images": share(count, lambda r: claimed(of_images(r, 4, planted=0))),
        "null, one row, more seeds for ties": share(count, claimed_in_two_looks),
        "two sd, one row": share(count, lambda r: found_first(of_scores(r, (1.0,), planted=PLANTED))),
        "two sd, four rows": share(count, lambda r: found_first(of_scores(r, (1.0,) * 4, planted=PLANTED))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = rates(asked.studies)
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<48} {value:6.1%} claimed, of {asked.studies}")


if __name__ == "__main__":
    main()
