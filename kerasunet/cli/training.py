"""The verbs that train: `finetune`, `pretrain` and `adapt`, with their progress on the terminal."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kerasunet import adapt, models, runs
from kerasunet.backend import start_backend
from kerasunet.cli import options as shared
from kerasunet.data.augmentation_settings import PRESETS
from kerasunet.files import read_json
from kerasunet.metrics import bounds_in_words
from kerasunet.models.model_card import asked_layers
from kerasunet.schema import declared
from kerasunet.strategies import describe_grammar
from kerasunet.training.settings import FinetuneSettings, Optimization, PretrainSettings, to_json

if TYPE_CHECKING:
    import keras

FINETUNE_EPILOG = f"strategies for --layers:\n{describe_grammar()}"


def add_finetune_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    shared.add_settings(parser, FinetuneSettings, without=("init",))
    init = declared(FinetuneSettings)["init"]
    fitting = f"{init.help} (the start that fits the images: ultrasound, xray, or natural)"
    shared.add_option(parser, "init", replace(init, help=fitting))
    add("--output", type=Path, help="run directory (default: runs/DATA_LAYERS)")
    shared.add_run_arguments(parser)
    shared.add_optimization(parser, FinetuneSettings.optimization)
    shared.add_architecture(parser, "with --init scratch")


def run_finetune(options: argparse.Namespace) -> int:
    """Fine-tune chosen layers of a pre-trained U-Net, and measure the gain on held-out cases.

    With --layers alone it works offline, on shipped weights and simulated breast ultrasound. If it
    is stopped or killed, the same command resumes it.
    """
    given = shared.values_of(options, FinetuneSettings)
    settings = FinetuneSettings(
        **{**given, "init": options.init or FinetuneSettings.init},
        architecture=shared.architecture(options),
        optimization=shared.optimization(options),
        augmentation=PRESETS[options.augmentation],
    )
    directory = options.output or _default_directory(settings)
    files = runs.RunDirectory(directory)
    _check_name(options, files)
    if options.init or models.is_registered(settings.init):
        _check_layers(settings)
    prepared = runs.prepare(settings)
    print(shared.describe_data(prepared.data), flush=True)
    if options.init is None:
        recorded = None if options.restart else _recorded_init(files)
        settings = replace(settings, init=recorded or runs.fitting_start(prepared.data))
        prepared = replace(prepared, settings=settings)
        _check_layers(settings)
        print(f"start       {settings.init}; --init takes another", flush=True)
    runs.require_trained_head(settings, prepared.data.objects)
    if options.restart:
        files.require_removable(settings)
    start_backend()
    with ProgressBar(settings.optimization) as bar:
        finished = runs.finetune(
            settings, directory, [bar.callback()], prepared=prepared, restart=options.restart
        )
    print(_report(finished, prepared))
    if options.save_as:
        saved = models.register(files.model, options.save_as, options.half_precision)
        print(f"registered  {saved}")
    return 0


def _check_name(options: argparse.Namespace, files: runs.RunDirectory) -> None:
    """Refuse a name before training; only the model of a finished run may have it already."""
    if options.save_as is not None:
        is_finished = files.summary.is_file() and not options.restart
        models.check_name(options.save_as, files.model if is_finished else None)


def _recorded_init(files: runs.RunDirectory) -> str | None:
    """Return the registered start of a run to be resumed: a new version may prefer another."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        init = str(read_json(files.recorded)["settings"]["init"])
        return init if models.is_registered(init) else None
    return None


def _check_layers(settings: FinetuneSettings) -> None:
    """Find wrong weights and strategies before TensorFlow is imported."""
    architecture = settings.architecture
    if settings.init != "scratch":
        if not models.is_registered(settings.init):  # Its card may be missing.
            models.check(settings.init)
        architecture = models.card(settings.init).architecture
    if not settings.strategy.is_auto:
        for strategy in settings.strategies:
            strategy.select(architecture.layout())
    if models.is_registered(settings.init):  # Takes longer than all of the above.
        models.check(settings.init)


def _default_directory(settings: FinetuneSettings) -> Path:
    name = f"{Path(settings.data).name}_{asked_layers(to_json(settings))}"
    return Path("runs") / re.sub(r"[^A-Za-z0-9._&+-]+", "-", name)


