"""What a model predicts for cases, and its metrics; a check that it learns.

Needs Keras only where a function is given a Keras model, or makes one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasunet.architecture import Architecture
from kerasunet.backend import prepared_backend
from kerasunet.data.augmentation import Batches, with_flip
from kerasunet.data.augmentation_settings import NO_AUGMENTATION
from kerasunet.data.decoding import DecodedCases
from kerasunet.files import write_text
from kerasunet.metrics import (
    WITHOUT_SPACING,
    Interval,
    case_metrics,
    summarize,
    summarize_objects,
)
from kerasunet.metrics.measures import dice_of_each
from kerasunet.objects import Objects
from kerasunet.schema import read_rows, typed
from kerasunet.training.settings import Optimization

if TYPE_CHECKING:
    import keras

CONSTANT = "WARNING: the model predicts the same for every pixel of every case"
"""What to tell users about a constant prediction."""


def stopped_at(history: Path, planned: int) -> int | None:
    """Return the step at which training ended before the last planned one, else `None`."""
    rows = read_rows(history, {"step": int}) if history.is_file() else []
    return taken if rows and 0 < (taken := int(rows[-1]["step"])) < planned else None


def predict(model: keras.Model, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Predict probabilities batch by batch.

    Args:
        model: Any model of the package.
        images: `(cases, height, width, channels)`, 0 to 255.
        batch_size: Images per call.

    Returns:
        Float32, `(cases, height, width)`, 0 to 1; several channels are the last axis.
    """
    import keras

    count, channels = len(images), model.output_shape[-1]
    if keras.backend.backend() == "jax":  # It compiles again for every number of images.
        images = np.concatenate([images, images[:1].repeat(-count % batch_size, axis=0)])
    parts = [
        keras.ops.convert_to_numpy(model.predict_on_batch(images[start : start + batch_size]))
        for start in range(0, len(images), batch_size)
    ]
    empty = np.zeros((*images.shape[:3], channels), np.float32)
    found = np.concatenate(parts)[:count] if parts else empty
    found = found.astype(np.float32, copy=False)  # Layers of the caller's may have other types.
    return found if channels > 1 else found[..., 0]


def mean_dice(model: keras.Model, cases: DecodedCases, threshold: float = 0.5) -> float:
    """Return the mean Dice per case and object, 0 to 1; both empty counts as 1."""
    return float(dice_of_cases(model, cases, threshold).mean())


def dice_of_cases(model: keras.Model, cases: DecodedCases, threshold: float = 0.5) -> np.ndarray:
    """Return the Dice of each case, `(cases,)`, averaged over objects; both empty counts as 1."""
    found = cases.objects.decide(predict(model, cases.images), threshold)
    return dice_of_masks(cases.masks, found, cases.objects)


