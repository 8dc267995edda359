"""The house: arrows one way, no circles, front doors that tell the truth, counts within bars."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
import tomllib

import pytest
from helpers import ROOT, counts
from helpers.import_graph import (
    PACKAGE,
    build,
    circle,
    front_doors,
    module_of,
    seen_through,
)

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
DOORS = front_doors()


@pytest.fixture(scope="module")
def graph():
    return build()


def test_the_contracts_hold():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow(8)
def test_the_types_hold():
    """What has not changed since `make lint` is not looked at again."""
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("contract", [one for one in CONTRACTS if one["type"] == "layers"])
def test_the_layers_hold_through_front_doors(graph, contract):
    layers = [layer_of(text) for text in contract["layers"]]
    illegal = graph.find_illegal_dependencies_for_layers(
        layers=layers, containers=set(contract["containers"])
    )
    routes = {route.heads | route.tails for found in illegal for route in found.routes}
    assert not routes


def layer_of(text: str):
    """Return what grimp calls a layer: modules that may (`:`), or may not (`|`), import others."""
    from grimp import Layer

    separator = "|" if "|" in text else ":"
    names = [name.strip() for name in text.split(separator)]
    return Layer(*names, independent=separator == "|")


def test_no_files_import_each_other_in_a_circle(graph):
    assert not circle(graph), " → ".join(circle(graph))


@pytest.mark.parametrize(
    "text",
    [
        "from a import one",
        "from a import one as other",
        "def later():\n    from a import one",
        "import b\nfrom b import a\na.one",
        "from b import a as door\ndoor.one()",
    ],
)
def test_imports_are_seen_through_front_doors(text):
    doors = {"a": {"one": "a.first"}, "b": {"a": "b"}, "b.a": {"one": "a.first"}}
    assert list(seen_through(ast.parse(text), doors)) == ["a.first"]


def test_what_only_type_checkers_import_is_no_import():
    text = "if TYPE_CHECKING:\n    from a import one"
    assert not list(seen_through(ast.parse(text), {"a": {"one": "a.first"}}))


@pytest.mark.slow
def test_what_needs_no_keras_loads_none():
    rooms = next(one["source_modules"] for one in CONTRACTS if one["type"] == "forbidden")
    modules = [
        name
        for name in map(module_of, PACKAGE.rglob("*.py"))
        if any(name == room or name.startswith(f"{room}.") for room in rooms)
    ]
    assert len(modules) > len(rooms)
    script = (
        "import importlib, json, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(json.dumps([name for name in ('keras', 'tensorflow') if name in sys.modules]))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=counts.environment(), capture_output=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("verb", ["finetune", "study"])
def test_layers_that_no_start_has_are_refused_before_numpy_is_imported(verb):
    """The answer to a wrong word comes in less than a third of a second."""
    words = {"finetune": ["--layers"], "study": ["--strategies"]}[verb]
    script = (
        "import sys; from kerasunet.cli import main\n"
        f"status = main([{verb!r}, *{words!r}, 'shallow:12'])\n"
        "print(status, sorted({'numpy', 'cv2', 'h5py', 'keras'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    env = counts.environment()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "has 9 blocks, so K must be 1 to 9" in done.stderr
    assert done.stdout == "2 []\n"


@pytest.mark.parametrize("package", DOORS)
def test_every_public_name_is_there(package):
    door = importlib.import_module(package)
    assert DOORS[package]
    assert set(DOORS[package]) <= set(door.__all__)
    assert set(DOORS[package]) <= set(dir(door))
    for name in DOORS[package]:
        assert getattr(door, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_this_name'"):
        door.nothing_of_this_name  # noqa: B018


@pytest.mark.parametrize("package", DOORS)
def test_no_file_hides_a_public_name(package):
    """Once `a/b.py` is imported, `a.b` is that file, whatever else the front door calls `b`."""
    folder = ROOT.joinpath(*package.split("."))
    hidden = [
        name
        for name, module in DOORS[package].items()
        if module != package and ((folder / f"{name}.py").exists() or (folder / name).is_dir())
    ]
    assert not hidden


def test_only_front_doors_reexport():
    """Elsewhere a name has one address, that of the file that defines it."""
    plain = [
        path
        for path in PACKAGE.rglob("*.py")
        if module_of(path) not in DOORS
        and any(
            alias.asname == alias.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        )
    ]
    assert not plain


def test_every_folder_of_the_package_is_a_package():
    """A folder without `__init__.py` is looked at neither by import-linter nor by this file."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_files_and_functions_are_within_the_bars():
    assert not counts.over(counts.of_sources())
