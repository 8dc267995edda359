"""Draw the demo's tabs, light, dark and narrow: start a demo, take every screenshot, end it.

python docs/draw_demo.py [FOLDER]    (docs/images)

All images in the pictures are simulated. Needs the extra `dev` and Chromium.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.browser import chromium, running_demo  # noqa: E402

LOOKS = {  # name: width, largest height, color scheme
    "light": (1360, 1700, "light"),
    "dark": (1360, 1700, "dark"),
    "narrow": (390, 2400, "light"),
}
_EXAMPLE = 2
_OTHER_RATE = "0.1"
_STEPS = 60
_COLORS = 255
_SETTLING = 1500
_PATIENCE = 600_000
"""Milliseconds to wait for models, statistics and training on a busy machine."""


def main(folder: str = str(ROOT / "docs" / "images")) -> None:
    with (
        tempfile.TemporaryDirectory() as cache,
        running_demo(ROOT / "saved_models", Path(cache)) as url,
        chromium() as browser,
    ):
        for look, (width, height, scheme) in LOOKS.items():
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.set_default_timeout(_PATIENCE)
            page.goto(f"{url}/?__theme={scheme}")
            page.wait_for_selector("#compare-examples button")
            for name, (label, fill) in TABS.items():
                open_tab(page, label)
                fill(page)
                save(page, Path(folder) / f"demo-{name}-{look}.png", height)
            page.close()


def open_tab(page: Page, label: str) -> None:
    """Open a tab; narrow pages hide the last ones in a menu."""
    tab = page.get_by_role("tab", name=label, exact=True)
    if not tab.first.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button", has_text=label)
    tab.first.click()


def compare_example(page: Page) -> None:
    page.wait_for_selector("#compare-loading p", state="detached")
    page.locator("#compare-examples button").nth(_EXAMPLE).click()
    page.wait_for_selector("#viewer figure[data-panel=consensus]")
    page.wait_for_selector("#compare-table tbody tr")


def choose_soft_strategy(page: Page) -> None:
    rate = page.locator("#layers-other-rate input[type=number]")
    rate.fill(_OTHER_RATE)
    rate.press("Tab")
    page.locator(f"#layers-presets button[data-strategy$='{_OTHER_RATE}*expanding']").click()
    page.locator("#layers-unet button[data-shade]").first.wait_for()
    page.locator("#findings").get_by_text("Nearest in the published study").wait_for()


def wait_for_figures(page: Page) -> None:
    for side in ("ultrasound", "x-ray"):
        page.wait_for_selector(f"#study-{side}-strategies .points path")
    page.wait_for_selector("#study-claims tbody tr")


def train_on_example(page: Page) -> None:
    page.get_by_role("button", name="Try it with simulated ultrasound").click()
    page.wait_for_selector("#finetune-check .thumbnails img")
    steps = page.locator("#finetune-steps input[type=number]")
    steps.fill(str(_STEPS))
    steps.press("Tab")
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_selector("#finetune-result tbody tr")


TABS = {  # name: label, and what to do on the tab before it is drawn
    "compare": ("Compare", compare_example),
    "layers": ("Layers", choose_soft_strategy),
    "study": ("Study", wait_for_figures),
    "finetune": ("Fine-tune", train_on_example),
}


def save(page: Page, path: Path, height: int) -> None:
    """Write the page, cut at a height, with few colors so that the file is small."""
    page.wait_for_timeout(_SETTLING)
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, height)))
    few = picture.quantize(_COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
