"""What a trained classifier makes of pictures inside: its layers' maps, and what it takes to its end.

A layer's output counts as a map where it is float [B, C, S, S], the same with the channels last, or the
tokens of a square of patches; all are given as [B, C, S, S].
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import isqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables import layers
from trainables.color import MEAN, STD
from trainables.convolutions import DenseConv2d, DepthwiseConv2d
from trainables.errors import OrchestratorError
from trainables.feed import Feed
from trainables.task import Head
from trainables.trainers import ClassTrainer

BATCH = 64
CELLS = 4
"""Of a map that becomes one vector, no more than this squared are kept of a channel, each a mean."""


class NotShown(OrchestratorError):
    """A network, or a task, that a picture cannot be made of."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A layer whose output is a map, for pictures of the trial's size."""

    name: str
    channels: int
    side: int


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """The strongest answer of every channel of a layer to every picture."""

    values: np.ndarray
    """float32 [n, C]."""
    places: np.ndarray
    """int64 [n, C, 2]: row and column in the map."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one look at some pictures of the validation part left."""

    rows: np.ndarray
    """int64 [n]: the pictures, as rows of the part."""
    targets: np.ndarray
    """int64 [n, heads]."""
    logits: Mapping[str, np.ndarray]
    """float32 [n, classes] of each head, of the plain picture alone."""
    last: np.ndarray
    """float32 [n, D]: what the last fully connected layer takes."""
    maps: Mapping[str, np.ndarray]
    """float32 [n, D] of each layer asked for: its map, averaged over at most `CELLS` x `CELLS` places."""
    peaks: Mapping[str, Peaks]


