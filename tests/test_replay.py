"""The replay: recorded curves under simulated workers, driven by the conductor of a real search."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import search_replay
from benchmarks.search_replay import Recording, as_past, conductor_of, read, regrets, replay
from orchestrator.asha import Rungs
from orchestrator.prior import Prior, learn
from tests.curves import EPOCHS, RUNS, made_sets

WHOLE = Rungs(grace_period=EPOCHS, reduction_factor=3, max_epochs=EPOCHS)
EARLY = Rungs(grace_period=1, reduction_factor=3, max_epochs=EPOCHS)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    folder = made_sets(tmp_path_factory.mktemp("curves") / "sets", 4)
    return [read(path) for path in sorted(folder.glob("*.npz"))]


@pytest.fixture(scope="module")
def prior(recordings: list[Recording]) -> Prior:
    return learn([as_past(other) for other in recordings[1:]], seed=0)


@pytest.fixture
def no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation goes on until random search has tried all, and its last trials too."""
    monkeypatch.setattr(search_replay, "GRID", np.array([10.0]))


def test_censored_runs_are_no_candidates(recordings: list[Recording]) -> None:
    assert len(recordings[0].candidates) == RUNS - 1
    assert recordings[0].lengths.tolist() == [6] + [EPOCHS] * (RUNS - 2)


@pytest.mark.usefixtures("no_end")
def test_random_search_trains_every_run_to_its_end_in_the_time_of_the_budget(
    recordings: list[Recording],
) -> None:
    conductor = conductor_of(recordings[0], 0, rungs=WHOLE, workers=1)
    improvements = replay(recordings[0], conductor)
    assert conductor.stopped == "every candidate was tried"
    assert sorted(trial.epoch for trial in conductor.record.trials.values()) == [6] + [EPOCHS] * (RUNS - 2)
    assert sorted(int(t.params["seed"]) for t in conductor.record.trials.values()) == list(range(RUNS - 1))
    assert conductor.clock() == pytest.approx(recordings[0].total_seconds, rel=1e-5)
    assert improvements[-1][1] == pytest.approx(recordings[0].best)


@pytest.mark.usefixtures("no_end")
def test_more_workers_take_less_time(recordings: list[Recording]) -> None:
    moments = []
    for workers in (1, 4):
        conductor = conductor_of(recordings[0], 0, rungs=WHOLE, workers=workers)
        replay(recordings[0], conductor)
        moments.append(conductor.clock())
    assert moments[0] / 4 <= moments[1] < moments[0] / 3


@pytest.mark.usefixtures("no_end")
def test_asha_stops_and_the_guide_finds_the_best(recordings: list[Recording], prior: Prior) -> None:
    asha = conductor_of(recordings[0], 0, rungs=EARLY, workers=4)
    replay(recordings[0], asha)
    assert asha.record.count("PRUNED") > RUNS / 2
    guided = conductor_of(recordings[0], 0, rungs=EARLY, workers=4, prior=prior)
    assert replay(recordings[0], guided)[-1][1] == pytest.approx(recordings[0].best, abs=0.01)


def test_what_was_learned_elsewhere_saves_time(recordings: list[Recording], prior: Prior) -> None:
    def regret(seed: int, learned: Prior | None) -> float:
        conductor = conductor_of(recordings[0], seed, rungs=EARLY, workers=4, prior=learned)
        return float(regrets(recordings[0], conductor, (0.1, 0.2)).mean())

    assert sum(regret(seed, prior) for seed in range(3)) < sum(regret(seed, None) for seed in range(3))


def test_a_replay_is_repeated_to_the_letter(recordings: list[Recording], prior: Prior) -> None:
    def once(seed: int) -> list[tuple[float, float]]:
        return replay(recordings[0], conductor_of(recordings[0], seed, rungs=EARLY, workers=4, prior=prior))

    assert once(1) == once(1)


def test_the_command_prints_one_line_and_draws(tmp_path: Path) -> None:
    folder, figure = made_sets(tmp_path / "sets", 3), tmp_path / "regret.png"
    command = [sys.executable, "-m", "benchmarks.search_replay", "--curves", str(folder), "--seeds", "2"]
    done = subprocess.run(
        [*command, "--json", "--figure", str(figure)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["name"] == "search_replay"
    assert set(told["regrets"]) == {"random", "ASHA", "ours, no past", "ours"}
    assert (told["sets"], told["seeds"], told["workers"]) == (3, 2, 4)
    assert figure.stat().st_size > 10_000


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.search_replay", "--curves", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "holds 0 sets" in done.stderr
