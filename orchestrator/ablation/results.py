"""The table of an ablation and its sentences, made from the journal and the stored predictions."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.ablation import places
from orchestrator.ablation.design import BASE
from orchestrator.ablation.outcome import Outcome, Scored, read
from orchestrator.ablation.statistics import LEVEL, LOOK_COST, MOST_MORE, signed_rank_floor
from orchestrator.evidence.content import Block, Bullets, Section, Table, Text
from orchestrator.snapshot import score, short
from trainables import atomic
from trainables.errors import OrchestratorError

FILES = {"markdown": "table.md", "latex": "table.tex", "csv": "table.csv", "html": "table.html"}
NOTHING = "–"
FEW = 6
"""Seeds from which on a signed-rank test could find anything."""


def sections(home: Path, fingerprint: str) -> list[Block]:
    """A section for each ablation of the task in `home` = OUT/TASK on this data, the oldest first.

    Those that are not finished say so; those that cannot be read or have compared nothing yet are left out.
    """
    found: list[Block] = []
    for folder in places.all_of(home):
        try:
            outcome = read(folder)
        except OrchestratorError:
            continue
        if outcome.record.asked.get("fingerprint") == fingerprint and outcome.rows[0].trials:
            found.append(section(outcome))
    return found


def section(outcome: Outcome) -> Section:
    """What an ablation did, its table and what it says."""
    made = table(outcome)
    factors = ", ".join(outcome.planned.factors)
    said = Bullets(tuple(sentences(outcome)))
    blocks: tuple[Block, ...] = (Text(about(outcome)), made, said)
    return Section(title=f"Ablation of {factors}", blocks=blocks)


def about(outcome: Outcome) -> str:
    """What was varied around what, how often; and whether it is over."""
    plan = outcome.planned
    base = ", ".join(f"{key}={short(plan.base.params.get(key))}" for key in plan.factors)
    how = {"one": "one factor at a time", "pairwise": "factors alone and in pairs", "grid": "the full grid"}
    seeds = f"{len(plan.seeds)} seed{'s' * (len(plan.seeds) > 1)}"
    left = f" It is not finished: {outcome.open} trials are missing." if outcome.open else ""
    return (
        f"Around a base ({plan.origin}: {base}), {how.get(plan.design, plan.design)}: {len(plan.rows) - 1} "
        f"variants, each trained with the same {seeds}, to the last of {plan.base.params['epochs']} epochs, "
        f"on the same parts.{left}"
    )


def table(outcome: Outcome) -> Table:
    """A row a variant, the base first; rows that differ from it stand out."""
    metric = str(outcome.record.asked["metric"])
    columns = (
        "variant",
        metric,
        "sd",
        "seeds",
        "difference",
        "95 % interval",
        "p (Holm)",
        "p images",
        "epochs to base",
        "seconds",
        "parameters",
        "million MACs",
        "seeds to decide",
    )
    real = [i for i, row in enumerate(outcome.rows) if row.comparison and row.comparison.real]
    return Table(
        caption=f"Ablation of {', '.join(outcome.planned.factors)}: {metric} on the validation part",
        columns=columns,
        rows=tuple(_cells(row) for row in outcome.rows),
        notes=tuple(notes(outcome)),
        strong=frozenset(real),
    )


def _cells(scored: Scored) -> tuple[str, ...]:
    compared = scored.comparison
    seeds = len(scored.trials)
    return (
        scored.row.name,
        score(scored.mean) or NOTHING,
        _number(scored.sd),
        str(seeds) if seeds == scored.planned else f"{seeds} of {scored.planned}",
        _number(compared.mean if compared else None, sign="+"),
        _interval(scored),
        verdict(scored),
        NOTHING if scored.over_images is None else p_text(scored.over_images),
        _epochs(scored),
        NOTHING if scored.seconds is None else f"{scored.seconds:.1f}",
        NOTHING if scored.parameters is None else f"{scored.parameters:,}",
        NOTHING if scored.macs is None else f"{scored.macs / 1e6:.1f}",
        _more(scored),
    )


def verdict(scored: Scored) -> str:
    """The corrected p of a difference that is claimed, `tie`, or why neither can be said."""
    compared = scored.comparison
    if scored.row.name == BASE or compared is None:
        return NOTHING
    if not compared.seeds:
        return "not run" if not scored.failed else "failed"
    if compared.seeds == 1:
        return "one seed"
    if compared.real and compared.corrected is not None:
        return p_text(compared.corrected)
    return "equal" if compared.equal else "tie"


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _number(value: float | None, *, sign: str = "") -> str:
    if value is None:
        return NOTHING
    return f"{value:{sign}.4f}" if abs(value) < 10 else f"{value:{sign}.2f}"


def _interval(scored: Scored) -> str:
    compared = scored.comparison
    if compared is None or compared.low is None or compared.high is None:
        return NOTHING
    return f"{_number(compared.low, sign='+')} to {_number(compared.high, sign='+')}"


def _epochs(scored: Scored) -> str:
    if not scored.trials:
        return NOTHING
    if not scored.reached:
        return "never"
    mean = f"{statistics.fmean(scored.reached):.1f}"
    return mean if len(scored.reached) == len(scored.trials) else f"{mean} in {len(scored.reached)}"


def _more(scored: Scored) -> str:
    more = scored.comparison.more if scored.comparison else None
    if more is None:
        return NOTHING
    return f"> {MOST_MORE}" if more > MOST_MORE else f"+{more}"


def notes(outcome: Outcome) -> list[str]:
    """What the columns say, and what to be careful with."""
    asked, plan = outcome.record.asked, outcome.planned
    better = "higher" if outcome.record.direction == "maximize" else "lower"
    tested = sum(1 for row in outcome.rows if row.comparison and row.comparison.corrected is not None)
    seeds = ", ".join(map(str, plan.seeds))
    found = [
        f"{asked['metric']}: mean over the seeds ({seeds}) of each trial's best epoch; {better} is better. "
        f"Only trials that reached their last epoch count.",
        *_how_tested(outcome, tested),
        "epochs to base: mean of the first epochs that are as good as the base's mean, with the number of "
        "trials that came there unless all did; seconds: training and validation of a trial; "
        "MACs: multiply-accumulates of one image.",
    ]
    if any(row.comparison and row.comparison.more is not None for row in outcome.rows):
        found.append(
            "seeds to decide: further seeds that would decide a tie in four of five studies, if the "
            "difference is what it seems."
        )
    return [*found, *plan.notes, *_failures(outcome), *outcome.notes]


def _how_tested(outcome: Outcome, tested: int) -> list[str]:
    counts = [row.comparison.seeds for row in outcome.rows if row.comparison and row.comparison.seeds]
    if not counts:
        return ["No variant has a finished trial beside the base's of the same seed: nothing is compared."]
    if max(counts) == 1:
        return ["One seed tells nothing of chance: no interval, no p. Ask for more with --seeds."]
    found = [
        "difference: variant minus base, paired by seed; its 95 % interval is Student's, not corrected. "
        f"p: moderated paired t-test, after Holm over {tested} row{'s' * (tested != 1)}; tie: the interval "
        f"holds zero, or p is not below {LEVEL:g}."
    ]
    if min(counts) < FEW:
        floor = signed_rank_floor(min(counts))
        found.append(
            f"A signed-rank test of {min(counts)} seeds cannot give a p below {floor:.4g}: the interval "
            "leads, and supposes that differences between seeds are about normal."
        )
    if outcome.images:
        parts = " and ".join(f"{count:,} of {name}" for name, count in outcome.images.items())
        found.append(
            "p images: how often so large a difference comes of exchanging base and variant at random on "
            f"each of {sum(outcome.images.values()):,} images ({parts}); where it is high, other images may "
            "say otherwise. It takes the seeds as they are, and is not corrected."
        )
    extended = {name for extension in outcome.planned.extensions for name in extension.rows}
    if extended:
        found.append(
            f"More seeds were run to decide {_listed(sorted(extended))}: p is multiplied by {LOOK_COST:g} "
            "for each time that a table was looked at before."
        )
    return found


def _failures(outcome: Outcome) -> list[str]:
    found = [
        f"{row.row.name}: {len(row.failed)} of {row.planned} trials failed, and the others alone are "
        f"compared: {row.failed[0]}"
        for row in outcome.rows
        if row.failed
    ]
    cut = [
        f"{row.row.name}: {len(row.cut_off)} of {row.planned} trials were cut off: {row.cut_off[0]}"
        for row in outcome.rows
        if row.cut_off
    ]
    return [*found, *cut]


def sentences(outcome: Outcome) -> list[str]:
    """What the table says, a sentence a finding."""
    metric = str(outcome.record.asked["metric"])
    found = [_claim(row, metric) for row in outcome.rows if row.comparison and row.comparison.real]
    ties = [row.row.name for row in outcome.rows if verdict(row) == "tie"]
    if ties:
        found.append(f"Not told from chance: {_listed(ties)}. That is no proof of being equal.")
    equal = [row.row.name for row in outcome.rows if verdict(row) == "equal"]
    if equal:
        found.append(f"The base's score in every seed, to the last digit: {_listed(equal)}.")
    single = [row.row.name for row in outcome.rows if verdict(row) == "one seed"]
    if single:
        found.append(f"One seed, so nothing can be said of {_listed(single)}.")
    untold = [row.row.name for row in outcome.rows if verdict(row) in ("not run", "failed")]
    if untold:
        found.append(f"Without a finished trial beside the base's: {_listed(untold)}.")
    return found


def _claim(scored: Scored, metric: str) -> str:
    compared = scored.comparison
    assert compared is not None
    assert compared.mean is not None
    assert compared.corrected is not None
    way = "higher" if compared.mean > 0 else "lower"
    doubt = ""
    if scored.over_images is not None and scored.over_images >= LEVEL:
        doubt = f" On other images it may be otherwise (p {p_text(scored.over_images)})."
    p = p_text(compared.corrected)
    return (
        f"{scored.row.name}: {metric} {_number(abs(compared.mean))} {way} than the base (95 % interval "
        f"{_interval(scored)}; p {p} after Holm; {compared.seeds} seeds).{doubt}"
    )


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names)


def write(outcome: Outcome) -> list[Path]:
    """The table in the ablation's folder in every form. Raises DataError where it cannot be written."""
    from orchestrator.document import tables

    made, paths = table(outcome), []
    for form, name in FILES.items():
        path = outcome.folder.path / name
        with atomic.disk_errors("The table", path):
            atomic.write(path, getattr(tables, form)(made).encode())
        paths.append(path)
    return paths


