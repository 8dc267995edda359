"""The demo in a process of its own, and Chromium to look at it with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import pytest

ROOT = Path(__file__).parents[1]
_PATIENCE = 180
_OWN = ("127.0.0.1", "localhost")


@contextmanager
def running_demo(models: Path, cache: Path, *options: str) -> Iterator[str]:
    """Starts the demo on a free port and yields its address; stops it at the end.

    Args:
        models: Folder of the registered models.
        cache: Folder for what the inference engines keep, and for temporary files.
        options: Further words for the command line.
    """
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "demo/app.py", "--port", str(port), *options],
        cwd=ROOT,
        env={
            **os.environ,
            "KERASUNET_MODELS": str(models),
            "KERASUNET_CACHE": str(cache),
            "TMPDIR": str(cache),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextmanager
def chromium() -> Iterator:
    """Yields a headless Chromium of this system's packages."""
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
    """Opens a page that notes in `page.faults` every error and every request to elsewhere."""
    page = browser.new_page(**settings)
    page.set_default_timeout(60_000)
    page.faults = []
    page.on("console", lambda m: m.type == "error" and page.faults.append(f"console: {m.text}"))
    page.on("pageerror", lambda error: page.faults.append(f"error: {error}"))
    page.on("request", lambda request: _note_foreign(page, request.url))
    return page


def _note_foreign(page, url: str) -> None:
    parts = urlparse(url)
    if parts.scheme not in ("data", "blob", "file") and parts.hostname not in _OWN:
        page.faults.append(f"request to {url}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(url: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the demo stopped:\n{process.stdout.read()}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"the demo did not answer within {_PATIENCE} s")
