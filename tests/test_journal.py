"""The journal: what is written is read back, a cut file loses its last line at most."""

import errno
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.journal import Event, Journal, SearchRecord, read, replay, tail
from trainables.errors import DataError

ASKED = {"event": "search", "at": 0.0, "task": "digits", "direction": "maximize", "metric": "accuracy"}
SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
PARAMS = st.dictionaries(st.text(min_size=1), SCALARS, max_size=4)


def report(trial_id: str, epoch: int, value: float, *, at: float = 1.0) -> Event:
    return {
        "event": "report",
        "at": at,
        "trial_id": trial_id,
        "epoch": epoch,
        "valid_metric": value,
        "device": "cpu",
        "best": {"value": value, "best_epoch": epoch},
    }


def trial(trial_id: str, number: int, *, at: float = 0.0) -> Event:
    return {"event": "trial", "at": at, "trial_id": trial_id, "number": number, "params": {"lr": 0.1}}


def end(trial_id: str, state: str, *, at: float = 2.0, reason: str = "") -> Event:
    return {"event": "end", "at": at, "trial_id": trial_id, "state": state, "reason": reason}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(params=st.lists(PARAMS, max_size=4), cut=st.integers(min_value=0, max_value=200))
def test_what_is_appended_is_read_back_however_the_last_line_is_cut(
    tmp_path: Path, params: list[dict[str, Any]], cut: int
) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    with closing(Journal(path)) as journal:
        written = [journal.append("trial", trial_id=str(i), number=i, params=p) for i, p in enumerate(params)]
    assert tail(path) == (written, path.stat().st_size)

    last = len(path.read_bytes().splitlines()[-1]) + 1 if written else 0
    kept = path.stat().st_size - min(cut, last)
    path.write_bytes(path.read_bytes()[:kept])
    assert tail(path)[0] == (written if cut == 0 else written[:-1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(PARAMS, min_size=1, max_size=5), pieces=st.lists(st.integers(1, 60), min_size=1))
def test_a_file_followed_while_it_grows_gives_each_line_once(
    tmp_path: Path, lines: list[dict[str, Any]], pieces: list[int]
) -> None:
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    path = tmp_path / "grows.jsonl"
    path.write_bytes(b"")
    seen: list[Event] = []
    offset = position = 0
    while position < len(content):
        step = pieces[len(seen) % len(pieces)]
        with path.open("ab") as file:
            file.write(content[position : position + step])
        position += step
        events, offset = tail(path, offset)
        seen += events
    assert seen == lines


def test_the_clock_counts_from_the_beginning_of_the_search(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.jsonl")) as journal:
        times = [journal.append("rung", epoch=i)["at"] for i in range(3)]
    assert 0.0 <= times[0] <= times[1] <= times[2] < 5.0


def test_a_reopened_journal_drops_the_torn_line_and_its_clock_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps(ASKED) + "\n" + json.dumps(trial("0000", 0, at=100.0)) + '\n{"event": "rep')
    with closing(Journal(path)) as journal:
        written = journal.append("end", trial_id="0000", state="FAIL", reason="the machine went down")
    record = read(path)
    assert written["at"] >= 100.0
    assert record.trials["0000"].state == "FAIL"
    assert record.trials["0000"].seconds >= 0.0


def test_a_nan_is_refused_and_leaves_the_journal_whole(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.jsonl")) as journal:
        journal.append("rung", value=0.5)
        with pytest.raises(ValueError, match="not JSON compliant"):
            journal.append("rung", value=float("nan"))
        journal.append("rung", value=0.6)
    assert [e["value"] for e in tail(journal.path)[0]] == [0.5, 0.6]


def test_a_trial_is_folded_from_its_events() -> None:
    record = replay(
        [
            ASKED,
            trial("0000", 0, at=1.0),
            report("0000", 1, 0.8, at=3.0),
            {**report("0000", 2, 0.7, at=5.0), "best": {"value": 0.8, "best_epoch": 1}},
            end("0000", "PRUNED", at=5.5, reason="below 0.9 at epoch 2"),
        ]
    )
    done = record.trials["0000"]
    assert (done.state, done.value, done.best_epoch, done.epoch) == ("PRUNED", 0.8, 1, 2)
    assert (done.seconds, done.device, done.reason) == (4.5, "cpu", "below 0.9 at epoch 2")
    assert done.intermediate_values == {1: 0.8, 2: 0.7}
    assert set(done.reports[0]) == {"epoch", "valid_metric"}


def test_rungs_the_end_and_what_nobody_knows_yet_are_folded_too() -> None:
    rung = {"event": "rung", "at": 1.0, "trial_id": "0000", "epoch": 1, "stop": False}
    record = replay([ASKED, rung, {"event": "of a later version", "at": 1.5}])
    assert record.rungs == [rung]
    assert record.finished is None
    record.apply({"event": "finish", "at": 2.0, "reason": "time is up"})
    assert record.finished == "time is up"


@pytest.mark.parametrize(("direction", "order"), [("maximize", [2, 0, 1]), ("minimize", [1, 0, 2])])
def test_ranked_is_best_first_without_failed_and_unscored_trials(direction: str, order: list[int]) -> None:
    record = SearchRecord(asked={**ASKED, "direction": direction})
    for number, value in enumerate([0.5, 0.4, 0.6, 0.99]):
        record.apply(trial(str(number), number))
        record.apply(report(str(number), 1, value))
    record.apply(end("3", "FAIL"))
    record.apply(trial("4", 4))
    assert [t.number for t in record.ranked()] == order
    assert (record.count("RUNNING"), record.count("FAIL")) == (4, 1)


def test_equal_scores_rank_by_number() -> None:
    record = SearchRecord(asked=ASKED)
    for number in (2, 0, 1):
        record.apply(trial(str(number), number))
        record.apply(report(str(number), 1, 0.0))
    assert [t.number for t in record.ranked()] == [0, 1, 2]


def test_a_trial_seen_earlier_is_not_changed_by_later_events() -> None:
    record = replay([ASKED, trial("0000", 0)])
    before = record.trials["0000"]
    record.apply(report("0000", 1, 0.5))
    assert (before.epoch, record.trials["0000"].epoch) == (0, 1)


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"event": "sea',
        "not json\n",
        "\n",
        "[1, 2]\n",
        '"search"\n',
        json.dumps(trial("0000", 0)) + "\n",
        json.dumps(ASKED) + "\n" + json.dumps(end("0000", "COMPLETE")) + "\n",
        json.dumps(ASKED) + "\nXX\n" + json.dumps(trial("0000", 0)) + "\n",
        json.dumps(ASKED) + "\n17\n",
        json.dumps(ASKED) + "\n" + json.dumps(trial("0", 0)) + '\n{"event":"report","at":1,"trial_id":"0"}\n',
        json.dumps(ASKED) + "\n\x00\x00\x00\n",
    ],
)
def test_a_damaged_journal_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in caught.value.what
    assert "damaged" in caught.value.what
    assert caught.value.fix


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_told_or_harms_nothing(tmp_path: Path, place: int, bit: int) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    with closing(Journal(path)) as book:
        written = [book.append("search", **{k: v for k, v in ASKED.items() if k not in ("event", "at")})]
        written += [book.append("trial", trial_id=f"{i:04d}", number=i, params={"lr": 0.1}) for i in (0, 1)]
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        found, _ = tail(path)
    except ValueError:
        return
    known = [{**event, "crc": None} for event in written]
    assert [{**{k: event[k] for k in was if k != "crc"}, "crc": None} for event, was in
            zip(found, known, strict=False)] == known[: len(found)]  # fmt: skip
    assert len(found) >= len(written) - 1


