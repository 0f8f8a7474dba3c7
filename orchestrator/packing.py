"""How many trials share a GPU, found by a dry step before the first of them.

Several processes on one card take turns: without NVIDIA's multi-process service the kernels of one run while
those of the others wait. So a card that one trial keeps busy for a share b of the time gains at most 1/b by
sharing, and a trial that keeps it busy gains nothing and only ends later. That bounds the trials of a card,
as do its memory, the cores, and `MOST`; of cards that differ the smallest decides: any trial may come to it.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import plan
from orchestrator.finals import finals_for
from orchestrator.preflight import in_child
from trainables.errors import OrchestratorError, UsageError

if TYPE_CHECKING:
    from orchestrator.prepare import Asked, Prepared
    from trainables.dry_step import Dry, Footprint
    from trainables.store import Store

MOST = 8
"""Trials of a card: with more, what a card gains is small, and the search learns late from each."""
MARGIN = 1.15
"""Memory breaks into pieces, and a later configuration may be larger than those that were sampled."""
DATA_SHARE, VARIABLE = 0.4, "ORCH_RESIDENT_SHARE"
"""As in `trainables.feed`: a part of the data that takes less of a card's free memory is copied there."""
DRY_S = 900.0


@dataclass(frozen=True, kw_only=True)
class Node:
    """A host with GPUs."""

    cpus: float
    cards: tuple[int, ...]
    """Bytes of each."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a trial takes of a card."""

    bytes: int
    data: tuple[int, ...] = ()
    """Bytes of what may be copied there besides, each where it is small enough."""
    busy: float = 1.0
    """Share of its time in which the card computes, more than 0."""

    def on(self, card: int, trials: int) -> int:
        """Bytes that a trial takes of a card of so many bytes with so many trials."""
        copied = data_share(trials) * card
        return self.bytes + sum(size for size in self.data if size < copied)


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How many trials share a card, and why."""

    trials: int
    text: str

    @property
    def share(self) -> float:
        """GPUs of a trial; Ray counts them to four digits, and rounded up the last trial would not fit."""
        return math.floor(10_000 / self.trials) / 10_000


def data_share(trials: int) -> float:
    """The share of a card's free memory up to which a trial copies a part of the data there."""
    return float(os.environ.get(VARIABLE, DATA_SHARE / trials))


def fits(need: Need, card: int, trials: int) -> bool:
    """Whether so many trials find room on a card. One alone always does: it takes smaller steps."""
    return trials == 1 or MARGIN * need.on(card, trials) * trials <= card


