"""A look at a node of a cluster before the first trial: does it do the same work as the head?"""

import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.copies import SCRATCH, Home, scratch, shares_disk
from orchestrator.depot import Depot
from orchestrator.provenance import versions

TRAINING = ("ray", "torch", "torchvision", "timm", "kornia", "numpy", "pillow")
"""Packages that decide a trial's result."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a node is, as far as trials care."""

    python: str
    packages: Mapping[str, str]
    """Versions of those of `TRAINING` that are there, without what says how they were built."""
    cuda: bool | None
    """Whether torch sees a GPU; None where it was not asked."""
    shares: bool
    """Whether it works on the head's disk."""
    folder: str
    """Where trials write."""
    free_bytes: int
    refused: str
    """Why the folder cannot be written; "" where it can."""
    share: str
    """Why the object store cannot be read that the search takes its images from; "" where it can."""


def facts(home: Home, *, gpus: bool) -> Facts:
    """Look at this node; with `gpus` torch is loaded to see whether it finds them."""
    shares = shares_disk(home)
    folder = Path(home.search) if shares else scratch()
    refused, cuda = "", None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        refused = error.strerror or str(error)
    if gpus:
        import torch

        cuda = torch.cuda.is_available()
    return Facts(
        python=platform.python_version(),
        packages={k: v.partition("+")[0] for k, v in versions().items() if k in TRAINING},
        cuda=cuda,
        shares=shares,
        folder=str(folder),
        free_bytes=shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free,
        refused=refused,
        share=Depot(home.share, Path(home.store).name).problem() if home.share and not shares else "",
    )


def lacks(here: Facts, node: Facts, *, needed_bytes: int) -> list[str]:
    """What keeps a node from doing the same work as the head, `here`; a sentence each."""
    found = []
    if node.python.split(".")[:2] != here.python.split(".")[:2]:
        found.append(f"Python {node.python}, the head has {here.python}")
    for name, version in here.packages.items():
        there = node.packages.get(name)
        if there != version:
            found.append(f"{name} {there or 'is missing'}, the head has {version}")
    if node.cuda is False:
        found.append("torch sees none of its GPUs: look at the driver, and whether torch was built with CUDA")
    if node.refused:
        found.append(f"{node.folder} cannot be written ({node.refused}): set {SCRATCH} on it")
    elif node.free_bytes < needed_bytes and not node.shares:
        free, needed = node.free_bytes / 1e6, needed_bytes / 1e6
        room = f"{free:,.0f} MB free in {node.folder}, {needed:,.0f} MB are needed"
        found.append(f"{room}: set {SCRATCH} on it")
    if node.share:
        found.append(f"it cannot read what --share names ({node.share})")
    return found
