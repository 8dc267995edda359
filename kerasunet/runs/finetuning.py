"""One fine-tuning run: settings in, a run directory out; started again, it resumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet import layer_selection, models
from kerasunet.architecture import Architecture, plain_copy, rebuilt
from kerasunet.data.decoding import DecodedCases, content_digest
from kerasunet.drawing import draw_comparison, write_png
from kerasunet.files import read_json, write_json, write_text
from kerasunet.freezing import Description, apply_strategy, describe
from kerasunet.runs.directory import RunDirectory, exclusive
from kerasunet.runs.preparation import PreparedData, prepare
from kerasunet.strategies import Strategy, parse
from kerasunet.training.evaluation import Evaluation, evaluate_probabilities
from kerasunet.training.loop import compile_for_training, predict, prepare_backend, train
from kerasunet.training.settings import FinetuneSettings, without_paths

_OVERLAYS = 12


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

    @property
    def files(self) -> RunDirectory:
        """The files of the directory by name."""
        return RunDirectory(self.directory)

    def load_model(self) -> keras.Model:
        """Load the fine-tuned model."""
        return models.load(self.files.model)


def finetune(
    settings: FinetuneSettings,
    directory: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    compact: bool = False,
    prepared: PreparedData | None = None,
    restart: bool = False,
) -> Run:
    """Fine-tune the weights that the strategy names, and measure before and after.

    A finished run is returned as it is. An interrupted one resumes from its last checkpoint and
    ends with the same weights as one that was never interrupted (same machine, same backend,
    deterministic mode).

    Args:
        settings: What to train, on what, and how.
        directory: The run directory.
        callbacks: More Keras callbacks, such as a progress bar.
        compact: Keep numbers only: nothing is measured before training, and no model, overlays or
            TensorBoard logs are written. Studies use this.
        prepared: What `prepare` returned for these settings; prepared here unless given.
        restart: Remove an earlier run in the directory first, once nothing else can refuse this
            one.

    Returns:
        The run.

    Raises:
        ValueError: Settings or data cannot be used, or the directory belongs to other settings.
        FileNotFoundError: The data or the initial model does not exist.
        NotWritten: The disk is full, or the directory is not writable; finished results are kept,
            and the next start resumes from them.
        FloatingPointError: The loss or the weights became NaN or infinite; the last good weights
            are kept, and the message says where.
    """
    prepared = prepare(settings) if prepared is None else prepared
    with exclusive(directory):
        steps = _Finetuning(settings, RunDirectory(directory), prepared, restart)
        return steps.run(callbacks, compact)


@dataclass(frozen=True)
class _Finetuning:
    """The steps of a run, in the order in which they are taken."""

    settings: FinetuneSettings
    files: RunDirectory
    prepared: PreparedData
    restart: bool

    def run(self, callbacks: Sequence[keras.callbacks.Callback], compact: bool) -> Run:
        prepare_backend(self.settings.optimization)
        model = initial_model(self.settings)
        parts = self._decode(model)
        self.settings.optimization.require_validation(len(parts["validation"]))
        # What may still refuse the run comes before an earlier run is removed.
        choice = self._choose(parts["train"]) if self.restart else None
        self.files.claim(self.settings, self._digests(parts), restart=self.restart)
        if summary := self.files.finished():
            return Run(self.files.path, summary)
        with self.files.telling_what_is_kept():
            summary = self._run(model, parts, choice, callbacks=callbacks, compact=compact)
        return Run(self.files.path, self.files.finish(summary))

    def _run(
        self,
        model: keras.Model,
        parts: dict[str, DecodedCases],
        choice: layer_selection.Choice | None,
        *,
        callbacks: Sequence[keras.callbacks.Callback],
        compact: bool,
    ) -> dict[str, Any]:
        """Train, measure, write all but the summary, and return that."""
        strategy = self._strategy(parts["train"], choice)
        layers = self._freeze(model, strategy)
        before = None if compact else self._measure(model, parts["test"])
        if not compact:
            board = keras.callbacks.TensorBoard(self.files.tensorboard, write_graph=False)
            callbacks = [board, *callbacks]
        seconds = self._train(model, strategy, layers, parts=parts, callbacks=callbacks)
        model = plain_copy(model)
        after = self._measure(model, parts["test"])
        after.evaluation.write_csv(self.files.cases)
        if before is not None:
            self._write_overlays(parts["test"], before, after)
            models.save(model, self.files.model, self._card(strategy, after.evaluation))
        return {
            **self._facts(strategy, layers),
            "seconds": seconds,
            "before": None if before is None else before.evaluation.summary,
            "after": after.evaluation.summary,
            "constant_prediction": after.evaluation.constant,
        }

    def _decode(self, model: keras.Model) -> dict[str, DecodedCases]:
        size, multiple = self.settings.image_size, Architecture.of(model).size_multiple
        if size % multiple:
            raise ValueError(f"image size {size}: this U-Net needs a multiple of {multiple}")
        return self.prepared.decode(size, model.input_shape[-1])

    def _digests(self, parts: dict[str, DecodedCases]) -> dict[str, str]:
        return {
            "data": self.prepared.data.digest,
            "images and masks": content_digest(parts.values()),
            "split": self.prepared.split.digest,
            "init": models.digest(self.settings.init),
        }

    def _strategy(self, training: DecodedCases, choice: layer_selection.Choice | None) -> Strategy:
        """Return the strategy asked for, or with `auto` the one chosen, once per run."""
        path = self.files.choice
        if not self.settings.strategy.is_auto:
            return self.settings.strategy
        if not path.is_file():
            choice = choice or self._choose(training)
            assert choice is not None, "the strategy is automatic"
            write_json(path, choice.as_dict())
        return parse(read_json(path)["strategy"])

    def _choose(self, training: DecodedCases) -> layer_selection.Choice | None:
        """Return the choice of `auto`; `None` for strategies that leave nothing to choose."""
        settings = self.settings
        if not settings.strategy.is_auto:
            return None
        return layer_selection.choose(
            settings.strategy,
            lambda: initial_model(settings),
            training,
            optimization=settings.optimization,
            augmentation=settings.augmentation,
        )

    def _freeze(self, model: keras.Model, strategy: Strategy) -> Description:
        apply_strategy(model, strategy)
        layers = describe(model)
        write_text(self.files.layers_table, f"{layers}\n")
        write_json(self.files.layers, layers.as_dicts())
        return layers

    def _train(
        self,
        model: keras.Model,
        strategy: Strategy,
        layers: Description,
        *,
        parts: dict[str, DecodedCases],
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> float:
        """Train, and return the seconds it took, those before an interruption included."""
        if not layers.changes:
            return 0.0
        compile_for_training(model, self.settings.optimization)
        state = train(
            model,
            parts["train"],
            parts["validation"],
            optimization=self.settings.optimization,
            augmentation=self.settings.augmentation,
            checkpoint=self.files.checkpoint,
            history=self.files.history,
            callbacks=callbacks,
            views=self.settings.views,
            relative_power=strategy.relative_power,
        )
        return round(sum(row["seconds"] for row in state.history), 2)

    def _measure(self, model: keras.Model, cases: DecodedCases) -> _Measured:
        probabilities = predict(model, cases.images)
        threshold = self.settings.threshold
        return _Measured(probabilities, evaluate_probabilities(probabilities, cases, threshold))

    def _facts(self, strategy: Strategy, layers: Description) -> dict[str, Any]:
        data, split = self.prepared.data, self.prepared.split
        return {
            "settings": without_paths(self.settings, data=data.name),
            "chosen": str(strategy),
            "data": {"name": data.name, "layout": data.layout, "digest": data.digest},
            "split": {"digest": split.digest, **{k: len(v) for k, v in vars(split).items()}},
            "parameters": layers.parameters,
            "trained": layers.trained,
        }

    def _write_overlays(self, cases: DecodedCases, before: _Measured, after: _Measured) -> None:
        """Draw held-out cases spread evenly from the worst to the best Dice."""
        for path in self.files.overlays.glob("[0-9]*-dice-*.png"):
            path.unlink()  # Of an attempt that was killed: it may have drawn others.
        order = np.argsort([row["dice"] for row in after.evaluation.rows], kind="stable")
        chosen = order[np.linspace(0, len(order) - 1, min(_OVERLAYS, len(order))).astype(int)]
        threshold = self.settings.threshold
        for rank, index in enumerate(chosen, start=1):
            row = after.evaluation.rows[index]
            found = {
                "before": before.probabilities[index] >= threshold,
                "after": after.probabilities[index] >= threshold,
            }
            picture = draw_comparison(cases.images[index], cases.masks[index], found)
            name = f"{rank:02d}-dice-{row['dice']:.2f}-{_safe(row['key'])}.png"
            write_png(self.files.overlays / name, picture)

    def _card(self, strategy: Strategy, evaluation: Evaluation) -> models.ModelCard:
        settings, data, split = self.settings, self.prepared.data, self.prepared.split
        note = models.DataNote.of(data)
        return models.ModelCard(
            title=f"U-Net fine-tuned on {data.name}, {settings.layers}",
            strategy=str(strategy),
            init=Path(settings.init).name,
            data=note,
            evaluation_data=note,
            split=split.digest,
            image_size=settings.image_size,
            threshold=settings.threshold,
            training_cases=len(split.train),
            metrics=evaluation.summary,
            settings=without_paths(settings, data=data.name),
        )


@dataclass(frozen=True)
class _Measured:
    probabilities: np.ndarray
    evaluation: Evaluation


def _safe(key: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in key)


def initial_model(settings: FinetuneSettings) -> keras.Model:
    """Build the network that fine-tuning starts from."""
    if settings.init == "scratch":
        return settings.architecture.build()
    return rebuilt(models.load(settings.init))
