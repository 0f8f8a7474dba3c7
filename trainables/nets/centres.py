"""The point-wise detector, alone and with a mask an object. Shapes: B images, P points, M objects at most."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate
from torchvision.ops import generalized_box_iou_loss, roi_align

from trainables.nets.detectors import suppressed
from trainables.nets.masks import POOLED, MaskHead, chosen, mask_loss, worth_drawing
from trainables.nets.pyramids import ConvNorm, Ladder

if TYPE_CHECKING:
    from trainables.models.centre_masks import Options as MaskOptions
    from trainables.models.centres import Options

LEARNED = 64
"""Objects of a batch whose masks are learned from."""
MOVED = 0.1
"""An edge moves by up to this share of the box, so that the mask does not trust it."""


class Centres(nn.Module):
    """Every point of one map says which object's middle it lies in, and how far its four edges are.

    After FCOS (Tian et al., 2019) on one level; a point's score is trained to be the IoU of its box (Li et
    al., "Generalized focal loss", 2020). The map is a U-shape's: coarser ones see far and are added to it.
    """

    def __init__(self, options: "Options", num_classes: int) -> None:
        super().__init__()
        self.options = options
        steps = int(math.log2(options.stride))
        self.ladder = Ladder(steps + options.context, width=options.width, depth=options.depth)
        self.widths = self.ladder.widths
        self.first = steps - 1
        top = self.widths[self.first]
        self.laterals = nn.ModuleList(nn.Conv2d(width, top, 1) for width in self.widths[self.first :])
        self.head = nn.Sequential(ConvNorm(top, top), ConvNorm(top, top))
        self.score = _last(top, num_classes, -math.log(1 / options.prior - 1))
        self.edges = _last(top, 4, math.log(options.object_size / 2 / options.stride))

    def forward(self, views: Tensor, targets: Tensor | None = None) -> Tensor:
        scores, boxes, points = self.points(self.fused(self.ladder(views)))
        if targets is None:
            return suppressed(boxes, scores.sigmoid(), self.options.nms)
        return self.losses(scores, boxes, points, targets)

    def fused(self, maps: list[Tensor]) -> Tensor:
        """The map [B, C, h, w] at the stride, with the coarser ones in it."""
        pairs = zip(self.laterals, maps[self.first :], strict=True)
        finer: list[Tensor] = [lateral(level) for lateral, level in pairs]
        x = finer.pop()
        for level in reversed(finer):
            x = level + interpolate(x, level.shape[-2:], mode="nearest")
        return x

    def points(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, P, C] and boxes [B, P, 4] of the points, and where these lie [P, 2], in px."""
        x = self.head(features)
        scores = self.score(x).flatten(2).transpose(1, 2).float()
        steps = self.edges(x).flatten(2).transpose(1, 2).float()
        stride = self.options.stride
        rows, columns = (torch.arange(n, device=x.device) * stride + stride / 2 for n in x.shape[-2:])
        points = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1).view(-1, 2)
        reach = steps.clamp(-6, 6).exp() * stride
        return scores, torch.cat([points - reach[..., :2], points + reach[..., 2:]], 2), points

    def losses(self, scores: Tensor, boxes: Tensor, points: Tensor, targets: Tensor) -> Tensor:
        """Loss [B]: focal loss of the scores and GIoU of the boxes, over the number of an image's points."""
        owner, positive = assigned(points, targets, self.options.radius * self.options.stride)
        known = targets[..., :5].gather(1, owner[..., None].expand(-1, -1, 5))
        overlap = 1 - generalized_box_iou_loss(boxes, known[..., :4])
        quality = torch.where(positive, overlap.detach().clamp(0, 1), 0.0)
        wanted = torch.zeros_like(scores)
        wanted.scatter_(2, known[..., 4:].long().clamp(min=0), quality[..., None])
        plain = binary_cross_entropy_with_logits(scores, wanted, reduction="none")
        focal = (plain * (wanted - scores.sigmoid()).abs().square()).sum((1, 2))
        edges = torch.where(positive, 1 - overlap, 0.0).sum(1)
        count = positive.sum(1).float().mean().clamp(min=1)
        return (focal + self.options.box_weight * edges) / count


