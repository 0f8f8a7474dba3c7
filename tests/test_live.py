"""The live table: what is in it, that it fits, and that the terminal is given back as it was."""

import fcntl
import logging
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import ConsoleDimensions

from orchestrator.display import make_display, say
from orchestrator.live import LiveDisplay, frame
from orchestrator.snapshot import snapshot
from tests.shown_search import HIDE, LINK, SHOW, Search, terminal, wait_for
from trainables.config import TrialConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CI", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_the_table_shows_running_trials_then_the_best_then_the_failed() -> None:
    search = Search()
    for number, value in enumerate([0.5, 0.9, 0.7]):
        search.whole_trial(number, value, lr=0.1 * (number + 1), optimizer="sgd")
    search.trial(3, lr=0.01, optimizer="adamw")
    search.report(3, 1, 0.3)
    search.report(3, 2, 0.25, best=0.3)
    search.trial(4, lr=1.0, optimizer="sgd")
    search.end(4, "FAIL", "the loss is NaN\nin epoch 1")
    head, *rows = search.drawn()
    assert head.split() == ["trial", "state", "epoch", "accuracy", "best", "time", "lr", "optimizer"]
    assert [row.split()[:2] for row in rows[:5]] == [
        ["3", "running"],
        ["1", "done"],
        ["2", "done"],
        ["0", "done"],
        ["4", "failed"],
    ]
    assert rows[0].split()[2:] == ["2/8", "0.2500", "0.3000", "00:00", "0.01", "adamw"]
    assert rows[4].endswith("the loss is NaN in epoch 1")
    assert rows[6].startswith("3 done  1 running  0 pruned  1 failed  of 20")
    assert "best accuracy 0.9000 (trial 1, epoch 1)" in rows[6]


def test_only_the_best_score_of_the_search_is_bold() -> None:
    search = Search(direction="minimize", metric="loss")
    search.whole_trial(0, 0.1234)
    search.whole_trial(1, 0.5678)
    console, file = terminal()
    console.print(frame(snapshot(search.record), (), link=None, size=console.size))
    assert "\x1b[1;32m0.1234" in file.getvalue()
    assert "\x1b[1;32m0.5678" not in file.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(60, 200), height=st.integers(8, 60), count=st.integers(0, 70), seed=st.integers(0, 9)
)
def test_it_fits_every_terminal(width: int, height: int, count: int, seed: int) -> None:
    rng = random.Random(seed)
    search = Search(trials=count, metric=rng.choice(["accuracy", "quadratic_weighted_kappa"]))
    for number in range(count):
        search.trial(
            number, lr=rng.random(), model=rng.choice(["resnet18", "convnet", "日本語のモデル"]), depth=number
        )
        if rng.random() < 0.8:
            search.report(number, 1, rng.random())
        if rng.random() < 0.8:
            search.at += rng.random()
            search.end(number, rng.choice(["COMPLETE", "PRUNED", "FAIL"]), "a reason " * rng.randint(1, 20))
    lines = search.drawn(width=width, height=height)
    assert len(lines) < height
    assert max(map(cell_len, lines)) <= width
    assert lines[0].startswith("trial")
    numbers = [line for line in lines if re.match(r" *\d+  (running|done|pruned|failed)", line)]
    left_out = [int(line.split()[1]) for line in lines if line.startswith("…")]
    assert len(numbers) + sum(left_out) == count


def test_a_small_terminal_says_how_many_trials_are_left_out() -> None:
    search = Search(trials=60)
    for number in range(40):
        search.whole_trial(number, number / 100)
    lines = search.drawn(width=80, height=15, link=None)
    assert "… 31 more" in lines
    assert [int(line.split()[0]) for line in lines[1:4]] == [39, 38, 37]


def test_a_long_link_is_folded_and_can_be_read_whole() -> None:
    lines = Search().drawn(width=60)
    assert "".join(lines[-2:]) == LINK
    assert lines[-3] == "MLflow"


def test_a_trial_alone_shows_what_is_not_by_default() -> None:
    search = Search()
    search.trial(0, **TrialConfig(model="convnet", lr=0.5, seed=7, epochs=8).params())
    assert search.drawn(width=200)[0].split()[6:] == ["epochs", "model", "lr"]


def test_the_live_table_is_drawn_and_the_cursor_comes_back() -> None:
    console, file = terminal()
    search = Search()
    with make_display(search.record, link=LINK, console=console) as search.display:
        search.whole_trial(0, 0.5, lr=0.1)
        search.trial(1, lr=0.2)
        search.end(1, "FAIL", "the loss is NaN in epoch 1")
        drawn = wait_for("1 failed  of 20", file)
    assert drawn.count(HIDE) == 1
    assert SHOW not in drawn
    assert "\x1b[31m00:01  trial 1   failed    after epoch 0: the loss is NaN in epoch 1" in drawn
    assert file.getvalue().endswith(SHOW)


