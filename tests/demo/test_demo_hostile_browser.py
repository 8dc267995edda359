"""Hostile names, tables and archives in a real browser: they are shown as text."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.browser import watched_page
from helpers.hostile_names import FORMULAS, MARKUP, TEMPTING
from helpers.images import disc_images
from helpers.study_makers import make_study

pytestmark = pytest.mark.browser
FORMULA = re.compile(r"(^|[;\t\n\r])\s*[=+\-@]")


@pytest.fixture(scope="module")
def scan() -> bytes:
    return cv2.imencode(".png", disc_images(1, 64)[0][0])[1].tobytes()


@pytest.fixture(autouse=True)
def _nobody_hacked(page):
    yield
    assert page.evaluate("window.hacked") is None


def _give(page, which: str, files: dict[str, bytes]) -> None:
    parcels = [
        {"name": name, "mimeType": "application/octet-stream", "buffer": data}
        for name, data in files.items()
    ]
    page.locator(f"#{which} input[type=file]").set_input_files(parcels)


def _open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_markup_in_a_files_name_is_text(page, scan):
    _open_tab(page, "Compare")
    _give(page, "compare-image", {f"{MARKUP} {TEMPTING}.png": scan})
    note = page.locator("#compare-note [role=status]")
    note.get_by_text("Treated as").wait_for()
    assert TEMPTING in note.inner_text()
    page.locator("#viewer figure[data-panel=consensus]").wait_for()
    assert page.locator("img[src=x]").count() == 0
    report = _download(page, "#download-html")
    assert MARKUP.encode() not in report and b"<script" not in report
    opened = watched_page(page.context.browser)
    opened.set_content(report.decode())
    assert opened.evaluate("window.hacked") is None and opened.faults == []
    opened.close()


def _download(page, selector: str) -> bytes:
    with page.expect_download() as download:
        page.locator(selector).first.click()
    return Path(download.value.path()).read_bytes()


def test_no_cell_of_a_table_is_a_formula(page, scan):
    _open_tab(page, "Compare")
    page.get_by_text("Several images at once").click()
    _give(page, "batch-files", {f"{f}.png": scan for f in FORMULAS} | {"=broken.png": b"no"})
    page.locator("#batch-files").get_by_text("broken").first.wait_for()
    page.click("#batch-start")
    page.locator("#batch-note").get_by_text("images compared").wait_for()
    packed = _download(page, "#batch-zip a")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        table = archive.read("table.csv").decode()
        assert all(re.fullmatch(r"[\w./-]+", name) for name in archive.namelist())
    cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row]
    assert any("1+1" in cell for cell in cells)
    assert [cell for cell in cells if FORMULA.match(cell)] == []
    assert not re.search(r"[;\t]\s*[=+@]", table)


def test_markup_and_formulas_in_a_study_are_text(page, tmp_path):
    study = make_study(tmp_path, "bus_bra")
    _open_tab(page, "Study")
    page.get_by_role("button", name="Open a study of your own").click()
    tables = {
        name: (study / name).read_bytes().replace(b"bus_bra", MARKUP.encode())
        for name in ("cases.csv", "runs.csv")
    }
    _give(page, "study-files", tables)
    note = page.locator("#study-note")
    note.get_by_text("Your study:").wait_for()
    assert MARKUP in note.inner_text()
    page.locator("#study-claims tbody tr").first.wait_for()
    assert page.locator("img[src=x]").count() == 0


def test_markup_in_a_zip_is_text(page, tmp_path):
    path = tmp_path / f"{MARKUP}.zip".replace("/", "")
    with zipfile.ZipFile(path, "w") as archive:
        for index, (image, mask) in enumerate(zip(*disc_images(4), strict=True)):
            for kind, array in (("images", image), ("masks", mask * np.uint8(200) + index)):
                data = cv2.imencode(".png", array)[1].tobytes()
                archive.writestr(f"{MARKUP}/{kind}/{MARKUP}{index}.png", data)
    _open_tab(page, "Fine-tune")
    page.set_input_files("#finetune-zip input[type=file]", path)
    found = page.locator("#finetune-check")
    found.locator("[role=status], [role=alert]").first.wait_for()
    assert "onerror" in found.inner_text()
    assert page.locator("img[src=x]").count() == 0
