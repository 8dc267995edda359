"""Draw what saved models find: image, ground truth, each model, on typical, best and worst cases.

If a model was fine-tuned on the same data, only cases of its test fold are used.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kerasunet import models
from kerasunet.backend import start_backend
from kerasunet.cli import options as shared
from kerasunet.files import is_marked

_TITLE = b"What the models find"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    shared.add_shared(parser, "data", required=True)
    shared.add_shared(parser, "manual_dir")
    shared.add_object_choice(parser)
    add(
        "--models",
        nargs="+",
        required=True,
        metavar="[HEADING=]MODEL",
        help="saved models, by name or .keras file; headings say what trained, and what tells "
        "them apart, unless given",
    )
    add("--by", metavar="HEADING", help="model whose Dice picks the cases (default: the last one)")
    add("--groups", metavar="CSV", help="table of the groups that the models were fine-tuned with")
    add(
        "--output",
        type=Path,
        default=Path("panel.png"),
        help="PNG file; an SVG file is written beside it (panel.png)",
    )


def marks() -> dict[str, bytes]:
    return {"output": _TITLE}


def run(options: argparse.Namespace) -> int:
    from kerasunet.data import load
    from kerasunet.data.loading import require_one_code

    models = _headed(options.models)
    if options.output.suffix.lower() != ".png":
        raise ValueError(f"{options.output}: give the name of a PNG file")
    drawn = options.output.with_suffix(".svg")
    if drawn.exists() and not is_marked(drawn, _TITLE):
        raise FileExistsError(
            f"{drawn}: would be replaced, too, but is no such drawing; give another --output"
        )
    chosen = shared.object_choice(options)
    data = load(options.data, options.manual_dir, **chosen)
    print(shared.describe_data(data), flush=True)
    require_one_code(data.cases)
    start_backend()
    from kerasunet.study.figures.mask_panel import draw_models

    drawing = draw_models(
        models,
        options.data,
        name=options.output.stem,
        by=options.by,
        manual_dir=options.manual_dir,
        groups=options.groups,
        **chosen,
    )
    for path in drawing.write(options.output.parent):
        print(path)
    print(drawing.caption)
    return 0


def _headed(texts: list[str]) -> dict[str, str]:
    """Heading to model, in order; a heading that is not given says what the model is."""
    given = [text.rpartition("=") for text in texts]
    for _, _, model in given:
        models.check(model)
    cards = [models.card(model) for _, _, model in given]
    tuned = [known.origin for known in cards if known.is_fine_tuned]
    differing = [part for part in cards[0].origin if len({origin[part] for origin in tuned}) > 1]
    named: dict[str, str] = {}
    for (heading, sign, model), known in zip(given, cards, strict=True):
        heading = heading if sign else _heading(known, differing)
        if heading in named:
            raise ValueError(f"{model}: there is already a column {heading}; write HEADING={model}")
        named[heading] = model
    return named


def _heading(card: models.ModelCard, differing: list[str]) -> str:
    if not card.is_fine_tuned:
        return f"{card.init if 'layers' in card.settings else card.name}, not fine-tuned"
    return ", ".join([card.trained_layers, *(card.origin[part] for part in differing)])
