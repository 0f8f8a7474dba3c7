"""The submissions of a task: kept, noted once, marked when handed in, and never edited by hand."""

import json
import multiprocessing
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from orchestrator import folders
from orchestrator import ledger as command
from orchestrator import submit as submitting
from orchestrator.entries import Entry, Ledger, Made, today
from orchestrator.ledger import lines, view
from orchestrator.submit import hand_in, submit
from tests.test_standing import board_file
from trainables.errors import DataError, UsageError
from trainables.store import Store
from trainables.task import load_task

TASK = load_task("food11")
MADE = Made(
    search="made",
    method="vote",
    members=("0001", "0003"),
    weights=(0.5, 0.5),
    metric="accuracy",
    valid=0.8,
    holdout=0.79,
    holdout_error=0.02,
    images={"valid": 400, "holdout": 100, "test": 4},
    commit="abc",
    fingerprint="f00",
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "runs" / "food11")


def add(ledger: Ledger, labels: str, **about: float | str) -> Entry:
    """A submission that answers `labels`, a character an image."""
    file = ledger.home.parent / "submission.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("Id,Category\n" + "".join(f"{i:04d},{label}\n" for i, label in enumerate(labels)))
    return ledger.add(file, replace(MADE, **about))  # type: ignore[arg-type]


def test_a_search_that_is_submitted_is_in_the_ledger_with_where_it_came_from(
    search: folders.SearchFolder, store: Store
) -> None:
    path = submit(search, task=TASK, method="vote")
    [entry] = Ledger(search.path.parent).read()
    assert (entry.number, entry.made.search, entry.made.method) == (1, "made", "vote")
    assert len(entry.made.members) == len(entry.made.weights) == 4
    assert entry.made.images["test"] == 20
    assert (search.path.parent / entry.file).read_bytes() == path.read_bytes()
    assert entry.handed_in is None


def test_the_same_answers_are_noted_once_and_others_get_a_file_of_their_own(ledger: Ledger) -> None:
    first, again, other = add(ledger, "0123"), add(ledger, "0123"), add(ledger, "0124")
    assert again == first
    assert (other.number, other.file) == (2, "ledger/0002_made_vote.csv")
    assert add(ledger, "0123", method="greedy").number == 3
    assert [entry.number for entry in ledger.read()] == [1, 2, 3]
    assert len({entry.file for entry in ledger.read()}) == 3


def test_scores_are_noted_and_the_last_one_given_counts(ledger: Ledger) -> None:
    entry = add(ledger, "0123")
    ledger.hand_in(entry, public=0.7)
    ledger.hand_in(entry, private=0.6)
    ledger.hand_in(entry, public=0.75)
    [read] = ledger.read()
    assert (read.public, read.private) == (0.75, 0.6)
    assert read.handed_in is not None
    assert read.handed_in.startswith(today())


def test_a_torn_last_line_is_left_out_and_written_over(ledger: Ledger) -> None:
    add(ledger, "0123")
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + b'{"event": "submission", "numb')
    assert len(ledger.read()) == 1
    assert add(ledger, "0124").number == 2
    assert ledger.path.read_bytes().startswith(whole)
    assert len(ledger.read()) == 2


def test_an_editor_that_left_out_the_last_line_end_costs_nothing(ledger: Ledger) -> None:
    add(ledger, "0123")
    ledger.path.write_bytes(ledger.path.read_bytes().rstrip(b"\n"))
    assert len(ledger.read()) == 1
    add(ledger, "0124")
    assert len(ledger.read()) == 2


@pytest.mark.parametrize("line", ["{}", "no", '{"event": "handed_in", "number": 9, "at": "x"}', "[1]"])
def test_a_damaged_line_is_named(ledger: Ledger, line: str) -> None:
    add(ledger, "0123")
    ledger.path.write_text(ledger.path.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"ledger\.jsonl, line 2: the ledger is damaged"):
        ledger.read()


