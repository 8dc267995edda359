"""The verb `compare`: finished fine-tuning runs in one table, each by what it is."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from kerasunet.cli.image_files import each_once, labels_of
from kerasunet.files import read_record, read_rows
from kerasunet.metrics import DETECTION_IOU, bounds_in_words
from kerasunet.models.model_card import asked_layers
from kerasunet.options import TEXT, read_values
from kerasunet.runs.directory import RunDirectory

_SHOWN_OF_DIGEST = 8


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
            files.summary, ("after",), "the summary of a fine-tuning", remedy="leave it out"
        )
        summaries.append(files.read_summary("leave it out"))
    _require_same_test(directories, summaries)
    tables = [_held_out(*one) for one in zip(directories, summaries, strict=True)]
    named = zip(_starts(directories, summaries), labels_of(directories), strict=True)
    runs = [
        _RunRow.of(directory, summary, name, named=names, cases=cases)
        for directory, summary, names, cases in zip(
            directories, summaries, named, tables, strict=True
        )
        for name in ["", *(summary["after"].get("objects") or {})]
    ]
    print(_runs_table(sorted(runs, key=lambda row: (row.name, -row.dice["mean"])), summaries))
    print(f"Intervals are over {_groups_in_words(tables[0])}.")
    return 0


def _starts(directories: list[Path], summaries: list[dict]) -> list[str]:
    """Return the start of each run; of different files of one name, with their digests."""
    names = [summary["settings"]["init"] for summary in summaries]
    records = [RunDirectory(directory).config for directory in directories]
    digests = [_digest(record) if record.is_file() else "" for record in records]
    files = {name: {d for n, d in zip(names, digests, strict=True) if n == name} for name in names}
    return [
        f"{name} {digest[:_SHOWN_OF_DIGEST]}".strip() if len(files[name]) > 1 else name
        for name, digest in zip(names, digests, strict=True)
    ]


def _digest(record: Path) -> str:
    """Return the digest of a run's start, as its `config.json` has it."""
    wanted = {"digests": {"init": TEXT}}
    return read_values(record, wanted, "the record of a run", remedy="leave it out")["digests"][
        "init"
    ]


def _held_out(directory: Path, summary: dict) -> list[dict[str, str]]:
    """Return the rows of a run's table of cases; none if the table is gone.

    Raises:
        ValueError: It is not the whole table.
    """
    path, after = RunDirectory(directory).cases, summary["after"]
    if not path.is_file():
        return []
    columns = {"key": str, "group": str, "truth_area": float, "iou": float}
    rows = read_rows(path, columns, remedy="leave the run out")
    wanted = summary["split"]["test"] * max(len(after.get("objects") or ()), 1)
    if len(rows) != wanted:
        raise ValueError(
            f"{path}: has {len(rows)} rows, but the run was measured on {wanted} cases and "
            "objects, so a part is missing; leave the run out"
        )
    return rows


def _groups_in_words(rows: list[dict[str, str]]) -> str:
    """Return what the intervals of a run are over."""
    from kerasunet.data.splits import GroupedKey, groups_in_words

    keys = {GroupedKey(row["key"], row["group"]) for row in rows}
    return groups_in_words(keys) if keys else "groups of held-out images"


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
    def of(
        cls,
        directory: Path,
        summary: dict,
        name: str,
        *,
        named: tuple[str, str],
        cases: list[dict[str, str]],
    ) -> _RunRow:
        """Read a run; `named` is what to call its start and the run itself."""
        start, label = named
        settings, after = summary["settings"], summary["after"]
        after = after["objects"][name] if name else after
        asked, chosen = asked_layers(settings), summary["chosen"]
        side, untouched = settings["image_size"], not summary["trained"]
        planned = settings["optimization"]["steps"]
        taken = RunDirectory(directory).stopped_at(planned)
        steps = f"{taken:,} of {planned:,}" if taken else f"{planned:,}"
        steps = "none" if untouched else steps
        layers = f"{asked}: {chosen}" if asked.startswith("auto") else asked
        what = (f"`{layers}`", f"`{start}`", steps, f"{side}×{side}")
        trained = f"{summary['trained']:,}"
        missed = after["missed"]
        if "objects" not in summary["after"] and cases:
            missed = _missed(cases)
        return cls(
            name,
            (*what, trained, f"`{label}`"),
            after["dice"],
            after["hd95"]["mean"],
            missed=missed,
            side=side,
        )


def _missed(cases: list[dict[str, str]]) -> int:
    """Count the missed objects again: version 0.1.0 called any touching pixel a detection."""
    rows = [row for row in cases if float(row["truth_area"])]
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
