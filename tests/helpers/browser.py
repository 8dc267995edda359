"""The demo in a process of its own, and Chromium to drive it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlparse

import pytest

ROOT = Path(__file__).parents[2]
_PATIENCE = 180
_LOW_CONTRAST = """(least) => {
  const parse = (color) => {
    const numbers = color.match(/[\\d.]+/g).map(Number);
    const scale = color.startsWith("color(") ? 255 : 1;
    return [...numbers.slice(0, 3).map((value) => value * scale), numbers[3] ?? 1];
  };
  const over = (top, below) =>
    [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (color) => {
    const parts = color.slice(0, 3).map((value) => value / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] + 0.05;
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement)
      layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, words = texts.currentNode.textContent.trim();
    if (!words || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
      continue;
    const ground = behind(element);
    const pair = [ground, over(parse(getComputedStyle(element).color), ground)].map(light);
    const ratio = Math.max(...pair) / Math.min(...pair);
    if (ratio < least) found.push(`${words.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""
_OWN = ("127.0.0.1", "localhost")


@contextmanager
def running_demo(models: Path, cache: Path, *options: str, gently: bool = False) -> Iterator[str]:
    """Start the demo on a free port, yield its address, and stop it at the end.

    Args:
        models: Folder of the registered models.
        cache: Folder for the cache and for temporary files.
        options: Further options of the command line.
        gently: Whether it may tidy up in the end, which takes seconds.
    """
    places = {"KERASUNET_MODELS": models, "KERASUNET_CACHE": cache, "TMPDIR": cache}
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
    # Nobody would read a pipe; once full, it would block the demo.
    with tempfile.TemporaryFile("w+") as log:
        process, url = _started(options, environment, log)
        try:
            yield url
        finally:
            if not gently:
                process.kill()
            assert _stop(process), "the demo did not end when it was asked to"


def _started(
    options: Sequence[str], environment: dict[str, str], log: TextIO
) -> tuple[subprocess.Popen, str]:
    """Start a demo; on another port, where someone else has taken the free one in between."""
    for left in (2, 1, 0):
        port = _free_port()
        words = [sys.executable, "demo/app.py", "--port", str(port), *options]
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_for(url, process, log)
            return process, url
        except BaseException as error:
            _stop(process)
            if not left or f"{port}" not in str(error):
                raise
    raise AssertionError("unreachable")


def _stop(process: subprocess.Popen) -> bool:
    """End a process; return whether it ended when it was asked to."""
    process.terminate()
    try:
        process.wait(_PATIENCE / 3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


@contextmanager
def chromium() -> Iterator:
    """Yield a headless Chromium from this system's packages."""
    pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on this system")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def watched_page(browser, **settings):
    """Open a page that records in `page.faults` errors, dialogs, and requests to elsewhere."""
    page = browser.new_page(**settings)
    page.set_default_timeout(_PATIENCE * 1000)
    page.faults = []
    page.on("console", lambda m: m.type == "error" and page.faults.append(f"console: {m.text}"))
    page.on("dialog", lambda dialog: _refuse(page, dialog))
    page.on("pageerror", lambda error: page.faults.append(f"error: {error}"))
    page.on("request", lambda request: _record_foreign(page, request.url))
    return page


class SharedPage:
    """A page that tests use one after the other; it is opened anew after one of them has failed.

    What a failed test leaves behind, such as a request on hold, would make each test after it wait
    for minutes and fail.

    Args:
        open_page: Opens a page as `watched_page` does, and waits until it can be used.
    """

    def __init__(self, open_page: Callable[[], Any]) -> None:
        self._open_page = open_page
        self._page: Any = None
        self._failures = 0

    def __enter__(self) -> SharedPage:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None and self._page is not None:
            assert self._page.faults == []

    def after(self, failures: int):
        """Return the page for a test before which so many have failed."""
        if self._page is not None and failures != self._failures:
            self._page.close()
            self._page = None
        if self._page is None:
            self._page, self._failures = self._open_page(), failures
        return self._page


def eventually(page, look: Callable[[], object], wanted: object) -> None:
    """Look again and again until the value is the wanted one; fail after some minutes."""
    end = time.monotonic() + _PATIENCE
    while (seen := look()) != wanted and time.monotonic() < end:
        page.wait_for_timeout(50)
    assert seen == wanted


def _is_wider_than(page, width: int) -> bool:
    """Tell whether the page has to be scrolled sideways in a window so wide, in pixels."""
    return page.evaluate("document.documentElement.scrollWidth") > width


def low_contrast(page, least: float = 4.5) -> list[str]:
    """Return visible words whose contrast with their background is below WCAG's level AA."""
    return page.evaluate(_LOW_CONTRAST, least)


def require_readable(page) -> None:
    """Fail unless words have contrast, and nothing is wider than the window of phone or desktop."""
    for width in (390, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        eventually(page, lambda width=width: _is_wider_than(page, width), False)
        eventually(page, lambda: low_contrast(page), [])


def _refuse(page, dialog) -> None:
    page.faults.append(f"dialog: {dialog.message}")
    dialog.dismiss()


def _record_foreign(page, url: str) -> None:
    parts = urlparse(url)
    if parts.scheme not in ("data", "blob", "file") and parts.hostname not in _OWN:
        page.faults.append(f"request to {url}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(url: str, process: subprocess.Popen, log: TextIO) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError(f"the demo stopped:\n{log.read()}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"the demo did not answer within {_PATIENCE} s")
