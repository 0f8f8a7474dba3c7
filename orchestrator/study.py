"""What to try next: Optuna by ask and tell over a define-by-run space (the only file that imports it)."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from orchestrator.journal import State
from trainables import pretrained
from trainables.config import Scalar, TrialConfig, common_keys, option_keys, trial_config
from trainables.errors import UsageError, unknown
from trainables.task import Direction, Task

optuna.logging.set_verbosity(optuna.logging.WARNING)

Space = Callable[[Any], Mapping[str, Scalar]]
STARTUP_TRIALS = 8
DRAFTS, AGAIN = 64, 256
"""How many configurations a guide has to choose from: new ones of a space, and stopped ones at most."""
MOST_TOLD, BEST_KEPT, LATEST_KEPT = 300, 100, 100
"""Of so many ended trials Optuna goes on with the best and the latest; more take longer."""
MOST_ASKED = 400
"""So it does when it has suggested so many since, of which most run still where there are many slots."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Draft:
    """A configuration that could be tried; `key` is its own within a study."""

    key: int
    config: TrialConfig
    drawn: Mapping[str, Any] = field(default_factory=dict)
    """What the space drew for it; empty of a given candidate."""


class _Fixed:
    """A trial whose named parameters are fixed by the user; the space sees no difference."""

    def __init__(self, trial: optuna.Trial, number: int, fixed: Mapping[str, Scalar]) -> None:
        self._trial = trial
        self._fixed = fixed
        self.number = number

    @property
    def user_attrs(self) -> dict[str, Any]:
        return self._trial.user_attrs

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        if name in self._fixed:
            return self._fixed[name]
        return cast(Scalar, self._trial.suggest_categorical(name, choices))

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        if name in self._fixed:
            return float(self._fixed[name])
        return self._trial.suggest_float(name, low, high, **options)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        if name in self._fixed:
            return int(self._fixed[name])
        return self._trial.suggest_int(name, low, high, **options)


@dataclass
class _Memory:
    """When Optuna is to forget: decided by counts alone, so that it can be foreseen."""

    told: int = 0
    asked_since: int = 0
    told_since: int = 0
    times: int = 0
    """How often it forgot."""

    def full(self, step: str) -> bool:
        """Count a trial that begins (`trial`), before it does, or one that has ended (`end`)."""
        if step == "end":
            self.told, self.told_since = self.told + 1, self.told_since + 1
            full = self.told >= MOST_TOLD and self.told_since >= MOST_TOLD - BEST_KEPT - LATEST_KEPT
        else:
            full = self.asked_since >= MOST_ASKED
            self.asked_since += 1
        if full:
            self.times, self.told_since, self.asked_since = self.times + 1, 0, int(step != "end")
        return full


