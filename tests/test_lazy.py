"""Front doors: what editors read is what is imported, when it is asked for and not before."""

from __future__ import annotations

import importlib
import py_compile
import sys
from pathlib import Path

import pytest

DOOR = """
from typing import TYPE_CHECKING
from kerasunet.processes import lazy_members
if TYPE_CHECKING:
    from {0} import plain as plain
    from {0}.inner import answer as answer, question as question
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
"""


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """Folder of a package, of a name that no other test has, with a front door and two files."""
    folder = tmp_path / f"door_{tmp_path.parent.name.replace('-', '_')}_{tmp_path.name}"
    folder.mkdir()
    (folder / "__init__.py").write_text(DOOR.format(folder.name))
    (folder / "inner.py").write_text("answer = 42\n")
    (folder / "plain.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]


def test_names_are_known_at_once_and_imported_on_first_use(package):
    door = importlib.import_module(package.name)
    assert dir(door) == door.__all__ == ["answer", "plain", "question"]
    assert f"{package.name}.inner" not in sys.modules
    assert door.answer == 42
    assert f"{package.name}.inner" in sys.modules


def test_a_member_may_be_a_file(package):
    door = importlib.import_module(package.name)
    assert door.plain is importlib.import_module(f"{package.name}.plain")


def test_any_other_name_is_an_attribute_error(package):
    door = importlib.import_module(package.name)
    with pytest.raises(AttributeError, match=f"module '{package.name}' has no attribute 'reply'"):
        door.reply  # noqa: B018
    assert not hasattr(door, "lazy")


def test_a_name_that_its_file_lacks_says_so(package):
    door = importlib.import_module(package.name)
    with pytest.raises(ModuleNotFoundError, match=rf"{package.name}\.inner"):
        door.question  # noqa: B018


def test_without_its_source_a_front_door_does_not_open(package):
    source = package / "__init__.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")))
    source.unlink()
    with pytest.raises(ImportError, match="its source is missing"):
        importlib.import_module(package.name)
