"""A first part of the fault matrix on real searches, and that its judges can say no."""

import json
import os
from pathlib import Path

import pytest

from orchestrator import selftest
from orchestrator.chaos import matrix
from orchestrator.chaos.cells import Fault
from orchestrator.chaos.invariants import require_equal, require_repeats, require_whole
from orchestrator.chaos.matrix import FAULTS, WHOLE
from orchestrator.chaos.rig import Rig, Unexpected
from orchestrator.folders import SearchFolder
from trainables.errors import UsageError

FIRST = [
    (fault, turn)
    for fault in FAULTS
    if fault.quick or fault.name == "killed"
    for turn in range(selftest.TIMES if fault.quick else 1)
]
"""Those that start no search at three random times; and the one that matters most, which takes a minute."""


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, SearchFolder]:
    """A rig, and a search on it that nothing disturbed."""
    return matrix.undisturbed(tmp_path_factory.mktemp("chaos") / "rig", max(os.sched_getaffinity(0)))


@pytest.mark.parametrize(("fault", "turn"), FIRST, ids=[f"{f.group} {f.name} {turn}" for f, turn in FIRST])
def test_search_survives(begun: tuple[Rig, SearchFolder], fault: Fault, turn: int) -> None:
    (outcome,) = matrix.attempt(*begun, [fault], turn=turn, seed=0)
    assert not outcome.problem


def test_undisturbed_search_is_whole_and_equal_to_itself(begun: tuple[Rig, SearchFolder]) -> None:
    rig, whole = begun
    require_whole(rig, WHOLE)
    require_equal(rig, WHOLE, whole)
    require_repeats(rig, WHOLE, WHOLE, most=0)


def test_what_is_not_as_it_was_is_seen(begun: tuple[Rig, SearchFolder]) -> None:
    rig, whole = begun
    submission = whole.path / "submission.csv"
    before, half = submission.read_bytes(), rig.out / "half.tmp"
    try:
        submission.write_bytes(before[:-4])
        with pytest.raises(Unexpected, match="submission"):
            require_equal(rig, WHOLE, _copy_of(whole, before))
        half.touch()
        with pytest.raises(Unexpected, match=r"half-written: half\.tmp"):
            require_whole(rig, WHOLE)
    finally:
        submission.write_bytes(before)
        half.unlink(missing_ok=True)


def _copy_of(whole: SearchFolder, submission: bytes) -> SearchFolder:
    """Another folder with the same files, and that submission."""
    other = SearchFolder(whole.path.with_name("other"))
    other.path.mkdir()
    for path in whole.path.iterdir():
        if path.name not in ("submission.csv", "ray"):
            (other.path / path.name).symlink_to(path)
    (other.path / "submission.csv").write_bytes(submission)
    return other


def test_an_epoch_that_nobody_trained_is_seen(begun: tuple[Rig, SearchFolder]) -> None:
    rig, _ = begun
    lines = rig.witness.read_text().splitlines(keepends=True)
    try:
        rig.witness.write_text("".join(line for line in lines if '"whole/0001"' not in line))
        with pytest.raises(Unexpected, match="nobody trained"):
            require_whole(rig, WHOLE)
    finally:
        rig.witness.write_text("".join(lines))


def test_faults_are_known_by_their_names() -> None:
    assert len({(fault.group, fault.name) for fault in FAULTS}) == len(FAULTS)
    with pytest.raises(UsageError, match="driver"):
        selftest.main(chaos=True, only=["drivr"])


def test_the_matrix_takes_no_more_memory_than_there_is() -> None:
    most = matrix.places([0, 1], free=64 * matrix.RIG_BYTES)
    assert sorted(most) == sorted([0, 1] * matrix.RIGS_A_CORE)
    assert matrix.places([0, 1], free=3 * matrix.RIG_BYTES) == most[:3]
    assert matrix.places([4], free=0) == [4]


def test_only_faults_that_damage_different_things_of_a_state_are_struck_at_once() -> None:
    for alike in matrix.together(FAULTS):
        for faults in matrix.at_once(alike):
            damaged = [fault.damages for fault in faults]
            assert len(set(damaged)) == len(damaged)
            assert len(faults) == 1 or (all(damaged) and faults[0].state)
    batches = [faults for alike in matrix.together(FAULTS) for faults in matrix.at_once(alike)]
    assert sorted(f.name for faults in batches for f in faults) == sorted(f.name for f in FAULTS)
    assert max(map(len, batches)) > 1


@pytest.mark.slow
def test_the_matrix_is_green(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selftest.main(chaos=True, times=1, home=tmp_path, as_json=True)
    rows = json.loads(capsys.readouterr().out)["faults"]
    assert [row["fault"] for row in rows if row["red"]] == []
    assert len(rows) == len(FAULTS)


@pytest.mark.slow
def test_a_search_survives_ten_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selftest.main(kills=10, home=tmp_path, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["again"] <= found["kills"]
