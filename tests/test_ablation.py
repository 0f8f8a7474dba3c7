"""From a made folder to a table: what counts, what is compared, what is said where something is missing."""

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from orchestrator import ablate
from orchestrator.ablation import places, planned, results, running
from orchestrator.ablation.design import BASE, Row
from orchestrator.ablation.outcome import Outcome, read
from orchestrator.ablation.planned import Planned
from orchestrator.ablation.shared import finished, take_over
from orchestrator.folders import SearchFolder
from orchestrator.journal import Journal, tail
from orchestrator.journal import read as read_journal
from tests.made_search import MadeSearch, digits_store
from trainables.config import TrialConfig, trial_config
from trainables.errors import DataError, NoTrialSucceeded, UsageError
from trainables.predictions import Dense
from trainables.store import open_store

EPOCHS = 3
CONFIG = trial_config({"model": "convnet", "epochs": EPOCHS, "image_size": 16, "width": 8, "depth": 2})


def rows(*changes: dict[str, Any]) -> tuple[Row, ...]:
    named = [(", ".join(f"{k}={v}" for k, v in change.items()), change) for change in changes]
    all_of = [(BASE, {}), *named]
    return tuple(
        Row(name=name, params=trial_config({**CONFIG.params(), **change}).params()) for name, change in all_of
    )


class Made:
    """An ablation of the digits, told trial by trial."""

    def __init__(self, home: Path, store: Path, *, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> None:
        self.folder: SearchFolder = places.create(home, "made")
        self.store = open_store(store)
        self.rows = rows({"optimizer": "sgd"}, {"norm": "none"})
        plan = Planned(
            rows=self.rows,
            seeds=tuple(seeds),
            design="one",
            origin="a file",
            factors=("optimizer", "norm"),
            skipped=1,
        )
        self.journal = Journal(self.folder.journal)
        self.journal.append(
            "search",
            task="digits",
            source="digits",
            space="digits",
            search_id="made",
            direction="maximize",
            metric="accuracy",
            store=str(store),
            fingerprint=self.store.fingerprint,
            ablation=plan.to_json(),
        )
        self.number = 0
        self.random = np.random.default_rng(0)

    def trial(
        self, row: int, seed: int, value: float, *, state: str = "COMPLETE", epochs: int = EPOCHS
    ) -> str:
        trial_id = f"{self.number:04d}"
        params = self.rows[row].config(seed).params()
        self.journal.append("trial", trial_id=trial_id, number=self.number, params=params)
        self.number += 1
        for epoch in range(1, epochs + 1):
            told = dict.fromkeys(("train_loss", "train_metric", "valid_loss", "lr", "images_per_second"), 1.0)
            now = value - 0.1 * (epochs - epoch)
            best = {"value": now, "best_epoch": epoch}
            self.journal.append(
                "report",
                trial_id=trial_id,
                epoch=epoch,
                valid_metric=now,
                seconds=0.5,
                device="cpu",
                best=best,
                **told,
            )
        self.journal.append(
            "end", trial_id=trial_id, state=state, reason="" if state == "COMPLETE" else "broke"
        )
        self._files(trial_id, value)
        return trial_id

    def _files(self, trial_id: str, value: float) -> None:
        folder = self.folder.trial(trial_id)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "execution.json").write_text('{"parameters": 1234, "macs": 5600000}')
        for name in ("valid", "holdout"):
            part = self.store.parts[name]
            assert part.targets is not None
            logits = self.random.normal(size=(len(part.ids), 10)).astype(np.float32)
            right = self.random.random(len(part.ids)) < value
            logits[np.flatnonzero(right), part.targets[right, 0]] += 9
            Dense(ids=part.ids, fields={"label": logits}).save(folder / f"{name}.npz")

    def close(self) -> None:
        self.journal.close()

    def outcome(self) -> Outcome:
        return read(self.folder)


BASE_SCORES = (0.90, 0.92, 0.88, 0.91, 0.89)
WORSE = (0.60, 0.65, 0.55, 0.62, 0.58)
ALIKE = (0.91, 0.90, 0.90, 0.90, 0.90)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_store(tmp_path_factory)


@pytest.fixture
def make(tmp_path: Path, digits: Path) -> Iterator[Callable[..., Made]]:
    with ExitStack() as stack:
        yield lambda **told: stack.enter_context(closing(Made(tmp_path / "runs" / "digits", digits, **told)))


@pytest.fixture
def made(make: Callable[..., Made]) -> Made:
    return make()


@pytest.fixture
def whole(made: Made) -> Made:
    for seed in range(5):
        for row, scores in enumerate((BASE_SCORES, WORSE, ALIKE)):
            made.trial(row, seed, scores[seed])
    return made


