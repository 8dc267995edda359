"""The demo's endpoints, called with `gradio_client`; results are those of the library."""

from __future__ import annotations

import zipfile

import cv2
import numpy as np
import pytest
from helpers.compare_page import MODELS, masks, sizes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    from gradio_client import Client

    return Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def test_endpoints_are_documented(client):
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    wanted = {"/models", "/segment", "/compare", "/batch", "/example", "/guess_modality"}
    assert wanted <= described.keys()
    for name in wanted:
        assert described[name]["description"], name


def test_client_compares_and_segments(client, segmenters, files, middle):
    from gradio_client import handle_file

    scan = handle_file(str(files / "scan.png"))
    assert {model["name"] for model in client.predict(api_name="/models")} == set(MODELS)
    lines, packed = client.predict(
        image=scan,
        truth=handle_file(str(files / "scan_mask.png")),
        modality="",
        threshold=middle,
        smallest=0,
        frame=0,
        api_name="/compare",
    )
    expected = masks(segmenters, files / "scan.png", middle)
    assert {line["model"]: line["area_pixels"] for line in lines} == sizes(expected)
    assert "report.html" in zipfile.ZipFile(packed).namelist()
    facts, mask = client.predict(
        scan, "ultrasound-all", threshold=middle, smallest=0, frame=0, api_name="/segment"
    )
    pixels = cv2.imread(mask, cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(pixels, expected["ultrasound-all"] * 255)
    assert facts["area_pixels"] == int(expected["ultrasound-all"].sum())


def test_client_is_told_which_frame_was_segmented(client, files, tmp_path):
    """Also if it named none: the first one is taken."""
    from gradio_client import handle_file

    scan = cv2.imread(str(files / "scan.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwritemulti(str(tmp_path / "loop.tif"), [scan, scan[::-1]])
    loop = handle_file(str(tmp_path / "loop.tif"))
    facts, _ = client.predict(loop, "ultrasound-all", api_name="/segment")
    lines, _ = client.predict(loop, None, "ultrasound", frame=1, api_name="/compare")
    assert facts["image"] == "loop.tif, frame 0 of 0 to 1"
    assert {line["image"] for line in lines} == {"loop.tif, frame 1 of 0 to 1"}


def test_client_is_told_what_is_wrong(client, files):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    scan = handle_file(str(files / "scan.png"))
    with pytest.raises(
        AppError, match=r"deep-9: no such model; choose from natural, ultrasound-all"
    ):
        client.predict(scan, "deep-9", api_name="/segment")
    with pytest.raises(AppError, match="a modality is ultrasound or xray"):
        client.predict(scan, None, "mri", api_name="/compare")
    with pytest.raises(AppError, match=r"^broken.png: "):
        client.predict(handle_file(str(files / "broken.png")), api_name="/guess_modality")


def test_client_gets_examples_and_runs_batches(client, files):
    from gradio_client import handle_file

    image, mask = client.predict("xray", 3, api_name="/example")
    assert cv2.imread(image).shape[:2] == cv2.imread(mask).shape[:2] == (512, 512)
    given = [handle_file(str(files / name)) for name in ("scan.png", "broken.png")]
    lines, packed = client.predict(given, "ultrasound", api_name="/batch")
    assert len(lines) == len(MODELS) + 1 and "cannot be decoded" in lines[-1]["error"]
    assert "table.csv" in zipfile.ZipFile(packed).namelist()
