"""The verb `compare`: finished fine-tuning runs in one table, each by what it is."""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

from kerasunet.cli.image_files import each_once, labels_of
from kerasunet.files import last_row, read_json, read_record
from kerasunet.metrics import DETECTION_IOU, bounds_in_words
from kerasunet.models.model_card import asked_layers
from kerasunet.runs.directory import RunDirectory

_SHOWN_OF_DIGEST = 8
_SUMMARY_FIELDS = ("settings", "data", "split", "trained", "after")


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")


def run_compare(options: argparse.Namespace) -> int:
    """Compare finished fine-tuning runs: one Markdown table, best Dice first, each by what it is.

    Runs are comparable only on the same held-out cases, so they must share data and test fold.
    """
    summaries = []
    directories = each_once(options.runs)
    for directory in directories:
        files = RunDirectory(directory)
        if not files.summary.is_file():
            raise FileNotFoundError(
                f"{directory}: has no summary.json, so it is not a finished run; finish it "
                "first, or leave it out"
            )
        read_record(
            files.summary, _SUMMARY_FIELDS, "the summary of a fine-tuning", remedy="leave it out"
        )
        summaries.append(files.read_summary())
    _require_same_test(directories, summaries)
    labels = labels_of(directories)
    runs = [
        _RunRow.of(directory, summary, name, named=(start, label))
        for directory, summary, start, label in zip(
            directories, summaries, _starts(directories, summaries), labels, strict=True
        )
        for name in ["", *(summary["after"].get("objects") or {})]
    ]
    print(_runs_table(sorted(runs, key=lambda row: (row.name, -row.dice["mean"])), summaries))
    print(f"Intervals are over {_held_out_groups(directories[0])}.")
    return 0


def _starts(directories: list[Path], summaries: list[dict]) -> list[str]:
    """Return the start of each run; of different files of one name, with their digests."""
    names = [summary["settings"]["init"] for summary in summaries]
    records = [RunDirectory(directory).config for directory in directories]
    digests = [
        read_json(record).get("digests", {}).get("init", "") if record.is_file() else ""
        for record in records
    ]
    files = {name: {d for n, d in zip(names, digests, strict=True) if n == name} for name in names}
    return [
        f"{name} {digest[:_SHOWN_OF_DIGEST]}".strip() if len(files[name]) > 1 else name
        for name, digest in zip(names, digests, strict=True)
    ]


def _held_out_groups(directory: Path) -> str:
    """Return what the intervals of a run are over, in words."""
    from kerasunet.data.splits import GroupedKey, groups_in_words

    cases = RunDirectory(directory).cases
    if not cases.is_file():
        return "groups of held-out images"
    with open(cases, encoding="utf-8", newline="") as file:
        keys = {GroupedKey(row["key"], row["group"]) for row in csv.DictReader(file)}
    return groups_in_words(keys)


def _require_same_test(directories: list[Path], summaries: list[dict]) -> None:
    for directory, summary in zip(directories, summaries, strict=True):
        for what in ("data", "split"):
            if summary[what]["digest"] != summaries[0][what]["digest"]:
                raise ValueError(
                    f"{directory}: has a different {what} from {directories[0]}, so their "
                    "numbers cannot be compared"
                )


@dataclass(frozen=True)
class _RunRow:
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
    def of(cls, directory: Path, summary: dict, name: str, *, named: tuple[str, str]) -> _RunRow:
        """Read a run; `named` is what to call its start and the run itself."""
        start, label = named
        settings, after = summary["settings"], summary["after"]
        after = after["objects"][name] if name else after
        asked, chosen = asked_layers(settings), summary["chosen"]
        side, untouched = settings["image_size"], not summary["trained"]
        planned = settings["optimization"]["steps"]
        last = last_row(RunDirectory(directory).history)
        taken = int(last["step"]) if last else planned
        steps = f"{taken:,} of {planned:,}" if taken < planned else f"{planned:,}"
        steps = "none" if untouched else steps
        layers = f"{asked}: {chosen}" if asked.startswith("auto") else asked
        what = (f"`{layers}`", f"`{start}`", steps, f"{side}×{side}")
        trained = f"{summary['trained']:,}"
        missed = after["missed"]
        if "objects" not in summary["after"]:
            missed = _missed(RunDirectory(directory).cases, missed)
        return cls(
            name,
            (*what, trained, f"`{label}`"),
            after["dice"],
            after["hd95"]["mean"],
            missed=missed,
            side=side,
        )


def _missed(cases: Path, recorded: int) -> int:
    """Count the missed objects again: version 0.1.0 called any touching pixel a detection."""
    if not cases.is_file():
        return recorded
    with open(cases, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["truth_area"])]
    return sum(float(row["iou"]) < DETECTION_IOU for row in rows)


def _runs_table(rows: list[_RunRow], summaries: list[dict]) -> str:
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
            f"| {dice['mean']:.3f} ({bounds_in_words(dice['low'], dice['high'])}) "
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
