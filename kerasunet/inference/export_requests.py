"""What can be asked of an export: the formats, what each of them needs, and what is replaced.

Nothing heavy is imported here, so that `--help` and wrong requests are answered at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kerasunet.files import require_replaceable, sha256, write_json, writing
from kerasunet.models.model_card import read_card

EXTRAS = {"nncf": "int8"}
_REPLACED = "replaced_sha256"
_REMEDY = "give another name with --output, or move it away"


@dataclass(frozen=True)
class Format:
    """A format that models are exported to.

    Attributes:
        suffix: What the file's name ends in; empty for a folder.
        any_size: Whether the exported network takes images of any size, and any number of them.
        purpose: What it is for.
        packages: Modules that writing and checking need, besides TensorFlow.
        int8_packages: Modules that 8-bit weights need; `None` where there are none.
        companion: Suffix of a second file of the same name; empty for none.
    """

    suffix: str
    any_size: bool
    purpose: str
    packages: tuple[str, ...] = ()
    int8_packages: tuple[str, ...] | None = None
    companion: str = ""


FORMATS = {
    "savedmodel": Format("", True, "TensorFlow, TensorFlow Serving"),
    "onnx": Format(".onnx", True, "ONNX Runtime and most others", packages=("onnx", "onnxruntime")),
    "openvino": Format(
        ".xml",
        True,
        "OpenVINO on Intel and AMD",
        packages=("onnx", "openvino"),
        int8_packages=("nncf",),
        companion=".bin",
    ),
    "litert": Format(
        ".tflite",
        False,
        "LiteRT on phones and boards",
        packages=("ai_edge_litert",),
        int8_packages=(),
    ),
    "h5": Format(".h5", True, "older Keras, one HDF5 file"),
}


def check_request(format: str, path: Path, int8: bool) -> None:
    """Check what can be checked before anything heavy is imported.

    Raises:
        FileExistsError: The path of a file is a folder.
        ValueError: There is no such format, it has no 8-bit variant, a package that it needs is
            not installed, or the path has a different suffix.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    facts = FORMATS[format]
    if int8 and facts.int8_packages is None:
        able = [name for name, one in FORMATS.items() if one.int8_packages is not None]
        raise ValueError(f"8 bits are for {' and '.join(able)}, not for {format}")
    if facts.suffix and path.suffix != facts.suffix:
        raise ValueError(f"{path}: the name of this format's file ends in {facts.suffix}")
    if facts.suffix and path.is_dir():
        raise FileExistsError(f"{path}: is a folder; give the name of a file")
    _require((*facts.packages, *(facts.int8_packages or () if int8 else ())))


def sidecar_of(path: Path, format: str, int8: bool, *, source: str) -> Path:
    """Return where to describe an export: `NAME.json`, or `NAME.FORMAT.json` if that is taken.

    It is taken where it is the card of a model beside it, or describes another export of the same
    model.

    Args:
        path: The file or folder of the export.
        format: One of `FORMATS`.
        int8: Whether weights have 8 bits.
        source: SHA-256 of the model.

    Raises:
        FileExistsError: What is at one of these paths is neither free nor an earlier export of the
            model, format and precision: it is something else, or has been changed since.
        NotWritten: One of them is write-protected.
    """
    first = path.parent / f"{path.stem}.json"
    wanted = {"format": format, "int8": int8, "source_sha256": source}
    known = _described(first)
    is_other = known.get("source_sha256") == source and not wanted.items() <= known.items()
    own = path.parent / f"{path.stem}.{format}.json"
    sidecar = own if is_other or first.with_suffix(".keras").is_file() else first
    facts = _described(sidecar)
    if sidecar.exists() and not wanted.items() <= facts.items():
        raise FileExistsError(f"{sidecar}: does not describe this export of this model; {_REMEDY}")
    require_replaceable(sidecar)
    for name in _names(path, format):
        _require_described(name, (facts.get("files_sha256", {}), facts.get(_REPLACED, {})))
    return sidecar


def _names(path: Path, format: str) -> list[Path]:
    companion = FORMATS[format].companion
    return [path, *([path.with_suffix(companion)] if companion else [])]


def _described(sidecar: Path) -> dict[str, Any]:
    """Return what a file says of an export; nothing where it says nothing of one."""
    if not sidecar.is_file():
        return {}
    try:
        facts = json.loads(sidecar.read_text(encoding="utf-8"))["export"]
        return facts if isinstance(facts["files_sha256"], dict) else {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


def publish(folder: Path, path: Path, sidecar: Path, *, told: Mapping[str, Any]) -> None:
    """Move an export to its place and describe it; of OpenVINO's files the weights come first.

    If it is interrupted, both the old files and the new ones are known as an export of the model.

    Args:
        folder: What was written, on the same disk.
        path: The file or folder of the export; a link stays.
        sidecar: Where to describe it.
        told: The description, with the digests of the files under `export`.

    Raises:
        NotWritten: The system refused.
    """
    told = {**_entries_of_yours(sidecar), **told}
    written = sorted(folder.iterdir())
    places = [Path(os.path.realpath(path.parent / one.name)) for one in written]
    old = {
        file.relative_to(path.parent).as_posix(): sha256(file)
        for one in written
        for file in _files_at(path.parent / one.name)
        if file.is_file()
    }
    write_json(sidecar, {**told, "export": {**told["export"], _REPLACED: old}})
    for one, place in zip(written, places, strict=True):
        with writing(place):
            if place.is_dir():
                os.replace(place, folder / ".replaced")
            os.replace(one, place)
    write_json(sidecar, told)


def _entries_of_yours(sidecar: Path) -> dict[str, Any]:
    """Return what somebody has added to an earlier description, such as notes."""
    try:
        unknown = read_card(sidecar).unknown
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in unknown.items() if name != "export"}


def _files_at(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if not file.is_dir()] if path.is_dir() else [path]


def _require_described(path: Path, known: Sequence[Mapping[str, str]]) -> None:
    """Refuse to replace a file, or a folder with a file in it, that no sidecar describes."""
    for file in _files_at(path):
        name = file.relative_to(path.parent).as_posix()
        digests = {one.get(name) for one in known}
        if file.exists() and not (file.is_file() and sha256(file) in digests):
            raise FileExistsError(
                f"{file}: is not this export of this model, or has been changed since; {_REMEDY}"
            )
        require_replaceable(file)


def _require(packages: tuple[str, ...]) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        extra = EXTRAS.get(missing[0], "engines")
        raise ValueError(
            f"this format needs {' and '.join(missing)}, which is not installed: "
            f'pip install "kerasunet[{extra}]"'
        )
