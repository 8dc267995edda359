"""The tab Compare in a browser: give it files, move its controls, read what it shows."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.browser import eventually
from kerasunet.comparison import without_small_regions

MODELS = {"natural": "all", "ultrasound-all": "all", "ultrasound-shallow-2": "shallow:2"}
"""Names of the models that the fixtures register, and their strategies."""
FILL = (255, 170, 0)
"""Color of an opaque mask."""
_TABLE = """(id) => {
  const table = document.querySelector(`#${id} table`);
  if (!table) return [];
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.innerText.replace(/\\s+/g, " "));
  const read = (row) => [...row.cells].map((cell, i) => [heads[i], cell.innerText]);
  return [...table.tBodies[0].rows].map(
    (row) => Object.fromEntries([["model", row.dataset.model], ...read(row)]))
}"""
_FILLED = """([panel, color]) => {
  const canvas = document.querySelector(`[data-panel="${panel}"] canvas`);
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4)
    count += color.every((value, channel) => data[i + channel] === value);
  return count
}"""
_SLIDE = """([label, value]) => new Promise((done) => {
  new MutationObserver((_, seen) => { seen.disconnect(); done() })
    .observe(document.querySelector(".viewer"), { attributeFilter: ["data-drawn"] });
  const sliders = [...document.querySelectorAll("#compare-controls input[type=range]")];
  const slider = sliders.find((one) => one.ariaLabel.includes(label));
  if (Number(slider.value) === value) return done();
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }))
})"""


def upload(page, which: str, *paths: Path) -> None:
    """Give files to an uploader, after removing a file that it holds."""
    if (clear := page.locator(f"#{which} button[aria-label*=lear]")).count():
        clear.first.click()
        eventually(page, clear.count, 0)
    page.locator(f"#{which} input[type=file]").set_input_files([str(path) for path in paths])


@contextmanager
def new_scene(page):
    """Wait until the actions inside have led to new panels."""
    before = page.get_attribute(".viewer", "data-key")
    yield
    page.wait_for_function(
        "(key) => document.querySelector('.viewer').dataset.key !== (key || undefined)", arg=before
    )


@contextmanager
def held_back(page, name: str):
    """Hold back the event that an upload of a file leads to, then wait for its new panels.

    Scores of sliders moved before may still be asked for; what is held is told from them by the
    name of its file.

    Args:
        page: The page.
        name: Name of the file that will be given inside.

    Yields:
        The list of held events.
    """
    held = []

    def hold(route):
        if held or name not in (route.request.post_data or ""):
            route.continue_()
        else:
            held.append(route)

    with new_scene(page):
        page.route("**/queue/join*", hold)
        try:
            yield held
        finally:
            # Where a test fails meanwhile, those after it must not wait for its event.
            for route in held:
                route.continue_()
            page.unroute("**/queue/join*", hold)


def wait_for_note(page, words: str, which: str = "compare-note") -> str:
    page.wait_for_function(
        "([id, words]) => document.getElementById(id)?.innerText.includes(words)",
        arg=[which, words],
    )
    return page.inner_text(f"#{which}")


def table(page, which: str = "compare-table") -> list[dict[str, str]]:
    """Return the table on the page, a dictionary per row; `model` is the row's model."""
    return page.evaluate(_TABLE, which)


def wait_for_rows(page, count: int, which: str = "compare-table") -> None:
    eventually(page, page.locator(f"#{which} tbody tr").count, count)


def areas(page) -> dict[str, int]:
    return {row["model"]: int(row["Area (px)"].replace(",", "")) for row in table(page)}


def wait_for_areas(page, expected: dict[str, int]) -> None:
    eventually(page, lambda: areas(page), expected)


def wait_for_masks(page, expected: dict[str, int]) -> None:
    """Wait until so many pixels of each panel have exactly the color of an opaque mask."""
    look = [list(FILL)]
    eventually(
        page, lambda: {name: page.evaluate(_FILLED, [name, *look]) for name in expected}, expected
    )


def number(text: str | None) -> float:
    """Return the number that a cell begins with; not a number where there is none."""
    return float((text or "nan").split()[0])


def slide(page, label: str, value: float) -> None:
    """Move a slider as a hand does, and wait for the picture."""
    page.evaluate(_SLIDE, [label, value])


def masks(segmenters, path: Path, threshold: float, smallest: int = 0) -> dict[str, np.ndarray]:
    return {
        name: without_small_regions(segment(path).probability >= threshold, smallest)
        for name, segment in segmenters.items()
    }


def sizes(found: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in found.items()}


def download_from(page, button: str) -> Path:
    with page.expect_download() as download:
        page.click(f"#{button}")
    return Path(download.value.path())
