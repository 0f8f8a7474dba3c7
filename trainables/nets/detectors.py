"""What all detectors share: the form of their targets and answers. Shapes: B images, P points, K answers."""

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.ops import batched_nms

CANDIDATES = 1000
"""Answers of an image that go into non-maximum suppression, the best."""
KEPT = 300
"""Answers of an image, at most."""
FAINT = 0.01
"""Answers of a lower score are dropped before non-maximum suppression."""


def padded(boxes: list[Tensor], scores: list[Tensor], labels: list[Tensor]) -> Tensor:
    """Answers float32 [B, K, 6] of each image's boxes [K_i, 4], scores and labels; score 0 fills up."""
    most = max([1, *map(len, boxes)])
    rows = [
        torch.cat([box, score[:, None], label[:, None].to(box.dtype)], 1)
        for box, score, label in zip(boxes, scores, labels, strict=True)
    ]
    return torch.stack([pad(row, (0, 0, 0, most - len(row))) for row in rows])


def suppressed(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Answers [B, K, 6] of boxes [B, P, 4] with scores [B, P, C]; what overlaps a better one is left out."""
    kept_boxes, kept_scores, kept_labels = [], [], []
    for box, score in zip(boxes.float(), scores.float(), strict=True):
        flat = score.flatten()
        best = flat.topk(min(CANDIDATES, len(flat))).indices
        best = best[flat[best] >= FAINT]
        point, label = best // score.shape[1], best % score.shape[1]
        kept = batched_nms(box[point], flat[best], label, threshold)[:KEPT]
        kept_boxes.append(box[point][kept])
        kept_scores.append(flat[best][kept])
        kept_labels.append(label[kept])
    return padded(kept_boxes, kept_scores, kept_labels)


def objects(targets: Tensor, *, first_label: int = 0) -> list[dict[str, Tensor]]:
    """Targets [B, M, 5 or more] in torchvision's form, labels from `first_label`; none of label -1."""
    some = [image[image[:, 4] >= 0] for image in targets]
    return [{"boxes": t[:, :4].contiguous(), "labels": t[:, 4].long() + first_label} for t in some]
