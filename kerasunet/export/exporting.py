"""Exports a saved model: write, run, compare with Keras, and only then give it its name."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kerasunet import zoo
from kerasunet.export.formats import EXTRAS, FORMATS
from kerasunet.export.images import Images
from kerasunet.files import sha256, write_json

_VERSIONS_OF = ("kerasunet", "keras", "tensorflow", "onnx", "onnxruntime", "openvino", "nncf")


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        path: The file or folder.
        sidecar: The JSON beside it: the model's card, and `export` with what follows.
        comparison: What `kerasunet.export.checking.compared` measured.
    """

    path: Path
    sidecar: Path
    comparison: dict[str, Any]


def check_request(format: str, path: Path, int8: bool) -> None:
    """Checks what can be checked before anything heavy is imported.

    Raises:
        FileExistsError: The path is a folder that is no SavedModel.
        ValueError: There is no such format, it has no eight-bit variant, a package that it needs is
            not installed, or the path's suffix is another one.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    facts = FORMATS[format]
    if int8 and facts.int8_packages is None:
        able = [name for name, one in FORMATS.items() if one.int8_packages is not None]
        raise ValueError(f"eight bits are for {' and '.join(able)}, not for {format}")
    if facts.suffix and path.suffix != facts.suffix:
        raise ValueError(f"{path}: the name of this format's file ends in {facts.suffix}")
    if path.is_dir() and (facts.suffix or not (path / "saved_model.pb").is_file()):
        raise FileExistsError(f"{path}: a folder that this would not replace is in the way")
    _require((*facts.packages, *(facts.int8_packages or () if int8 else ())))


def export(
    model: str | os.PathLike, format: str, path: Path, images: Images, int8: bool = False
) -> Export:
    """Exports a saved model and checks the result against Keras.

    Args:
        model: Name of a registered model or path of a `.keras` file.
        format: One of `FORMATS`.
        path: The file to write, or the folder of a SavedModel; an older one is replaced.
        images: What to check with, and for `int8` what to calibrate with.
        int8: Weights and activations in eight bits, for `"openvino"` and `"litert"`.

    Returns:
        The export.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        FileExistsError: See `check_request`.
        ValueError: See `check_request`; or the model cannot be trusted or loaded; or, in float32,
            a probability differs from that of Keras by more than 1e-4. Nothing is written then.
    """
    check_request(format, path, int8)
    card = zoo.card(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        comparison = _write_and_compare(model, format, temporary, images, card, int8)
        files = _digests(Path(folder))
        _publish(Path(folder), path)
    facts = {
        "format": format,
        "int8": int8,
        "source_sha256": zoo.digest(model),
        "files_sha256": files,
        "image_size": None if FORMATS[format].any_size and not int8 else card["image_size"],
        "checked_on": images.data,
        "calibration_images": len(images.calibration) if int8 else 0,
        **comparison,
        "versions": _versions(),
    }
    sidecar = path.parent / f"{path.stem}.json"
    write_json(sidecar, {**card, "export": facts})
    return Export(path, sidecar, comparison)


def _write_and_compare(
    model: str | os.PathLike, format: str, path: Path, images: Images, card: dict, int8: bool
) -> dict[str, Any]:
    from kerasunet.export.checking import LARGEST_DELTA, compared
    from kerasunet.export.quantizing import write_int8
    from kerasunet.export.running import opened
    from kerasunet.export.writing import write

    loaded = zoo.load(model)
    if int8:
        write_int8(loaded, format, path, images.calibration)
    else:
        write(loaded, format, path, card["image_size"])
    comparison = compared(loaded, opened(format, path), images.checking, card["threshold"])
    if not int8 and not comparison["max_abs_delta"] <= LARGEST_DELTA:
        raise ValueError(
            f"{path.name}: a probability differs from Keras by {comparison['max_abs_delta']:.2g}, "
            f"more than {LARGEST_DELTA:g}; nothing was written"
        )
    return comparison


def _publish(folder: Path, path: Path) -> None:
    """Moves what was written to its place; of OpenVINO's two files the weights come first."""
    if path.is_dir():
        shutil.rmtree(path)
    for written in sorted(folder.iterdir()):
        os.replace(written, path.parent / written.name)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def _require(packages: tuple[str, ...]) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        extra = EXTRAS.get(missing[0], "engines")
        raise ValueError(
            f"this format needs {' and '.join(missing)}, which is not installed: "
            f'pip install "kerasunet[{extra}]"'
        )


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS_OF:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
