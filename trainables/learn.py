"""What a trial of classes holds while it trains, and one pass over the training part."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainables.augment import Augment
from trainables.config import TrialConfig
from trainables.execution import Execution
from trainables.feed import Feed
from trainables.mixing import Mixer, Targets
from trainables.objective import Objective
from trainables.sampling import Sampler
from trainables.staged import require_sizes, size_in
from trainables.store import Part
from trainables.task import Kind, Rules
from trainables.training import Interrupted, Training, go_on
from trainables.tta import View, plain_view


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one pass over the training part leaves behind."""

    loss: float
    """Mean over the images, as the network was while it learned from them."""
    lr: float
    """Of the last update."""
    rows: Tensor
    """int64 [n] on the CPU: the images in the order in which they were seen."""
    answers: Tensor
    """float32 [n, num_outputs] of these images as they were augmented."""


class Learner(Training):
    """A network that learns classes, with its training data and random numbers; see `Training`."""

    def __init__(
        self,
        kind: Kind,
        part: Part,
        config: TrialConfig,
        *,
        cancelled: Callable[[], bool] = go_on,
        findings: Path | None = None,
        executed: Execution | None = None,
        rules: Rules | None = None,
    ) -> None:
        super().__init__(
            config,
            num_outputs=kind.num_outputs(config),
            num_rows=len(part.places),
            cancelled=cancelled,
            findings=findings,
            executed=executed,
            rules=rules,
        )
        self.feed = Feed(part, self.device)
        if config.start_size < 1:
            require_sizes(self.model, config)
        targets = self.feed.targets_of(self.feed.rows)
        self.sampler = Sampler(config, self.feed.rows, targets.cpu())
        seeds = {"order": config.seed, "draws": config.seed + 1, "mixing": config.seed + 2}
        self.generators = {name: torch.Generator().manual_seed(seed) for name, seed in seeds.items()}
        self.mixer = Mixer(config, self.generators["mixing"])
        self.augment, self.size = Augment(config, self.generators["draws"]), config.image_size
        self.begin(Objective(kind, config, targets), self._plain_batch)

    def learn(self, epoch: int) -> Pass:
        """Epoch `epoch`, counted from 1, of training. Raises Interrupted and TrialDiverged."""
        self._resize(size_in(self.config, epoch))
        seen = list(self.feed.batches(self.sampler.epoch(self.generators["order"]), self.update_size))
        shown = self.run(epoch, self._views(seen))
        return Pass(loss=shown.loss, lr=shown.lr, rows=torch.cat(seen), answers=torch.cat(shown.kept))

    @torch.inference_mode()
    def answers(
        self, feed: Feed, *, view: View = plain_view, cancelled: Callable[[], bool] = go_on
    ) -> Tensor:
        """Outputs float32 [n, num_outputs] of a view of every image of a part, in its order.

        The part may be empty. A batch that does not fit into memory is halved, and that is remembered.
        Raises Interrupted when `cancelled` says so between two batches.
        """
        self.evaluated.eval()
        answers: Tensor = self.fitting(lambda size: self._answers(feed, size, view, cancelled))
        return answers

    def _answers(self, feed: Feed, size: int, view: View, cancelled: Callable[[], bool]) -> Tensor:
        answers = [torch.zeros(0, self.num_outputs, device=self.device)]
        for rows in feed.in_order(size):
            if cancelled():
                raise Interrupted
            views = view(feed, rows, self.config.image_size)
            answers.append(self.step.evaluate(views, None if self.average is None else self.average.model))
        return torch.cat(answers)

    def _views(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Targets]]:
        """Augmented and mixed views of each batch of rows, made when they are asked for."""
        for rows in batches:
            yield self.mixer(self.augment.batch(self.feed, rows), self.feed.targets_of(rows))

    def _resize(self, size: int) -> None:
        """Let training pictures have `size` px from now on; the random numbers go on."""
        if size != self.size:
            config = dataclasses.replace(self.config, image_size=size)
            self.augment = Augment(config, self.generators["draws"], path=self.augment.path)
            self.size = size

    def _plain_batch(self) -> tuple[Tensor, Targets]:
        rows = self.feed.rows[: self.config.batch_size]
        views = self.feed.plain(rows, self.config.image_size)
        return views, Targets(first=self.feed.targets_of(rows))
