"""The panel of masks: image, ground truth and what each model finds, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from kerasunet.data.cases import Case, DataSet
from kerasunet.data.decoding import resize_image, resize_mask, resize_objects
from kerasunet.data.loading import load
from kerasunet.drawing import PREDICTION, TRUTH, object_color, overlay, overlay_objects
from kerasunet.inference.segmenter import Segmenter
from kerasunet.metrics import dice
from kerasunet.models import ModelCard, card, seen_in_words
from kerasunet.objects import ONE_OBJECT, Objects, objects_of
from kerasunet.runs.preparation import seen_cases, split_of
from kerasunet.study.figures.style import INK, RC, WIDTH, Drawing, title_of

TITLE = "What the models find"
_LONGER_SIDE = 320
_MARGIN = 0.28
_LEGEND = "Green: ground truth. Orange: prediction, with the Dice of this case below."


@dataclass(frozen=True)
class PanelRow:
    """A row of the panel: one case.

    Attributes:
        kind: Why it was picked: `"typical"`, `"best"` or `"worst"`.
        key: Key of the case.
        image: Gray levels 0 to 255, `(height, width[, 3])`.
        truth: Bool, `(height, width)`; for several objects, as `Objects.encode` gives it.
        found: By model, the predicted mask, likewise.
        dice: By model, the Dice of that mask, averaged over objects.
        objects: What the masks mark.
    """

    kind: str
    key: str
    image: np.ndarray
    truth: np.ndarray
    found: Mapping[str, np.ndarray]
    dice: Mapping[str, float]
    objects: Objects = ONE_OBJECT


def draw_mask_panel(name: str, rows: Sequence[PanelRow], caption: str) -> Drawing:
    """Draw a row for each case, a column for each model.

    Args:
        name: File name without suffix.
        rows: At least one case, all with the same models.
        caption: Data, models and how the cases were picked.
    """
    columns = ["image", "ground truth", *rows[0].found]
    cell = (WIDTH - _MARGIN) / len(columns)
    heights = [cell * row.truth.shape[0] / row.truth.shape[1] for row in rows]
    with matplotlib.rc_context(RC):
        layout = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.01, wspace=0, hspace=0)
        figure = Figure((WIDTH, sum(heights) + 0.2 * len(rows) + 0.35), layout=layout)
        grid = figure.subplots(len(rows), len(columns), squeeze=False, height_ratios=heights)
        for axes, heading in zip(grid[0], columns, strict=True):
            axes.set_title(heading.replace(", ", ",\n"), fontsize=7, loc="center")
        for axes, row in zip(grid, rows, strict=True):
            _draw_row(axes, row)
        legend = _legend(figure, rows[0].objects)
    return Drawing(name, TITLE, f"{caption} {legend}", alt=_alt(rows), figure=figure)


def _legend(figure: Figure, objects: Objects) -> str:
    """Return what the colors mean; draw it, too, where there are several objects."""
    if not objects.several:
        return _LEGEND
    colors = [f"#{bytes(object_color(number)).hex()}" for number in range(len(objects))]
    named = zip(colors, objects.names, strict=True)
    patches = [Patch(color=color, label=name) for color, name in named]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    return f"A color for each of {objects}; below, the mean Dice of this case over them."


def _draw_row(cells: np.ndarray, row: PanelRow) -> None:
    dice = [None, None, *row.dice.values()]
    for axes, picture, value in zip(cells, _pictures(row), dice, strict=True):
        axes.imshow(picture, interpolation="lanczos")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xlabel("" if value is None else f"{value:.3f}", fontsize=7, labelpad=2)
    cells[0].set_ylabel(row.kind, fontsize=7, color=INK, weight="bold")


def _pictures(row: PanelRow) -> list[np.ndarray]:
    height, width = row.truth.shape
    scale = _LONGER_SIDE / max(height, width)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    image = resize_image(row.image, size, channels=3)
    if row.objects.several:
        masks = [resize_objects(m, size, row.objects) for m in (row.truth, *row.found.values())]
        return [image, *(overlay_objects(image, m, row.objects, thickness=2) for m in masks)]
    truth = resize_mask(row.truth, size)
    outlined = overlay(image, truth, TRUTH, opacity=0, thickness=2)
    found = [
        overlay(outlined, resize_mask(mask, size), PREDICTION, opacity=0.15, thickness=2)
        for mask in row.found.values()
    ]
    return [image, overlay(image, truth, TRUTH, thickness=2), *found]


def _alt(rows: Sequence[PanelRow]) -> str:
    sentences = [
        f"{row.kind} case {row.key}: "
        + ", ".join(f"{model} Dice {value:.3f}" for model, value in row.dice.items())
        for row in rows
    ]
    return f"Images with outlines of ground truth and predictions. {'. '.join(sentences)}."


def draw_models(
    models: Mapping[str, str],
    data: str,
    *,
    name: str = "panel",
    by: str | None = None,
    manual_dir: str | None = None,
    groups: str | None = None,
    objects: Sequence[str] = (),
    mask_threshold: int | None = None,
    overlapping: bool = False,
) -> Drawing:
    """Draw saved models side by side on a typical, the best and the worst case.

    If a model was fine-tuned on the same data, only cases of its test fold are used.

    Args:
        models: Heading of the column to name or file of a saved model, in order.
        data: Data, as `kerasunet.data.load` takes it.
        name: File name of the drawing, without suffix.
        by: Heading of the model by whose Dice cases are picked; the last one unless given.
        manual_dir: Folder with the archives of a public set that `data` names.
        groups: CSV of groups that the models were fine-tuned with.
        objects: What counts as the object, as `kerasunet.data.load` takes it.
        mask_threshold: Gray level above which a pixel of a mask file belongs to the object.
        overlapping: Whether a pixel may belong to several objects.

    Returns:
        The drawing. Masks and Dice are those at the size of the image.

    Raises:
        FileNotFoundError: A model or the data does not exist.
        ValueError: No model is called `by`, the held-out cases cannot be determined, or none of
            them has an object.
    """
    by = by or list(models)[-1]
    if by not in models:
        raise ValueError(f"{by}: no such model; choose from {', '.join(models)}")
    cards = {heading: card(model) for heading, model in models.items()}
    chosen = {
        "objects": tuple(objects),
        "mask_threshold": mask_threshold,
        "overlapping": overlapping,
    }
    sources = {"data": data, "manual_dir": manual_dir, "groups": groups, **chosen}
    found, cases = _held_out(cards, sources, cards[by].image_size)
    _require_objects(cards, found)
    segmenters = {heading: Segmenter(model, engine="keras") for heading, model in models.items()}
    picked, count = _pick(segmenters[by], cases)
    rows = _rows(picked, segmenters)
    caption = (
        f"{title_of(found.name)}: the case with the median Dice of “{by}”, the best and the "
        f"worst of the {count} held-out cases that show an object. {_models(cards, found)}"
    )
    return draw_mask_panel(name, rows, caption)


def _require_objects(cards: Mapping[str, ModelCard], found: DataSet) -> None:
    """Refuse models that find other objects than the data mark, where there are several."""
    for heading, known in cards.items():
        either = known.marked.several or found.objects.several
        if either and known.marked != found.objects:
            raise ValueError(
                f"{heading}: finds {known.marked}, but {found.name} marks {found.objects}; choose "
                f"the same objects with --objects {' '.join(known.marked.names)}"
            )


def mean_dice(truth: np.ndarray, found: np.ndarray, objects: Objects) -> float:
    """Return the Dice of a mask, averaged over objects."""
    pairs = zip(objects.planes(truth), objects.planes(found), strict=True)
    return float(np.mean([dice(*pair) for pair in pairs]))


def _models(cards: Mapping[str, ModelCard], found: DataSet) -> str:
    """Return a sentence on what each column is: strategy, start, steps, image size."""
    said = [
        f"“{heading}” is {known.trained_layers} ({', '.join(known.origin.values())}"
        f"{_seen_by_start(known, found)})"
        for heading, known in cards.items()
    ]
    return f"{'; '.join(said)}."


def _seen_by_start(known: ModelCard, found: DataSet) -> str:
    """Say if the start of a model has seen cases that are held out from the model itself."""
    if not known.split or known.data.name != found.name or not known.start_saw:
        return ""
    return f"; its start {seen_in_words(known.start_saw, known.metrics['n'])}"


def _held_out(
    cards: Mapping[str, ModelCard], sources: Mapping[str, Any], size: int
) -> tuple[DataSet, tuple[Case, ...]]:
    """Return the data set, and its cases that no model was fine-tuned on."""
    chosen = {name: sources[name] for name in ("objects", "mask_threshold", "overlapping")}
    found = load(sources["data"], sources["manual_dir"], size, **chosen)
    keys = {case.key for case in found.cases}
    for heading, known in cards.items():
        split = split_of(known, **sources) if known.data.name == found.name else None
        if split is not None:
            keys &= {*split.test}
            continue
        seen = seen_cases(known, found, **sources)
        lists = known.seen or known.seen_by or known.data.name != found.name
        if not seen.is_known and known.split and not lists:
            raise ValueError(
                f"{heading}: it is unknown which cases of {sources['data']} it was trained on; "
                "give the data, and the groups if there were any, as they were when it was "
                "fine-tuned"
            )
        keys -= seen.keys
    cases = tuple(case for case in found.cases if case.key in keys)
    if not cases:
        raise ValueError(f"{found.name}: no case was held out from all of {', '.join(cards)}")
    return found, cases


def _pick(segment: Segmenter, cases: Sequence[Case]) -> tuple[dict[str, Case], int]:
    """Return the median, best and worst case by Dice, and how many cases show an object."""
    scores = {}
    for case in cases:
        sample = case.load()
        if sample.mask.any():
            found = segment(sample.image).mask
            scores[case.key] = mean_dice(sample.mask, found, objects_of([case]))
    if not scores:
        raise ValueError(f"none of the {len(cases)} held-out cases shows an object")
    order = [list(scores)[index] for index in np.argsort(list(scores.values()), kind="stable")]
    chosen = {"typical": order[len(order) // 2], "best": order[-1], "worst": order[0]}
    by_key = {case.key: case for case in cases}
    return {kind: by_key[key] for kind, key in chosen.items()}, len(order)


def _rows(picked: Mapping[str, Case], segmenters: Mapping[str, Segmenter]) -> list[PanelRow]:
    rows = []
    for kind, case in picked.items():
        image, truth, _ = case.load()
        found = {heading: segment(image).mask for heading, segment in segmenters.items()}
        objects = objects_of([case])
        scores = {heading: mean_dice(truth, mask, objects) for heading, mask in found.items()}
        rows.append(
            PanelRow(kind, case.key, image, truth=truth, found=found, dice=scores, objects=objects)
        )
    return rows
