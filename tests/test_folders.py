"""Where searches are kept: ids that are refused, folders that are found, `latest`."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from orchestrator.folders import create, find, point_latest
from orchestrator.resuming import alone
from trainables.errors import DataError, UsageError


def searched(out: Path, search_id: str) -> Path:
    folder = create(out, "digits", search_id)
    folder.journal.write_text('{"event": "search"}\n')
    point_latest(folder)
    return folder.path


def test_a_new_search_gets_an_absolute_folder_and_an_id_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = create(Path("runs"), "digits"), create(Path("runs"), "digits")
    assert first.path.is_absolute()
    assert first.path.parent == tmp_path / "runs" / "digits"
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", first.search_id)
    assert first.search_id != second.search_id
    assert first.trial("0003") == first.path / "trials" / "0003"
    assert first.trial("0003").parent.is_dir()


def test_a_second_search_with_the_same_id_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    first = create(tmp_path, "digits", "mine")
    first.journal.write_text("kept\n")
    with pytest.raises(UsageError, match="'mine' of digits exists") as caught:
        create(tmp_path, "digits", "mine")
    assert "--id" in caught.value.fix
    assert first.journal.read_text() == "kept\n"


def test_a_folder_that_somebody_else_made_is_not_taken_over(tmp_path: Path) -> None:
    photos = tmp_path / "digits" / "mine" / "photos"
    photos.mkdir(parents=True)
    with pytest.raises(UsageError, match="exists"):
        create(tmp_path, "digits", "mine")
    assert list(photos.parent.iterdir()) == [photos]


@pytest.mark.parametrize("torn", ["", '{"event": "search", "ta'])
def test_the_id_of_a_search_that_was_killed_before_its_journal_held_a_line_is_free(
    tmp_path: Path, torn: str
) -> None:
    killed = create(tmp_path, "digits", "mine")
    killed.journal.write_text(torn)
    with pytest.raises(UsageError, match="Unknown search"):
        find(tmp_path, "digits", "mine")
    assert create(tmp_path, "digits", "mine") == killed


def test_what_a_killed_process_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    killed = create(tmp_path, "digits", "mine")
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead = killed.path / f".search.json.{gone.pid}.tmp"
    alive = killed.path / f".ensemble.json.{os.getpid()}.tmp"
    for path in (dead, alive):
        path.write_text('{"ta')
    with alone(create(tmp_path, "digits", "mine")):
        assert alive.exists()
        assert not dead.exists()


@pytest.mark.parametrize("name", ["latest", "../up", "a/b", ".hidden", "with space", "x" * 65, "a\n", "-x"])
def test_an_id_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no id"):
        create(tmp_path, "digits", name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written: Not a directory") as caught:
        create(tmp_path / "file", "digits", "mine")
    assert "--out" in caught.value.fix


def test_the_latest_search_is_found_unless_one_is_named(tmp_path: Path) -> None:
    first, second = searched(tmp_path, "first"), searched(tmp_path, "second")
    assert find(tmp_path, "digits").path == second
    assert find(tmp_path, "digits", "latest").path == second
    assert find(tmp_path, "digits", "first").path == first
    assert (tmp_path / "digits" / "latest").readlink() == Path("second")
    assert sorted(p.name for p in (tmp_path / "digits").iterdir()) == ["first", "latest", "second"]


def test_latest_still_works_after_the_folder_was_moved(tmp_path: Path) -> None:
    searched(tmp_path / "here", "one")
    (tmp_path / "here").rename(tmp_path / "there")
    assert find(tmp_path / "there", "digits").search_id == "one"


def test_before_the_first_search_the_command_that_starts_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No search of digits") as caught:
        find(tmp_path, "digits")
    assert "python -m orchestrator.search digits" in caught.value.fix


def test_a_mistyped_id_lists_the_searches_and_the_nearest(tmp_path: Path) -> None:
    searched(tmp_path, "monday")
    searched(tmp_path, "friday")
    with pytest.raises(UsageError) as caught:
        find(tmp_path, "digits", "mondya")
    assert "Did you mean 'monday'?" in caught.value.fix
    assert "friday, monday" in caught.value.fix


@pytest.mark.parametrize("name", ["..", "../other", "one/trials", "."])
def test_only_a_direct_child_counts_as_a_search(tmp_path: Path, name: str) -> None:
    searched(tmp_path, "one")
    with pytest.raises(UsageError, match="Unknown search"):
        find(tmp_path, "digits", name)


def test_a_folder_without_a_journal_is_no_search(tmp_path: Path) -> None:
    create(tmp_path, "digits", "empty")
    with pytest.raises(UsageError, match="No search"):
        find(tmp_path, "digits")
    with pytest.raises(UsageError, match="Unknown search"):
        find(tmp_path, "digits", "empty")
