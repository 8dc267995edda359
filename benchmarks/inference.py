"""Measures inference: engines against what else can run a Keras U-Net, and all around them.

    python benchmarks/inference.py                         # the shipped network, 128 and 256 pixels
    python benchmarks/inference.py --sizes 128 256 512 --rounds 15
    python benchmarks/inference.py --one-core              # on a machine that is busy

All sides work on the same image in one process, in turns, and must agree to 1e-4 before anything
is timed. With `--one-core` everything runs on one core, and what counts is the time of the
processor: what other programs do weighs little. Prints Markdown tables and writes the same figures
as JSON. Needs the extras `engines` and `bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.modules["openvino_telemetry"] = None  # Else converting reports over the network.

import numpy as np  # noqa: E402
from alternating import Timings, alternate  # noqa: E402

from kerasunet import models  # noqa: E402
from kerasunet.files import write_json  # noqa: E402
from kerasunet.processes import processors  # noqa: E402

Side = Callable[[], np.ndarray]
Measure = Callable[[dict[str, Side]], Timings]
LARGEST_DELTA, LARGEST_DELTA_OF_OTHERS = 1e-4, 1e-3
OURS = "kerasunet "
_STRATEGIES = {
    "none": "nothing",
    "deep:1": "dec1",
    "deep:3": ("dec1", "dec2", "dec3"),
    "expanding": "dec",
    "contracting": ("enc", "bottleneck"),
    "shallow:3": ("enc1", "enc2", "enc3"),
    "all": "",
}


def main() -> None:
    options = _options()
    if options.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    clock = time.process_time if options.one_core else time.perf_counter
    measure = partial(alternate, rounds=options.rounds, calls=options.calls, clock=clock)
    # A cache of its own: starts are measured with it empty, and with it full.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        os.environ["KERASUNET_CACHE"] = cache
        figures: dict[str, Any] = {
            "model": options.model,
            "machine": platform.machine(),
            "processors": processors(),
            "clock": "CPU time" if options.one_core else "wall time",
            "starts": measure_starts(options.model),
            "around": measure_around(options.model, measure),
            "radiograph": measure_memory(options.model),
        }
        _start_quietly()
        steps = [measure_step(options.model, size, measure) for size in options.sizes]
        figures |= {"steps": steps, "strategies": measure_strategies(options.model, measure)}
    print(as_markdown(figures))
    write_json(options.json, figures)


def measure_step(name: str, size: int, measure: Measure) -> dict[str, Any]:
    """Time one image through the network, in every way there is."""
    from arithmetic import matrix_product, operations

    model, image = models.load(name), _image(name, size)
    sides = _our_sides(name, image) | _other_sides(model, image)
    deltas = _deltas(sides, model.predict_on_batch(image))
    product, product_operations = matrix_product()
    timings = measure(sides | {"matrix product": product})
    others = [side for side in sides if not side.startswith(OURS)]
    limit = operations(model, (size, size)) * timings.best("matrix product") / product_operations
    return {
        "pixels": size,
        "limit_ms": 1000 * limit,
        "gflop": operations(model, (size, size)) / 1e9,
        "fastest_other": min(others, key=timings.best),
        "auto_against_fastest_other": timings.ratio(f"{OURS}auto", timings.fastest(others)),
        "sides": {side: _row(timings, side, limit, delta=deltas[side]) for side in sides},
    }


def _row(timings: Timings, side: str, limit: float, *, delta: float) -> dict[str, Any]:
    return {
        "best_ms": 1000 * timings.best(side),
        "of_limit": limit / timings.best(side),
        "times_auto": timings.ratio(side, f"{OURS}auto"),
        "max_abs_delta": delta,
    }


def _image(name: str, size: int) -> np.ndarray:
    from kerasunet.data import load, resize_image

    channels = models.card(name).architecture.channels
    drawn = load("simulated-ultrasound:1", size=size).cases[0].load().image
    return resize_image(drawn, (size, size), channels)[None].astype(np.float32)


def _our_sides(name: str, image: np.ndarray) -> dict[str, Side]:
    from kerasunet.inference.engines import installed_engines, open_engine

    engines = ["auto", *installed_engines()]
    opened = {OURS + engine: open_engine(name, image.shape[1:3], engine) for engine in engines}
    return {side: (lambda engine=engine: engine(image)) for side, engine in opened.items()}


def _other_sides(model, image: np.ndarray) -> dict[str, Side]:
    """Each runtime as one would use it without this package, from the same Keras model."""
    import tensorflow as tf
    from torch_unet import torch_side

    graph = tf.function(lambda x: model(x, training=False))
    compiled = tf.function(lambda x: model(x, training=False), jit_compile=True)
    return {
        "model.predict": lambda: model.predict(image, verbose=0),
        "predict_on_batch": lambda: model.predict_on_batch(image),
        "tf.function": lambda: graph(image).numpy(),
        "XLA": lambda: compiled(image).numpy(),
        "OpenVINO": _openvino(model, image),
        "ONNX Runtime": _onnx(model, image),
        "LiteRT": _litert(model, image),
        "PyTorch": torch_side(model, image),
    }


def _openvino(model, image: np.ndarray) -> Side:
    import openvino

    path = _exported(model, "openvino", "model.xml", shape=image.shape)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()

    def run() -> np.ndarray:
        request.infer([image], share_inputs=True, share_outputs=True)
        return request.get_output_tensor().data

    return run


def _onnx(model, image: np.ndarray) -> Side:
    import onnxruntime

    path = _exported(model, "onnx", "model.onnx", shape=image.shape)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processors()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: image})[0]


def _litert(model, image: np.ndarray) -> Side:
    from ai_edge_litert.interpreter import Interpreter

    path = _exported(model, "litert", "model.tflite", shape=image.shape)
    interpreter = Interpreter(str(path), num_threads=processors())
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    given = interpreter.get_output_details()[0]["index"]

    def run() -> np.ndarray:
        interpreter.set_tensor(taken, image)
        interpreter.invoke()
        return interpreter.get_tensor(given)

    return run


def _exported(model, format: str, name: str, *, shape: tuple[int, ...]) -> Path:
    """Keras' own export of the whole network, in the cache folder, which ends with this run."""
    import keras

    path = Path(os.environ["KERASUNET_CACHE"]) / f"{shape[1]}-{name}"
    signature = [keras.InputSpec(shape=shape, dtype="float32", name="image")]
    fixed = {"experimental_enable_resource_variables": False} if format == "litert" else {}
    model.export(str(path), format=format, verbose=False, input_signature=signature, **fixed)
    return path


