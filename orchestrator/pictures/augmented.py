"""Training pictures beside the random views of them that the trial saw."""

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.evidence.content import Picture
from orchestrator.pictures.cells import cells_for
from orchestrator.pictures.style import save
from trainables.config import TrialConfig

if TYPE_CHECKING:
    from trainables.shown import Shown

ROWS, VIEWS = 3, 7
FIELDS = ("crop", "flip", "vertical_flip", "rotation", "translate", "color", "erasing")
MIXING = ("mixup", "cutmix")


def augmented(trainer: "Shown", config: TrialConfig, path: Path, *, title: str) -> Picture | None:
    """A row a training picture: it and its views; below, mixed pictures. None where nothing is random."""
    from trainables.looking import unnormalised
    from trainables.shown import different_views, mixed_views, training_rows, whole_picture

    rows = training_rows(trainer, ROWS)
    views = [unnormalised(different_views(trainer, row, VIEWS)) for row in rows]
    mixed = mixed_views(trainer, training_rows(trainer, VIEWS))
    if mixed is None and all(len(some) < 2 for some in views):
        return None
    cells = cells_for(title, VIEWS + 1, [0.2, *[0.04] * (len(rows) - (mixed is None))])
    for line, (row, some) in enumerate(zip(rows, views, strict=True)):
        cells.picture(line, 0, whole_picture(trainer, row), "" if line else "the picture")
        for column, view in enumerate(some, 1):
            cells.picture(line, column, view, "" if line else f"view {column}")
    for column, view in enumerate([] if mixed is None else unnormalised(mixed), 1):
        cells.picture(len(rows), column, view)
    save(cells.figure, path)
    return Picture(file=path, caption=_caption(config, min(map(len, views)), mixed=mixed is not None))


def _caption(config: TrialConfig, different: int, *, mixed: bool) -> str:
    how = asked(config) or "whole"
    said = f"Training pictures as the trial saw them, drawn as its configuration says ({how})."
    if different < VIEWS:
        said += f" It has no more than {different} different views of a picture."
    if mixed:
        some = config.mix_probability < 1
        share = f"{config.mix_probability:.0%} of the batches" if some else "All batches"
        used = [name for name in MIXING if getattr(config, name)]
        by = " or ".join(f"{name} ({getattr(config, name):.3g})" for name in used)
        said += f" {share} were mixed by {by}, as in the last row."
    return said


def asked(config: TrialConfig) -> str:
    """The augmentations of a configuration, as its file spells them."""
    policy = () if config.augment == "standard" else (f"augment={config.augment}",)
    chosen = [name for name in FIELDS if getattr(config, name)] if config.augment != "none" else []
    return ", ".join((*policy, *(f"{name}={_value(getattr(config, name))}" for name in chosen)))


def _value(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:.3g}"
