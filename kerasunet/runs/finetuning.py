"""One fine-tuning run: settings in, a run directory out; started again, it resumes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet import layer_selection, models
from kerasunet.architecture import Architecture
from kerasunet.backend import prepared_backend, tensorboard, with_precision
from kerasunet.data.decoding import DecodedCases, content_digest
from kerasunet.data.loading import require_outside
from kerasunet.drawing import write_overlays
from kerasunet.files import expanded, read_json, write_json, write_text
from kerasunet.freezing import Description, apply_strategy, layout_of
from kerasunet.models.model_card import asked_layers
from kerasunet.network import rebuilt, with_new_head
from kerasunet.objects import ONE_OBJECT, Objects
from kerasunet.runs.directory import RunDirectory, exclusive
from kerasunet.runs.preparation import (
    PreparedData,
    has_new_head,
    modality_of_start,
    prepare,
    require_trained_head,
    seen_warning,
    size_warning,
    with_seen,
    with_trained_head,
)
from kerasunet.schema import TEXT, read_values
from kerasunet.strategies import Strategy, parse
from kerasunet.training.evaluation import Evaluation, evaluate_probabilities, predict, stopped_at
from kerasunet.training.learner import Network
from kerasunet.training.loop import OfStages, TrainingState, checked, train
from kerasunet.training.optimizer import compile_for_training
from kerasunet.training.settings import FinetuneSettings, without_paths


@dataclass(frozen=True)
class Run:
    """A finished fine-tuning.

    Attributes:
        directory: Holds `config.json`, `layers.txt`, `layers.json`, `history.csv`, `cases.csv`,
            `model.keras`, `model.json`, `model.md`, `summary.json`, `overlays/` and
            `tensorboard/` (where TensorFlow is installed); with `auto`, also `choice.json`.
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
    directory: str | os.PathLike,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    compact: bool = False,
    prepared: PreparedData | None = None,
    kept: KeptNetworks | None = None,
    restart: bool = False,
) -> Run:
    """Fine-tune the weights that the strategy names, and measure before and after.

    A finished run is returned unchanged. An interrupted one resumes from its last checkpoint and
    ends with the same weights as one that was never interrupted (same machine, same backend,
    deterministic mode).

    Args:
        settings: What to train, on what, and how.
        directory: The run directory.
        callbacks: More Keras callbacks. Models that they save open with `compile=False`.
        compact: Keep numbers only: nothing is measured before training; no model, overlays, logs.
        prepared: What `prepare` returned for these settings; prepared here unless given.
        kept: Networks of earlier runs of this process, of which one may fit; for compact runs.
        restart: Begin anew; an earlier run there is removed once this one has a checkpoint.

    Returns:
        The run.

    Raises:
        ValueError: Settings, data or directory cannot be used: it belongs to other settings, say.
        FileNotFoundError: The data or the initial model does not exist.
        NotWritten: The directory cannot be written; what is finished is kept, for the next start.
        FloatingPointError: The loss or the weights became NaN or infinite; see the message.
    """
    require_outside(directory, (settings.data, settings.manual_dir))
    prepared = prepare(settings) if prepared is None else prepared
    if not prepared.fits(settings):
        raise ValueError("prepared: was made for settings of other data or splits; leave it out")
    files, kept = RunDirectory(expanded(directory)), kept or KeptNetworks()
    callbacks = checked(callbacks, files.writes, settings.optimization.schedule)
    settings = with_precision(settings, files.recorded, restart=restart)
    with exclusive(files.path), prepared_backend(**settings.optimization.computation):
        run = _Finetuning(settings, files, prepared, kept=kept, restart=restart)
        return run.run(callbacks, compact)


