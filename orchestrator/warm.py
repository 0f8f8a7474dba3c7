"""What every trial's process holds before it is forked. Starts no threads and touches no device."""

import kornia.augmentation
import timm
import torch

import trainables.augment
import trainables.train

__all__ = ["kornia", "timm", "torch", "trainables"]
