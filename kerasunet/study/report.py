"""The report of a study: one HTML page with its figures inside, and what it says in words.

Figures and tables are written as files beside it, too.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import pandas as pd
import PIL
from PIL import Image

from kerasunet import __version__
from kerasunet.data.loading import require_outside
from kerasunet.files import (
    expanded,
    folder_for,
    is_marked,
    note,
    noted,
    notes_of,
    noting,
    require_replaceable,
    sha256,
    write_json,
    write_text,
    writing,
)
from kerasunet.processes import alone_in
from kerasunet.runs.directory import require_not_of
from kerasunet.schema import TEXT, each, or_null, read_values
from kerasunet.study import report_tables as tables
from kerasunet.study.figures.block_gains import BLOCK_GAINS, draw_block_gains
from kerasunet.study.figures.comparisons import FOREST, PATHS, draw_forest, draw_paths
from kerasunet.study.figures.dice_against import (
    COST,
    TRAINING_IMAGES,
    TUNED_BLOCKS,
    draw_cost,
    draw_training_images,
    draw_tuned_blocks,
)
from kerasunet.study.figures.style import (
    RC,
    Drawing,
    NotDrawnError,
    as_markup,
    images,
    interval,
    signed,
)
from kerasunet.study.results import Scenario, paths_of, read_results
from kerasunet.study.stats import Claim, StudyStatistics, compare_all, seen_by_starts

_FIGURES = {
    TUNED_BLOCKS: draw_tuned_blocks,
    PATHS: draw_paths,
    TRAINING_IMAGES: draw_training_images,
    BLOCK_GAINS: draw_block_gains,
    COST: draw_cost,
    FOREST: draw_forest,
}
TITLES = dict(_FIGURES.keys())
"""By name of the file, without suffix, the title of each figure."""
_PATHS, _CURVES = "contracting-above-expanding", "shallow-first-above-deep-first"
_CLAUSES = {
    _PATHS: {
        "supported": "tuning the contracting path was better than tuning the expanding path",
        "contradicted": "tuning the expanding path was better than tuning the contracting path",
        "undecided": "tuning the contracting and the expanding path could not be told apart",
        "missing": "the contracting and the expanding path could not be compared",
    },
    _CURVES: {
        "supported": "adding blocks from the shallow end was better than from the deep end",
        "contradicted": "adding blocks from the deep end was better than from the shallow end",
        "undecided": "adding blocks from either end could not be told apart",
        "missing": "adding blocks from either end could not be compared",
    },
}
_MARGIN = 0.01


@dataclass(frozen=True)
class Omission:
    """A figure that is left out, and why."""

    title: str
    reason: str


def draw_all(statistics: StudyStatistics) -> tuple[tuple[Drawing, ...], tuple[Omission, ...]]:
    """Draw every figure for which there are enough results.

    Returns:
        The figures, and those that had to be left out.
    """
    drawings, omissions = [], []
    with matplotlib.rc_context(RC):
        for (_, title), draw in _FIGURES.items():
            try:
                drawings.append(draw(statistics))
            except NotDrawnError as error:
                omissions.append(Omission(title, str(error)))
    return tuple(drawings), tuple(omissions)


_TITLE = "Which layers to fine-tune: "
_MARK = f"<title>{_TITLE}".encode()
_PAGE, _RECORD = "report.html", "report.json"
_WRITTEN = {"files": each("an object with digests", or_null(TEXT, "text"))}


@dataclass(frozen=True)
class Picture:
    """A picture that is put into the page."""

    source: str
    alt: str
    caption: str

    @classmethod
    def read(cls, path: Path) -> Picture:
        """Read a PNG file with the text in it; if it has none, its name is used.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not a PNG file.
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
    statistics: StudyStatistics,
    *,
    drawings: Sequence[Drawing],
    omissions: Sequence[Omission],
    pictures: Sequence[Picture] = (),
) -> str:
    """Render the page; whatever comes from files is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kerasunet.study"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    context = {**_context(statistics), "omissions": omissions, "pictures": pictures}
    figures = [(drawing, as_markup(drawing)) for drawing in drawings]
    template = environment.get_template(_PAGE)
    return template.render(**context, figures=figures, version=__version__).lstrip()


def _context(statistics: StudyStatistics) -> dict[str, Any]:
    results = statistics.results
    comparisons = {
        scenario: found
        for scenario in results.scenarios
        if (found := statistics.comparisons_of(scenario))
    }
    groups = {data: results.groups_in_words(data) for data in results.data_sets}
    failures = tables.failure_table(results)
    return {
        "title": _TITLE + ", ".join(results.data_sets),
        "answer": answer(statistics),
        "advice": (*advice(statistics), *seen_by_starts(results)),
        "reservations": tables.reservations(results),
        "claims": statistics.claims,
        "strategies": [tables.strategy_table(statistics, data) for data in results.data_sets],
        "objects": tables.object_tables(statistics),
        "comparisons": [
            tables.comparison_table(found, groups[scenario.data])
            for scenario, found in comparisons.items()
        ],
        "groups": ", ".join(f"{counted} of {data}" for data, counted in groups.items()),
        "auto": None if statistics.auto.empty else tables.auto_table(statistics.auto),
        "failures": failures if failures.rows else None,
        "studies": [(study.name, tables.facts(results, study)) for study in results.studies],
        "settings": tables.settings_table(results.studies),
    }


def write_report(
    studies: str | Path | Iterable[str | Path],
    output: str | Path | None = None,
    pictures: Iterable[str | Path] = (),
) -> Path:
    """Write `report.html`, `figures/` as PNG and SVG, `tables/` as CSV, and `report.json`.

    An unfinished study is reported in its present state; the report says what cannot be drawn or
    compared. Only statistics are computed; nothing is trained or predicted.

    Args:
        studies: A study directory, or several of different data sets.
        output: Folder to write to; the study directory unless given. Several studies need one.
        pictures: PNG files to show in the report, as `kerasunet panel` draws them.

    Returns:
        Path of the report.

    Raises:
        FileNotFoundError: A directory holds no study with results, or a picture does not exist.
        FileExistsError: The folder holds a page, figures or tables that are not part of such a
            report, or have been changed since.
        ValueError: Nothing has finished, the studies cannot be combined, a picture is not a PNG
            file, or several studies are given without an output folder.
    """
    directories = paths_of(studies)
    if output is None and len(directories) != 1:
        raise ValueError("a report of several studies needs an output folder")
    output = expanded(output or directories[0])
    for folder in (output, *(one for one in (output / "figures",) if one.is_symlink())):
        require_outside(folder)
    shown = [Picture.read(expanded(path)) for path in pictures]
    statistics = StudyStatistics(read_results(directories))
    path, frames = output / _PAGE, tables.frames(statistics)
    paths = {name: output / "tables" / f"{name}.csv" for name in frames}
    files = [path, *_figures(output), *paths.values()]
    _require_own(path, own := {paths[name]: frame for name, frame in frames.items()})
    drawings, omissions = draw_all(statistics)
    page = as_html(statistics, drawings=drawings, omissions=omissions, pictures=shown)
    # First, so that what an interruption leaves is recognized.
    names = {one.relative_to(output).as_posix(): one for one in files}
    place = output / "figures"  # A study that is under way has locked the folder itself.
    with writing(place), folder_for(place), alone_in(place), noting(output / _RECORD):
        _require_own(path, own)  # Another report may have come first.
        note([(one, one.name) for one in files if one.is_file()], output / _RECORD)
        write_json(output / _RECORD, {"files": dict.fromkeys(names)})
        write_text(path, page)
        for figure in _figures(output):
            figure.resolve().unlink(missing_ok=True)  # A link stays.
        for drawing in drawings:
            drawing.write(output / "figures")
        for name, frame in frames.items():
            text = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
            write_text(paths[name], text)
    written = {name: sha256(one) for name, one in names.items() if one.is_file()}
    write_json(output / _RECORD, {"files": written})
    notes_of(output / _RECORD).unlink(missing_ok=True)
    return path


def require_free(folder: Path) -> None:
    """Refuse a folder in which a report could not be written, before there is anything to report.

    Raises:
        FileExistsError: It holds a page, figures or tables of no report, or that were changed.
    """
    written = _recorded(folder) if (folder / _RECORD).is_file() else {}
    columns = {folder / name: pd.DataFrame() for name in written if name.startswith("tables/")}
    _require_own(folder / _PAGE, columns)


def _recorded(folder: Path) -> dict[str, str | None]:
    """Return the digests of what a report wrote, by file."""
    path, what = folder / _RECORD, "the record of a report"
    return read_values(path, _WRITTEN, what, remedy="give another folder with --output")["files"]


def _require_own(page: Path, tables: Mapping[Path, pd.DataFrame]) -> None:
    """Refuse to replace a page, figures or tables of no report, or that have been changed.

    Where an older report has no record, its tables are known by their columns.
    """
    require_not_of(page.parent, "adapt.json")  # Whose page has the same name.
    figures, record = _figures(page.parent), page.parent / _RECORD
    for one in (page, *figures, *tables, record):
        require_replaceable(one)
    if record.exists():
        known = _recorded(page.parent)
        foreign = [one for one in (page, *figures, *tables) if not _is_known(one, page, known)]
    else:
        foreign = [] if page.is_file() and is_marked(page, _MARK) else [page]
        foreign += [one for one, frame in tables.items() if not _has_columns(one, frame)]
        foreign += [one for one, title in figures.items() if not _is_own(one, title)]
    found = [path for path in foreign if path.exists()]
    if found:
        raise FileExistsError(
            f"{found[0]}: is not part of a report, or has been changed since, and would be "
            "replaced; move it away, or give another folder (kerasunet report STUDY --output NAME)"
        )


def _is_known(path: Path, page: Path, known: Mapping[str, str | None]) -> bool:
    own = known.get(path.relative_to(page.parent).as_posix(), "")
    if own is None:
        return noted(page.parent / _RECORD)(path)
    return path.is_file() and own == sha256(path)


def _has_columns(path: Path, frame: pd.DataFrame) -> bool:
    if not path.is_file() or path.parent.is_symlink():  # Then it may be another report's.
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline() == frame.head(0).to_csv(index=False, lineterminator="\n")


def _figures(folder: Path) -> dict[Path, str]:
    """Return the title of every figure that a report may have, by its file."""
    return {
        folder / "figures" / f"{name}{suffix}": title
        for name, title in TITLES.items()
        for suffix in (".png", ".svg")
    }


def _is_own(path: Path, title: str) -> bool:
    return not path.parent.is_symlink() and path.is_file() and is_marked(path, title.encode())


def answer(statistics: StudyStatistics) -> str:
    """Return one sentence: each data set's verdicts and best strategy at its largest size."""
    scenarios = statistics.results.largest_scenarios
    return "; ".join(_about(statistics, scenario) for scenario in scenarios) + "."