def _add_many(home: Path, name: str) -> None:
    ledger = Ledger(home)
    file = home.parent / f"{name}.csv"
    for i in range(10):
        file.write_text(f"{name} {i}")
        ledger.add(file, MADE)


def test_two_processes_that_write_at_once_lose_nothing(ledger: Ledger) -> None:
    ledger.home.mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_add_many, args=(ledger.home, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    entries = ledger.read()
    assert [entry.number for entry in entries] == list(range(1, 21))
    assert not any(ledger.fault(entry) for entry in entries)


def test_a_damaged_ledger_does_not_cost_the_submission(
    search: folders.SearchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (search.path.parent / "ledger.jsonl").write_text("no\nno\n")
    assert submit(search, task=TASK).exists()
    assert "not in the ledger" in capsys.readouterr().err


def test_the_submission_that_is_meant_is_the_latest_a_number_or_a_file(
    ledger: Ledger, tmp_path: Path
) -> None:
    first, second = add(ledger, "0123"), add(ledger, "0124")
    assert ledger.find("latest") == second
    assert ledger.find("1") == first
    assert ledger.find(str(ledger.home / first.file)) == first
    with pytest.raises(UsageError, match="Unknown number of a submission '7'"):
        ledger.find("7")
    with pytest.raises(UsageError, match="cannot be read"):
        ledger.find("submision.csv")
    with pytest.raises(UsageError, match="holds no submission"):
        Ledger(tmp_path / "elsewhere").find("latest")


def test_an_edited_file_is_noticed_refused_and_never_picked(ledger: Ledger) -> None:
    first, second = add(ledger, "0123", valid=0.9), add(ledger, "0124")
    edited = ledger.home / first.file
    edited.write_text(edited.read_text().replace("0003,3", "0003,5"))
    with pytest.raises(UsageError, match="edited"):
        hand_in(ledger, str(edited), task=TASK, public=0.5)
    with pytest.raises(UsageError, match="edited") as error:
        hand_in(ledger, "1", task=TASK, public=0.5)
    assert "No prediction may be edited by hand" in error.value.fix
    shown = view(TASK, ledger)
    assert [pick.number for pick in shown.picks] == [second.number]
    assert any("Number 1" in line and "edited after it was written" in line for line in lines(shown))
    edited.unlink()
    assert any("Number 1" in line and "gone" in line for line in lines(view(TASK, ledger)))


@pytest.mark.parametrize(("score", "said"), [(81.2, "not on the scale"), (float("nan"), "no number")])
def test_a_score_that_cannot_be_one_is_refused(ledger: Ledger, score: float, said: str) -> None:
    add(ledger, "0123")
    with pytest.raises(UsageError, match=said):
        hand_in(ledger, "latest", task=TASK, public=score)
    assert ledger.read()[0].handed_in is None


def test_the_days_submissions_are_counted_against_the_rule(
    search: folders.SearchFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    out = search.path.parent.parent
    submitting.main("food11", out=out)
    assert "Handed in today (UTC): 0 of 5." in capsys.readouterr().err
    ledger = Ledger(search.path.parent)
    for label in "0123":
        ledger.hand_in(add(ledger, label * 4))
    submitting.main("food11", handed_in=True, file="1", out=out)
    submitting.main("food11", score=0.5, file="1", out=out)  # handed in already: no sixth
    captured = capsys.readouterr()
    assert "5 of 5" in captured.err
    assert "Warning" not in captured.err
    assert "Noted for number 1: handed in" in captured.out
    assert "public score 0.5" in captured.out
    submitting.main("food11", method="vote", out=out)
    assert (
        "Warning: Handed in today (UTC): 5 of 5. Hand this one in after midnight" in capsys.readouterr().err
    )
    submitting.main("food11", handed_in=True, out=out)
    assert (
        "Warning: Handed in today (UTC): 6 of 5. That is more than the rule allows."
        in capsys.readouterr().err
    )


def test_a_check_tells_a_file_that_was_edited(
    search: folders.SearchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = submit(search, task=TASK), search.path.parent.parent
    submitting.main("food11", check_file=path, out=out, as_json=True)
    captured = capsys.readouterr()
    assert (json.loads(captured.out)["number"], captured.err) == (1, "")
    head, first, *rest = path.read_text().splitlines()
    other = f"0000,{(int(first.split(',')[1]) + 1) % 11}"
    (tmp_path / "mine.csv").write_text("\n".join([head, other, *rest]) + "\n")
    submitting.main("food11", check_file=tmp_path / "mine.csv", out=out)
    captured = capsys.readouterr()
    assert captured.out == "OK: 20 rows\n"
    assert "No prediction may be edited by hand" in captured.err


@pytest.mark.parametrize(
    "options",
    [{"method": "vote"}, {"search": "made"}, {"check_file": Path("a.csv")}, {"score": None, "file": "1"}],
)
def test_options_that_would_do_nothing_beside_a_score_are_refused(
    tmp_path: Path, options: dict[str, str | Path | None]
) -> None:
    with pytest.raises(UsageError):
        submitting.main("food11", out=tmp_path, **{"score": 0.5, **options})  # type: ignore[arg-type]


def filled(ledger: Ledger) -> None:
    """Four submissions with public scores, not in validation's order."""
    for k, (valid, public) in enumerate([(0.80, 0.74), (0.795, 0.76), (0.75, 0.78), (0.70, 0.60)]):
        ledger.hand_in(add(ledger, str(k) * 4, valid=valid), public=public)


def test_the_picks_do_not_follow_the_public_score_and_the_picture_is_drawn(ledger: Ledger) -> None:
    filled(ledger)
    shown = view(TASK, ledger)
    assert [pick.number for pick in shown.picks] == [1, 2]
    said = "\n".join(lines(shown))
    assert "A high public score does not assure a high private one" in said
    assert "Best public score (number 3) 0.7800: between medium and strong among the baselines." in said
    assert "rank correlation 0.20" in said
    assert shown.plot is not None
    with Image.open(shown.plot) as picture:
        assert picture.width > 500


def test_two_scores_are_too_few_for_a_picture(ledger: Ledger) -> None:
    for label in "01":
        ledger.hand_in(add(ledger, label), public=0.5)
    shown = view(TASK, ledger)
    assert (shown.plot, shown.correlation) == (None, None)


def test_other_data_is_said(ledger: Ledger) -> None:
    add(ledger, "0")
    add(ledger, "1", fingerprint="other")
    assert any("The data was not always the same" in line for line in lines(view(TASK, ledger)))


def test_the_command_shows_table_rank_medal_and_picks(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(ledger)
    ledger.hand_in(ledger.find("1"), private=0.9)
    board = board_file(tmp_path / "board.csv", [f"{k / 1000:.4f}" for k in range(700, 800)])
    command.main("food11", leaderboard=board, out=ledger.home.parent)
    out = capsys.readouterr().out
    assert "* 1" in out
    assert "21 bronze" in out
    assert "Best private score" not in out  # food11 publishes no private baselines
    assert "ranks 21 of 101 teams, bronze." in out.replace("\n", " ")
    assert f"Written: {ledger.home / 'ledger.png'}" in out.replace("\n", "")
    command.main("food11", leaderboard=board, out=ledger.home.parent, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert [pick["number"] for pick in shown["picks"]] == [1, 2]
    assert shown["submissions"][2]["standing"]["ranks"] == [21, 21, 21]
    assert (shown["handed_in_today"], shown["submissions_per_day"]) == (4, 5)


def test_from_the_command_line(search: folders.SearchFolder) -> None:
    out = str(search.path.parent.parent)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", *arguments, "--out", out]
        return subprocess.run(program, capture_output=True, text=True, check=False)

    refused = run("orchestrator.submit", "food11", "--score", "0.5")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "holds no submission" in refused.stderr
    submit(search, task=TASK)
    assert "made" in run("orchestrator.ledger", "food11").stdout
