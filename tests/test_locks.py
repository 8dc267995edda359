"""The lock files: each direct requirement is pinned, by its hashes, as setup.cfg allows."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXTRAS = {"run": (), "demo": ("demo",), "dev": ("dev",), "docs": ("docs",), "lowest": ("dev",)}
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")


def requirements(extras: tuple[str, ...]) -> dict[str, Requirement]:
    """The direct requirements of the package with these extras, by normalized name."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"]]
    texts += [config["options.extras_require"][extra] for extra in extras]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {normal(requirement.name): requirement for requirement in found}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, list[tuple[str, int]]]:
    """Per package, its pinned releases with the number of hashes that each has."""
    found: dict[str, list[tuple[str, int]]] = {}
    text = (ROOT / "locks" / f"{lock}.txt").read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text):
        if pin := _PIN.match(entry):
            found.setdefault(normal(pin[1]), []).append((pin[2], entry.count("--hash=sha256:")))
    return found


@pytest.mark.parametrize("lock", ["run", "demo", "dev", "docs"])
def test_pinned_releases_are_allowed_and_have_hashes(lock):
    pinned = pins(lock)
    for name, requirement in requirements(EXTRAS[lock]).items():
        for release, _ in pinned[name]:
            assert requirement.specifier.contains(release), f"{name} {release}: {requirement}"
    without = [name for name, entries in pinned.items() if not all(count for _, count in entries)]
    assert not without


def test_lowest_releases_are_the_floors():
    pinned = pins("lowest")
    for name, requirement in requirements(EXTRAS["lowest"]).items():
        floor = next(iter(requirement.specifier)).version
        ((release, _),) = pinned[name]
        assert release == floor or release.startswith(f"{floor}."), f"{name} {release}, not {floor}"


def test_every_requirement_has_a_floor():
    bare = [name for name, one in requirements(EXTRAS["lowest"]).items() if not one.specifier]
    assert not bare


def test_the_locks_agree():
    dev = pins("dev")
    for lock in ("run", "demo"):
        for name, entries in pins(lock).items():
            assert {release for release, _ in entries} <= {release for release, _ in dev[name]}
