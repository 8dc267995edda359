"""One fine-tuning run: settings in, a run directory out; started again, it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet import models
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases
from kerasunet.data.splits import Split
from kerasunet.drawing import draw_comparison, write_png
from kerasunet.files import read_json, write_json, write_text
from kerasunet.freezing import Description, apply_strategy, describe
from kerasunet.runs.directory import claim, finish, finished, held
from kerasunet.runs.inputs import content_digest, decode_parts, load_data, split_data
from kerasunet.strategies import parse
from kerasunet.training.evaluation import Evaluation, evaluate_probabilities
from kerasunet.training.loop import compile_for_training, predict, prepare_backend, train
from kerasunet.training.settings import FinetuneSettings, without_places
from kerasunet.unet import UNet, plain_copy, rebuilt, size_multiple

_OVERLAYS = 12
_MODEL, _CHOICE = "model.keras", "choice.json"


@dataclass(frozen=True)
class Run:
    """A finished fine-tuning.

    Attributes:
        directory: Holds `config.json`, `layers.txt`, `layers.json`, `history.csv`, `cases.csv`,
            `model.keras`, `model.json`, `model.md`, `summary.json`, `overlays/` and
            `tensorboard/`; with `auto`, also `choice.json`.
        summary: What `summary.json` holds: settings, split, layers, and the metrics of the
            held-out cases before and after.
    """

    directory: Path
    summary: dict[str, Any]

    def load_model(self) -> keras.Model:
        """Loads the fine-tuned model."""
        return models.load(self.directory / _MODEL)


def finetune(
    settings: FinetuneSettings,
    directory: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    compact: bool = False,
) -> Run:
    """Fine-tunes the weights that the strategy names, and measures before and after.

    A finished run is returned as it is. An interrupted one goes on from its last checkpoint and
    ends in the same weights as one that was never interrupted (same machine, same backend,
    deterministic mode).

    Args:
        settings: What to train, on what, and how.
        directory: The run directory.
        callbacks: More Keras callbacks, such as a progress bar.
        compact: Keep numbers only: nothing is measured before, and no model, overlays or
            TensorBoard logs are written. A study does so.

    Returns:
        The run.

    Raises:
        ValueError: Settings or data cannot be used, or the directory belongs to other settings.
        FileNotFoundError: The data or the initial model are not there.
        NotWritten: The disk is full, or the directory may not be written; what was finished is
            kept, and the next start goes on from there.
        FloatingPointError: The loss or the weights became NaN or infinite; the last good weights
            are kept, the message tells where.
    """
    data = load_data(settings)
    split = split_data(settings, data)
    with held(directory):
        return _finetune(settings, directory, callbacks, compact, data, split)


def _finetune(settings, directory, callbacks, compact, data: DataSet, split: Split) -> Run:
    prepare_backend(settings.optimization)
    model = initial_model(settings)
    parts = _decode(settings, model, data, split)
    claim(directory, settings, _digests(settings, data, split, parts))
    if summary := finished(directory):
        return Run(directory, summary)
    strategy = _choose(settings, parts["train"], directory)
    layers = _freeze(model, strategy, directory)
    before = None if compact else _measure(model, parts["test"], settings.threshold)
    boards = () if compact else (_board(directory),)
    seconds = _train(settings, model, layers, parts, directory, [*boards, *callbacks])
    model = plain_copy(model)
    after = _measure(model, parts["test"], settings.threshold)
    after.evaluation.write_csv(directory / "cases.csv")
    if before is not None:
        _write_overlays(directory, parts["test"], before, after, settings.threshold)
        card = _card(settings, strategy, data, split, after.evaluation)
        models.save(model, directory / _MODEL, card)
    summary = {
        "settings": without_places(settings, data=data.name),
        "chosen": strategy,
        "data": {"name": data.name, "layout": data.layout, "digest": data.digest},
        "split": {"digest": split.digest, **{k: len(v) for k, v in vars(split).items()}},
        "parameters": layers.parameters,
        "trained": layers.trained,
        "seconds": seconds,
        "before": None if before is None else before.evaluation.summary,
        "after": after.evaluation.summary,
        "constant_prediction": after.evaluation.constant,
    }
    return Run(directory, finish(directory, summary))


def initial_model(settings: FinetuneSettings) -> keras.Model:
    """Builds the network that fine-tuning starts from."""
    if settings.init != "scratch":
        return rebuilt(models.load(settings.init))
    shape = settings.architecture
    return UNet(
        (None, None, shape.channels),
        shape.base_filters,
        shape.depth,
        normalization=shape.normalization,
    )


@dataclass(frozen=True)
class _Measured:
    probabilities: np.ndarray
    evaluation: Evaluation


def _measure(model: keras.Model, cases: DecodedCases, threshold: float) -> _Measured:
    probabilities = predict(model, cases.images)
    return _Measured(probabilities, evaluate_probabilities(probabilities, cases, threshold))


def _digests(
    settings: FinetuneSettings, data: DataSet, split: Split, parts: dict[str, DecodedCases]
) -> dict[str, str]:
    return {
        "data": data.digest,
        "images and masks": content_digest(parts.values()),
        "split": split.digest,
        "init": models.digest(settings.init),
    }


def _decode(
    settings: FinetuneSettings, model: keras.Model, data: DataSet, split: Split
) -> dict[str, DecodedCases]:
    multiple = size_multiple(model)
    if settings.image_size % multiple:
        raise ValueError(
            f"image size {settings.image_size}: this U-Net needs a multiple of {multiple}"
        )
    return decode_parts(data, split, settings.image_size, model.input_shape[-1])


def _choose(settings: FinetuneSettings, training: DecodedCases, directory: Path) -> str:
    """The strategy to train: the one asked for, or with `auto` the one chosen, once per run."""
    if not parse(settings.layers).is_auto:
        return settings.layers
    path = directory / _CHOICE
    if not path.is_file():
        from kerasunet.layer_selection import choose

        choice = choose(
            settings.layers,
            lambda: initial_model(settings),
            training,
            settings.optimization,
            settings.augmentation,
        )
        write_json(path, choice.as_dict())
    return read_json(path)["strategy"]


def _freeze(model: keras.Model, strategy: str, directory: Path) -> Description:
    apply_strategy(model, strategy)
    layers = describe(model)
    write_text(directory / "layers.txt", f"{layers}\n")
    write_json(directory / "layers.json", layers.as_dicts())
    return layers


def _board(directory: Path) -> keras.callbacks.Callback:
    return keras.callbacks.TensorBoard(directory / "tensorboard", write_graph=False)


def _train(settings, model, layers, parts, directory, callbacks) -> float:
    """Trains, and returns the seconds it took, those before an interruption included."""
    if not layers.changes:
        return 0.0
    compile_for_training(model, settings.optimization)
    progress = train(
        model,
        parts["train"],
        parts["validation"],
        settings.optimization,
        settings.augmentation,
        directory,
        callbacks,
        settings.views,
    )
    return round(sum(row["seconds"] for row in progress.history), 2)


def _write_overlays(directory: Path, cases: DecodedCases, before, after, threshold: float) -> None:
    """Pictures of held-out cases spread evenly from the worst to the best Dice."""
    order = np.argsort([row["dice"] for row in after.evaluation.rows], kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(_OVERLAYS, len(order))).astype(int)]
    for rank, index in enumerate(chosen, start=1):
        row = after.evaluation.rows[index]
        picture = draw_comparison(
            cases.images[index],
            cases.masks[index],
            {
                "before": before.probabilities[index] >= threshold,
                "after": after.probabilities[index] >= threshold,
            },
        )
        name = f"{rank:02d}-dice-{row['dice']:.2f}-{_safe(row['key'])}.png"
        write_png(directory / "overlays" / name, picture)


def _safe(key: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in key)


def _card(
    settings: FinetuneSettings, strategy: str, data: DataSet, split: Split, evaluation: Evaluation
) -> models.Card:
    note = models.DataNote.of(data)
    return models.Card(
        title=f"U-Net fine-tuned on {data.name}, {settings.layers}",
        strategy=strategy,
        init=Path(settings.init).name,
        data=note,
        evaluation_data=note,
        split=split.digest,
        image_size=settings.image_size,
        threshold=settings.threshold,
        training_cases=len(split.train),
        metrics=evaluation.summary,
        settings=without_places(settings, data=data.name),
    )
