"""From the fields of the page to the settings of a run, which say their ranges and defaults."""

from __future__ import annotations

from dataclasses import replace

from kerasunet import models
from kerasunet.data.checking import Report
from kerasunet.options import declared
from kerasunet.strategies import parse
from kerasunet.training.settings import FinetuneSettings, Optimization

STRATEGIES = ("shallow:3", "contracting", "expanding", "all", "deep:3", "auto", "auto:search")
IMAGE_SIZES = (32, 64, 128, 192, 256)
OPTIMIZATION = declared(Optimization)
"""Range and help of each option, by name."""
_VALIDATIONS = 20
_VALIDATION_SHARE, _MOST_VALIDATION = 0.15, 20


def settings(
    report: Report, strategy: str, steps: int, init: str, image_size: int, learning_rate: float
) -> FinetuneSettings:
    """Return the settings of a run: a fifth of the cases are held out, the others train.

    Args:
        report: Of the data; it must list cases and hold no error.
        strategy: Strategy text.
        steps: Training steps.
        init: Model to start from.
        image_size: Height and width in pixels.
        learning_rate: Peak learning rate.

    Raises:
        ValueError: Data, strategy or numbers cannot be used.
        FileNotFoundError: There is no such model.
    """
    if report.data is None or report.counts()["error"]:
        raise ValueError("the data have errors: correct them and check again")
    architecture = models.card(init).architecture
    parsed = parse(strategy)
    if not parsed.is_auto:
        parsed.select(architecture.layout())
    usual = FinetuneSettings()
    optimization = replace(
        usual.optimization,
        steps=steps,
        validate_every=max(1, steps // _VALIDATIONS),
        learning_rate=learning_rate,
    )
    return replace(
        usual,
        layers=parsed,
        init=init,
        data=report.source,
        train_size=None,
        validation_size=min(_MOST_VALIDATION, max(1, round(_VALIDATION_SHARE * len(report.data)))),
        image_size=image_size,
        optimization=optimization,
    )
