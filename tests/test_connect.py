"""Where a search finds its Ray, and what it says where there is none."""

import socket
import subprocess
import sys
import time

import pytest

from orchestrator import connect
from orchestrator.prepare import LOCAL
from orchestrator.search import where
from trainables.errors import OrchestratorError


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_at_which_nothing_listens_is_told_at_once(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    began = time.monotonic()
    with (
        pytest.raises(OrchestratorError, match=rf"at {scheme}127\.0\.0\.1:{port}: .*refused") as refused,
        connect.cluster(address=f"{scheme}127.0.0.1:{port}", cpus=0, gpus=0),
    ):
        pass
    assert "--address local" in refused.value.fix
    assert time.monotonic() - began < connect.ANSWERS_S


def test_a_search_stays_where_it_was_unless_it_is_told_where_to_go() -> None:
    assert where(None) == {}
    assert where(LOCAL) == {"address": None}
    assert where("auto") == {"address": "auto"}


ENDED_WHILE_IT_RUNS = """
import psutil, time
from orchestrator import connect

shutdown = connect.ray.shutdown

def late():
    time.sleep(1)  # what is to die with the thread that started Ray is dead by then
    children = psutil.Process().children()
    print(*(child.name() for child in children if child.status() != psutil.STATUS_ZOMBIE))
    shutdown()

connect.ray.shutdown = late
with connect.cluster_ahead(cpus=1, gpus=0) as ready:
    ready()
"""


def test_a_ray_that_was_started_in_the_background_runs_until_it_is_ended() -> None:
    """Else it ends its driver, now and then, before that has said what came of the search."""
    run = subprocess.run([sys.executable, "-c", ENDED_WHILE_IT_RUNS], capture_output=True, text=True)
    assert "raylet" in run.stdout.split(), run.stderr
