"""Draw what saved models find: image, ground truth, each model, on typical, best and worst cases.

If a model was fine-tuned on the same data, only cases of its test fold are used.
"""

from __future__ import annotations

import argparse
import logging
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
        help="saved models, by name or .keras file; headings are their strategies unless given",
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

    models = _headed(options.models)
    if options.output.suffix.lower() != ".png":
        raise ValueError(f"{options.output}: give the name of a PNG file")
    drawn = options.output.with_suffix(".svg")
    if drawn.exists() and not is_marked(drawn, _TITLE):
        raise FileExistsError(
            f"{drawn}: would be replaced, too, but is no such drawing; give another --output"
        )
    chosen = shared.object_choice(options)
    load(options.data, options.manual_dir, **chosen)  # Wrong names are told before TensorFlow.
    start_backend()
    # TensorFlow takes several models in one process for one model that is traced anew.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
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
    """Heading to model, in order."""
    named: dict[str, str] = {}
    for text in texts:
        heading, given, model = text.rpartition("=")
        models.check(model)
        heading = heading if given else models.card(model).strategy
        if heading in named:
            raise ValueError(f"{text}: there is already a column {heading}; write HEADING={model}")
        named[heading] = model
    return named