class Study:
    """Suggests configurations and learns from their scores. Not thread-safe.

    The time of a suggestion does not grow with the search: TPE looks at no more than about `MOST_TOLD` ended
    trials and `MOST_ASKED` running ones. When it was told of so many, or asked for so many, it begins anew,
    under another seed, with the `BEST_KEPT` best and the `LATEST_KEPT` latest of those that ended; a trial
    that runs then is known to it again when it has ended.

    `context` says what the space may adapt to (`trial.user_attrs`): the device and the side of the pictures.
    `defaults` hold unless the space says otherwise; `fixed` holds against it. Where `candidates` are given,
    only they are tried, each once and without a guide in random order; the space is not asked.
    """

    def __init__(
        self,
        space: Space,
        *,
        direction: Direction,
        seed: int,
        defaults: Mapping[str, Scalar],
        fixed: Mapping[str, Scalar],
        context: Mapping[str, Any],
        candidates: Sequence[TrialConfig] | None = None,
    ) -> None:
        self._space = space
        self._defaults = dict(defaults)
        self._fixed = dict(fixed)
        self._context = dict(context)
        self._seed = seed
        self._finite = candidates is not None
        sampler = optuna.samplers.RandomSampler(seed) if self._finite else _tpe(seed)
        self._study = optuna.create_study(direction=direction, sampler=sampler)
        self._begun = 0
        """Trials asked for in all."""
        self._memory, self._foreseen = _Memory(), 0
        """Until it has forgotten `_foreseen` times, trials come as they are given; see `foresee`."""
        self._running: dict[int, optuna.Trial] = {}
        self._asked: dict[int, Draft] = {}
        self._stopped: list[Draft] = []
        self._draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        given = [Draft(key=key, config=config) for key, config in enumerate(candidates or ())]
        self._drafts = [given[i] for i in np.random.default_rng(seed).permutation(len(given))]

    @property
    def exhausted(self) -> bool:
        """Whether no candidate is left to try; a space always has one."""
        return self._finite and not self._drafts and not self._stopped

    def pool(self) -> Sequence[Draft]:
        """What a guide chooses from: candidates not tried, or `DRAFTS` random ones of the space, and stopped
        ones."""
        while not self._finite and len(self._drafts) < DRAFTS:
            trial = self._draws.ask()
            config = self._configure(trial, trial.number)
            self._drafts.append(Draft(key=trial.number, config=config, drawn=trial.params))
        return [*self._drafts, *self._stopped]

    def foresee(self, steps: Iterable[str]) -> None:
        """Before a search is gone through again: the trials that will begin (`trial`) and end (`end`).

        What Optuna suggests depends on no suggestion that it forgot: until it forgets for the last time,
        `ask` takes what was `drawn` instead of having it thought up again.
        """
        ahead = _Memory()
        for step in steps:
            ahead.full(step)
        if ahead.times and not self._finite:
            self._foreseen = ahead.times
            self._study = optuna.create_study(direction=self._study.direction, sampler=self._sampler(0))

    def drawn(self, number: int) -> dict[str, Any]:
        """What the space drew for a running trial; empty of a given candidate."""
        return self._running[number].params

    def ask(
        self, draft: Draft | None = None, *, drawn: Mapping[str, Any] | None = None
    ) -> tuple[int, TrialConfig]:
        """A new trial's number and configuration: a draft of the pool, or without one what Optuna suggests.

        `drawn` is what it suggested in a search that is gone through again; see `foresee`. Raises UsageError
        where the space does not give a valid one.
        """
        if draft is None and self._finite:
            draft = self.pool()[0]
        if self._memory.full("trial") and not self._finite:
            self._forget()
        if drawn and self._memory.times < self._foreseen:
            self._study.enqueue_trial(dict(drawn))
        if draft is not None:
            (self._stopped if draft in self._stopped else self._drafts).remove(draft)
            if draft.drawn:
                self._study.enqueue_trial(dict(draft.drawn))
        trial, number = self._study.ask(), self._begun
        config = draft.config if draft is not None and self._finite else self._configure(trial, number)
        self._begun += 1
        self._running[number] = trial
        if draft is not None:
            self._asked[number] = draft
        return number, config

    def put_back(self, number: int) -> None:
        """The draft of a trial that was stopped may be tried anew, from its first epoch."""
        self._stopped = [*self._stopped, self._asked[number]][-AGAIN:]

    def _configure(self, trial: optuna.Trial, number: int) -> TrialConfig:
        for key, value in self._context.items():
            trial.set_user_attr(key, value)
        suggested = self._space(_Fixed(trial, number, self._fixed))
        return trial_config(self._settled({**self._defaults, **suggested, "seed": self._seed + number}))

    def _settled(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The user's word over the space's, as far as the model has a use for it.

        A model that the space did not think of leaves the space's options for its own models aside.
        """
        model = self._fixed.get("model", params.get("model", ""))
        known = common_keys() | option_keys(str(model))
        kept = params if model == params.get("model") else {k: v for k, v in params.items() if k in known}
        settled = {**kept, **{k: v for k, v in self._fixed.items() if k in known}}
        if not settled.get("pretrained"):
            settled.pop("weights", None)  # a space may mix pretrained networks with others
        return settled

    def report(self, number: int, epoch: int, value: float) -> None:
        """One epoch's validation score, finite."""
        self._running[number].report(value, epoch)

    def tell(self, number: int, state: State, value: float | None) -> None:
        """How a trial ended; a pruned one keeps its rungs, a failed one teaches only its absence."""
        trial = self._running.pop(number)
        told = None if state == "FAIL" else TrialState[state]
        ended = trial.study.tell(trial, value if state == "COMPLETE" else None, told or TrialState.FAIL)
        if trial.study is not self._study and told:
            self._study.add_trial(ended)
        if self._memory.full("end") and not self._finite:
            self._forget()

    def _forget(self) -> None:
        """Go on with the best and the latest trials, in a study of Optuna's that knows no others."""
        direction, ended = self._study.direction, [t for t in self.trials() if t.value is not None]
        best = sorted(ended, key=lambda t: _rank(t, direction))[:BEST_KEPT]
        latest = ended[-LATEST_KEPT:]
        kept = {t.number: t for t in (*best, *latest)}
        self._study = optuna.create_study(direction=direction, sampler=self._sampler(self._begun))
        self._study.add_trials(kept[number] for number in sorted(kept))

    def _sampler(self, begun: int) -> optuna.samplers.BaseSampler:
        seed = self._seed + begun
        return _tpe(seed) if self._memory.times >= self._foreseen else optuna.samplers.RandomSampler(seed)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that Optuna knows, in the order in which it learned of them."""
        return self._study.get_trials(deepcopy=False)

    def describe(self) -> dict[str, str]:
        """Each parameter seen so far and its range or choices, for the plan."""
        found: dict[str, str] = {}
        for trial in self.trials():
            for name, distribution in trial.distributions.items():
                found[name] = _shown(distribution)
        return found


def _rank(trial: optuna.trial.FrozenTrial, direction: optuna.study.StudyDirection) -> tuple[float, ...]:
    """Lowest of the best, as TPE sees it: complete ones first, then who came furthest, then by score."""
    value = trial.value or 0.0
    loss = -value if direction == optuna.study.StudyDirection.MAXIMIZE else value
    complete = trial.state == TrialState.COMPLETE
    return (not complete, 0 if complete else -(trial.last_step or 0), loss)


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS
        )


def sample_space(
    task: Task, space: Space, *, count: int, **options: Any
) -> tuple[list[TrialConfig], dict[str, str]]:
    """Random configurations of the space and its description: what a plan needs to know before it runs.

    Raises UsageError for a space that breaks (naming it), RuleViolation for one against the rules.
    """
    study = Study(space, direction=task.metric.direction, **options)
    configs = []
    for _ in range(count):
        try:
            number, config = study.ask()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                f"The search space {task.space!r} breaks: {type(error).__name__}: {error}",
                fix="A space is a function space(trial) -> dict of parameters.",
            ) from error
        task.rules.check(config)
        pretrained.check(config)
        configs.append(config)
        study.tell(number, "FAIL", None)
    known = {key for config in configs for key in config.params()} | set(study.describe())
    for key in options["fixed"]:
        if key not in known:
            raise unknown("parameter in --set:", key, known)
    return configs, study.describe()


def _shown(distribution: Any) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(str(choice) for choice in distribution.choices)
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return f"{distribution.low:g} .. {distribution.high:g}{' (log)' if distribution.log else ''}"
    return str(distribution)
