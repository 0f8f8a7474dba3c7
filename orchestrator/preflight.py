"""What would make every trial fail, found before the first: no network, or one against the rules."""

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from trainables.config import TrialConfig
from trainables.errors import OrchestratorError, RuleViolation, UsageError
from trainables.task import Head, Rules, load_task

if TYPE_CHECKING:
    from torch import nn

COUNTED = 30
"""Configurations whose cost is counted where the rules bound it."""


def check_models(
    configs: Sequence[TrialConfig], *, task: str, space: str, heads: tuple[Head, ...]
) -> tuple[str, ...]:
    """Build each model of `configs` once, without memory for its weights; sentences on what it costs.

    `task` is a `trainables.task.reference`. In a process of its own, so that torch and timm do not stay in
    the caller's. Raises what `build` raises, and RuleViolation where all that were counted cost too much.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, configs, task, space, heads), daemon=True)
    child.start()
    theirs.close()
    try:
        found: OrchestratorError | tuple[str, ...] = ours.recv()
    except EOFError:
        child.join()
        raise OrchestratorError(f"Building a model of the space crashed (exit {child.exitcode}).") from None
    child.join()
    if isinstance(found, OrchestratorError):
        raise found
    return found


def _child(
    pipe: Connection, configs: Sequence[TrialConfig], name: str, space: str, heads: tuple[Head, ...]
) -> None:
    from trainables.families import require_answers, require_read

    try:
        task = load_task(name).under(space).with_heads(heads)
        for config in configs:
            require_read(config, task.kind.answers)
        for config in {config.model: config for config in configs}.values():
            require_answers(config.model, task.kind.answers)
            _build(config, task.kind.num_outputs(config))
        outputs = task.kind.num_outputs(configs[0])
        pipe.send(_costs(configs[:COUNTED], outputs, task.rules) if task.rules.bounds_cost else ())
    except OrchestratorError as error:
        pipe.send(error)


def _build(config: TrialConfig, num_outputs: int) -> "nn.Module":
    import torch

    from trainables.families import load_family

    try:
        with torch.device("meta"):
            return load_family(config.model).build(config, num_outputs)
    except OrchestratorError:
        raise
    except Exception as error:
        raise UsageError(f"Model {config.model!r} cannot be built: {error}") from error


def _costs(configs: Sequence[TrialConfig], num_outputs: int, rules: Rules) -> tuple[str, ...]:
    """How many of the configurations are outside the bounds. Raises RuleViolation where all are."""
    from dataclasses import replace

    from trainables.cost import cost_of

    refused = []
    for config in configs:
        model = _build(replace(config, pretrained=False, weights=""), num_outputs)
        try:
            rules.check_cost(cost_of(model, config.image_size))
        except RuleViolation as error:
            refused.append(error)
    if len(refused) == len(configs):
        raise refused[0]
    if not refused:
        return ()
    return (
        f"{len(refused)} of {len(configs)} sampled models are outside the bounds; a trial of such a model"
        " ends before its first step.",
    )
