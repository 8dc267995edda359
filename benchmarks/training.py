"""Measures a training step of every kind of strategy, against plain Keras and PyTorch networks.

    python benchmarks/training.py               # the shipped network, batches of 8
    python benchmarks/training.py --one-core    # on a machine that is busy

All sides work on the same images in one process, in turns. Before anything is timed, PyTorch must
give the network's output to 1e-4, and a step on kept activations the loss of a step without them.
U-Nets of MONAI, segmentation_models.pytorch and keras-unet-collection take part where they are
installed. The limit is the arithmetic of a step at the speed of a matrix product. Prints a Markdown
table and writes the same figures as JSON. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from alternating import Timings, alternate  # noqa: E402

from kerasunet.architecture import NetworkCosts  # noqa: E402
from kerasunet.files import write_json  # noqa: E402
from kerasunet.processes import processors  # noqa: E402
from kerasunet.strategies import NetworkLayout, parse  # noqa: E402

Side = Callable[[], object]
BASE = "all"
STRATEGIES = (
    *("all", "contracting", "expanding", "shallow:1", "shallow:2", "shallow:3", "shallow:4"),
    *("shallow:6", "shallow:7", "shallow:8", "deep:1", "deep:2", "deep:3", "deep:5", "deep:6"),
    *("deep:7", "deep:8", "head"),
)
KEPT = ("expanding", "deep:1", "deep:2", "deep:3", "deep:5", "deep:6", "deep:7", "deep:8", "head")
_IMAGES, _VIEWS, _WIDTH = 16, 1, 16
_PRODUCT = "matrix product"


def main() -> None:
    options = _options()
    if options.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    clock = time.process_time if options.one_core else time.perf_counter
    from kerasunet.backend import start_backend

    start_backend()
    from arithmetic import matrix_product

    product, product_operations = matrix_product()
    with tempfile.TemporaryDirectory() as folder:
        sides = _sides(options.batch_size, options.image_size, Path(folder))
        timings = alternate(sides | {_PRODUCT: product}, options.rounds, options.calls, clock=clock)
    operations = _operations_an_image(options.image_size)
    figures = {
        "processors": processors(),
        "clock": "CPU time" if options.one_core else "wall time",
        "pixels": options.image_size,
        "batch": options.batch_size,
        "gflop_an_image": operations / 1e9,
        "limit_ms_an_image": 1000 * operations * timings.best(_PRODUCT) / product_operations,
        "gflop_an_image_kept": {
            strategy: _operations_with_kept(strategy, options.image_size) / 1e9 for strategy in KEPT
        },
        "sides": {side: _row(timings, side, options.batch_size) for side in sides},
    }
    print(as_markdown(figures))
    write_json(options.json, figures)


def _network(size: int) -> NetworkCosts:
    return NetworkCosts(NetworkLayout.unet(4, "batch"), _WIDTH, size)


def _operations_an_image(size: int) -> int:
    """Multiplications and additions of a step in which everything trains."""
    network = _network(size)
    return 2 * network.step_cost(network.layout.weights, batch_size=1).total


def _operations_with_kept(strategy: str, size: int) -> int:
    """Those that are left of a strategy when what comes before its first trained layer is kept.

    The forward pass begins there, and no gradients flow into the kept half of what the first
    convolution of an expanding block reads.
    """
    network = _network(size)
    trained = parse(strategy).select(network.layout)
    names = list(network.layers)
    first = min(names.index(weight.layer) for weight in trained)
    count = {name: layer.multiply_adds for name, layer in network.layers.items()}
    forward = sum(count[name] for name in names[first:])
    back = sum(
        count[name] // (2 if "dec" in name and "conv1" in name else 1)
        for name in names[first + 1 :]
    )
    kernels = sum(count[name] for name in {w.layer for w in trained if w.kind == "kernel"})
    return 2 * (forward + back + kernels)


def _row(timings: Timings, side: str, batch_size: int) -> dict[str, Any]:
    return {
        "best_ms_an_image": 1000 * timings.best(side) / batch_size,
        "times_all": timings.ratio(side, BASE),
    }


def as_markdown(figures: dict[str, Any]) -> str:
    lines = [
        f"A step of {figures['batch']} images, {figures['pixels']}×{figures['pixels']} pixels, "
        f"{figures['clock']}, {figures['processors']} CPU cores",
        "",
        "| network and strategy | ms per image | relative to `all` (low to high) |",
        "|---|---|---|",
    ]
    for side, row in figures["sides"].items():
        ratio = row["times_all"]
        lines.append(
            f"| {side} | {row['best_ms_an_image']:.1f} | {ratio['median']:.2f} "
            f"({ratio['low']:.2f} to {ratio['high']:.2f}) |"
        )
    limit = figures["limit_ms_an_image"]
    reached = limit / figures["sides"][BASE]["best_ms_an_image"]
    lines += [
        "",
        f"`{BASE}` takes {figures['gflop_an_image']:.2f} GFLOP per image; at the peak of a matrix "
        f"product that is {limit:.1f} ms, of which {reached:.0%} is reached. With kept "
        "activations, this share of these operations remains: "
        + ", ".join(
            f"{strategy} {kept / figures['gflop_an_image']:.2f}"
            for strategy, kept in figures["gflop_an_image_kept"].items()
        )
        + ".",
    ]
    return "\n".join(lines)


def _sides(batch_size: int, size: int, folder: Path) -> dict[str, Side]:
    from kerasunet.data import NO_AUGMENTATION, decode, load
    from kerasunet.data.augmentation import Batches

    cases = decode(load(f"simulated-ultrasound:{_IMAGES}", size=size).cases, (size, size))
    batches = Batches(cases, batch_size, NO_AUGMENTATION, seed=0, views=_VIEWS)
    batch = batches.batch(0)
    sides: dict[str, Side] = {
        strategy: partial(_learner(strategy).train_on_batch, *batch) for strategy in STRATEGIES
    }
    for strategy in KEPT:
        sides[f"{strategy}, activations kept"] = _kept(strategy, batches, batch, folder=folder)
    sides |= {f"plain Keras, {strategy}": _plain_keras(strategy, batch) for strategy in STRATEGIES}
    sides["PyTorch, all"] = _torch(batch)
    return sides | _peers(batch)


def _model(strategy: str):
    from kerasunet import UNet
    from kerasunet.training.optimizer import compile_for_training
    from kerasunet.training.settings import Optimization

    model = UNet(weights="natural", trainable=strategy)
    compile_for_training(model, Optimization())
    return model


def _learner(strategy: str):
    from kerasunet.training.learner import learner_of

    return learner_of(_model(strategy))


def _kept(strategy: str, batches, batch, *, folder: Path) -> Side:
    """Return a step of the trained part, on activations that are all there already."""
    from kerasunet.training.learner import ActivationCache, cut_before_training, learner_of

    model = _model(strategy)
    cut = cut_before_training(model)
    learner = learner_of(model, cut.trained)
    kept = ActivationCache(batches, cut.frozen, folder)
    passes = _IMAGES // len(batch[0])
    inputs, masks = next(kept.steps(0, 1))
    expected = float(_model(strategy).test_on_batch(*batch)[0])
    np.testing.assert_allclose(float(learner.test_on_batch(inputs, masks)[0]), expected, 1e-3)
    stream: Iterator = cycle(kept.steps(0, passes))

    def step() -> object:
        return learner.train_on_batch(*next(stream))

    for _ in range(passes):
        step()
    return step


def _plain_keras(strategy: str, batch) -> Side:
    """Return a step as a script of one's own takes it: layers frozen, cross-entropy, Adam."""
    import keras

    from kerasunet import UNet

    model = UNet(weights="natural", trainable=strategy)
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    return partial(model.train_on_batch, *batch)


