"""Calls in child processes: one that crashes or hangs costs itself alone."""

import ctypes
import os
import time
from pathlib import Path

import psutil
import pytest

from trainables.errors import DataError
from trainables.isolated import Children, Failure


def double(value: int) -> int:
    return 2 * value


def crash_on_three(value: int) -> int:
    if value == 3:
        ctypes.string_at(0)
    return value


def hang_on_three(value: int) -> int:
    if value == 3:
        time.sleep(60)
    return value


def refuse(value: int) -> int:
    raise DataError(f"{value} will not do")


def fail(value: int) -> int:
    raise OSError(28, "No space left on device")


def die_once(value: int, marker: Path) -> int:
    if value == 3 and not marker.exists():
        marker.touch()
        os.abort()
    return value


def calls(count: int) -> list[tuple[int]]:
    return [(value,) for value in range(count)]


def test_every_call_is_answered_once() -> None:
    with Children(2) as children:
        assert dict(children.map(double, calls(500))) == {k: 2 * k for k in range(500)}
        assert dict(children.map(double, calls(3))) == {0: 0, 1: 2, 2: 4}
        assert dict(children.map(double, [])) == {}


def test_a_crash_costs_its_call_alone() -> None:
    with Children(2) as children:
        answers = dict(children.map(crash_on_three, calls(100)))
    assert answers.pop(3) == Failure("its process died (SIGSEGV)")
    assert answers == {k: k for k in range(100) if k != 3}


def test_a_call_that_hangs_is_stopped_at_the_time_limit() -> None:
    with Children(1, time_limit=1.0) as children:
        answers = dict(children.map(hang_on_three, calls(10)))
    assert answers.pop(3) == Failure("took longer than 1 s")
    assert len(answers) == 9


def test_a_call_whose_process_was_killed_is_tried_again(tmp_path: Path) -> None:
    with Children(1) as children:
        answers = dict(children.map(die_once, [(k, tmp_path / "died") for k in range(10)]))
    assert answers == {k: k for k in range(10)}


def test_a_refusal_is_an_answer_and_another_error_is_raised_here() -> None:
    with Children(1) as children:
        assert dict(children.map(refuse, calls(1))) == {0: Failure("0 will not do")}
        with pytest.raises(OSError, match="No space left"):
            dict(children.map(fail, calls(1)))


def test_no_process_is_left() -> None:
    before = set(psutil.Process().children())
    with Children(2) as children:
        next(children.map(hang_on_three, [(1,), (3,), (3,)]))
        assert len(set(psutil.Process().children()) - before) == 2
    assert set(psutil.Process().children()) <= before