class Looker:
    """A trained classifier, executed plainly in float32, and the pictures that its trial validated on."""

    def __init__(self, trainer: ClassTrainer) -> None:
        learner = trainer.learner
        self.trainer, self.config, self.kind = trainer, learner.config, trainer.kind
        self.valid: Feed = trainer.valid
        self.model = plainly(learner.evaluated)
        self.size, self.device = self.config.image_size, learner.device
        self.prefix = int(getattr(self.model, "num_prefix_tokens", 0) or 0)
        self.spots = self._spots()
        """From the input on."""

    @property
    def heads(self) -> tuple[Head, ...]:
        return self.kind.heads

    @property
    def targets(self) -> np.ndarray | None:
        """int64 [n, heads] of the validation part, in its order; None where there is none to look at."""
        known = self.trainer.parts["valid"].targets
        return None if known is None or not len(self.valid) else np.asarray(known)[self.valid.rows.numpy()]

    @property
    def middle(self) -> Spot:
        """The layer with as many before it as behind it."""
        return self.spots[len(self.spots) // 2]

    def spread(self, count: int) -> list[Spot]:
        """At most `count` layers, evenly from the first to the last."""
        places = np.linspace(0, len(self.spots) - 1, min(count, len(self.spots))).round().astype(int)
        return [self.spots[place] for place in places]

    def pictures(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """Whole pictures of the validation part, normalised float32 [B, 3, size, size]."""
        return self.valid.plain(torch.from_numpy(np.asarray(rows, dtype=np.int64)), self.size)

    def shown(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The same as they are looked at by people, uint8 [B, size, size, 3]."""
        return unnormalised(self.pictures(rows))

    def look(self, rows: np.ndarray, spots: Sequence[Spot]) -> Seen:
        """One pass over pictures of the validation part, int64 [n], keeping what `spots` say of them."""
        found: dict[str, list[Tensor]] = {}

        def keep(name: str, x: Tensor) -> None:
            found.setdefault(name, []).append(x)

        last = self._last(rows[:1]).register_forward_pre_hook(lambda _, given: keep("last", _flat(given[0])))
        outputs = []
        with (
            self.tapped({spot.name: partial(_summarise, keep, spot.name) for spot in spots}),
            torch.no_grad(),
        ):
            for some in np.array_split(rows, max(1, -(-len(rows) // BATCH))):
                outputs.append(self.model(self.pictures(some)))
        last.remove()
        whole = {name: torch.cat(pieces).cpu().numpy() for name, pieces in found.items()}
        places = torch.from_numpy(rows)
        predictions = self.kind.predict(self.valid.names(places), torch.cat(outputs).cpu(), self.config)
        return Seen(
            rows=rows,
            targets=self.valid.targets_of(places).cpu().numpy(),
            logits=predictions.fields,
            last=whole["last"],
            maps={spot.name: whole[f"{spot.name} map"] for spot in spots},
            peaks={
                spot.name: Peaks(values=whole[f"{spot.name} value"], places=whole[f"{spot.name} place"])
                for spot in spots
            },
        )

    def maps(self, rows: Sequence[int] | np.ndarray, spots: Sequence[Spot]) -> dict[str, np.ndarray]:
        """float32 [B, C, S, S] of each layer, for pictures of the validation part."""
        found: dict[str, np.ndarray] = {}

        def keep(name: str) -> Callable[[Tensor], None]:
            return lambda x: found.update({name: x.cpu().numpy()})

        with self.tapped({spot.name: keep(spot.name) for spot in spots}), torch.no_grad():
            self.model(self.pictures(rows))
        return found

    @contextmanager
    def tapped(self, taps: Mapping[str, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
        """Lets each tap see the map of its layer, [B, C, S, S], and change it where it returns one."""

        def hook(tap: Callable[[Tensor], Tensor | None]) -> Callable[..., Tensor | None]:
            def run(_: nn.Module, given: object, output: Tensor) -> Tensor | None:
                form = _form(output, self.prefix)
                changed = tap(form.map) if form else None
                return form.back(changed) if form and changed is not None else None

            return run

        hooks = [self.model.get_submodule(n).register_forward_hook(hook(tap)) for n, tap in taps.items()]
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

    def _spots(self) -> list[Spot]:
        """The first layer with a map of more than one place, and the blocks; without blocks all layers."""
        found: dict[str, Spot] = {}
        every = layers.opened(self.model, self.size, fewest=0)
        named = [layer for layer in every if layer.whole and layer.name]

        def keep(name: str, x: Tensor) -> None:
            found[name] = Spot(name=name, channels=x.shape[1], side=x.shape[-1])

        with self.tapped({layer.name: partial(keep, layer.name) for layer in named}), torch.no_grad():
            self.model(torch.zeros(1, 3, self.size, self.size, device=self.device))
        maps = [layer for layer in named if layer.name in found and found[layer.name].side > 1]
        blocks = [layer for layer in maps[1:] if layer.parts]
        return [found[layer.name] for layer in ([*maps[:1], *blocks] if len(blocks) > 1 else maps)]

    def _last(self, rows: np.ndarray) -> nn.Module:
        """The fully connected layer, or convolution, that is called last. Raises NotShown."""
        called: list[nn.Module] = []
        each = [module for module in self.model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        hooks = [module.register_forward_hook(lambda m, *_: called.append(m)) for module in each]
        with torch.no_grad():
            self.model(self.pictures(rows))
        for hook in hooks:
            hook.remove()
        if not called:
            raise NotShown(f"{self.config.model} has no fully connected layer")
        return called[-1]


def plainly(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode of torch's own convolutions, that overwrites nothing it computed.

    Its weights take no gradients. It answers as the network does, up to rounding.
    """
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format).float().eval()
    for module in model.modules():
        if isinstance(module, DenseConv2d | DepthwiseConv2d):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return model.requires_grad_(False)


def stratified(targets: np.ndarray, most: int) -> np.ndarray:
    """Places int64 [n] of at most `most` of targets int64 [N], of each class as many as there are alike.

    In rising order; always the same ones.
    """
    order = np.random.default_rng(0).permutation(len(targets))
    turn = np.zeros(len(targets), dtype=np.int64)
    for label in np.unique(targets):
        own = order[targets[order] == label]
        turn[own] = np.arange(len(own))
    chosen: np.ndarray = np.sort(order[np.argsort(turn[order], kind="stable")][:most])
    return chosen


def unnormalised(views: Tensor) -> np.ndarray:
    """Normalised float [B, 3, H, W] as uint8 [B, H, W, 3]."""
    pixels = views.detach().cpu() * STD[:, None, None] + MEAN[:, None, None]
    shown: np.ndarray = (255 * pixels).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return shown


@dataclass(frozen=True, kw_only=True)
class _Form:
    """An output as a map, and a map of the same shape as such an output."""

    map: Tensor
    """[B, C, S, S]."""
    back: Callable[[Tensor], Tensor]


def _form(output: object, prefix: int) -> _Form | None:
    """None where it is no map. `prefix` tokens, such as that of the class, stand for no patch."""
    if not isinstance(output, Tensor):
        return None
    if output.dim() == 4 and output.shape[2] == output.shape[3]:
        return _Form(map=output, back=lambda x: x)
    if output.dim() == 4 and output.shape[1] == output.shape[2]:
        return _Form(map=output.permute(0, 3, 1, 2), back=lambda x: x.permute(0, 2, 3, 1))
    if output.dim() != 3 or isqrt(output.shape[1] - prefix) ** 2 != output.shape[1] - prefix:
        return None
    first, rest = output[:, :prefix], output[:, prefix:]
    return _Form(
        map=rest.mT.unflatten(2, (isqrt(rest.shape[1]), -1)),
        back=lambda x: torch.cat([first, x.flatten(2).mT], 1),
    )


def _summarise(keep: Callable[[str, Tensor], None], name: str, x: Tensor) -> None:
    """Keep of a map its coarse form, and the value and place of every channel's peak."""
    value, index = x.flatten(2).max(2)
    keep(f"{name} map", F.adaptive_avg_pool2d(x, min(CELLS, x.shape[-1])).flatten(1))
    keep(f"{name} value", value)
    keep(f"{name} place", torch.stack([index // x.shape[-1], index % x.shape[-1]], 2))


def _flat(x: Tensor) -> Tensor:
    """[B, D] of what a layer takes: vectors, tokens [B, N, D] or maps [B, D, S, S], which are averaged."""
    if x.dim() == 3:
        return x.mean(1)
    return x.mean((2, 3)) if x.dim() == 4 else x
