"""What would make every trial fail, found before the first: no network, or one against the rules."""

import contextlib
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

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
    found: tuple[str, ...] = in_child(
        _checked, configs, task, space, heads, doing="Building a model of the space"
    )
    return found


def in_child(call: Callable[..., Any], *arguments: Any, doing: str, seconds: float | None = None) -> Any:
    """What a call returns that is made in a process of its own, which is gone with all that it held.

    The function is importable, and what comes and goes can be pickled. Raises the OrchestratorError that it
    raises, and one where it fails, crashes or takes longer than `seconds`; `doing` begins the sentence.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, call, arguments), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            child.kill()
            raise OrchestratorError(f"{doing} took longer than {seconds:.0f} s.")
        found = ours.recv()
    except EOFError:
        child.join()
        raise OrchestratorError(f"{doing} crashed (exit {child.exitcode}).") from None
    child.join()
    if isinstance(found, OrchestratorError):
        raise found
    if isinstance(found, _Failed):
        raise OrchestratorError(f"{doing} failed: {found.why}")
    return found


@dataclass(frozen=True)
class _Failed:
    why: str


def _child(pipe: Connection, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    found: Any
    try:
        found = call(*arguments)
    except OrchestratorError as error:
        found = error
    except Exception as error:
        found = _Failed(" ".join(f"{type(error).__name__}: {error}".split())[:300])
    with contextlib.suppress(BrokenPipeError):  # who asked was killed
        pipe.send(found)


def _checked(
    configs: Sequence[TrialConfig], name: str, space: str, heads: tuple[Head, ...]
) -> tuple[str, ...]:
    from trainables.families import require_answers, require_read

    task = load_task(name).under(space).with_heads(heads)
    for config in configs:
        require_read(config, task.kind.answers)
    for config in {config.model: config for config in configs}.values():
        require_answers(config.model, task.kind.answers)
        _build(config, task.kind.num_outputs(config))
    outputs = task.kind.num_outputs(configs[0])
    return _costs(configs[:COUNTED], outputs, task.rules) if task.rules.bounds_cost else ()


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