def _report(finished: runs.Run, prepared: runs.PreparedData) -> str:
    from kerasunet.data.splits import groups_in_words
    from kerasunet.training.evaluation import CONSTANT

    summary, files = finished.summary, finished.files
    before, after = summary["before"]["dice"], summary["after"]["dice"]
    test = summary["split"]["test"]
    groups = groups_in_words(prepared.data.select(prepared.split.test))
    lines = [
        "",
        _layers(files.layers_table),
        "",
        f"Dice on {test} held-out cases (mean, 95 % interval over {groups})",
        f"  before  {_interval(before)}",
        f"  after   {_interval(after)}",
        *_of_each_object(summary),
        f"  missed  {summary['after']['missed']} of {_objects(summary, test)}"
        f"{_how_missed(summary['after'])}",
    ]
    if summary["constant_prediction"]:
        lines.append(f"  {CONSTANT}")
    lines += [
        "",
        f"trained     {_trained(summary)}: "
        f"{summary['trained']:,} of {summary['parameters']:,} weights",
        f"everything  {files.path}/",
        f"overlays    {files.overlays}/",
        _how_to_load(files.model),
    ]
    return "\n".join(lines)


def _how_to_load(model: Path) -> str:
    """Return a line to paste into Python; a finished run may have lost its model."""
    try:
        models.digest(model)
    except (OSError, ValueError):
        return f"model       {model}: is gone, damaged or of another run; --restart trains it again"
    path = json.dumps(model.as_posix(), ensure_ascii=False)
    return f"load        keras.models.load_model({path})"


def _objects(summary: dict, cases: int) -> str:
    """Return how many objects could be missed, in words."""
    several = len(summary["after"].get("objects") or ())
    return f"{cases * several} ({several} objects in each case)" if several else str(cases)


def _of_each_object(summary: dict) -> list[str]:
    """Return a line for each of several objects."""
    found = summary["after"].get("objects") or {}
    before = summary["before"].get("objects") or {}
    return [
        f"  {name}  {before[name]['dice']['mean']:.3f} before, {_interval(one['dice'])} after"
        for name, one in found.items()
    ]


def _how_missed(metrics: dict) -> str:
    """Return the overlap below which an object is missed; version 0.1.0 did not record any."""
    lowest = metrics.get("detection_iou")
    return "" if lowest is None else f" (IoU below {lowest:g})"


def _layers(path: Path) -> str:
    """Return the table of layers; a finished run may have lost it."""
    return path.read_text(encoding="utf-8").rstrip() if path.is_file() else f"{path}: is gone"


def _trained(summary: dict) -> str:
    asked, chosen = asked_layers(summary["settings"]), summary["chosen"]
    return f"{asked}, which chose {chosen}" if asked.startswith("auto") else asked


def _interval(interval: dict) -> str:
    return f"{interval['mean']:.3f}  ({bounds_in_words(interval['low'], interval['high'])})"


def add_pretrain_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    shared.add_settings(parser, PretrainSettings)
    add("--output", type=Path, default=Path("runs/natural"), help="(runs/natural)")
    shared.add_run_arguments(parser)
    shared.add_optimization(parser, PretrainSettings.optimization)
    shared.add_architecture(parser, "with --init scratch")


def run_pretrain(options: argparse.Namespace) -> int:
    """Pre-train a U-Net on natural images with salient-object masks, in gray, or on a lab's images.

    With --data oxford_iiit_pet it downloads photographs that need no registration. The result is a
    start, which finetune --init takes. If stopped or killed, the same command resumes it.
    """
    settings = PretrainSettings(
        **shared.values_of(options, PretrainSettings),
        architecture=shared.architecture(options),
        optimization=shared.optimization(options),
        augmentation=PRESETS[options.augmentation],
    )
    files = runs.RunDirectory(options.output)
    _check_name(options, files)
    if settings.init != "scratch":
        models.check(settings.init)
    data = runs.load_pretraining_data(settings)
    for part in data:
        print(shared.describe_data(part), flush=True)
    if options.restart:
        files.require_removable(settings)

    start_backend()
    with ProgressBar(settings.optimization) as bar:
        trained = runs.pretrain(
            settings, options.output, [bar.callback()], data=data, restart=options.restart
        )
    print(_pretraining_report(trained))
    if options.save_as:
        saved = models.register(trained.files.model, options.save_as, options.half_precision)
        print(f"registered  {saved}")
    return 0


def _pretraining_report(trained: runs.Pretrained) -> str:
    from kerasunet.training.evaluation import CONSTANT

    dice = trained.dice
    lines = [
        f"Dice on {dice.n} validation cases  {_interval(vars(dice))}",
        _how_to_load(trained.files.model),
    ]
    if seen := trained.summary.get("validation_seen"):
        told = f"has seen {seen} of these cases, or others of their patients"
        lines.insert(1, f"WARNING: the model, or its start, {told}, so Dice is too optimistic")
    return "\n".join([*lines, CONSTANT] if trained.summary["constant_prediction"] else lines)


