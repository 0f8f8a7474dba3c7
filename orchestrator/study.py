"""What to try next: Optuna by ask and tell over a define-by-run space (the only file that imports it)."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from orchestrator.journal import State
from trainables.config import Scalar, TrialConfig, common_keys, option_keys, trial_config
from trainables.errors import UsageError, unknown
from trainables.task import Direction, Task

optuna.logging.set_verbosity(optuna.logging.WARNING)

Space = Callable[[Any], Mapping[str, Scalar]]
STARTUP_TRIALS = 8


class _Fixed:
    """A trial whose named parameters are fixed by the user; the space sees no difference."""

    def __init__(self, trial: optuna.Trial, fixed: Mapping[str, Scalar]) -> None:
        self._trial = trial
        self._fixed = fixed

    @property
    def user_attrs(self) -> dict[str, Any]:
        return self._trial.user_attrs

    @property
    def number(self) -> int:
        return self._trial.number

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


class Study:
    """Suggests configurations and learns from their scores. Not thread-safe.

    `context` says what the space may adapt to (`trial.user_attrs`): the device and the side of the pictures.
    `defaults` hold unless the space says otherwise; `fixed` holds against it.
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
    ) -> None:
        self._space = space
        self._defaults = dict(defaults)
        self._fixed = dict(fixed)
        self._context = dict(context)
        self._seed = seed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS
            )
        self._study = optuna.create_study(direction=direction, sampler=sampler)
        self._running: dict[int, optuna.Trial] = {}

    def ask(self) -> tuple[int, TrialConfig]:
        """A new trial's number and configuration.

        Raises UsageError where the space does not give a valid one.
        """
        trial = self._study.ask()
        for key, value in self._context.items():
            trial.set_user_attr(key, value)
        suggested = self._space(_Fixed(trial, self._fixed))
        params = {**self._defaults, **suggested, "seed": self._seed + trial.number}
        config = trial_config(self._settled(params))
        self._running[trial.number] = trial
        return trial.number, config

    def _settled(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The user's word over the space's, as far as the model has a use for it.

        A model that the space did not think of leaves the space's options for its own models aside.
        """
        model = self._fixed.get("model", params.get("model", ""))
        known = common_keys() | option_keys(str(model))
        kept = params if model == params.get("model") else {k: v for k, v in params.items() if k in known}
        return {**kept, **{k: v for k, v in self._fixed.items() if k in known}}

    def report(self, number: int, epoch: int, value: float) -> None:
        """One epoch's validation score, finite."""
        self._running[number].report(value, epoch)

    def tell(self, number: int, state: State, value: float | None) -> None:
        """How a trial ended; a pruned one keeps its rungs, a failed one teaches only its absence."""
        trial = self._running.pop(number)
        if state == "COMPLETE":
            self._study.tell(trial, value)
        else:
            self._study.tell(trial, state=TrialState.PRUNED if state == "PRUNED" else TrialState.FAIL)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials as Optuna knows them, in the order of their numbers."""
        return self._study.get_trials(deepcopy=False)

    def describe(self) -> dict[str, str]:
        """Each parameter seen so far and its range or choices, for the plan."""
        found: dict[str, str] = {}
        for trial in self.trials():
            for name, distribution in trial.distributions.items():
                found[name] = _shown(distribution)
        return found


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
