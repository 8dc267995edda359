"""Saved models for other runtimes, each checked against Keras before it gets its name.

This module imports no runtime; `kerasunet.inference.export_formats` writes and opens the files.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from kerasunet import models
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode
from kerasunet.data.loading import require_one_code
from kerasunet.files import sha256, write_json
from kerasunet.inference.export_requests import FORMATS, check_request, sidecar_of

CALIBRATION_IMAGES = 32
_LARGEST_DELTA = 1e-4
_VERSIONS_OF = ("kerasunet", "keras", "tensorflow", "onnx", "onnxruntime", "openvino", "nncf")


@dataclass(frozen=True)
class Images:
    """Images of one data set; none is used for both calibration and checking.

    Attributes:
        data: Name of the data set.
        checking: Cases to compare Keras and the exported network on.
        calibration: Uint8, `(count, height, width, channels)`; empty unless eight bits need them.
    """

    data: str
    checking: DecodedCases
    calibration: np.ndarray

    @classmethod
    def of(cls, data: DataSet, size: int, *, channels: int, count: int, calibrate: bool) -> Images:
        """Read cases that are spread evenly over the data set.

        Args:
            data: The data set.
            size: Height and width of the network's images in pixels.
            channels: Channels of the network's images.
            count: Largest number of cases to check on.
            calibrate: Whether up to 32 others are needed for calibration as well.

        Raises:
            ValueError: Files could not be used, or the data set has too few cases.
        """
        wanted = count + CALIBRATION_IMAGES * calibrate
        if len(data) < 1 + calibrate:
            raise ValueError(f"{data.name}: calibration and check need at least two cases")
        cases = data.cases[:: max(1, len(data) // wanted)][:wanted]
        share = min(CALIBRATION_IMAGES, len(cases) // 2) if calibrate else 0
        # Those for calibration are spread evenly as well, and so are the rest.
        chosen = set(np.linspace(0, len(cases) - 1, share).round().astype(int).tolist())
        rest = [case for index, case in enumerate(cases) if index not in chosen]
        require_one_code(cases)
        calibration = decode([cases[index] for index in sorted(chosen)], (size, size), channels)
        return cls(data.name, decode(rest[:count], (size, size), channels), calibration.images)


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        path: The file or folder.
        sidecar: The JSON beside it: the model's card, and `export` with what follows.
        comparison: What `kerasunet.inference.export_formats.compare` measured.
    """

    path: Path
    sidecar: Path
    comparison: dict[str, Any]


def export(
    model: str | os.PathLike,
    format: str,
    path: str | os.PathLike,
    *,
    images: Images,
    int8: bool = False,
) -> Export:
    """Export a saved model and check the result against Keras.

    Args:
        model: Name of a registered model or path of a `.keras` file.
        format: One of `FORMATS`.
        path: The file to write, or the folder of a SavedModel; an earlier export of the same model
            is replaced.
        images: The images to check with and, for `int8`, to calibrate with.
        int8: Weights and activations in eight bits, for `"openvino"` and `"litert"`.

    Returns:
        The export.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        FileExistsError: See `kerasunet.inference.export_requests.sidecar_of`.
        ValueError: See `check_request`; or the model cannot be trusted or loaded; or, in float32,
            a probability differs from Keras by more than 1e-4. Then nothing is written.
    """
    path = Path(path)
    check_request(format, path, int8)
    card, source = models.card(model), models.digest(model)
    sidecar_of(path, format, int8, source=source)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        comparison = _write_and_compare(
            model, format, temporary, images=images, card=card, int8=int8
        )
        facts = {
            "format": format,
            "int8": int8,
            "source_sha256": source,
            "files_sha256": _digests(Path(folder)),
            "image_size": None if FORMATS[format].any_size and not int8 else card.image_size,
            "checked_on": images.data,
            "calibration_images": len(images.calibration) if int8 else 0,
            **comparison,
            "versions": _versions(),
        }
        sidecar = sidecar_of(path, format, int8, source=source)
        # Last comes what a start after a kill would take for something of the user's.
        write_json(sidecar, {**card.to_json(), "export": facts})
        _publish(Path(folder), path)
    return Export(path, sidecar, comparison)


def _write_and_compare(
    model: str | os.PathLike,
    format: str,
    path: Path,
    *,
    images: Images,
    card: models.ModelCard,
    int8: bool,
) -> dict[str, Any]:
    from kerasunet.inference import export_formats as formats  # Imports Keras.

    loaded = models.load(model)
    if int8:
        formats.write_int8(loaded, format, path, images=images.calibration)
    else:
        formats.write(loaded, format, path, size=card.image_size)
    exported = formats.open_exported(format, path)
    comparison = formats.compare(
        loaded, exported, images.checking, threshold=card.threshold, objects=card.marked
    )
    if not int8 and not comparison["max_abs_delta"] <= _LARGEST_DELTA:
        raise ValueError(
            f"{path.name}: a probability differs from Keras by {comparison['max_abs_delta']:.2g}, "
            f"more than {_LARGEST_DELTA:g}; nothing was written"
        )
    return comparison


def _publish(folder: Path, path: Path) -> None:
    """Move what was written to its place; of OpenVINO's two files the weights come first."""
    written = sorted(folder.iterdir())
    if path.is_dir():
        os.replace(path, folder / ".replaced")
    for one in written:
        os.replace(one, path.parent / one.name)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS_OF:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