def to_json(outcome: Outcome) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "task": outcome.record.asked["task"],
        "ablation_id": outcome.folder.search_id,
        "folder": str(outcome.folder.path),
        "metric": outcome.record.asked["metric"],
        "direction": outcome.record.direction,
        "design": outcome.planned.design,
        "base": {"origin": outcome.planned.origin, "params": dict(outcome.planned.base.params)},
        "seeds": list(outcome.planned.seeds),
        "open": outcome.open,
        "rows": [_row_json(row) for row in outcome.rows],
        "sentences": sentences(outcome),
        "notes": notes(outcome),
        "files": {form: str(outcome.folder.path / name) for form, name in FILES.items()},
    }


def _row_json(scored: Scored) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": scored.row.name,
        "mean": scored.mean,
        "sd": scored.sd,
        "values": {str(seed): trial.value for seed, trial in scored.trials.items()},
        "trials": {str(seed): trial.trial_id for seed, trial in scored.trials.items()},
        "planned": scored.planned,
        "failed": list(scored.failed),
        "comparison": None if scored.comparison is None else asdict(scored.comparison),
        "verdict": verdict(scored),
        "p_images": scored.over_images,
        "epochs_to_base": list(scored.reached),
        "seconds": scored.seconds,
        "parameters": scored.parameters,
        "macs": scored.macs,
    }
