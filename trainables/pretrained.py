"""Pretrained weights from a file of the user's own, for machines that fetch nothing."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.config import TrialConfig

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which a training script's checkpoint keeps the weights, the averaged ones first."""
PREFIXES = ("module.", "_orig_mod.")
"""Put before every name by wrappers of torch."""
HERE = "ORCH_WEIGHTS"
"""Variable of the file or folder to take in place of a configuration's, on a host where it lies elsewhere."""
COUNTERS = "num_batches_tracked"
"""Older files lack it, and nothing reads it."""
NAMED = 3
"""So many names of tensors are given in an error."""
HOW = "Give --weights FILE, or a folder with {model}.safetensors, copied from a machine that has a network"


def check(config: "TrialConfig") -> None:
    """Raises UsageError for weights that nobody asked to use, or that are not where they should be."""
    if not config.weights:
        return
    if not config.pretrained:
        raise UsageError(
            f"weights={config.weights} is given, but the trial starts from scratch.",
            fix="Set pretrained=true too, or leave out the weights.",
        )
    weights_file(config)


def weights_file(config: "TrialConfig") -> Path:
    """The file that `config.weights` means: itself, or the model's in a folder. See also `HERE`.

    Raises UsageError where there is none.
    """
    given = Path(os.environ.get(HERE) or config.weights).expanduser()
    if given.is_file():
        return given
    if not given.is_dir():
        raise UsageError(
            f"The weights {given} do not exist.", fix=HOW.format(model=config.model) + ", by its whole path."
        )
    names = dict.fromkeys([config.model, config.model.split(".")[0]])
    for file in (given / f"{name}{suffix}" for name in names for suffix in SUFFIXES):
        if file.is_file():
            return file
    there = sorted(file.name for file in given.iterdir() if file.suffix in SUFFIXES)
    raise UsageError(
        f"The folder {given} has no {config.model}.safetensors; it has {_some(there)}.",
        fix=f"Name the file {config.model}.safetensors, or give the file itself.",
    )


def provenance(config: "TrialConfig") -> dict[str, str]:
    """Which file a trial's first weights came from, by name and content; empty where not from a file."""
    if not config.weights:
        return {}
    file = weights_file(config)
    with file.open("rb") as stream:
        return {"file": str(file), "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def load(model: "nn.Module", config: "TrialConfig", *, head: Iterable[str]) -> None:
    """Take a network's weights from `config.weights`. Layers named in `head` keep theirs where it has others.

    Raises UsageError where other layers do not fit, DataError where the file cannot be read.
    """
    file = weights_file(config)
    own = model.state_dict()
    found = _in_our_form(model, read(file), file)
    head = tuple(f"{layer}." for layer in head)
    for name in [name for name in found if name.startswith(head)]:
        if name not in own or own[name].shape != found[name].shape:
            del found[name]
    missing = [n for n in own if n not in found and not n.startswith(head) and not n.endswith(COUNTERS)]
    extra = [name for name in found if name not in own]
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(own[name].shape)}"
        for name in found
        if name in own and found[name].shape != own[name].shape
    ]
    what = {"missing": missing, "of no use": extra, "of another shape": shapes}
    wrong = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in what.items() if names)
    if wrong:
        raise UsageError(
            f"{file} does not hold the weights of {config.model} at these options. Tensors {wrong}.",
            fix=f"Give the file of {config.model}, or name the model that these weights are of.",
        )
    model.load_state_dict(found, strict=False)


def read(file: Path) -> dict[str, "Tensor"]:
    """The tensors of a file, on the CPU; a pickled one may hold nothing else. Raises DataError."""
    import torch
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            tensors: Any = load_file(file)
        else:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{file}: these weights cannot be read ({line[:120]}).",
            fix="Copy the file again; a .safetensors file is the safest form.",
        ) from error
    for key in WRAPPERS:
        if isinstance(tensors, Mapping) and isinstance(tensors.get(key), Mapping):
            tensors = tensors[key]
            break
    if not isinstance(tensors, Mapping) or not all(torch.is_tensor(value) for value in tensors.values()):
        raise DataError(
            f"{file}: this file holds something else than weights.", fix="Save model.state_dict() instead."
        )
    return {_bare(name): value for name, value in tensors.items()}


def _in_our_form(model: "nn.Module", tensors: dict[str, "Tensor"], file: Path) -> dict[str, "Tensor"]:
    """Names and shapes as timm has them now: its converters read older and foreign forms of a model."""
    import sys

    module = sys.modules[type(model).__module__]
    for name in ("checkpoint_filter_fn", "_filter_fn"):
        convert = getattr(module, name, None)
        if convert is not None:
            try:
                return dict(convert(tensors, model))
            except Exception as error:
                raise UsageError(
                    f"{file} does not hold the weights of this model ({type(error).__name__}: {error}).",
                    fix="Give the model's own file.",
                ) from error
    return tensors


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (", ".join(names[:NAMED]) or "none") + more
