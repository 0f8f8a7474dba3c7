"""What an ablation compares: factors around a base, the rates of optimizers, rows, the order of trials."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ablation import prepared
from orchestrator.ablation.bases import base_of
from orchestrator.ablation.conducted import AblationConductor
from orchestrator.ablation.design import Rate, rate_of, rates_from, rows_of
from orchestrator.ablation.factors import factors_of
from orchestrator.ablation.planned import Extension, Planned, seeds_after
from orchestrator.ablation.prepared import Wish
from orchestrator.asha import Asha, rungs_for
from orchestrator.conductor import Request
from orchestrator.folders import point_latest
from orchestrator.journal import Journal, SearchRecord
from orchestrator.journal import read as read_journal
from orchestrator.plan import resources_here
from orchestrator.study import Study
from tests.made_search import MadeSearch, digits_store
from trainables.config import TrialConfig, trial_config
from trainables.errors import UsageError
from trainables.metrics import ACCURACY


def config(**changes: Any) -> TrialConfig:
    return trial_config({"model": "convnet", "epochs": 4, "image_size": 16, **changes})


def values(base: TrialConfig, *texts: str) -> dict[str, tuple[Any, ...]]:
    return {factor.key: factor.values for factor in factors_of(texts, base)[0]}


def same(optimizer: str) -> Rate:
    return Rate({}, "the base's")


def test_the_four_comparisons_are_the_default() -> None:
    assert values(config()) == {
        "optimizer": ("adam", "sgd"),
        "pooling": ("avg",),
        "dropout": (0.3,),
        "norm": ("none",),
    }
    other = config(optimizer="sgd", pooling="blur", dropout=0.2, norm="group")
    assert values(other) == {
        "optimizer": ("adam",),
        "pooling": ("avg", "max"),
        "dropout": (0.0,),
        "norm": ("batch", "none"),
    }


def test_a_model_without_a_factor() -> None:
    resnet = trial_config({"model": "resnet18"})
    factors, left_out = factors_of([], resnet)
    assert [factor.key for factor in factors] == ["optimizer", "global_pool", "dropout"]
    assert left_out == ["resnet18 has no norm to choose: left out."]
    assert values(resnet, "pooling") == {"global_pool": ("max",)}  # its own choice is the mean
    with pytest.raises(UsageError, match="resnet18 has no norm") as raised:
        factors_of(["norm"], resnet)
    assert "optimizer, pooling, dropout, augment, schedule" in raised.value.fix


def test_augmentation_of_no_strength_is_none() -> None:
    assert values(config(), "augment")["augment"] == ("trivialaugment",)
    assert values(config(augment="none"), "augment")["augment"] == ("trivialaugment",)
    assert values(config(rotation=10), "augment")["augment"] == ("none", "trivialaugment")


def test_values_of_ones_own() -> None:
    found = values(config(), "lr=0.001,0.01 depth=2,6", "init")
    assert found == {"lr": (0.01,), "depth": (2, 6), "init": ("xavier", "orthogonal")}
    notes = factors_of(["lr=0.001,0.01"], config())[1]
    assert notes == ["lr=0.001 is the base itself."]


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("poling", "Unknown factor 'poling'", "Did you mean 'pooling'"),
        ("lr=0.001", "the base's 0.001 and nothing else", "--factors lr=a,b"),
        ("lrr=1,2", "Unknown parameter for model 'convnet': 'lrr'", "Did you mean 'lr'"),
        ("seed=1,2", "seed is no factor", "--seeds"),
        ("folds=2,3", "folds is no factor", "Leave folds out"),
        ("lr=", "is not name=a,b,c", "lr=0.001,0.01"),
        ("pooling pooling=min", "pooling is given twice", "once"),
    ],
)
def test_factors_that_cannot_be(text: str, what: str, fix: str) -> None:
    with pytest.raises(UsageError) as raised:
        factors_of([text], config())
    assert what in raised.value.what
    assert fix in raised.value.fix


def test_a_value_out_of_range() -> None:
    factors = factors_of(["dropout=0.5,2"], config())[0]
    with pytest.raises(UsageError, match="dropout=2"):
        rows_of(config(), factors, "one", same)


def test_designs() -> None:
    factors = factors_of(["pooling", "dropout=0.1,0.2", "norm"], config())[0]
    one = rows_of(config(), factors, "one", same)
    assert [row.name for row in one] == ["base", "pooling=avg", "dropout=0.1", "dropout=0.2", "norm=none"]
    pairs = rows_of(config(), factors, "pairwise", same)
    assert len(pairs) == 5 + 2 + 1 + 2
    assert pairs[5].name == "pooling=avg, dropout=0.1"
    assert pairs[5].params == config(pooling="avg", dropout=0.1).params()
    grid = rows_of(config(), factors, "grid", same)
    assert len(grid) == 2 * 3 * 2
    assert grid[0].params == config().params()
    assert len({json.dumps(row.params, sort_keys=True) for row in grid}) == 12
    assert grid[3].config(9) == config(**{**grid[3].params, "seed": 9})
    many = factors_of(
        ["lr=" + ",".join(f"0.{i}" for i in range(1, 30)), "depth=" + "5,6,7,8,9,10,11"], config()
    )
    with pytest.raises(UsageError, match="rows"):
        rows_of(config(), [*many[0], *factors], "grid", same)


def test_another_optimizer_gets_its_own_rate() -> None:
    base = config(optimizer="adamw", lr=0.002, weight_decay=0.05)
    assert rate_of("adamw", base, {}).changes == {}
    assert rate_of("sgd", base, {}).changes == pytest.approx({"lr": 0.05, "weight_decay": 0.002})
    assert rate_of("adam", base, {}).changes == pytest.approx({"lr": 0.002, "weight_decay": 0.002})
    back = config(optimizer="sgd", lr=0.05, weight_decay=0.002)
    assert rate_of("adamw", back, {}).changes == pytest.approx({"lr": 0.002, "weight_decay": 0.05})
    drawn = [config(optimizer="sgd", lr=lr, weight_decay=1e-4) for lr in (0.01, 0.1)]
    known = rates_from(base, None, [base, *drawn])
    assert rate_of("sgd", base, known).changes["lr"] == pytest.approx(0.01**0.5 * 0.1**0.5)
    kin = {"adamw": Rate({"lr": 0.004, "weight_decay": 0.05}, "of trial 0003")}
    assert rate_of("adam", back, kin).changes == pytest.approx({"lr": 0.004, "weight_decay": 0.002})
    assert rate_of("adam", back, kin).why == "as adamw's, of trial 0003"
    assert rates_from(base, None, drawn) == {}  # it never varies there: nothing is known of others


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_store(tmp_path_factory)


@pytest.fixture
def search(tmp_path: Path, digits: Path) -> Iterator[MadeSearch]:
    made = MadeSearch(tmp_path / "runs", digits, fixed={}, data=str(tmp_path / "data"))
    with closing(made.journal):
        yield made


def test_the_base_is_the_best_of_the_latest_search(search: MadeSearch, tmp_path: Path) -> None:
    search.whole_trial(0, skill=0.5, optimizer="sgd", lr=0.3, weight_decay=1e-3)
    search.whole_trial(1, skill=0.9, folds=1, patience=3, dropout=0.25)
    point_latest(search.folder)
    base = base_of(tmp_path / "runs" / "digits", "best")
    assert base.origin == "trial 0001 of search made-up, its best"
    assert base.config is not None
    assert (base.config.dropout, base.config.folds, base.config.patience) == (0.25, 0, 0)
    known = rates_from(base.config, base.record, [])
    assert rate_of("sgd", base.config, known) == Rate(
        {"lr": 0.3, "weight_decay": 1e-3}, "of trial 0000, the best with it"
    )


def test_a_search_without_a_finished_trial_is_no_base(search: MadeSearch, tmp_path: Path) -> None:
    point_latest(search.folder)
    with pytest.raises(UsageError, match="no finished trial to be the base"):
        base_of(tmp_path / "runs" / "digits", "best")


def test_without_a_search_the_base_is_what_it_would_try_first(tmp_path: Path) -> None:
    base = base_of(tmp_path / "digits", "best")
    assert base.config is None
    assert "first suggestion" in base.origin


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "No such file"),
        ("{", "is no JSON"),
        ("[1]", "holds no object"),
        ('{"lr": 1}', "names no model"),
    ],
)
def test_a_file_that_is_no_base(tmp_path: Path, content: str | None, what: str) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=what):
        base_of(tmp_path / "digits", str(path))


def test_a_plan_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(config(seed=1, dropout=0.1).to_json())
    wish = Wish(
        task="digits",
        base=str(path),
        data=tmp_path / "data",
        out=tmp_path / "runs",
        factors=("dropout", "norm"),
        seeds=3,
        epochs=2,
        settings={"width": 8},
    )
    ready = prepared.make_ready(wish, resources=resources_here())
    plan = ready.planned
    assert plan.seeds == (0, 2, 3)  # the base may have been chosen for the luck of seed 1
    assert [row.name for row in plan.rows] == ["base", "dropout=0", "norm=none"]
    assert {(row.params["epochs"], row.params["width"]) for row in plan.rows} == {(2, 8)}
    assert ready.seconds is not None
    assert ready.shared == 0
    lines = dict(prepared.lines_of(ready))
    assert lines["trials"] == "9, 2 epochs each, none stopped early"
    assert any("Seed 1 is left out" in note for note in plan.notes)


def plan_of(*names: str) -> Planned:
    rows = rows_of(config(), factors_of(names, config())[0], "one", same)
    return Planned(rows=tuple(rows), seeds=(0, 1), design="one", origin="", factors=())


def test_seeds_and_what_is_added_to_them() -> None:
    assert seeds_after(-1, 3, skipped=1) == (0, 2, 3)
    assert seeds_after(3, 2, skipped=None) == (4, 5)
    plan = plan_of("norm", "pooling")
    more = Planned(**{**vars(plan), "extensions": (Extension(rows=("norm=none",), seeds=(2, 3)),)})
    assert [more.seeds_of(row) for row in more.rows] == [(0, 1, 2, 3), (0, 1, 2, 3), (0, 1)]
    assert [trial.seed for trial in more.trials()] == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert more.further(2) == (4, 5)


def row(epoch: int, value: float, *, last: bool = False) -> dict[str, Any]:
    names = ("train_loss", "train_metric", "valid_loss", "lr", "seconds", "images_per_second")
    told = {"epoch": epoch, "valid_metric": value, "device": "cpu", "last": last}
    return {**told, **dict.fromkeys(names, 1.0)}


def test_trials_run_in_order_to_their_last_epoch(tmp_path: Path) -> None:
    trials = plan_of("norm", "dropout").trials()
    study: Study = Study(
        lambda trial: {},
        direction="maximize",
        seed=0,
        defaults={},
        fixed={},
        context={},
        candidates=trials,
    )
    with closing(Journal(tmp_path / "journal.jsonl")) as book:
        begun_before = SearchRecord(asked=book.append("search", direction="maximize"))
        for number in range(7):
            about = {"trial_id": f"{number:04d}", "number": number, "params": {}}
            begun_before.apply(book.append("trial", **about))
            begun_before.apply(
                book.append("end", trial_id=about["trial_id"], state="PRUNED", reason="cut off")
            )
        conductor = AblationConductor(
            study=study,
            asha=Asha(rungs_for(4, timed=False)),
            metric=ACCURACY,
            journal=book,
            record=begun_before,
            slots=2,
            trials=None,
            deadline=float("inf"),
            listen=lambda event, record: None,
        )
        started: list[Request] = []
        while (request := conductor.suggest()) or not conductor.over or len(started) % 2:
            if request is not None:
                started.append(request)
            if len(started) % 2 == 0:
                for name in [begun.trial_id for begun in started[-2:]]:
                    stops = [conductor.report(name, row(e, 0.1 / e, last=e == 4)) for e in range(1, 5)]
                    assert stops == [False, False, False, True]
    assert [request.trial_id for request in started] == [f"{n:04d}" for n in range(7, 13)]
    assert [dict(request.params) for request in started] == [trial.params() for trial in trials]
    record = read_journal(tmp_path / "journal.jsonl")
    assert record.count("COMPLETE") == 6
    assert conductor.stopped == "all trials done"
    assert not record.rungs


def test_a_trial_whose_process_died_goes_on_in_an_ablation_too(tmp_path: Path) -> None:
    study: Study = Study(
        lambda trial: {},
        direction="maximize",
        seed=0,
        defaults={},
        fixed={},
        context={},
        candidates=plan_of("norm").trials()[:1],
    )
    with closing(Journal(tmp_path / "journal.jsonl")) as book:
        conductor = AblationConductor(
            study=study,
            asha=Asha(rungs_for(4, timed=False)),
            metric=ACCURACY,
            journal=book,
            record=SearchRecord(asked=book.append("search", direction="maximize")),
            slots=2,
            trials=None,
            deadline=float("inf"),
            listen=lambda event, record: None,
        )
        request = conductor.suggest()
        assert request is not None
        conductor.report(request.trial_id, row(1, 0.1))
        conductor.died(request.trial_id, "was killed by SIGKILL")
        again = conductor.suggest()
        assert again is not None
        assert (again.trial_id, again.known) == (request.trial_id, 1)
        conductor.report(again.trial_id, row(4, 0.2, last=True))
        assert conductor.suggest() is None
    assert conductor.stopped == "all trials done"
