"""What every trial's process holds before it is forked. Starts no threads and touches no device."""

import csv

import kornia.augmentation
import numpy.ctypeslib
import safetensors.torch
import timm
import torch
import torch.utils.flop_counter

import orchestrator.slot
import trainables.augment
import trainables.kinds.classification
import trainables.models._timm
import trainables.models.convnet
import trainables.train

__all__ = ["csv", "kornia", "numpy", "orchestrator", "safetensors", "timm", "torch", "trainables"]