def dice_of_masks(truth: np.ndarray, found: np.ndarray, objects: Objects) -> np.ndarray:
    """Return the Dice of masks, `(cases,)`, as `dice_of_cases` does.

    Args:
        truth: The true masks, `(cases, height, width)`, as `Objects.encode` gives them.
        found: Those found, likewise.
        objects: What they mark.
    """
    pairs = zip(objects.planes(truth), objects.planes(found), strict=True)
    return np.mean([dice_of_each(*pair) for pair in pairs], axis=0)


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on some cases.

    Attributes:
        rows: One row per case; with several objects, one per case and object: key, group, then
            `object`, and what `kerasunet.metrics.case_metrics` returns.
        summary: What `kerasunet.metrics.summarize` returns, as plain values for JSON; of several
            objects, what `kerasunet.metrics.summarize_objects` does.
        constant: Whether the model takes all pixels of all cases for foreground, or all for
            background, where that is not the truth.
    """

    rows: tuple[dict[str, Any], ...]
    summary: dict[str, Any]
    constant: bool

    @property
    def dice(self) -> Interval:
        """Mean per-case Dice with its 95 % interval."""
        return Interval(**self.summary["dice"])

    @property
    def case_dice(self) -> list[float]:
        """The Dice of each case, averaged over its objects."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            found.setdefault(row["key"], []).append(row["dice"])
        return [sum(values) / len(values) for values in found.values()]

    def write_csv(self, path: Path) -> None:
        """Write the rows, atomically."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(path, text.getvalue())


def evaluate(
    model: keras.Model, cases: DecodedCases, threshold: float = 0.5, *, flip: bool = False
) -> Evaluation:
    """Predict and measure every case at the size it was decoded to.

    Distances are in millimeters where every case has its pixel spacing, else in pixels.

    Args:
        model: A model of this package, of the objects of the cases.
        cases: At least one decoded case.
        threshold: Probability from which a pixel counts as foreground.
        flip: Average with the prediction of the left-right flip.

    Returns:
        The evaluation. Intervals resample groups (patients), not cases.

    Raises:
        TypeError: The cases are not decoded, or the model is none of one input and one output.
        ValueError: There is no case, the model has more or fewer channels than these objects or
            images take, or the threshold is not between 0 and 1.
    """
    if not 0 <= typed("threshold", "float", threshold) <= 1:
        raise ValueError(f"threshold must be between 0 and 1, not {threshold}")
    if not isinstance(cases, DecodedCases):
        raise TypeError(f"give cases as kerasunet.data.decode returns them, not {_kind(cases)}")
    if not len(cases):
        raise ValueError("give at least one case to evaluate")
    _require_fitting(model, cases)
    network = partial(predict, model)
    probabilities = (with_flip(network) if flip else network)(cases.images)
    return evaluate_probabilities(probabilities, cases, threshold)


def _require_fitting(model: keras.Model, cases: DecodedCases) -> None:
    """Refuse what is no model of one image and one mask, and one of other channels or sides."""
    shapes: list[Any] = [getattr(model, f"{end}_shape", None) for end in ("input", "output")]
    if not all(isinstance(one, tuple) and one and isinstance(one[-1], int) for one in shapes):
        told = "give a model of one input and one output, as models.load returns it"
        raise TypeError(f"{told}, not {_kind(model)}")
    (*_, taken), (*_, found) = shapes
    if taken != (given := cases.images.shape[-1]):
        raise ValueError(
            f"the model takes images of {taken} channels, but the cases were decoded to {given}; "
            f"decode them with channels={taken}"
        )
    if found != cases.objects.channels:
        raise ValueError(
            f"the model has {found} channels, but the cases mark {cases.objects}, which takes "
            f"{cases.objects.channels}"
        )
    sides, multiple = cases.images.shape[1:3], 1
    with suppress(ValueError):  # Of a network of another kind nothing is known.
        multiple = Architecture.of(model).size_multiple
    if any(side % multiple for side in sides):
        raise ValueError(
            f"the cases were decoded to {sides[0]}×{sides[1]} pixels, but this U-Net needs "
            f"multiples of {multiple}; decode them at such a size"
        )


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"


def evaluate_probabilities(
    probabilities: np.ndarray, cases: DecodedCases, threshold: float
) -> Evaluation:
    """Measure probabilities, 0 to 1, against the cases' masks.

    Args:
        probabilities: As `kerasunet.training.evaluation.predict` returns them.
        cases: The cases.
        threshold: Probability from which a pixel counts as foreground; of several objects that
            exclude each other a pixel is of the most probable one instead.

    Raises:
        ValueError: The probabilities are those of more, fewer or other cases, by their shape.
    """
    if probabilities.shape[:3] != cases.masks.shape:
        raise ValueError(
            f"probabilities must be of the cases' shape, {cases.masks.shape}, not "
            f"{probabilities.shape}"
        )
    found = cases.objects.decide(probabilities, threshold)
    rows = tuple(_rows(probabilities, found, cases))
    evaluation = evaluation_of(rows, _is_constant(found, cases.masks))
    return replace(evaluation, summary={**evaluation.summary, **without_spacing(cases)})


def without_spacing(cases: DecodedCases) -> dict[str, int]:
    """Return how many cases have no pixel spacing, for a summary; nothing if all or none have."""
    count = sum(spacing is None for spacing in cases.spacings)
    return {WITHOUT_SPACING: count} if 0 < count < len(cases.spacings) else {}


def _rows(
    probabilities: np.ndarray, found: np.ndarray, cases: DecodedCases
) -> Iterator[dict[str, Any]]:
    """Yield the metrics of each case and object, in millimeters if every case has its spacing."""
    objects = cases.objects
    known = all(spacing is not None for spacing in cases.spacings)
    for index, (key, group) in enumerate(zip(cases.keys, cases.groups, strict=True)):
        parts = zip(
            objects.names,
            objects.planes(cases.masks[index]),
            objects.probabilities(probabilities[index]),
            objects.planes(found[index]),
            strict=True,
        )
        for name, truth, probability, prediction in parts:
            yield {
                "key": key,
                "group": group,
                **({"object": name} if objects.several else {}),
                **case_metrics(
                    truth,
                    probability,
                    spacing=cases.spacings[index] if known else None,
                    prediction=prediction,
                ),
            }


def evaluation_of(rows: Sequence[dict[str, Any]], constant: bool = False) -> Evaluation:
    """Summarize rows that several models may have made, at least one.

    Args:
        rows: Key, group, `object` if there are several, and metrics of each case.
        constant: Whether the models predict the same for every pixel.
    """
    summarized = summarize_objects if "object" in rows[0] else summarize
    summary = _plain(summarized(rows, [row["group"] for row in rows]))
    return Evaluation(tuple(rows), summary, constant)


def _is_constant(found: np.ndarray, truth: np.ndarray) -> bool:
    return bool(found.min() == found.max() and (truth != found).any())


def _plain(summary: dict[str, Any]) -> dict[str, Any]:
    plain = {
        name: asdict(value) if isinstance(value, Interval) else value
        for name, value in summary.items()
    }
    if "objects" in plain:
        plain["objects"] = {name: _plain(one) for name, one in plain["objects"].items()}
    return plain


def overfit_one_batch(
    cases: DecodedCases, steps: int = 100, architecture: Architecture = Architecture()
) -> Iterator[tuple[int, float, float]]:
    """Train a fresh U-Net on the same few cases over and over.

    A network that cannot reach a Dice near 1 on cases it sees again and again points to masks
    that do not belong to their images, or to a wrong setting.

    Args:
        cases: A handful of decoded cases, all of them in every step.
        steps: Optimizer steps.
        architecture: The network.

    Yields:
        After every tenth step and the last: step, loss, and the mean Dice (0 to 1) that the
        network then reaches in inference mode.
    """
    from kerasunet.training.optimizer import compile_for_training

    settings = Optimization(
        steps=steps, batch_size=len(cases), learning_rate=3e-3, schedule="constant"
    )
    with prepared_backend(**settings.computation):
        model = replace(architecture, channels=cases.images.shape[-1]).build(
            cases.objects.channels, overlapping=cases.objects.overlapping
        )
    compile_for_training(model, settings)
    images, masks = Batches(cases, len(cases), NO_AUGMENTATION, seed=0).batch(0)
    for step in range(1, steps + 1):
        loss = model.train_on_batch(images, masks)[0]
        if step % 10 == 0 or step == steps:
            yield step, float(loss), mean_dice(model, cases)
