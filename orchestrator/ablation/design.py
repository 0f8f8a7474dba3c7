"""The rows of an ablation table: the base, and what differs from it in one factor, in pairs, or in all."""

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.ablation.factors import Factor
from orchestrator.journal import FINISHED, SearchRecord
from orchestrator.snapshot import short
from trainables.config import Scalar, TrialConfig, trial_config
from trainables.errors import UsageError

Design = Literal["one", "pairwise", "grid"]
BASE = "base"
MOST_ROWS = 400
SGD_RATE, LION_RATE = 25.0, 0.2
"""Learning rates of SGD with momentum and of Lion relative to the Adam family's, where neither a search nor a
space knows better: a rule of thumb (0.05 beside 0.002; of Lion a fifth, as Chen et al., 2023, advise)."""
DECOUPLED = ("adamw", "nadamw", "lion")
DECAY = 25.0
"""Decoupled weight decay relative to one that is part of the gradient."""
KIN = {"adam": "adamw", "adamw": "adam", "nadamw": "adamw"}
"""Which optimizer's rate another one may take; of the decay see `DECAY`."""
_SPEED = {"sgd": SGD_RATE, "lion": LION_RATE}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table."""

    name: str
    """`base`, or what is changed: `optimizer=sgd, norm=none`."""
    params: Mapping[str, Scalar]
    """The configuration in its flat form; its seed is the one of each trial."""

    def config(self, seed: int) -> TrialConfig:
        """What is trained under a seed."""
        return trial_config({**self.params, "seed": seed})


@dataclass(frozen=True)
class Rate:
    """What belongs to an optimizer, and how that is known."""

    changes: Mapping[str, Scalar]
    why: str


Rates = Callable[[str], Rate]
"""The learning rate and weight decay of an optimizer."""


def rows_of(base: TrialConfig, factors: Sequence[Factor], design: Design, rates: Rates) -> list[Row]:
    """The base first. Raises UsageError for a value that cannot be, and for more rows than anybody reads."""
    levels = [[(factor.key, value) for value in factor.values] for factor in factors]
    changed: list[tuple[tuple[str, Scalar], ...]] = [(level,) for found in levels for level in found]
    if design == "pairwise":
        pairs = itertools.combinations(levels, 2)
        changed += [pair for one, other in pairs for pair in itertools.product(one, other)]
    elif design == "grid":
        every = itertools.product(*([None, *found] for found in levels))
        changed = [tuple(level for level in combined if level) for combined in every][1:]
    if len(changed) > MOST_ROWS:
        raise UsageError(f"The design has {len(changed) + 1} rows.", fix="Choose fewer factors or values.")
    return [Row(name=BASE, params=base.params()), *(_row(base, change, rates) for change in changed)]


def _row(base: TrialConfig, changes: Sequence[tuple[str, Scalar]], rates: Rates) -> Row:
    params = base.params()
    for key, value in changes:
        params[key] = value
        if key == "optimizer":
            params.update(rates(str(value)).changes)
    name = ", ".join(f"{key}={short(value)}" for key, value in changes)
    return Row(name=name, params=trial_config(params).params())


def rates_from(
    base: TrialConfig, record: SearchRecord | None, sampled: Sequence[TrialConfig]
) -> dict[str, Rate]:
    """The rates of the optimizers that a search tried, or its space draws; see `rate_of` for all others.

    An optimizer with another one's learning rate would be a straw man. Of a search those of its best trial
    with the optimizer count, of a space the middle of what it draws.
    """
    found: dict[str, Rate] = {}
    alike = [config for config in sampled if config.model == base.model] or list(sampled)
    for config in alike:
        same = [other for other in alike if other.optimizer == config.optimizer]
        found.setdefault(
            config.optimizer,
            Rate(
                {
                    "lr": statistics.geometric_mean([other.lr for other in same]),
                    "weight_decay": _middle([other.weight_decay for other in same]),
                },
                "the middle of what the space draws for it",
            ),
        )
    if len(found) == 1:
        found = {}  # the space holds it fixed, and knows nothing of others
    for trial in reversed(record.ranked() if record else []):
        if trial.state in FINISHED and trial.params.get("model") == base.model:
            taken = {key: trial.params[key] for key in ("lr", "weight_decay") if key in trial.params}
            why = f"of trial {trial.trial_id}, the best with it"
            found[str(trial.params["optimizer"])] = Rate(taken, why)
    return found


def rate_of(optimizer: str, base: TrialConfig, known: Mapping[str, Rate]) -> Rate:
    """The known rate of an optimizer, else that of its kin, else by rule of thumb from the base's."""
    if optimizer == base.optimizer:
        return Rate({}, "the base's")
    if optimizer in known:
        return known[optimizer]
    kin = KIN.get(optimizer, "")
    if kin in known and kin != base.optimizer:
        lr, decay = (float(known[kin].changes[key]) for key in ("lr", "weight_decay"))
        decay *= _decay(optimizer) / _decay(kin)
        return Rate({"lr": lr, "weight_decay": decay}, f"as {kin}'s, {known[kin].why}")
    lr = base.lr * _SPEED.get(optimizer, 1.0) / _SPEED.get(base.optimizer, 1.0)
    decay = base.weight_decay * _decay(optimizer) / _decay(base.optimizer)
    return Rate({"lr": lr, "weight_decay": decay}, f"by rule of thumb from {base.optimizer}'s")


def _decay(optimizer: str) -> float:
    return DECAY if optimizer in DECOUPLED else 1.0


def _middle(values: Sequence[float]) -> float:
    return statistics.geometric_mean(values) if min(values) > 0 else statistics.median(values)


def rate_notes(rows: Sequence[Row], rate: Rates) -> list[str]:
    """Which learning rate each other optimizer gets, and why."""
    base, seen = rows[0], dict[str, Row]()
    for row in rows[1:]:
        if row.params["optimizer"] != base.params["optimizer"]:
            seen.setdefault(str(row.params["optimizer"]), row)
    return [
        f"{name}: lr {short(row.params['lr'])}, weight decay {short(row.params['weight_decay'])}, "
        f"{rate(name).why} (the base: {base.params['optimizer']}, lr {short(base.params['lr'])}, "
        f"weight decay {short(base.params['weight_decay'])})."
        for name, row in seen.items()
    ]
