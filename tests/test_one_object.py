"""One object stays as it was before there could be several: digests, training, tables, cards.

What is compared was recorded before the change.
"""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest

from kerasunet.data import load
from kerasunet.data.cache_packs import origin_of
from kerasunet.data.cases import SimulatedCase
from kerasunet.data.decoding import content_digest, decode
from kerasunet.data.splits import split_cases
from kerasunet.training import Architecture, FinetuneSettings, Optimization, finetune
from kerasunet.training.settings import to_json

RECORDED = {
    "data": "cf85de498194b6c836582032fac29595777b5641eb7f6fdcef71122fbf7dd199",
    "content": "1985af1f4c5d22275102ea7540ffea7208229d0ab7208dfdfbfac61658892b54",
    "split": "21760376a9c11e2a94b1357b2827eaed6bce951c98d1d6326e4127d655c0a5a8",
    "origin": "9acde71d6f4d263c134982f9d0f3c271",
}
LOSSES = [1.39063, 1.36438]
COLUMNS = (
    "key,group,dice,iou,sensitivity,precision,hd95,assd,ece,truth_area,predicted_area,outcome,unit"
)
FILES = [
    *("cases.csv", "config.json", "history.csv", "layers.json", "layers.txt"),
    *("model.json", "model.keras", "model.md", "summary.json"),
]


@pytest.fixture
def folder(tmp_path):
    rows, columns = np.mgrid[:32, :32]
    for number in range(12):
        mask = (rows - 10 - number % 5) ** 2 + (columns - 16) ** 2 < 50
        image = (rows * 3 + columns * 2 + 60 * mask).astype(np.uint8)
        labels = np.where(mask, np.where(columns > 16, 200, 150), 0).astype(np.uint8)
        for name, pixels in (("images", image), ("masks", labels)):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "set" / name / f"case{number:02d}.png"), pixels)
    return tmp_path / "set"


def digests(folder) -> dict[str, str]:
    data = load(folder, objects=["lungs=150,200"])
    decoded = decode(data.cases, (24, 24))
    assert decoded.masks.dtype == bool
    origin = origin_of(SimulatedCase("chest-xray", 0, 0, 32))
    assert origin is not None
    return {
        "data": data.digest,
        "content": content_digest([decoded]),
        "split": split_cases(data.cases, 4, 2, fold=0, folds=3, seed=0).digest,
        "origin": origin.digest.hex(),
    }


def test_digests_of_one_object_are_those_recorded(folder):
    assert digests(folder) == RECORDED


def test_one_object_writes_no_setting_of_several():
    assert "overlapping" not in to_json(FinetuneSettings())
    assert to_json(FinetuneSettings(objects=("a", "b"), overlapping=True))["overlapping"] is True


def test_masks_of_one_object_have_the_coding_that_they_had(folder):
    coding = repr(load(folder, objects=["lungs=150,200"]).cases[0].coding)
    assert coding == (
        "MaskCoding(above=None, labels=(150, 200), colors=(), classes=(), void=False, "
        "segments=(), any_color=False)"
    )


def run_of(folder, output):
    settings = FinetuneSettings(
        layers="all",
        init="scratch",
        data=str(folder),
        objects=("lungs=150,200",),
        train_size=4,
        validation_size=2,
        folds=3,
        image_size=16,
        architecture=Architecture(base_filters=2, depth=1),
        optimization=Optimization(steps=6, batch_size=2, validate_every=3, deterministic=True),
    )
    return finetune(settings, output)


@pytest.mark.slow
def test_training_tables_and_card_of_one_object_are_those_recorded(folder, tmp_path):
    files = run_of(folder, tmp_path / "run").files
    with open(files.history, encoding="utf-8", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(losses, LOSSES, rtol=1e-4)
    assert files.cases.read_text().splitlines()[0] == COLUMNS
    card = json.loads(files.model.with_suffix(".json").read_text())
    assert not {"objects", "overlapping"} & card.keys()
    assert "overlapping" not in card["settings"]
    assert "objects" not in card["metrics"]
    found = {path.name for path in files.path.iterdir() if path.is_file()}
    assert sorted(found) == FILES
