"""What would make every trial fail, found before the first: names and options that build no network."""

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection

from trainables.config import TrialConfig
from trainables.errors import OrchestratorError, UsageError
from trainables.task import Kind


def check_models(configs: Sequence[TrialConfig], kind: Kind) -> None:
    """Build each model of `configs` once, without memory for its weights.

    In a process of its own, so that torch and timm do not stay in the caller's. Raises what `build` raises.
    """
    once = list({config.model: config for config in configs}.values())
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_build_all, args=(theirs, once, kind), daemon=True)
    child.start()
    theirs.close()
    try:
        error: OrchestratorError | None = ours.recv()
    except EOFError:
        child.join()
        raise OrchestratorError(f"Building a model of the space crashed (exit {child.exitcode}).") from None
    child.join()
    if error is not None:
        raise error


def _build_all(pipe: Connection, configs: Sequence[TrialConfig], kind: Kind) -> None:
    import torch

    from trainables.families import load_family

    for config in configs:
        try:
            with torch.device("meta"):
                load_family(config.model).build(config, kind.num_outputs(config))
        except OrchestratorError as error:
            return pipe.send(error)
        except Exception as error:
            return pipe.send(UsageError(f"Model {config.model!r} cannot be built: {error}"))
    return pipe.send(None)
