"""Saved models for other runtimes, each checked against Keras before it gets its name.

Eight-bit weights and activations take their ranges from calibration images. Standardization stays
in float: its sums over all pixels do not fit into 8 bits.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet import models
from kerasunet.backend import naming
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode
from kerasunet.data.loading import require_one_code, require_outside
from kerasunet.files import expanded, folder_for, remove_left, sha256, temporary_folder
from kerasunet.inference.export_requests import FORMATS, check_request, publish, sidecar_of
from kerasunet.inference.runtimes import LiteRT, ONNXRuntime, OpenVINO, Run
from kerasunet.metrics import bootstrap_interval
from kerasunet.models.saving import write_hdf5
from kerasunet.network import folded, plain_copy
from kerasunet.objects import ONE_OBJECT, Objects
from kerasunet.processes import alone_in
from kerasunet.training.evaluation import dice_of_masks

CALIBRATION_IMAGES = 32
_LARGEST_DELTA = 1e-4
_UNFINISHED = ".exporting-"
_VERSIONS_OF = ("kerasunet", "keras", "tensorflow", "onnx", "onnxruntime", "openvino", "nncf")


@dataclass(frozen=True)
class Images:
    """Images of one data set; none is used for both calibration and checking.

    Attributes:
        data: Name of the data set.
        checking: Cases to compare Keras and the exported network on.
        calibration: Uint8, `(count, height, width, channels)`; empty unless 8 bits need them.
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
        comparison: What `compare` measured.
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
        int8: Weights and activations in 8 bits, for `"openvino"` and `"litert"`.

    Returns:
        The export.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        FileExistsError: See `kerasunet.inference.export_requests.sidecar_of`.
        ValueError: See `check_request`; or the path lies among images; or the model cannot be
            trusted or loaded; or, in float32, a probability differs from Keras by more than 1e-4.
            Then nothing is written.
    """
    path = expanded(path)
    check_request(format, path, int8)
    require_outside(path, is_file=bool(FORMATS[format].suffix), levels=0)
    card, source = models.card(model), models.digest(model)
    sidecar_of(path, format, int8, source=source)
    place = Path(os.path.realpath(path)).parent  # A link stays; this is the disk that it leads to.
    with folder_for(place), temporary_folder(place, _UNFINISHED) as folder:
        remove_left(place, _UNFINISHED)
        temporary = folder / path.name
        comparison = _write_and_compare(
            model, format, temporary, images=images, card=card, int8=int8
        )
        facts = {
            "format": format,
            "int8": int8,
            "source_sha256": source,
            "files_sha256": _digests(folder),
            "image_size": None if FORMATS[format].any_size and not int8 else card.image_size,
            "checked_on": images.data,
            "calibration_images": len(images.calibration) if int8 else 0,
            **comparison,
            "versions": _versions(),
        }
        with alone_in(place):  # Another export may have come first.
            sidecar = sidecar_of(path, format, int8, source=source)
            publish(folder, path, sidecar, told={**card.to_json(), "export": facts})
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
    loaded = models.load(model)
    with naming(path.parents[1] / path.name):  # Its place once it is complete.
        if int8:
            write_int8(loaded, format, path, images=images.calibration)
        else:
            write(loaded, format, path, size=card.image_size)
    exported = open_exported(format, path)
    comparison = compare(
        loaded, exported, images.checking, threshold=card.threshold, objects=card.marked
    )
    if not int8 and not comparison["max_abs_delta"] <= _LARGEST_DELTA:
        raise ValueError(
            f"{path.name}: a probability differs from Keras by {comparison['max_abs_delta']:.2g}, "
            f"more than {_LARGEST_DELTA:g}; nothing was written"
        )
    return comparison


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


def write(model: keras.Model, format: str, path: Path, *, size: int) -> None:
    """Write a network in float32.

    Args:
        model: A model of this package.
        format: One of `kerasunet.inference.export_requests.FORMATS`.
        path: The file, or folder, to write.
        size: Height and width of images, for formats that fix them.
    """
    _WRITERS[format](model, path, size)


def write_int8(model: keras.Model, format: str, path: Path, *, images: np.ndarray) -> None:
    """Write a network in 8 bits; input and output stay float32.

    Args:
        model: A model of this package.
        format: `"openvino"` or `"litert"`.
        path: The file to write.
        images: Calibration images, `(count, height, width, channels)`, 0 to 255.
    """
    _INT8_WRITERS[format](folded(model), path, images.astype(np.float32))


def open_exported(format: str, path: Path) -> Run:
    """Open an exported network.

    Args:
        format: One of `kerasunet.inference.export_requests.FORMATS`.
        path: The exported file or folder.

    Returns:
        A function from one image, float32, `(1, height, width, channels)`, 0 to 255, to float32
        probabilities, `(1, height, width, classes)`.
    """
    return _OPENERS[format](path)


def compare(
    model: keras.Model,
    run: Run,
    cases: DecodedCases,
    *,
    threshold: float,
    objects: Objects = ONE_OBJECT,
) -> dict[str, Any]:
    """Measure how far an exported network is from the original.

    Args:
        model: The network in Keras.
        run: The exported network.
        cases: At least one case.
        threshold: Probability from which a pixel counts as foreground.
        objects: What the model finds. Where the cases mark something else, the masks that Keras
            finds are taken for the true ones.

    Returns:
        `images`; `max_abs_delta` and `mean_abs_delta` of the probabilities, over all channels;
        `changed_pixels`, the share of pixels whose mask changes; `dice_keras`, `dice_exported` and
        `dice_loss`, the mean of their difference, with its 95 % bootstrap interval, averaged over
        objects; `truth`, `"masks"` of the cases or `"keras"`.
    """
    images = cases.images.astype(np.float32)
    wanted, found = (
        np.concatenate([one(image[None]) for image in images])
        for one in (lambda image: keras.ops.convert_to_numpy(model.predict_on_batch(image)), run)
    )
    delta = np.abs(wanted - found)
    masks = [objects.decide(objects.squeezed(one), threshold) for one in (wanted, found)]
    is_truth = cases.objects == objects or not (cases.objects.several or objects.several)
    truth = cases.masks if is_truth else masks[0]
    before, after = (dice_of_masks(truth, predicted, objects) for predicted in masks)
    loss = bootstrap_interval(before - after, groups=cases.groups)
    return {
        "images": len(cases),
        "max_abs_delta": float(delta.max()),
        "mean_abs_delta": float(delta.mean()),
        "changed_pixels": float((masks[0] != masks[1]).mean()),
        "dice_keras": float(before.mean()),
        "dice_exported": float(after.mean()),
        "dice_loss": {"mean": loss.mean, "low": loss.low, "high": loss.high},
        "truth": "masks" if is_truth else "keras",
    }


def _write_savedmodel(model: keras.Model, path: Path, size: int) -> None:
    folded(model).export(path, format="tf_saved_model", verbose=False)


def _write_onnx(model: keras.Model, path: Path, size: int) -> None:
    from kerasunet.inference.onnx_graph import to_onnx

    path.write_bytes(to_onnx(folded(model)).SerializeToString())


def _write_openvino(model: keras.Model, path: Path, size: int) -> None:
    import openvino

    openvino.save_model(OpenVINO().graph_of(folded(model)), path, compress_to_fp16=False)


def _write_litert(model: keras.Model, path: Path, size: int) -> None:
    path.write_bytes(LiteRT().convert(folded(model), (size, size, model.input_shape[-1])))


def _write_h5(model: keras.Model, path: Path, size: int) -> None:
    with _without_advice():
        write_hdf5(plain_copy(model).save, path)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence Keras' advice to use `.keras` instead of HDF5, for the model comes from `.keras`."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


_WRITERS = {
    "savedmodel": _write_savedmodel,
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "litert": _write_litert,
    "h5": _write_h5,
}


def _int8_openvino(model: keras.Model, path: Path, images: np.ndarray) -> None:
    # Otherwise NNCF reports its use over the network.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(io.StringIO()):  # Its progress bar.
        quantized = nncf.quantize(
            OpenVINO().graph_of(model),
            nncf.Dataset(list(images[:, None])),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(patterns=["standardize.*"]),
        )
    openvino.save_model(quantized, path, compress_to_fp16=False)


def _int8_litert(model: keras.Model, path: Path, images: np.ndarray) -> None:
    import tensorflow as tf

    def calibration() -> Iterator[list[np.ndarray]]:
        for image in images:
            yield [image[None]]

    made = LiteRT().convert(
        model,
        images.shape[1:],
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=calibration,
    )
    path.write_bytes(made)


_INT8_WRITERS = {"openvino": _int8_openvino, "litert": _int8_litert}


def _open_savedmodel(path: Path) -> Run:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda image: loaded.serve(image).numpy()


def _open_onnx(path: Path) -> Run:
    return ONNXRuntime().load(path.read_bytes())


def _open_openvino(path: Path) -> Run:
    return OpenVINO().open(path)


def _open_litert(path: Path) -> Run:
    return LiteRT().load(path.read_bytes())


def _open_h5(path: Path) -> Run:
    loaded = keras.models.load_model(path, compile=False, safe_mode=True)
    return lambda image: keras.ops.convert_to_numpy(loaded.predict_on_batch(image))


_OPENERS = {
    "savedmodel": _open_savedmodel,
    "onnx": _open_onnx,
    "openvino": _open_openvino,
    "litert": _open_litert,
    "h5": _open_h5,
}
