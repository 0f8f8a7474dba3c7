"""The finals: which of a search's configurations are trained once more, under which seeds and how long.

A search tries many configurations for a short while; what wins are a few of them, trained longer, together.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from orchestrator.journal import FINISHED, SearchRecord, TrialRecord
from trainables.config import WHOLE, TrialConfig, trial_config
from trainables.errors import UsageError
from trainables.task import Metric

SEARCH_SHARE = 0.25
"""Of the time, for the search proper; the finals have the rest."""
GRACE = 0.1
"""Of the time: what a trial of the search may still need for it to go on beside the finals."""
CONFIGURATIONS = 3
"""How many configurations are trained again, at most, where there are not more slots than that."""
SEEDS = 2
"""Of each configuration, where nobody says how many."""
LONGEST = 4.0
"""A final runs at most so many times the epochs of the trial that it is of. As many are trained as fit at the
trial's own length, and what the time holds beyond that makes them longer. Of a trial that was no better on
what it is taught than in validation as many as fit at this length: it is yet to learn, and longer training is
worth more than further seeds; but a round that does not quite fit is trained too, and all are shorter."""
SPARE = 0.75
"""A training in the time that is left is no shorter than so much of the first of its configuration: the mean
of four food networks had a log loss of 1.745 on the holdout, and of 1.755 with two of half the length too."""
IDLE = 0.1
"""Of a round of finals: time that is left unused rather than filled with a further round of shorter ones."""
ALIKE = 0.1
"""Gower distance below which two configurations are one."""
MARGIN = 0.92
"""Of the time, what is planned with: epochs are not all equally quick."""
SEED_STEP = 1000
FEWEST_SECONDS = 1.0
LATEST = 100
"""Of so many trials that ran to their end is taken what is around the epochs."""


FinalOn = Literal["auto", "train", "train+valid"]
"""On what finals are trained. `auto`: the first seed of a configuration on train, which validates it and says
how long it is good for; its other seeds so long on train and valid."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user says of the finals; None leaves it to the plan."""

    seeds: int | None = None
    epochs: int | None = None
    folds: int = 0
    on: FinalOn = "auto"


@dataclass(frozen=True, kw_only=True)
class Finals:
    """What is trained once more after the search, as decided."""

    seeds: int
    """Trainings of each configuration, under as many seeds."""
    configurations: int = CONFIGURATIONS
    epochs: int | None = None
    """Of each; None leaves it to the time that there is."""
    folds: int = 0
    """Each is trained as so many folds of train and valid, or, where it is 1, on all of both; see
    `trainables.folding`."""
    growth: float = 1.0
    """Training images of a final, relative to a trial of the search; of those on train and valid where only
    some are."""
    pooled: bool = False
    """Whether all seeds but the first are trained on train and valid, as long as the first was."""
    spare: int = 0
    """Further trainings, at most, where time is left when all planned ones are over."""

    @property
    def parts(self) -> int:
        """Trainings that make one member of the ensemble."""
        return max(self.folds, 1)

    @property
    def most(self) -> int:
        """How many trainings there are at most."""
        return self.configurations * self.seeds * self.parts

    @property
    def longest(self) -> float:
        """A final without validation must not run longer than it was found to be good for."""
        return 1.0 if self.folds == WHOLE else LONGEST

    def of_turn(self, turn: int) -> "Finals":
        """What holds for the trainings under a seed, counted from 0."""
        if not self.pooled:
            return self
        if turn == 0:  # the others take longer: what is between lets all of them run about as many epochs
            return replace(self, pooled=False, growth=(1 + self.growth) / 2)
        return replace(self, pooled=False, folds=WHOLE)

    @property
    def text(self) -> str:
        """What is done, for the plan."""
        how = {0: "", WHOLE: ", on train and valid"}.get(self.folds, f", each as {self.folds} folds")
        length = f"{self.epochs} epochs" if self.epochs else f"up to {self.longest:g} times as long"
        how = "; the second seed on train and valid" if self.pooled else how
        return (
            f"up to {self.configurations} of the best configurations again, "
            f"{self.seeds} seed{'s' * (self.seeds > 1)} each, {length}{how}"
        )


