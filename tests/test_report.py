"""The report of a search, as a command and as files."""

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import ensemble, leaderboard
from orchestrator import report as command
from orchestrator.document import conclusion, introduction, sources, writing
from orchestrator.evidence.content import Bullets, Section, Text
from orchestrator.folders import SearchFolder
from orchestrator.journal import read, tail
from orchestrator.report import report
from tests.made_search import MadeSearch, digits_store
from trainables.errors import NoTrialSucceeded, OrchestratorError, UsageError
from trainables.store import Part
from trainables.task import Head, load_task

ASKED: dict[str, Any] = {
    "rules": ["pretrained weights allowed"],
    "strategy": "asha",
    "rungs": [1],
    "reduction_factor": 3,
    "max_epochs": 3,
    "trials": 4,
    "slots": 2,
    "cpus_per_trial": 1,
    "data": "nowhere",
    "started": "2026-11-21 12:00:00 +0000",
    "versions": {"python": "3.11.7", "torch": "2.14.1"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_store(tmp_path_factory)


@pytest.fixture
def made(tmp_path: Path, store: Path) -> MadeSearch:
    return MadeSearch(tmp_path / "runs", store, **ASKED)


def finished(made: MadeSearch, *, mixup: float = 0.0) -> SearchFolder:
    made.whole_trial(0, skill=0.9, mixup=mixup)
    made.whole_trial(1, skill=0.8, optimizer="sgd", dropout=0.2)
    failed = made.start(2)
    made.end(failed, state="FAIL", reason="out of <memory>")
    folder = made.finish()
    leaderboard.write(read(folder.journal), folder.leaderboard)
    ensemble.ensemble(folder, task=load_task("digits"))
    (folder.path / "submission.csv").write_text("Id,Category\n0001,3\n")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, store: Path) -> SearchFolder:
    """A report in all forms; read only."""
    folder = finished(MadeSearch(tmp_path_factory.mktemp("whole"), store, **ASKED))
    report(folder, writing.FORMATS)
    return folder


def test_every_form_is_written_whole(whole: SearchFolder) -> None:
    home = whole.path / "report"
    assert (home / "report.pdf").read_bytes().startswith(b"%PDF-")
    page, text = (home / "report.html").read_text(), (home / "report.md").read_text()
    assert page.endswith("</html>\n")
    assert "data:image/png;base64," in page
    assert (home / "report.tex").read_text().rstrip().endswith(r"\end{document}")
    figures = sorted(path.relative_to(home).as_posix() for path in (home / "figures").rglob("*.png"))
    assert figures
    assert all(f"]({name})" in text for name in figures)
    assert not list(home.glob(".*.building"))
    assert "Traceback" not in page


def test_the_sections_stand_in_the_order_of_a_hand_in(whole: SearchFolder) -> None:
    lines = (whole.path / "report" / "report.md").read_text().splitlines()
    heads = [line[3:] for line in lines if line.startswith("## ")]
    assert heads == ["Introduction", "Method", "Experiments", "Conclusion", "Reproduction", "References"]
    inner = [line[4:] for line in lines if line.startswith("### ")]
    assert inner[:3] == ["Task", "Rules", "Data as found"]
    assert inner.index("Leaderboard") < inner.index("What the search teaches") < inner.index("Ablations")


def test_the_numbers_are_those_of_the_records(whole: SearchFolder) -> None:
    result = ensemble.read_result(whole)
    assert result is not None
    with next((whole.path / "report" / "tables").glob("ensemble-methods*.csv")).open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert set(rows) == {e.method for e in result.ensembles}
    assert float(rows["vote"]["valid"]) == pytest.approx(
        next(e.valid_value for e in result.ensembles if e.method == "vote"), abs=1e-4
    )
    text = (whole.path / "report" / "report.md").read_text()
    assert f"holdout {result.best.holdout_value:.4f}" in text
    assert read(whole.journal).asked["fingerprint"] in text
    assert "--replay made-up/0000" in text
    assert "submit digits --search made-up" in text


def test_it_claims_nothing_that_the_records_do_not_hold(tmp_path: Path, made: MadeSearch) -> None:
    folder = finished(made, mixup=0.2)
    paper = writing.compose(sources.read(folder), None)
    cited = str(paper.sections[-1])
    assert "mixup" in cited
    assert "Nesterov momentum" in cited
    for unused in ("CutMix", "Lion", "Grad-CAM", "t-SNE", "Mask R-CNN", "EMA", "Wightman"):
        assert unused not in cited


def test_tables_alone_draw_nothing(made: MadeSearch) -> None:
    folder = finished(made)
    done = report(folder, ("csv",))
    home = folder.path / "report"
    assert {path.suffix for path in done.files} == {".csv"}
    assert not (home / "figures").exists()
    with (home / "tables" / "leaderboard-of-the-trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["0000", "0001"]


def test_the_authors_words_survive_every_report(made: MadeSearch) -> None:
    folder = finished(made)
    place = report(folder, ("csv",)).words
    place.write_text(
        place.read_text().replace("## Method", "## Method\nWe chose *small* nets.") + "## Ethics\nNone."
    )
    before = place.read_bytes()
    report(folder, ("csv",))
    assert place.read_bytes() == before
    sections = {s.title: str(s.blocks) for s in writing.compose(sources.read(folder), None).sections}
    assert "We chose *small* nets." in sections["Method"]
    assert list(sections).index("Ethics") < list(sections).index("Conclusion")


def test_many_classes_are_shown_by_the_most_frequent_and_the_rarest(made: MadeSearch) -> None:
    names = tuple(f"model {k}" for k in range(196))
    head = Head(name="model", classes=names)
    targets = np.array([[k] for k in range(196) for _ in range(1 + k // 2)], np.int64)
    train = Part(name="train", ids=tuple(map(str, range(len(targets)))), targets=targets, images=None)
    read = sources.read(finished(made))
    task = load_task("folder").with_heads((head,))
    assert read.store is not None
    store = replace(read.store, parts={**read.store.parts, "train": train}, heads=(head,))
    text = str(introduction.blocks(replace(read, task=task, store=store)))
    assert "196 classes (model 0, model 1" in text
    assert "Of 196 classes the 8 most frequent and the 8 rarest are shown." in text
    assert "'model 195', '98'" in text
    assert "'model 100', '51'" not in text


def test_what_ablations_found_is_concluded(made: MadeSearch) -> None:
    study = Section(title="Ablation of norm", blocks=(Text("about"), Bullets(("norm=none: 0.1 lower.",))))
    found = Section(title="Ablations", blocks=(study,))
    read = sources.read(finished(made))
    assert "Ablation of norm: norm=none: 0.1 lower." in str(conclusion.blocks(read, [found]))


def test_a_tie_is_called_one(made: MadeSearch) -> None:
    read = sources.read(finished(made))
    assert read.result is not None
    tied = replace(read.result.best, method="vote", gain=0.004, tie=True)
    clear = replace(tied, gain=-0.2, tie=False)
    for row, words in ((tied, "+0.0040 on the holdout: a tie"), (clear, "-0.2000 on the holdout: worse")):
        result = replace(read.result, ensembles=(row,), chosen="vote")
        assert words in str(conclusion.blocks(replace(read, result=result), []))


def test_a_running_search_gives_a_partial_report(made: MadeSearch) -> None:
    made.whole_trial(0)
    running = made.start(1)
    made.report(running, 1)
    made.journal.close()
    paper = writing.compose(sources.read(made.folder), None)
    assert paper.notice.startswith("PARTIAL REPORT")
    assert "1 of 2 trials have not ended" in paper.notice
    assert "No ensemble was made yet" in str(paper.sections)


def test_a_search_without_any_trial_yet_is_partial_too(made: MadeSearch) -> None:
    made.journal.close()
    done = report(made.folder, ("csv",))
    assert "PARTIAL REPORT" in done.partial
    paper = writing.compose(sources.read(made.folder), None)
    assert "nothing can be concluded" in str(paper.sections)


def test_an_ended_search_without_a_score_has_no_report(made: MadeSearch) -> None:
    made.end(made.start(0), state="FAIL", reason="no memory")
    folder = made.finish()
    with pytest.raises(NoTrialSucceeded, match="no memory"):
        report(folder, ("csv",))
    assert not (folder.path / "report").exists()


def test_what_is_gone_is_said(made: MadeSearch, tmp_path: Path) -> None:
    folder = finished(made)
    shutil.rmtree(folder.trial("0000"))
    gone = str(tmp_path / "gone")
    events, _ = tail(folder.journal)
    text = "".join(f"{json.dumps(event)}\n" for event in events)
    folder.journal.write_text(text.replace(str(made.store.folder), gone))
    paper = writing.compose(sources.read(folder), tmp_path)
    assert "Not available: The prepared images in" in str(paper.sections)


@pytest.fixture
def without_weasyprint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)


@pytest.mark.usefixtures("without_weasyprint")
def test_a_pdf_without_weasyprint_says_how_to_get_it(made: MadeSearch) -> None:
    folder = finished(made)
    with pytest.raises(OrchestratorError, match="WeasyPrint is not installed") as caught:
        report(folder, ("pdf",))
    assert "orchestrator[pdf]" in caught.value.fix
    assert not (folder.path / "report").exists()


def test_the_command_prints_what_it_wrote(
    made: MadeSearch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished(made)
    command.main("digits", search=folder.search_id, form=["csv"], out=tmp_path / "runs")
    assert "tables)" in capsys.readouterr().out
    command.main("digits", search=folder.search_id, form=["csv"], out=tmp_path / "runs", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert all(Path(file).exists() for file in told["files"])
    assert told["partial"] == ""


def test_an_unknown_form_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Unknown format 'htm'") as caught:
        command.main("digits", form=["htm"], out=tmp_path)
    assert "html" in caught.value.fix
