"""Who may import whom, read from the syntax trees; a rule that is never seen to fail proves nothing."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("trainables", "search_spaces", "ensembles", "orchestrator", "benchmarks", "tests")
PACKAGES = OURS[:4]
MAY_IMPORT = {
    "search_spaces": (),
    "trainables": ("trainables",),
    "ensembles": (
        "ensembles",
        "trainables.predictions",
        "trainables.maps",
        "trainables.boxes",
        "trainables.instances",
        "trainables.gathered",
        "trainables.coco_rle",
        "trainables.metrics",
        "trainables.errors",
        "trainables.task",
    ),
    "orchestrator": PACKAGES,
}
ONLY_IN = {
    "ray": ("orchestrator/tune.py", "orchestrator/cluster.py", "orchestrator/connect.py"),
    "optuna": ("orchestrator/study.py", "orchestrator/evidence/importance.py"),
    "mlflow": ("orchestrator/tracking.py",),
    "weasyprint": ("orchestrator/document/pdf.py",),
}
HEAVY = {"torch", "torchvision", "timm", "kornia", "pandas", "sklearn", "scipy", "PIL", "matplotlib"} | {
    *ONLY_IN
}
LIGHT = (
    *(f"trainables/{name}.py" for name in ("task", "predictions", "metrics", "layouts", "submissions")),
    *(f"trainables/{name}.py" for name in ("errors", "families", "config")),
    *(f"trainables/{name}.py" for name in ("maps", "boxes", "instances", "coco_rle", "run_lengths")),
    *(f"trainables/{name}_metrics.py" for name in ("segmentation", "picture", "detection")),
    *(f"trainables/{name}_answers.py" for name in ("row", "mask", "picture", "box", "coco")),
    *(f"trainables/{name}_layouts.py" for name in ("dense", "box", "coco")),
    "trainables/bicubic.py",
    "trainables/gathered.py",
    "trainables/named.py",
    "trainables/tasks/*.py",
    "trainables/kinds/*.py",
    "ensembles/*.py",
    "search_spaces/*.py",
)


@dataclass(frozen=True)
class Import:
    """One imported name: where, what, and when it is executed."""

    line: int
    module: str
    at_start: bool
    """Executed when the file is imported."""
    for_types: bool
    """Under `if TYPE_CHECKING`: never executed."""
    relative: bool = False


@cache
def imports(source: str) -> tuple[Import, ...]:
    """Every import of a file: statements, and calls of import_module or __import__ with a constant."""
    return tuple(_imports(ast.parse(source), at_start=True, for_types=False))


def _imports(node: ast.AST, *, at_start: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typed = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and child in node.body
        when = {"at_start": at_start and not in_function, "for_types": for_types or typed}
        for module in _modules(child):
            relative = isinstance(child, ast.ImportFrom) and child.level > 0
            yield Import(child.lineno, module, **when, relative=relative)  # type: ignore[attr-defined]
        yield from _imports(child, **when)


def _modules(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=module, names=names):
            return [f"{module or ''}.{name.name}" for name in names]
        case ast.Call(func=func, args=[ast.Constant(value=str(module)), *_]):
            return [module] if ast.unparse(func).split(".")[-1] in ("import_module", "__import__") else []
    return []


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def broken_rules(path: str, found: Import) -> Iterator[str]:
    """What an import of the file `path` does that it may not."""
    package, top = path.split("/")[0], found.module.split(".")[0]
    if found.relative:
        yield "imports are absolute"
    if top in OURS and not within(found.module, MAY_IMPORT[package]):
        yield f"{package} may import {', '.join(MAY_IMPORT[package]) or 'nothing of ours'}"
    if found.for_types:
        return
    if path not in ONLY_IN.get(top, (path,)):
        yield f"{top} is imported in {' and '.join(ONLY_IN[top])} only"
    if package == "ensembles" and top == "torch":
        yield "ensembles work without torch"
    if found.at_start and top in HEAVY and any(fnmatch(path, pattern) for pattern in LIGHT):
        yield f"{top} is imported inside functions here, so that the file is light to import"


def violations(root: Path) -> list[str]:
    """Every broken rule of the tree at `root`, as `file:line: imported name: rule`."""
    broken = []
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            path = file.relative_to(root).as_posix()
            source = file.read_text()
            if file.name == "__init__.py" and source.strip():
                broken.append(f"{path}: __init__ is empty")
            for found in imports(source):
                broken += [f"{path}:{found.line}: {found.module}: {r}" for r in broken_rules(path, found)]
    return broken


def test_no_file_imports_what_it_may_not() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "planted", "rule"),
    [
        ("search_spaces/planted.py", "import trainables.config", "nothing of ours"),
        ("search_spaces/planted.py", "from orchestrator import journal", "nothing of ours"),
        ("trainables/planted.py", "from orchestrator.journal import read", "trainables may import"),
        ("trainables/planted.py", "import ensembles.methods", "trainables may import"),
        (
            "trainables/planted.py",
            "def f() -> None:\n    import search_spaces.digits",
            "trainables may import",
        ),
        ("trainables/planted.py", "def f() -> None:\n    import ray", "ray is imported in"),
        ("trainables/kinds/planted.py", "class A:\n    from optuna import Trial", "optuna is imported in"),
        (
            "trainables/planted.py",
            "try:\n    import mlflow.pytorch\nexcept ImportError:\n    pass",
            "mlflow is",
        ),
        ("ensembles/planted.py", "from trainables.store import Store", "ensembles may import"),
        ("ensembles/planted.py", "from trainables import train", "ensembles may import"),
        ("ensembles/planted.py", "def f() -> None:\n    import torch.nn", "without torch"),
        ("orchestrator/planted.py", "from ray import tune", "ray is imported in"),
        ("orchestrator/planted.py", "def f() -> None:\n    import mlflow", "mlflow is imported in"),
        (
            "orchestrator/planted.py",
            "import importlib\nimportlib.import_module('optuna')",
            "optuna is imported in",
        ),
        ("orchestrator/planted.py", "import benchmarks.start", "orchestrator may import"),
        ("orchestrator/planted.py", "from tests import test_layers", "orchestrator may import"),
        ("trainables/metrics.py", "import torch", "inside functions"),
        ("trainables/task.py", "if True:\n    from pandas import read_csv", "inside functions"),
        ("trainables/tasks/planted.py", "from sklearn.datasets import load_digits", "inside functions"),
        ("trainables/kinds/planted.py", "from torch.nn import functional", "inside functions"),
        ("ensembles/planted.py", "import scipy.stats", "inside functions"),
        ("trainables/tasks/planted.py", "from .digits import TASK", "absolute"),
        ("orchestrator/planted.py", "from . import journal", "absolute"),
        ("trainables/models/__init__.py", "from trainables.models import convnet", "__init__ is empty"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, file: str, planted: str, rule: str) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    before = violations(tmp_path)
    target = tmp_path / file
    target.write_text((target.read_text() if target.exists() else "") + "\n" + planted + "\n")
    found = [line for line in violations(tmp_path) if line not in before]
    assert found
    assert all(line.startswith(file) for line in found)
    assert any(rule in line for line in found)


@pytest.mark.parametrize(
    ("file", "allowed"),
    [
        ("orchestrator/tune.py", "from ray import tune as again"),
        ("trainables/task.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("trainables/metrics.py", "def f() -> None:\n    import torch"),
        (
            "search_spaces/planted.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import optuna",
        ),
        ("trainables/planted.py", "import torch\nimport timm"),
    ],
)
def test_an_allowed_import_is_let_pass(file: str, allowed: str) -> None:
    assert [r for found in imports(allowed) for r in broken_rules(file, found)] == []


def modules(*patterns: str) -> list[str]:
    """Modules of the files that match, as the import statement spells them."""
    files = [path.relative_to(ROOT) for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    return [".".join(path.with_suffix("").parts) for path in files if path.name != "__init__.py"]


def commands() -> list[str]:
    """What `python -m` runs: its --help must be there at once."""
    return [
        m
        for m in modules("orchestrator/*.py")
        if "__main__" in (ROOT / f"{m.replace('.', '/')}.py").read_text()
    ]


def loaded_by(names: list[str], heavy: set[str]) -> list[str]:
    """Of the modules, imported one after the other, each that loads something heavy, with what."""
    code = (
        "import importlib, sys\n"
        f"names, heavy = {names!r}, {heavy!r}\n"
        "for name in names:\n"
        "    importlib.import_module(name)\n"
        "    new = sorted(heavy & sys.modules.keys())\n"
        "    if new: print(name, *new)\n"
        "    heavy -= set(new)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_light_modules_load_nothing_heavy() -> None:
    names = modules(*LIGHT)
    assert "trainables.tasks.digits" in names
    assert loaded_by(names, HEAVY) == []


def test_commands_load_nothing_slow() -> None:
    names = commands()
    assert "orchestrator.search" in names
    assert loaded_by(names, HEAVY - {"PIL"}) == []


def test_what_a_module_loads_is_seen() -> None:
    assert loaded_by(["json", "PIL.Image"], HEAVY) == ["PIL.Image PIL"]
