"""A figure as SVG inside a page: one theme with the page, no clash of names."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import PIL
from markupsafe import Markup, escape
from PIL import Image

from kerasunet import __version__
from kerasunet.files import write_text
from kerasunet.study.figures import Omission, draw_all, read_results
from kerasunet.study.figures.results import Results, StudyRecord
from kerasunet.study.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    HAIR,
    INK,
    PALE,
    PAPER,
    PURPLE,
    RC,
    VERMILLION,
    Drawing,
    interval,
    panel_title,
    signed,
)
from kerasunet.study.report import tables
from kerasunet.study.report.findings import Findings, advice, answer, reservations
from kerasunet.study.report.tables import (
    Table,
    auto_table,
    claim_frame,
    comparison_frame,
    strategy_table,
)
from kerasunet.study.stats import Claim

THEME = {
    INK: "ink",
    FAINT: "faint",
    PALE: "pale",
    HAIR: "hair",
    PAPER: "paper",
    BLUE: "blue",
    VERMILLION: "vermillion",
    GREEN: "green",
    PURPLE: "purple",
}
"""Colours of the house style to the custom properties that stand for them in the page."""
_HEADER = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_NOISE = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_OPENING = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
_MOST, _LEAST = 1.3, 0.8
_NAMES = re.compile(r'(\bid="|href="#|url\(#)')


def as_markup(drawing: Drawing) -> Markup:
    """Turns a figure into an SVG element with its alternative text."""
    text = _NOISE.sub("", _HEADER.sub("", _svg(drawing)))
    text = _NAMES.sub(rf"\g<1>{drawing.name}-", text)
    text = text.replace("xlink:href", "href")
    for colour, name in THEME.items():
        text = text.replace(colour, f"var(--{name})")
    attributes = f'class="drawing" role="img" aria-label="{escape(drawing.alt)}"'
    width = drawing.figure.get_figwidth()
    limits = f"max-width: {_MOST * width:.1f}in; min-width: {_LEAST * width:.1f}in"
    opening = _OPENING.match(text)
    head = f'<svg viewBox="{opening[1]}" {attributes} style="{limits}">'
    return Markup(head + text[opening.end() :])


def _svg(drawing: Drawing) -> str:
    file = io.StringIO()
    with matplotlib.rc_context(RC):
        drawing.figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return file.getvalue()


_ABSENT = {None: "–", True: "yes", False: "no"}


def facts(results: Results, study: StudyRecord) -> tuple[tuple[str, str], ...]:
    """Data, size and versions of one study, as pairs of name and value."""
    data, runs = study.data, results.runs[results.runs["data"] == study.data["name"]]
    listing = {
        "data": f"{data['name']}, {data['cases']} cases ({data['layout']})",
        "terms of the data": data["terms"],
        "to cite": data["citation"],
        "digest of the data": study.digests["data"],
        "digest of the initial model": study.digests["init"],
        "runs": f"{(runs['status'] == 'finished').sum()} finished, "
        f"{(runs['status'] != 'finished').sum()} failed",
        "folds with results": _listing(runs["fold"].unique()),
        "training images": _listing(runs["train_size"].unique()),
        "seeds": _listing(runs["seed"].unique()),
        "time of all runs": f"{runs['wall_seconds'].sum() / 3600:.1f} h",
        "versions": "; ".join(sorted(filter(None, runs["versions"].dropna().unique()))),
    }
    return tuple((name, str(value)) for name, value in listing.items() if value)


def settings_table(studies: Sequence[StudyRecord]) -> Table:
    """Every setting that all runs of a study share, a column for each study."""
    columns = [dict((*_flat(study.protocol["run"]), *_flat(_rates(study)))) for study in studies]
    rows = [(name, *(column.get(name, "–") for column in columns)) for name in columns[0]]
    names = [study.data["name"] for study in studies]
    everywhere = tuple(range(len(studies) + 1))
    return Table("Settings of all runs.", ("setting", *names), tuple(rows), texts=everywhere)


def _rates(study: StudyRecord) -> dict[str, Any]:
    """Where learning rates were searched, which; an empty list is no search."""
    return {"learning rates to choose from": study.protocol["learning_rates"] or None}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ".replace("_", " "))
        else:
            yield prefix + name.replace("_", " "), _plain(value)


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return _ABSENT[value]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _listing(values) -> str:
    return ", ".join(str(value) for value in sorted(values))


_TEMPLATE = "report.html"


@dataclass(frozen=True)
class Picture:
    """A picture that is put into the page."""

    source: str
    alt: str
    caption: str

    @classmethod
    def read(cls, path: Path) -> Picture:
        """Reads a PNG file with the texts inside; where it has none, its name has to do.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no PNG file.
        """
        try:
            with Image.open(path, formats=["PNG"]) as image:
                texts = {"Description": path.stem, "Comment": path.stem, **image.info}
        except PIL.UnidentifiedImageError as error:
            raise ValueError(f"{path}: not a PNG file") from error
        encoded = base64.b64encode(path.read_bytes()).decode("ascii")
        source = f"data:image/png;base64,{encoded}"
        return cls(source, texts["Description"], texts["Comment"])


def as_html(
    findings: Findings,
    drawings: Sequence[Drawing],
    omissions: Sequence[Omission],
    pictures: Sequence[Picture] = (),
) -> str:
    """Renders the page; whatever comes from files is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kerasunet.study.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    context = {**_context(findings), "omissions": omissions, "pictures": pictures}
    figures = [(drawing, as_markup(drawing)) for drawing in drawings]
    template = environment.get_template(_TEMPLATE)
    return template.render(**context, figures=figures, version=__version__).lstrip()


