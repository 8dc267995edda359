"""The tab Fine-tune in a real browser: check, train, cancel, download, compare.

Each test has a page, and so a session, of its own.
"""

from __future__ import annotations

import re
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from helpers.browser import eventually
from helpers.images import disc_images

from kerasunet import models

pytestmark = pytest.mark.browser
_RUN = "kerasunet.runs.background"
_LONG = 300_000
"""Milliseconds that a run may take on a busy machine."""


@pytest.fixture
def page(open_page):
    page = open_page()
    yield page
    assert page.faults == []
    page.close()


def prepare(page) -> None:
    page.wait_for_selector("#compare-loading p", state="detached")
    page.get_by_role("tab", name="Fine-tune").click()
    page.wait_for_selector("#finetune-zip input[type=file]", state="attached")


def _zip(path: Path, faulty: bool = False, count: int = 16, name: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for index, (image, mask) in enumerate(zip(*disc_images(count), strict=True)):
            levels = mask.astype(np.uint8) * 255
            if faulty and index == 3:
                levels = cv2.GaussianBlur(levels, (9, 9), 3)
            for kind, array in (("images", image), ("masks", levels)):
                data = cv2.imencode(".png", array)[1].tobytes()
                archive.writestr(f"discs/{kind}/{name}{index:02d}.png", data)
    return path


def _upload(page, path: Path, expected: str) -> str:
    page.set_input_files("#finetune-zip input[type=file]", path)
    page.locator("#finetune-check").get_by_text(expected).first.wait_for()
    return page.locator("#finetune-check").inner_text()


def _clear_zip(page) -> None:
    page.locator("#finetune-zip button[aria-label*=lear]").first.click()


def _upload_discs(page, tmp_path: Path) -> None:
    _upload(page, _zip(tmp_path / "discs.zip"), "16 cases, patients not known: no problems")


def _train(page, strategy: str, steps: int) -> None:
    """Start a run from the tiny network; the page must not have started one before."""
    _choose_tiny(page)
    _strategy(page).fill(strategy)
    number = page.locator("#finetune-steps input[type=number]")
    number.fill(str(steps))
    number.press("Tab")
    _train_button(page).click()


def _strategy(page):
    return page.locator("#finetune-strategy").locator("input, textarea")


def _train_button(page):
    return page.get_by_role("button", name="Train", exact=True)


def _choose_tiny(page) -> None:
    page.get_by_role("button", name="More").click()
    for field, option in (("finetune-init", "tiny"), ("finetune-size", "32")):
        page.locator(f"#{field} input").click()
        page.get_by_role("option", name=option, exact=True).click()


def _running(demo_place: Path) -> list[psutil.Process]:
    """The processes that train for this demo."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if _RUN in words and str(demo_place) in " ".join(words):
            found.append(process)
    return found


def test_the_check_comes_first_and_shows_the_problems(page, tmp_path):
    text = _upload(page, _zip(tmp_path / "faulty.zip", faulty=True), "Correct the errors")
    assert "16 cases, patients not known: 1 error" in text
    assert "masks/03.png: not a binary mask" in text
    assert "/tmp" not in text
    eventually(page, page.locator("#finetune-check .problems img").count, 1)
    eventually(page, _train_button(page).is_disabled, True)
    (tmp_path / "photo.jpg").write_bytes(b"no zip")
    _clear_zip(page)  # What was found goes with the file.
    eventually(page, page.locator("#finetune-check").inner_text, "")
    text = _upload(page, tmp_path / "photo.jpg", "photo.jpg")
    assert "not a binary mask" not in text and text.strip().count("\n") == 0
    page.get_by_role("button", name="Try it with simulated ultrasound").click()
    page.locator("#finetune-check").get_by_text("40 cases").first.wait_for()
    eventually(page, page.locator("#finetune-zip").get_by_text("photo").count, 0)
    eventually(page, _train_button(page).is_enabled, True)


def test_an_archive_that_leads_out_is_refused_in_one_line(page, tmp_path):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil.png", b"x")
    text = _upload(page, path, "leads out of the folder")
    assert text.strip().count("\n") == 0
    eventually(page, _train_button(page).is_disabled, True)


def test_an_archive_whose_list_names_files_of_the_machine_is_refused(page, tmp_path):
    secret = tmp_path / "secret.png"
    cv2.imwrite(str(secret), np.zeros((8, 8), np.uint8))
    path = tmp_path / "list.zip"
    with zipfile.ZipFile(path, "w") as archive:
        # A faulty row must not keep the others from being checked.
        archive.writestr("manifest.csv", f"image,mask\n{secret},{secret}\nnone.png,none.png\n")
    _upload(page, path, "lies outside the archive")
    assert page.locator("#finetune-check img").count() == 0


def test_a_run_is_canceled_and_its_process_ends(page, demo_place, tmp_path):
    _upload_discs(page, tmp_path)
    _train(page, "all", 2000)
    page.locator("#finetune-pictures img").first.wait_for()
    eventually(page, lambda: len(_running(demo_place)), 1)
    page.get_by_role("button", name="Cancel").click()
    page.locator("#finetune-status").get_by_text("Canceled").wait_for()
    eventually(page, lambda: _running(demo_place), [])
    eventually(page, _train_button(page).is_enabled, True)


def test_a_run_goes_to_its_end_and_its_model_is_kept_and_compared(page, demo_place, tmp_path):
    """The images choose what trains; their names are formulas."""
    _upload(
        page,
        _zip(tmp_path / "own.zip", count=12, name="=1+1"),
        "12 cases, patients not known: no problems",
    )
    _train(page, "auto", 8)
    told = page.locator("#finetune-result p").filter(has_text=", which auto chose:")
    told.wait_for(timeout=_LONG)
    chosen = told.locator("code").first.inner_text()
    eventually(page, page.locator("#finetune-result tbody tr").count, 2)
    eventually(page, page.locator("#finetune-pictures img").count, 2)
    assert "Validation images" in page.inner_text("#finetune-pictures")
    page.wait_for_selector("#tab-finetune .js-plotly-plot .points path")
    names = "model.keras", "model.json", "model.md", "history.csv", "cases.csv"
    folder = _download(page, tmp_path, *names)
    model = models.load(folder / "model.keras")  # verifies the digest in the card
    assert model.output_shape[-1] == 1
    card = models.card(folder / "model.keras")
    assert card.strategy == chosen != card.settings["layers"] == "auto"
    assert chosen in (folder / "model.md").read_text()
    lines = (folder / "cases.csv").read_text().splitlines()[1:]
    assert lines and all(line.startswith("'=1+1") for line in lines)
    assert len((folder / "history.csv").read_text().splitlines()) == 9
    engines = set((demo_place / "temporary" / "engines").glob("*"))
    _wait_for_compared(page, f"auto: {chosen} (yours-1)")
    # Nothing of the visitor's images or model is kept in the cache of the machine.
    assert not list((demo_place / "temporary").rglob("*.pack"))
    assert set((demo_place / "temporary" / "engines").glob("*")) == engines


def test_a_strategy_is_chosen_or_typed_and_no_other_is_meant(page):
    page.get_by_role("radio", name="contracting+0.1*expanding").check()
    eventually(page, _strategy(page).input_value, "contracting+0.1*expanding")
    _strategy(page).press_sequentially("-head")
    eventually(page, lambda: page.locator("#finetune-usual input:checked").count(), 0)
    chosen = page.locator("#finetune-usual input:checked")
    for text in ("all", "expanding", "auto"):  # Parts of other names.
        _strategy(page).fill(text)
        _strategy(page).press("Enter")
        eventually(
            page, lambda: [chosen.nth(n).input_value() for n in range(chosen.count())], [text]
        )
        assert _strategy(page).input_value() == text


def test_several_objects_are_trained_and_each_is_told(page, tmp_path):
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index, (image, mask) in enumerate(zip(*disc_images(10), strict=True)):
            labels = mask.astype(np.uint8)
            labels[:6, :6] = 2
            for kind, array in (("images", image), ("masks", labels)):
                data = cv2.imencode(".png", array)[1].tobytes()
                archive.writestr(f"{kind}/{index:02d}.png", data)
    _upload(page, path, "Correct the errors")
    page.get_by_role("button", name="What is an object?").click()
    field = page.locator("#finetune-objects input, #finetune-objects textarea")
    field.fill("disc=1 corner=2")
    field.press("Enter")
    page.locator("#finetune-check").get_by_text(
        "10 cases, patients not known: no problems"
    ).first.wait_for()
    _train(page, "all", 4)
    page.locator("#finetune-result").get_by_text("Trained all").wait_for(timeout=_LONG)
    lines = page.locator("#finetune-result tbody th").all_inner_texts()
    names = ("disc", "corner", "mean")
    assert lines == [f"{name}, {when}" for name in names for when in ("before", "after")]
    path = _download(page, tmp_path, "model.keras", "model.json") / "model.keras"
    assert models.load(path).output_shape[-1] == 3
    assert models.card(path).strategy == "all"
    _wait_for_compared(page, "all (yours-1)")


def _download(page, place: Path, *names: str) -> Path:
    folder = place / "kept"
    folder.mkdir()
    for name in names:
        with page.expect_download() as started:
            page.locator(f"#finetune-files a[download='{name}']").click()
        started.value.save_as(folder / name)
    return folder


def _wait_for_compared(page, strategy: str) -> None:
    """Wait for a row of the table in Compare."""
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compare-examples button").first.click()
    page.locator("#compare-table th[scope=row]").filter(has_text=strategy).first.wait_for()


def test_a_strategy_that_does_not_fit_is_told(page, tmp_path):
    _upload_discs(page, tmp_path)
    _train(page, "shallow:7", 20)
    alert = page.locator("#finetune-status [role=alert]")
    alert.get_by_text(re.compile("this U-Net has 3 blocks")).wait_for()


def test_everything_goes_with_the_session(open_page, demo_place, tmp_path):
    page = open_page()
    before = set(demo_place.glob("temporary/*/*/data"))
    _upload_discs(page, tmp_path)
    _train(page, "all", 2000)
    page.locator("#finetune-status").get_by_text("Training").wait_for()
    (data,) = set(demo_place.glob("temporary/*/*/data")) - before
    page.close()
    end = time.monotonic() + _LONG / 1000
    while (data.parent.exists() or _running(demo_place)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not data.parent.exists()
    assert _running(demo_place) == []


def test_few_images_are_answered_at_once(page, tmp_path):
    _upload(page, _zip(tmp_path / "few.zip", count=5), "5 cases, patients not known: no problems")
    page.get_by_role("button", name="Find the best start and layers").click()
    told = page.locator("#adapt-answer").get_by_text("With 5 annotated images, use natural")
    told.wait_for(timeout=_LONG)
    assert "With at least 8" in page.locator("#adapt-answer").inner_text()
    assert page.locator("#adapt-files a[download='report.html']").count() == 1
    assert page.locator("#adapt-start").is_enabled()
    _clear_zip(page)
    eventually(page, page.locator("#adapt-answer h4").count, 0)
    eventually(page, page.locator("#adapt-files a").count, 0)
    eventually(page, page.locator("#adapt-start").is_disabled, True)


def test_an_adaptation_can_be_stopped(page, tmp_path):
    _upload_discs(page, tmp_path)
    page.get_by_role("button", name="Find the best start and layers").click()
    page.locator("#adapt-status").get_by_text("annotated images").wait_for(timeout=_LONG)
    page.locator("#adapt-cancel").click()
    page.locator("#adapt-status").get_by_text("Canceled").wait_for(timeout=_LONG)
    assert page.locator("#adapt-start").is_enabled()
