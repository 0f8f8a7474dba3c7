"""torchvision's one-stage detectors on views that are ready: FCOS and RetinaNet. B images."""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead

from trainables.nets.detectors import CANDIDATES, FAINT, KEPT, objects, padded
from trainables.nets.pyramids import Pyramid, anchor_sizes, image_list, mean_of

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.models._pyramid import PyramidOptions
    from trainables.models.fcos import Options

RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors."""


class OneStage(nn.Module):
    """A detector of torchvision's without its resizing and normalisation."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, views: Tensor, targets: Tensor | None = None) -> Tensor:
        """Losses [1] with targets [B, M, 5], else answers [B, K, 6]."""
        detector, images = self.detector, image_list(views)
        features = list(detector.backbone(views).values())
        outputs = {name: value.float() for name, value in detector.head(features).items()}
        anchors = detector.anchor_generator(images, features)
        points = [level.shape[2] * level.shape[3] for level in features]
        if targets is not None:
            levels = (points,) if isinstance(detector, FCOS) else ()
            return mean_of(detector.compute_loss(objects(targets), outputs, anchors, *levels))
        each = [n * detector.anchor_generator.num_anchors_per_location()[0] for n in points]
        split = {name: list(value.split(each, dim=1)) for name, value in outputs.items()}
        found = detector.postprocess_detections(
            split, [list(some.split(each)) for some in anchors], images.image_sizes
        )
        boxes, scores, labels = ([image[name] for image in found] for name in ("boxes", "scores", "labels"))
        return padded(boxes, scores, labels)


def fcos(config: "TrialConfig", options: "Options", num_classes: int) -> nn.Module:
    """FCOS (Tian et al., 2019)."""
    pyramid = Pyramid(config, options)
    strides = [options.finest * 2**level for level in range(options.levels)]
    anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
    head = FCOSHead(options.channels, 1, num_classes, options.head_depth)
    return OneStage(
        FCOS(pyramid, num_classes, anchor_generator=anchors, head=head, **_limits(options, score=FAINT))
    )


def retinanet(config: "TrialConfig", options: "PyramidOptions", num_classes: int) -> nn.Module:
    """RetinaNet (Lin et al., 2017)."""
    pyramid = Pyramid(config, options)
    sizes = anchor_sizes(options)
    anchors = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
    return OneStage(
        RetinaNet(pyramid, num_classes, anchor_generator=anchors, **_limits(options, score=FAINT))
    )


def _limits(options: "PyramidOptions", *, score: float) -> dict[str, Any]:
    return {
        "score_thresh": score,
        "nms_thresh": options.nms,
        "detections_per_img": KEPT,
        "topk_candidates": CANDIDATES,
    }
