"""The eight ways to lay a picture down, each with its exact inverse."""

from torch import Tensor

VIEWS = {"none": (0,), "flip": (0, 1), "eight": tuple(range(8))}
"""By `config.tta`, the views of a picture whose answers are averaged; see `turned`."""


def turned(x: Tensor, view: int) -> Tensor:
    """One of the 8 views of [..., H, W]: bit 4 transposes, then bit 2 turns upside down and bit 1 mirrors."""
    x = x.transpose(-2, -1) if view & 4 else x
    axes = [axis for bit, axis in ((2, -2), (1, -1)) if view & bit]
    return x.flip(axes) if axes else x


def turned_back(x: Tensor, view: int) -> Tensor:
    """Undoes `turned`, exactly."""
    x = turned(x, view & 3)
    return x.transpose(-2, -1) if view & 4 else x
