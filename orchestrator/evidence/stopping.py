"""The early stops in words and tables, with advice on the grace period."""

from orchestrator.evidence.content import Block, Table, Text
from orchestrator.evidence.stops import LOOSE, STEADY, WRONG, Rung, Stops
from orchestrator.evidence.tried import counted, tried
from orchestrator.journal import SearchRecord
from orchestrator.picks import Correlation
from orchestrator.snapshot import clock, score

SHOWN = 8
VAGUE = 0.8
"""Width of 90 % of the draws of a rank correlation from which it says nothing, if it may be high."""
RISKY = 0.5
"""Probability of having missed a better trial from which a later comparison is advised."""


def blocks(found: Stops, record: SearchRecord) -> list[Block]:
    """What the rungs say of the end, which stops were probably wrong, and when to compare first."""
    made: list[Block] = [Text(_summary(found))]
    if found.rungs:
        made.append(_rung_table(found))
    if found.stops:
        made += [_stop_table(found), Text(advice(found, record))]
    return made


def _summary(found: Stops) -> str:
    if found.why_not:
        return f"Whether early stops were wrong cannot be told. {found.why_not}"
    mean, high = found.regret
    wrong = sum(stop.better > WRONG for stop in found.stops)
    return (
        f"{_trials(found.stopped)} stopped early, {found.complete} went to the end. With probability "
        f"{found.missed:.0%} at least one of the stopped would have beaten the best score, "
        f"{score(found.best)}; the regret is estimated as {score(mean)} (95 % of the draws below "
        f"{score(high)}). {wrong or 'None'} of the stops {'was' if wrong < 2 else 'were'} probably wrong. "
        f"The stops saved about {clock(found.saved)} of training."
    )


def _trials(count: int) -> str:
    return f"{counted(count)} {'was' if count == 1 else 'were'}"


def _rung_table(found: Stops) -> Table:
    rows = [
        (str(r.epoch), str(r.reached), str(r.stopped), _seen(r.seen), _among_all(r.among_all))
        for r in found.rungs
    ]
    return Table(
        caption="Rank correlation of the score at each rung with the score at the end.",
        columns=("epoch", "reached", "stopped", "of those that ended", "of all, estimated"),
        rows=tuple(rows),
        words=0,
        notes=(
            "Spearman's rho. Of those that ended: with a 95 % interval; they were chosen by this very score, "
            "which makes it smaller. Of all: the stopped trials' ends are drawn from what others did (median "
            "and 90 % of the draws).",
        ),
    )


def _seen(found: Correlation | None) -> str:
    if found is None:
        return "–"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}, {found.count} trials)"


def _among_all(found: tuple[float, float, float] | None) -> str:
    return "–" if found is None else f"{found[1]:.2f} ({found[0]:.2f} to {found[2]:.2f})"


def _stop_table(found: Stops) -> Table:
    rows = [
        (
            stop.trial.trial_id,
            str(stop.epoch),
            score(stop.value),
            score(stop.expected),
            f"{stop.better:.0%}",
        )
        for stop in found.stops[:SHOWN]
    ]
    return Table(
        caption=f"The stops that were most probably wrong (best score found: {score(found.best)}).",
        columns=("trial", "stopped at", "score", "would have reached", "beats the best"),
        rows=tuple(rows),
        strong=frozenset(i for i, stop in enumerate(found.stops[:SHOWN]) if stop.better > WRONG),
        notes=(
            f"{len(rows)} of {len(found.stops)} stops. Drawn from what the trials that went on did; rough "
            "for a single trial, and rather too high than too low.",
        ),
    )


def advice(found: Stops, record: SearchRecord) -> str:
    """When to compare first next time, and what a later first comparison would have cost here."""
    first, *later = found.rungs
    if first.among_all is None:
        return f"Epoch {first.epoch} says nothing of the end: its scores or the ends are all equal."
    low, rho, high = first.among_all
    if high - low > VAGUE and high >= STEADY:
        return (
            f"Whether epoch {first.epoch} is too early for the first comparison cannot be told: "
            f"{counted(found.complete)} went to the end, and rho may be from {low:.2f} to {high:.2f}."
        )
    here = f"At epoch {first.epoch}, where trials were first compared, their order"
    if rho >= STEADY and found.missed < RISKY:
        return f"{here} is nearly that at the end (rho {rho:.2f}): keep this grace period, or shorten it."
    if rho >= LOOSE and found.missed < RISKY:
        return f"{here} is roughly that at the end (rho {rho:.2f}): keep this grace period."
    better = next((r for r in later if r.among_all and r.among_all[1] >= STEADY), None)
    epoch = better.epoch if better else (later[0].epoch if later else 2 * first.epoch)
    return (
        f"{here} says {'little' if rho < LOOSE else 'something'} of that at the end (rho {rho:.2f}), and a "
        f"better trial was missed with probability {found.missed:.0%}: compare first at epoch {epoch}. "
        f"{_price(record, first, epoch)}"
    )


def _price(record: SearchRecord, first: Rung, epoch: int) -> str:
    """What the stopped trials would have cost until a later first comparison."""
    extra = 0.0
    trials = tried(record)
    for trial in trials:
        seconds = [row["seconds"] for row in trial.reports if row.get("seconds")]
        if seconds and trial.state == "PRUNED" and first.epoch <= trial.epoch < epoch:
            extra += (epoch - trial.epoch) * sum(seconds) / len(seconds)
    spent = sum(trial.seconds for trial in trials)
    share = f", {extra / spent:.0%} of what its trials took" if spent else ""
    return f"In this search that would have cost {clock(extra)} more training{share}."
