"""Counts the house: files, lines, functions, and the modules that one fine-tuning imports.

`python tests/helpers/counts.py` prints the counts, and fails where one is above its bar:

- **Python files** of the package and the demo, without the folders of public data sets: these have
  the form that TensorFlow Datasets asks for, an `__init__.py` and a builder each.
- **Function bodies** without their docstrings.
- **Own modules in one fine-tuning**: what a reader may have to open, so without front doors, which
  are the rooms' `__init__.py` files that list names and hold no code. How many of those there are
  is printed beside.
"""

from __future__ import annotations

import ast
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
BARS = {
    "Python files": 166,
    "lines of the longest file": 400,
    "lines of the longest function body": 40,
    "lines of the median function body": 6,
    "own modules in one fine-tuning": 45,
}
RUN = (
    *("--layers", "shallow:3", "--steps", "2", "--validate-every", "2", "--image-size", "32"),
    *("--data", "simulated-ultrasound:12", "--train-size", "4", "--validation-size", "2"),
)  # A small one: how large it is changes nothing in what is imported.
_MARK = "own modules: "


def of_sources() -> dict[str, tuple[int, str]]:
    """Return each count that can be read from the sources, with where it was found."""
    texts = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for folder in ("kerasunet", "demo")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.parent.parent.name != "builders"
    }
    lines = {name: len(text.splitlines()) for name, text in texts.items()}
    bodies = {
        f"{name}, {function}": size
        for name, text in texts.items()
        for function, size in _bodies(ast.parse(text))
    }
    longest, largest = max(lines, key=lines.__getitem__), max(bodies, key=bodies.__getitem__)
    return {
        "Python files": (len(texts), ""),
        "lines": (sum(lines.values()), ""),
        "lines of the longest file": (lines[longest], longest),
        "lines of the longest function body": (bodies[largest], largest),
        "lines of the median function body": (int(statistics.median(bodies.values())), ""),
    }


def of_a_run() -> dict[str, tuple[int, str]]:
    """Return how many modules of the package `finetune.py --layers shallow:3` imports.

    The remark beside the count says how many front doors are imported besides.

    Raises:
        subprocess.CalledProcessError: The fine-tuning failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "run", *RUN, "--output", f"{folder}/run"]
        done = subprocess.run(
            command,
            cwd=folder,
            env={**environment(), "KERASUNET_CACHE": f"{folder}/cache"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return printed_by_a_run(done.stdout)


def printed_by_a_run(text: str) -> dict[str, tuple[int, str]]:
    """Return what `of_a_run` does from what `run` has printed."""
    (found,) = [line for line in text.splitlines() if line.startswith(_MARK)]
    modules, doors = found.removeprefix(_MARK).split()
    return {"own modules in one fine-tuning": (int(modules), f"and {doors} front doors")}


def over(counted: dict[str, tuple[int, str]]) -> list[str]:
    """Return a line for each count that is above its bar."""
    return [
        f"{name}: {count}, above {BARS[name]}{f', {remark}' if remark else ''}"
        for name, (count, remark) in counted.items()
        if count > BARS.get(name, count)
    ]


def environment() -> dict[str, str]:
    """Return the environment of a process that imports the package from this clone."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def _bodies(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every function with the lines of its body, without the docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, body[-1].end_lineno - body[0].lineno + 1 if body else 0


def run(words: list[str]) -> None:
    """Fine-tune in this process as the script does; name and count the own modules."""
    sys.argv = ["finetune.py", *words]
    sys.path.insert(0, str(ROOT / "scripts"))  # As Python does for a script.
    try:
        runpy.run_path(str(ROOT / "scripts" / "finetune.py"), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    own = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "kerasunet"
    }
    modules = sorted(name for name, module in own.items() if not _is_front_door(module))
    print(*modules, f"{_MARK}{len(modules)} {len(own) - len(modules)}", sep="\n")


def _is_front_door(module: ModuleType) -> bool:
    """Tell whether a module is the `__init__.py` of a room, which holds names and no code."""
    return hasattr(module, "__path__") and not any(
        getattr(value, "__module__", None) == module.__name__ for value in vars(module).values()
    )


def main() -> int:
    """Print every count; return 1 where one is above its bar, otherwise 0."""
    counted = {**of_sources(), **of_a_run()}
    for name, (count, remark) in counted.items():
        print(f"{count:6,}  {name}{f', {remark}' if remark else ''}")
    faults = over(counted)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:]) if sys.argv[1:2] == ["run"] else main())
