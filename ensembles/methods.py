"""Ways to choose the weights of an ensemble, one public function a method, the simplest first.

A method gets the number of members, which come best first, and a utility that says how good a blend of
them is on the data it may be fitted to, greater being better. It answers the blend. A function of these
two parameters defined here is a method under its own name; nothing else is to be done.
"""

import inspect
import math
import sys
from collections.abc import Callable

import numpy as np

from ensembles.merging import Blend
from trainables.errors import unknown

Utility = Callable[[Blend], float]
Method = Callable[[int, Utility], Blend]

MEANS = ("prob_mean", "logit_sum")
"""Methods that give every member one weight, whatever the utility says, and keep how sure each is."""
UNFITTED = (*MEANS, "vote")
"""All that give every member one weight."""
TIE = 1e-6
"""Utilities that differ by less are equal: twins must not both enter for the sake of rounding."""
ROUNDS = 25
"""Draws of `greedy`, at most."""
PATIENCE = 8
"""Draws without a better blend after which `greedy` ends."""
LIBRARY = 50
"""Members that `greedy` considers, the best ones."""


def best_single(members: int, utility: Utility) -> Blend:
    """The best member alone."""
    return Blend("prob", (1.0, *(0.0,) * (members - 1)))


def prob_mean(members: int, utility: Utility) -> Blend:
    """The mean of the probabilities."""
    return Blend("prob", (1.0,) * members)


def logit_sum(members: int, utility: Utility) -> Blend:
    """The sum of the logits."""
    return Blend("logit", (1.0,) * members)


def vote(members: int, utility: Utility) -> Blend:
    """The majority, ties broken by the summed probability."""
    return Blend("vote", (1.0,) * members)


def greedy(members: int, utility: Utility) -> Blend:
    """Forward selection with replacement: draw, again and again, the member that helps most.

    Keeps the best prefix of the draws, so that it is never worse than any single member it considers on
    the data it is fitted to. Among equals a member drawn before comes first, then the better one.
    Caruana et al., "Ensemble selection from libraries of models", ICML 2004; that only the best members
    are considered is from "Getting the most out of ensemble selection", ICDM 2006.
    """
    counts = [0] * members
    best, best_counts = -np.inf, [1, *counts[1:]]
    known: dict[tuple[int, ...], float] = {}
    for _ in range(ROUNDS):
        member, value = _next_draw(counts, utility, known)
        counts[member] += 1
        if value > best + TIE:
            best, best_counts = value, list(counts)
        elif sum(counts) - sum(best_counts) >= PATIENCE:
            break
    return Blend("prob", tuple(map(float, best_counts)))


def _next_draw(counts: list[int], utility: Utility, known: dict[tuple[int, ...], float]) -> tuple[int, float]:
    """The member whose draw makes the best blend, and the utility of that blend.

    `known` keeps utilities by the counts in lowest terms: (2, 0) is the same blend as (1, 0).
    """
    values = []
    for member in range(min(len(counts), LIBRARY)):
        drawn = [count + (i == member) for i, count in enumerate(counts)]
        lowest = tuple(count // math.gcd(*drawn) for count in drawn)
        if lowest not in known:
            known[lowest] = utility(Blend("prob", tuple(map(float, lowest))))
        values.append(known[lowest])
    equals = np.flatnonzero(np.array(values) >= max(values) - TIE)
    member = int(min(equals, key=lambda i: (counts[i] == 0, i)))
    return member, values[member]


def known_methods() -> list[str]:
    """Names of the methods, the simplest first."""
    return [
        name
        for name, value in vars(sys.modules[__name__]).items()
        if inspect.isfunction(value)
        and name[0] != "_"
        and list(inspect.signature(value).parameters) == ["members", "utility"]
    ]


def load_method(name: str) -> Method:
    """The method of that name; raises UsageError with the nearest one for an unknown name."""
    if name not in known_methods():
        raise unknown("ensemble method", name, known_methods())
    method: Method = getattr(sys.modules[__name__], name)
    return method
