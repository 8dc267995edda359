"""The notebooks of `examples/` run from top to bottom, as committed: without outputs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
_SECONDS = 300


def code_cells(notebook: Path) -> list[dict]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(notebook):
    cells = code_cells(notebook)
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow(5)
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, tmp_path):
    """Its code cells in their order, with fewer steps, in one process that draws no window."""
    script = tmp_path / f"{notebook.stem}.py"
    cells = ["".join(cell["source"]) for cell in code_cells(notebook)]
    code = "\n\n".join(["import matplotlib\nmatplotlib.use('Agg')", *cells, CHECK])
    assert MANY in code
    script.write_text(code.replace(MANY, "steps=4, validate_every=2"))
    result = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=_SECONDS
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "every figure shows something" in result.stdout


MANY = "steps=30, validate_every=10"
CHECK = """
assert plt.get_fignums() and all(plt.figure(n).axes[0].has_data() for n in plt.get_fignums())
print("every figure shows something")
"""