@dataclass(frozen=True)
class _Finetuning:
    """The steps of a run, in the order in which they are taken."""

    settings: FinetuneSettings
    files: RunDirectory
    prepared: PreparedData
    kept: KeptNetworks
    restart: bool

    def run(self, callbacks: Sequence[keras.callbacks.Callback], compact: bool) -> Run:
        require_trained_head(self.settings, self.prepared.data.objects)
        network = self.kept.get(self.settings, self._start, self.prepared.data.objects)
        parts = self._decode(network.model)
        self.settings.optimization.require_validation(len(parts["validation"]))
        choice = self._choose_early(network.model, parts["train"], callbacks)  # May refuse the run.
        self.files.claim(self.settings, self._digests(parts), restart=self.restart)
        if summary := self.files.finished():
            return Run(self.files.path, summary)
        seen = "" if compact else seen_warning(self.settings.init, self.prepared.held_out)
        for told in filter(None, (size_warning(self.settings), seen)):
            warnings.warn(told, stacklevel=3)
        with self.files.in_progress():
            summary = self._run(network, parts, choice, callbacks=callbacks, compact=compact)
        return Run(self.files.path, self.files.finish(summary))

    def _run(
        self,
        network: Network,
        parts: dict[str, DecodedCases],
        choice: layer_selection.Choice | None,
        *,
        callbacks: Sequence[keras.callbacks.Callback],
        compact: bool,
    ) -> dict[str, Any]:
        """Train, measure, write all but the summary, and return that."""
        strategy = self._strategy(parts["train"], choice, callbacks)
        layers = self._freeze(network, strategy)
        before = None if compact else self._measure(network.model, parts["test"])
        if not compact and find_spec("tensorflow"):  # Keras writes TensorBoard's files with it.
            callbacks = [tensorboard(self.files.tensorboard), *callbacks]
        seconds = self._train(network, strategy, layers, parts=parts, callbacks=callbacks)
        model = network.in_float32()
        after = self._measure(model, parts["test"])
        after.evaluation.write_csv(self.files.cases)
        if before is not None:
            self._write_overlays(parts["test"], {"before": before, "after": after})
            models.save(model, self.files.model, self._card(strategy, after.evaluation))
        return {
            **self._facts(strategy, layers),
            "seconds": seconds,
            "before": None if before is None else before.evaluation.summary,
            "after": after.evaluation.summary,
            "constant_prediction": after.evaluation.constant,
        }

    def _start(self) -> keras.Model:
        return initial_model(self.settings, self.prepared.data.objects)

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

    def _strategy(
        self,
        training: DecodedCases,
        choice: layer_selection.Choice | None,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> Strategy:
        """Return the strategy asked for, or with `auto` the one chosen, once per run."""
        if not self.settings.strategy.is_auto:
            return self.settings.strategy
        if not (path := self.files.choice).is_file():
            write_json(path, (choice or self._choose(training, callbacks)).as_dict())
        known = read_values(path, {"strategy": TEXT}, "the choice of auto", remedy="remove it")
        chosen = parse(known["strategy"])
        return with_trained_head(chosen, self.settings, self.prepared.data.objects)

    def _choose(
        self, training: DecodedCases, callbacks: Sequence[keras.callbacks.Callback]
    ) -> layer_selection.Choice:
        settings = self.settings
        return layer_selection.choose(
            settings.strategy,
            self._start,
            training,
            optimization=settings.optimization,
            augmentation=settings.augmentation,
            start_modality=modality_of_start(settings.init),
            data=self.prepared.data.name,
            new_head=has_new_head(settings.init, self.prepared.data.objects),
            listeners=[c for c in callbacks if isinstance(c, layer_selection.TrialListener)],
        )

    def _choose_early(
        self,
        model: keras.Model,
        training: DecodedCases,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> layer_selection.Choice | None:
        """Return the choice of `auto` in a restart; refuse strategies that select nothing."""
        if self.settings.strategy.is_auto:
            return self._choose(training, callbacks) if self.restart else None
        for strategy in self.settings.strategies:
            strategy.select(layout_of(model))
        return None

    def _freeze(self, network: Network, strategy: Strategy) -> Description:
        layers = network.set_up(strategy, self.settings.optimization)
        if self.settings.strategy.is_auto or not self.files.layers.is_file():  # Notes there stay.
            write_text(self.files.layers_table, f"{layers}\n")
            write_json(self.files.layers, layers.as_dicts())
        return layers

    def _train(
        self,
        network: Network,
        strategy: Strategy,
        layers: Description,
        *,
        parts: dict[str, DecodedCases],
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> float:
        """Train, and return the seconds it took, those before an interruption included."""
        if not layers.changes:
            return 0.0
        train_model = partial(
            train,
            network.model,
            parts["train"],
            parts["validation"],
            optimization=self.settings.optimization,
            augmentation=self.settings.augmentation,
            checkpoint=self.files.checkpoint,
            history=self.files.history,
            callbacks=callbacks,
            views=self.settings.views,
            run=read_json(self.files.config),
        )
        if self.settings.stages:
            state = self._train_in_stages(network.model, train_model)
        else:
            learner = network.learner() if self.settings.views is None else None
            state = train_model(learner=learner, relative_power=strategy.relative_power)
        return round(sum(row["seconds"] for row in state.history), 2)

    def _train_in_stages(self, model: keras.Model, fit: partial[TrainingState]) -> TrainingState:
        """Train stage by stage; those that an interruption left behind are passed over."""
        optimization, stages = self.settings.optimization, self.settings.stages
        every = optimization.validate_every
        ends = [*(stage.step // every for stage in stages[1:]), -(-optimization.steps // every)]
        listeners = OfStages([*fit.keywords["callbacks"]], model=model, add_history=False)
        for stage, end in zip(stages, ends, strict=True):
            apply_strategy(model, stage.strategy)
            compile_for_training(model, optimization, stage.step)
            state = fit(stage=range(stage.step // every, end), callbacks=[listeners])
        listeners.end(state.best)
        return state

    def _measure(self, model: keras.Model, cases: DecodedCases) -> _Measured:
        found, threshold = predict(model, cases.images), self.settings.threshold
        return _Measured(found, evaluate_probabilities(found, cases, threshold))

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

    def _write_overlays(self, cases: DecodedCases, measured: dict[str, _Measured]) -> None:
        decide, threshold = cases.objects.decide, self.settings.threshold
        found = {name: decide(one.probabilities, threshold) for name, one in measured.items()}
        write_overlays(
            self.files.overlays,
            cases.images,
            cases.masks,
            predictions=found,
            names=cases.keys,
            scores=measured["after"].evaluation.case_dice,
            objects=cases.objects,
        )

    def _card(self, strategy: Strategy, evaluation: Evaluation) -> models.ModelCard:
        settings, data, split = self.settings, self.prepared.data, self.prepared.split
        note, known = models.DataNote.of(data), without_paths(settings, data=data.name)
        card = models.ModelCard(
            title=f"U-Net fine-tuned on {data.name}, {asked_layers(known)}",
            strategy=str(strategy),
            init=Path(settings.init).name,
            data=note,
            evaluation_data=note,
            split=split.digest,
            image_size=settings.image_size,
            threshold=settings.threshold,
            training_cases=len(split.train),
            metrics=evaluation.summary,
            settings=known,
            objects=data.objects.names if data.objects.several else (),
            steps=stopped_at(self.files.history, settings.optimization.steps),
        )
        trained, judged = data.select(split.train), data.select(split.validation)
        return with_seen(card, settings, trained, judged=judged, held_out=self.prepared.held_out)


@dataclass(frozen=True)
class _Measured:
    probabilities: np.ndarray
    evaluation: Evaluation


def initial_model(settings: FinetuneSettings, objects: Objects = ONE_OBJECT) -> keras.Model:
    """Build the network that fine-tuning starts from.

    Args:
        settings: Of the run.
        objects: What its data mark; where the start marks others, only the head is new.
    """
    if settings.init == "scratch":
        return settings.architecture.build(objects.channels, overlapping=objects.overlapping)
    start = models.load(settings.init)
    if not has_new_head(settings.init, objects):
        return rebuilt(start)
    return with_new_head(start, objects.channels, overlapping=objects.overlapping)


class KeptNetworks:
    """The networks that a process keeps: those that its last few strategies used."""

    def __init__(self):
        self._networks: dict[object | None, Network] = {}

    def get(
        self,
        settings: FinetuneSettings,
        build: Callable[[], keras.Model],
        objects: Objects = ONE_OBJECT,
    ) -> Network:
        """Return a network as if newly made for the settings.

        Args:
            settings: Settings of a run.
            build: Builds the network that fine-tuning starts from.
            objects: What the data mark.
        """
        shared = _shared(settings, objects)
        network = self._networks.pop(shared, None)
        if network is None:
            network = Network(build())
        else:
            network.reset()
        if shared is not None:
            self._networks[shared] = network
        if len(self._networks) > 8:  # Each holds memory.
            del self._networks[next(iter(self._networks))]
        return network


def _shared(settings: FinetuneSettings, objects: Objects) -> object | None:
    """Return what building and compiling depend on; `None` if also on images or the seed."""
    measured = settings.stages or settings.strategy.is_measured
    random = settings.init == "scratch" or has_new_head(settings.init, objects)
    if measured or random or settings.views is not None:
        return None
    optimization = replace(settings.optimization, seed=0)
    return settings.init, settings.architecture, settings.strategy, optimization, objects
