"""A search on one machine can be reached from no other."""

import ipaddress
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil


def listening(process: psutil.Process) -> set[tuple[str, str]]:
    """Name and address of every process below that takes connections, or datagrams from anybody."""
    found = set()
    for one in [process, *process.children(recursive=True)]:
        try:
            for c in one.net_connections(kind="inet"):
                if c.status == psutil.CONN_LISTEN or (c.type == socket.SOCK_DGRAM and not c.raddr):
                    found.add((one.name(), c.laddr.ip))
        except psutil.Error:
            continue  # it ended just now
    return found


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def test_nothing_that_a_search_starts_listens_beyond_this_machine(tmp_path: Path) -> None:
    options = ["--data", "data", "--out", "runs", "--trials", "2", "--max-epochs", "2"]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    seen: set[tuple[str, str]] = set()
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator.search", "digits", *options],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        ) as search,
    ):
        process = psutil.Process(search.pid)
        while search.poll() is None:
            seen |= listening(process)
            time.sleep(0.5)
    assert search.returncode == 0, (tmp_path / "log").read_text()
    assert {"raylet", "gcs_server"} <= {name for name, _ in seen}, "looked at nothing"
    assert [one for one in sorted(seen) if not is_loopback(one[1])] == []


def test_a_socket_that_listens_everywhere_is_seen() -> None:
    with socket.create_server(("0.0.0.0", 0)), socket.create_server(("127.0.0.1", 0)):
        found = {address for _, address in listening(psutil.Process())}
    assert found >= {"0.0.0.0", "127.0.0.1"}
    assert (is_loopback("0.0.0.0"), is_loopback("127.0.0.1"), is_loopback("::ffff:127.0.0.1")) == (
        False,
        True,
        True,
    )
