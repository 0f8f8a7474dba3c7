"""Where a score stands among baselines and on a saved leaderboard."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import search
from orchestrator.standing import find_board, medal, read_board, sentences, standing
from trainables.errors import DataError
from trainables.metrics import ACCURACY
from trainables.task import Baseline, Metric, load_task

LOSS = Metric(name="log loss", direction="minimize", fn=ACCURACY.fn)
FOOD = load_task("food11").baselines


def board_file(
    path: Path, scores: Sequence[object], header: str = "TeamId,TeamName,SubmissionDate,Score"
) -> Path:
    columns = header.split(",")
    rows = [{"Score": score, "TeamId": i, "TeamName": f"team {i}"} for i, score in enumerate(scores)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([row.get(name, "x") for name in columns] for row in rows)
    return path


@pytest.mark.parametrize(
    ("teams", "gold", "silver", "bronze"),
    [
        (50, 5, 10, 20),
        (99, 9, 19, 39),
        (100, 10, 20, 40),
        (249, 10, 49, 99),
        (250, 10, 50, 100),
        (500, 11, 50, 100),
        (999, 11, 50, 100),
        (1000, 12, 50, 100),
        (2059, 14, 102, 205),
        (5000, 20, 250, 500),
    ],
)
def test_the_last_rank_of_each_medal_is_that_of_kaggles_table(
    teams: int, gold: int, silver: int, bronze: int
) -> None:
    last = {"gold": gold, "silver": silver, "bronze": bronze}
    for name, following in zip(last, ("silver", "bronze", None), strict=True):
        assert (medal(last[name], teams), medal(last[name] + 1, teams)) == (name, following)


@settings(deadline=None)
@given(st.integers(1, 6000), st.integers(1, 6000))
def test_a_better_rank_never_has_a_lesser_medal(teams: int, rank: int) -> None:
    order = ["gold", "silver", "bronze", None]
    assert order.index(medal(rank, teams)) <= order.index(medal(rank + 1, teams))


def test_the_rank_follows_the_metrics_direction(tmp_path: Path) -> None:
    path = board_file(tmp_path / "board.csv", ["9e-1", "0.80", "0.7"])
    assert read_board(path, ACCURACY).rank(0.85) == 2
    assert read_board(path, LOSS).rank(0.85) == 3
    assert read_board(path, ACCURACY).teams == 4


def test_an_equal_score_goes_behind_those_that_came_earlier(tmp_path: Path) -> None:
    board = read_board(board_file(tmp_path / "board.csv", ["0.900", "0.800", "0.800", "0.700"]), ACCURACY)
    assert board.rank(0.8) == 4
    assert board.rank(0.8004) == 4  # the leaderboard shows 0.800 of it
    assert board.rank(0.8006) == 2


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 1))
def test_the_rank_is_the_place_in_the_sorted_list(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float], value: float
) -> None:
    texts = [f"{score:.5f}" for score in scores]
    board = read_board(board_file(tmp_path_factory.mktemp("b") / "board.csv", texts), ACCURACY)
    ours = round(value, 5)
    placed = sorted([*((-float(text), 0) for text in texts), (-ours, 1)])
    assert board.rank(value) == placed.index((-ours, 1)) + 1


def test_a_team_counts_once_with_its_best_submission(tmp_path: Path) -> None:
    path = tmp_path / "board.csv"
    path.write_text("TeamId,TeamName,SubmissionDate,Score\n7,us,d,0.5\n8,we,d,0.6\n7,us,d,0.9\n7,us,d,0.7\n")
    assert sorted(read_board(path, ACCURACY).scores) == [0.6, 0.9]
    assert sorted(read_board(path, LOSS).scores) == [0.5, 0.6]


def test_todays_export_is_read_and_teams_without_a_score_are_left_out(tmp_path: Path) -> None:
    header = "Rank,TeamId,TeamName,LastSubmissionDate,Score,SubmissionCount,TeamMemberUserNames"
    path = board_file(tmp_path / "board.csv", [0.9, "", 0.7], header)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    board = read_board(path, ACCURACY)
    assert (board.scores, board.unscored) == ((0.9, 0.7), 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"TeamId,Points\n1,2\n", "line 1: no column Score"),
        (b"TeamName;Score\na;1\n", "line 1: no column Score"),
        (b"TeamName,Score\n", "holds no score"),
        (b"TeamName,Score\na,0.5\nb,high\n", "line 3: the score 'high' is no number"),
        (b"TeamName,Score\na,nan\n", "line 2: the score 'nan'"),
        (b"TeamName,Score\na,b,0.5\n", "line 2: 3 columns instead of 2"),
        (b'TeamName,Score\n"a,0.5\n', "broken CSV"),
        (b"TeamName,Score\n\xff\xfe,0.5\n", "not UTF-8"),
    ],
)
def test_a_broken_leaderboard_is_told_with_its_place(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "board.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        read_board(path, ACCURACY)
    assert "board.csv" in error.value.what
    assert error.value.fix


def test_a_leaderboard_beside_the_data_is_found_and_a_broken_one_is_only_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_board(None, tmp_path, ACCURACY) is None
    found = board_file(tmp_path / "leaderboard.csv", [0.5])
    board = find_board(None, tmp_path, ACCURACY)
    assert board is not None
    assert board.path == found
    found.write_text("what")
    assert find_board(None, tmp_path, ACCURACY) is None
    assert "No rank is told" in capsys.readouterr().err
    with pytest.raises(DataError, match="cannot be read"):
        find_board(tmp_path / "no.csv", tmp_path, ACCURACY)


def test_a_search_refuses_a_broken_leaderboard_before_it_spends_anything(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        search.main("digits", leaderboard=tmp_path / "no.csv", out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (0.4, "below simple"),
        (0.50099, "below simple"),
        (0.75, "between medium and strong"),
        (0.9, "above boss"),
    ],
)
def test_a_score_is_placed_among_the_baselines(value: float, place: str) -> None:
    assert standing(value, metric=ACCURACY, baselines=FOOD).place == place


def test_of_a_loss_the_lower_baseline_is_the_harder_one() -> None:
    marks = (Baseline(name="easy", public=0.9), Baseline(name="hard", public=0.3))
    found = standing(0.5, metric=LOSS, baselines=marks)
    assert (found.place, found.passed) == ("between easy and hard", ("easy",))


def test_private_scores_are_compared_with_private_baselines() -> None:
    marks = (Baseline(name="one", public=0.5, private=0.8), replace(FOOD[0], name="two"))
    assert standing(0.6, metric=ACCURACY, baselines=marks, private=True).place == "below one"


def test_a_holdout_score_is_said_with_its_interval_and_its_condition(tmp_path: Path) -> None:
    board = read_board(
        board_file(tmp_path / "b.csv", [f"{k / 1000:.4f}" for k in range(600, 1000)]), ACCURACY
    )
    found = standing(0.81, error=0.02, metric=ACCURACY, baselines=FOOD, board=board)
    assert found.ranks == (191, 171, 211)
    assert found.teams == 401
    place, rank = sentences(found, what="Holdout")
    assert place == (
        "Holdout 0.8100: between medium and strong (from between medium and strong to between strong and boss"
        " within its interval) among the baselines."
    )
    assert rank == (
        "Holdout 0.8100 would rank about 191 (171 to 211) of 401 teams, no medal,"
        " if the public test is like the holdout."
    )


def test_of_a_loss_the_better_end_of_the_interval_is_the_lower_one(tmp_path: Path) -> None:
    board = read_board(board_file(tmp_path / "b.csv", ["0.10", "0.20", "0.30", "0.40"]), LOSS)
    assert standing(0.25, error=0.1, metric=LOSS, board=board).ranks == (3, 2, 4)


def test_a_public_score_ranks_without_conditions(tmp_path: Path) -> None:
    board = read_board(board_file(tmp_path / "b.csv", ["0.5"] * 150), ACCURACY)
    assert sentences(standing(0.6, metric=ACCURACY, board=board), what="Public") == [
        "Public 0.6000 ranks 1 of 151 teams, gold."
    ]
    assert sentences(standing(0.6, metric=ACCURACY), what="Public") == []
