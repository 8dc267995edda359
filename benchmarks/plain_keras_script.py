"""One fine-tuning as a script in plain Keras does it, without kerasunet: what to beat.

    python benchmarks/plain_keras_script.py MODEL.keras FOLDER SPLIT.json OUTPUT --trains enc1 enc2

Reads `FOLDER/images` and `FOLDER/masks`, trains the layers whose names begin as told, predicts the
test images, and writes `model.keras` and `cases.csv`.
"""

import argparse
import csv
import json
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf
from keras import ops


def main():
    options = parse_options()
    keras.utils.set_random_seed(0)
    split = json.loads(options.split.read_text())
    model = keras.models.load_model(options.model, compile=False)
    if options.scratch:
        model = keras.models.clone_model(model)
    for layer in model.layers:
        layer.trainable = layer.name.startswith(tuple(options.trains))
    if model.trainable_weights:
        fit(model, *read(options.folder, split["train"]), options=options)
    images, masks = read(options.folder, split["test"])
    found = model.predict(images, batch_size=16, verbose=0) >= 0.5
    options.output.mkdir(parents=True)
    with open(options.output / "cases.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "dice"])
        rows.writerows(zip(split["test"], map(dice, found, masks > 0.5), strict=True))
    model.save(options.output / "model.keras")


def read(folder, keys):
    def gray(part, key):
        return cv2.imread(str(folder / part / f"{key}.png"), cv2.IMREAD_GRAYSCALE)

    images = np.stack([gray("images", key) for key in keys])[..., None].astype("float32")
    masks = np.stack([gray("masks", key) > 127 for key in keys])[..., None].astype("float32")
    return images, masks


def fit(model, images, masks, *, options):
    batches = tf.data.Dataset.from_tensor_slices((images, masks))
    batches = batches.shuffle(len(images)).repeat().batch(options.batch_size).prefetch(2)
    warm_up = options.steps // 20
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warm_up else 1e-3, options.steps - warm_up, warmup_target=1e-3, warmup_steps=warm_up
    )
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), loss=dice_and_cross_entropy)
    model.fit(batches, epochs=1, steps_per_epoch=options.steps, verbose=0)


def dice_and_cross_entropy(true, predicted):
    overlap = 2 * ops.sum(true * predicted, axis=(1, 2, 3)) + 1
    total = ops.sum(true, axis=(1, 2, 3)) + ops.sum(predicted, axis=(1, 2, 3)) + 1
    entropy = ops.mean(keras.losses.binary_crossentropy(true, predicted), axis=(1, 2))
    return entropy + 1 - overlap / total


def dice(found, true):
    total = found.sum() + true.sum()
    return 2 * (found & true).sum() / total if total else 1.0


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    for name in ("model", "folder", "split", "output"):
        add(name, type=Path)
    add("--trains", nargs="*", default=[], help="first letters of the names of layers that train")
    add("--scratch", action="store_true", help="start from random weights")
    add("--steps", type=int, default=200)
    add("--batch-size", type=int, default=8)
    return parser.parse_args()


if __name__ == "__main__":
    main()
