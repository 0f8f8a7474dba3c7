"""The command, really run: a few short trials of the digits, then from what they left."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ablate as command
from trainables.errors import UsageError

HERE = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "default", "COLUMNS": "120"}


FIRST = ("--factors", "norm", "--seeds", "2", "--epochs", "1", "--id", "first", "--set", "width=8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an ablation of four trials."""
    home = tmp_path_factory.mktemp("home")
    places = ("--data", str(home / "data"), "--out", str(home / "runs"))
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.ablate", "digits", *FIRST, *places, "--json"],
        cwd=HERE,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (home / "first.json").write_text(done.stdout)
    return home


def test_every_trial_ran_to_its_end(home: Path) -> None:
    found = json.loads((home / "first.json").read_text())
    assert found["open"] == 0
    base, norm = found["rows"]
    assert [len(row["values"]) for row in (base, norm)] == [2, 2]
    assert base["parameters"] > norm["parameters"]  # the gains and shifts of the norms
    assert base["macs"] > 0
    assert norm["comparison"]["seeds"] == 2
    assert norm["comparison"]["mean"] == pytest.approx(norm["mean"] - base["mean"])
    assert all(Path(path).stat().st_size for path in found["files"].values())
    home_of = Path(found["folder"]).parent
    assert (home_of / "latest").resolve() == Path(found["folder"])


def test_the_table_is_made_again_from_what_is_stored(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = home / "runs" / "digits" / "ablations" / "first" / "table.csv"
    before = table.read_bytes()
    table.unlink()
    command.main("digits", table="latest", out=home / "runs", as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads((home / "first.json").read_text())
    assert table.read_bytes() == before


def test_a_second_one_shares_what_the_first_has_trained(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    told: dict[str, Any] = {
        "factors": ["norm"],
        "seeds": 2,
        "epochs": 1,
        "settings": ["width=8"],
        "data": home / "data",
        "out": home / "runs",
    }
    command.main("digits", **told, dry_run=True, as_json=True)
    planned = json.loads(capsys.readouterr().out)
    assert (planned["trials"], planned["shared"], planned["seconds"]) == (4, 4, 0.0)
    command.main("digits", **told, ablation_id="second")
    shown = capsys.readouterr()
    assert "4 of 4 trials were trained before" in shown.err
    assert "norm=none" in shown.out
    ablations = home / "runs" / "digits" / "ablations"
    first, second = ((ablations / name / "table.csv").read_text() for name in ("first", "second"))
    assert first == second


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"resume": "none"}, "Unknown ablation"),
        ({"resume": "first", "seeds": 3}, "has its base, rows and seeds"),
        ({"resume": "first", "table": "first"}, "--resume trains and --table does not"),
        ({"base": "nowhere.json"}, "nowhere.json: No such file"),
    ],
)
def test_wrong_calls(home: Path, told: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        command.main("digits", out=home / "runs", **told)
