"""What the tab Fine-tune shows of a check, a run and an adaptation, and the fields of a run."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from kerasunet.adapt.background import AdaptProgress
from kerasunet.data.checking import Report
from kerasunet.data.checking.report import sections, summary, thumbnails
from kerasunet.demo.context import PRETRAINED, problem_html
from kerasunet.demo.finetune_jobs import IMAGE_SIZES, OPTIMIZATION, STRATEGIES
from kerasunet.demo.visitors import in_page_words
from kerasunet.files import read_json
from kerasunet.models.model_card import asked_layers
from kerasunet.runs.background import Progress
from kerasunet.training.settings import FinetuneSettings, Optimization

OFF_HTML = (
    "<p>Training is off, because others share this machine. Run <code>kerasunet demo</code> on "
    "your own machine, or turn training on with <code>--allow-training</code>.</p>"
)
FORMATS_HTML = (
    "<p>A zip file with the folders <code>images/</code> and <code>masks/</code> and the same file "
    "names in both, or with <code>scan.png</code> beside <code>scan_mask.png</code>.</p>"
)
ADAPTATION_HTML = (
    "<p>Every start is tried untouched, a few strategies are trained in cross-validation, and the "
    "model is made from all images. You get the answer in words.</p>"
)
_SHOWN_CASES = 6
_LAST_NOTES = 6
_PHASES = {
    "starting": "Starting: loading the network and your images …",
    "training": "Training",
    "measuring": "Measuring on the held-out images …",
    "finished": "Finished",
    "failed": "Failed",
    "canceled": "Canceled",
}
_LOSS, _DICE, _VALIDATION = "#7c8089", "#0a84c1", "#d55e00"


def check_html(report: Report) -> str:
    """Return HTML: what was checked, the first cases with their masks, and every problem."""
    place = str(Path(report.source).parent)
    found = in_page_words("".join(sections(report)).replace(f"{place}/", ""))
    pictures = thumbnails(report.data.cases[:_SHOWN_CASES]) if report.data else ""
    verdict = "Correct the errors before training." if report.counts()["error"] else "Ready."
    return (
        f"<p role=status><b>{escape(summary(report))}.</b> {verdict}</p>"
        f'<div class="thumbnails">{pictures}</div><div class="problems">{found}</div>'
    )


def status_html(progress: Progress) -> str:
    """Return HTML: phase and step, with a bar, and what the run warns of."""
    steps = f"step {progress.step} of {progress.steps}"
    phase = f"{_PHASES[progress.phase]}, {steps}"
    if progress.phase in ("starting", "measuring"):
        phase = _PHASES[progress.phase]
    if progress.phase == "failed":
        return problem_html(f"Failed: {progress.message}")
    words = map(in_page_words, progress.warnings)
    told = "".join(f'<p class="problem">{escape(text)}</p>' for text in words)
    return (
        f"<p role=status>{phase}</p><progress max={progress.steps} value={progress.step} "
        f'aria-label="Training steps">{steps}</progress>{told}'
    )


def curves_figure(progress: Progress) -> go.Figure | None:
    """Draw the loss, and the Dice on training and validation images, by step."""
    if not progress.history:
        return None
    steps = [row["step"] for row in progress.history]
    figure = go.Figure(layout=_layout(progress.steps))
    for column, name, color, dash, axis in (
        ("dice", "Dice, training", _DICE, "dash", "y"),
        ("val_dice", "Dice, validation", _VALIDATION, "solid", "y"),
        ("loss", "loss", _LOSS, "dot", "y2"),
    ):
        figure.add_scatter(
            x=steps,
            y=[row[column] for row in progress.history],
            name=name,
            yaxis=axis,
            mode="lines+markers",
            line={"color": color, "dash": dash, "width": 2},
        )
    return figure


def _layout(steps: int) -> dict[str, Any]:
    axis = {"zeroline": False, "gridcolor": "rgba(124,128,137,.25)", "automargin": True}
    right = {"overlaying": "y", "side": "right", "showgrid": False, "rangemode": "tozero"}
    return {
        "height": 330,
        "margin": {"l": 8, "r": 8, "t": 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 14},
        "xaxis": {**axis, "title": {"text": "step"}, "range": [0, steps * 1.03]},
        "yaxis": {**axis, "title": {"text": "Dice"}, "range": [0, 1.03]},
        "yaxis2": {**axis, **right, "title": {"text": "loss"}},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "template": "none",
    }


def pictures_html(progress: Progress) -> str:
    """Return validation images as HTML: image, true mask, current mask of the model."""
    tags = []
    for number, path in enumerate(progress.pictures, start=1):
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        text = f"Validation image {number}, its true mask, and the mask of the model"
        tags.append(f'<img alt="{text}" src="data:image/png;base64,{data}">')
    words = "Validation images, which do not train: image, true mask, mask of the model."
    return f'<p>{words}</p><div class="overlays">{"".join(tags)}</div>'


def result_html(summary_: dict[str, Any]) -> str:
    """Return HTML: Dice on the held-out images before and after, and what trained.

    Where there are several objects, each has its lines, above those of their mean.
    """
    cells = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{found['dice']['mean']:.3f}</td>"
        f"<td>{_interval(found['dice'])}</td><td>{found['missed']} of {count}</td></tr>"
        for name, found, count in _lines(summary_)
    )
    warning = ""
    if summary_["constant_prediction"]:
        warning = '<p class="problem">The model predicts the same value everywhere.</p>'
    return (
        f"<p>Trained {_trained(summary_)}: {summary_['trained']:,} of "
        f"{summary_['parameters']:,} weights, on {summary_['split']['train']} images, in "
        f"{summary_['seconds']:.0f} s. The model is now in Compare.</p>{warning}"
        "<div class=table><table><thead><tr><th scope=col>Held-out images</th>"
        "<th scope=col>Dice</th><th scope=col>95 % interval</th><th scope=col>Missed</th></tr>"
        f"</thead><tbody>{cells}</tbody></table></div>"
    )


def _lines(summary_: dict[str, Any]) -> list[tuple[str, dict[str, Any], int]]:
    """Return name, metrics, and how many objects could be missed, for each line of the result."""
    times, test = ("before", "after"), summary_["split"]["test"]
    names = [*(summary_["after"].get("objects") or ())]
    each = [(f"{n}, {t}", summary_[t]["objects"][n], test) for n in names for t in times]
    mean = "mean, " if names else ""
    return [*each, *((mean + t, summary_[t], test * max(len(names), 1)) for t in times)]


def _trained(summary_: dict[str, Any]) -> str:
    """Say what trained, and whether the images chose it."""
    asked, chosen = asked_layers(summary_["settings"]), summary_["chosen"]
    if not asked.startswith("auto"):
        return f"<code>{escape(asked)}</code>"
    return f"<code>{escape(chosen)}</code>, which <code>{escape(asked)}</code> chose"


def _interval(found: dict[str, float | None]) -> str:
    if found["low"] is None or found["low"] != found["low"]:
        return "unknown"
    return f"{found['low']:.3f} to {found['high']:.3f}"


def adaptation_html(progress: AdaptProgress) -> str:
    """Return HTML: what an adaptation is doing, with a bar while it trains, and its findings."""
    if progress.state == "failed":
        return problem_html(f"Failed: {progress.message}")
    if progress.state == "canceled":
        return "<p role=status>Canceled.</p>"
    words = map(in_page_words, progress.notes[-_LAST_NOTES:])
    notes = "".join(f"<li>{escape(note)}</li>" for note in words)
    bar = ""
    if progress.steps and progress.state == "running":
        steps = f"step {progress.step} of {progress.steps}"
        bar = (
            f'<progress max={progress.steps} value={progress.step} aria-label="Training steps">'
            f"{steps}</progress> {steps}, about {progress.seconds / 60:.1f} minutes in all"
        )
    phase = "Finished" if progress.state == "finished" else f"{progress.phase.capitalize()} …"
    return f"<p role=status>{escape(phase)}</p>{bar}<ul>{notes}</ul>"


def answer_html(folder: Path) -> str:
    """Return the answer as HTML: its sentences without the paths of this machine."""
    values = read_json(folder / "answer.json")
    sentences = [in_page_words(t) for t in values["sentences"] if str(folder) not in t]
    first, *others = sentences
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in others)
    return f"<h4>{escape(first)}</h4>{paragraphs}<p>The model is now in Compare.</p>"


def run_fields(starts: list[str]) -> tuple[gr.Component, ...]:
    """Add the fields of a run to the page: usual strategies, strategy, steps, start, size, rate."""
    with gr.Row():
        usual = gr.Radio(
            STRATEGIES, value=STRATEGIES[0], label="Strategy", elem_id="finetune-usual", scale=2,
            min_width=320,
        )  # fmt: skip
        # No dropdown with free text: of "all" and Enter, it makes the first name with these
        # letters, shallow:3.
        strategy = gr.Textbox(
            STRATEGIES[0],
            label="or any strategy from the Layers tab",
            info="auto chooses from your images",
            elem_id="finetune-strategy",
        )
        # No range and no rounding here: Gradio would not say which field it refuses.
        images = f"{Optimization.batch_size} images each"
        steps = gr.Number(
            Optimization.steps, label="Steps", info=f"{OPTIMIZATION['steps'].help}, {images}",
            elem_id="finetune-steps",
        )  # fmt: skip
    with gr.Accordion("More", open=False), gr.Row():
        init = gr.Dropdown(
            starts,
            value=PRETRAINED if PRETRAINED in starts else None,
            label="Start from",
            info="Set to the start that fits your images; natural fits any",
            elem_id="finetune-init",
        )
        image_size = gr.Dropdown(
            list(IMAGE_SIZES),
            value=FinetuneSettings.image_size,
            label="Image size in pixels",
            elem_id="finetune-size",
        )
        rate = gr.Number(
            Optimization.learning_rate,
            label="Learning rate",
            info=OPTIMIZATION["learning_rate"].help,
            step=1e-4,
        )
    return usual, strategy, steps, init, image_size, rate
