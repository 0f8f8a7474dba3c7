"""Where a search is shown how: the plain lines, what the search must never feel, the bar of the store."""

import io
import re
import statistics
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from orchestrator.display import PlainDisplay, make_display, say, store_progress
from orchestrator.live import LiveDisplay
from tests.shown_search import HIDE, LINK, SHOW, Search, terminal, wait_for


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CI", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def plain() -> Iterator[tuple[Search, Callable[[], list[str]]]]:
    """A search told in plain lines, and the lines so far."""
    search, file = Search(), io.StringIO()
    search.display = make_display(search.record, link=LINK, console=Console(file=file))
    with search.display:
        yield search, lambda: file.getvalue().splitlines()


@pytest.mark.parametrize("name", ["NO_COLOR", "CI", "TERM"])
def test_where_lines_cannot_be_rewritten_plain_ones_are_written(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = terminal()[0]
    assert isinstance(make_display(Search().record, link=None, console=console), LiveDisplay)
    monkeypatch.setenv(name, "dumb")
    assert isinstance(make_display(Search().record, link=None, console=console), PlainDisplay)


def test_a_file_gets_plain_lines_even_where_colour_is_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with make_display(Search().record, link=None) as display:
        assert isinstance(display, PlainDisplay)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "0 running" in captured.err


def test_a_sentence_goes_to_stderr_as_it_is_and_an_empty_one_nowhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("the picture a[/b].png is cut off", warning=True)
    say("")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Warning: the picture a[/b].png is cut off\n")


def test_plain_lines_tell_each_start_and_end(plain: tuple[Search, Callable[[], list[str]]]) -> None:
    search, lines = plain
    search.trial(0, lr=0.1, optimizer="sgd")
    search.at = 65.0
    search.report(0, 1, 0.5)
    search.report(0, 2, 0.4, best=0.5)
    search.end(0)
    search.trial(1, lr=0.2, optimizer="sgd")
    search.report(1, 1, 0.3)
    search.end(1, "PRUNED", "below 0.4")
    search.trial(2, lr=0.3, optimizer="sgd")
    search.end(2, "FAIL", "RuntimeError: out of\nmemory")
    search.tell("finish", reason="all trials done")
    assert lines() == [
        f"MLflow: {LINK}",
        "00:00  trial 0   started   epochs=8 lr=0.1 optimizer=sgd",
        "01:05  trial 0   complete  accuracy 0.5000 at epoch 2, ran 2 of 8 epochs in 01:05, best so far",
        "01:05  trial 1   started   lr=0.2",
        "01:05  trial 1   pruned    accuracy 0.3000 at epoch 1, ran 1 of 8 epochs in 00:00, below 0.4",
        "01:05  trial 2   started   lr=0.3",
        "01:05  trial 2   failed    after epoch 0: RuntimeError: out of memory",
        "01:05  search ended: all trials done",
    ]


def test_a_new_best_is_told_when_the_lead_passes_on(plain: tuple[Search, Callable[[], list[str]]]) -> None:
    search, lines = plain
    search.whole_trial(0, 0.5)
    search.trial(1)
    search.report(1, 1, 0.4)
    search.report(1, 2, 0.6)
    search.report(1, 3, 0.7)
    assert [line for line in lines() if "new best" in line] == [
        "00:01  trial 1   new best  accuracy 0.6000 at epoch 2"
    ]


def test_a_leader_that_fails_loses_the_lead(plain: tuple[Search, Callable[[], list[str]]]) -> None:
    search, lines = plain
    search.whole_trial(0, 0.5)
    search.trial(1)
    search.report(1, 1, 0.9)
    search.end(1, "FAIL", "gone")
    search.whole_trial(2, 0.6)
    assert lines()[-1].endswith("best so far")


def test_the_last_line_counts_and_stop_may_be_called_twice(
    plain: tuple[Search, Callable[[], list[str]]],
) -> None:
    search, lines = plain
    search.whole_trial(0, 0.5)
    assert search.display is not None
    search.display.stop()
    search.display.stop()
    assert sum("1 done  0 running  0 pruned  0 failed  of 20" in line for line in lines()) == 1


def test_between_events_the_counts_are_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.display.HEARTBEAT_S", 0.05)
    file = io.StringIO()
    with make_display(Search(time_limit_s=600.0).record, link=None, console=Console(file=file)):
        beats = wait_for("\n00", file).splitlines()
    assert len(beats) >= 2
    assert beats[0] == "00:00  0 done  0 running  0 pruned  0 failed  of 20  09:59 left"


@pytest.mark.parametrize("console", [Console(file=io.StringIO()), terminal()[0]], ids=["plain", "live"])
def test_an_event_is_cheap_even_after_a_thousand_trials(console: Console) -> None:
    search = Search(trials=1000)
    search.display = make_display(search.record, link=None, console=console)
    with search.display:
        for number in range(1000):
            search.whole_trial(number, number / 1000, lr=number / 7, optimizer="sgd")
    assert statistics.median(search.costs) < 0.2e-3


@pytest.mark.parametrize("console", [Console(file=io.StringIO()), terminal()[0]], ids=["plain", "live"])
def test_a_strange_event_ends_nothing(console: Console) -> None:
    record = Search().record
    with make_display(record, link=None, console=console) as display:
        for strange in ({}, {"event": "end"}, {"event": "report", "at": "noon", "trial_id": 7}):
            display.event(strange, record)


def test_a_closed_stderr_ends_nothing() -> None:
    file = io.StringIO()
    search = Search()
    with make_display(search.record, link=None, console=Console(file=file)) as search.display:
        file.close()
        search.whole_trial(0, 0.5)


def test_a_terminal_gets_a_bar() -> None:
    console, file = terminal()
    with store_progress(console) as progress:
        for done in range(0, 1001, 100):
            progress(done, 1000)
    assert "1000/1000" in file.getvalue()
    assert file.getvalue().rindex(SHOW) > file.getvalue().rindex(HIDE)


def test_elsewhere_quick_work_is_one_line() -> None:
    file = io.StringIO()
    with store_progress(Console(file=file)) as progress:
        for done in range(1, 101):
            progress(done, 100)
        progress(100, 100)
    assert file.getvalue() == "Decoding images: 100 of 100 (100 %)\n"


def test_elsewhere_slow_work_is_a_line_each_tenth_and_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("orchestrator.display.time.monotonic", lambda: now[0])
    file = io.StringIO()
    with store_progress(Console(file=file)) as progress:
        for done in range(1, 101):
            now[0] += 0.15
            progress(done, 100)
    shares = [int(x) for x in re.findall(r"\((\d+) %\)", file.getvalue())]
    assert shares == [14, 28, 42, 56, 70, 84, 98, 100]


@pytest.mark.parametrize("console", [Console(file=io.StringIO()), terminal()[0]], ids=["plain", "live"])
def test_a_store_that_is_reused_shows_nothing(console: Console) -> None:
    with store_progress(console):
        pass
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_a_store_without_images_divides_by_nothing() -> None:
    with store_progress(Console(file=io.StringIO())) as progress:
        progress(0, 0)
