"""What stands against `ray up FILE`: places not filled in yet, and whatever would open the cluster to others.

Reads the file alone, starts nothing and asks no cloud; what only the cloud knows (the rules of a security
group) must be stated in the file.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.errors import UsageError

PLACEHOLDER = "FILL_IN"
TOKEN = "~/.ray/auth_token"
MAKE_TOKEN = f"(umask 077; .venv/bin/ray get-auth-token --generate > /dev/null); chmod 600 {TOKEN}"
WIDEST = {4: 16, 6: 32}
"""Shortest prefix, of IPv4 and IPv6, of a range that SSH may come from."""
EVERYWHERE = r"(?<![\d.])0\.0\.0\.0(?![\d.])|(?:host|ip|address)[= ]'?(?:\*|::)(?=['\s]|$)"
LOOPBACK = r"--dashboard-host[= ](?:127\.0\.0\.1|localhost|::1)(?=[\s;]|$)"
NO_DASHBOARD = r"--include-dashboard[= ][Ff]alse"
SECRET_VALUE = (
    r"AKIA[0-9A-Z]{16}|-----BEGIN|\b(?:hf|ghp|gho|glpat|xox[bap])[_-]\w{16,}|://[^/\s:@]+:[^/\s@$]+@"
    r"|\b[A-Za-z_]*(?:SECRET|PASSWORD|PASSWD|API_?KEY|KAGGLE_KEY|TOKEN)(?:_?[A-Z]*KEY)?=(?!\$|['\"]?\s)\S"
    r"|--redis-password"
)
SECRET_KEY = r"(?i)^(?:.*[_-])?(?:password|passwd|secret|api_?key|access_?key(?:_?id)?|token)$"
SECRET_FILE = (
    r"/\.(?:aws|kaggle|ssh|gnupg|netrc|config/gcloud|azure|env)(?:/|$)|\.pem$|/id_[a-z0-9]+$|kaggle\.json$"
)

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing to change in a cluster file before `ray up`."""

    file: str
    key: str
    """Where in the file: `provider.worker_ips[0]`; "" for the file as a whole."""
    reason: str
    fix: str


def lint(path: Path) -> tuple[Fault, ...]:
    """Everything in a cluster file that is unsafe or not filled in. Raises UsageError for what is none."""
    config = _read(path)
    rules: Sequence[Callable[[Config], Iterator[tuple[str, str, str]]]] = (
        _placeholders,
        _schema,
        _token_file,
        _token_mode,
        _dashboard,
        _listening,
        _ssh_range,
        _workers_join,
        _ssh_key,
        _secrets,
        _secret_files,
    )
    return tuple(
        Fault(file=str(path), key=key, reason=reason, fix=fix)
        for rule in rules
        for key, reason, fix in rule(config)
    )


def show(path: Path, *, as_json: bool) -> bool:
    """Print the faults of a cluster file, as a table or as one JSON object; whether there are none."""
    faults = lint(path)
    if as_json:
        print(json.dumps({"file": str(path), "findings": [asdict(f) for f in faults], "ok": not faults}))
        return not faults
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if faults:
        table = Table("key", "reason", "fix", box=None, pad_edge=False, padding=(0, 2, 1, 0))
        for fault in faults:
            table.add_row(*map(Text, (fault.key or "(file)", fault.reason, fault.fix)))
        console.print(table)
    count = f"{len(faults)} problem{'s' * (len(faults) > 1)}" if faults else "Nothing"
    verdict = ": do not run `ray up` with it yet." if faults else " stands against `ray up` with it."
    console.print(f"{path}: {count}{verdict}", markup=False, soft_wrap=True)
    return not faults


def _read(path: Path) -> Config:
    import yaml

    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", fix="Give a cluster file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(config, dict):
        raise UsageError(f"{path} is no cluster file.", fix="Start from cluster.yaml or cluster.local.yaml.")
    return config


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar of a value with its key path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{place}]")
    else:
        yield key, value


