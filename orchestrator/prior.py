"""Learning curves foretold from a configuration, learned from past searches.

Every past search is brought to one scale: utilities less the mean of its final ones, over their standard
deviation. A forest of extremely randomised trees (Geurts et al., 2006) maps a configuration to its curve on
that scale, at ten points of its epochs, and to the logarithm of its epoch's seconds relative to its search's
mean. What the forest leaves, on searches that it has not seen, gives the covariance of a curve's points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.past import PastSearch
from trainables.config import Scalar

SHARES = np.array([0.02, 0.04, 0.06, 0.1, 0.16, 0.24, 0.36, 0.5, 0.7, 1.0])
"""The points of a curve, as shares of the epochs of its trial."""
TREES, LEAF, FEATURES = 60, 2, 0.4
FOLDS, FOLD_TREES = 4, 20
CARRIED = 0.5
"""Share of the others' gain that a curve which was cut short is thought to have had before it."""
NAMES_A_TRIAL = frozenset({"seed"})


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What the forest says of n configurations."""

    curves: np.ndarray
    """[n, 10], standardised utilities at `SHARES`."""
    log_seconds: np.ndarray
    """[n], of one epoch, relative to the search's mean."""
    leaves: np.ndarray
    """int [n, trees]; configurations that share leaves are alike."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What past searches say before the first trial of a new one."""

    columns: Mapping[str, int]
    forest: Any
    covariance: np.ndarray
    """[10, 10], of a standardised curve around what was foretold."""
    centre: tuple[float, float]
    """Mean and standard deviation, over the searches, of the mean final utility."""
    spread: tuple[float, float]
    """The same of the standard deviation of the final utilities."""

    def outlook(self, configurations: Sequence[Mapping[str, Scalar]]) -> Outlook:
        rows = encode(configurations, self.columns)
        foretold = self.forest.predict(rows)
        return Outlook(
            curves=foretold[:, :-1],
            log_seconds=foretold[:, -1],
            leaves=self.forest.apply(rows).astype(np.int32),
        )


def learn(past: Sequence[PastSearch], *, seed: int) -> Prior:
    """The prior of one or more past searches, none of them empty. Takes seconds for thousands of trials."""
    configurations = [trial.params for search in past for trial in search]
    columns = columns_of(configurations)
    rows = encode(configurations, columns)
    scaled, centres, spreads = [], [], []
    for search in past:
        curves = on_shares(search)
        centre, spread = float(curves[:, -1].mean()), float(curves[:, -1].std()) or 1e-6
        log_seconds = np.log([max(trial.seconds, 1e-6) for trial in search])
        scaled.append(np.column_stack([(curves - centre) / spread, log_seconds - log_seconds.mean()]))
        centres.append(centre)
        spreads.append(spread)
    targets = np.vstack(scaled)
    groups = np.repeat(np.arange(len(past)), [len(search) for search in past])
    left = _unseen_residuals(rows, targets, groups if len(past) > 1 else np.arange(len(rows)), seed=seed)
    width = float(np.mean(spreads))
    return Prior(
        columns=columns,
        forest=_forest(seed).fit(rows, targets),
        covariance=np.cov(left[:, :-1].T),
        centre=(float(np.mean(centres)), float(np.std(centres)) + 0.1 * width),
        spread=(width, float(np.std(spreads)) + 0.1 * width),
    )


def _forest(seed: int, *, trees: int = TREES) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(trees, min_samples_leaf=LEAF, max_features=FEATURES, random_state=seed)


def _unseen_residuals(rows: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray:
    """[n, 11]: the targets less what a forest says that has not seen the row's group."""
    left = np.zeros_like(targets)
    for fold in range(min(FOLDS, int(groups.max()) + 1)):
        out = groups % FOLDS == fold
        forest = _forest(seed, trees=FOLD_TREES).fit(rows[~out], targets[~out])
        left[out] = targets[out] - forest.predict(rows[out])
    return left


def on_shares(search: PastSearch) -> np.ndarray:
    """[n, 10]: the curves of a search at `SHARES`.

    Beyond the end of a curve it is carried on, with a part of what the other trials gained there.
    """
    curves = np.full((len(search), len(SHARES)), np.nan)
    for row, trial in zip(curves, search, strict=True):
        at = np.maximum(1, np.round(SHARES * trial.epochs)).astype(int)
        there = at <= len(trial.curve)
        there[0] = True
        row[there] = np.asarray(trial.curve)[np.minimum(at[there], len(trial.curve)) - 1]
    for column in range(1, len(SHARES)):
        missing = np.isnan(curves[:, column])
        gains = (curves[:, column] - curves[:, column - 1])[~missing]
        carried = CARRIED * gains.mean() if len(gains) else 0.0
        curves[missing, column] = curves[missing, column - 1] + carried
    return curves


def between_shares(shares: np.ndarray) -> np.ndarray:
    """[n, 10]: weights of the points of a curve that interpolate it, in the logarithm, at shares [n]."""
    place = np.interp(np.log(shares), np.log(SHARES), np.arange(len(SHARES)))
    low = np.minimum(place.astype(int), len(SHARES) - 2)
    weights = np.zeros((len(place), len(SHARES)))
    rows = np.arange(len(place))
    weights[rows, low], weights[rows, low + 1] = 1 - (place - low), place - low
    return weights


def columns_of(configurations: Sequence[Mapping[str, Scalar]]) -> dict[str, int]:
    """A column a numeric parameter, and one a value of a parameter that is text; none for a constant."""
    seen: dict[str, set[float]] = {}
    for configuration in configurations:
        for name, value in configuration.items():
            if name not in NAMES_A_TRIAL:
                column, number = _cell(name, value)
                seen.setdefault(column, set()).add(number)
    telling = (name for name, values in seen.items() if "=" in name or len(values) > 1)
    return {name: i for i, name in enumerate(sorted(telling))}


def encode(configurations: Sequence[Mapping[str, Scalar]], columns: Mapping[str, int]) -> np.ndarray:
    """float32 [n, columns]; 0 where a configuration lacks a column, unknown parameters are left out."""
    rows = np.zeros((len(configurations), len(columns)), np.float32)
    for row, configuration in zip(rows, configurations, strict=True):
        for name, value in configuration.items():
            column, number = _cell(name, value)
            if column in columns:
                row[columns[column]] = number
    return rows


def _cell(name: str, value: Scalar) -> tuple[str, float]:
    return (f"{name}={value}", 1.0) if isinstance(value, str) else (name, float(value))
