"""The README tells what is there: every command, and no other."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from ensembles.methods import known_methods
from trainables.named import known_modules

HERE = Path(__file__).resolve().parent.parent
README = (HERE / "README.md").read_text()
PAGES = [HERE / "README.md", HERE / "CHANGELOG.md", *sorted((HERE / "docs").glob("*.md"))]


def commands(folder: str) -> list[str]:
    """Modules of a folder that run as a program."""
    return [
        f"{folder}.{path.stem}"
        for path in sorted((HERE / folder).glob("*.py"))
        if 'if __name__ == "__main__":' in path.read_text()
    ]


COMMANDS = [*commands("orchestrator"), *commands("benchmarks")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert any(f"python -m {command}" in page.read_text() for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_command_exists(page: Path) -> None:
    assert set(re.findall(r"python -m ((?:orchestrator|benchmarks)\.\w+)", page.read_text())) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_shown_exists(page: Path) -> None:
    for module, rest in re.findall(
        r"python -m ((?:orchestrator|benchmarks)\.\w+)([^`\n]*)", page.read_text()
    ):
        source = (HERE / (module.replace(".", "/") + ".py")).read_text()
        for option in re.findall(r"(?<=\s)--[a-z-]+", rest):
            name = option.removeprefix("--").replace("-", "_")
            assert f'"{option}"' in source or re.search(rf"\b{name}: ", source), f"{module} has no {option}"


def test_every_task_and_method_is_named() -> None:
    for name in [*known_modules("trainables.tasks"), *known_methods()]:
        assert f"`{name}`" in README, f"{name} is missing from README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, flags=re.S))
def test_the_code_that_is_shown_imports_what_exists(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in (
            "trainables", "orchestrator", "ensembles",
        ):  # fmt: skip
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