def test_a_table_of_five_seeds(whole: Made) -> None:
    outcome = whole.outcome()
    base, worse, alike = outcome.rows
    assert base.mean == pytest.approx(0.9)
    assert base.sd == pytest.approx(np.std(BASE_SCORES, ddof=1))
    expected = stats.ttest_rel(WORSE, BASE_SCORES).confidence_interval(0.95)
    assert worse.comparison is not None
    assert worse.comparison.mean == pytest.approx(-0.3)
    assert worse.comparison.low is not None
    assert worse.comparison.low <= expected.low  # the images say that it spreads no less
    assert worse.comparison.real
    assert worse.over_images is not None
    assert worse.over_images < 0.01
    assert [results.verdict(row) for row in (base, alike)] == ["–", "tie"]
    assert (worse.seconds, worse.parameters, worse.macs) == (1.5, 1234, 5_600_000)
    assert outcome.open == 0
    assert len(base.reached) == 3  # 0.90, 0.92 and 0.91 in their last epochs
    assert worse.reached == ()
    said = results.sentences(outcome)
    assert said[0].startswith("optimizer=sgd: accuracy 0.3000 lower than the base (95 % interval -0.")
    assert "Not told from chance: norm=none." in said[1]


def test_every_form_has_the_same_numbers(whole: Made) -> None:
    ablate.compared(whole.folder)
    table = results.table(whole.outcome())
    assert 1 in table.strong
    with (whole.folder.path / "table.csv").open(newline="") as file:
        cells = [tuple(row) for row in csv.reader(file)]
    assert cells == [table.columns, *table.rows]
    for name in ("table.md", "table.tex", "table.html"):
        text = (whole.folder.path / name).read_text()
        digits_of = set(re.findall(r"\d\.\d{4}", text))
        assert digits_of >= {n for row in table.rows for cell in row for n in re.findall(r"\d\.\d{4}", cell)}
    assert "\\toprule" in (whole.folder.path / "table.tex").read_text()
    assert any("0.0625" in note for note in table.notes)


