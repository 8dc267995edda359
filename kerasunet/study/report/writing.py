"""Writes the report of one study, or of several together, with its figures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kerasunet.files import write_text
from kerasunet.study.figures import draw_all, read_results
from kerasunet.study.report.findings import Findings
from kerasunet.study.report.page import Picture, as_html
from kerasunet.study.report.tables import claim_frame, comparison_frame


def write_report(
    studies: Path | Sequence[Path], output: Path | None = None, pictures: Sequence[Path] = ()
) -> Path:
    """Writes `report.html`, `figures/` as PNG and SVG, and `tables/` as CSV.

    A study that has not finished is reported as far as it is; what cannot be drawn or compared
    is said. Nothing is computed anew but statistics.

    Args:
        studies: A study directory, or several of different data sets.
        output: Folder to write to; the study directory unless given. Several need one.
        pictures: PNG files to show in the report, as `kerasunet panel` draws them.

    Returns:
        Path of the report.

    Raises:
        FileNotFoundError: A directory holds no study with results, or a picture is not there.
        ValueError: Nothing has finished, the studies cannot stand in one table, a picture is no
            PNG file, or several studies come without an output folder.
    """
    directories = [studies] if isinstance(studies, Path) else list(studies)
    if output is None and len(directories) != 1:
        raise ValueError("a report of several studies needs an output folder")
    output = output or directories[0]
    shown = [Picture.read(path) for path in pictures]
    findings = Findings.of(read_results(directories))
    drawings, omissions = draw_all(findings.results)
    for drawing in drawings:
        drawing.write(output / "figures")
    _write_tables(findings, output / "tables")
    path = output / "report.html"
    write_text(path, as_html(findings, drawings, omissions, shown))
    return path


def _write_tables(findings: Findings, folder: Path) -> None:
    frames = {
        "strategies": findings.results.summary,
        "curves": findings.results.curves,
        "comparisons": comparison_frame(findings.comparisons),
        "claims": claim_frame(findings.claims),
        "auto": findings.auto,
    }
    for name, frame in frames.items():
        text = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_text(folder / f"{name}.csv", text)
