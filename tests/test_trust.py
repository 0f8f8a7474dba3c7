"""Records of other users, and task files that only records name, are believed where --trust is given."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli, ensemble, folders, job, trust
from orchestrator.ablation import bases, places
from orchestrator.document import sources
from orchestrator.prepare import Asked
from orchestrator.resuming import wish_json
from orchestrator.trust import NotTrusted, source_of, space_of, trust_all, trust_file
from tests.made_search import MadeSearch, digits_store
from trainables.errors import UsageError

Run = Callable[..., tuple[int, str]]
TASK = """
from pathlib import Path
from trainables.tasks.digits import TASK
Path(__file__).with_name("was run").touch()
"""


@pytest.fixture(autouse=True)
def nothing_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (trust.ALL, trust.FILES):
        monkeypatch.setenv(name, "")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_store(tmp_path_factory)


@pytest.fixture
def another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs this is not who wrote the files."""
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `ensemble` with these arguments; its exit code and what it says."""

    def run_with(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ensemble", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.run_command(ensemble.main, examples="ensemble digits")
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out + captured.err

    return run_with


def searched(out: Path, store: Path, **asked: Any) -> folders.SearchFolder:
    made = MadeSearch(out, store, **asked)
    for number in range(2):
        made.whole_trial(number)
    folders.point_latest(made.folder)
    return made.finish()


@pytest.mark.usefixtures("another_user")
def test_search_of_another_user_is_refused_without_trust(tmp_path: Path, store: Path, run: Run) -> None:
    folder = searched(tmp_path, store, data="nowhere")
    with pytest.raises(NotTrusted, match="belongs to another user") as caught:
        folders.find(tmp_path, "digits")
    assert isinstance(caught.value, UsageError)
    assert "--trust" in caught.value.fix
    code, said = run("digits", "--out", tmp_path)
    assert code == 2
    assert f"{folder.path} belongs to another user" in said
    assert "--trust" in said
    code, said = run("digits", "--out", tmp_path, "--trust")
    assert code == 0
    assert "Written:" in said


def test_a_journal_of_another_user_is_enough(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched(tmp_path, store)
    folders.find(tmp_path, "digits")
    own = Path.stat

    def stat(path: Path, **given: bool) -> os.stat_result:
        found = own(path, **given)
        foreign = (*found[:4], found.st_uid + 1, *found[5:])
        return os.stat_result(foreign) if path == folder.journal else found

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(NotTrusted, match=r"journal\.jsonl belongs to another user"):
        folders.find(tmp_path, "digits")


@pytest.mark.usefixtures("another_user")
def test_ablations_of_another_user_are_refused_and_not_shared(tmp_path: Path, store: Path) -> None:
    folder = searched(tmp_path, store)
    home = tmp_path / "digits"
    shutil.copytree(folder.path, home / "ablations" / "one")
    with pytest.raises(NotTrusted):
        places.find(home, "one")
    with pytest.raises(NotTrusted):
        bases.base_of(home, "best")
    assert places.runs_of(home) == []
    trust_all()
    assert places.find(home, "one").search_id == "one"
    assert bases.base_of(home, "best").trained
    assert len(places.runs_of(home)) == 2


def test_a_task_file_that_only_the_records_name_is_not_run(tmp_path: Path, store: Path) -> None:
    file = tmp_path / "planted.py"
    file.write_text(TASK)
    folder = searched(tmp_path / "runs", store, source=str(file))
    for read in (lambda: job.resume("digits", tmp_path / "runs", "latest"), lambda: sources.read(folder)):
        with pytest.raises(NotTrusted, match=r"is the file .*planted\.py, which only its records name"):
            read()
    assert not (tmp_path / "was run").exists()
    trust_file(str(file))
    assert sources.read(folder).task.name == "digits"
    assert (tmp_path / "was run").exists()


def test_a_named_task_file_is_the_same_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text(TASK)
    (tmp_path / "link.py").symlink_to("a.py")
    monkeypatch.chdir(tmp_path)
    trust_file("digits")
    trust_file("link.py")
    assert source_of({"source": str(tmp_path / "a.py")}) == str(tmp_path / "a.py")
    assert source_of({"source": "digits"}) == source_of({"task": "digits"}) == "digits"
    with pytest.raises(NotTrusted) as caught:
        source_of({"source": str(tmp_path / "b.py"), "search_id": "one"})
    assert caught.value.fix == f"Name it as TASK: {tmp_path / 'b.py'}. Or give --trust."
    trust_all()
    assert source_of({"source": str(tmp_path / "b.py")})


def test_a_space_that_only_the_records_name_is_not_run_either(tmp_path: Path, store: Path) -> None:
    file = tmp_path / "space.py"
    wish = wish_json(Asked(out=tmp_path / "runs", space=str(file)))
    searched(tmp_path / "runs", store, wish=wish)
    with pytest.raises(NotTrusted, match=r"The space of made-up is the file .*space\.py") as caught:
        job.resume("digits", tmp_path / "runs", "latest")
    assert f"--space {file}" in caught.value.fix
    assert space_of({"space": "digits"}, "digits") == space_of({}, "digits") == "digits"
    assert space_of({"space": "own.py"}, "own.py") == "own.py"  # a trusted task says it
    trust_file(str(file))
    assert space_of({"space": str(file)}, "digits") == str(file)


def test_the_task_on_the_command_line_is_named_by_it(tmp_path: Path, store: Path, run: Run) -> None:
    file = tmp_path / "own.py"
    file.write_text(TASK)
    searched(tmp_path / "runs", store, source=str(file), data="nowhere")
    assert run(file, "--out", tmp_path / "runs")[0] == 0
    assert os.environ[trust.FILES] == str(file)