def finals_for(wanted: Wanted, *, slots: int, timed: bool, images: Mapping[str, int]) -> Finals | None:
    """The finals of a search, with work for every slot; None where there are none.

    Without a number of seeds a search that is bound by time has them, and one bound by trials only where
    something else is said of its finals. Raises UsageError for wishes that contradict each other.
    """
    folds = WHOLE if wanted.on == "train+valid" else wanted.folds
    _check(wanted, images)
    seeds = wanted.seeds
    if seeds is None:
        seeds = (1 if wanted.folds else SEEDS) if timed or wanted.epochs or folds else 0
    if not seeds:
        return None
    pooled = wanted.on == "auto" and not folds and seeds > 1
    share = (folds - 1) / folds if folds > 1 else 1.0
    shown = share * (images["train"] + images["valid"])
    return Finals(
        seeds=seeds,
        configurations=max(CONFIGURATIONS, math.ceil(slots / (seeds * max(folds, 1)))),
        epochs=wanted.epochs,
        folds=folds,
        growth=shown / images["train"] if folds or pooled else 1.0,
        pooled=pooled,
        spare=CONFIGURATIONS * SEEDS
        if wanted.seeds is None and timed and not folds and not wanted.epochs
        else 0,
    )


def _check(wanted: Wanted, images: Mapping[str, int]) -> None:
    if wanted.folds and wanted.on == "train+valid":
        raise UsageError(
            "--folds validates on train and valid in turn, --final-on train+valid on nothing.",
            fix="Leave one of the two out.",
        )
    if wanted.folds == 1 or wanted.folds > min(100, images["train"] + images["valid"]):
        raise UsageError(f"--folds {wanted.folds} is not possible.", fix="Ask for 2 to 100, 5 for example.")
    if wanted.seeds == 0 and (wanted.folds or wanted.epochs or wanted.on != "auto"):
        raise UsageError("--final 0 wants no finals, and how to train them is given.", fix="Leave one out.")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast the configuration of a trial is trained."""

    epochs: int
    """Of the trial, if nothing had stopped it."""
    seconds: float
    """Of an epoch."""
    around: float
    """Seconds of all that is no epoch: the start, the predictions of the best one."""

    def takes(self, epochs: float, growth: float) -> float:
        """Seconds of a training of so many epochs on `growth` times the images."""
        return self.around + epochs * self.seconds * growth

    def fits(self, seconds: float, growth: float) -> int:
        """Epochs of a training on `growth` times the images that is over after so many seconds."""
        return int((seconds - self.around) / (self.seconds * growth))


def pace_of(trial: TrialRecord, record: SearchRecord) -> Pace:
    """As the reports tell.

    A first epoch, which also warms up, and those that train the classifier alone count only where there are
    no others. What is around the epochs is taken from the latest trials that ran to their end: a slot's first
    one also waited for the slot.
    """
    rows = [max(float(row["seconds"]), 1e-3) for row in trial.reports]
    quick = max(1, int(trial.params.get("head_epochs", 0)))
    seconds = statistics.fmean(rows[quick:] or rows)
    ended = (other for other in reversed(record.trials.values()) if other.state == "COMPLETE")
    around = [_around(other) for other in islice(ended, LATEST)]
    return Pace(
        epochs=int(trial.params["epochs"]),
        seconds=seconds,
        around=max(statistics.median_low(around) if around else 2 * seconds, FEWEST_SECONDS),
    )


def fitting_epochs(record: SearchRecord, model: str, *, seconds: float) -> int | None:
    """Epochs that `seconds` hold, by the slowest of the model's latest trials; None where none is known."""
    if math.isinf(seconds):
        return None
    alike = (t for t in reversed(record.trials.values()) if t.reports and t.params["model"] == model)
    fitting = [pace_of(trial, record).fits(MARGIN * seconds, 1.0) for trial in islice(alike, 3)]
    return min(fitting, default=None)


def _around(trial: TrialRecord) -> float:
    return trial.seconds - math.fsum(float(row["seconds"]) for row in trial.reports)


def stretch_of(trial: TrialRecord, metric: Metric) -> float:
    """How many times the trial's epochs its finals are meant to run, at least.

    Training scores are of augmented and mixed pictures, so they reach those of validation only late. Dense
    kinds do not measure them: their views are random crops, of which few epochs are seldom enough.
    """
    best = next((row for row in trial.reports if row["epoch"] == trial.best_epoch), None)
    if best is None:
        return 1.0
    if best.get("train_metric") is None:
        return LONGEST
    learned, validated = (metric.utility(best[f"{part}_metric"]) for part in ("train", "valid"))
    return LONGEST if learned <= validated else 1.0


