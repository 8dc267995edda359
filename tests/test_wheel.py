"""The wheel: reproducible, complete without extras, and working outside the sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import cv2
import pytest
from helpers.images import disc_images

pytestmark = pytest.mark.slow(3)

ROOT = Path(__file__).parents[1]
_LISTED = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
_PATIENCE = 300


def sources() -> list[str]:
    """The files of the working tree that git does not ignore."""
    listed = subprocess.run(_LISTED, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def build(folder: Path) -> Path:
    """Copy the sources, with new file times, and build a wheel from the copy."""
    for name in sources():
        if not name.startswith(("tests/", "docs/", "benchmarks/")):
            target = folder / "sources" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder],
        cwd=folder / "sources",
        env={**clean_environment(folder), "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder of programs of an environment with the wheel and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    into = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    words = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([*into, *words], env=clean_environment(folder), check=True)
    # A line of a .pth file adds only the folder, not the editable install in it.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def clean_environment(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KERASUNET_", "PYTHON"))}
    return {**kept, "KERASUNET_CACHE": str(tmp_path / "cache")}


def run(installed: Path, folder: Path, *words: str) -> str:
    done = subprocess.run(
        [installed / "kerasunet", *words],
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_sources_give_the_same_bytes(wheel, tmp_path):
    again = build(tmp_path)
    assert again.name == wheel.name
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, again)]
    assert digests[0] == digests[1]


def test_the_wheel_holds_the_package_the_demo_and_the_models_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name for name in sources() if name.startswith("kerasunet/")}
    saved = {f"kerasunet/{name}" for name in sources() if name.startswith("saved_models/")}
    assert held == package | saved
    demo = {Path(name).suffix for name in held if name.startswith("kerasunet/demo/")}
    assert demo == {".py", ".css", ".js"}


def test_the_command_line_works_outside_the_sources(installed, tmp_path):
    assert "natural" in run(installed, tmp_path, "models")
    cv2.imwrite(str(tmp_path / "scan.png"), disc_images(1, 64)[0][0])
    found = run(installed, tmp_path, "predict", "natural", "scan.png", "--output", "found")
    assert "found" in found and list((tmp_path / "found").rglob("*.png"))


def test_the_demo_answers_outside_the_sources(installed, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(tmp_path / "log.txt", "w") as log:
        demo = subprocess.Popen(
            [installed / "kerasunet", "demo", "--port", str(port)],
            cwd=tmp_path,
            env=clean_environment(tmp_path),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        assert "kerasunet" in page(f"http://127.0.0.1:{port}/", demo)
    finally:
        demo.terminate()
        demo.wait(_PATIENCE)


def page(address: str, process: subprocess.Popen) -> str:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=5).read().decode()
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise AssertionError(f"no answer; exit status {process.poll()}")
