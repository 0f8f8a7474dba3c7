"""Where a score would stand: among the task's published baselines, and on a saved leaderboard."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from orchestrator.display import say
from orchestrator.snapshot import score
from trainables.errors import DataError
from trainables.task import Baseline, Metric

Medal = Literal["gold", "silver", "bronze"]
NAME = "leaderboard.csv"
"""The file that is looked for beside the data."""
TEAM, SCORE = ("teamid", "teamname", "team", "name"), "score"
CONDITION = "if the public test is like the holdout"


@dataclass(frozen=True, kw_only=True)
class Board:
    """A leaderboard: the best score of each team, in the metric's direction."""

    path: Path
    metric: Metric
    scores: tuple[float, ...]
    decimals: int
    """Decimals that the file gives: a score of ours is compared when rounded to as many."""
    unscored: int
    """Rows without a score, which are left out."""

    @property
    def teams(self) -> int:
        """Number of teams once ours has joined them."""
        return len(self.scores) + 1

    def rank(self, value: float) -> int:
        """The place of a new team with this score; of equal scores the earlier submission goes first."""
        ours = self.metric.utility(round(value, self.decimals))
        return 1 + sum(self.metric.utility(theirs) >= ours for theirs in self.scores)

    def medal(self, value: float) -> Medal | None:
        return medal(self.rank(value), self.teams)