LIMITED = """
import resource, sys
from pathlib import Path
from orchestrator.journal import Journal
from trainables.errors import DataError
book = Journal(Path(sys.argv[1]))
book.append("rung", value=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
try:
    book.append("rung", value="x" * 9000)
except DataError as error:
    print(error)
book.append("rung", value=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
book.append("rung", value=3)
"""


def test_what_the_disk_refuses_leaves_whole_lines_and_a_later_event_follows(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True)
    assert f"The journal {path} cannot be written: File too large." in done.stdout
    assert "go on with --resume" in done.stdout
    assert [event["value"] for event in tail(path)[0]] == [1, 2, 3]


def test_a_full_disk_is_waited_for_where_somebody_does(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.jsonl")) as book:
        write, waits = book._write, iter([True, True, False])

        def full(line: bytes) -> None:
            book._torn = True
            book._file.write(line[:7])
            raise OSError(errno.ENOSPC, "No space left on device")

        def wait() -> bool:
            ready = next(waits)
            book._write = write if waited else full  # type: ignore[method-assign]
            waited.append(ready)
            return ready

        waited: list[bool] = []
        book._write = full  # type: ignore[method-assign]
        book.wait = wait
        book.append("rung", value=1)
        assert waited == [True, True]
        book._write = full  # type: ignore[method-assign]
        with pytest.raises(DataError, match="No space left"):
            book.append("rung", value=2)
        assert book.refused is not None
        book._write = write  # type: ignore[method-assign]
        book.append("rung", value=3)
    assert [event["value"] for event in tail(book.path)[0]] == [1, 3]


def test_a_missing_journal_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "journal.jsonl")
