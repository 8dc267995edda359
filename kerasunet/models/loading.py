"""Loading: a whole model, or its weights into a network that is there already."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet.models.registry import checked_copy
from kerasunet.models.saving import WEIGHT_SUFFIX
from kerasunet.models.verification import checked_weights, first_line

if TYPE_CHECKING:
    import keras


def load(name_or_path: str | os.PathLike) -> keras.Model:
    """Load a registered model by name, or another `.keras` file by its path.

    The digest in the card is verified before anything is loaded; a registered model needs a card.
    A file with anything but a U-Net of Keras' own layers in it is refused before Keras sees it,
    and Keras' safe mode is always on: a file cannot bring code.

    Args:
        name_or_path: A name that `list()` gives, or the path of a `.keras` file.

    Returns:
        The model, uncompiled, all weights set to train.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes, or not a U-Net that Keras
            can load.
    """
    with checked_copy(name_or_path) as (path, copy):
        import keras

        try:
            model = keras.models.load_model(copy, compile=False, safe_mode=True)
        except Exception as error:
            reason = first_line(error).replace(str(copy), path.name)
            raise ValueError(f"{path}: not a loadable Keras model ({reason})") from error
    model.trainable = True
    return model


def load_weights_into(model: keras.Model, weights: str | os.PathLike) -> None:
    """Set a model's weights from a registered model, a `.keras` file or a `.weights.h5` file.

    Args:
        model: A U-Net of the same architecture. Where only the number of classes differs, the
            `head` of a `.keras` file is left out.
        weights: Name or path.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The architecture differs; the message names the first layer that does.
    """
    if os.fspath(weights).endswith(WEIGHT_SUFFIX):
        _load_h5(model, Path(weights))
        return
    source = load(weights)
    given = {layer.name: layer for layer in source.layers if layer.weights}
    wanted = {layer.name: layer for layer in model.layers if layer.weights}
    _require_same_layers(weights, given, wanted)
    for name, layer in wanted.items():
        shapes = [tuple(array.shape) for array in layer.weights]
        found = [tuple(array.shape) for array in given[name].weights]
        if shapes == found:
            layer.set_weights(given[name].get_weights())
        elif name != "head":
            raise ValueError(
                f"{os.fspath(weights)}: layer {name} has weights of shape {found}, "
                f"this U-Net needs {shapes}; build it with the file's base_filters and channels"
            )


def _load_h5(model: keras.Model, path: Path) -> None:
    with checked_weights(path) as copy, warnings.catch_warnings():
        # Keras 3.15 warns of containers that no plain HDF5 file has; all weights are loaded.
        warnings.filterwarnings("ignore", message="Skipping nested container")
        try:
            model.load_weights(copy)
        except (OSError, ValueError, KeyError) as error:
            reason = first_line(error).replace(str(copy), path.name)
            raise ValueError(f"{path}: these weights do not fit this U-Net ({reason})") from error


def _require_same_layers(weights: str | os.PathLike, given: dict, wanted: dict) -> None:
    different = sorted(given.keys() ^ wanted.keys())
    if different:
        raise ValueError(
            f"{os.fspath(weights)}: has another architecture than this U-Net, they differ in "
            f"{different[0]}; build it with the file's depth and normalization"
        )
