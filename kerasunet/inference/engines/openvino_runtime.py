"""OpenVINO: what is kept is the network as compiled for this processor."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import openvino

if TYPE_CHECKING:
    import keras


# On processors that have bfloat16 OpenVINO would compute in it, and differ by some percent.
SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
DEVICE = "CPU"


@cache
def core() -> openvino.Core:
    """Return the one OpenVINO runtime of this process."""
    return openvino.Core()


def version() -> str:
    """Return the version of OpenVINO and the processor."""
    return f"{openvino.__version__} {core().get_property(DEVICE, 'FULL_DEVICE_NAME')}"


def graph_of(model: keras.Model, size: tuple[int, int] | None = None) -> openvino.Model:
    """Return a folded network as OpenVINO's graph, for images of one size or of any."""
    from kerasunet.inference.engines.onnx_graph import to_onnx

    return core().read_model(to_onnx(model, size).SerializeToString())


def convert(model: keras.Model, shape: tuple[int, int, int]) -> bytes:
    """Compile a folded network for one image of this shape."""
    graph = graph_of(model, shape[:2])
    return core().compile_model(graph, DEVICE, SETTINGS).export_model().getvalue()


def load(made: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Open what `convert` made."""
    return running(core().import_model(io.BytesIO(made), DEVICE, SETTINGS))


def running(compiled: openvino.CompiledModel) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that runs a compiled network on one image."""
    request = compiled.create_infer_request()

    def run(image: np.ndarray) -> np.ndarray:
        request.infer([image], share_inputs=True, share_outputs=True)
        return request.get_output_tensor().data.copy()

    return run
