"""The report as one HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import PIL
from PIL import Image

from kerasunet import __version__
from kerasunet.study.figures import Drawing, Omission, Results
from kerasunet.study.report import tables
from kerasunet.study.report.answer import advice, answer, reservations
from kerasunet.study.report.findings import Findings
from kerasunet.study.report.protocol import facts, settings_table
from kerasunet.study.report.vector import as_markup

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
