"""The tab Compare in a real browser; it shows what the library computes from the same files."""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.browser import (
    eventually,
    require_readable,
    watched_page,
)
from helpers.compare_page import (
    MODELS,
    download_from,
    held_back,
    masks,
    new_scene,
    number,
    sizes,
    slide,
    table,
    upload,
    wait_for_areas,
    wait_for_masks,
    wait_for_note,
    wait_for_rows,
)

from kerasunet.data.simulation import simulate
from kerasunet.metrics import dice

pytestmark = pytest.mark.browser
LAST_DIGIT = 6e-4


@pytest.fixture(scope="module")
def address(url) -> str:
    """Of a demo with tiny models."""
    return url


@pytest.fixture
def scan(page, files, middle):
    """The page with the 16-bit image on it, without a mask, at a threshold that marks a part."""
    with new_scene(page):
        upload(page, "compare-image", files / "scan.png")
    # With the image goes the mask that an earlier test may have left.
    eventually(page, page.locator("#compare-truth button[aria-label*=lear]").count, 0)
    slide(page, "Smallest", 0)
    slide(page, "Threshold", middle)
    return page


def test_page_says_what_it_is_not_for(page):
    assert "Research use only. Not a medical device." in page.inner_text("#header")


def test_sixteen_bit_png_is_compared_and_its_modality_is_a_guess(scan, segmenters, files, middle):
    note = wait_for_note(scan, "Breast ultrasound (guessed")
    assert "unknown pixel size" in note
    expected = masks(segmenters, files / "scan.png", middle)
    assert len(set(sizes(expected).values())) > 1
    wait_for_areas(scan, sizes(expected))
    panels = "all => all.map((figure) => figure.dataset.panel).sort()"
    shown = sorted(["image", *MODELS, "votes", "consensus"])
    eventually(scan, lambda: scan.eval_on_selector_all("#viewer figure", panels), shown)


def test_sliders_draw_what_the_library_computes(scan, segmenters, files, middle):
    slide(scan, "Opacity", 1)
    for threshold in (middle, round(middle + 0.03, 2), round(middle - 0.02, 2)):
        slide(scan, "Threshold", threshold)
        expected = sizes(masks(segmenters, files / "scan.png", threshold))
        wait_for_masks(scan, expected)
        wait_for_areas(scan, expected)


def test_reset_of_a_slider_draws_anew(scan):
    before = scan.get_attribute(".viewer", "data-drawn")
    scan.get_by_label("Reset to default value").first.click()
    scan.wait_for_function(
        "(drawn) => document.querySelector('.viewer').dataset.drawn !== drawn", arg=before
    )


def test_small_regions_go_without_a_model(scan, segmenters, files, middle):
    slide(scan, "Opacity", 1)
    wait_for_areas(scan, sizes(masks(segmenters, files / "scan.png", middle)))
    times = [row["Time (ms)"] for row in table(scan)]
    slide(scan, "Smallest", 1)
    expected = sizes(masks(segmenters, files / "scan.png", middle, smallest=320))
    wait_for_masks(scan, expected)
    wait_for_areas(scan, expected)
    assert sorted(row["Time (ms)"] for row in table(scan)) == sorted(times)


def test_dice_with_an_uploaded_mask_is_the_metric(scan, segmenters, files, middle):
    with new_scene(scan):
        upload(scan, "compare-truth", files / "scan_mask.png")
    wait_for_note(scan, "The mask covers", "compare-truth-note")
    scan.locator("#viewer figure[data-panel=truth]").wait_for()
    truth = cv2.imread(str(files / "scan_mask.png"), cv2.IMREAD_UNCHANGED) > 0
    expected = {
        name: dice(truth, mask)
        for name, mask in masks(segmenters, files / "scan.png", middle).items()
    }
    wanted = {name: pytest.approx(value, abs=LAST_DIGIT) for name, value in expected.items()}
    eventually(scan, lambda: {row["model"]: number(row.get("Dice")) for row in table(scan)}, wanted)
    read = table(scan)
    assert [row["model"] for row in read] == sorted(expected, key=lambda n: -expected[n])
    assert "(best)" in read[0]["Layers trained"]


def test_mask_of_another_size_is_refused_beside_it(scan, files):
    upload(scan, "compare-truth", files / "small_mask.png")
    note = wait_for_note(scan, "small_mask.png", "compare-truth-note")
    assert "50 × 50 pixels, the image 200 × 160" in note
    assert len(table(scan)) == len(MODELS)


def test_broken_file_is_told_in_plain_words_and_the_page_goes_on(scan, files):
    upload(scan, "compare-image", files / "broken.png")
    note = wait_for_note(scan, "broken.png")
    assert "cannot be decoded" in note and "/" not in note
    with new_scene(scan):
        upload(scan, "compare-image", files / "scan.png")
    wait_for_note(scan, "scan.png: 200 × 160 pixels")


