"""What a result came from: versions, commit, host and the command that made it."""

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("ray", "optuna", "torch", "torchvision", "timm", "kornia", "mlflow", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Installed versions of what decides a result, and of Python."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The checked-out commit of this code, `+changes` behind it where files differ, or `unknown`."""
    here = Path(__file__).resolve().parent.parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def host() -> str:
    """Processor architecture, cores, memory and system in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def command() -> str:
    """The command line that can be typed again."""
    program = Path(sys.argv[0])
    module = (
        f"python -m orchestrator.{program.stem}" if program.parent.name == "orchestrator" else program.name
    )
    return shlex.join([*module.split(), *sys.argv[1:]])
