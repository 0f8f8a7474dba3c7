"""A task in a file of the user's own: found by its path, by every command and from any folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import cli, ensemble, plan, submit
from orchestrator.prepare import Asked, Prepared, prepare
from orchestrator.summary import show_plan
from tests.images import photo
from trainables.errors import RuleViolation, UsageError
from trainables.task import load_task, reference

HERE = Path(__file__).resolve().parent.parent
TASK = '''
"""Two kinds of pictures."""
from dataclasses import dataclass
from pathlib import Path

from trainables.kinds.classification import Classification
from trainables.layouts import class_folders, unlabelled
from trainables.metrics import ACCURACY
from trainables.submissions import CsvAnswer
from trainables.task import Head, Rules, Splits, Task

LABEL = Head(name="label", classes=("cat", "dog"))


@dataclass(frozen=True, kw_only=True)
class Own(Classification):
    """A kind that no other process can import by its name."""


def read(root: Path) -> Splits:
    return Splits(
        train=class_folders(root / "train", LABEL.classes).samples, test=unlabelled(root / "test").samples
    )


TASK = Task(
    name="pets", title="Pets", kind=Own(heads=(LABEL,)), read=read, metric=ACCURACY,
    rules=Rules(pretrained=False, external_data=False, megabytes=(0.0, 20.0), wording="small ones only."),
    answer=CsvAnswer(head=LABEL), space="digits", defaults={"image_size": 16},
)
'''


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with `my_task.py` and its `data/`."""
    (tmp_path / "my_task.py").write_text(TASK)
    names = [f"train/{name}/{k}.png" for name in ("cat", "dog") for k in range(20)]
    for seed, name in enumerate([*names, "test/1.png", "test/2.png"]):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        photo(16, 16, seed=seed).save(tmp_path / "data" / name)
    return tmp_path


def search(where: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "orchestrator.search", *arguments],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(HERE), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_command_takes_the_path_of_a_task(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--data", "data", "--trials", "2", "--max-epochs", "1", "--id", "one", "--json"]
    answer = json.loads(search(home, "my_task.py", *asked))
    assert Path(answer["paths"]["submission"]) == home / "runs" / "pets" / "one" / "submission.csv"
    told = json.loads((home / "runs" / "pets" / "one" / "search.json").read_text())
    assert told["source"] == str(home / "my_task.py")
    assert "small ones only." in told["rules"]
    path, out = str(home / "my_task.py"), home / "runs"
    ensemble.main(path, out=out)
    submit.main(path, out=out)
    submit.main(path, out=out, check_file=Path(answer["paths"]["submission"]))
    said = capsys.readouterr().out
    assert "best_single" in said
    assert said.count("OK: 2 rows") == 2


def planned(task: str, **asked: object) -> Prepared:
    return prepare(task, Asked(**asked), resources=plan.resources_here())  # type: ignore[arg-type]


def test_what_the_other_processes_load_is_the_absolute_path(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    prepared = planned("my_task.py", data=Path("data"))
    assert prepared.source == str(home / "my_task.py") == reference("my_task.py")
    assert (prepared.task.name, prepared.space) == ("pets", "digits")
    assert reference("digits") == "digits"


def test_a_folder_as_a_task_and_nothing_at_all_are_explained(home: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, not a task") as caught:
        load_task(str(home / "data"))
    assert caught.value.fix == f"Search it with --data {home / 'data'}"
    with pytest.raises(UsageError, match="Neither a task nor data"):
        cli.task_or_folder(None, None)
    assert cli.task_or_folder(None, home) == "folder"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("TASK = 3", "is no Task"),
        ("task = 3", "has no 'TASK'"),
        ("import nothing_such", "breaks: ModuleNotFoundError"),
        (TASK.replace('name="pets"', 'name="my pets/"'), "'my pets/' of .* is no name for a task"),
    ],
)
def test_a_file_that_describes_no_task_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "my_task.py").write_text(text)
    with pytest.raises(UsageError, match=reason):
        load_task(str(tmp_path / "my_task.py"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No task file .*gone\.py"):
        load_task(str(tmp_path / "gone.py"))


def test_weights_are_checked_before_anything_runs(home: Path) -> None:
    task, data = str(home / "my_task.py"), home / "data"
    with pytest.raises(UsageError, match=r"--weights .*gone does not exist"):
        planned(task, data=data, weights=home / "gone")
    with pytest.raises(RuleViolation, match=r"Pretrained weights are forbidden here: small ones only\."):
        planned(task, data=data, weights=home)
    allowed = home / "allowed.py"
    allowed.write_text(TASK.replace("pretrained=False", "pretrained=True"))
    with pytest.raises(UsageError, match="the space 'digits' trains from scratch"):
        planned(str(allowed), data=data, weights=home)
    tuned = {"model": "resnet18", "pretrained": True}
    with pytest.raises(UsageError, match=r"has no resnet18\.safetensors"):
        planned(str(allowed), data=data, weights=home, settings=tuned)
    (home / "resnet18.safetensors").touch()
    prepared = planned(str(allowed), data=data, weights=home, settings=tuned)
    assert {config.weights for config in prepared.configs} == {str(home)}


def test_the_plan_names_classes_rules_and_what_was_cut(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = planned(str(home / "my_task.py"), data=home / "data")
    show_plan(prepared, as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "Classes of label: 2 (cat, dog); 16 training images each." in said
    assert (
        "Rules of pets, space digits: pretrained weights forbidden; external data forbidden; a model of"
        in said
    )
    assert "8 images were cut from train" in said
    show_plan(prepared, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["classes"] == {"label": ["cat", "dog"]}
    assert told["rules"][-1] == "small ones only."