def test_chosen_strategies_are_shown_and_vote(scan):
    box = scan.get_by_role("checkbox", name="all", exact=True)
    box.uncheck()
    scan.wait_for_selector('#viewer figure[data-panel="ultrasound-all"]', state="hidden")
    wait_for_rows(scan, 2)
    box.check()
    wait_for_rows(scan, 3)


def test_what_is_set_while_the_models_run_holds(scan, segmenters, files, middle):
    slide(scan, "Opacity", 1)
    with held_back(scan, "scan.png") as first:
        upload(scan, "compare-image", files / "scan.png")
        eventually(scan, lambda: len(first), 1)
        scan.get_by_role("checkbox", name="all", exact=True).uncheck()
        later = round(middle + 0.03, 2)
        slide(scan, "Threshold", later)
        expected = sizes(masks(segmenters, files / "scan.png", later))
        del expected["ultrasound-all"]
    wait_for_masks(scan, expected)
    wait_for_areas(scan, expected)
    assert scan.locator('#viewer figure[data-panel="ultrasound-all"]').is_hidden()
    (row,) = (row for row in table(scan) if row["model"] == "natural")
    caption = scan.locator('#viewer figure[data-panel="natural"] figcaption')
    words = f"{row['Dice with consensus']} with consensus"
    eventually(scan, lambda: words in caption.inner_text(), True)
    scan.get_by_role("checkbox", name="all", exact=True).check()
    wait_for_rows(scan, 3)


def test_what_was_found_goes_with_the_image(scan, files):
    legend = scan.locator("#viewer .legend")
    eventually(scan, lambda: "2 strategies agree, without none" in legend.inner_text(), True)
    with new_scene(scan):
        upload(scan, "compare-truth", files / "scan_mask.png")
    scan.locator("#compare-image button[aria-label*=lear]").first.click()
    eventually(scan, lambda: table(scan), [])
    eventually(scan, scan.locator("#viewer figure").count, 0)
    eventually(scan, scan.locator("#download-zip").is_visible, False)
    eventually(scan, scan.locator("#compare-truth button[aria-label*=lear]").count, 0)
    for which in ("compare-note", "compare-truth-note"):
        assert scan.locator(f"#{which}").locator("p:visible").count() == 0
    slide(scan, "Smallest", 0.5)
    scan.get_by_role("checkbox", name="all", exact=True).uncheck()
    with new_scene(scan):
        upload(scan, "compare-image", files / "scan.png")
    wait_for_rows(scan, 2)  # What was chosen stays.
    scan.get_by_role("checkbox", name="all", exact=True).check()
    wait_for_rows(scan, 3)


def test_zoom_keeps_the_panels_in_step(scan):
    scan.get_by_label("Zoom in").click()
    scan.locator("#viewer figure").nth(1).focus()
    scan.keyboard.press("ArrowRight")
    transforms = "all => [...new Set(all.map((canvas) => getComputedStyle(canvas).transform))]"
    moved = re.compile(r"matrix\(1\.5, 0, 0, 1\.5, -[^,]+, [^,]+\)")
    eventually(
        scan,
        lambda: [
            bool(moved.match(t)) for t in scan.eval_on_selector_all("#viewer canvas", transforms)
        ],
        [True],
    )
    scan.get_by_text("Fit", exact=True).click()
    eventually(scan, lambda: scan.get_attribute(".viewer", "data-zoom"), "1.00")


def test_downloads_hold_the_masks_the_table_and_a_report(scan, segmenters, files, middle, tmp_path):
    expected = masks(segmenters, files / "scan.png", middle)
    wait_for_areas(scan, sizes(expected))
    with zipfile.ZipFile(download_from(scan, "download-zip")) as archive:
        for name, mask in expected.items():
            data = np.frombuffer(archive.read(f"masks/{name}.png"), np.uint8)
            np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), mask * 255)
    rows = list(csv.DictReader(io.StringIO(download_from(scan, "download-csv").read_text())))
    assert {row["model"]: int(row["area_pixels"]) for row in rows} == sizes(expected)
    report = tmp_path / "report.html"
    report.write_bytes(download_from(scan, "download-html").read_bytes())
    opened = watched_page(scan.context.browser)
    opened.goto(report.as_uri())
    assert opened.locator("img").count() == len(MODELS) + 3
    assert "scan.png" in opened.inner_text("h1") and opened.faults == []
    opened.close()


def test_two_strategies_lie_over_each_other(scan):
    scan.get_by_text("Two strategies, one over the other").click()
    scan.wait_for_function("() => document.querySelectorAll('#compare-pair img').length === 2")
    sources = scan.eval_on_selector_all("#compare-pair img", "all => all.map((i) => i.src)")
    assert len(set(sources)) == 2 and all(".png" in source for source in sources)