def _at(config: Config, *names: str) -> Any:
    """The value under nested keys, or None."""
    value: Any = config
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _starts(config: Config, which: str) -> Iterator[tuple[str, str]]:
    """The commands of a list that start Ray, with their key paths."""
    commands = config.get(which)
    for key, command in _leaves(commands if isinstance(commands, list) else [], which):
        if re.search(r"\bray start\b", str(command)):
            yield key, str(command)


def _placeholders(config: Config) -> Iterator[tuple[str, str, str]]:
    for key, value in _leaves(config):
        if PLACEHOLDER in str(value):
            yield key, "not filled in", "Write yours; the comment beside it says what."


def _schema(config: Config) -> Iterator[tuple[str, str, str]]:
    """What Ray's own schema refuses, found without importing Ray."""
    import jsonschema

    spec = find_spec("ray")
    home = Path((spec.submodule_search_locations or ["."])[0]) if spec else Path()
    schema = json.loads((home / "autoscaler" / "ray-schema.json").read_bytes())
    for error in jsonschema.Draft7Validator(schema).iter_errors(config):
        key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
        yield key.lstrip("."), f"Ray refuses it: {error.message[:200]}", "See cluster.yaml for the form."


def _token_file(config: Config) -> Iterator[tuple[str, str, str]]:
    """The token is shipped to every node, from a file that nobody else reads."""
    mounts = _at(config, "file_mounts")
    mounts = mounts if isinstance(mounts, dict) else {}
    local = next((str(v) for k, v in mounts.items() if str(k).endswith("/.ray/auth_token")), None)
    if local is None:
        reason = "no token is shipped: whoever reaches a node's ports may run code there"
        yield "file_mounts", reason, f"Add `{TOKEN}: {TOKEN}`."
        return
    key, path = f"file_mounts.{TOKEN}", Path(local).expanduser()
    if not path.is_file() or not path.stat().st_size:
        yield key, f"there is no token in {local}", MAKE_TOKEN
    elif path.stat().st_mode & 0o077:
        mode = f"{path.stat().st_mode & 0o777:o}"
        yield key, f"{local} has mode {mode}: other users of this machine read it", f"chmod 600 {local}"


def _token_mode(config: Config) -> Iterator[tuple[str, str, str]]:
    """Every `ray start` demands the token."""
    for which in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = list(_starts(config, which))
        if not starts:
            reason = "Ray's own commands would start it: without a token, and its dashboard open in a cloud"
            yield which, reason, f"Copy {which} from cluster.yaml."
        for key, command in starts:
            if not re.search(r"\bRAY_AUTH_MODE=['\"]?token\b", command):
                reason = "Ray is started without demanding the token"
                yield key, reason, "Put `export RAY_AUTH_MODE=token;` before `ray start`."
    for key, value in _leaves(config):
        if re.search(r"\bRAY_AUTH_MODE=['\"]?disabled", str(value)):
            yield key, "the token is switched off", "Write RAY_AUTH_MODE=token."


def _dashboard(config: Config) -> Iterator[tuple[str, str, str]]:
    """Whoever opens the dashboard may run jobs."""
    for key, command in _starts(config, "head_start_ray_commands"):
        stated = re.search(r"--dashboard-host", command)
        if not re.search(NO_DASHBOARD, command) and not re.search(LOOPBACK, command):
            reason = (
                "the dashboard listens beyond this host"
                if stated
                else "where the dashboard listens is not stated"
            )
            yield key, reason, "Add --dashboard-host=127.0.0.1, and reach it with `ray dashboard FILE`."


def _listening(config: Config) -> Iterator[tuple[str, str, str]]:
    for key, value in _leaves(config):
        if "commands" in key and "--dashboard-host" not in str(value) and re.search(EVERYWHERE, str(value)):
            yield (
                key,
                "it listens on every address",
                "Let it listen on 127.0.0.1; `ray attach -p` forwards ports.",
            )


