"""Compare finished fine-tuning runs: one Markdown table, best Dice first.

Runs are comparable only on the same held-out cases, so they must share data and test fold.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kerasunet.runs.directory import RunDirectory

_NEEDED = ("settings", "data", "split", "trained", "after")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")


def run(options: argparse.Namespace) -> int:
    from kerasunet.files import read_record

    summaries = []
    for directory in options.runs:
        path = RunDirectory(directory).summary
        if not path.is_file():
            raise FileNotFoundError(
                f"{directory}: has no summary.json, so it is not a finished run; finish it "
                "first, or leave it out"
            )
        what = "the summary of a fine-tuning"
        summaries.append(read_record(path, _NEEDED, what, remedy="leave it out"))
    _require_same_test(options.runs, summaries)
    print(_table(sorted(summaries, key=lambda s: -s["after"]["dice"]["mean"])))
    return 0


def _require_same_test(directories: list[Path], summaries: list[dict]) -> None:
    for directory, summary in zip(directories, summaries, strict=True):
        for what in ("data", "split"):
            if summary[what]["digest"] != summaries[0][what]["digest"]:
                raise ValueError(
                    f"{directory}: has a different {what} from {directories[0]}, so their "
                    "numbers cannot be compared"
                )


def _table(summaries: list[dict]) -> str:
    first = summaries[0]
    unit = first["after"]["unit"]
    lines = [
        f"| layers | weights trained | Dice (95 % interval) | HD95 ({unit}) | missed |",
        "|---|---|---|---|---|",
    ]
    for summary in summaries:
        after = summary["after"]
        dice, hd95 = after["dice"], after["hd95"]
        lines.append(
            f"| `{summary['settings']['layers']}` | {summary['trained']:,} "
            f"| {dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f}) "
            f"| {hd95['mean']:.1f} | {after['missed']} |"
        )
    split = first["split"]
    settings = first["settings"]
    lines.append(
        f"\n{first['data']['name']}: {split['train']} training images, {split['test']} held-out "
        f"images, {settings['optimization']['steps']} steps, start from `{settings['init']}`, "
        f"{settings['image_size']}×{settings['image_size']} pixels."
    )
    return "\n".join(lines)