def test_an_exception_gives_the_cursor_and_the_streams_back() -> None:
    console, file = terminal()
    before = (sys.stdout, sys.stderr)
    display = make_display(Search().record, link=None, console=console)

    def broken() -> None:
        with display:
            assert sys.stderr is not before[1]
            raise RuntimeError("the search broke")

    with pytest.raises(RuntimeError):
        broken()
    assert file.getvalue().endswith(SHOW)
    assert (sys.stdout, sys.stderr) == before


def test_nothing_is_drawn_while_nothing_changes() -> None:
    console, file = terminal()
    search = Search()
    search.display = make_display(search.record, link=None, console=console)
    assert isinstance(search.display, LiveDisplay)
    began = time.monotonic()
    with search.display:
        time.sleep(1.5)
        assert 1 <= file.getvalue().count("elapsed") <= time.monotonic() - began + 2


def test_prints_and_logs_appear_above_the_table() -> None:
    console, file = terminal()
    handler = logging.StreamHandler(sys.stderr)
    logger = logging.getLogger("a_library_configured_before")
    logger.addHandler(handler)
    try:
        with make_display(Search().record, link=None, console=console):
            wait_for("elapsed", file)
            logger.warning("a log line")
            print("a printed line", file=sys.stderr)
            say("a said [line]")
    finally:
        logger.removeHandler(handler)
    drawn = file.getvalue()
    for text in ("a log line", "a printed line", "a said [line]"):
        assert drawn.index(text) < drawn.rindex("elapsed")
    assert handler.stream is sys.stderr


def test_stdout_stays_a_file_of_data(capsys: pytest.CaptureFixture[str]) -> None:
    console, file = terminal()
    with make_display(Search().record, link=None, console=console):
        print('{"value": 1}')
    assert capsys.readouterr().out == '{"value": 1}\n'
    assert "value" not in file.getvalue()


def test_a_smaller_terminal_is_cleared_before_the_next_drawing() -> None:
    console, file = terminal(width=120)
    with make_display(Search().record, link=None, console=console):
        assert "\x1b[2J" not in wait_for("elapsed", file)
        console.size = ConsoleDimensions(70, 30)
        assert "\x1b[2J\x1b[H" in wait_for("\x1b[2J", file)


STORY = """
import sys, time, warnings
from orchestrator.display import make_display, store_progress
from orchestrator.journal import SearchRecord
with store_progress() as progress:
    progress(5, 10)
    progress(10, 10)
record = SearchRecord(asked=dict(direction="maximize", metric="accuracy", trials=2, max_epochs=3, slots=1))
with make_display(record, link=None) as display:
    warnings.warn('a warning in the middle')
    event = dict(event="trial", at=0.0, trial_id="0", number=0, params={"lr": 0.1})
    record.apply(event)
    display.event(event, record)
    time.sleep(0.6)
    ENDING
"""


def in_a_terminal(story: str) -> str:
    """What a process writes to the terminal on its stderr."""
    controller, terminal_end = pty.openpty()
    fcntl.ioctl(terminal_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", story],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal_end,
        cwd=ROOT,
    )
    os.close(terminal_end)
    written = b""
    while True:
        try:
            block = os.read(controller, 65536)
        except OSError:
            break
        if not block:
            break
        written += block
    os.close(controller)
    process.wait(timeout=20)
    return written.decode()


@pytest.mark.parametrize(
    "ending",
    ["pass", "raise RuntimeError('broken')", "raise KeyboardInterrupt", "sys.exit(3)", "display.stop()"],
)
def test_a_real_terminal_gets_its_cursor_back(ending: str) -> None:
    written = in_a_terminal(STORY.replace("ENDING", ending))
    assert "running" in written
    assert "a warning in the middle" in written
    assert written.count(HIDE) == written.count(SHOW) == 2
    assert written.rindex(SHOW) > written.rindex(HIDE)
    assert ("Traceback" in written) == ending.startswith("raise")


def test_a_display_that_nobody_stops_gives_the_cursor_back_at_exit() -> None:
    story = STORY.replace(
        "with make_display(record, link=None) as display:", "if display := make_display(record, link=None):"
    )
    written = in_a_terminal(
        story.replace("time.sleep(0.6)", "display.start(); time.sleep(0.6)").replace("ENDING", "pass")
    )
    assert "running" in written
    assert written.rindex(SHOW) > written.rindex(HIDE)
