"""A search at one moment, as a display shows it: which trials, which parameters, how long still."""

import heapq
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size

from orchestrator.journal import FINISHED, Event, SearchRecord, TrialRecord
from trainables.config import TrialConfig

FEW = 8
"""Below this many scored trials no parameter can be said to explain the score."""
LONGEST = 20
"""Widest value of a parameter, in columns of the terminal."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A copy of the record that the search no longer writes to, and the search's clock when it was made."""

    record: SearchRecord
    at: float
    """Seconds on the journal's clock."""
    seen: float
    """`time.monotonic()` at that moment."""

    @property
    def now(self) -> float:
        """Seconds on the journal's clock by now."""
        return self.at + time.monotonic() - self.seen

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """The scored trials, best first."""
        return self.record.ranked()


def snapshot(record: SearchRecord, event: Event | None = None, *, seen: float | None = None) -> Snapshot:
    """Copy what a display reads, a few microseconds for trials are frozen and shared; any thread may.

    The event is the latest, and `seen` says when it came by `time.monotonic()`: now, if not given.
    """
    copy = SearchRecord(
        asked=record.asked, trials=dict(record.trials), finished=record.finished, finals=record.finals
    )
    seen = time.monotonic() if seen is None else seen
    return Snapshot(record=copy, at=float(event["at"]) if event else 0.0, seen=seen)


def seconds_left(record: SearchRecord, now: float) -> float | None:
    """Seconds until the budget is used up: what is left of the time limit, or of the trials at their mean
    duration over the slots, whichever is less; None while neither is known."""
    limit, trials = record.asked.get("time_limit_s"), record.expected
    bounds = [] if limit is None else [limit - now]
    ended = [t for t in record.trials.values() if t.state != "RUNNING"]
    alike = [t.seconds for t in ended if bool(t.of) == bool(record.finals)]
    if trials is not None and alike:
        mean = sum(alike) / len(alike)
        begun = sum(min(now - t.started, mean) for t in record.trials.values() if t.state == "RUNNING")
        bounds.append(((trials - len(ended)) * mean - begun) / max(record.asked.get("slots") or 1, 1))
    return max(min(bounds), 0.0) if bounds else None


def time_left(record: SearchRecord, now: float) -> list[str]:
    """The time left in words; nothing where it is not known or the search is over."""
    left = seconds_left(record, now)
    return [f"{clock(left)} left"] if left and record.finished is None else []


def epochs_of(record: SearchRecord, trial: TrialRecord) -> int:
    """Epochs that the trial would run if nothing stopped it."""
    return int(trial.params.get("epochs") or record.asked["max_epochs"])


class Shown(NamedTuple):
    """The trials that have a row."""

    running: list[TrialRecord]
    best: list[TrialRecord]
    recent: list[TrialRecord]
    """Neither running nor among the best; what ended last comes first."""
    left_out: int


def choose(current: Snapshot, room: int) -> Shown:
    """Which trials to show in `room` rows: where not all fit, a third is kept for those that ended."""
    record = current.record
    running = [t for t in record.trials.values() if t.state == "RUNNING"]
    best = [t for t in current.ranked if t.state in FINISHED]
    if len(record.trials) > room:
        running = running[: max(room - room // 3, 1)]
        free = max(room - len(running), 0)
        best = best[: free - free // 3]
    placed = {t.trial_id for t in best}
    ended = [t for t in record.trials.values() if t.state != "RUNNING" and t.trial_id not in placed]
    free = max(room - len(running) - len(best), 0)
    recent = heapq.nlargest(free, ended, key=lambda t: t.started + t.seconds)
    return Shown(running, best, recent, len(record.trials) - len(running) - len(best) - len(recent))


def key_parameters(record: SearchRecord) -> list[str]:
    """Names of the parameters that differ between trials; what explains most of the ranking comes first."""
    trials = list(record.trials.values())
    if len(trials) == 1:
        return list(unusual(trials[0].params))
    names = list(dict.fromkeys(name for t in trials for name in t.params))
    names = [n for n in names if n != "seed" and len({t.params.get(n) for t in trials}) > 1]
    return ordered(record.ranked(), names)


def ordered(ranked: Sequence[TrialRecord], names: Sequence[str]) -> list[str]:
    """The names of parameters, those first that explain most of the ranking; few trials explain nothing."""
    if len(ranked) < FEW:
        return list(names)
    return sorted(names, key=lambda n: -round(max(explained([t.params.get(n) for t in ranked]), 0.0), 1))


def unusual(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are not what every trial has by default."""
    usual = {**TrialConfig(model="").params(), "seed": params.get("seed")}
    return {name: value for name, value in params.items() if value != usual.get(name)}


def explained(values: Sequence[Any]) -> float:
    """Share of a ranking explained by one parameter: epsilon squared of the ranks (Kelley 1935), at most 1.

    `values` are the parameter's values from the best trial to the worst; None where a trial has none.
    Numbers of more than four values are cut into thirds.
    """
    groups: dict[Any, list[int]] = {}
    for rank, label in enumerate(_labels(values)):
        groups.setdefault(label, []).append(rank)
    count = len(values)
    if not 1 < len(groups) < count:
        return 0.0
    total = (count**2 - 1) / 12
    means = {label: sum(ranks) / len(ranks) for label, ranks in groups.items()}
    within = sum((rank - means[label]) ** 2 for label, ranks in groups.items() for rank in ranks)
    return 1 - within / (count - len(groups)) / (total * count / (count - 1))


def _labels(values: Sequence[Any]) -> list[Any]:
    numbers = sorted(v for v in values if isinstance(v, int | float) and not isinstance(v, bool))
    if len(set(numbers)) <= 4:
        return list(values)
    low, high = numbers[len(numbers) // 3], numbers[2 * len(numbers) // 3]
    return [(v >= low) + (v >= high) if isinstance(v, int | float) else v for v in values]


def clock(seconds: float) -> str:
    """Seconds as mm:ss, or h:mm:ss from an hour on."""
    whole = max(int(seconds), 0)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes:02}:{whole % 60:02}"


def score(value: float | None) -> str:
    """A score in about six characters."""
    if value is None:
        return ""
    if value and not 0.001 <= abs(value) < 100:
        return f"{value:.3g}" if abs(value) < 0.001 else f"{value:.5g}"
    return f"{value:.4f}"


def short(value: Any) -> str:
    """The value of a parameter, as short as it can be read; a trial without it shows a dot."""
    if value is None:
        return "·"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.3g}".replace("e-0", "e-") if isinstance(value, float) else one_line(str(value))
    return cut(text, LONGEST)


def cut(text: str, width: int) -> str:
    """Text in at most `width` columns of the terminal."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def one_line(text: str) -> str:
    """Text without line breaks and control characters."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def status(record: SearchRecord) -> str:
    """How many trials are where; of the finals, how many are over, once they have begun."""
    states = {"done": "COMPLETE", "running": "RUNNING", "pruned": "PRUNED", "failed": "FAIL"}
    counts = Counter[str](t.state for t in record.trials.values())
    text = "  ".join(f"{counts[state]} {word}" for word, state in states.items())
    if record.finals:
        over = sum(t.state != "RUNNING" for t in record.trials.values() if t.of)
        return f"{text}  finals: {over} of {record.finals}"
    return text if record.expected is None else f"{text}  of {record.expected}"
