"""Write the report of a study, or of several together: one HTML file, figures, tables.

Works on unfinished studies too: it states their progress, and leaves out what cannot be drawn.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("studies", nargs="+", type=Path, metavar="STUDY", help="study directories")
    add("--output", type=Path, help="folder (default: the study directory, if there is only one)")
    add(
        "--pictures",
        nargs="+",
        type=Path,
        default=[],
        metavar="PNG",
        help="pictures to show in the report, as kerasunet panel draws them",
    )


def run(options: argparse.Namespace) -> int:
    from kerasunet.study.report import write_report

    path = write_report(options.studies, options.output, options.pictures)
    print(f"report      {path}")
    print(f"figures     {path.parent / 'figures'}/")
    print(f"tables      {path.parent / 'tables'}/")
    return 0
