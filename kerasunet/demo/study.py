"""The Study tab: the published study or one's own, as claims, figures and numbers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from kerasunet.demo.context import Context, problem_html
from kerasunet.demo.study_figures import (
    advice_table,
    draw_curves,
    draw_strategies,
    numbers_table,
)
from kerasunet.files import expanded
from kerasunet.objects import modality_of
from kerasunet.study.results import Scenario, StudyResults, read_results
from kerasunet.study.tables import CASES, RECORD, RUNS, SUFFIXES, studies_in, table_path

if TYPE_CHECKING:
    from kerasunet.study.stats import Claim, StudyStatistics


_SHIPPED = Path(__file__).resolve().parents[2] / "docs" / "first-study"


def shipped() -> StudyStatistics | None:
    """Return the published results; `KERASUNET_STUDIES` names another folder of studies.

    Returns:
        Their statistics; `None` where there are none yet.

    Raises:
        ValueError: The studies cannot be used.
    """
    return _shipped(Path(os.environ.get("KERASUNET_STUDIES") or _SHIPPED))


def open_folder(text: str) -> StudyStatistics:
    """Read a study directory, or every study in a folder of several.

    Raises:
        FileNotFoundError: There is no such folder, or no study in it.
        ValueError: The studies cannot be used.
    """
    folder = expanded(text)
    if not folder.is_dir():
        raise FileNotFoundError(f"{text}: no such folder on this machine")
    inner = studies_in(folder)
    return _open([folder] if table_path(folder, CASES).is_file() or not inner else inner)


def open_files(paths: Sequence[str]) -> StudyStatistics:
    """Read the uploaded files of one study, which have the names that a study gives them.

    Raises:
        ValueError: A table is missing or cannot be used.
    """
    files = {Path(path).name: path for path in paths}
    forms = {name: {f"{name}{suffix}" for suffix in SUFFIXES} for name in (CASES, RUNS)}
    missing = [name for name, known in forms.items() if not known & files.keys()]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} missing: give {CASES} and {RUNS} of a study, and its "
            f"{RECORD} if the depth of the U-Net is not 4"
        )
    with tempfile.TemporaryDirectory() as folder:
        for name in {RECORD}.union(*forms.values()) & files.keys():
            shutil.copyfile(files[name], Path(folder) / name)
        try:
            return _open([Path(folder)])
        except ValueError as error:
            raise ValueError(str(error).replace(f"{folder}/", "")) from None


def _open(directories: Sequence[Path]) -> StudyStatistics:
    return _statistics(read_results(directories, record_required=False))


@lru_cache(maxsize=2)
def _shipped(folder: Path) -> StudyStatistics | None:
    whole = [study for study in studies_in(folder) if table_path(study, RUNS).is_file()]
    if not whole:
        return None
    results = read_results(whole, record_required=False, results_required=False)
    return None if results.cases.empty else _statistics(results)


def _statistics(results: StudyResults) -> StudyStatistics:
    """Return the statistics, as soon as no other thread is importing TensorFlow.

    With TensorFlow comes JAX where that is installed, and SciPy fails over a JAX half imported.
    """
    import keras  # noqa: F401

    from kerasunet.study.stats import StudyStatistics

    return StudyStatistics(results)


_STATEMENTS = {
    ("contracting-above-expanding", "contracting - expanding"): (
        "Tuning the contracting path gives a higher Dice than tuning the expanding path"
    ),
    ("shallow-first-above-deep-first", "shallow - deep"): (
        "Tuning the first K blocks gives a higher Dice than tuning the last K, on average over K"
    ),
    ("ultrasound-differs-from-x-ray", "contracting - expanding"): (
        "The lead of the contracting path is larger in ultrasound than in X-ray"
    ),
    ("ultrasound-differs-from-x-ray", "shallow - deep"): (
        "The lead of the first K blocks is larger in ultrasound than in X-ray"
    ),
}
_SIGNS = {"supported": "✓", "contradicted": "✗", "undecided": "?"}


def claims_table(claims: Iterable[Claim]) -> str:
    """Return HTML: a table per claim, with a row per data set and number of training images."""
    tables = [_table(list(found)) for _, found in groupby(claims, key=lambda c: (c.name, c.effect))]
    return "".join(tables) or "<p>There are no claims to check yet.</p>"


def _table(found: list[Claim]) -> str:
    first = found[0]
    title = _STATEMENTS.get((first.name, first.effect), first.statement)
    headings = ("Data", "Images", "Verdict", "Effect in Dice", "95 % interval")
    head = "".join(f"<th scope=col>{heading}</th>" for heading in headings)
    head += "<th scope=col class=words>Based on</th>"
    return (
        f"<h4>{escape(title)}</h4><div class=table><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(map(_row, found))}</tbody></table></div>"
    )


def _row(claim: Claim) -> str:
    sign = _SIGNS[claim.verdict]
    verdict = f'<span class="verdict {claim.verdict}">{sign} {claim.verdict}</span>'
    numbers, basis = "<td>–</td><td>–</td>", claim.explanation
    if claim.estimate is not None:
        interval = f"{_signed(claim.low)} to {_signed(claim.high)}"
        numbers = f"<td>{_signed(claim.estimate)}</td><td>{interval}</td>"
        basis = claim.explanation.partition("; ")[2]
    return (
        f"<tr><th scope=row>{escape(claim.data)}</th><td>{claim.train_size}</td>"
        f"<td>{verdict}</td>{numbers}<td class=words>{escape(basis)}</td></tr>"
    )


def _signed(value: float | None) -> str:
    return "unknown" if value is None or value != value else f"{value:+.3f}".replace("-", "−")


_PRIVATE = {"api_visibility": "private", "concurrency_limit": 2}
_READING = "<p role=status>Reading the results of the study …</p>"
_NOTHING = (
    "<p>No study results come with this copy. Open a study of your own, or make one: "
    "<code>kerasunet study --data my_folder</code>.</p>"
)


class _Side(NamedTuple):
    """The components of one half of the tab: a modality."""

    column: gr.Column
    choice: gr.Dropdown
    curves: gr.Plot
    strategies: gr.Plot
    numbers: gr.HTML

    @property
    def drawings(self) -> list[gr.Component]:
        return [self.curves, self.strategies, self.numbers]


def build(context: Context) -> None:
    """Add the tab to the page that is being built."""
    tab = gr.context.Context.block
    opened = gr.State(None, time_to_live=3600)
    gr.Markdown("### What to tune")
    advice = gr.HTML(elem_id="study-advice", apply_default_css=False)
    gr.Markdown("### Every strategy")
    note = gr.HTML(_READING, elem_id="study-note", elem_classes="note")
    with gr.Row():
        sides = [_draw_side(label) for label in ("Ultrasound", "X-ray")]
    gr.Markdown("### Do the paper's claims hold?")
    claims = gr.HTML(elem_id="study-claims", apply_default_css=False)
    with gr.Accordion("Open a study of your own", open=False):
        files, folder, button, told, back = _draw_opening(context)
    views = [note, claims]
    for side in sides:
        views += [side.column, side.choice, *side.drawings]
    tab.select(advice_table, None, advice, **_PRIVATE)
    tab.select(_show, opened, views, **_PRIVATE)
    for side in sides:
        side.choice.input(_draw, [opened, side.choice], side.drawings, **_PRIVATE)
    opening = {"show_progress": "minimal", **_PRIVATE}
    results = [told, opened, *views]
    files.upload(_open_files, files, results, **opening)
    if context.local:
        gr.on([button.click, folder.submit], _open_folder, folder, results, **opening)
    back.click(lambda: ["", None, *_show(None)], None, results, **opening)


def _draw_side(label: str) -> _Side:
    name = f"study-{label.lower()}"
    with gr.Column(min_width=340, visible=False) as column:
        choice = gr.Dropdown([], label=label, elem_id=name)
        curves = gr.Plot(
            label="Dice by number of tuned blocks", show_label=False, elem_id=f"{name}-curves"
        )
        strategies = gr.Plot(
            label="Dice by strategy", show_label=False, elem_id=f"{name}-strategies"
        )
        with gr.Accordion("Numbers", open=False):
            numbers = gr.HTML(apply_default_css=False, elem_id=f"{name}-numbers")
    return _Side(column, choice, curves, strategies=strategies, numbers=numbers)


def _draw_opening(context: Context) -> tuple[gr.Component, ...]:
    files = gr.File(
        label="cases.csv and runs.csv of a study",
        file_count="multiple",
        height=130,
        elem_id="study-files",
    )
    with gr.Row(visible=context.local, equal_height=True):
        folder = gr.Textbox(label="or its folder on this machine", scale=4, elem_id="study-folder")
        button = gr.Button("Open", scale=1)
    told = gr.HTML(elem_id="study-opened", elem_classes="note")
    back = gr.Button("Back to the published results", size="sm")
    return files, folder, button, told, back


def _open_files(paths: list[str] | None) -> list[Any]:
    return _opened(open_files, paths or [])


def _opened(read: Callable[[Any], StudyStatistics], given: Any) -> list[Any]:
    try:
        statistics = read(given)
        views = _views(statistics, published=False)
        return [f"{views[0]}<p>Its figures and tables are above.</p>", statistics, *views]
    except (ValueError, OSError) as error:  # Told here, as the top of the page is out of sight.
        return [problem_html(error), *[gr.skip()] * 13]


def _refused(error: Exception) -> list[Any]:
    """Return the updates that show the error in the note and leave all else as it is."""
    return [problem_html(error), *[gr.skip()] * 11]


def _open_folder(text: str) -> list[Any]:
    return _opened(open_folder, text)


def _show(opened: StudyStatistics | None) -> list[Any]:
    """Return the updates for the opened study, or for the published one."""
    try:
        statistics = opened or shipped()
        if statistics is None:
            return [_NOTHING, "", *[gr.update(visible=False), *[gr.skip()] * 4] * 2]
        return _views(statistics, published=opened is None)
    except (ValueError, OSError) as error:
        return _refused(error)


def _views(statistics: StudyStatistics, published: bool) -> list[Any]:
    """Return the updates: note, claims, and column, choices and drawings of each side."""
    views = [_note(statistics, published), claims_table(statistics.claims)]
    for scenarios in _sides(statistics.results.scenarios):
        views += _show_side(statistics, scenarios)
    return views


def _show_side(statistics: StudyStatistics, scenarios: list[Scenario]) -> list[Any]:
    if not scenarios:
        return [gr.update(visible=False), *[gr.skip()] * 4]
    choices = [str(scenario) for scenario in scenarios]
    chosen = gr.update(choices=choices, value=choices[0])
    return [gr.update(visible=True), chosen, *_drawings(statistics, scenarios[0])]


def _draw(opened: StudyStatistics | None, name: str) -> list[Any]:
    statistics = opened or shipped()
    if statistics is None:  # The folder of the published study has gone meanwhile.
        return [gr.skip()] * 3
    scenarios = {str(scenario): scenario for scenario in statistics.results.scenarios}
    return _drawings(statistics, scenarios[name])


def _drawings(statistics: StudyStatistics, scenario: Scenario) -> list[Any]:
    return [
        draw_curves(statistics, scenario),
        draw_strategies(statistics, scenario),
        numbers_table(statistics, scenario),
    ]


def _sides(scenarios: Iterable[Scenario]) -> tuple[list[Scenario], list[Scenario]]:
    """Return the scenarios of the left side, and those of the right: X-rays."""
    sides: tuple[list[Scenario], list[Scenario]] = ([], [])
    for scenario in scenarios:
        sides[modality_of(scenario.data) == "xray"].append(scenario)
    return sides


def _note(statistics: StudyStatistics, published: bool) -> str:
    from kerasunet.study.stats import seen_by_starts  # Brings in SciPy.

    results = statistics.results
    told = "".join(f"<p>{escape(text)}</p>" for text in seen_by_starts(results))
    whose = "The published study" if published else "Your study"
    data = ", ".join(results.data_sets)
    failures = f", {len(results.failed)} failed" if len(results.failed) else ""
    old = " Its <code>auto</code> was an earlier rule; today's is in the table above."
    known = published and "auto" in set(results.finished["strategy"])
    return (
        f"<p role=status>{whose}: {len(results.finished):,} finished runs{failures}, on "
        f"{escape(data)}.{old if known else ''}</p>{told}"
    )