def _largest_delta(side: str) -> float:
    """Ours are held to more: the rounding of others, such as XLA's, grows with the image."""
    return LARGEST_DELTA if side.startswith(OURS) else LARGEST_DELTA_OF_OTHERS


def _deltas(sides: dict[str, Side], wanted: np.ndarray) -> dict[str, float]:
    deltas = {name: float(np.abs(np.asarray(run()) - wanted).max()) for name, run in sides.items()}
    apart = {name: delta for name, delta in deltas.items() if not delta <= _largest_delta(name)}
    if apart:
        raise ValueError(f"these sides do other work, their outputs differ: {apart}")
    return deltas


def measure_strategies(name: str, measure: Measure) -> dict[str, Any]:
    """Time strategies of one pre-trained model: each by itself, and all side by side."""
    from kerasunet.inference.engines import NetworkSource, open_engine

    size = models.card(name).image_size
    image = _image(name, size)
    sources = {strategy: NetworkSource.of(_tuned(name, strategy)) for strategy in _STRATEGIES}
    engines = {strategy: open_engine(source, (size, size)) for strategy, source in sources.items()}
    groups = {
        "none, deep:1": ("none", "deep:1"),
        "none, deep:1, deep:3, expanding": ("none", "deep:1", "deep:3", "expanding"),
        "contracting, shallow:3, all": ("contracting", "shallow:3", "all"),
        "all seven": tuple(_STRATEGIES),
    }
    return {
        label: _against_separate(
            [engines[strategy] for strategy in group],
            open_engine(
                NetworkSource.of_many([sources[strategy] for strategy in group]), (size, size)
            ),
            image,
            measure=measure,
        )
        for label, group in groups.items()
    }