def how_many(finals: Finals, pace: Pace, *, seconds: float, slots: int, stretch: float = 1.0) -> int:
    """Trainings that `seconds` hold on so many slots, in whole rounds or groups of folds, or 0.

    Each is to run about `stretch` times as long as the trial that it is of, where the time holds at least a
    round of these. A final shorter than its trial would be worth less than going on with the search.
    """
    if math.isinf(seconds):
        return finals.most
    usable, parts = MARGIN * seconds, finals.parts
    shortest = pace.takes(min(pace.epochs, finals.epochs or pace.epochs), finals.growth)
    if usable < math.ceil(parts / slots) * shortest:
        return 0
    each = pace.takes(finals.epochs or stretch * pace.epochs, finals.growth)
    # beyond a whole number of rounds all get shorter: further members are worth more than the end of a
    # stretch, and nothing would use the rest of the time
    rest = 1 - IDLE if stretch > 1 else 0.0
    if parts == 1:
        whole = slots * int(usable / each + rest)
    else:
        whole = parts * int(usable * slots / (parts * each) + rest)
    return min(finals.most, max(whole, slots if parts == 1 else parts))


def epochs_for(finals: Finals, pace: Pace, *, seconds: float, left: int, slots: int) -> int:
    """Epochs of the next final where `left` of them, this one included, share `seconds` on the slots."""
    if math.isinf(seconds):
        return finals.epochs or pace.epochs
    longest = finals.epochs or round(finals.longest * pace.epochs)
    rounds = math.ceil(left / slots)
    return max(1, min(longest, pace.fits(MARGIN * seconds / rounds, finals.growth)))


def finalists(record: SearchRecord, count: int, chosen: Sequence[TrialRecord] = ()) -> list[TrialRecord]:
    """Those chosen, and up to `count` in all the best other trials whose configurations are unlike theirs.

    Only the best third of the trials that are over is looked at: another seed of a good configuration is
    worth more than a mediocre one.
    """
    searched = [t for t in record.ranked() if t.state in FINISHED and t.reports and not t.of]
    spans = _spans(searched)
    found = list(chosen)
    for trial in searched[: math.ceil(len(searched) / 3)]:
        if len(found) >= count:
            break
        if all(distance(trial.params, other.params, spans) >= ALIKE for other in found):
            found.append(trial)
    return found


def _spans(trials: Sequence[TrialRecord]) -> dict[str, float]:
    """The parameters that differ between trials, with the range of the numbers and 0 for all others."""
    names = dict.fromkeys(name for trial in trials for name in trial.params if name != "seed")
    spans = {}
    for name in names:
        values = {trial.params.get(name) for trial in trials}
        if len(values) > 1:
            numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
            spans[name] = max(numbers) - min(numbers) if len(numbers) == len(values) else 0.0
    return spans


def distance(params: Mapping[str, Any], other: Mapping[str, Any], spans: Mapping[str, float]) -> float:
    """Mean difference over the parameters of `spans`: of numbers relative to their range, else 0 or 1.

    Gower, "A general coefficient of similarity and some of its properties", Biometrics 1971.
    """
    parts = [
        abs(params[name] - other[name]) / span if span else float(params.get(name) != other.get(name))
        for name, span in spans.items()
    ]
    return math.fsum(parts) / len(parts) if parts else 0.0


def configuration(finals: Finals, trial: TrialRecord, *, epochs: int, turn: int, fold: int) -> TrialConfig:
    """The trial's configuration for so many epochs under the seed of this turn, counted from 0.

    `trial` is that of the search, or the final that found how long to train. Its patience goes: the length is
    what the time was measured for, and the best epoch is kept anyway. Where there is nothing to validate on,
    the last one is: the end of a schedule, which is worth more than the luck of a best epoch.
    """
    config = trial_config(trial.params)
    seed = config.seed % SEED_STEP + SEED_STEP * (turn + 1)
    changed = replace(config, epochs=epochs, patience=0, seed=seed, folds=finals.folds, fold=fold)
    if finals.folds != WHOLE:
        return changed
    return replace(changed, tta_plain=0.5 if config.tta_plain < 0 else config.tta_plain)
