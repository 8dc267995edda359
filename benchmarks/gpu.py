"""Measures training and inference on one GPU, on JAX and PyTorch, beside other packages' U-Nets.

    python benchmarks/gpu.py                 # 64 filters, 256 x 256 pixels, bfloat16
    python benchmarks/gpu.py --filters 16 --side 128

Every backend of Keras has a process of its own; PyTorch's also times MONAI's and
segmentation_models.pytorch's U-Nets of the same width, channels last, by `autocast` and by
`torch.compile`, where they are installed. Batches come from main memory, as in a training. The peak
is that of a product of two large matrices in bfloat16, measured in the same process. Latency is
that of one image, from and to main memory. Prints a Markdown table and writes the same figures as
JSON. Without a GPU, everything runs on the processor, and the table says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from alternating import timed  # noqa: E402

from kerasunet.architecture import Architecture  # noqa: E402
from kerasunet.files import read_json, write_json  # noqa: E402

BACKENDS = ("jax", "torch")
HEADS = ("network", "on", "images/s", "TFLOP/s", "of the peak", "one image, ms")
Step = Callable[[], object]


def main() -> int:
    options = _options()
    if options.backend:
        write_json(options.json, _measured(options))
        return 0
    rows, told = [], None
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            print(f"left out, {backend}: not installed", file=sys.stderr)
            continue
        told = _in_own_process(backend, options.json.with_suffix(f".{backend}.json"))
        rows += told["rows"]
    if told is None:
        print("neither JAX nor PyTorch is installed", file=sys.stderr)
        return 2
    figures = {**told, "rows": rows}
    write_json(options.json, figures)
    print(as_markdown(figures))
    return 0


def _in_own_process(backend: str, result: Path) -> dict[str, Any]:
    """Measure one backend, and return its figures; a backend cannot be changed within a process."""
    result.parent.mkdir(parents=True, exist_ok=True)
    words = [*sys.argv[1:], "--backend", backend, "--json", str(result)]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    subprocess.run([sys.executable, __file__, *words], env=environment, check=True)
    figures = read_json(result)
    result.unlink()
    return figures


def as_markdown(figures: dict[str, Any]) -> str:
    """Return the table, with what it was measured on above it."""
    side, precision = figures["side"], figures["precision"]
    lines = [
        f"{figures['device']}, {figures['filters']} filters, {side}×{side} pixels, batches of "
        f"{figures['batch']}, {precision}",
        "",
        f"| {' | '.join(HEADS)} |",
        "|---" * len(HEADS) + "|",
    ]
    for row in figures["rows"]:
        work = (f"{row[key]:{form}}" if row[key] else "" for key, form in _FORMS.items())
        lines.append(f"| {row['network']} | {row['on']} | {' | '.join(work)} |")
    return "\n".join(lines)


_FORMS = {"images": ".0f", "teraflops": ".1f", "share": ".0%", "latency": ".2f"}


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    from kerasunet.backend import start_backend

    start_backend()
    device, peak = _PEAKS[options.backend](options.product)
    rng = np.random.default_rng(0)
    shape = (options.batch, options.side, options.side, 1)
    images = rng.uniform(0, 255, shape).astype(np.float32)
    batch = images, (images > 200).astype(np.float32)
    sides = {"kerasunet": _ours(options, batch)}
    if options.backend == "torch":
        sides |= _peers(options, batch, "cuda" if device != "cpu" else "cpu")
    costs = Architecture(base_filters=options.filters).costs(options.side)
    operations = 2 * costs.step_cost(costs.layout.weights, batch_size=1).total
    rows = []
    for name, (step, predict) in sides.items():
        seconds = _median(step, options.steps) / options.batch
        speed = operations / seconds if name == "kerasunet" else 0
        rows.append(
            {
                "network": name,
                "on": options.backend,
                "images": 1 / seconds,
                "teraflops": speed / 1e12,
                "share": speed / peak,
                "latency": 1000 * _median(predict, options.steps),
            }
        )
    known = ("filters", "side", "batch", "precision")
    return {"device": device, "rows": rows, **{name: getattr(options, name) for name in known}}


def _median(work: Step, count: int) -> float:
    """Return the median seconds of a call, after three that compile and warm up."""
    for _ in range(3):
        work()
    return statistics.median(timed(work) for _ in range(count))


def _ours(options: argparse.Namespace, batch) -> tuple[Step, Step]:
    """Return a step of training as `train` takes it, and the segmentation of one image."""
    from kerasunet.backend import prepared_backend
    from kerasunet.training.learner import learner_of
    from kerasunet.training.optimizer import compile_for_training
    from kerasunet.training.settings import Optimization

    optimization = Optimization(steps=1000, precision=options.precision)
    with prepared_backend(**optimization.computation):
        model = Architecture(base_filters=options.filters).build()
        compile_for_training(model, optimization)
        learner = learner_of(model)

    def step() -> None:
        values = learner.train_on_batch(*batch, return_dict=True)
        for value in values.values():
            float(value)

    return step, partial(model.predict_on_batch, batch[0][:1])


def _peers(options: argparse.Namespace, batch, device: str) -> dict[str, tuple[Step, Step]]:
    """U-Nets of other packages of the same width; those not installed are left out."""
    import torch
    from torch_training import training_step

    bfloat16 = options.precision != "float32"
    sides = {}
    for name, make in _networks(options.filters):
        for how, prepared in (("autocast", _as_it_is), ("compiled", torch.compile)):
            network = prepared(make().to(device))
            step = training_step(network, batch, device=device, bfloat16=bfloat16)
            image = np.ascontiguousarray(batch[0][:1]).transpose(0, 3, 1, 2)
            predict = partial(_predict, network, image, device, bfloat16=bfloat16)
            sides[f"{name}, {how}"] = step, predict
    return sides


def _as_it_is(network):
    return network


def _predict(network, image: np.ndarray, device: str, *, bfloat16: bool) -> np.ndarray:
    import torch

    network.eval()
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bfloat16):
        return network(torch.from_numpy(image).to(device)).float().cpu().numpy()


def _networks(width: int) -> Iterator[tuple[str, Callable]]:
    try:
        from torch_training import monai_networks

        for name in monai_networks(width):
            yield name, lambda name=name: monai_networks(width)[name]
    except ImportError as error:
        print(f"left out: {error}", file=sys.stderr)
    try:
        from torch_training import smp_network

        smp_network(width)
        yield "smp Unet, ResNet-18", partial(smp_network, width)
    except ImportError as error:
        print(f"left out: {error}", file=sys.stderr)


def _peak_of_jax(side: int) -> tuple[str, float]:
    """Return the device and how many operations a second a matrix product reaches there."""
    import jax

    left, right = jax.random.normal(jax.random.key(0), (2, side, side), "bfloat16")
    product = jax.jit(jax.numpy.matmul)
    seconds = _median(lambda: product(left, right).block_until_ready(), 10)
    return jax.devices()[0].device_kind, 2 * side**3 / seconds


def _peak_of_torch(side: int) -> tuple[str, float]:
    import torch

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    left, right = torch.randn((2, side, side), device=device).to(torch.bfloat16)

    def work() -> None:
        left @ right
        if on_gpu:
            torch.cuda.synchronize()

    seconds = _median(work, 10)
    return torch.cuda.get_device_name() if on_gpu else "cpu", 2 * side**3 / seconds


_PEAKS = {"jax": _peak_of_jax, "torch": _peak_of_torch}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--filters", type=int, default=64, help="(64)")
    add("--side", type=int, default=256, help="(256)")
    add("--batch", type=int, default=16, help="(16)")
    add("--steps", type=int, default=30, help="timed calls, of which the median counts (30)")
    add("--product", type=int, default=8192, help="side of the matrices of the peak (8192)")
    add("--precision", default="mixed_bfloat16", choices=("float32", "mixed_bfloat16"))
    add("--json", type=Path, default=Path("runs/benchmark-gpu.json"))
    add("--backend", default="", choices=("", *BACKENDS), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
