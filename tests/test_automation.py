"""What continuous integration, hooks and the guides call is there to be called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import ROOT

CALLERS = [
    path
    for pattern in (".ci/run", ".github/workflows/*", ".pre-commit-config.yaml", "*.md")
    for path in sorted(ROOT.glob(pattern))
]


def targets() -> set[str]:
    """Return the names that the Makefile offers."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return {name for line in re.findall(r"^\.PHONY:(.*)", text, re.M) for name in line.split()}


def code_of(path: Path) -> str:
    """Return what a file has to run; of Markdown, only what is set as code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return "\n".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))
    return text


@pytest.mark.parametrize("path", CALLERS, ids=lambda path: path.name)
def test_every_target_that_is_called_exists(path):
    called = set(re.findall(r"\bmake ([a-z][a-z-]*)", code_of(path)))
    assert called <= targets()


def test_every_target_has_a_rule():
    rules = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert targets() == set(rules)


def test_continuous_integration_runs_lint_and_every_test():
    """`.ci/run` is the README's test command; hosted machines run the linters, too."""
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    hosted = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    assert re.search(r"run: make lint$", hosted, re.M) and re.search(r"run: make test\b", hosted)


def test_lint_runs_every_check():
    text = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"^lint: style imports types counts$", text, re.M)