def decide(need: Need, nodes: Sequence[Node], *, cpus_per_trial: int) -> Packing:
    """As many trials a card as fit, as have cores, and as it can gain from."""
    card = smallest(nodes)
    cores = min(int(node.cpus // (len(node.cards) * cpus_per_trial)) for node in nodes)
    useful = math.floor(1 / need.busy + 0.5)
    most = max(1, min(MOST, cores, useful))
    trials = next(n for n in range(most, 0, -1) if fits(need, card, n))
    taken = f"one takes up to {_size(need.on(card, trials))} of {_size(card)}"
    text = f"{trials} a card: {taken} and keeps it busy {need.busy:.0%} of the time"
    if trials == cores < min(MOST, useful):
        text += f"; there are cores for {trials}"
    return Packing(trials=trials, text=text)


def require_fit(need: Need, nodes: Sequence[Node], *, share: float) -> Packing:
    """The packing that was asked for. Raises UsageError where the smallest card has too little memory."""
    card, trials = smallest(nodes), max(1, math.floor(1 / share + 1e-9))
    taken = f"up to {_size(need.on(card, trials))}"
    if not fits(need, card, trials):
        best = Packing(trials=next(n for n in range(trials - 1, 0, -1) if fits(need, card, n)), text="")
        raise UsageError(
            f"A trial takes {taken} of a GPU's memory, and --gpus-per-trial {share:g} leaves it "
            f"{_size(card / trials)} of {_size(card)}.",
            fix=f"At least --gpus-per-trial {best.share:g} fits; auto finds what does.",
        )
    return Packing(trials=trials, text=f"{trials} a card, as asked: one takes {taken} of {_size(card)}")


def smallest(nodes: Sequence[Node]) -> int:
    """Bytes of the smallest card."""
    return min(card for node in nodes for card in node.cards)


def need_of(footprints: Sequence["Footprint"], store: "Store") -> Need:
    """What trials like these take with this data; the last footprint is of a middling one.

    The validation part counts twice: while a trial writes its predictions it has come anew.
    """
    sizes = {name: p.images.nbytes for name, p in store.parts.items() if not isinstance(p.images, tuple)}
    data = (*sizes.values(), sizes["valid"]) if sizes else ()
    return Need(bytes=max(found.bytes for found in footprints), data=data, busy=footprints[-1].busy)


def settled(prepared: "Prepared", store: "Store", resources: Mapping[str, float]) -> "Prepared":
    """The search with the share of a card that its trials get, after a dry step where that is a question.

    What it found stands in `Plan.packing`; where it fails, the share is the planned one. In a cluster
    (`Asked.address`), to which this process is connected, it runs on a node with a GPU. Raises UsageError
    where the share that was asked for leaves a trial less than it takes.
    """
    if not is_open(prepared, resources):
        return prepared
    asked, budget = prepared.asked, prepared.plan.budget
    try:
        found, nodes = _seen(prepared, store, resources)
    except OrchestratorError as error:
        text = f"{budget.gpus_per_trial:g} GPU each, for the dry step failed: {error.what}"
        return replace(prepared, plan=replace(prepared.plan, packing=text))
    need, share = need_of(found, store), asked.gpus_per_trial
    if share is None:
        packing = decide(need, nodes, cpus_per_trial=budget.cpus_per_trial)
        share = packing.share
    else:
        packing = require_fit(need, nodes, share=share)
    slots = plan.slots_for(
        budget.trials, cpus_per_trial=budget.cpus_per_trial, gpus_per_trial=share, resources=resources
    )
    timed, images = asked.time_limit_s is not None, prepared.plan.images
    settled = replace(
        prepared.plan,
        budget=replace(budget, gpus_per_trial=share, slots=slots),
        finals=finals_for(asked.finals, slots=slots, timed=timed, images=images),
        packing=packing.text,
    )
    return replace(prepared, plan=settled)


def as_before(asked: "Asked", share: float, resources: Mapping[str, float]) -> "Asked":
    """What was asked of a search that goes on, with the share that it began with, where GPUs are here yet."""
    return replace(asked, gpus_per_trial=share) if share and resources.get("GPU") else asked


def is_open(prepared: "Prepared", resources: Mapping[str, float]) -> bool:
    """Whether the share is a question: a part of a card was asked for, or none and there are more cores."""
    share = prepared.asked.gpus_per_trial
    if share is None:
        return most_slots(prepared, resources) > prepared.plan.budget.slots
    return 0 < share < 1


def most_slots(prepared: "Prepared", resources: Mapping[str, float]) -> int:
    """Trials at once at most, whatever a dry step finds: Ray is started before it."""
    budget, gpus = prepared.plan.budget, resources.get("GPU", 0.0)
    if prepared.asked.gpus_per_trial is not None or not gpus:
        return budget.slots
    most = min(int(resources["CPU"]) // budget.cpus_per_trial, int(MOST * gpus))
    return max(budget.slots, most if budget.trials is None else min(most, budget.trials))


def environment(gpus: float) -> dict[str, str]:
    """Variables of a trial with that share of a card: what it copies there leaves room for the others."""
    return {VARIABLE: f"{data_share(max(1, round(1 / gpus))):g}"} if 0 < gpus < 1 else {}


def dry_of(prepared: "Prepared", store: "Store") -> "Dry":
    """The dry step of a search."""
    from trainables import dry_step

    source = Path(prepared.source)
    return dry_step.Dry(
        task=prepared.source,
        source=source.read_bytes() if source.suffix == ".py" else b"",
        space=prepared.space,
        heads=prepared.task.kind.heads,
        store=dry_step.few(store),
        configs=tuple(prepared.configs),
        threads=prepared.plan.budget.cpus_per_trial,
    )


def _seen(
    prepared: "Prepared", store: "Store", resources: Mapping[str, float]
) -> tuple[list["Footprint"], list[Node]]:
    """What a dry step found, and the nodes with GPUs. Raises OrchestratorError where there is neither."""
    from trainables.dry_step import footprints

    dry = dry_of(prepared, store)
    if prepared.asked.address is None:
        found = in_child(footprints, dry, doing="The dry step", seconds=DRY_S)
        nodes = [Node(cpus=resources["CPU"], cards=found[0].cards)]
    else:
        from orchestrator import cluster

        found = cluster.on_gpu(footprints, dry, seconds=DRY_S)
        nodes = [Node(cpus=cpus, cards=cards) for cpus, cards in cluster.cards()]
    if not all(node.cards for node in nodes) or not nodes:
        raise OrchestratorError("torch sees no GPU where there should be one.")
    return found, nodes


def _size(count: float) -> str:
    return f"{count / 1e9:.3g} GB"
