"""The verbs about saved models: `models` lists them, `push` and `export` hand them on."""

from __future__ import annotations

import argparse
from pathlib import Path

from kerasunet import models
from kerasunet.backend import quiet_start, start_backend
from kerasunet.cli import options as shared
from kerasunet.inference.export_requests import FORMATS, check_request, sidecar_of
from kerasunet.metrics import bounds_in_words
from kerasunet.options import Option

_HEADINGS = ("model", "trained layers", "Dice on held-out cases (95 % interval)", "Dice elsewhere")


def add_models_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--card", metavar="NAME", help="print the card of one model")
    parser.add_argument("--markdown", action="store_true", help="print the list as Markdown")


def run_models(options: argparse.Namespace) -> int:
    """List the saved models: what trained, on what, and the Dice on held-out cases and elsewhere.

    A start is a model to begin a fine-tuning with; the list says for which images it is meant.
    """
    if options.card:
        print(models.card(options.card).to_markdown())
        return 0
    rows = [_row(models.card(name)) for name in models.list()]
    print("\n".join(_markdown(rows) if options.markdown else _columns(rows)))
    return 0


def _row(card: models.ModelCard) -> tuple[str, ...]:
    others = [_dice(one, card.may_have_seen(one)) for one in card.evaluations]
    elsewhere = "; ".join([*others, *map(_left_out, _unknown(card))])
    held_out = _dice(card.held_out, card.start_unknown)
    return card.name, _trained(card), held_out, elsewhere or "–"


def _trained(card: models.ModelCard) -> str:
    if card.name == models.NATURAL:
        return "start: any"
    return f"start: {card.kind_of_image}" if card.is_start else card.trained_layers


def _unknown(card: models.ModelCard) -> list[models.LeftOut]:
    """Return what was measured on hospitals of which no image at all was trained on."""
    return [one for one in card.left_out if one.data not in one.trained_on]


def _left_out(one: models.LeftOut) -> str:
    dice = one.dice
    return f"{one.data} left out {dice['mean']:.3f} ({bounds_in_words(dice['low'], dice['high'])})"


def _dice(evaluation: models.RecordedEvaluation, may_be_seen: bool) -> str:
    dice = evaluation.dice
    name = f"{evaluation.data.name}, mirrored" if evaluation.mirrored else evaluation.data.name
    if evaluation.seen:
        name += f", {evaluation.seen} of {evaluation.metrics['n']} cases seen"
    elif may_be_seen:
        name += ", perhaps seen"
    each = evaluation.metrics.get("objects") or {}
    parts = "".join(f", {part} {one['dice']['mean']:.3f}" for part, one in each.items())
    return f"{name} {dice.mean:.3f} ({bounds_in_words(dice.low, dice.high)}){parts}"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    table = [_HEADINGS, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(_HEADINGS))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def _markdown(rows: list[tuple[str, ...]]) -> list[str]:
    named = [(f"`{name}`", f"`{strategy}`", *dice) for name, strategy, *dice in rows]
    return [f"| {' | '.join(row)} |" for row in (_HEADINGS, ("---",) * len(_HEADINGS), *named)]


def add_push_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file, with its card")
    add("--to", required=True, metavar="PLACE", help="a folder, or hf://owner/name")
    add("--private", action="store_true", help="make a new repository private")
    add(
        "--despite-terms",
        action="store_true",
        help="push even if the terms of the training data forbid redistribution; the README then "
        "warns",
    )


def run_push(options: argparse.Namespace) -> int:
    """Write a model as a repository of the Hugging Face Hub: into a folder, or there.

    The repository holds the model file with its card, the same model as Keras opens it by
    hf://owner/name, and a README with the terms of the training data.
    """
    place = models.push(
        options.model, options.to, private=options.private, despite_terms=options.despite_terms
    )
    print(f"written: {place}")
    return 0


EXPORT_EPILOG = "formats:\n" + "\n".join(
    f"  {name:<11} {facts.purpose}{'' if facts.any_size else ' (one image size)'}"
    for name, facts in FORMATS.items()
)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file")
    add("--format", required=True, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    add("--output", type=Path, metavar="PATH", help="file or folder (default: NAME.SUFFIX here)")
    add(
        "--int8",
        action="store_true",
        help="8-bit weights and activations; uses the images of --data",
    )
    shared.add_shared(parser, "data", "manual_dir", data="simulated-ultrasound:64")
    shared.add_object_choice(parser)
    images = Option("largest number of images to check on", int, 1, maximum=1_000_000)
    shared.add_option(parser, "images", images, default=64)


def run_export(options: argparse.Namespace) -> int:
    """Export a saved model for other runtimes, checked against Keras image by image."""
    from kerasunet.data import load

    models.check(options.model)
    card = models.card(options.model)
    path = options.output or _default_path(card.name, options.format)
    check_request(options.format, path, options.int8)
    sidecar_of(path, options.format, options.int8, source=models.digest(options.model))
    data = load(options.data, options.manual_dir, **shared.object_choice(options, card))
    print(shared.describe_data(data), flush=True)

    start_backend()
    from kerasunet.inference.export import Images, export

    images = Images.of(
        data,
        size=card.image_size,
        channels=card.architecture.channels,
        count=options.images,
        calibrate=options.int8,
    )
    with quiet_start():  # Converters, too, write notes past `sys.stderr`.
        done = export(options.model, options.format, path, images=images, int8=options.int8)
    print(_summary(done.comparison, images.data))
    print(f"written: {done.path}, {done.sidecar}")
    return 0


def _default_path(name: str, format: str) -> Path:
    return Path(name + (FORMATS[format].suffix if format in FORMATS else ""))


def _summary(comparison: dict, data: str) -> str:
    loss = comparison["dice_loss"]
    return (
        f"compared with Keras on {comparison['images']} images of {data}: probabilities differ by "
        f"at most {comparison['max_abs_delta']:.2g}; {comparison['changed_pixels']:.3%} of the "
        f"pixels cross the threshold\nDice {comparison['dice_keras']:.4f} before, "
        f"{comparison['dice_exported']:.4f} after; loss {loss['mean']:.4f} "
        f"({loss['low']:.4f} to {loss['high']:.4f})"
    )
