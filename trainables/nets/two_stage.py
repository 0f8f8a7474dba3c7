"""torchvision's two-stage detectors on views that are ready, with masks and without. B images, K boxes."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign

from trainables.nets.detectors import FAINT, KEPT, objects, padded
from trainables.nets.masks import POOLED, MaskHead, chosen, mask_loss, worth_drawing
from trainables.nets.one_stage import RATIOS
from trainables.nets.pyramids import Pyramid, anchor_sizes, image_list, mean_of

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.models.faster_rcnn import Options
    from trainables.models.mask_rcnn import Options as MaskOptions

Maps = dict[str, Tensor]
"""The pyramid's levels by name."""
Size = tuple[int, int]
BOX_POOLED = 7
"""Side of the features in a proposal."""


class TwoStage(nn.Module):
    """Faster R-CNN (Ren et al., 2015) without torchvision's resizing and normalisation."""

    def __init__(self, config: "TrialConfig", options: "Options", num_classes: int) -> None:
        super().__init__()
        detector = _detector(config, options, num_classes)
        self.backbone, self.rpn, self.heads = detector.backbone, detector.rpn, detector.roi_heads

    def forward(self, views: Tensor, targets: Tensor | None = None) -> Any:
        """Losses [1] with targets [B, M, 5 or more], else answers [B, K, 6]."""
        features, images = self.backbone(views), image_list(views)
        known = None if targets is None else objects(targets, first_label=1)
        proposals, losses = self.rpn(images, features, known)
        sizes = images.image_sizes
        if targets is None:
            return self.answers(features, proposals, sizes)
        return mean_of(losses | self.learned(features, proposals, sizes, targets=targets))

    def learned(
        self, features: Maps, proposals: list[Tensor], sizes: list[Size], *, targets: Tensor
    ) -> dict[str, Tensor]:
        """The losses of the second stage."""
        return self._sampled(features, proposals, sizes, targets=targets)[0]

    def _sampled(
        self, features: Maps, proposals: list[Tensor], sizes: list[Size], *, targets: Tensor
    ) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """The losses; of each image the proposals [K, 4] that hit an object, and which of its objects [K]."""
        known = objects(targets, first_label=1)
        tried, matched, labels, steps = self.heads.select_training_samples(proposals, known)
        score_loss, box_loss = fastrcnn_loss(*self._predicted(features, tried, sizes), labels, steps)
        hits = [label > 0 for label in labels]
        found = [boxes[hit] for boxes, hit in zip(tried, hits, strict=True)]
        owners = [owner[hit] for owner, hit in zip(matched, hits, strict=True)]
        return {"scores": score_loss, "boxes": box_loss}, found, owners

    def answers(self, features: Maps, proposals: list[Tensor], sizes: list[Size]) -> Any:
        """Answers [B, K, 6]."""
        predicted = self._predicted(features, proposals, sizes)
        boxes, scores, labels = self.heads.postprocess_detections(*predicted, proposals, sizes)
        return padded(boxes, scores, [label - 1 for label in labels])

    def _predicted(self, features: Maps, boxes: list[Tensor], sizes: list[Size]) -> tuple[Tensor, Tensor]:
        """Logits [K, 1 + classes] and steps [K, 4 (1 + classes)] of all images' boxes."""
        pooled = self.heads.box_roi_pool(features, boxes, sizes)
        scores, steps = self.heads.box_predictor(self.heads.box_head(pooled))
        return scores.float(), steps.float()


class MaskTwoStage(TwoStage):
    """Mask R-CNN (He et al., 2017)."""

    def __init__(self, config: "TrialConfig", options: "MaskOptions", num_classes: int) -> None:
        super().__init__(config, options, num_classes)
        self.pool = _pool(options, POOLED)
        self.masks = MaskHead(
            options.channels, num_classes, width=options.mask_width, depth=options.mask_depth
        )

    def learned(
        self, features: Maps, proposals: list[Tensor], sizes: list[Size], *, targets: Tensor
    ) -> dict[str, Tensor]:
        losses, boxes, owners = self._sampled(features, proposals, sizes, targets=targets)
        known = [image[image[:, 4] >= 0][owner] for image, owner in zip(targets, owners, strict=True)]
        logits = self.masks(self.pool(features, boxes, sizes))
        each = mask_loss(logits, torch.cat(boxes), torch.cat(known))
        return losses | {"masks": each.sum() / max(len(each), 1)}

    def answers(self, features: Maps, proposals: list[Tensor], sizes: list[Size]) -> tuple[Tensor, Tensor]:
        """Answers [B, K, 6] and the probabilities [B, K, s, s] in their boxes."""
        answers = worth_drawing(super().answers(features, proposals, sizes))
        logits = self.masks(self.pool(features, list(answers[..., :4]), sizes)).float()
        drawn = chosen(logits, answers[..., 5].long().flatten()).sigmoid()
        return answers, drawn.view(*answers.shape[:2], *drawn.shape[1:])


def _detector(config: "TrialConfig", options: "Options", num_classes: int) -> Any:
    sizes = anchor_sizes(options)
    inner = options.channels * BOX_POOLED**2
    return FasterRCNN(
        Pyramid(config, options),
        rpn_anchor_generator=AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
        rpn_post_nms_top_n_train=options.proposals,
        rpn_post_nms_top_n_test=options.proposals,
        rpn_pre_nms_top_n_train=2 * options.proposals,
        rpn_pre_nms_top_n_test=2 * options.proposals,
        box_roi_pool=_pool(options, BOX_POOLED),
        box_head=TwoMLPHead(inner, options.representation),
        box_predictor=FastRCNNPredictor(options.representation, num_classes + 1),
        box_batch_size_per_image=options.sampled,
        box_score_thresh=FAINT,
        box_nms_thresh=options.nms,
        box_detections_per_img=KEPT,
    )


def _pool(options: "Options", side: int) -> MultiScaleRoIAlign:
    """Boxes of up to twice the usual size read the finest level, twice larger ones the next."""
    return MultiScaleRoIAlign(
        [str(level) for level in range(options.levels)],
        side,
        2,
        canonical_scale=round(2 * options.object_size),
        canonical_level=int(math.log2(options.finest)) + 1,
    )