def _ssh_range(config: Config) -> Iterator[tuple[str, str, str]]:
    """In a cloud, SSH is let in from a range that is stated."""
    kind = _at(config, "provider", "type")
    if kind == "local":
        return
    if kind != "aws":
        reason = f"who may reach the nodes of provider {kind!r} cannot be judged here"
        yield "provider.type", reason, "Start from cluster.yaml (aws) or cluster.local.yaml (local)."
        return
    if _at(config, "provider", "security_group") is not None:
        reason = "a group that Ray makes lets SSH in from everywhere, whatever else is written here"
        yield "provider.security_group", reason, "Make a group of your own and give it as SecurityGroupIds."
    types = _at(config, "available_node_types")
    for name, node in (types if isinstance(types, dict) else {"": {}}).items():
        if not _at(node if isinstance(node, dict) else {}, "node_config", "SecurityGroupIds"):
            key = f"available_node_types.{name}.node_config.SecurityGroupIds"
            yield (
                key,
                "without one Ray makes a group that lets SSH in from everywhere",
                "See the commands in cluster.yaml.",
            )
    yield from _stated(_at(config, "metadata", "ssh_from"))


def _stated(text: Any) -> Iterator[tuple[str, str, str]]:
    key, fix = (
        "metadata.ssh_from",
        "Write the range of the security group's rule for port 22, as 198.51.100.7/32.",
    )
    if text is None:
        yield key, "the range that SSH comes from is not stated", fix
        return
    if PLACEHOLDER in str(text):
        return
    try:
        network = ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        yield key, f"{text!r} is no range of addresses", fix
        return
    if network.prefixlen < WIDEST[network.version]:
        yield key, f"{network} lets {network.num_addresses:,} addresses in", fix


def _workers_join(config: Config) -> Iterator[tuple[str, str, str]]:
    """On premises workers are started by the autoscaler's first version only."""
    if _at(config, "provider", "type") != "local" or not _at(config, "provider", "worker_ips"):
        return
    for key, command in _starts(config, "head_start_ray_commands"):
        if not re.search(r"\bRAY_enable_autoscaler_v2=['\"]?0", command):
            reason = "the head would stay alone: the autoscaler's second version starts no hosts of your own"
            yield key, reason, "Put `export RAY_enable_autoscaler_v2=0;` before `ray start`."


def _ssh_key(config: Config) -> Iterator[tuple[str, str, str]]:
    text = _at(config, "auth", "ssh_private_key")
    if text is None or PLACEHOLDER in str(text):
        return
    path = Path(str(text)).expanduser()
    if not path.is_file():
        yield "auth.ssh_private_key", f"there is no {text}", "Give the private key that the hosts know."
    elif path.stat().st_mode & 0o077:
        yield "auth.ssh_private_key", f"{text} may be read by other users", f"chmod 600 {text}"


def _secrets(config: Config) -> Iterator[tuple[str, str, str]]:
    """The file is shared and lands on every node: nothing secret belongs in it."""
    for key, value in _leaves(config):
        name = "" if key.startswith("file_mounts.") else re.split(r"[.\[]", key)[-1]
        if re.search(SECRET_VALUE, str(value)) or re.search(SECRET_KEY, name):
            fix = "Put it on the head after `ray up`, or give the nodes a role of the cloud."
            yield key, "a secret stands in the file", fix


def _secret_files(config: Config) -> Iterator[tuple[str, str, str]]:
    mounts = _at(config, "file_mounts")
    for remote, local in (mounts if isinstance(mounts, dict) else {}).items():
        if re.search(SECRET_FILE, f"/{local}"):
            reason = f"{local} holds secrets, and every node would get a copy"
            yield f"file_mounts.{remote}", reason, "Leave it out; give the nodes a role of the cloud."
