"""`ray up cluster.local.yaml` on two hosts of our own making, one of which is lost in the middle of a search.

Each host is a network namespace with its own address, sshd, /root and /tmp. Run it by hand, as root:
`apt-get install openssh-server rsync iproute2`, then `make test-slow`.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent.parent
ADDRESSES = {"orch1": "10.77.0.1", "orch2": "10.77.0.2"}
NEEDED = ("ip", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "rsync")
SSHD = """
Port 22
ListenAddress {address}
HostKey {key}
AuthorizedKeysFile {key}.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
UP_S, SEARCH_S, DOWN_S = 600, 900, 120
ENVIRONMENT = {**os.environ, "HOME": "/root", "RAY_AUTH_MODE": "token"}


def _missing() -> str:
    lacking = [
        name for name in NEEDED if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    ]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "network namespaces are not allowed here"


WHY_NOT = _missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(1800)]


@dataclass
class Host:
    """Namespaces of network, mounts and processes, and the folder of what it writes to /root and /tmp.

    Of processes too, since `ray stop` ends every Ray that it sees.
    """

    name: str
    folder: Path
    first: "subprocess.Popen[bytes] | None" = None

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def start(self) -> None:
        """Let it take SSH connections."""
        layers = f"lowerdir=/root,upperdir={self.root},workdir={self.folder / 'work'}"
        mounts = f"mount -t overlay -o {layers} overlay /root && mount --bind {self.folder / 'tmp'} /tmp"
        listen = f"exec {shutil.which('sshd') or '/usr/sbin/sshd'} -D -f /root/sshd"
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.first = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *own, "sh", "-c", f"{mounts} && {listen}"]
        )

    def command(self, *words: str) -> list[str]:
        """The command as the host would run it."""
        assert self.first is not None
        server = Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children").read_text().strip()
        return ["nsenter", "--target", server, "--mount", "--net", "--pid", f"--wd={HERE}", *words]

    def run(self, *words: str, seconds: float) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def kill(self) -> None:
        """End everything on the host at once, as a power cut does."""
        if self.first is not None:
            self.first.kill()
            self.first.wait(30)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """Two hosts on one cable, that know one key and one token."""
    made = [Host(name, tmp_path / name) for name in ADDRESSES]
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    try:
        for host in made:
            host.folder.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "host", str(host.folder)], check=True)
            _ip("netns", "add", host.name)
        _ip(
            "link",
            "add",
            "cable",
            "netns",
            "orch1",
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            "orch2",
        )
        for host in made:
            _ip("-n", host.name, "addr", "add", f"{ADDRESSES[host.name]}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", host.name, "link", "set", device, "up")
            _furnish(host, key)
            host.start()
        yield made
    finally:
        for host in made:
            host.kill()
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)
            subprocess.run(["umount", "--lazy", str(host.folder)], capture_output=True, check=False)


def _furnish(host: Host, key: Path) -> None:
    """A home with the key, the token, and shells that find what is installed there."""
    for name in ("tmp", "work", "root/.ssh", "root/.ray"):
        (host.folder / name).mkdir(parents=True)
    shutil.copy(key, host.root / ".ssh" / "id_ed25519")
    shutil.copy(f"{key}.pub", host.root / ".ssh" / "id_ed25519.pub")
    (host.root / ".ray" / "auth_token").write_text("a-token-for-this-test-alone")
    for private in (".ssh/id_ed25519", ".ray/auth_token"):
        (host.root / private).chmod(0o600)
    (host.root / "sshd").write_text(SSHD.format(address=ADDRESSES[host.name], key="/root/.ssh/id_ed25519"))
    (host.root / ".bashrc").write_text("")
    (host.root / ".profile").write_text(f"export PATH=$HOME/.local/bin:{os.environ['PATH']}\n")


def _filled(head: Host) -> Path:
    """The shipped file, filled in; the environment is the one that runs this test, not one made anew."""
    config = yaml.safe_load((HERE / "cluster.local.yaml").read_text())
    config["provider"].update(head_ip=ADDRESSES["orch1"], worker_ips=[ADDRESSES["orch2"]])
    config["auth"].update(ssh_user="root", ssh_private_key="/root/.ssh/id_ed25519")
    setup = config["setup_commands"]
    setup[setup.index("cd ~/orchestrator && make setup")] = f"ln -sfn {Path(sys.prefix)} ~/orchestrator/.venv"
    file = head.root / "cluster.yaml"
    file.write_text(yaml.safe_dump(config))
    return Path("/root/cluster.yaml")


def _until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def test_a_search_across_two_hosts_outlives_one_of_them(hosts: list[Host]) -> None:
    head, other = hosts
    file, python = str(_filled(head)), str(Path(sys.prefix) / "bin" / "python")
    ray = str(Path(sys.prefix) / "bin" / "ray")
    checked = head.run(python, "-m", "orchestrator.check", "--cluster", file, seconds=120)
    assert checked.returncode == 0, checked.stdout
    up = head.run(ray, "up", "-y", "--no-config-cache", file, seconds=UP_S)
    assert up.returncode == 0, up.stdout + up.stderr

    def both() -> bool:
        return "2 local.cluster.node" in head.run(ray, "status", seconds=120).stdout

    _until(both, UP_S)
    command = (
        "cd ~/orchestrator && MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
        " .venv/bin/python -m orchestrator.search digits --address auto --trials 8 --id hosts --json"
    )
    with (head.folder / "search.log").open("w") as log:
        search = subprocess.Popen(
            head.command(ray, "exec", file, command),
            env=ENVIRONMENT,
            stdout=log,
            stderr=log,
        )
        folder = head.root / "orchestrator" / "runs" / "digits" / "hosts"

        away = other.root / ".cache" / "orchestrator" / "searches" / "hosts" / "trials"
        _until(lambda: any(away.glob("*/checkpoints/*")) or search.poll() is not None, SEARCH_S)
        other.kill()
        assert search.wait(SEARCH_S) == 0, (head.folder / "search.log").read_text()
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    ended = {event["trial_id"]: event["state"] for event in events if event["event"] == "end"}
    assert len(ended) == len({event["trial_id"] for event in events if event["event"] == "trial"})
    assert (folder / "submission.csv").exists()
    assert "FAIL" not in ended.values()
    for trial in ended:
        assert (folder / "trials" / trial / "test.npz").exists()
    with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for the lost host, for minutes
        head.run(ray, "down", "-y", file, seconds=DOWN_S)
