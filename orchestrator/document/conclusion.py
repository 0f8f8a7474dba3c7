"""The conclusion of a report, drawn from the numbers alone."""

from collections.abc import Sequence
from pathlib import Path

from ensembles.compare import Ensemble
from orchestrator import ensemble
from orchestrator.document.experiments import ABLATIONS
from orchestrator.document.sources import Sources
from orchestrator.evidence.content import Block, Bullets, Section, Text
from orchestrator.snapshot import score
from orchestrator.standing import find_board, sentences


def blocks(sources: Sources, experiments: Sequence[Block]) -> list[Block]:
    """What was reached, how sure it is, and what it is worth; of the experiments, what ablations found."""
    if sources.best is None:
        return [Text("No trial has a score yet, so nothing can be concluded.")]
    found = (
        *_single(sources),
        *_merged(sources),
        *_standing(sources),
        *_ablated(experiments),
        *_cost(sources),
    )
    partial = "The search has not ended: these are its figures so far." if sources.partial else ""
    return [*([Text(partial)] if partial else []), Bullets(found)]


def _single(sources: Sources) -> list[str]:
    best, name = sources.best, sources.metric.name
    assert best is not None
    images = f" on {sources.result.images['valid']:,} validation images" if sources.result else " on valid"
    count = len(sources.record.ranked())
    said = (
        f"The best single trial is {best.trial_id} ({best.params.get('model', '?')}): {name} "
        f"{score(best.value)}{images}, at epoch {best.best_epoch}."
    )
    if count > 1:
        said += f" It is the best of {count} scores on the same images, and so somewhat flattering."
    return [said]


def _merged(sources: Sources) -> list[str]:
    chosen, result = sources.chosen, sources.result
    if chosen is None or result is None:
        return ["No ensemble was made yet."]
    name, members = sources.metric.name, chosen.trial_ids
    made = f"trial {members[0]} alone" if len(members) == 1 else f"{len(members)} members"
    said = [
        f"Chosen for the answer is {chosen.method}, of {made}: cross-fitted {name} "
        f"{score(chosen.valid_value)} on valid."
    ]
    if chosen.holdout_value is not None:
        error = "" if chosen.holdout_error is None else f" ± {chosen.holdout_error:.3f} (95 % interval)"
        said.append(
            f"On {result.images.get('holdout', 0):,} holdout images, which chose nothing, it reaches "
            f"{score(chosen.holdout_value)}{error}."
        )
    said += _gain(chosen)
    if chosen.test_value is not None:
        said.append(f"On the test images, whose answers are known, it reaches {score(chosen.test_value)}.")
    return said


def _gain(chosen: Ensemble) -> list[str]:
    """Whether merging helped, in the words that the interval allows."""
    if chosen.method == "best_single" or chosen.gain is None:
        return []
    if chosen.tie:
        return [
            f"Against the best single trial that is {chosen.gain:+.4f} on the holdout: a tie, for such a "
            "difference may be chance."
        ]
    more = "better" if chosen.gain > 0 else "worse"
    return [
        f"Against the best single trial that is {chosen.gain:+.4f} on the holdout: {more} by more than the "
        "95 % interval of the paired difference."
    ]


def _standing(sources: Sources) -> list[str]:
    if sources.result is None:
        return []
    board = find_board(None, Path(str(sources.asked.get("data", ""))), sources.metric)
    found = ensemble.standing_of(sources.result, sources.task, board=board)
    return [] if found is None else sentences(found, what="The holdout score")


def _ablated(experiments: Sequence[Block]) -> list[str]:
    """The sentences of each ablation, as they stand below its table."""
    found = [block for block in experiments if isinstance(block, Section) and block.title == ABLATIONS]
    studies = [study for section in found for study in section.blocks if isinstance(study, Section)]
    return [
        f"{study.title}: {item}"
        for study in studies
        for block in study.blocks
        if isinstance(block, Bullets)
        for item in block.items
    ]


def _cost(sources: Sources) -> list[str]:
    trials = sources.record.trials.values()
    seconds = sum(trial.seconds for trial in trials)
    ended = max((trial.started + trial.seconds for trial in trials), default=0.0)
    return [
        f"All this took {ended / 60:.1f} minutes by the clock and {seconds / 3600:.2f} hours of trials "
        f"({len(sources.record.trials)} of them)."
    ]
