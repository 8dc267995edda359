"""The formats, as plain facts: names, suffixes, and what they need. Imports no runtime."""

from __future__ import annotations

from dataclasses import dataclass


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
    "onnx": Format(".onnx", True, "ONNX Runtime and most others", ("onnx", "onnxruntime")),
    "openvino": Format(".xml", True, "OpenVINO on Intel and AMD", ("onnx", "openvino"), ("nncf",)),
    "litert": Format(".tflite", False, "LiteRT on phones and boards", ("ai_edge_litert",), ()),
    "h5": Format(".h5", True, "older Keras, one HDF5 file"),
}
EXTRAS = {"nncf": "int8"}
