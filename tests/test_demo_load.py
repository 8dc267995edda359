"""The demo under load, for some seconds: no request fails, and visitors leave nothing behind."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest
from browser import ROOT
from conftest import disc_images


def test_ten_visitors_at_once_are_served_and_leave_nothing(demo_place, tmp_path):
    pytest.importorskip("psutil")
    report = tmp_path / "report.json"
    harness = ["benchmarks/reliability/load.py", "--clients", "10", "--minutes", "0.17"]
    done = subprocess.run(
        [sys.executable, *harness, "--json", str(report)],
        cwd=ROOT,
        env={**os.environ, "KERASUNET_MODELS": str(demo_place / "models")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(report.read_text())
    assert seen["failures"] == seen["left_by_visitors"] == seen["left_at_the_end"] == []
    assert seen["requests"] > 20
    kinds = {"compare an example", "compare an upload", "segment a DICOM file", "move a slider"}
    assert kinds & seen["times"].keys()
    assert "10 visitors at once" in done.stdout


@pytest.fixture
def traces(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "demo"))
    import traces

    return traces


class _Visitor:
    def __init__(self, name: str) -> None:
        self.session_hash = name


def test_equal_uploads_of_two_go_with_the_last(traces, tmp_path):
    files, path = traces.Traces(), tmp_path / "scan.png"
    path.write_bytes(disc_images(1)[0].tobytes())
    first, second = _Visitor("first"), _Visitor("second")
    files.keep(first, path)
    files.keep(second, path)
    files.remove(first)
    assert path.exists()
    files.remove(second)
    assert not path.exists()


def test_the_last_to_leave_need_not_be_the_last_who_came(traces, tmp_path):
    files, path, again = traces.Traces(), tmp_path / "scan.png", tmp_path / "again.png"
    path.write_bytes(b"same")
    files.keep(_Visitor("first"), path)
    again.write_bytes(b"same")
    os.replace(again, path)
    files.keep(_Visitor("second"), path)
    files.remove(_Visitor("second"))
    files.remove(_Visitor("first"))
    assert not path.exists()


def test_what_was_just_uploaded_anew_stays_for_who_did_it(traces, tmp_path):
    files, path, again = traces.Traces(), tmp_path / "scan.png", tmp_path / "again.png"
    path.write_bytes(b"same")
    files.keep(_Visitor("first"), path)
    again.write_bytes(b"same")
    os.replace(again, path)
    files.remove(_Visitor("first"))
    assert path.exists()


def test_old_files_go_and_those_of_who_fine_tunes_stay(traces, tmp_path):
    loose, upload, data = (
        tmp_path / "tmp1",
        tmp_path / "abc/scan.png",
        tmp_path / "bench/data/a.png",
    )
    for path in (loose, upload, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    traces.sweep(tmp_path, 3600)
    assert loose.exists() and upload.exists()
    traces.sweep(tmp_path, -1)
    assert not loose.exists() and not upload.exists() and data.exists()


def test_empty_files_go_at_once_and_others_stay(traces, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "empty").touch()
    traces.sweep_empty(tmp_path, 3600)
    assert (tmp_path / "empty").exists()
    traces.sweep_empty(tmp_path, -1)
    assert {path.name for path in tmp_path.iterdir()} == {"full", "folder"}
    assert (tmp_path / "folder" / "empty").exists()


_HEAPS_OF_THREADS = """
import ctypes, sys, threading
sys.path.insert(0, "demo")
import heaps
if sys.argv[1] == "shared": heaps.share_heaps()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
gate = threading.Barrier(12)
def work():
    gate.wait()
    library.malloc(5000)
    gate.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
library.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_all_threads_share_a_few_heaps():
    counts = {}
    for way in ("shared", "own"):
        words = [sys.executable, "-c", _HEAPS_OF_THREADS, way]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        counts[way] = done.stderr.count("Arena ")
    assert counts["shared"] <= 2 < counts["own"]