def _against_separate(engines: list, joined, image: np.ndarray, *, measure: Measure) -> dict:
    separate = lambda: np.concatenate([engine(image) for engine in engines], -1)  # noqa: E731
    sides = {"separate": separate, "side by side": lambda: joined(image)}
    _deltas(sides, separate())
    timings = measure(sides)
    return {
        "strategies": len(engines),
        "separate_ms": 1000 * timings.best("separate"),
        "side_by_side_ms": 1000 * timings.best("side by side"),
        "ratio": timings.ratio("side by side", "separate"),
    }


def _tuned(name: str, strategy: str):
    """Return the network with other weights where the strategy trains; values cost no time."""
    model = models.load(name)
    rng = np.random.default_rng(len(strategy))
    for layer in model.layers:
        if layer.weights and layer.name.startswith(_STRATEGIES[strategy]):
            kernel, *others = layer.get_weights()
            layer.set_weights([kernel * rng.uniform(0.99, 1.01, kernel.shape), *others])
    return model


def measure_around(name: str, measure: Measure) -> dict[str, Any]:
    """Time what surrounds the network, from a PNG of 512×512 pixels to a mask of that size."""
    from kerasunet import Segmenter
    from kerasunet.data import load
    from kerasunet.drawing import write_png

    segment = Segmenter(name)
    picture = load("simulated-ultrasound:1", size=512).cases[0].load().image
    size, channels = models.card(name).image_size, models.card(name).architecture.channels
    network_input = np.zeros((1, size, size, channels), np.float32)
    folder = Path(os.environ["KERASUNET_CACHE"])
    image, mask = folder / "image.png", folder / "mask.png"
    write_png(image, picture.astype(np.uint8))
    found = segment(image)
    sides = {
        "file to mask in memory": lambda: segment(image),
        "network alone": lambda: segment._engine(network_input),
        "writing the mask": lambda: write_png(mask, found.mask),
    }
    timings = measure(sides)
    best = {f"{side}, ms": 1000 * timings.best(side) for side in sides}
    around = best["file to mask in memory, ms"] - best["network alone, ms"]
    return {
        **best,
        "around the network, ms": around,
        "and writing the mask, ms": around + best["writing the mask, ms"],
    }


_START = """
import json, sys, time
started = time.perf_counter()
import numpy
from kerasunet import Segmenter
segment = Segmenter(sys.argv[1], engine=sys.argv[2])
segment(numpy.zeros((64, 64), numpy.uint8))
print(json.dumps(time.perf_counter() - started))
"""
_MEMORY = """
import json, sys, cv2, numpy, psutil
from kerasunet import Segmenter
rng = numpy.random.default_rng(0)
small = rng.integers(0, 65536, (62, 77), dtype=numpy.uint16)
path = sys.argv[2] + "/radiograph.png"
if sys.argv[3] == "draw":
    cv2.imwrite(path, cv2.resize(small, (4892, 4020), interpolation=cv2.INTER_CUBIC))
    Segmenter(sys.argv[1], tile=512)
    sys.exit()
segment = Segmenter(sys.argv[1], tile=512)
segment(numpy.zeros((64, 64)))
idle = psutil.Process().memory_info().rss
segment(path)
status = open("/proc/self/status").read().split()
peak = int(status[status.index("VmHWM:") + 1]) * 1024
print(json.dumps({"idle_mb": idle / 1e6, "above_idle_mb": (peak - idle) / 1e6}))
"""