def _context(findings: Findings) -> dict[str, Any]:
    results = findings.results
    panels = [panel for panel in results.panels if findings.compared(*panel)]
    failures = tables.failure_table(results)
    return {
        "title": _title(results),
        "answer": answer(findings),
        "advice": advice(findings),
        "reservations": reservations(results),
        "claims": findings.claims,
        "strategies": [tables.strategy_table(results, data) for data in results.data],
        "comparisons": [tables.comparison_table(findings.compared(*panel)) for panel in panels],
        "auto": None if findings.auto.empty else tables.auto_table(findings.auto),
        "failures": failures if failures.rows else None,
        "studies": [(study.data["name"], facts(results, study)) for study in results.studies],
        "settings": settings_table(results.studies),
    }


def _title(results: Results) -> str:
    return f"Which layers to fine-tune: {', '.join(results.data)}"


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


def document(findings: Findings) -> str:
    """Writes strategies, claims and automatic choice as Markdown tables under their captions."""
    results = findings.results
    data_sets = dict.fromkeys(data for data, _ in results.panels)
    tables = [strategy_table(results, data) for data in data_sets]
    tables.append(claim_table(findings.claims))
    tables += [auto_table(findings.auto)] if len(findings.auto) else []
    return "\n\n".join(map(markdown, tables))


def claim_table(claims: Sequence[Claim]) -> Table:
    """The paper's claims, each with its verdict and effect."""
    return Table(
        "The claims of the paper: difference in Dice with 95 % bootstrap interval.",
        ("claim", "data", "measured", "verdict", "difference", "95 % interval"),
        tuple((c.name, _place(c), c.effect, c.verdict, *_effect(c)) for c in claims),
        texts=(0, 1, 2, 3),
    )


def markdown(table: Table) -> str:
    """Writes one table: its caption, its headings, its rows; notable rows in bold."""
    rule = ["---" if n in table.texts else "---:" for n in range(len(table.columns))]
    rows = [_row(row, number in table.notable) for number, row in enumerate(table.rows)]
    lines = [table.columns, rule, *rows]
    return "\n".join([table.caption, "", *(f"| {' | '.join(line)} |" for line in lines)])


def _row(cells: Sequence[str], notable: bool) -> list[str]:
    return [f"**{cell}**" if notable and cell else cell for cell in cells]


def _place(claim: Claim) -> str:
    titles = [panel_title(data) for data in claim.data.split(", ")]
    return f"{' against '.join(titles)}, {claim.train_size} images"


def _effect(claim: Claim) -> tuple[str, str]:
    if claim.estimate is None:
        return "", claim.explanation
    return signed(claim.estimate), interval(claim.low, claim.high, signed)