def _last(num_in: int, num_out: int, bias: float) -> nn.Conv2d:
    """A convolution that answers about `bias` everywhere before training."""
    layer = nn.Conv2d(num_in, num_out, 3, padding=1)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)
    return layer


def assigned(points: Tensor, targets: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Which object's box each point learns, int64 [B, P], and whether it learns one at all.

    Those within `radius` px of a box's middle, along x and y, and in the box; of several the smallest box.
    The point nearest to a box's middle belongs to it in any case, unless to a smaller one.
    """
    x1, y1, x2, y2, label = targets[..., :5].unbind(2)
    middle = torch.stack([x1 + x2, y1 + y2], 2) / 2
    away = (points[None, :, None] - middle[:, None]).abs().amax(3)
    px, py = points[None, :, None, 0], points[None, :, None, 1]
    inside = (px > x1[:, None]) & (px < x2[:, None]) & (py > y1[:, None]) & (py < y2[:, None])
    nearest = away == away.amin(1, keepdim=True)
    takes = ((away < radius) & inside | nearest) & (label >= 0)[:, None]
    area = torch.where(takes, ((x2 - x1) * (y2 - y1))[:, None], torch.inf)
    smallest, owner = area.min(2)
    return owner, smallest.isfinite()


class CentreMasks(Centres):
    """The point-wise detector with a mask in each box, which learns in the true boxes, a little moved.

    After CenterMask (Lee & Park, 2020), without its attention.
    """

    def __init__(self, options: "MaskOptions", num_classes: int) -> None:
        super().__init__(options, num_classes)
        width = options.mask_width
        self.fine = nn.Conv2d(self.widths[self.first - 1], width, 1)
        self.coarse = nn.Conv2d(self.widths[self.first], width, 1)
        self.masks = MaskHead(width, num_classes, width=width, depth=options.mask_depth)
        self.mask_weight = options.mask_weight

    def forward(self, views: Tensor, targets: Tensor | None = None) -> Any:
        maps = self.ladder(views)
        fused = self.fused(maps)
        scores, boxes, points = self.points(fused)
        finer = self.fine(maps[self.first - 1])
        shared = finer + interpolate(self.coarse(fused), finer.shape[-2:], mode="nearest")
        if targets is not None:
            return self.losses(scores, boxes, points, targets) + self._mask_loss(shared, targets)
        answers = worth_drawing(suppressed(boxes, scores.sigmoid(), self.options.nms))
        drawn = [self._drawn(shared[k : k + 1], image) for k, image in enumerate(answers)]
        return answers, torch.stack(drawn)

    def _drawn(self, shared: Tensor, answers: Tensor) -> Tensor:
        """Probabilities [K, s, s] in the boxes of one image's answers [K, 6]."""
        drawn = self.masks(self._pooled(shared, [answers[:, :4]]))
        return chosen(drawn.float(), answers[:, 5].long()).sigmoid()

    def _mask_loss(self, shared: Tensor, targets: Tensor) -> Tensor:
        """The mean over at most `LEARNED` objects of the batch."""
        image, row = (targets[..., 4] >= 0).nonzero(as_tuple=True)
        some = torch.randperm(len(image), device=image.device)[:LEARNED]
        image, known = image[some], targets[image[some], row[some]]
        if len(known) == 0:
            return shared.sum() * 0.0
        sides = (known[:, 2:4] - known[:, :2]).repeat(1, 2)
        boxes = known[:, :4] + (torch.rand_like(sides) - 0.5) * 2 * MOVED * sides
        each = [boxes[image == k] for k in range(len(targets))]
        order = image.argsort(stable=True)
        logits = self.masks(self._pooled(shared, each))
        return self.mask_weight * mask_loss(logits, boxes[order], known[order]).mean()

    def _pooled(self, shared: Tensor, boxes: list[Tensor]) -> Tensor:
        """The features in the boxes of each image: [K, C, POOLED, POOLED]."""
        scale = 2 / self.options.stride
        pooled: Tensor = roi_align(shared.float(), boxes, POOLED, scale, sampling_ratio=2, aligned=True)
        return pooled