def test_dicom_shows_square_millimeters_and_the_pretrained_model(page, files):
    upload(page, "compare-image", files / "chest.dcm")
    note = wait_for_note(page, "chest.dcm: 128 × 128 pixels, 0.5 × 0.25 mm")
    assert "Chest X-ray (guessed" in note
    assert "No model here was fine-tuned for this kind of image" in note
    wait_for_rows(page, 1)
    eventually(page, lambda: any("Area (mm²)" in row for row in table(page)), True)
    (row,) = table(page)
    area = int(row["Area (px)"].replace(",", ""))
    assert float(row["Area (mm²)"].replace(",", "")) == pytest.approx(area * 0.125, abs=0.06)
    modality = page.locator("#compare-modality")
    modality.get_by_label("Breast ultrasound", exact=True).check()
    assert "as you chose" in wait_for_note(page, "Treated as Breast ultrasound")
    wait_for_rows(page, 3)
    assert "Secret" not in page.content()
    modality.get_by_label("Guess", exact=True).check()
    wait_for_note(page, "Treated as Chest X-ray (guessed")


def test_frames_are_chosen_and_start_anew_with_each_file(page, files, segmenters):
    pages = [simulate("breast-ultrasound", 12, index, size=(90, 120)).image for index in range(2)]
    cv2.imwritemulti(str(files / "pages.tif"), pages)
    upload(page, "compare-image", files / "pages.tif")
    wait_for_note(page, "pages.tif, frame 0 of 0 to 1: 120 × 90 pixels")
    page.get_by_text("Files of several frames or slices").click()
    chosen = page.locator("#compare-frame input")
    chosen.fill("7")
    wait_for_note(page, "there is no frame 7; it has 2, counted from 0")
    with new_scene(page):
        chosen.fill("1")
    threshold = float(page.locator("#compare-controls input[type=number]").first.input_value())
    expected = {
        name: int((segment(pages[1]).probability >= threshold).sum())
        for name, segment in segmenters.items()
    }
    wait_for_areas(page, expected)
    upload(page, "compare-image", files / "scan.png")
    wait_for_note(page, "scan.png: 200 × 160 pixels")
    eventually(page, chosen.input_value, "0")


def test_pasted_image_is_taken(page, files):
    import base64

    data = base64.b64encode((files / "scan.png").read_bytes()).decode()
    page.evaluate(
        """(data) => { const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          const parcel = new DataTransfer();
          parcel.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: parcel })) }""",
        data,
    )
    wait_for_note(page, "pasted.png: 200 × 160 pixels")


def test_example_comes_with_its_mask(page):
    with new_scene(page):
        page.locator("#compare-examples button").first.click()
    wait_for_note(page, "simulated-ultrasound")
    page.locator("#viewer figure[data-panel=truth]").wait_for()
    eventually(page, lambda: any("Dice" in row for row in table(page)), True)


def test_several_files_become_a_table_and_a_zip(page, files):
    page.get_by_text("Several images at once").click()
    given = [files / name for name in ("scan.png", "scan_mask.png", "broken.png", "chest.dcm")]
    upload(page, "batch-files", *given)
    page.wait_for_function(
        "() => document.querySelector('#batch-files').innerText.includes('chest')"
    )
    page.click("#batch-start")
    note = wait_for_note(page, "2 of 3 images compared", "batch-note")
    assert "broken.png" in note and "cannot be decoded" in note
    wait_for_rows(page, len(MODELS), "batch-table")
    with page.expect_download() as download:
        page.locator("#batch-zip a").first.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        lines = list(csv.DictReader(io.StringIO(archive.read("table.csv").decode())))
        assert "001_scan.png/consensus.png" in archive.namelist()
    assert [line["image"] for line in lines] == ["scan.png"] * 3 + ["broken.png", "chest.dcm"]
    assert all(line["dice"] for line in lines[:3])


def test_files_go_with_the_page(page, url, files, cache):
    own = files / "own.png"
    cv2.imwrite(str(own), cv2.imread(str(files / "scan.png"))[1:])
    before = _files(cache)
    other = watched_page(page.context.browser)
    other.goto(url)
    with new_scene(other):
        upload(other, "compare-image", own)
    other.get_by_text("Two strategies, one over the other").click()
    other.wait_for_function("() => document.querySelectorAll('#compare-pair img').length === 2")
    download_from(other, "download-zip")
    assert len(_files(cache) - before) >= 4
    other.close()
    eventually(page, lambda: _files(cache) - before, set())


def _files(folder: Path) -> set[Path]:
    """The files of visitors: those in folders of their own."""
    return {
        Path(place, name)
        for place, _, names in os.walk(folder)  # It does not mind folders that vanish meanwhile.
        for name in names
        if Path(place).parent.name.startswith("kerasunet-demo-")
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_and_nothing_is_wider_than_the_page(page, url, scheme):
    other = watched_page(page.context.browser, viewport={"width": 390, "height": 800})
    other.goto(f"{url}/?__theme={scheme}")
    other.locator("#compare-examples button").first.click()
    other.wait_for_selector("#viewer figure[data-panel=consensus]")
    require_readable(other)
    assert other.faults == []
    other.close()
