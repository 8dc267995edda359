"""Options that several verbs share, and the checks that need no TensorFlow."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasunet.architecture import Architecture
from kerasunet.data.augmentation_settings import PRESETS
from kerasunet.files import is_plain
from kerasunet.training.settings import Optimization

if TYPE_CHECKING:
    from kerasunet.data.cases import DataSet


def add_data(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--data",
        default=default,
        required=default is None,
        metavar="NAME|FOLDER",
        help="simulated-ultrasound, simulated-xray or simulated-natural (with :N for N cases); a "
        "published data set's folder; your own folder (images/ + masks/, x.png beside x_mask.png, "
        "labelme, COCO, Pascal VOC, one folder a patient); or a CSV manifest"
        f"{'' if default is None else f' (default: {default})'}",
    )
    parser.add_argument(
        "--manual-dir",
        metavar="FOLDER",
        help="with --data NAME of a public set: a folder with its archives, or what they unpack to",
    )


def shown(text: str) -> str:
    """Text without what a terminal takes for orders, which file names and contents may hold."""
    return "".join(c if is_plain(c, "\n") else repr(c)[1:-1] for c in text)


def describe_data(data: DataSet) -> str:
    """One line: name, the layout that was recognised, cases, and groups where there are some."""
    groups = len({case.group for case in data.cases})
    kept = f" in {groups:,} groups" if groups < len(data) else ""
    return f"data        {data.name} ({data.layout}): {len(data):,} cases{kept}"


def add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="use only cases with these labels, such as benign malignant (all)",
    )


def add_views(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--views",
        type=int,
        metavar="N",
        help="draw only N views of each image; what frozen layers make of them is computed once",
    )


def add_division(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("division into training, validation and test cases")
    add = group.add_argument
    add("--split-seed", type=int, default=0, help="(0)")
    add("--division", metavar="NAME", help="one that comes with the data: 5-fold, 10-fold, splits")
    add(
        "--groups",
        metavar="WHICH",
        help="what stays in one part: near-duplicates (default: patients or images, joined where "
        "images are nearly the same), given (those of the data; default with --division), or a "
        "CSV file of key and group, as written by check --groups",
    )
    add("--stratify-sizes", action="store_true", help="balance the folds by size of the object")


def division(options: argparse.Namespace) -> dict[str, object]:
    return {
        "split_seed": options.split_seed,
        "division": options.division,
        "groups": options.groups,
        "stratify_sizes": options.stratify_sizes,
    }


def add_optimization(parser: argparse.ArgumentParser, default: Optimization) -> None:
    group = parser.add_argument_group("optimisation")
    add = group.add_argument
    add("--steps", type=int, default=default.steps, help=f"optimiser steps ({default.steps})")
    add("--batch-size", type=int, default=default.batch_size, help=f"({default.batch_size})")
    add(
        "--learning-rate",
        type=float,
        default=default.learning_rate,
        help=f"peak learning rate of Adam ({default.learning_rate:g})",
    )
    add("--schedule", default=default.schedule, help="cosine or constant (cosine)")
    add(
        "--clip-norm",
        type=float,
        default=default.clip_norm,
        help=f"largest norm of the gradient, 0 for no clipping ({default.clip_norm:g})",
    )
    add(
        "--validate-every",
        type=int,
        default=default.validate_every,
        metavar="STEPS",
        help=f"validate and write a checkpoint every so many steps ({default.validate_every})",
    )
    add("--patience", type=int, help="stop after so many validations without a better Dice")
    add("--keep", default=default.keep, help="end with the last or the best weights (last)")
    add(
        "--precision",
        default=default.precision,
        help="float32, mixed_float16 or mixed_bfloat16 (float32)",
    )
    add(
        "--augmentation",
        default="full",
        choices=list(PRESETS),
        help="how far training views differ from the images (full)",
    )
    add("--deterministic", action="store_true", help="bit-identical results on this machine")
    add("--seed", type=int, default=default.seed, help=f"({default.seed})")


def optimization(options: argparse.Namespace) -> Optimization:
    return Optimization(
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        schedule=options.schedule,
        clip_norm=options.clip_norm or None,
        validate_every=options.validate_every,
        patience=options.patience,
        keep=options.keep,
        precision=options.precision,
        deterministic=options.deterministic,
        seed=options.seed,
    )


def add_architecture(parser: argparse.ArgumentParser, when: str) -> None:
    default = Architecture()
    group = parser.add_argument_group(f"architecture ({when})")
    add = group.add_argument
    add(
        "--base-filters",
        type=int,
        default=default.base_filters,
        help=f"filters of the first level ({default.base_filters})",
    )
    add("--depth", type=int, default=default.depth, help=f"number of poolings ({default.depth})")
    add(
        "--normalization",
        default=default.normalization,
        choices=("batch", "group", "none"),
        help=f"({default.normalization})",
    )
    add(
        "--channels",
        type=int,
        default=default.channels,
        choices=(1, 3),
        help="1 grey, 3 colour (1)",
    )


def architecture(options: argparse.Namespace) -> Architecture:
    return Architecture(
        base_filters=options.base_filters,
        depth=options.depth,
        normalization=None if options.normalization == "none" else options.normalization,
        channels=options.channels,
    )


LARGEST_SIDE = 2048
_RANGES = {
    "base_filters": (1, 512),
    "batch_size": (0, 4096),
    "count": (1, 1000),
    "depth": (1, 8),
    "folds": (2, 1000),
    "gpus": (0, 1000),
    "image_size": (1, LARGEST_SIDE),
    "images": (0, 1_000_000),
    "only_folds": (0, 1000),
    "overlap": (0, LARGEST_SIDE),
    "port": (1, 65535),
    "seed": (0, 2**31 - 1),
    "seeds": (1, 1000),
    "split_seed": (0, 2**31 - 1),
    "steps": (0, 100_000_000),
    "tile": (1, LARGEST_SIDE),
    "train_sizes": (1, 10_000_000),
    "validation_size": (0, 10_000_000),
    "views": (0, 1_000_000),
    "workers": (1, 1000),
}
_SHARES = ("threshold",)
_MOST_BOTTLENECK_FILTERS = 2048
_FILES, _PLACES = ("csv", "html", "json", "sheet"), ("output", "csv", "html", "json", "sheet")
_WRITE_A_FILE = ("export", "panel")


def check_options(verb: str, options: argparse.Namespace) -> None:
    """Refuses numbers that no run could use, and places where nothing could be written.

    Raises:
        ValueError: An option is out of range or not a finite number.
        FileExistsError: A file is in the way of a folder, or a folder of a file.
    """
    for name, value in vars(options).items():
        for number in _numbers(value):
            _check_number(name, number)
    if getattr(options, "base_filters", 1) * 2 ** getattr(options, "depth", 1) > (
        _MOST_BOTTLENECK_FILTERS
    ):
        raise ValueError(
            f"--base-filters {options.base_filters} --depth {options.depth}: more than "
            f"{_MOST_BOTTLENECK_FILTERS:,} filters in the bottleneck, which fit no memory"
        )
    for name in _PLACES:
        if isinstance(path := getattr(options, name, None), Path):
            _check_place(path, is_file=name in _FILES or verb in _WRITE_A_FILE)


def _numbers(value: Any) -> Iterator[int | float]:
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            yield item


def _check_number(name: str, value: int | float) -> None:
    option = "--" + name.replace("_", "-")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{option} {value}: give a finite number")
    if name in _SHARES and not 0 <= value <= 1:
        raise ValueError(f"{name} must be between 0 and 1, not {value}")
    least, most = _RANGES.get(name, (value, value))
    if not least <= value <= most:
        raise ValueError(f"{option} {value}: give a whole number of {least:,} to {most:,}")


def _check_place(path: Path, is_file: bool) -> None:
    if is_file and path.is_dir():
        raise FileExistsError(f"{path}: is a folder; give the name of a file")
    if not is_file and path.exists() and not path.is_dir():
        raise FileExistsError(f"{path}: is a file; give a folder, or the name of a new one")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise FileExistsError(f"{above}: is a file, so nothing can be written below it")
