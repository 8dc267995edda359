"""The engines' runtimes: how each converts a network, and opens what was kept on disk.

Each library is imported where its runtime is used, as none of them has to be installed.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kerasunet.processes import processors

if TYPE_CHECKING:
    import keras
    import openvino

Run = Callable[[np.ndarray], np.ndarray]
"""Maps one image, float32, `(1, height, width, channels)`, to its probabilities."""


class Runtime(Protocol):
    """What runs a network in place of Keras."""

    def version(self) -> str:
        """Return the version of the library; what another version converted is converted anew."""
        ...

    def convert(self, model: keras.Model, shape: tuple[int, int, int]) -> bytes:
        """Return a folded network for one image of this shape, as it is kept on disk."""
        ...

    def load(self, made: bytes) -> Run:
        """Open what `convert` made."""
        ...


class OpenVINO:
    """OpenVINO: what is kept is the network as compiled for this processor."""

    DEVICE = "CPU"
    # On processors that have bfloat16 OpenVINO would compute in it, and differ by some percent.
    SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}

    def version(self) -> str:
        """Return the version of OpenVINO and the processor."""
        import openvino

        return f"{openvino.__version__} {self.core().get_property(self.DEVICE, 'FULL_DEVICE_NAME')}"

    def convert(self, model: keras.Model, shape: tuple[int, int, int]) -> bytes:
        """Compile a folded network for one image of this shape."""
        return self._compiled(self.graph_of(model, shape[:2])).export_model().getvalue()

    def load(self, made: bytes) -> Run:
        """Open what `convert` made."""
        return self._running(self.core().import_model(io.BytesIO(made), self.DEVICE, self.SETTINGS))

    def open(self, path: Path) -> Run:
        """Open a graph that was written to a file."""
        return self._running(self._compiled(self.core().read_model(path)))

    def graph_of(self, model: keras.Model, size: tuple[int, int] | None = None) -> openvino.Model:
        """Return a folded network as OpenVINO's graph, for images of one size or of any."""
        from kerasunet.inference.onnx_graph import to_onnx

        return self.core().read_model(to_onnx(model, size).SerializeToString())

    @staticmethod
    @cache
    def core() -> openvino.Core:
        """Return the one OpenVINO runtime of this process."""
        import openvino

        return openvino.Core()

    def _compiled(self, graph: openvino.Model) -> openvino.CompiledModel:
        return self.core().compile_model(graph, self.DEVICE, self.SETTINGS)

    @staticmethod
    def _running(compiled: openvino.CompiledModel) -> Run:
        request = compiled.create_infer_request()

        def run(image: np.ndarray) -> np.ndarray:
            request.infer([image], share_inputs=True, share_outputs=True)
            return request.get_output_tensor().data.copy()

        return run


class ONNXRuntime:
    """ONNX Runtime: what is kept is the network as an ONNX model."""

    def version(self) -> str:
        """Return the version of ONNX Runtime."""
        import onnxruntime

        return onnxruntime.__version__

    def convert(self, model: keras.Model, shape: tuple[int, int, int]) -> bytes:
        """Write a folded network for one image of this shape."""
        from kerasunet.inference.onnx_graph import to_onnx

        return to_onnx(model, shape[:2]).SerializeToString()

    def load(self, made: bytes) -> Run:
        """Open what `convert` made."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = processors()
        session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda image: session.run(None, {name: image})[0]


class LiteRT:
    """LiteRT (formerly TensorFlow Lite): what is kept is the network as a `.tflite` model."""

    def version(self) -> str:
        """Return the version of LiteRT."""
        return installed_version("ai-edge-litert")

    def convert(self, model: keras.Model, shape: tuple[int, int, int], **settings) -> bytes:
        """Write a folded network for one image of this shape.

        Args:
            model: The network.
            shape: Height, width and channels.
            settings: Attributes of TensorFlow's converter, such as `optimizations`.

        Raises:
            ValueError: Keras runs on a backend other than TensorFlow.
        """
        import keras

        backend = keras.backend.backend()
        if backend != "tensorflow":
            raise ValueError(f"LiteRT models are made on Keras' TensorFlow backend, not {backend}")
        signature = [keras.InputSpec(shape=(1, *shape), dtype="float32", name="image")]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            model.export(
                path,
                format="litert",
                verbose=False,
                input_signature=signature,
                experimental_enable_resource_variables=False,
                **settings,
            )
            return path.read_bytes()

    def load(self, made: bytes) -> Run:
        """Open what `convert` made."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=made, num_threads=processors())
        interpreter.allocate_tensors()
        taken = interpreter.get_input_details()[0]["index"]
        given = interpreter.get_output_details()[0]["index"]

        def run(image: np.ndarray) -> np.ndarray:
            interpreter.set_tensor(taken, image)
            interpreter.invoke()
            return interpreter.get_tensor(given)

        return run


RUNTIMES: dict[str, Runtime] = {"openvino": OpenVINO(), "onnx": ONNXRuntime(), "litert": LiteRT()}
"""By name of the engine."""
