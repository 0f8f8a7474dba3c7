"""Run lengths down the columns, against a loop over the pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from trainables.errors import DataError
from trainables.run_lengths import decode, encode

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def by_pixels(mask: np.ndarray) -> str:
    """Each pixel in turn, column after column."""
    words: list[str] = []
    number, length = 0, 0
    height, width = mask.shape
    for x in range(width):
        for y in range(height):
            number += 1
            if mask[y, x]:
                length += 1
            elif length:
                words += [str(number - length), str(length)]
                length = 0
    return " ".join([*words, *([str(number - length + 1), str(length)] if length else [])])


@settings(deadline=None)
@given(masks)
def test_runs_are_what_a_loop_over_the_pixels_finds(mask: np.ndarray) -> None:
    assert encode(mask) == by_pixels(mask)


@settings(deadline=None)
@given(masks)
def test_a_mask_survives_its_text(mask: np.ndarray) -> None:
    again = decode(encode(mask), (mask.shape[0], mask.shape[1]))
    assert again.dtype == bool
    assert (again == mask).all()


def test_counting_begins_at_one_and_goes_down_the_columns() -> None:
    mask = np.zeros((3, 4), bool)
    mask[0, 0] = mask[2, 1] = mask[0, 2] = True
    assert encode(mask) == "1 1 6 2"


def test_no_text_is_no_mask() -> None:
    assert encode(np.zeros((3, 4), bool)) == ""
    assert not decode("", (3, 4)).any()


def test_runs_that_touch_are_read_as_one() -> None:
    assert encode(decode("1 2 3 2", (3, 4))) == "1 4"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1 3 5", "3 numbers are no pairs"),
        ("1 x", "'x' is no whole number"),
        ("1 2.0", "'2.0' is no whole number"),
        ("-1 2", "'-1' is no whole number"),
        ("0 2", r"run 1 \(0 2\): starts and lengths begin at 1"),
        ("1 2 5 0", r"run 2 \(5 0\): starts and lengths begin at 1"),
        ("1 3 3 2", r"run 1 \(1 3\) and run 2 \(3 2\) overlap"),
        ("5 2 1 2", r"run 1 \(5 2\) and run 2 \(1 2\) descend"),
        ("1 2 11 3", r"run 2 \(11 3\) ends past the last pixel, 12"),
        ("1 99999999999999999999", "past any picture"),
    ],
)
def test_broken_runs_are_named(text: str, fault: str) -> None:
    with pytest.raises(DataError, match=f"^table, line 3: .*{fault}"):
        decode(text, (3, 4), where="table, line 3")


@settings(deadline=None)
@given(st.text(alphabet="0123456789 -x.", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        mask = decode(text, (3, 4))
    except DataError:
        return
    assert mask.shape == (3, 4)
