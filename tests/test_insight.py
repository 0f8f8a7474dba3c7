"""What a search teaches: importance, marginals, early stops and cost, on searches whose truth is known."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.asha import Rungs
from orchestrator.evidence import costs, importance, insight, marginals, stopping
from orchestrator.evidence.content import Block, Picture, Section, Table, Text
from orchestrator.evidence.stops import stops
from orchestrator.evidence.tried import Level, levels, parameters, tried
from orchestrator.journal import SearchRecord
from tests.made_study import add_trial, made_record, made_study
from trainables.metrics import ACCURACY
from trainables.task import Metric

ERROR = Metric(name="error", direction="minimize", fn=lambda *_: 0.0)
RUNGS = Rungs(grace_period=2, reduction_factor=3, max_epochs=9, spacing=3)


def drawn(random: np.random.Generator) -> dict[str, Any]:
    return {
        "optimizer": str(random.choice(["sgd", "adamw"])),
        "lr": float(10 ** random.uniform(-4, -1)),
        "dropout": float(random.uniform(0, 0.5)),
        "flip": bool(random.integers(2)),
        "seed": int(random.integers(1000)),
        "pretrained": False,
    }


def steady(params: Mapping[str, Any], random: np.random.Generator) -> np.ndarray:
    """Curves whose order hardly changes: the optimizer decides, the learning rate helps."""
    top = 0.5 + 0.25 * (params["optimizer"] == "sgd") + 0.05 * np.log10(params["lr"] / 1e-4)
    return np.asarray(top * (1 - 0.6 ** np.arange(1, 10)) + random.normal(0, 0.004, 9))


def crossing(params: Mapping[str, Any], random: np.random.Generator) -> np.ndarray:
    """Curves whose first epochs say nothing of the last."""
    first, last = random.uniform(0.2, 0.4), random.uniform(0.5, 0.9)
    return np.asarray(np.r_[np.full(4, first), np.linspace(first, last, 5)])


def words(blocks: list[Block]) -> str:
    """Everything that is said, tables and captions too."""
    found = []
    for block in blocks:
        match block:
            case Section(title=title, blocks=inner):
                found += [title, words(list(inner))]
            case Table():
                cells = [*block.columns, *(cell for row in block.rows for cell in row)]
                found += [block.caption, *cells, *block.notes]
            case Text(words=said):
                found.append(said)
            case Picture(caption=caption):
                found.append(caption)
    return "\n".join(found)


@pytest.fixture(scope="module")
def record() -> SearchRecord:
    return made_study(steady, drawn, trials=45, seed=1, rungs=RUNGS)[0]


def test_only_what_differs_among_trials_of_the_search_counts() -> None:
    record = made_record()
    for i in range(8):
        params = {"model": "ab"[i % 2], "lr": 0.1 * (i + 1), "dropout": 0.1, "seed": i}
        add_trial(record, params | {"width" if i % 2 else "blocks": i}, np.array([0.5]))
    add_trial(record, {"model": "c", "lr": 9.0}, np.array([0.9]), of="0001")
    add_trial(record, {"model": "d", "lr": 8.0}, np.array([]), state="FAIL")

    found = {p.name: p for p in parameters(tried(record))}

    assert set(found) == {"model", "lr", "width", "blocks"}
    assert found["lr"].numeric
    assert not found["model"].numeric
    assert found["width"].conditional


def test_choices_that_always_go_together_are_one_parameter() -> None:
    record = made_record()
    for i in range(6):
        add_trial(record, {"model": "ab"[i % 2], "size": [32, 64][i % 2], "flip": i < 3}, np.array([0.5]))

    assert [p.label for p in parameters(tried(record))] == ["model = size", "flip"]


def test_a_level_compares_the_best_score_up_to_its_epoch() -> None:
    record = made_record("minimize")
    name = add_trial(record, {"lr": 1.0}, np.array([0.5, 0.3, 0.4]))
    trial = record.trials[name]

    assert Level(3).score(trial, record) == 0.3
    assert Level(4).score(trial, record) is None
    assert Level(None).score(trial, record) == 0.3


def test_both_methods_find_the_decisive_parameter(record: SearchRecord) -> None:
    found, notes = importance.importances(record)
    first = found[0]

    assert first.level == Level(2)
    assert first.trials == 45
    assert max(first.fanova, key=first.fanova.__getitem__) == "optimizer"
    assert first.fanova["optimizer"] > 0.6
    assert first.ped["optimizer"] > max(first.ped["dropout"], first.ped["flip"])
    assert sum(first.fanova.values()) == pytest.approx(1)
    assert first.foretold > 0.7
    assert any("End" in note and "20" in note for note in notes)


def test_fewer_than_twenty_trials_say_nothing_of_importance() -> None:
    record, _ = made_study(steady, drawn, trials=19, seed=2, rungs=RUNGS)

    found, notes = importance.importances(record)

    assert not found
    assert "19 trials, of the 20" in words(importance.blocks(found, notes))


def test_equal_scores_leave_nothing_to_explain() -> None:
    record = made_record()
    for i in range(25):
        add_trial(record, {"lr": 0.1 * (i + 1), "flip": i % 2 == 0}, np.array([0.5, 0.5]))

    found, notes = importance.importances(record)

    assert not found
    assert "same score" in notes[0]


def test_chance_is_called_chance() -> None:
    random, record = np.random.default_rng(3), made_record()
    for _ in range(30):
        add_trial(record, drawn(random), random.uniform(0.4, 0.6, 2))

    found, notes = importance.importances(record)

    assert "may be chance" in words(importance.blocks(found, notes))


def test_a_parameter_that_not_every_trial_has_is_named_where_fanova_drops_it() -> None:
    random, record = np.random.default_rng(4), made_record()
    for i in range(40):
        own = {"width": int(random.integers(1, 9))} if i % 2 else {}
        score = 0.5 + 0.04 * own.get("width", 0) + random.normal(0, 0.01)
        add_trial(record, {**drawn(random), **own}, np.array([score]))

    found, notes = importance.importances(record)

    assert "width" not in found[0].fanova
    assert "width" in found[0].ped
    assert "not every trial has width; fANOVA leaves them out" in words(importance.blocks(found, notes))


def test_the_least_is_best_where_the_metric_is_to_be_minimized() -> None:
    random, record = np.random.default_rng(5), made_record("minimize")
    for _ in range(40):
        params = drawn(random)
        score = 0.2 + 0.3 * (params["optimizer"] == "adamw") + random.normal(0, 0.01)
        add_trial(record, params, np.array([score]))

    [found], _ = importance.importances(record)
    table = marginals.blocks(record, ERROR)[0]

    assert max(found.fanova, key=found.fanova.__getitem__) == "optimizer"
    assert found.ped["optimizer"] > found.ped["flip"]
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows if row[0] == "optimizer"] == ["sgd"]


def test_marginals_are_those_of_the_trials_that_share_a_value(record: SearchRecord) -> None:
    table = marginals.blocks(record, ACCURACY)[0]
    assert isinstance(table, Table)
    rows = {row[1]: row for row in table.rows}
    sgd = [t for t in tried(record) if t.params["optimizer"] == "sgd"]
    early = [max(row["valid_metric"] for row in t.reports[:2]) for t in sgd]

    assert rows["sgd"][2] == str(len(sgd))
    assert rows["sgd"][4] == f"{max(t.value or 0 for t in sgd):.4f}"
    assert rows["sgd"][6:] == (f"{np.mean(early):.4f}", f"{np.std(early, ddof=1):.4f}")


def test_thirds_part_no_equal_values() -> None:
    record = made_record()
    for value in [1, 1, 1, 1, 1, 2, 3, 4, 5]:
        add_trial(record, {"depth": value}, np.array([0.1 * value]))
    [parameter] = parameters(tried(record))

    groups = marginals.marginals(tried(record), parameter)

    assert [(g.value, len(g.trials)) for g in groups] == [("1 to 1", 5), ("2 to 2", 1), ("3 to 5", 3)]


def test_where_the_order_stays_the_rungs_are_trusted() -> None:
    record, _ = made_study(steady, drawn, trials=60, seed=6, rungs=RUNGS)

    found = stops(record, ACCURACY)

    assert not found.why_not
    assert found.stopped + found.complete == 60
    assert found.rungs[0].among_all is not None
    assert found.rungs[0].among_all[1] > 0.9
    assert found.regret[0] < 0.02
    assert "keep this grace period" in stopping.advice(found, record)


def test_where_the_order_changes_a_later_comparison_is_advised() -> None:
    record, _ = made_study(crossing, drawn, trials=60, seed=7, rungs=RUNGS)

    found = stops(record, ACCURACY)

    assert found.missed > 0.5
    assert "compare first at epoch 6" in stopping.advice(found, record)
    assert "more training" in stopping.advice(found, record)


def test_the_estimated_rank_correlation_is_not_that_of_the_chosen_few() -> None:
    """Under noise that is known: over searches, near that of all trials, which the survivors understate."""

    def noisy(params: Mapping[str, Any], random: np.random.Generator) -> np.ndarray:
        first = random.normal(0.4, 0.05)
        last = 0.2 + first + random.normal(0, 0.03)
        return np.asarray(np.r_[np.full(8, first), last])

    rungs = Rungs(grace_period=3, reduction_factor=3, max_epochs=9, spacing=3)
    errors, shrunk = [], []
    for seed in range(12):
        record, truth = made_study(noisy, drawn, trials=60, seed=seed, rungs=rungs)
        first = [max(r["valid_metric"] for r in t.reports[:3]) for t in tried(record)]
        whole = np.corrcoef(np.argsort(np.argsort(first)), np.argsort(np.argsort([*truth.values()])))[0, 1]
        rung = stops(record, ACCURACY).rungs[0]
        assert rung.among_all is not None
        assert rung.seen is not None
        errors.append(rung.among_all[1] - whole)
        shrunk.append(rung.seen.value - whole)

    assert abs(np.mean(errors)) < 0.08
    assert np.mean(shrunk) < np.mean(errors)


def test_too_few_that_went_on_tell_nothing() -> None:
    record, _ = made_study(steady, drawn, trials=4, seed=8, rungs=RUNGS)

    found = stops(record, ACCURACY)

    assert np.isnan(found.missed)
    assert "cannot be told" in words(stopping.blocks(found, record))


def test_a_search_without_stops_has_none_that_were_wrong() -> None:
    record = made_record()
    for i in range(10):
        add_trial(record, {"lr": float(i + 1)}, np.array([0.1 * i]))

    assert "No trial was stopped early" in words(stopping.blocks(stops(record, ACCURACY), record))


def test_what_was_spent_adds_up() -> None:
    record = made_record(gpus_per_trial=0.5)
    add_trial(record, {"model": "a"}, np.array([0.1, 0.2, 0.3]))
    add_trial(record, {"model": "a"}, np.array([0.1]), state="PRUNED", stopped_at=1)
    add_trial(record, {"model": "b"}, np.array([0.1]), state="FAIL")
    add_trial(record, {"model": "a"}, np.array([0.1, 0.2, 0.3, 0.4]), of="0000")

    outcome = {cost.name: cost.seconds for cost in costs.by_outcome(record)}
    rungs = costs.by_rung(record)

    assert outcome == {"complete": 4.0, "stopped early": 2.0, "finals": 5.0, "failed": 2.0}
    assert [cost.seconds for cost in rungs] == [3.0, 2.0, 3.0]
    assert costs.devices(record).hours(7200) == 1.0
    assert "1 failed and wasted 00:02 (0.000278 GPU-hours, 15.4% of all)" in words(
        costs.blocks(record, ACCURACY)
    )


def test_a_search_without_a_score_teaches_nothing_yet(tmp_path: Path) -> None:
    said = words(insight.blocks(made_record(), ACCURACY, tmp_path))

    assert "teaches nothing so far" in said
    assert "nothing was spent" in said


def test_everything_is_written_with_its_pictures(record: SearchRecord, tmp_path: Path) -> None:
    sections = insight.blocks(record, ACCURACY, tmp_path)

    assert [s.title for s in sections if isinstance(s, Section)] == [
        "Importance of the parameters",
        "Scores by parameter",
        "Early stops",
        "Cost",
    ]
    assert levels(record) == [Level(2), Level(6), Level(None)]
    for name in ("importance.png", "stops.png"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"


def test_few_that_ended_do_not_say_whether_the_comparison_came_too_early() -> None:
    record, _ = made_study(steady, drawn, trials=50, seed=9, rungs=RUNGS)
    found = stops(record, ACCURACY)
    first = replace(found.rungs[0], among_all=(-0.9, 0.95, 0.99))

    said = stopping.advice(replace(found, rungs=(first, *found.rungs[1:])), record)

    assert "cannot be told" in said
    assert "-0.90 to 0.99" in said
