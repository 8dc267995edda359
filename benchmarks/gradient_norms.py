"""Measures at which blocks images pull most, and what `auto` of version 0.1.0 made of that.

    python benchmarks/gradient_norms.py
    python benchmarks/gradient_norms.py --data jsrt --manual-dir ARCHIVES --images 80

The relative gradient norm is that of Lee et al., "Surgical Fine-Tuning Improves Adaptation to
Distribution Shifts", ICLR 2023 (arXiv 2210.11466), section 4: norm of the gradient of the training
loss over norm of the weights, averaged over batches. There it is one number a layer; here, because
a strategy takes or leaves whole blocks, norms run over all learnable tensors of a block together.

The rule let blocks train whose norm is at least half of the largest. Prints a row for each block,
with the mean norm over the folds and its share of the largest, and what the rule chooses in each
fold. In the first study (docs/first-study/) that was the first block alone, in every run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from kerasunet.data.augmentation_settings import Augmentation

if TYPE_CHECKING:
    import keras

    from kerasunet.data.decoding import DecodedCases

BATCHES, SHARE = 5, 0.5


def relative_gradient_norms(
    model: keras.Model, cases: DecodedCases, augmentation: Augmentation = Augmentation()
) -> dict[str, float]:
    """Return the relative gradient norm of each block, in data-flow order.

    The gradient is that of Dice plus cross-entropy in training mode, in float32, unclipped, for the
    first batches of a training. It is measured on a copy: the model given is not touched.

    Args:
        model: A U-Net of this package.
        cases: Training cases.
        augmentation: How far the views differ from the images.
    """
    from kerasunet.data.augmentation import Batches
    from kerasunet.freezing import layout_of
    from kerasunet.network import plain_copy
    from kerasunet.training.optimizer import record_gradients, squared_norm, squared_norms

    copy = plain_copy(model)
    recorder = record_gradients(copy)
    stream = Batches(cases, 8, augmentation, seed=0).steps(0, BATCHES)
    squares = [squared_norms(copy, recorder, batch) for batch in stream]
    own = {variable.path: squared_norm(variable) for variable in copy.trainable_variables}
    blocks = groupby(layout_of(copy).weights, key=lambda ref: ref.block)
    paths = {block: [f"{ref.layer}/{ref.name}" for ref in refs] for block, refs in blocks}
    return {
        block: float(np.mean([_norm(batch, members) for batch in squares])) / _norm(own, members)
        for block, members in paths.items()
    }


def _norm(squares: Mapping[str, float], paths: list[str]) -> float:
    return sum(squares[path] for path in paths) ** 0.5


def blocks_to_train(norms: Mapping[str, float]) -> str:
    """Return what the rule chooses, such as `blocks:1-3,7`, or `all`.

    Auto-RGN trains each layer at the learning rate times its share of the largest norm. A strategy
    of whole blocks knows only trained, 1, and frozen, 0: the share is rounded, a half upward.
    """
    chosen = [n for n, norm in enumerate(norms.values(), 1) if norm >= SHARE * max(norms.values())]
    if len(chosen) == len(norms):
        return "all"
    runs = groupby(chosen, key=lambda number: number - chosen.index(number))
    return "blocks:" + ",".join(_spell(list(numbers)) for _, numbers in runs)


def _spell(numbers: list[int]) -> str:
    return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])


def _norms_of_folds(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    from kerasunet import models
    from kerasunet.runs.preparation import prepare
    from kerasunet.training import FinetuneSettings

    settings = FinetuneSettings(
        init=options.init,
        data=options.data,
        manual_dir=options.manual_dir,
        train_size=options.images,
        validation_size=0,
        image_size=options.image_size,
    )
    model = models.load(options.init)
    for fold in range(options.folds):
        parts = prepare(replace(settings, fold=fold)).decode(settings.image_size, 1)
        yield relative_gradient_norms(model, parts["train"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="simulated-ultrasound", help="as `kerasunet finetune`")
    parser.add_argument("--manual-dir", help="as `kerasunet finetune`")
    parser.add_argument("--init", default="natural", help="the model to start from")
    parser.add_argument("--images", type=int, default=20, help="training images of each fold")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--folds", type=int, default=5, help="how many of five folds")
    found = list(_norms_of_folds(parser.parse_args()))
    means = {block: float(np.mean([norms[block] for norms in found])) for block in found[0]}
    print("| block | relative gradient norm | share of the largest |\n| --- | ---: | ---: |")
    for block, norm in means.items():
        print(f"| {block} | {norm:.3g} | {norm / max(means.values()):.2f} |")
    choices = [f"fold {fold}: {blocks_to_train(norms)}" for fold, norms in enumerate(found)]
    print(f"\nThe rule of version 0.1.0 chooses {', '.join(choices)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
