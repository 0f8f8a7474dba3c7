"""The conductor, driven by hand: what it suggests, stops and writes down."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import journal
from orchestrator.asha import Asha, Rungs
from orchestrator.conductor import RETRIES, SAME_ERROR_LIMIT, SILENCE_S, SILENT_EPOCHS, Conductor
from orchestrator.journal import Event, Journal, SearchRecord
from orchestrator.study import Study
from trainables.metrics import ACCURACY


def space(trial: Any) -> dict[str, Any]:
    return {"model": "convnet", "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True)}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
def conductor(tmp_path: Path, heard: list[Event]) -> Iterator[Conductor]:
    book = Journal(tmp_path / "journal.jsonl")
    asked = book.append("search", task="digits", direction="maximize")
    yield Conductor(
        study=Study(space, direction="maximize", seed=0, defaults={"epochs": 4}, fixed={}, context={}),
        asha=Asha(Rungs(grace_period=2, reduction_factor=2, max_epochs=4)),
        metric=ACCURACY,
        journal=book,
        record=SearchRecord(asked=asked),
        slots=2,
        trials=4,
        deadline=100.0,
        listen=lambda event, _: heard.append(event),
        clock=Clock(),
    )
    book.close()


def row(epoch: int, value: Any) -> dict[str, Any]:
    filled = dict.fromkeys(
        ("train_loss", "train_metric", "valid_loss", "lr", "seconds", "images_per_second"), 1.0
    )
    return {"epoch": epoch, "valid_metric": value, "device": "cpu", **filled}


def run(conductor: Conductor, values: list[Any]) -> str:
    """Suggest a trial and report these values; how it ended."""
    request = conductor.suggest()
    assert request is not None
    for epoch, value in enumerate(values, 1):
        if conductor.report(request.trial_id, row(epoch, value)):
            break
    return conductor.record.trials[request.trial_id].state


def test_suggestions_follow_the_slots(conductor: Conductor) -> None:
    assert conductor.suggest() is not None
    assert conductor.suggest() is not None
    assert conductor.suggest() is None
    conductor.end("0000", "FAIL", "gone")
    assert conductor.suggest() is not None


def test_a_trial_that_ends_by_itself_is_complete_with_fewer_epochs(conductor: Conductor) -> None:
    request = conductor.suggest()
    assert request is not None
    assert not conductor.report(request.trial_id, row(1, 0.9))
    assert conductor.report(request.trial_id, {**row(2, 0.5), "last": True})
    trial = conductor.record.trials["0000"]
    assert (trial.state, trial.value, trial.epoch) == ("COMPLETE", 0.9, 2)
    assert "no better score" in trial.reason


def test_a_trial_that_ran_all_epochs_is_complete_with_its_best_epoch(conductor: Conductor) -> None:
    assert run(conductor, [0.5, 0.9, 0.8, 0.7]) == "COMPLETE"
    trial = conductor.record.trials["0000"]
    assert (trial.value, trial.best_epoch, trial.epoch) == (0.9, 2, 4)


def test_a_trial_below_the_cutoff_is_pruned_and_says_where(conductor: Conductor) -> None:
    run(conductor, [0.5, 0.9, 0.8, 0.7])
    assert run(conductor, [0.6, 0.6, 0.6, 0.6]) == "PRUNED"
    assert conductor.record.trials["0001"].reason == "below 0.9000 at epoch 2"
    assert [rung["stop"] for rung in conductor.record.rungs] == [False, True]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), None, "0.9"])
def test_a_score_that_is_no_number_fails_that_trial_only(conductor: Conductor, bad: Any) -> None:
    assert run(conductor, [0.5, bad]) == "FAIL"
    assert "epoch 2" in conductor.record.trials["0000"].reason
    assert run(conductor, [0.5, 0.9, 0.8, 0.7]) == "COMPLETE"
    assert [trial.trial_id for trial in conductor.record.ranked()] == ["0001"]


def test_the_study_hears_every_epoch_and_how_each_trial_ended(conductor: Conductor) -> None:
    run(conductor, [0.5, 0.9, 0.8, 0.7])
    run(conductor, [0.6, 0.6, 0.6])
    run(conductor, [float("nan")])
    complete, pruned, failed = conductor.study.trials()
    assert (complete.state.name, complete.value) == ("COMPLETE", 0.9)
    assert complete.intermediate_values == {1: 0.5, 2: 0.9, 3: 0.8, 4: 0.7}
    assert (pruned.state.name, pruned.intermediate_values) == ("PRUNED", {1: 0.6, 2: 0.6})
    assert failed.state.name == "FAIL"


def test_the_search_is_over_when_its_trials_or_its_time_are_used_up(conductor: Conductor) -> None:
    for _ in range(4):
        run(conductor, [0.5, 0.5, 0.5, 0.5])
    assert conductor.suggest() is None
    assert conductor.stopped == "all trials done"
    conductor.trials, conductor.stopped = None, None
    assert not conductor.over
    assert isinstance(conductor.clock, Clock)
    conductor.clock.now = 101.0
    assert conductor.over
    assert conductor.stopped == "time is up"


def fail(conductor: Conductor, times: int, reason: str = "no such file") -> None:
    for _ in range(times):
        request = conductor.suggest()
        assert request is not None
        conductor.end(request.trial_id, "FAIL", reason)


def test_a_search_is_paused_when_its_latest_trials_failed_alike(conductor: Conductor) -> None:
    conductor.trials = None
    run(conductor, [0.5, 0.9, 0.8, 0.7])
    fail(conductor, SAME_ERROR_LIMIT)
    assert conductor.over
    assert conductor.stopped == f"paused: the last {SAME_ERROR_LIMIT} trials failed alike: no such file"


def test_failures_that_are_not_alike_or_not_in_a_row_pause_nothing(conductor: Conductor) -> None:
    conductor.trials = None
    fail(conductor, SAME_ERROR_LIMIT - 1)
    fail(conductor, SAME_ERROR_LIMIT - 1, "another")
    run(conductor, [0.5, 0.9, 0.8, 0.7])
    fail(conductor, SAME_ERROR_LIMIT - 1, "another")
    assert not conductor.over


def test_a_paused_search_that_is_resumed_counts_anew(conductor: Conductor) -> None:
    conductor.trials = None
    fail(conductor, SAME_ERROR_LIMIT)
    events, _ = journal.tail(conductor.journal.path)
    study = Study(space, direction="maximize", seed=0, defaults={"epochs": 4}, fixed={}, context={})
    again = replace(conductor, study=study, record=SearchRecord(asked=events[0]), _same_error=("", 0))
    assert again.resume(events[1:]) == []
    fail(again, SAME_ERROR_LIMIT - 1)
    assert not again.over


def test_the_journal_tells_the_same_story(conductor: Conductor, heard: list[Event]) -> None:
    run(conductor, [0.5, 0.9, 0.8, 0.7])
    run(conductor, [0.6, 0.6, 0.6])
    conductor.note("finish", reason="enough")
    read = journal.read(conductor.journal.path)
    assert read == conductor.record
    assert [event["event"] for event in heard[:3]] == ["trial", "report", "report"]


def test_a_report_after_the_end_changes_nothing(conductor: Conductor) -> None:
    run(conductor, [0.5, 0.9, 0.8, 0.7])
    before = dict(conductor.record.trials)
    assert conductor.report("0000", row(5, 1.0))
    assert conductor.record.trials == before


def test_a_trial_whose_process_died_goes_on_three_times_and_then_fails(conductor: Conductor) -> None:
    request = conductor.suggest()
    assert request is not None
    conductor.report(request.trial_id, row(1, 0.5))
    for _ in range(RETRIES):
        conductor.died(request.trial_id, "was killed by SIGKILL")
        again = conductor.suggest()
        assert again is not None
        assert (again.trial_id, again.known, again.params) == (request.trial_id, 1, request.params)
    conductor.died(request.trial_id, "was killed by SIGKILL")
    trial = conductor.record.trials[request.trial_id]
    assert (trial.state, trial.reason) == ("FAIL", "was killed by SIGKILL, 4 times")


def test_the_last_trial_goes_on_too_and_none_after_an_order_to_end(conductor: Conductor) -> None:
    conductor.trials = 1
    request = conductor.suggest()
    assert request is not None
    assert conductor.over
    assert conductor.busy
    conductor.died(request.trial_id, "was killed by SIGKILL")
    assert not conductor.over
    again = conductor.suggest()
    assert again is not None
    assert again.trial_id == request.trial_id
    assert conductor.over
    conductor.stop("interrupted by SIGINT")
    conductor.died(request.trial_id, "was killed by SIGKILL")
    assert conductor.record.trials[request.trial_id].state == "FAIL"
    assert conductor.stopped == "interrupted by SIGINT"


def test_no_trial_hangs_before_an_epoch_was_timed(conductor: Conductor) -> None:
    request = conductor.suggest()
    assert request is not None
    assert request.silent == float("inf")
    conductor.report(request.trial_id, {**row(1, 0.5), "seconds": 3.0})
    later = conductor.suggest()
    assert later is not None
    assert later.silent == SILENCE_S + 3.0 * SILENT_EPOCHS


def test_lost_predictions_are_written_again_once(conductor: Conductor) -> None:
    for value in (0.5, 0.6, 0.7, 0.8):
        run(conductor, [value] * 4)
    assert not conductor.write_again(["0001"]), "the search has not said yet that it is over"
    assert conductor.over
    assert conductor.write_again(["0001"])
    request = conductor.suggest()
    assert request is not None
    assert (request.trial_id, request.finish) == ("0001", True)
    assert conductor.suggest() is None
    assert conductor.over
    assert not conductor.write_again(["0001"])


def test_nothing_is_written_again_by_who_was_told_to_stop(conductor: Conductor) -> None:
    run(conductor, [0.5] * 4)
    conductor.stop("interrupted by SIGINT")
    assert not conductor.write_again(["0000"])
