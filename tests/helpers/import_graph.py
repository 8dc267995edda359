"""Who imports whom in the package, front doors seen through.

A front door imports for type checkers only, so the graph of import-linter ends there. Here
`from kerasunet.metrics import dice`, and `metrics.dice` after `from kerasunet import metrics`,
lead to the file that defines `dice`.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp

from helpers import ROOT
from kerasunet.processes import lazy_origins

PACKAGE = ROOT / "kerasunet"


def build() -> grimp.ImportGraph:
    """Return the imports between the package's own files, with those through front doors."""
    graph = grimp.build_graph("kerasunet", exclude_type_checking_imports=True, cache_dir=None)
    doors = front_doors()
    for path in PACKAGE.rglob("*.py"):
        importer = module_of(path)
        for imported in seen_through(ast.parse(path.read_text(encoding="utf-8")), doors):
            if imported != importer:
                graph.add_import(importer=importer, imported=imported)
    return graph


def module_of(path: Path) -> str:
    """Return the full name of the module that a file of the package is."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def front_doors() -> dict[str, dict[str, str]]:
    """Return, for each package with lazy members, the module that each of its names is from."""
    sources = {
        module_of(path): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("__init__.py")
    }
    return {
        package: lazy_origins(source)
        for package, source in sources.items()
        if "lazy_members(__name__" in source
    }


def circle(graph: grimp.ImportGraph) -> list[str]:
    """Return modules that import each other in a circle, the first again at the end; or nothing."""
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []


def seen_through(tree: ast.Module, doors: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield the modules that a file reaches through front doors, at its top or in functions.

    Args:
        tree: The parsed file.
        doors: What `front_doors` returns.
    """
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    opened: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in guarded:
            for alias in node.names:
                origin = _origin(doors, node.module, alias.name)
                if f"{node.module}.{alias.name}" in doors:
                    opened[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                elif origin:
                    yield origin
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            origin = _origin(doors, opened.get(node.value.id, ""), node.attr)
            if origin:
                yield origin


def _origin(doors: Mapping[str, Mapping[str, str]], package: str, name: str) -> str | None:
    module = doors.get(package, {}).get(name)
    return f"{module}.{name}" if module and f"{module}.{name}" in doors else module
