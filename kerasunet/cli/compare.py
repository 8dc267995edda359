"""Compare finished fine-tuning runs: one Markdown table, best Dice first, each by what it is.

Runs are comparable only on the same held-out cases, so they must share data and test fold.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

from kerasunet.files import read_record
from kerasunet.metrics import DETECTION_IOU
from kerasunet.models.model_card import asked_layers
from kerasunet.runs.directory import RunDirectory

_NEEDED = ("settings", "data", "split", "trained", "after")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")


def run(options: argparse.Namespace) -> int:
    summaries = []
    for directory in options.runs:
        files = RunDirectory(directory)
        if not files.summary.is_file():
            raise FileNotFoundError(
                f"{directory}: has no summary.json, so it is not a finished run; finish it "
                "first, or leave it out"
            )
        read_record(files.summary, _NEEDED, "the summary of a fine-tuning", remedy="leave it out")
        summaries.append(files.read_summary())
    _require_same_test(options.runs, summaries)
    runs = [
        _Row.of(directory, summary, name)
        for directory, summary in zip(options.runs, summaries, strict=True)
        for name in ["", *(summary["after"].get("objects") or {})]
    ]
    print(_table(sorted(runs, key=lambda row: (row.name, -row.dice["mean"])), summaries))
    return 0


def _require_same_test(directories: list[Path], summaries: list[dict]) -> None:
    for directory, summary in zip(directories, summaries, strict=True):
        for what in ("data", "split"):
            if summary[what]["digest"] != summaries[0][what]["digest"]:
                raise ValueError(
                    f"{directory}: has a different {what} from {directories[0]}, so their "
                    "numbers cannot be compared"
                )


@dataclass(frozen=True)
class _Row:
    """What one run is, and how good it is: at one of several objects, or at all.

    Attributes:
        name: Of the object; empty for the mean of all.
    """

    name: str
    what: tuple[str, ...]
    dice: dict[str, float]
    hd95: float
    missed: int
    side: int

    @classmethod
    def of(cls, directory: Path, summary: dict, name: str) -> _Row:
        settings, after = summary["settings"], summary["after"]
        after = after["objects"][name] if name else after
        asked, chosen = asked_layers(settings), summary["chosen"]
        side, untouched = settings["image_size"], not summary["trained"]
        steps = "none" if untouched else f"{settings['optimization']['steps']:,}"
        layers = f"{asked}: {chosen}" if asked.startswith("auto") else asked
        what = (f"`{layers}`", f"`{settings['init']}`", steps, f"{side}×{side}")
        trained = f"{summary['trained']:,}"
        missed = after["missed"]
        if "objects" not in summary["after"]:
            missed = _missed(RunDirectory(directory).cases, missed)
        return cls(
            name,
            (*what, trained, f"`{directory.name}`"),
            after["dice"],
            after["hd95"]["mean"],
            missed=missed,
            side=side,
        )


def _missed(cases: Path, recorded: int) -> int:
    """Count the missed objects anew: version 0.1.0 called any touching pixel a detection."""
    if not cases.is_file():
        return recorded
    with open(cases, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["truth_area"])]
    return sum(float(row["iou"]) < DETECTION_IOU for row in rows)


def _table(rows: list[_Row], summaries: list[dict]) -> str:
    first = summaries[0]
    unit, several = first["after"]["unit"], "objects" in first["after"]
    lines = [
        "| object "
        * several
        + "| layers | start | steps | image size | weights trained | run | Dice (95 % interval) "
        f"| HD95 ({unit}) | missed (IoU below {DETECTION_IOU}) |",
        "|---" * several + "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        dice = row.dice
        lines.append(
            f"| {row.name or 'mean of all'} " * several + f"| {' | '.join(row.what)} "
            f"| {dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f}) "
            f"| {row.hd95:.1f} | {row.missed} |"
        )
    split = first["split"]
    lines.append(
        f"\n{first['data']['name']}: {split['train']} training images, {split['test']} held-out "
        "images."
    )
    if unit == "px" and len({row.side for row in rows}) > 1:
        lines.append("Pixels of different image sizes are not the same: do not compare HD95.")
    return "\n".join(lines)
