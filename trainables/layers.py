"""The layers of a network as a table would list them: shapes, parameters, multiply-accumulates."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

MOST = 25
"""Rows of a table that is still read."""
FEWEST = 10
"""With fewer rows the blocks are opened too, and not only what holds them."""
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A module that was called, for one picture; its `parts` are the modules inside it."""

    name: str
    """As the state dict spells it; of several "first to last"."""
    kind: str
    shape: tuple[int, ...]
    """Of its output, without the batch; of several outputs the first's."""
    parameters: int
    macs: int
    container: bool = False
    """It only holds its parts."""
    whole: bool = True
    """False where it stands for what a module does beside its parts, or for several modules."""
    parts: "tuple[Layer, ...]" = ()


def table(model: nn.Module, image_size: int) -> list[Layer]:
    """At most about `MOST` layers, in the order in which they are called; they add up to the network.

    Layers that neither compute nor change the shape (activations, dropout) are left out. Where there are
    too many, neighbours that are alike become one row. The network takes float [1, 3, image_size,
    image_size], on whatever device it is; its mode, weights and statistics stay as they are.
    """
    shown = opened(model, image_size)
    return shown if len(shown) <= MOST else merged(shown)


def opened(model: nn.Module, image_size: int, *, fewest: int = FEWEST) -> list[Layer]:
    """The layers of `table` before neighbours are merged; blocks are opened where there are too few."""
    root = tree(model, image_size)
    shown = list(root.parts) or [root]
    while True:
        wider = _wider(shown, lambda layer: layer.container)
        if wider == shown and len(shown) < fewest:
            wider = _wider(shown, lambda layer: True)
        if wider == shown or len(merged(wider)) > MOST:
            return shown
        shown = wider


def merged(layers: list[Layer]) -> list[Layer]:
    """Neighbours of one kind, in one place and with one shape, as one layer."""

    def likeness(layer: Layer) -> tuple[object, ...]:
        return layer.kind, layer.shape, layer.name.rpartition(".")[0], layer.whole

    return [_as_one(list(group)) for _, group in groupby(layers, likeness)]


def _as_one(group: list[Layer]) -> Layer:
    if len(group) == 1:
        return group[0]
    return replace(
        group[0],
        name=f"{group[0].name} to {group[-1].name.rpartition('.')[2]}",
        kind=f"{len(group)} x {group[0].kind}",
        parameters=sum(layer.parameters for layer in group),
        macs=sum(layer.macs for layer in group),
        whole=False,
        parts=(),
    )


def _wider(shown: list[Layer], which: Callable[[Layer], bool]) -> list[Layer]:
    """The layers with those that `which` names replaced by their parts."""
    return [part for layer in shown for part in (layer.parts if layer.parts and which(layer) else [layer])]


@dataclass
class _Call:
    """What was seen of a module that was called; of several calls the last shapes."""

    taken: tuple[int, ...] = ()
    given: tuple[int, ...] = ()


def tree(model: nn.Module, image_size: int) -> Layer:
    """The whole network as one layer with its parts."""
    calls, macs = _watched(model, image_size)
    return _layer("", model, calls, macs)


def _watched(model: nn.Module, image_size: int) -> tuple[dict[str, _Call], Counter[str]]:
    """Every module called by its name, in the order of the calls, and what each multiplies."""
    calls: dict[str, _Call] = {}
    names = {module: name for name, module in model.named_modules()}

    def before(module: nn.Module, inputs: tuple[object, ...]) -> None:
        calls.setdefault(names[module], _Call()).taken = shape_of(inputs)

    def after(module: nn.Module, inputs: object, output: object) -> None:
        calls[names[module]].given = shape_of(output)

    hooks = [m.register_forward_pre_hook(before) for m in names]
    hooks += [m.register_forward_hook(after) for m in names]
    training = model.training
    device = next(iter([*model.parameters(), *model.buffers()])).device
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    root = type(model).__name__
    counts = {name.removeprefix(root).lstrip("."): ops for name, ops in counter.get_flop_counts().items()}
    return calls, Counter({name: sum(ops.values()) // 2 for name, ops in counts.items()})


def _layer(name: str, module: nn.Module, calls: dict[str, _Call], macs: Counter[str]) -> Layer:
    inner = sorted(_called(name, module, calls), key=list(calls).index)
    parts = [_layer(each, module.get_submodule(each[len(name) :].lstrip(".")), calls, macs) for each in inner]
    own = sum(p.numel() for p in module.parameters())
    rest = own - sum(part.parameters for part in parts), macs[name] - sum(part.macs for part in parts)
    loud = [part for part in parts if part.parameters or part.macs or part.parts or not _silent(part, calls)]
    if loud and any(rest):
        loud.append(
            Layer(
                name=f"{name or 'network'} itself",
                kind=type(module).__name__,
                shape=calls[name].given,
                parameters=rest[0],
                macs=rest[1],
                whole=False,
            )
        )
    return Layer(
        name=name,
        kind=kind_of(module),
        shape=calls[name].given,
        parameters=own,
        macs=macs[name],
        container=isinstance(module, CONTAINERS),
        parts=tuple(loud),
    )


def _called(name: str, module: nn.Module, calls: dict[str, _Call]) -> Iterator[str]:
    """Names of the modules called right inside this one; what is never called itself is looked into."""
    for key, child in module.named_children():
        inner = f"{name}.{key}" if name else key
        if inner in calls:
            yield inner
        else:
            yield from _called(inner, child, calls)


def _silent(layer: Layer, calls: dict[str, _Call]) -> bool:
    call = calls[layer.name]
    return call.taken == call.given


def shape_of(value: object) -> tuple[int, ...]:
    """Shape of the first tensor in it, without the batch; () where there is none."""
    if isinstance(value, Tensor):
        return tuple(value.shape[1:])
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((shape for each in inside if (shape := shape_of(each))), ())


def kind_of(module: nn.Module) -> str:
    """The class, and of a convolution or pooling its window and stride."""
    name = type(module).__name__
    window, stride = (getattr(module, key, None) for key in ("kernel_size", "stride"))
    if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
        name = f"depthwise {name}"
    if not isinstance(window, int | tuple) or not isinstance(stride, int | tuple):
        return name
    (height, width), step = _pair(window), _pair(stride)[0]
    return f"{name} {height} x {width}" + (f", stride {step}" if step != 1 else "")


def _pair(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[-1])
