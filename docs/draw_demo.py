"""Takes the pictures of the demo's tabs, light, dark and narrow, from a demo that is running.

python demo/app.py --allow-training --port 7860 &
python docs/draw_demo.py http://127.0.0.1:7860 docs/images
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

TABS = {"compare": "Compare", "layers": "Layers", "study": "Study", "finetune": "Fine-tune"}
LOOKS = {  # name: width and height at most, colour scheme
    "light": (1360, 1700, "light"),
    "dark": (1360, 1700, "dark"),
    "narrow": (390, 2400, "light"),
}
_EXAMPLE = 2
_COLOURS = 255
_SETTLING = 2500


def main(url: str, folder: str) -> None:
    with sync_playwright() as play:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for look, (width, height, scheme) in LOOKS.items():
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.goto(f"{url}/?__theme={scheme}")
            compare_example(page)
            for name, label in TABS.items():
                open_tab(page, label)
                save(page, Path(folder) / f"demo-{name}-{look}.png", height)
        browser.close()


def compare_example(page: Page) -> None:
    page.wait_for_selector("#compare-loading p", state="detached", timeout=300_000)
    page.locator("#compare-examples button").nth(_EXAMPLE).click()
    page.wait_for_selector("#viewer figure[data-panel=consensus]")


def open_tab(page: Page, label: str) -> None:
    """Narrow pages hide the last tabs in a menu; each has its button somewhere."""
    tab = page.get_by_role("tab", name=label, exact=True)
    if not tab.first.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown button", has_text=label)
    tab.first.click()
    page.wait_for_timeout(_SETTLING)


def save(page: Page, path: Path, height: int) -> None:
    """Writes the page, cut at a height, with few colours: a small file."""
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, height)))
    few = picture.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