def advice(statistics: StudyStatistics) -> tuple[str, ...]:
    """Name, for each data set, the cheapest strategy that is hardly worse than the best."""
    found = [_frugal(statistics, scenario) for scenario in statistics.results.largest_scenarios]
    return tuple(text for text in found if text)


def closing(statistics: StudyStatistics) -> tuple[str, ...]:
    """Say, for each data set, what to tune, what to expect, and whether the lead is decided."""
    scenarios = statistics.results.largest_scenarios
    found = (sentence for scenario in scenarios for sentence in _closing(statistics, scenario))
    return (*found, *seen_by_starts(statistics.results))


def _closing(statistics: StudyStatistics, scenario: Scenario) -> Iterator[str]:
    summary = statistics.ranking_of(scenario)
    best, groups = summary.iloc[0], statistics.results.groups_in_words(scenario.data)
    yield (
        f"On {_in_words(scenario)}, tune {best.name}: Dice {best['mean']:.3f} on images left out "
        f"(95 % interval {interval(best['low'], best['high'])}, over {groups})."
    )
    if len(summary) < 2:
        return
    second = str(summary.index[1])
    found = compare_all(statistics.results.at(scenario), [(str(best.name), second)])
    if not found:
        return
    lead = found[0]
    decided = f"decided over these {groups}" if lead.low > 0 else "undecided: either may be better"
    others = "" if lead.sets else " Other training sets may rank them differently."
    yield (
        f"The next best, {second}, is {lead.difference:.3f} behind "
        f"({interval(lead.low, lead.high, signed)}). That is {decided}.{others}"
    )