def measure_starts(name: str) -> dict[str, Any]:
    """Seconds from nothing imported to a first mask, with the cache empty and full."""
    from kerasunet.inference.engines import installed_engines

    return {
        engine: {state: float(_in_process(_START, name, engine)) for state in ("empty", "full")}
        for engine in installed_engines()
    }


def measure_memory(name: str) -> dict[str, float]:
    """Memory of a radiograph of 4,892×4,020 pixels and 16 bits in tiles of 512."""
    folder = os.environ["KERASUNET_CACHE"]
    _in_process(_MEMORY, name, folder, "draw")
    return json.loads(_in_process(_MEMORY, name, folder, "measure"))


def _in_process(code: str, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def as_markdown(figures: dict[str, Any]) -> str:
    """Draws the tables."""
    parts = [_step_table(step, figures) for step in figures["steps"]]
    parts += [
        _table(
            "comparing strategies",
            ("separately", "side by side", "ratio"),
            {
                label: (
                    f"{row['separate_ms']:.1f} ms",
                    f"{row['side_by_side_ms']:.1f} ms",
                    _spread(row["ratio"]),
                )
                for label, row in figures["strategies"].items()
            },
        ),
        _table(
            "start to first mask, wall time",
            ("cache empty", "cache full"),
            {
                engine: (f"{row['empty']:.1f} s", f"{row['full']:.1f} s")
                for engine, row in figures["starts"].items()
            },
        ),
        _table(
            "512×512 PNG, and a large radiograph in tiles",
            ("",),
            {
                **{label: (f"{value:.1f}",) for label, value in figures["around"].items()},
                **{
                    f"radiograph, {label.replace('_mb', '').replace('_', ' ')}, MB": (
                        f"{value:.0f}",
                    )
                    for label, value in figures["radiograph"].items()
                },
            },
        ),
    ]
    return "\n\n".join(parts)


def _step_table(step: dict[str, Any], figures: dict[str, Any]) -> str:
    title = f"one image of {step['pixels']}×{step['pixels']}, {figures['processors']} core(s)"
    rows = {
        side: (
            f"{row['best_ms']:.1f} ms",
            _spread(row["times_auto"]),
            f"{row['of_limit']:.0%}",
            f"{row['max_abs_delta']:.0e}",
        )
        for side, row in sorted(step["sides"].items(), key=lambda item: item[1]["best_ms"])
    }
    table = _table(
        title, (f"fastest, {figures['clock']}", "÷ ours, auto", "of the limit", "max delta"), rows
    )
    return (
        f"{table}\n\n{step['gflop']:.2f} GFLOP; at the peak of a matrix product "
        f"{step['limit_ms']:.1f} ms. Ours, auto, over the fastest other of each round: "
        f"{_spread(step['auto_against_fastest_other'])}."
    )


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})"


def _table(title: str, columns: tuple[str, ...], rows: dict[str, tuple[str, ...]]) -> str:
    lines = [" | ".join(("", title, *columns, "")).strip()]
    lines.append("|---" * (1 + len(columns)) + "|")
    lines += [" | ".join(("", label, *cells, "")).strip() for label, cells in rows.items()]
    return "\n".join(lines)


def _start_quietly() -> None:
    from kerasunet.backend import start_backend

    start_backend()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="natural", help="a saved model's name or .keras file (natural)")
    add("--sizes", type=int, nargs="+", default=[128, 256], help="height and width (128 256)")
    add("--rounds", type=int, default=9, help="rounds (9)")
    add("--calls", type=int, default=5, help="timed calls of a side in a round (5)")
    add("--one-core", action="store_true", help="one core, CPU time")
    add("--json", type=Path, default=Path("runs/benchmark-inference.json"), help="where JSON goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
