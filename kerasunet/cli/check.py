"""Find every mistake in a data set in one pass, before training.

Errors would stop training or cannot be masks; warnings need a look; notes are suspicions. The exit
status is 1 if there are errors, 0 if there are none, 2 after wrong arguments.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet.cli import options as shared

if TYPE_CHECKING:
    from kerasunet.data.checking import Problem, Report


_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="folder, manifest or COCO file, or name of a data set")
    add(
        "--manual-dir",
        metavar="FOLDER",
        help="with the name of a public set: the folder that holds its files",
    )
    shared.add_object_choice(parser)
    add(
        "--groups",
        type=Path,
        metavar="CSV",
        help="write the key and group of each case, near-duplicates joined",
    )
    shared.add_shared(parser, "group_pattern")
    add("--html", type=Path, metavar="FILE", help="write a report with thumbnails to this file")
    add("--json", action="store_true", help="print all problems as JSON")


def marks() -> dict[str, bytes]:
    return {"html": b"<title>Check of "}


def run(options: argparse.Namespace) -> int:
    from kerasunet.data.checking import check

    report = check(
        options.data,
        options.manual_dir,
        **shared.object_choice(options),
        group_pattern=options.group_pattern,
    )
    print(_json(report) if options.json else shared.printable(_listing(report)))
    _write_files(report, options)
    return 1 if report.counts()["error"] else 0


def _write_files(report: Report, options: argparse.Namespace) -> None:
    from kerasunet.data.checking import write_groups
    from kerasunet.data.checking.report import as_html
    from kerasunet.files import write_text

    if options.html:
        write_text(options.html, as_html(report))
    if options.groups:
        if not report.data:
            raise ValueError(
                f"{options.groups}: not written, because the cases could not be listed; correct "
                "the errors above first"
            )
        _require_own_groups(options.groups, report.groups)
        write_groups(options.groups, report.groups)


def _require_own_groups(path: Path, groups: Mapping[str, str]) -> None:
    """Refuse to replace any other table than that of these groups: it may have been edited."""
    from kerasunet.data.checking import write_groups

    if not path.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        write_groups(Path(folder) / path.name, groups)
        written = (Path(folder) / path.name).read_bytes()
    if path.read_bytes() not in (b"", written):
        raise FileExistsError(
            f"{path}: holds something other than these groups, perhaps yours; give another file, "
            "or move it away"
        )


def _json(report: Report) -> str:
    import json

    return json.dumps(report.as_dict(), indent=2, ensure_ascii=False)


def _listing(report: Report) -> str:
    from kerasunet.data.checking.report import summary

    sections = [_section(kind, found) for kind, found in report.by_kind().items()]
    return "\n\n".join([summary(report), *sections])


def _section(kind: str, problems: list[Problem]) -> str:
    """Every error; of warnings and notes the first few, for they can be very many."""
    from kerasunet.data.checking import KINDS

    severity, title, remedy = KINDS[kind]
    shown = problems if severity == "error" else problems[:_SHOWN]
    lines = [f"{severity}: {title} ({len(problems)})", f"  {remedy}"]
    lines += [f"    {problem.message}" for problem in shown]
    if len(shown) < len(problems):
        lines.append(f"    … and {len(problems) - len(shown)} more; --json and --html show all")
    return "\n".join(lines)