def _about(statistics: StudyStatistics, scenario: Scenario) -> str:
    clauses = [_clause(statistics.claim(name, scenario)) for name in _CLAUSES]
    means = statistics.ranking_of(scenario)["mean"]
    best = f"the best strategy was “{means.idxmax()}” (mean Dice {means.max():.3f})"
    return f"on {_in_words(scenario)}, {', '.join(clauses)}, and {best}"


def _in_words(scenario: Scenario) -> str:
    return f"{scenario.data} with {images(scenario.train_size)}"


def _clause(claim: Claim) -> str:
    if claim.measured is None:
        return _CLAUSES[claim.name]["missing"]
    estimate, low, high = claim.measured
    numbers = f"{signed(estimate)} Dice, {interval(low, high, signed)}"
    return f"{_CLAUSES[claim.name][claim.verdict]} ({numbers})"


def _frugal(statistics: StudyStatistics, scenario: Scenario) -> str:
    """Judge by the far end of the interval of what is lost against the best strategy."""
    here = statistics.results.at(scenario)
    trained = here.finished.groupby("strategy")["trained"].mean()
    best = statistics.ranking_of(scenario).index[0]
    cheaper = trained[trained < trained.get(best, 0)].sort_values()
    losses = compare_all(here, [(best, name) for name in cheaper.index])
    close = {loss.second: loss for loss in losses if loss.high <= _MARGIN}
    chosen = next((name for name in cheaper.index if name in close), None)
    if chosen is None:
        return ""
    share = f"{100 * trained[chosen] / trained[best]:.0f} %"
    return (
        f"On {_in_words(scenario)}, “{chosen}” trains {share} of the weights "
        f"that “{best}” trains, and loses {close[chosen].difference:.3f} Dice "
        f"({interval(close[chosen].low, close[chosen].high)})."
    )
