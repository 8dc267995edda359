"""Package members that are imported when first used, so that `--help` costs no heavy import."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_members(package: str, members: Mapping[str, str]) -> tuple[Callable, Callable]:
    """Makes the `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: The package's `__name__`.
        members: Public name to the module that defines it; a module stands for itself.
    """

    def get(name: str) -> Any:
        if name not in members:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(members[name])
        return module if members[name] == f"{package}.{name}" else getattr(module, name)

    return get, lambda: sorted(members)
