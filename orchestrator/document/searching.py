"""How a search chose: its space, what it suggested and stopped, its finals, and how the best were merged."""

from collections.abc import Iterable, Mapping
from typing import Any

from ensembles.methods import known_methods, load_method
from orchestrator.document.paper import section
from orchestrator.document.sources import Sources
from orchestrator.evidence.content import Bullets, Section, Table, Text
from orchestrator.finals import Finals
from orchestrator.snapshot import short

FUSED = {
    "prob_mean": "weighted fusion of the boxes or masks that overlap.",
    "logit_sum": "soft-NMS over what all members found.",
    "vote": "what more than half of the members found.",
}
"""What the rules do to boxes and instances."""
FEW = 4
"""Different values up to which numbers are listed rather than given as a range."""


def space(sources: Sources) -> Section:
    """What the trials of the search were seen to try; the space itself is a file named in the record."""
    trials = [trial for trial in sources.record.trials.values() if not trial.of]
    fixed = sources.asked.get("fixed") or {}
    best = next((trial for trial in sources.record.ranked() if not trial.of), None)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    varied = [
        n for n in names if n != "seed" and len({str(t.params[n]) for t in trials if n in t.params}) > 1
    ]
    space = sources.asked.get("space", "?")
    said = f"Configurations were drawn from the space {space}; {len(trials)} trials of it were started."
    if fixed:
        said += f" Fixed by hand: {', '.join(f'{k}={short(v)}' for k, v in fixed.items())}."
    if not varied:
        return section("Search space", said)
    table = Table(
        caption="The search space as far as it was tried",
        columns=("parameter", "values tried", "best of the search" + (f", {best.trial_id}" if best else "")),
        rows=tuple(
            (
                name,
                tried(t.params[name] for t in trials if name in t.params),
                short(best.params.get(name)) if best else "",
            )
            for name in varied
        ),
        words=2,
    )
    return section("Search space", said, table)


def scheduling(sources: Sources) -> Section:
    asked = sources.asked
    return section(
        "Search and rungs",
        _sampler(sources),
        _stopping(sources),
        _budget(sources),
        _finals(asked.get("finals"), sources),
    )


def _sampler(sources: Sources) -> str:
    asked = sources.asked
    if asked.get("strategy") == "guided":
        return (
            "What to try and when to stop was decided by a prior learned from "
            f"{asked.get('past_searches')} past searches with {asked.get('past_trials')} trials, "
            "by expected improvement a second."
        )
    if "strategy" not in asked:
        return "How configurations were suggested is not recorded."
    return (
        "The first configurations were drawn at random, the further ones suggested by the multivariate "
        f"tree-structured Parzen estimator (TPE), seed {asked.get('seed', '?')}."
    )


def _stopping(sources: Sources) -> str:
    asked = sources.asked
    rungs = asked.get("rungs") or asked.get("compared_after") or ()
    if not rungs:
        return "No trial was compared before its last epoch."
    listed = ", ".join(str(epoch) for epoch in rungs)
    if asked.get("strategy") == "guided":
        return f"Trials were compared after epoch {listed}."
    return (
        f"Weak trials were stopped early by asynchronous successive halving (ASHA): after epoch {listed} "
        f"of at most {asked.get('max_epochs', '?')} the best 1/{asked.get('reduction_factor', '?')} go on."
    )


def _budget(sources: Sources) -> str:
    asked = sources.asked
    limits = [f"{asked['trials']} trials" if asked.get("trials") else ""]
    limits.append(f"{asked['time_limit_s'] / 60:.1f} minutes" if asked.get("time_limit_s") else "")
    bound = " and ".join(filter(None, limits))
    slots = asked.get("slots")
    if not slots:
        return f"The budget was {bound}." if bound else ""
    gpus = asked.get("gpus_per_trial") or 0
    each = f"{asked.get('cpus_per_trial', '?')} CPU core(s)" + (f" and {gpus:g} GPU" if gpus else "")
    return f"The budget was {bound or 'not bound'}, with up to {slots} trials at once on {each} each."


def _finals(planned: Mapping[str, Any] | None, sources: Sources) -> str:
    done = [trial for trial in sources.record.trials.values() if trial.of]
    if not planned:
        return "No configuration was trained again after the search."
    known = {key: value for key, value in planned.items() if key in Finals.__dataclass_fields__}
    first = sorted({_first(trial.of, sources) for trial in done})
    trained = (
        f"{len(done)} such trainings were started, of the configurations of trials {', '.join(first)}."
        if done
        else "None was started."
    )
    return f"After the search proper, finals: {Finals(**known).text}. {trained}"


def _first(name: str, sources: Sources) -> str:
    """The trial of the search behind a final: a second seed names the first one."""
    trials = sources.record.trials
    while name in trials and trials[name].of:
        name = trials[name].of
    return name


def ensemble(sources: Sources) -> Section:
    result = sources.result
    if result is None:
        return section("Ensemble", "No ensemble was made yet.")
    items = [_described(row.method, str(sources.task.kind.answers)) for row in result.ensembles]
    how = "as it was asked for" if result.asked != "all" else "by its cross-fitted validation score"
    decision = " A decision fitted on the validation images turns its outputs into the answer." * bool(
        result.best.decision
    )
    return section(
        "Ensemble",
        f"The {len(result.members)} best members, {', '.join(result.members)}, were merged in several ways:",
        Bullets(tuple(items)),
        Text(f"Chosen was {result.chosen}, {how}.{decision}"),
    )


def _described(method: str, answers: str) -> str:
    """What a method does to answers of the kind."""
    words = FUSED.get(method, "") if answers in ("boxes", "instances") else ""
    if not words and method in known_methods():
        words = (load_method(method).__doc__ or "").split("\n")[0].strip()
        words = f"{words[:1].lower()}{words[1:]}"
    return f"{method}: {words}" if words else method


def tried(values: Iterable[Any]) -> str:
    """Values as they occurred: a few listed, many numbers as a range."""
    found = list(dict.fromkeys(value for value in values if value is not None))
    numbers = [v for v in found if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(found) > FEW:
        return f"{short(min(numbers))} to {short(max(numbers))}"
    ordered = sorted(numbers) if len(numbers) == len(found) else sorted(found, key=str)
    return ", ".join(short(value) for value in ordered)
