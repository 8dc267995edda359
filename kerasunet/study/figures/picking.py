"""Runs saved models on held-out cases, and picks the typical, the best and the worst one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasunet import zoo
from kerasunet.data.cases import Case, DataSet
from kerasunet.data.loading import load
from kerasunet.metrics import dice
from kerasunet.segmenter import Segmenter
from kerasunet.study.figures.drawing import Drawing
from kerasunet.study.figures.panel import PanelCase, draw_panel
from kerasunet.study.figures.words import panel_title
from kerasunet.training.inputs import load_data, split_data
from kerasunet.training.settings import FinetuneSettings, finetune_settings, to_json


def panel_of(
    models: Mapping[str, str],
    data: str,
    name: str = "panel",
    by: str | None = None,
    manual_dir: str | None = None,
    groups: str | None = None,
) -> Drawing:
    """Draws saved models side by side on a typical, the best and the worst case.

    Where a model was fine-tuned on these very data, only cases of its test fold take part.

    Args:
        models: Heading of the column to name or file of a saved model, in order.
        data: Data, as `kerasunet.data.load` takes it.
        name: File name of the drawing, without suffix.
        by: Heading of the model by whose Dice cases are picked; the last one unless given.
        manual_dir: Folder with the archives of a public set that `data` names.
        groups: CSV of groups that the models were fine-tuned with.

    Returns:
        The drawing. Masks and Dice are those at the size of the image.

    Raises:
        FileNotFoundError: A model or the data are not there.
        ValueError: No model is called `by`, it cannot be told which cases were held out, or none
            of these has an object.
    """
    by = by or list(models)[-1]
    if by not in models:
        raise ValueError(f"{by}: no such model; there are {', '.join(models)}")
    cards = {heading: zoo.card(model) for heading, model in models.items()}
    places = {"data": data, "manual_dir": manual_dir, "groups": groups}
    found, cases = _held_out(cards, places, cards[by]["image_size"])
    segmenters = {heading: Segmenter(model, engine="keras") for heading, model in models.items()}
    picked, count = _pick(segmenters[by], cases)
    rows = _rows(picked, segmenters)
    caption = (
        f"{panel_title(found.name)}: the case with the median Dice of “{by}”, the best and the "
        f"worst of the {count} held-out cases that show an object."
    )
    return draw_panel(name, rows, caption)


def _held_out(
    cards: Mapping[str, dict[str, Any]], places: Mapping[str, Any], size: int
) -> tuple[DataSet, tuple[Case, ...]]:
    """The data set, and its cases that no model was fine-tuned on."""
    found = load(places["data"], places["manual_dir"], size)
    keys = {case.key for case in found.cases}
    for heading, card in cards.items():
        if card["data"]["name"] == found.name and card["split"]:
            keys &= _tested(heading, card, places)
    cases = tuple(case for case in found.cases if case.key in keys)
    if not cases:
        raise ValueError(f"{found.name}: no case was held out from all of {', '.join(cards)}")
    return found, cases


def _tested(heading: str, card: dict[str, Any], places: Mapping[str, Any]) -> set[str]:
    """Keys of the test fold of a model, from the settings in its card."""
    settings = finetune_settings({**to_json(FinetuneSettings()), **card["settings"], **places})
    split = split_data(settings, load_data(settings))
    if split.digest != card["split"]:
        raise ValueError(
            f"{heading}: cannot tell which cases of {places['data']} it was tested on; give the "
            "data, and the groups if there were any, as they were when it was fine-tuned"
        )
    return set(split.test)


def _pick(segment: Segmenter, cases: Sequence[Case]) -> tuple[dict[str, Case], int]:
    """Median, best and worst case by Dice, and the number of cases that show an object."""
    scores = {}
    for case in cases:
        sample = case.load()
        if sample.mask.any():
            scores[case.key] = dice(sample.mask, segment(sample.image).mask)
    if not scores:
        raise ValueError(f"none of the {len(cases)} held-out cases shows an object")
    order = [list(scores)[index] for index in np.argsort(list(scores.values()), kind="stable")]
    chosen = {"typical": order[len(order) // 2], "best": order[-1], "worst": order[0]}
    by_key = {case.key: case for case in cases}
    return {kind: by_key[key] for kind, key in chosen.items()}, len(order)


def _rows(picked: Mapping[str, Case], segmenters: Mapping[str, Segmenter]) -> list[PanelCase]:
    rows = []
    for kind, case in picked.items():
        image, truth, _ = case.load()
        found = {heading: segment(image).mask for heading, segment in segmenters.items()}
        scores = {heading: dice(truth, mask) for heading, mask in found.items()}
        rows.append(PanelCase(kind, case.key, image, truth, found, scores))
    return rows