def medal(rank: int, teams: int) -> Medal | None:
    """The medal of a rank counted from 1, by Kaggle's table of medals by number of teams.

    A share of the teams is rounded down; one more gold is given for every 500 teams from 250 on.
    """
    if teams < 250:
        gold = teams * 10 // 100 if teams < 100 else 10
        silver, bronze = teams * 20 // 100, teams * 40 // 100
    else:
        gold = 10 + teams // 500
        silver, bronze = (50, 100) if teams < 1000 else (teams * 5 // 100, teams * 10 // 100)
    places: tuple[tuple[Medal, int], ...] = (("gold", gold), ("silver", silver), ("bronze", bronze))
    return next((name for name, last in places if rank <= last), None)


def find_board(asked: Path | None, data: Path, metric: Metric) -> Board | None:
    """The leaderboard that was asked for, else `leaderboard.csv` in the data's folder, else None.

    Raises DataError for one that was asked for and cannot be read; one that was found is then only said.
    """
    if asked is not None:
        return read_board(asked, metric)
    try:
        return read_board(data / NAME, metric) if (data / NAME).is_file() else None
    except DataError as error:
        say(f"No rank is told. {error}", warning=True)
        return None


def read_board(path: Path, metric: Metric) -> Board:
    """Kaggle's exported leaderboard: a column `Score`, and `TeamId` or `TeamName`.

    A team may have a row a submission: its best one counts. Raises DataError with the line of what
    cannot be read.
    """
    header, *rows = _rows(path)
    columns = [name.strip().lower().replace(" ", "") for name in header[1]]
    team = next((columns.index(name) for name in TEAM if name in columns), None)
    if SCORE not in columns or team is None:
        raise DataError(
            f"{path}, line 1: no column Score, or none of TeamId and TeamName, in {','.join(header[1])!r}.",
            fix="Save the leaderboard as Kaggle exports it: TeamId,TeamName,SubmissionDate,Score.",
        )
    best: dict[str, float] = {}
    decimals = unscored = 0
    for line, row in rows:
        text = _cell(path, line, row, len(columns))[columns.index(SCORE)].strip()
        if not text:
            unscored += 1
            continue
        value, name = _number(path, line, text), row[team].strip()
        decimals = max(decimals, _decimals(text))
        best[name] = max(best.get(name, value), value, key=metric.utility)
    if not best:
        raise DataError(f"{path} holds no score.", fix="Export the leaderboard again.")
    return Board(path=path, metric=metric, scores=tuple(best.values()), decimals=decimals, unscored=unscored)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, each with its line; at least a header."""
    again = "Export the leaderboard again."
    try:
        reader = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if any(row)]
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", fix="Give a leaderboard that is there."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: bytes that are not UTF-8 at byte {error.start}.", fix=again) from error
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: broken CSV ({error}).", fix=again) from error
    if not rows:
        raise DataError(f"{path} is empty.", fix=again)
    return rows


def _cell(path: Path, line: int, row: list[str], columns: int) -> list[str]:
    if len(row) != columns:
        raise DataError(
            f"{path}, line {line}: {len(row)} columns instead of {columns}.",
            fix="Quote names that hold a comma, or export the leaderboard again.",
        )
    return row


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{path}, line {line}: the score {text!r} is no number.", fix="Export the leaderboard again."
        )
    return value


def _decimals(text: str) -> int:
    exponent = Decimal(text).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a score is worth; `ranks` and `medals` are at the score, and at the better and worse end of its
    interval."""

    value: float
    error: float | None
    """Half of the 95 % interval; None for a score that the organisers gave."""
    place: str
    """Among the baselines; empty where the task has none."""
    passed: tuple[str, ...]
    """Names of the baselines that the score is better than."""
    ranks: tuple[int, ...] = ()
    """At the score, at the better end and at the worse end; empty without a leaderboard, as `medals`."""
    medals: tuple[Medal | None, ...] = ()
    teams: int | None = None


def standing(
    value: float,
    *,
    error: float | None = None,
    metric: Metric,
    baselines: Sequence[Baseline] = (),
    board: Board | None = None,
    private: bool = False,
) -> Standing:
    """Place a score among `baselines` (their private scores where `private`) and on a leaderboard."""
    marks = [(b.name, b.private if private else b.public) for b in baselines]
    known = [(name, mark) for name, mark in marks if mark is not None]
    up = (error or 0.0) * metric.utility(1.0)
    spread = (value, value + up, value - up)
    here, better, worse = (_place(v, known, metric) for v in spread)
    unsure = f" (from {worse} to {better} within its interval)" if better != worse else ""
    return Standing(
        value=value,
        error=error,
        place=here + unsure,
        passed=tuple(name for name, mark in known if metric.utility(value) > metric.utility(mark)),
        ranks=() if board is None else tuple(board.rank(v) for v in spread),
        medals=() if board is None else tuple(board.medal(v) for v in spread),
        teams=None if board is None else board.teams,
    )


def _place(value: float, marks: Sequence[tuple[str, float]], metric: Metric) -> str:
    """`below simple`, `between medium and strong` or `above boss`; an equal score is not above."""
    ordered = sorted(marks, key=lambda mark: metric.utility(mark[1]))
    above = sum(metric.utility(value) > metric.utility(mark) for _, mark in ordered)
    if not ordered:
        return ""
    if above == 0:
        return f"below {ordered[0][0]}"
    if above == len(ordered):
        return f"above {ordered[-1][0]}"
    return f"between {ordered[above - 1][0]} and {ordered[above][0]}"


def sentences(found: Standing, *, what: str) -> list[str]:
    """The standing in words, `what` naming the score; nothing where there is nothing to compare with.

    A score with an interval is one of ours: it is said under which condition it would hold.
    """
    ours = found.error is not None
    lines = []
    if found.place:
        lines.append(f"{what} {score(found.value)}: {found.place} among the baselines.")
    if found.ranks:
        rank, best, worst = found.ranks
        spread = f" ({best} to {worst})" if best != worst else ""
        lines.append(
            f"{what} {score(found.value)} {'would rank about' if ours else 'ranks'} {rank}{spread}"
            f" of {found.teams:,} teams, {_medals(found.medals)}{f', {CONDITION}' if ours else ''}."
        )
    return lines


def _medals(medals: Sequence[Medal | None]) -> str:
    here, best, worst = (name or "no medal" for name in medals)
    return here if best == worst else f"{here} ({worst} to {best})"