def add_adapt_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", metavar="FOLDER", help="images and masks, in any layout that kerasunet check reads"
    )
    shared.add_settings(parser, adapt.AdaptSettings, without=("data",))
    names = {*declared(Optimization)} - {"seed", "precision"}
    shared.add_settings(parser, adapt.AdaptSettings.optimization, without=names)
    parser.add_argument("--output", type=Path, help="output folder (default: runs/adapt_FOLDER)")
    shared.add_save_as(parser)


def run_adapt(options: argparse.Namespace) -> int:
    """From a folder of images and masks to the best model for it: an answer in plain words.

    Every start is tried untouched, a few strategies are trained, the choice is tested in
    cross-validation, and the final model is trained on all annotated images. If it is stopped or
    killed, the same command resumes it; with new annotations it trains only what these change.
    """
    settings = adapt.AdaptSettings(
        **shared.values_of(options, adapt.AdaptSettings),
        optimization=replace(
            adapt.AdaptSettings.optimization, seed=options.seed, precision=options.precision
        ),
    )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(settings.data).name)
    directory = options.output or Path("runs") / f"adapt_{name}"
    if options.save_as is not None:
        models.check_name(options.save_as, directory / "model.keras")
    data = adapt.load_cases(settings)  # What is wrong with it is said before TensorFlow starts.
    start_backend()
    if options.save_as:
        adapt.require_name(options.save_as, settings, directory, data=data)
    with AdaptProgress() as progress:
        answer = adapt.adapt(settings, directory, progress, data=data)
    print(shared.printable("\n\n".join(answer.sentences())))
    print(f"\neverything  {directory}/report.html, answer.md, cases.csv, pairs.png")
    if options.save_as:
        print(f"registered  {adapt.registered(options.save_as, True, answer)}")
    return 0


class _Bar:
    """A bar on standard error; as a context, it gives the cursor back however the training ends."""

    def __init__(self, before: str, *, after: str):
        from rich import console, progress

        self._bar = progress.Progress(
            progress.TextColumn(before),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn(after),
            progress.TimeRemainingColumn(),
            console=console.Console(file=sys.stderr),
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class ProgressBar(_Bar):
    """Shows step, loss, Dice and the time that remains; plain lines without a terminal."""

    def __init__(self, settings: Optimization):
        super().__init__("training", after="{task.fields[note]}")
        self._settings = settings
        self._step = 0
        self._validation = ""
        self._task = self._bar.add_task("training", total=settings.steps, note="")

    def callback(self) -> keras.callbacks.Callback:
        """Return what hands the events of a training on to this bar."""
        import keras

        names = [name for name in dir(self) if name.startswith("on_")]
        return keras.callbacks.LambdaCallback(**{name: getattr(self, name) for name in names})

    def on_train_begin(self, logs=None):
        self._bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self._step = epoch * self._settings.validate_every

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        note = f"loss {logs['loss']:.3f}  Dice {logs['dice']:.3f}{self._validation}"
        self._bar.update(self._task, completed=self._step, note=note)

    def on_epoch_end(self, epoch, logs=None):
        dice = logs["val_dice"]
        self._validation = "" if math.isnan(dice) else f"  validation Dice {dice:.3f}"
        if self._bar.disable:
            print(
                f"step {self._step}/{self._settings.steps}  loss {logs['loss']:.3f}  "
                f"Dice {logs['dice']:.3f}{self._validation}",
                file=sys.stderr,
            )

    def on_trial_end(self, strategy: str, fold: int, folds: int, *, dice: float) -> None:
        """Print a line for a trial of `auto:search`."""
        print(f"trial {fold}/{folds} of {strategy:<34}  Dice {dice:.3f}", file=sys.stderr)

    def on_train_end(self, logs=None):
        self._bar.stop()


class AdaptProgress(_Bar):
    """Shows what an adaptation is doing."""

    def __init__(self):
        super().__init__("{task.description}", after="steps")
        self._task = self._bar.add_task("adapting", total=None, visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def phase(self, text: str) -> None:
        """Say what begins."""
        self._say(f"{text} …")

    def note(self, text: str) -> None:
        """Say what was found."""
        self._say(f"  {text}")

    def planned(self, steps: int, seconds: float) -> None:
        """Say how long it should take, and start the bar."""
        self._say(f"  {steps:,} training steps to come, about {_duration(seconds)}")
        self._bar.update(self._task, total=steps, visible=True)

    def step(self, done: int = 1) -> None:
        """Move the bar."""
        self._bar.advance(self._task, done)

    def _say(self, text: str) -> None:
        if self._bar.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
