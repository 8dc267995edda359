"""Predictions of several objects: labels, a row an object, overlays, formats of other programs."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from kerasunet.data import load
from kerasunet.training import Architecture, FinetuneSettings, Optimization, finetune

pytestmark = pytest.mark.slow
OBJECTS = ("lungs", "heart")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}
    for overlapping in (False, True):
        settings = FinetuneSettings(
            layers="all",
            init="scratch",
            data="simulated-xray:12",
            objects=OBJECTS,
            overlapping=overlapping,
            train_size=4,
            validation_size=0,
            folds=3,
            image_size=32,
            architecture=Architecture(base_filters=2, depth=1),
            optimization=Optimization(steps=4, batch_size=4, validate_every=4),
        )
        run = finetune(settings, tmp_path_factory.mktemp("model"))
        made[overlapping] = run.files.model
    return made


@pytest.fixture
def scan(tmp_path):
    image = load("simulated-xray:1", size=48).cases[0].load().image
    (tmp_path / "scans").mkdir()
    assert cv2.imwrite(str(tmp_path / "scans" / "scan.png"), image.astype(np.uint8))
    return tmp_path / "scans" / "scan.png"


def test_labels_are_written_with_a_row_for_each_object(models, scan, call_cli, tmp_path):
    words = ("predict", models[False], scan, "--engine", "keras", "--output", "out")
    words += ("--format", "png", "nifti", "labelme", "coco", "--uncertainty")
    assert call_cli(*words).returncode == 0
    labels = cv2.imread(str(tmp_path / "out" / "masks" / "scan.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (48, 48) and set(np.unique(labels)) <= {0, 1, 2}
    with open(tmp_path / "out" / "areas.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["object"] for row in rows] == [*OBJECTS]
    assert [int(row["area_pixels"]) for row in rows] == [(labels == n).sum() for n in (1, 2)]
    assert (tmp_path / "out" / "overlays" / "scan.png").is_file()
    (found,) = (tmp_path / "out" / "uncertainty").glob("scan*.png")
    assert cv2.imread(str(found), cv2.IMREAD_UNCHANGED).shape == (48, 48)
    read = load(tmp_path / "out" / "coco", objects=[o for n, o in enumerate(OBJECTS, 1)
                                                    if (labels == n).any()])  # fmt: skip
    mask = read.cases[0].load().mask
    np.testing.assert_array_equal(mask > 0, labels > 0)
    assert call_cli(*words).returncode == 0  # Once more, into the same folder.


def test_models_of_the_same_objects_are_averaged_and_others_refused(models, scan, call_cli):
    words = ("predict", models[False], scan, "--engine", "keras")
    again = call_cli(*words, "--also", models[False], "--output", "twice")
    assert again.returncode == 0, again.stderr
    refused = call_cli(*words, "--also", models[True], "--output", "mixed")
    assert refused.returncode == 2 and "finds lungs, heart (overlapping)" in refused.stderr
    refused = call_cli(*words, "--threshold", 0.4, "--output", "cut")
    assert "a pixel is of the most probable of lungs, heart" in refused.stderr


def test_overlapping_objects_are_bits_of_a_picture(models, scan, call_cli, tmp_path):
    words = ("predict", models[True], scan, "--engine", "keras", "--threshold", 0.3)
    assert call_cli(*words, "--output", "out").returncode == 0
    bits = cv2.imread(str(tmp_path / "out" / "masks" / "scan.png"), cv2.IMREAD_UNCHANGED)
    with open(tmp_path / "out" / "areas.csv", encoding="utf-8", newline="") as file:
        areas = [int(row["area_pixels"]) for row in csv.DictReader(file)]
    assert areas == [(bits >> bit & 1).sum() for bit in (0, 1)]
    refused = call_cli(*words, "--format", "nifti", "--output", "other")
    assert "holds one object a pixel" in refused.stderr


def test_a_dicom_segmentation_has_a_segment_for_each_object(models, tmp_path, call_cli):
    pytest.importorskip("highdicom")
    import pydicom
    from helpers.dicom_files import dicom, save

    image = load("simulated-xray:1", size=48).cases[0].load().image
    ds = dicom(image.astype(np.uint8))
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.3.1", "1.2.3.2", "US"
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    save(ds, tmp_path / "chest.dcm")
    words = ("predict", models[False], "chest.dcm", "--engine", "keras", "--output", "out")
    done = call_cli(*words, "--format", "dicom-seg", "png")
    assert done.returncode == 0, done.stderr
    written = pydicom.dcmread(tmp_path / "out" / "dicom-seg" / "chest.dcm")
    assert [one.SegmentLabel for one in written.SegmentSequence] == [*OBJECTS]
    labels = cv2.imread(str(tmp_path / "out" / "masks" / "chest.png"), cv2.IMREAD_UNCHANGED)
    assert len(np.unique(labels)) > 1
    for number, name in enumerate(OBJECTS, start=1):
        if (labels == number).any():
            (case,) = load(tmp_path / "out" / "dicom-seg", objects=[name]).cases
            np.testing.assert_array_equal(case.load().mask, labels == number)
