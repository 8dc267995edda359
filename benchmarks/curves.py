"""What `scaling.py` measures at each point of its curves."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from alternating import Side, Timings

Measure = Callable[[dict[str, Side]], Timings]
AXES = {
    "size": (64, 128, 256, 512, 1024),
    "width": (8, 16, 32, 64),
    "depth": (2, 3, 4, 5),
    "batch": (1, 2, 4, 8, 16),
    "training images": (10, 40, 160, 640),
    "strategies": (1, 2, 4, 8),
}
_COMPARED = ["none", "deep:1", "deep:2", "deep:3", "expanding", "contracting", "shallow:3", "all"]
_PRODUCT = "matrix product"
_PICTURE = 512  # Height and width of the files that are decoded.
_SETTLED = 5.0  # Seconds; the cache trusts no file that was written just before.


class Measured(NamedTuple):
    """Timings, ours first; how many images or the like a call worked on; seconds of the limit."""

    timings: Timings
    parts: int
    limit: float | None = None


@dataclass(frozen=True)
class Point:
    """Pixels of height and width, filters of the first level, poolings, images of a step."""

    size: int = 128
    width: int = 16
    depth: int = 4
    batch: int = 8

    def model(self, strategy: str = "all"):
        """Return a network with random weights."""
        from kerasunet import UNet

        return UNet(base_filters=self.width, depth=self.depth, trainable=strategy)

    def images(self, count: int) -> np.ndarray:
        """Return images of noise."""
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (count, self.size, self.size, 1)).astype(np.float32)


def curves(axis: str, largest: int, measure: Measure) -> list[dict[str, Any]]:
    """Measures the curves along an axis.

    Args:
        axis: One of `AXES`.
        largest: Largest image size.
        measure: Times sides in turns.

    Returns:
        The curves: what was worked on, what the milliseconds are of, and a row a value.
    """
    values = [value for value in AXES[axis] if axis != "size" or value <= largest]
    image = ("inference", "per image", partial(_image, axis))
    step = ("training step", "per image", partial(_step, axis))
    kinds = {
        "batch": [step],
        "training images": [("decoding with the cache full", "per image", _decoding)],
        "strategies": [("strategies compared on one image", "per strategy", _comparing)],
    }.get(axis, [image, step])
    return [
        {
            "axis": axis,
            "work": work,
            "part": part,
            "rows": [_row(value, make(value, measure)) for value in values],
        }
        for work, part, make in kinds
    ]


def _row(value: int, measured: Measured) -> dict[str, Any]:
    timings, parts, limit = measured
    ours, *others = (side for side in timings.seconds if side != _PRODUCT)
    return {
        "value": value,
        "ms": {side: 1000 * timings.best(side) / parts for side in (ours, *others)},
        "over_ours": {side: timings.ratio(side, ours) for side in others},
        "of_limit": None if limit is None else limit / timings.best(ours),
    }


def _image(axis: str, value: int, measure: Measure) -> Measured:
    """One image through a network."""
    from arithmetic import matrix_product, operations
    from torch_unet import torch_side

    from kerasunet.inference.engines import NetworkSource, open_engine

    point = replace(Point(), **{axis: value})
    model, image = point.model(), point.images(1)
    engine = open_engine(NetworkSource.of(model), (point.size, point.size))
    sides = {
        "kerasunet": lambda: engine(image),
        "Keras": lambda: model.predict_on_batch(image),
        "PyTorch": torch_side(model, image),
    }
    _require_equal(sides)
    product, product_operations = matrix_product()
    timings = measure({**sides, _PRODUCT: product})
    count = operations(model, (point.size, point.size))
    return Measured(timings, 1, count * timings.best(_PRODUCT) / product_operations)


def _require_equal(sides: dict[str, Side]) -> None:
    first, *others = (np.asarray(side()) for side in sides.values())
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-4)


def _step(axis: str, value: int, measure: Measure) -> Measured:
    """Time a training step in which all trains, one in which three blocks do, and PyTorch's."""
    import torch
    from torch_training import training_step
    from torch_unet import torch_copy

    point = replace(Point(batch=1 if axis == "size" else 8), **{axis: value})
    images = point.images(point.batch)
    batch = images, (images > 128).astype(np.float32)
    model = point.model()
    network = torch_copy(model)
    with torch.inference_mode():
        output = network(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(output, model.predict_on_batch(images), atol=1e-4)
    sides = {"kerasunet all": _trained(model, batch)}
    sides["shallow:3"] = _trained(point.model("shallow:3"), batch)
    sides["PyTorch all"] = training_step(network, batch)
    return Measured(measure(sides), point.batch)


def _trained(model, batch) -> Side:
    from kerasunet.training.learner import learner_of
    from kerasunet.training.optimizer import compile_for_training
    from kerasunet.training.settings import Optimization

    compile_for_training(model, Optimization())
    return partial(learner_of(model).train_on_batch, *batch)


def _decoding(count: int, measure: Measure) -> Measured:
    """Time what a run does before it trains: read PNG images and masks, bring them to 128×128."""
    from kerasunet.data import decode, load

    folder = Path(os.environ["KERASUNET_CACHE"]) / "pictures"
    _write_pictures(folder, count)
    time.sleep(_SETTLED)
    size = (Point().size, Point().size)

    def by_hand() -> list[np.ndarray]:
        paths = (folder / part / f"{i:04d}.png" for i in range(count) for part in _PARTS)
        pictures = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths)
        return [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]

    sides = {"kerasunet": lambda: decode(load(folder).cases, size), "OpenCV": by_hand}
    timings = measure(sides)
    shutil.rmtree(folder)
    return Measured(timings, count)


_PARTS = ("images", "masks")


def _write_pictures(folder: Path, count: int) -> None:
    from kerasunet.drawing import write_png

    rng = np.random.default_rng(count)
    for number in range(count):
        small = rng.integers(0, 256, (32, 32), dtype=np.uint8)
        picture = cv2.resize(small, (_PICTURE, _PICTURE), interpolation=cv2.INTER_CUBIC)
        mask = np.where(picture > 128, 255, 0).astype(np.uint8)
        for part, pixels in zip(_PARTS, (picture, mask), strict=True):
            write_png(folder / part / f"{number:04d}.png", pixels)


def _comparing(count: int, measure: Measure) -> Measured:
    """Time the first strategies of a list on an image, side by side and one after another."""
    from kerasunet.inference.engines import NetworkSource, open_engine

    point = Point()
    models = [_tuned(strategy) for strategy in _COMPARED[:count]]
    sources = [NetworkSource.of(model) for model in models]
    image, size = point.images(1), (point.size, point.size)
    joined = open_engine(NetworkSource.of_many(sources), size)
    engines = [open_engine(source, size) for source in sources]
    sides = {
        "kerasunet side by side": lambda: joined(image),
        "one by one": lambda: np.concatenate([engine(image) for engine in engines], -1),
        "Keras": lambda: np.concatenate([m.predict_on_batch(image) for m in models], -1),
    }
    _require_equal(sides)
    return Measured(measure(sides), count)


def _tuned(strategy: str):
    """Return the shipped network with other weights where the strategy trains."""
    from kerasunet import UNet

    model = UNet(weights="natural", trainable=strategy)
    rng = np.random.default_rng(_COMPARED.index(strategy))
    for weights in model.trainable_weights:
        weights.assign(weights.numpy() * rng.uniform(0.99, 1.01, weights.shape))
    return model
