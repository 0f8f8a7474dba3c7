"""The finals: who is trained again, how often and how long; and a search that goes over into them."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import finals, journal
from orchestrator.asha import Asha, Rungs
from orchestrator.final_conductor import FinalConductor
from orchestrator.finals import Finals, Pace, Wanted
from orchestrator.journal import Event, Journal, SearchRecord, TrialRecord
from orchestrator.study import Study
from tests.test_conductor import Clock, row, space
from trainables.config import WHOLE
from trainables.errors import UsageError
from trainables.metrics import ACCURACY

IMAGES = {"train": 800, "valid": 200, "holdout": 100, "test": 100}
PACE = Pace(epochs=10, seconds=2.0, around=5.0)


def trial(number: int, value: float, **params: Any) -> TrialRecord:
    reports = tuple({"epoch": float(epoch), "seconds": 2.0} for epoch in (1, 2, 3))
    return TrialRecord(
        trial_id=f"{number:04d}",
        number=number,
        params={"model": "convnet", "epochs": 10, "seed": number, **params},
        started=0.0,
        state="COMPLETE",
        reports=reports,
        value=value,
        best_epoch=2,
        seconds=11.0,
    )


def record_of(*trials: TrialRecord) -> SearchRecord:
    return SearchRecord(asked={"direction": "maximize"}, trials={t.trial_id: t for t in trials})


def wanted(timed: bool = True, slots: int = 2, **wishes: Any) -> Finals | None:
    return finals.finals_for(Wanted(**wishes), slots=slots, timed=timed, images=IMAGES)


def test_a_search_bound_by_time_has_finals_and_one_bound_by_trials_only_when_asked() -> None:
    assert wanted() == Finals(seeds=finals.SEEDS, growth=1.25, pooled=True, spare=6)
    assert wanted(on="train") == Finals(seeds=finals.SEEDS, spare=6)
    assert wanted(timed=False) is None
    assert wanted(seeds=0) is None
    assert wanted(timed=False, seeds=3, on="train") == Finals(seeds=3)
    by_folds = wanted(timed=False, folds=5)
    assert by_folds is not None
    assert (by_folds.seeds, by_folds.parts) == (1, 5)
    assert by_folds.growth == pytest.approx(1.0)
    whole = wanted(on="train+valid")
    assert whole is not None
    assert whole.folds == WHOLE
    assert whole.growth == pytest.approx(1.25)


def test_every_slot_of_a_cluster_has_a_final() -> None:
    many = wanted(slots=16)
    assert many is not None
    assert many.most >= 16


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"folds": 3, "on": "train+valid"}, "validates on train and valid in turn"),
        ({"folds": 101}, "--folds 101 is not possible"),
        ({"seeds": 0, "folds": 3}, "--final 0"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(wishes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wanted(**wishes)


def test_near_copies_and_the_lower_two_thirds_are_no_finalists() -> None:
    best = [trial(0, 0.9, lr=0.1), trial(1, 0.89, lr=0.1001), trial(2, 0.8, lr=0.5)]
    worse = [trial(number, 0.5 - number / 100, lr=1.0) for number in range(3, 9)]
    found = finals.finalists(record_of(*best, *worse), 5)
    assert [each.trial_id for each in found] == ["0000", "0002"]


def test_a_final_is_no_finalist_again() -> None:
    again = replace(trial(1, 0.95), of="0000")
    assert [t.trial_id for t in finals.finalists(record_of(trial(0, 0.9), again), 2)] == ["0000"]


def test_distance_is_the_mean_over_parameters_relative_to_their_range() -> None:
    params, other = {"lr": 0.2, "flip": True, "model": "a"}, {"lr": 0.7, "flip": True, "model": "b"}
    assert finals.distance(params, other, {"lr": 1.0, "flip": 0.0, "model": 0.0}) == pytest.approx(0.5)
    assert finals.distance({}, {"depth": 3}, {"depth": 0.0}) == 1.0


def test_the_pace_leaves_out_the_warm_up_and_what_the_first_trial_of_a_slot_waited() -> None:
    slow = replace(
        trial(0, 0.9), reports=({"seconds": 30.0}, {"seconds": 2.0}, {"seconds": 3.0}), seconds=99.0
    )
    found = finals.pace_of(slow, record_of(slow, trial(1, 0.5), trial(2, 0.5)))
    assert (found.epochs, found.seconds, found.around) == (10, 2.5, 5.0)


def test_time_goes_to_more_finals_once_they_are_longer_than_the_search_made_them() -> None:
    plan = Finals(seeds=2)
    counts = [finals.how_many(plan, PACE, seconds=seconds, slots=2) for seconds in (20, 40, 110, 160, 900)]
    assert counts == [0, 2, 6, 6, 6]
    assert finals.how_many(plan, PACE, seconds=math.inf, slots=2) == plan.most


def test_what_is_yet_to_learn_is_trained_longer_and_less_often() -> None:
    def learned(train: float | None) -> TrialRecord:
        row: dict[str, Any] = {"epoch": 10, "seconds": 1.0, "train_metric": train, "valid_metric": 0.4}
        return replace(trial(0, 0.4), reports=(row,), best_epoch=10)

    assert finals.stretch_of(learned(0.3), ACCURACY) == finals.LONGEST
    assert finals.stretch_of(learned(0.8), ACCURACY) == 1.0
    assert finals.stretch_of(learned(None), ACCURACY) == finals.LONGEST  # dense kinds do not measure it
    plan = Finals(seeds=2)
    counts = [finals.how_many(plan, PACE, seconds=s, slots=2, stretch=2.5) for s in (20, 40, 110, 160, 900)]
    assert counts == [0, 2, 4, 6, 6]
    # 1.02 and 1.2 rounds of the whole stretch: further ones are shorter, rather than time left unused
    assert [finals.how_many(plan, PACE, seconds=s, slots=2, stretch=2.5) for s in (61, 72)] == [2, 4]


@pytest.mark.parametrize("seconds", [40.0, 110.0, 160.0, 900.0])
def test_finals_end_before_the_time_does(seconds: float) -> None:
    plan = Finals(seeds=2)
    count = finals.how_many(plan, PACE, seconds=seconds, slots=2)
    free, epochs = [0.0, 0.0], []
    for started in range(count):
        slot = free.index(min(free))
        epochs.append(
            finals.epochs_for(plan, PACE, seconds=seconds - free[slot], left=count - started, slots=2)
        )
        free[slot] += PACE.takes(epochs[-1], plan.growth)
    assert max(free) <= seconds
    assert PACE.epochs <= min(epochs)
    assert max(epochs) <= finals.LONGEST * PACE.epochs


def test_epochs_asked_for_are_kept_as_far_as_the_time_allows() -> None:
    plan = Finals(seeds=1, epochs=12)
    assert finals.epochs_for(plan, PACE, seconds=900.0, left=1, slots=1) == 12
    assert finals.epochs_for(plan, PACE, seconds=20.0, left=1, slots=1) < 12
    assert finals.epochs_for(plan, PACE, seconds=math.inf, left=1, slots=1) == 12


def test_folds_come_in_whole_groups() -> None:
    plan = Finals(seeds=1, folds=5)
    counts = {finals.how_many(plan, PACE, seconds=float(s), slots=2) for s in range(20, 900, 10)}
    assert counts == {0, 5, 10, 15}


def test_the_configuration_differs_in_seed_length_and_patience_alone() -> None:
    of = trial(3, 0.9, patience=2, lr=0.01)
    config = finals.configuration(Finals(seeds=2), of, epochs=25, turn=1, fold=0)
    changed = {k: v for k, v in config.params().items() if k in of.params and of.params[k] != v}
    assert changed == {"epochs": 25, "patience": 0, "seed": 3 + 2 * finals.SEED_STEP}


def test_without_validation_a_final_runs_as_long_as_the_trial_was_good_for() -> None:
    of = trial(0, 0.9, tta="flip", tta_plain=-1.0)
    config = finals.configuration(Finals(seeds=1, folds=WHOLE), of, epochs=10, turn=0, fold=0)
    assert (config.epochs, config.folds, config.tta_plain) == (10, WHOLE, 0.5)


@pytest.fixture
def conductor(tmp_path: Path) -> Iterator[FinalConductor]:
    book = Journal(tmp_path / "journal.jsonl")
    asked = book.append("search", task="digits", direction="maximize", trials=None)
    heard: list[Event] = []
    yield FinalConductor(
        study=Study(space, direction="maximize", seed=0, defaults={"epochs": 4}, fixed={}, context={}),
        asha=Asha(Rungs(grace_period=2, reduction_factor=2, max_epochs=4)),
        metric=ACCURACY,
        journal=book,
        record=SearchRecord(asked=asked),
        slots=2,
        trials=None,
        deadline=50.0,
        listen=lambda event, _: heard.append(event),
        clock=Clock(),
        finals=Finals(seeds=2, configurations=1),
        until=100.0,
        grace=10.0,
    )
    book.close()


def at(conductor: FinalConductor, now: float) -> None:
    assert isinstance(conductor.clock, Clock)
    conductor.clock.now = now


def finish(conductor: FinalConductor, value: float, *, seconds: float = 1.0) -> TrialRecord:
    """The next trial, of epochs that take so long."""
    request = conductor.suggest()
    assert request is not None
    for epoch in range(1, int(request.params["epochs"]) + 1):
        if conductor.report(request.trial_id, row(epoch, value) | {"seconds": seconds}):
            break
    return conductor.record.trials[request.trial_id]


def test_the_search_goes_over_into_finals_which_nothing_stops_early(conductor: FinalConductor) -> None:
    best = finish(conductor, 0.9)
    at(conductor, 51.0)
    first, second = finish(conductor, 0.1), finish(conductor, 0.2)
    assert (first.of, second.of) == (best.trial_id, best.trial_id)
    assert (first.state, second.state) == ("COMPLETE", "COMPLETE")
    assert first.params["epochs"] == 4 * int(finals.LONGEST)
    assert len({t.params["seed"] for t in (best, first, second)}) == 3
    assert conductor.suggest() is None
    assert conductor.stopped == "the finals are done"
    assert conductor.record.finals == 2
    assert journal.read(conductor.journal.path) == conductor.record


@pytest.mark.parametrize(("grace", "state"), [(10.0, "RUNNING"), (1.0, "PRUNED")])
def test_a_search_trial_near_its_end_runs_on_beside_the_finals(
    conductor: FinalConductor, grace: float, state: str
) -> None:
    conductor.grace = grace
    finish(conductor, 0.9)
    at(conductor, 45.0)
    running = conductor.suggest()
    assert running is not None
    assert running.seconds == pytest.approx(55.0)
    at(conductor, 50.0)
    assert finish(conductor, 0.8).of == "0000"
    assert conductor.report(running.trial_id, row(1, 0.99)) == (state != "RUNNING")
    trial = conductor.record.trials[running.trial_id]
    assert (trial.of, trial.state) == ("", state)


def test_finals_wait_for_a_trial_to_be_measured_by(conductor: FinalConductor) -> None:
    running = conductor.suggest()
    assert running is not None
    at(conductor, 51.0)
    assert conductor.suggest() is None
    assert conductor.stopped is None
    conductor.report(running.trial_id, row(1, 0.5))
    assert conductor.suggest() is None
    conductor.interrupt(running.trial_id, "time is up")
    again = conductor.suggest()
    assert again is not None
    assert conductor.record.trials[again.trial_id].of == running.trial_id


def test_a_second_seed_learns_from_train_and_valid_as_long_as_the_first_was_good_for(
    conductor: FinalConductor,
) -> None:
    conductor.finals = Finals(seeds=2, configurations=3, growth=1.25, pooled=True)
    best = finish(conductor, 0.9)
    at(conductor, 51.0)
    request = conductor.suggest()
    assert request is not None
    for epoch in range(1, int(request.params["epochs"]) + 1):
        conductor.report(request.trial_id, row(epoch, 0.95 if epoch == 3 else 0.5))
    first, second = conductor.record.trials[request.trial_id], finish(conductor, 0.1)
    assert (first.of, first.params["folds"], first.value) == (best.trial_id, 0, 0.95)
    assert (second.of, second.params["folds"], second.value) == (first.trial_id, WHOLE, 0.95)
    assert second.params["epochs"] == first.params["epochs"]
    assert len({t.params["seed"] for t in (best, first, second)}) == 3


def test_time_that_is_left_goes_to_further_seeds(conductor: FinalConductor) -> None:
    conductor.finals = Finals(seeds=2, configurations=1, spare=2)
    best = finish(conductor, 0.9)
    at(conductor, 51.0)
    more = [finish(conductor, 0.1) for _ in range(4)]
    assert {trial.of for trial in more} == {best.trial_id}
    assert len({trial.params["seed"] for trial in more}) == 4
    assert conductor.suggest() is None
    assert conductor.record.finals == 4


def test_time_that_holds_only_a_short_training_is_left(conductor: FinalConductor) -> None:
    conductor.finals = Finals(seeds=2, configurations=1, spare=2)
    finish(conductor, 0.9)
    at(conductor, 51.0)
    long = [finish(conductor, 0.1) for _ in range(2)]
    assert len({trial.params["epochs"] for trial in long}) == 1
    pace = finals.pace_of(long[-1], conductor.record)
    epochs = int(long[-1].params["epochs"])
    at(conductor, 100.0 - pace.takes(finals.SPARE * epochs - 1, 1.0))
    assert conductor.suggest() is None
    assert conductor.stopped == "the finals are done"


def test_time_that_is_left_goes_to_a_configuration_that_it_is_enough_for(
    conductor: FinalConductor,
) -> None:
    conductor.finals = Finals(seeds=2, configurations=2, epochs=8, spare=2)
    for value in (0.9, 0.8, 0.1, 0.1, 0.1, 0.1):
        finish(conductor, value)
    at(conductor, 51.0)
    begun = [finish(conductor, 0.5, seconds=seconds) for seconds in (5.0, 1.0, 5.0, 1.0)]
    slow, quick = (trial.of for trial in begun[:2])
    assert [trial.of for trial in begun] == [slow, quick, slow, quick]
    at(conductor, 80.0)
    assert finish(conductor, 0.5).of == quick


def test_where_the_first_seed_failed_the_second_builds_on_the_trial_of_the_search(
    conductor: FinalConductor,
) -> None:
    conductor.finals = Finals(seeds=2, configurations=1, growth=1.25, pooled=True)
    best = finish(conductor, 0.9)
    at(conductor, 51.0)
    broken = conductor.suggest()
    assert broken is not None
    conductor.end(broken.trial_id, "FAIL", "the machine went down")
    assert finish(conductor, 0.1).of == best.trial_id


def test_where_no_final_fits_the_search_goes_on(conductor: FinalConductor) -> None:
    finish(conductor, 0.9)
    at(conductor, 99.0)
    assert not finish(conductor, 0.8).of
    at(conductor, 100.0)
    assert conductor.suggest() is None
    assert conductor.stopped == "time is up"


def test_a_trial_that_would_not_end_in_time_is_shortened(conductor: FinalConductor) -> None:
    finish(conductor, 0.9)
    at(conductor, 96.0)
    short = finish(conductor, 0.8)
    assert (short.of, short.state) == ("", "COMPLETE")
    assert 1 <= int(short.params["epochs"]) < 4


def test_a_stop_in_the_finals_is_the_end(conductor: FinalConductor) -> None:
    finish(conductor, 0.9)
    at(conductor, 51.0)
    finish(conductor, 0.8)
    conductor.stop("interrupted by SIGINT")
    assert conductor.suggest() is None
    assert conductor.stopped == "interrupted by SIGINT"


def test_the_folds_of_a_member_share_seed_and_length(conductor: FinalConductor) -> None:
    conductor.finals = Finals(seeds=1, configurations=1, folds=3)
    finish(conductor, 0.9)
    at(conductor, 51.0)
    members = [finish(conductor, 0.5) for _ in range(3)]
    assert [m.params["fold"] for m in members] == [0, 1, 2]
    assert len({(m.params["seed"], m.params["epochs"], m.of) for m in members}) == 1


def test_without_validation_the_score_is_that_of_the_trial_it_is_of(conductor: FinalConductor) -> None:
    conductor.finals = Finals(seeds=1, configurations=1, folds=WHOLE)
    finish(conductor, 0.9)
    at(conductor, 51.0)
    again = finish(conductor, 0.97)
    assert (again.value, again.best_epoch) == (0.9, again.epoch)


@pytest.mark.parametrize(("folds", "planned"), [(0, 6), (WHOLE, 8)])
def test_as_many_are_planned_as_fit_at_the_length_they_may_have(
    conductor: FinalConductor, folds: int, planned: int
) -> None:
    conductor.finals = Finals(seeds=8, configurations=1, folds=folds)
    finish(conductor, 1.0)  # as good as on what it is taught
    at(conductor, 51.0)
    conductor.suggest()
    assert conductor.record.finals == planned


def test_slots_begin_with_first_finals_and_time_that_is_left_goes_to_further_seeds(
    conductor: FinalConductor,
) -> None:
    conductor.finals = Finals(seeds=2, configurations=3, growth=1.25, pooled=True, spare=6)
    for value in (0.1, 0.9, 0.2, 0.8, 0.3, 0.4, 0.5):
        finish(conductor, value)
    at(conductor, 88.0)  # two fit, one a slot
    first, second = conductor.suggest(), conductor.suggest()
    assert first is not None
    assert second is not None
    assert conductor.suggest() is None
    begun = [conductor.record.trials[request.trial_id] for request in (first, second)]
    assert len({trial.of for trial in begun}) == 2
    assert [trial.params["folds"] for trial in begun] == [0, 0]
    for epoch in range(1, int(first.params["epochs"]) + 1):
        conductor.report(first.trial_id, row(epoch, 0.9))
    third = conductor.suggest()
    assert third is not None
    again = conductor.record.trials[third.trial_id]
    assert (again.of, again.params["folds"]) == (first.trial_id, WHOLE)
