"""Modules found by the name on the command line: no registry is kept."""

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from trainables.errors import UsageError, unknown


def known_modules(package: str) -> list[str]:
    """Names of the public modules of a package, without importing any of them."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return []
    return sorted(m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if m.name[0] != "_")


def load_named(package: str, name: str, attribute: str, what: str) -> Any:
    """`attribute` of the module `package.name`, or of the file `name` where that ends in .py.

    An unknown name raises UsageError with the nearest one.
    """
    if name.endswith(".py"):
        where, module = name, _module_of_file(Path(name), what)
    elif name in known_modules(package):
        where, module = f"{package}/{name}.py", importlib.import_module(f"{package}.{name}")
    else:
        raise unknown(what, name, known_modules(package))
    if not hasattr(module, attribute):
        raise UsageError(
            f"{where} has no {attribute!r}.", fix=f"Define {attribute} in it, as the other files do."
        )
    return getattr(module, attribute)


def _module_of_file(path: Path, what: str) -> ModuleType:
    """The user's own file, run as a module. Raises UsageError where it is missing or breaks."""
    if not path.is_file():
        raise UsageError(f"No {what} file {path}.", fix="Give the path of a Python file that exists.")
    spec = importlib.util.spec_from_file_location(f"file_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        line = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path} breaks: {line}", fix="Correct the file.") from error
    return module
