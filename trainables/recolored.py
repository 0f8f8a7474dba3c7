"""A random change of colour for each view of a dense kind, drawn from numpy's generator."""

import math

import numpy as np
import torch
from torch import Tensor

from trainables.color import color_maps, normalise
from trainables.draws import HUE_TURN, JITTER


def coloured(images: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Images uint8 [B, 3, H, W] normalised, each after a random change of colour by the strength 0..1."""
    out = torch.empty(images.shape)
    if not strength:
        return normalise(images, out)
    reach = np.array([JITTER, JITTER, JITTER, 2 * math.pi * HUE_TURN]) * strength
    changes = np.array([1, 1, 1, 0]) + rng.uniform(-1, 1, (len(images), 4)) * reach
    return color_maps(torch.from_numpy(changes).float()).normalised(images, out)
