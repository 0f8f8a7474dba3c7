"""The cluster files as shipped, and what the check says: filled in they pass, spoiled they are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.check import main
from orchestrator.cluster_file import PLACEHOLDER, TOKEN, Fault, lint
from trainables.errors import UsageError

HERE = Path(__file__).resolve().parent.parent
CLOUD, LOCAL = HERE / "cluster.yaml", HERE / "cluster.local.yaml"
YOURS = {
    "provider.region": "eu-central-1",
    "metadata.ssh_from": "198.51.100.7/32",
    "ImageId": "ami-0123456789abcdef0",
    "SecurityGroupIds[0]": "sg-0123456789abcdef0",
    "provider.head_ip": "10.0.0.1",
    "provider.worker_ips[0]": "10.0.0.2",
    "auth.ssh_user": "me",
    "auth.ssh_private_key": "~/.ssh/id_ed25519",
}
"""What only the user knows, by the end of its key."""
Config = dict[str, Any]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a key and a token, both private."""
    for name in (".ssh/id_ed25519", ".ray/auth_token"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def filled(path: Path) -> Config:
    """A shipped file with every placeholder answered."""
    answered = _answered(yaml.safe_load(path.read_text()), "")
    assert isinstance(answered, dict)
    return answered


def _answered(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _answered(inner, f"{key}.{name}") for name, inner in value.items()}
    if isinstance(value, list):
        return [_answered(inner, f"{key}[{place}]") for place, inner in enumerate(value)]
    return next(v for k, v in YOURS.items() if key.endswith(k)) if value == PLACEHOLDER else value


def faults(config: Config, where: Path) -> tuple[Fault, ...]:
    file = where / "mine.yaml"
    file.write_text(yaml.safe_dump(config))
    return lint(file)


@pytest.mark.parametrize("shipped", [CLOUD, LOCAL], ids=lambda p: p.name)
def test_a_shipped_file_passes_once_it_is_filled_in(shipped: Path, tmp_path: Path) -> None:
    assert faults(filled(shipped), tmp_path) == ()


@pytest.mark.parametrize("shipped", [CLOUD, LOCAL], ids=lambda p: p.name)
def test_as_shipped_each_place_to_fill_in_is_told_and_nothing_else(shipped: Path) -> None:
    found = lint(shipped)
    places = shipped.read_text().count(f": {PLACEHOLDER}") + shipped.read_text().count(f"[{PLACEHOLDER}]")
    shared = 2 if shipped == CLOUD else 0  # image and group, which the worker takes from the head's lines
    assert len(found) == places + shared
    assert {fault.reason for fault in found} == {"not filled in"}
    assert all(fault.file == str(shipped) and fault.key and fault.fix for fault in found)


@pytest.mark.parametrize("shipped", [CLOUD, LOCAL], ids=lambda p: p.name)
def test_ray_itself_takes_a_shipped_file(shipped: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(filled(shipped))
    validate_config(prepared)
    workers = [t for t in prepared["available_node_types"].values() if t["max_workers"]]
    assert [t["min_workers"] for t in workers] == ([0] if shipped == CLOUD else [1])


def start(config: Config, which: str, old: str, new: str) -> None:
    commands = config[f"{which}_start_ray_commands"]
    place = next(i for i, command in enumerate(commands) if "ray start" in command)
    assert old in commands[place]
    commands[place] = commands[place].replace(old, new)


def gpu(config: Config) -> Config:
    node: Config = config["available_node_types"]["gpu"]["node_config"]
    return node


SPOILED: dict[str, tuple[Path, Callable[[Config], Any], str, str]] = {
    "no token": (CLOUD, lambda c: c["file_mounts"].pop(TOKEN), "file_mounts", "no token is shipped"),
    "open start": (
        CLOUD,
        lambda c: start(c, "head", "RAY_AUTH_MODE=token", ""),
        "head_start_ray_commands[1]",
        "without demanding the token",
    ),
    "open worker": (
        LOCAL,
        lambda c: start(c, "worker", "RAY_AUTH_MODE=token", ""),
        "worker_start_ray_commands[1]",
        "without demanding the token",
    ),
    "token off": (
        CLOUD,
        lambda c: c["setup_commands"].append("echo export RAY_AUTH_MODE=disabled >> ~/.bashrc"),
        "setup_commands[4]",
        "switched off",
    ),
    "open dashboard": (
        CLOUD,
        lambda c: start(c, "head", "host=127.0.0.1", "host=0.0.0.0"),
        "head_start_ray_commands[1]",
        "listens beyond",
    ),
    "dashboard unsaid": (
        LOCAL,
        lambda c: start(c, "head", "--dashboard-host=127.0.0.1", ""),
        "head_start_ray_commands[1]",
        "not stated",
    ),
    "ray's start": (
        CLOUD,
        lambda c: c.pop("head_start_ray_commands"),
        "head_start_ray_commands",
        "Ray's own commands",
    ),
    "open mlflow": (
        LOCAL,
        lambda c: c["head_start_ray_commands"].append("mlflow server --host 0.0.0.0"),
        "head_start_ray_commands[3]",
        "every address",
    ),
    "ssh from all": (
        CLOUD,
        lambda c: c["metadata"].update(ssh_from="0.0.0.0/0"),
        "metadata.ssh_from",
        "4,294,967,296 addresses",
    ),
    "ssh unsaid": (CLOUD, lambda c: c.pop("metadata"), "metadata.ssh_from", "not stated"),
    "ssh from words": (
        CLOUD,
        lambda c: c["metadata"].update(ssh_from="home"),
        "metadata.ssh_from",
        "no range",
    ),
    "no group": (
        CLOUD,
        lambda c: gpu(c).pop("SecurityGroupIds"),
        "available_node_types.gpu.node_config.SecurityGroupIds",
        "from everywhere",
    ),
    "ray's group": (
        CLOUD,
        lambda c: c["provider"].update(security_group={"GroupName": "mine", "IpPermissions": []}),
        "provider.security_group",
        "from everywhere",
    ),
    "other cloud": (CLOUD, lambda c: c["provider"].update(type="gcp"), "provider.type", "cannot be judged"),
    "autoscaler 2": (
        LOCAL,
        lambda c: start(c, "head", "RAY_enable_autoscaler_v2=0", ""),
        "head_start_ray_commands[1]",
        "stay alone",
    ),
    "a key in it": (
        CLOUD,
        lambda c: c["setup_commands"].append("export WANDB_API_KEY=0123456789"),
        "setup_commands[4]",
        "a secret stands",
    ),
    "a named secret": (
        CLOUD,
        lambda c: c["provider"].update(aws_credentials={"aws_secret_access_key": "abc"}),
        "provider.aws_credentials.aws_secret_access_key",
        "a secret stands",
    ),
    "keys shipped": (
        CLOUD,
        lambda c: c["file_mounts"].update({"~/.kaggle": "~/.kaggle"}),
        "file_mounts.~/.kaggle",
        "holds secrets",
    ),
    "no such key": (
        LOCAL,
        lambda c: c["auth"].update(ssh_private_key="~/.ssh/none"),
        "auth.ssh_private_key",
        "there is no",
    ),
    "not ray's": (CLOUD, lambda c: c.update(idle_timeout=5), "", "Ray refuses it"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_file_is_refused_for_its_own_reason(name: str, tmp_path: Path) -> None:
    shipped, spoil, key, words = SPOILED[name]
    config = filled(shipped)
    spoil(config)
    (fault,) = faults(config, tmp_path)
    assert fault.key == key
    assert words in fault.reason
    assert fault.fix


def test_a_token_that_others_may_read_is_refused_and_so_is_none(home: Path, tmp_path: Path) -> None:
    token = home / ".ray" / "auth_token"
    token.chmod(0o644)
    (loose,) = faults(filled(LOCAL), tmp_path)
    assert loose.reason.startswith(f"{TOKEN} has mode 644")
    assert loose.fix == f"chmod 600 {TOKEN}"
    token.unlink()
    (gone,) = faults(filled(LOCAL), tmp_path)
    assert gone.reason == f"there is no token in {TOKEN}"


def test_a_private_key_that_others_may_read_is_refused(home: Path, tmp_path: Path) -> None:
    (home / ".ssh" / "id_ed25519").chmod(0o640)
    (fault,) = faults(filled(LOCAL), tmp_path)
    assert fault.key == "auth.ssh_private_key"


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1", ""])
def test_what_is_no_cluster_file_is_a_wrong_call(text: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"odd\.yaml is no"):
        lint(tmp_path / "odd.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        lint(tmp_path / "none.yaml")


def test_the_command_says_what_to_fix_and_its_code_says_whether(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(cluster=CLOUD, as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert (ended.value.code, answer["ok"]) == (1, False)
    assert {"file", "key", "reason", "fix"} == set(answer["findings"][0])
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(filled(CLOUD)))
    with pytest.raises(SystemExit) as passed:
        main(cluster=mine)
    assert passed.value.code == 0
    assert "Nothing stands against" in capsys.readouterr().out
