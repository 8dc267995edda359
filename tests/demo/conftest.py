"""Fixtures for the tests of the demo: pages, a demo with three tiny models, files to give it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.browser import SharedPage, chromium, running_demo, watched_page
from helpers.compare_page import MODELS

from kerasunet import Segmenter, models as registry
from kerasunet.data.simulation import simulate
from kerasunet.files import sha256


@pytest.fixture(scope="session")
def models(tiny_model_file, tmp_path_factory) -> Path:
    """A registry of three tiny networks that answer differently."""
    folder = tmp_path_factory.mktemp("models")
    card = registry.card(tiny_model_file)
    for seed, (name, strategy) in enumerate(MODELS.items()):
        model = registry.load(tiny_model_file)
        for weight in model.get_layer("enc1_conv1").trainable_variables:
            noise = np.random.default_rng(seed).normal(1, 0.4, weight.shape)
            weight.assign(weight.numpy() * noise)
        model.save(folder / f"{name}.keras")
        settings = {**card.settings, "layers": strategy}
        digest = sha256(folder / f"{name}.keras")
        known = replace(card, name=name, strategy=strategy, settings=settings, sha256=digest)
        (folder / f"{name}.json").write_text(json.dumps(known.to_json()))
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def url(models, cache):
    with running_demo(models, cache) as address:
        yield address


@pytest.fixture(scope="module")
def address(demo_url) -> str:
    """Where the pages of a file's tests are; a file may say otherwise."""
    return demo_url


@pytest.fixture(scope="module")
def open_page(address, request):
    """A function that opens a page at what a file tests: by its own `prepare`, or at Compare."""
    prepare = getattr(request.module, "prepare", _wait_for_compare)
    with chromium() as browser:

        def open_one():
            page = watched_page(
                browser, viewport={"width": 1360, "height": 1000}, accept_downloads=True
            )
            page.goto(address)
            prepare(page)
            return page

        yield open_one


def _wait_for_compare(page) -> None:
    page.wait_for_selector("#compare-examples button")
    page.wait_for_function("() => !document.querySelector('#compare-loading')?.innerText.trim()")


@pytest.fixture(scope="module")
def shared_page(open_page):
    with SharedPage(open_page) as shared:
        yield shared


@pytest.fixture
def page(shared_page, request):
    """The page that the tests of a file share."""
    return shared_page.after(request.session.testsfailed)


@pytest.fixture(scope="session")
def segmenters(models, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASUNET_MODELS", str(models))
        patch.setenv("KERASUNET_CACHE", str(cache))
        return {name: Segmenter(name) for name in MODELS}


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    """A 16-bit PNG with its mask, a DICOM file, a broken file and a mask of another size."""
    folder = tmp_path_factory.mktemp("files")
    sample = simulate("breast-ultrasound", 11, 0, size=(160, 200))
    deep = sample.image.astype(np.uint16) * 200 + 300
    cv2.imwrite(str(folder / "scan.png"), deep)
    cv2.imwrite(str(folder / "scan_mask.png"), sample.mask.astype(np.uint8) * 255)
    cv2.imwrite(str(folder / "small_mask.png"), np.zeros((50, 50), np.uint8))
    (folder / "broken.png").write_bytes((folder / "scan.png").read_bytes()[:300])
    _write_dicom(folder / "chest.dcm", simulate("chest-xray", 11, 0, size=128).image)
    return folder


def _write_dicom(path: Path, image: np.ndarray) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientName = "Somebody^Secret"
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    data.Rows, data.Columns = image.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelSpacing = [0.5, 0.25]
    data.PixelData = (image.astype(np.uint16) * 16).tobytes()
    data.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="session")
def middle(segmenters, files) -> float:
    """A threshold at which the tiny networks mark a part of the scan."""
    probability = np.stack(
        [segment(files / "scan.png").probability for segment in segmenters.values()]
    )
    return round(float(np.median(probability)), 2)