def test_it_is_shown_whatever_the_width(
    whole: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {}
    for width in ("60", "400"):
        monkeypatch.setenv("COLUMNS", width)
        ablate.show(whole.outcome())
        shown[width] = capsys.readouterr().out
    for row in results.table(whole.outcome()).rows:
        for cell in row:
            assert all(cell in out for out in shown.values())


def test_only_whole_trials_count(made: Made) -> None:
    for seed in range(5):
        made.trial(0, seed, BASE_SCORES[seed])
        made.trial(1, seed, WORSE[seed], state="PRUNED" if seed == 0 else "COMPLETE")
        made.trial(2, seed, ALIKE[seed], epochs=1 if seed == 0 else EPOCHS)
    outcome = made.outcome()
    assert [sorted(row.trials) for row in outcome.rows[1:]] == [[1, 2, 3, 4], [1, 2, 3, 4]]
    assert outcome.open == 2
    assert "It is not finished: 2 trials are missing." in results.about(outcome)
    assert [row[3] for row in results.table(outcome).rows] == ["5", "4 of 5", "4 of 5"]
    assert any("1 of 5 trials were cut off: broke" in note for note in results.notes(outcome))


def test_a_row_that_fails_is_said_to(made: Made) -> None:
    for seed in range(2):
        made.trial(0, seed, BASE_SCORES[seed])
        made.trial(2, seed, ALIKE[seed], state="FAIL")
    outcome = made.outcome()
    assert results.verdict(outcome.rows[2]) == "failed"
    assert results.verdict(outcome.rows[1]) == "not run"
    assert "Without a finished trial beside the base's: optimizer=sgd; norm=none." in results.sentences(
        outcome
    )
    assert any("2 of 5 trials failed" in note for note in results.notes(outcome))


def test_one_seed(make: Callable[..., Made]) -> None:
    made = make(seeds=(0,))
    made.trial(0, 0, 0.9)
    made.trial(1, 0, 0.1)
    outcome = made.outcome()
    assert results.verdict(outcome.rows[1]) == "one seed"
    assert not results.table(outcome).strong
    assert any("--seeds" in note for note in results.notes(outcome))


def test_all_equal(made: Made) -> None:
    for seed in range(5):
        for row in range(3):
            shutil.copytree(
                made.folder.trial(made.trial(row, seed, 0.9)), made.folder.path / "x", dirs_exist_ok=True
            )
    for trial in (made.folder.path / "trials").iterdir():
        for name in ("valid.npz", "holdout.npz"):
            shutil.copy(made.folder.path / "x" / name, trial / name)
    outcome = made.outcome()
    assert [results.verdict(row) for row in outcome.rows[1:]] == ["equal", "equal"]
    assert [row.over_images for row in outcome.rows[1:]] == [None, None]
    assert "to the last digit: optimizer=sgd; norm=none" in results.sentences(outcome)[0]


def test_missing_and_damaged_logits(whole: Made) -> None:
    (whole.folder.trial("0001") / "valid.npz").unlink()
    (whole.folder.trial("0002") / "holdout.npz").write_bytes(b"PK no")
    outcome = whole.outcome()
    assert [row.over_images for row in outcome.rows] == [None, None, None]
    assert outcome.rows[1].comparison is not None
    assert outcome.rows[1].comparison.real  # the scores of the seeds stand
    said = " ".join(results.notes(outcome))
    assert "Trial 0001 is not compared image by image" in said
    assert "Trial 0002 is not compared image by image" in said


def test_the_prepared_images_are_gone(whole: Made, digits: Path) -> None:
    events, _ = tail(whole.folder.journal)
    text = "".join(f"{json.dumps(event)}\n" for event in events)
    whole.folder.journal.write_text(text.replace(str(digits), str(digits.parent / "gone")))
    outcome = whole.outcome()
    assert outcome.images == {}
    assert any("No image was compared" in note for note in results.notes(outcome))
    assert outcome.rows[1].comparison is not None


def test_nothing_has_ended_yet(made: Made) -> None:
    made.trial(1, 0, 0.5)
    with pytest.raises(NoTrialSucceeded, match="No trial of the base") as raised:
        ablate.compared(made.folder)
    assert "--resume made" in raised.value.fix
    home = made.folder.path.parent.parent
    assert results.sections(home, made.store.fingerprint) == []


def test_the_report_gets_those_of_the_same_data(whole: Made) -> None:
    home = whole.folder.path.parent.parent
    found = results.sections(home, whole.store.fingerprint)
    assert len(found) == 1
    assert results.sections(home, "other data") == []
    assert results.sections(home / "nowhere", "x") == []


def test_a_search_is_no_ablation(tmp_path: Path, digits: Path) -> None:
    search = MadeSearch(tmp_path / "runs", digits).finish()
    with pytest.raises(DataError, match="no ablation's"):
        planned.read(search)


def test_ablations_are_found_by_name(whole: Made) -> None:
    home = whole.folder.path.parent.parent
    assert places.find(home, "made").path == whole.folder.path
    with pytest.raises(UsageError, match="Unknown ablation") as raised:
        places.find(home, "maid")
    assert "Did you mean 'made'?" in raised.value.fix
    with pytest.raises(UsageError, match="No ablation of none") as raised:
        places.find(home.parent / "none")
    assert "orchestrator.ablate none" in raised.value.fix


def test_finished_trials_are_shared_by_configuration_seed_and_data(whole: Made, tmp_path: Path) -> None:
    home, fingerprint = whole.folder.path.parent.parent, whole.store.fingerprint
    wanted: list[TrialConfig] = [whole.rows[0].config(0), whole.rows[1].config(3), whole.rows[0].config(7)]
    found = finished(home, fingerprint, wanted)
    assert len(found) == 2
    assert finished(home, "other data", wanted) == {}
    target = places.create(home, "second")
    with closing(Journal(target.journal)) as book:
        book.append("search", task="digits", direction="maximize", fingerprint=fingerprint)
        take_over(target, book, read_journal(target.journal), list(found.values()))
    told = [json.loads(line) for line in target.journal.read_text().splitlines()]
    assert {line["shared"] for line in told if line["event"] == "trial"} == {
        "ablations/made/0000",
        "ablations/made/0010",
    }
    again = read_journal(target.journal).trials["0000"]
    assert (again.state, again.epoch) == ("COMPLETE", EPOCHS)
    assert again.value == pytest.approx(0.90)
    kept = target.trial("0000") / "valid.npz"
    assert kept.read_bytes() == (whole.folder.trial("0000") / "valid.npz").read_bytes()


def test_more_seeds_for_the_ties_that_few_would_decide(made: Made) -> None:
    near = (0.915, 0.93, 0.88, 0.93, 0.89)  # better in nearly all, by little
    for seed in range(5):
        made.trial(0, seed, BASE_SCORES[seed])
        made.trial(1, seed, BASE_SCORES[seed] - 0.3 - 0.005 * seed)
        made.trial(2, seed, near[seed])
    for trial in (made.folder.path / "trials").iterdir():
        (trial / "valid.npz").unlink()  # the made images flip much more than such scores do
    outcome = made.outcome()
    assert [row.row.name for row in outcome.ties] == ["norm=none"]
    more = outcome.ties[0].comparison.more  # type: ignore[union-attr]
    assert more is not None
    assert 0 < more <= running.MOST_FURTHER
    said = running.decide(made.folder, outcome)
    assert said == [f"{more} further seeds may decide norm=none: {2 * more} more trials with base."]
    plan = planned.read(made.folder)[1]
    assert plan.seeds_of(plan.rows[2])[5:] == tuple(range(5, 5 + more))
    assert plan.seeds_of(plan.rows[1]) == (0, 1, 2, 3, 4)
    assert [plan.looks(row) for row in plan.rows[1:]] == [1, 2]
    assert len(plan.trials()) == 15 + 2 * more
    later = made.outcome()
    assert later.open == 2 * more
    assert running.decide(made.folder, later) == []  # one step at a time
