"""The UI command: a real server on loopback, its link, and nothing left over."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from orchestrator import tracking
from orchestrator.ui import free_port, serving
from tests.made_search import MadeSearch, digits_store
from trainables.errors import OrchestratorError, UsageError

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"  # of MLflow's own models
)


def environment(**changed: str) -> dict[str, str]:
    """Ours without a desktop and without a tracking server."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MLFLOW_TRACKING_URI", "ORCH_OUT")
    return {k: v for k, v in os.environ.items() if k not in hidden} | changed


def ui(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.ui", *arguments]
    return subprocess.run(
        command, env=environment(**changed), capture_output=True, text=True, timeout=60, check=False
    )


def test_the_ui_serves_the_charts_of_the_newest_search_and_ends_without_leftovers(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = MadeSearch(tmp_path, digits_store(tmp_path_factory))
    made.whole_trial(0)
    tracking.sync(made.finish())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "orchestrator.ui", "--out", str(tmp_path), "--port", str(port)]
        process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        link = process.stdout.readline().strip()
    address, fragment = link.split("/#/")
    assert fragment == "experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART"
    with urllib.request.urlopen(address, timeout=20) as page:
        assert b"MLflow" in page.read()
    started = psutil.Process(process.pid).children(recursive=True)
    listening = {c.laddr.ip for p in started for c in p.net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 130
    assert re.search(rf"Port {port} is in use; taking \d+\.", said)
    assert not [p for p in started if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_without_a_database_it_says_what_to_run_first(tmp_path: Path) -> None:
    done = ui("--out", str(tmp_path))

    assert done.returncode == 2
    assert "No search was tracked" in done.stderr
    assert "python -m orchestrator.search" in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_server_that_is_down_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    done = ui(
        "--out", str(tmp_path), MLFLOW_TRACKING_URI=f"http://me:secret@127.0.0.1:{free_port('127.0.0.1', 0)}"
    )

    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()

    done = ui("--out", str(tmp_path), "--host", "192.0.2.1")

    assert done.returncode == 2
    assert "Cannot listen on 192.0.2.1" in done.stderr


def test_a_free_port_is_taken_as_wanted_and_a_taken_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) != port
    assert free_port("127.0.0.1", port) == port
    with pytest.raises(UsageError):
        free_port("192.0.2.1", port)


def test_a_server_that_does_not_start_shows_its_last_words(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    database.write_text("this is no database")

    with pytest.raises(OrchestratorError, match="not a database"):
        serving(f"sqlite:///{database}", port=free_port("127.0.0.1", 0)).__enter__()


def test_help_is_quick_and_needs_no_mlflow() -> None:
    started = time.monotonic()
    done = ui("--help")
    code = "import sys, orchestrator.ui, orchestrator.tracker; assert 'mlflow' not in sys.modules"

    assert done.returncode == 0
    assert "--no-open" in done.stdout
    assert time.monotonic() - started < 3  # under 1 on a quiet machine
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
