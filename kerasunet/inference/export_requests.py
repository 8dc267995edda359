"""What can be asked of an export: the formats there are, and what each of them needs.

Nothing heavy is imported here, so that `--help` and wrong requests are answered at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

EXTRAS = {"nncf": "int8"}


@dataclass(frozen=True)
class Format:
    """A format that models are exported to.

    Attributes:
        suffix: What the file's name ends in; empty for a folder.
        any_size: Whether the exported network takes images of any size, and any number of them.
        purpose: What it is for.
        packages: Modules that writing and checking need, beside TensorFlow.
        int8_packages: Modules that eight-bit weights need; `None` where there are none.
    """

    suffix: str
    any_size: bool
    purpose: str
    packages: tuple[str, ...] = ()
    int8_packages: tuple[str, ...] | None = None


FORMATS = {
    "savedmodel": Format("", True, "TensorFlow, TensorFlow Serving"),
    "onnx": Format(".onnx", True, "ONNX Runtime and most others", packages=("onnx", "onnxruntime")),
    "openvino": Format(
        ".xml",
        True,
        "OpenVINO on Intel and AMD",
        packages=("onnx", "openvino"),
        int8_packages=("nncf",),
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
        FileExistsError: The path is a folder that is not a SavedModel.
        ValueError: There is no such format, it has no eight-bit variant, a package that it needs is
            not installed, or the path has a different suffix.
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
        raise FileExistsError(
            f"{path}: a folder that is not a SavedModel; remove it or give another path"
        )
    _require((*facts.packages, *(facts.int8_packages or () if int8 else ())))


def _require(packages: tuple[str, ...]) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        extra = EXTRAS.get(missing[0], "engines")
        raise ValueError(
            f"this format needs {' and '.join(missing)}, which is not installed: "
            f'pip install "kerasunet[{extra}]"'
        )
