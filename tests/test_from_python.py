"""Called from Python, the library refuses what its commands refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.images import write_disc_pairs

from kerasunet import runs
from kerasunet.adapt import adapt
from kerasunet.adapt.settings import AdaptSettings
from kerasunet.inference.export import Images, export
from kerasunet.runs.predictions import PredictionDirectory
from kerasunet.study.execution import open_study
from kerasunet.study.plan import StudySettings
from kerasunet.training.settings import FinetuneSettings, PretrainSettings


@pytest.fixture(scope="module")
def own_images(tmp_path_factory) -> Path:
    """A folder of eight images and their masks."""
    return write_disc_pairs(tmp_path_factory.mktemp("own"), 8)


@pytest.fixture
def data(own_images, tmp_path, monkeypatch) -> Path:
    """A copy of it, as a data set and as one of two classes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "classes/benign", "classes/malignant"):
        shutil.copytree(own_images, tmp_path / folder)
    return tmp_path / "data"


def _predict(directory: str) -> None:
    image = Path("data/images/case0.png")
    PredictionDirectory.open(Path(directory), {}).require_free({"case0": image}, ["areas.csv"])


def _export(path: str) -> None:
    export("natural", "savedmodel", path, images=Images("none", None, np.zeros(0)))  # type: ignore[arg-type]


CALLS = {
    "finetune": lambda data, place: runs.finetune(FinetuneSettings(data=data), place),
    "pretrain": lambda data, place: runs.pretrain(PretrainSettings(data=data), place),
    "study": lambda data, place: open_study(StudySettings(run=FinetuneSettings(data=data)), place),
    "adapt": lambda data, place: adapt(AdaptSettings(data=data), place),
    "predict": lambda _, place: _predict(place),
    "export": lambda _, place: _export(place),
}


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize(
    ("folder", "place"),
    [("data", "data"), ("data", "data/masks/new"), ("classes", "classes/new")],
)
def test_results_are_not_written_where_they_would_be_read_as_data(data, verb, folder, place):
    if verb in ("predict", "export") and "masks" not in place:
        place = "data/images/new"  # Beside images and masks, these may be.
    before = sorted(data.parent.rglob("*"))
    with pytest.raises(ValueError, match=f"^{place}: (is the folder of the data|lies among the)"):
        CALLS[verb](folder, place)
    assert sorted(data.parent.rglob("*")) == before


@pytest.mark.parametrize("verb", ["finetune", "pretrain", "study", "adapt"])
def test_an_empty_name_does_not_mean_this_folder(data, verb):
    before = sorted(data.parent.rglob("*"))
    with pytest.raises(ValueError, match="the name of the output is empty"):
        CALLS[verb]("data", "")
    assert sorted(data.parent.rglob("*")) == before
