"""What a search refuses before its first trial: models that cost more than the rules allow, idle settings."""

import math
import os
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.preflight import check_models, in_child
from trainables.config import trial_config
from trainables.errors import OrchestratorError, RuleViolation, UsageError
from trainables.task import load_task

TASK = """
from dataclasses import replace
from trainables.task import Rules
from trainables.tasks.digits import TASK as DIGITS

TASK = replace(
    DIGITS, name="bounded", rules=Rules(pretrained=False, external_data=False, macs=1e6, wording="be frugal.")
)
"""
SMALL = trial_config({"model": "convnet", "width": 8, "depth": 1, "image_size": 16})
LARGE = trial_config({"model": "convnet", "width": 64, "depth": 4, "image_size": 64})


def test_models_outside_the_bounds_are_counted_and_refused_where_all_are(tmp_path: Path) -> None:
    (tmp_path / "bounded.py").write_text(TASK)
    heads = load_task("digits").kind.heads
    where = {"task": str(tmp_path / "bounded.py"), "space": "digits", "heads": heads}
    assert check_models([SMALL, SMALL], task="digits", space="digits", heads=heads) == ()
    [note] = check_models([SMALL, LARGE, LARGE], **where)
    assert note.startswith("2 of 3 sampled models are outside the bounds")
    with pytest.raises(RuleViolation, match=r"more than the 1 million allowed: be frugal\."):
        check_models([LARGE], **where)


@pytest.mark.parametrize(
    ("task", "setting"),
    [
        ("severstal", {"model": "unet", "rotation": 10.0}),
        ("super_resolution", {"model": "vdsr", "mixup": 0.2}),
        ("global_wheat", {"model": "centres", "tta": "flip_crops"}),
        ("digits", {"model": "convnet", "vertical_flip": True}),
        ("digits", {"model": "convnet", "tta": "eight"}),
    ],
)
def test_what_nothing_would_read_is_refused(task: str, setting: dict[str, Any]) -> None:
    name = next(key for key in setting if key != "model")
    with pytest.raises(UsageError, match=name):
        check_models([trial_config(setting)], task=task, space=task, heads=load_task(task).kind.heads)


def test_a_call_in_a_child_answers_or_says_what_became_of_it() -> None:
    assert in_child(math.sqrt, 4.0, doing="A root") == 2.0
    with pytest.raises(OrchestratorError, match=r"A root failed: ValueError: .*"):
        in_child(math.sqrt, -1.0, doing="A root")
    with pytest.raises(OrchestratorError, match=r"An end crashed \(exit 3\)"):
        in_child(os._exit, 3, doing="An end")
    with pytest.raises(OrchestratorError, match="A nap took longer than 1 s"):
        in_child(time.sleep, 60.0, doing="A nap", seconds=1.0)
