"""The README of a model's repository: its card, and the terms of the data it was trained on."""

from __future__ import annotations

import re
from typing import Any

from kerasunet.data.layouts import PUBLISHED
from kerasunet.metrics import METRICS
from kerasunet.models.model_card import ModelCard

_TAGS = ("kerasunet", "u-net", "segmentation", "medical-imaging")
_FORBIDDEN = re.compile(
    r"redistribution[^;.]*\b(prohibited|forbidden|not (permitted|allowed))|\bno redistribution|"
    r"\b(may|must) not be (re)?distributed|not for (re)?distribution",
    re.IGNORECASE,
)
_UNSTATED = re.compile(r"\s*|.*\b(not|none) stated\b.*", re.IGNORECASE | re.DOTALL)
_LICENSE = "terms-of-the-training-data"


def terms_of(card: ModelCard) -> dict[str, str]:
    """Return the terms of each data set that a model or its start was trained on, by name.

    They are empty where nothing is known of them.
    """
    known = {name: terms for name, (terms, _) in PUBLISHED.items()}
    others = {name: known.get(name, "") for name in card.start_data}
    return {**others, card.data.name: card.data.terms}


def forbidding(card: ModelCard) -> list[str]:
    """Return the data sets whose terms forbid redistribution."""
    return [name for name, terms in terms_of(card).items() if _FORBIDDEN.search(terms)]


def readme_of(card: ModelCard, library: Any, address: str = "") -> str:
    """Return the README.

    Args:
        card: The model's card.
        library: The module `huggingface_hub`, which writes the header.
        address: Of the repository; empty for a folder.
    """
    header = library.ModelCardData(
        library_name="keras",
        pipeline_tag="image-segmentation",
        license="other",
        license_name=_LICENSE,
        license_link="README.md",
        tags=_tags(card),
        model_name=card.name,
        eval_results=_results(card, library),
    )
    text = card.to_markdown().replace(
        f'keras.models.load_model("saved_models/{card.weights_of or card.name}.keras")',
        f'keras.saving.load_model("{address or "model.keras"}")',
    )
    heading, _, rest = text.partition("\n")
    yaml = header.to_yaml().strip()
    return "\n".join(["---", yaml, "---", "", heading, "", *_terms(card), rest.lstrip("\n")])


def _tags(card: ModelCard) -> list[str]:
    return [*_TAGS, *([card.kind_of_image] if card.kind_of_image else [])]


def _results(card: ModelCard, library: Any) -> list[Any]:
    return [
        library.EvalResult(
            task_type="image-segmentation",
            dataset_type=evaluation.data.name,
            dataset_name=evaluation.data.name,
            metric_type=name,
            metric_name=metric.label,
            metric_value=round(float(evaluation.metrics[name]["mean"]), 4),
        )
        for evaluation in (card.held_out, *card.evaluations)
        if not evaluation.mirrored  # The header has one result per data set.
        for name, metric in METRICS.items()
    ]


def _terms(card: ModelCard) -> list[str]:
    lines = ["## Terms", ""]
    if names := forbidding(card):
        lines += [
            f"> **The terms of {', '.join(names)}, which these weights were learned from, forbid "
            "redistribution. Do not pass them on without the permission of the owners.**",
            "",
        ]
    lines += [
        "The weights were learned from the data below and are under the terms of these data, not "
        "under the license of the code that trained them.",
        "",
    ]
    for name, terms in terms_of(card).items():
        unstated = bool(_UNSTATED.fullmatch(terms))
        note = " **Nobody has said whether models trained on it may be passed on.**" * unstated
        lines.append(f"- `{name}`: {terms or 'not known'}.{note}")
    return [*lines, ""]
