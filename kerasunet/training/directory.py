"""A run directory belongs to one set of settings and data; it is never mixed with another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from kerasunet.files import read_json, write_json
from kerasunet.training.settings import to_json

CONFIG = "config.json"
_PLACES = ("data", "manual_dir", "validation_data", "init", "groups")


def claim(directory: Path, settings: Any, digests: dict[str, str]) -> None:
    """Makes a directory this run's own, or refuses.

    Where data come from does not matter, what they are does: paths are left out of the
    comparison, digests are in.

    Args:
        directory: The run directory; `config.json` is written if it is new.
        settings: Settings dataclass of the run.
        digests: Name to digest of everything that the settings only point to.

    Raises:
        ValueError: The directory holds a run with other settings, data or versions; the message
            names both sides of each difference.
    """
    asked = {"settings": to_json(settings), "digests": digests, "versions": _versions()}
    path = directory / CONFIG
    if path.is_file():
        refuse_differences(directory, read_json(path), asked)
    else:
        write_json(path, asked)


def refuse_differences(directory: Path, known: dict[str, Any], asked: dict[str, Any]) -> None:
    """Compares what a directory holds with what is asked for, leaving out places of files.

    Raises:
        ValueError: They differ; the message names both sides of each difference.
    """
    old, new = _flat(known), _flat(asked)
    differences = [
        f"{name.removeprefix('settings.')} was {old.get(name)!r}, now {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not _is_place(name)
    ]
    if differences:
        raise ValueError(
            f"{directory}: holds a run with other settings: {'; '.join(differences)}. "
            "Use the same settings, or another output folder."
        )


def _is_place(name: str) -> bool:
    section, _, last = name.rpartition(".")
    return section.endswith(("settings", "run")) and last in _PLACES


def _versions() -> dict[str, str]:
    major_and_minor = ".".join(keras.__version__.split(".")[:2])
    return {"keras": major_and_minor, "backend": keras.backend.backend()}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
