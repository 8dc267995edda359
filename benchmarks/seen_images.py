"""Notes in the cards of shipped models which images they were trained on, and what these are like.

    python benchmarks/seen_images.py --data SETS

SETS holds the folders bus_bra, busi, jsrt, shenzhen and duts. Of each image the card gets a digest
of its pixels and a fingerprint of its look, and of all together the range of gray levels and
aspect; model files stay as they are. Models that are another one untouched become names for its
file.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from kerasunet import models
from kerasunet.data.cases import Case, DataSet
from kerasunet.data.identification import image_identities, image_spans
from kerasunet.data.loading import SIMULATED, load
from kerasunet.models import ImageRanges
from kerasunet.models.model_card import ModelCard, write_card
from kerasunet.runs.preparation import split_of

FOLDERS = {"duts": "duts/DUTS-TR"}


@lru_cache
def data_set(folder: Path) -> DataSet:
    return load(folder)


def trained_on(card: ModelCard, folder: Path) -> tuple[Case, ...]:
    """Return the cases that a model was trained on or chosen by, its start's left out.

    Raises:
        ValueError: The data are not those of the card.
    """
    data = data_set(folder)
    if data.digest != card.data.digest:
        raise ValueError(f"{folder}: is not the data set that {card.name} was trained on")
    if not card.is_fine_tuned:
        return () if "layers" in card.settings else data.cases
    split = split_of(card, data=str(folder))
    if split is None:
        raise ValueError(f"{folder}: splits otherwise than when {card.name} was trained")
    return data.select([*split.train, *split.validation])


def noted(card: ModelCard, folder: Path) -> ModelCard:
    """Return the card with the images that its model has seen."""
    cases = trained_on(card, folder)
    seen = tuple(sorted({*image_identities(cases).values()}))
    if cases:
        card = replace(card, images=ImageRanges.of(image_spans(cases, len(cases))))
    if card.name == models.NATURAL:
        return replace(card, seen=seen, role="start", modality="photograph")
    card = replace(card, seen=seen, seen_by=(card.init,), start_data=("duts",))
    if card.is_fine_tuned:
        return card
    start = models.card(card.init)
    return replace(card, weights_of=start.name, sha256=start.sha256, storage=start.storage)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="SETS")
    options = parser.parse_args()
    for name in models.list():
        card = models.card(name)
        folders = [options.data / FOLDERS.get(part, part) for part in card.data.name.split("+")]
        if card.data.name in SIMULATED:
            continue
        if card.is_start and name != models.NATURAL:  # It was saved with what it has seen.
            cases = [case for folder in folders for case in data_set(folder).cases]
            made = replace(card, images=ImageRanges.of(image_spans(cases, len(cases))))
        else:
            made = noted(card, folders[0])
        write_card(models.folder() / f"{name}.keras", made)
        if made.weights_of:
            (models.folder() / f"{name}.keras").unlink(missing_ok=True)
        print(f"{name}: {len(made.seen):,} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
