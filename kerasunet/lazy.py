"""Front doors: packages that show their public names to editors and import them on first use."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from typing import Any


def lazy_members(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the `__getattr__`, `__dir__` (PEP 562) and `__all__` of a package.

    The public names are those that the package imports under `if TYPE_CHECKING:`. Editors, type
    checkers and documentation read these imports as they stand, so each name is written once.

    Args:
        package: The package's `__name__`.

    Raises:
        ImportError: The source of the package isn't there to be read.
    """
    origins = lazy_origins(_source(package))

    def get(name: str) -> Any:
        if name not in origins:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(origins[name])
        if name in vars(module):
            return vars(module)[name]
        return importlib.import_module(f"{origins[name]}.{name}")

    return get, lambda: sorted(origins), sorted(origins)


def lazy_origins(source: str) -> dict[str, str]:
    """Return which module each name that a source text imports under `if TYPE_CHECKING:` is from.

    Args:
        source: Text of the module.
    """
    return {
        alias.name: statement.module
        for guard in ast.parse(source).body
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING"
        for statement in guard.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }


def _source(package: str) -> str:
    spec = sys.modules[package].__spec__
    source = getattr(spec.loader, "get_source", lambda _: None)(package) if spec else None
    if source is None:
        raise ImportError(f"{package}: its source is missing, and with it the list of its members")
    return source