def _torch(batch) -> Side:
    """Return a step of the same network and loss in PyTorch: channels last, Adam, all trains."""
    import torch
    from torch_training import training_step
    from torch_unet import torch_copy

    from kerasunet import UNet

    model = UNet(weights="natural")
    network = torch_copy(model)
    with torch.inference_mode():
        output = network(torch.from_numpy(batch[0]).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(output, model.predict_on_batch(batch[0]), atol=1e-4)
    return training_step(network, batch)


def _peers(batch) -> dict[str, Side]:
    """U-Nets of other packages, as wide at every level; those that cannot be imported are left out.

    None has the very layers of ours, so their number of weights is told.
    """
    sides: dict[str, Side] = {}
    for add in (_add_monai, _add_smp, _add_collection):
        try:
            add(sides, batch)
        except (ImportError, RuntimeError) as error:
            print(f"left out, {add.__name__.removeprefix('_add_')}: {error}", file=sys.stderr)
    return sides


def _add_monai(sides: dict[str, Side], batch) -> None:
    from torch_training import monai_networks, parameters, training_step

    for name, network in monai_networks(_WIDTH).items():
        sides[_sized(name, parameters(network))] = training_step(network, batch)


def _add_smp(sides: dict[str, Side], batch) -> None:
    from torch_training import parameters, smp_network, training_step

    network = smp_network(_WIDTH)
    sides[_sized("smp Unet, ResNet-18", parameters(network))] = training_step(network, batch)


def _add_collection(sides: dict[str, Side], batch) -> None:
    """Plain Keras, too; one convolution more in each block of the expanding path."""
    import keras
    from keras_unet_collection.models import unet_2d

    widths = [_WIDTH * 2**level for level in range(5)]
    model = unet_2d(
        batch[0].shape[1:],
        widths,
        n_labels=1,
        output_activation="Sigmoid",
        batch_norm=True,
        unpool=False,
        name="collection",
    )
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    name = _sized("keras-unet-collection", model.count_params())
    sides[name] = partial(model.train_on_batch, *batch)


def _sized(name: str, weights: int) -> str:
    return f"{name} ({weights / 1e6:.1f} M weights)"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--batch-size", type=int, default=8, help="(8)")
    add("--image-size", type=int, default=128, help="(128)")
    add("--rounds", type=int, default=7, help="(7)")
    add("--calls", type=int, default=2, help="calls of a side in a round (2)")
    add("--one-core", action="store_true", help="one core, and the time of the processor")
    add("--json", type=Path, default=Path("runs/benchmark-training.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
