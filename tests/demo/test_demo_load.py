"""The demo under load for some seconds: no request fails, and visitors leave no files behind."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import AS_INSTALLED, ROOT
from helpers.images import disc_images

SWEEP_SOON = """
import sys
if "demo/app.py" in sys.orig_argv:
    from kerasunet.demo import visitors
    visitors._SECONDS_EMPTY_KEPT, visitors._SECONDS_BETWEEN_SWEEPS = 6, 1
"""


@pytest.mark.slow(5)
def test_ten_visitors_at_once_are_served_and_leave_nothing(models, tmp_path):
    pytest.importorskip("psutil")
    report = tmp_path / "report.json"
    (tmp_path / "sitecustomize.py").write_text(SWEEP_SOON)
    path = os.pathsep.join([str(tmp_path), AS_INSTALLED])
    harness = ["benchmarks/reliability/load.py", "--clients", "10", "--minutes", "0.08"]
    done = subprocess.run(
        [sys.executable, *harness, "--json", str(report)],
        cwd=ROOT,
        env={**os.environ, "KERASUNET_MODELS": str(models), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(report.read_text())
    assert seen["failures"] == seen["left_by_visitors"] == seen["left_at_the_end"] == []
    assert seen["requests"] >= 10  # At least one of each visitor, however slow the machine.
    kinds = {"compare an example", "compare an upload", "segment a DICOM file", "move a slider"}
    assert kinds & seen["times"].keys()
    assert "10 visitors at once" in done.stdout


@pytest.fixture
def visitor_files():
    from kerasunet.demo import visitors

    return visitors


@pytest.fixture
def results():
    from kerasunet.demo import context

    return context


def result_of(pixels: int):
    """A result after an upload: 5 bytes per pixel for image and mask, 4 for the answer."""
    from kerasunet.comparison import Candidate, compare
    from kerasunet.demo.context import Result
    from kerasunet.demo.visitors import InputImage

    image = np.zeros((1, pixels), np.float32)
    answer = SimpleNamespace(probability=np.zeros((1, pixels), np.float32))
    candidate = Candidate("model", "all", 1, votes=True, segment=lambda image: answer)
    given = InputImage("a.png", image, None, modality="xray", truth=np.zeros((1, pixels), bool))
    return Result(given, compare(image, [candidate]))


def test_the_result_used_longest_ago_makes_room(results):
    kept = results.ResultStore(most_bytes=3 * 9 * 100)
    first, second, third = (kept.keep(result_of(100)) for _ in range(3))
    assert all(kept.get(key).nbytes == 900 for key in (second, third, first))
    fourth = kept.keep(result_of(101))
    assert kept.get(second) is kept.get(third) is kept.get(None) is None
    assert kept.get(first).nbytes == 900 and kept.get(fourth).nbytes == 909
    alone = kept.keep(result_of(1000))
    assert kept.get(first) is kept.get(fourth) is None
    assert kept.get(alone).nbytes == 9000


def test_a_result_goes_with_its_key(results):
    kept, result = results.ResultStore(), result_of(10)
    key, seen = kept.keep(result), weakref.ref(result)
    del result
    assert kept.get(key) is seen()
    del key
    gc.collect()
    assert seen() is None


class _Visitor:
    def __init__(self, name: str) -> None:
        self.session_hash = name


def test_equal_uploads_of_two_sessions_go_with_the_last(visitor_files, tmp_path):
    files, path = visitor_files.VisitorFiles(), tmp_path / "scan.png"
    path.write_bytes(disc_images(1)[0].tobytes())
    first, second = _Visitor("first"), _Visitor("second")
    files.keep(first, path)
    files.keep(second, path)
    files.remove(first)
    assert path.exists()
    files.remove(second)
    assert not path.exists()


@pytest.fixture
def uploaded_again(visitor_files, tmp_path):
    """The file of a first visitor, whose equal has just taken its place, unknown yet."""
    files, path, again = visitor_files.VisitorFiles(), tmp_path / "scan.png", tmp_path / "again.png"
    path.write_bytes(b"same")
    files.keep(_Visitor("first"), path)
    again.write_bytes(b"same")
    os.replace(again, path)
    return files, path


def test_the_last_session_to_end_need_not_be_the_last_that_came(uploaded_again):
    files, path = uploaded_again
    files.keep(_Visitor("second"), path)
    files.remove(_Visitor("second"))
    files.remove(_Visitor("first"))
    assert not path.exists()


def test_a_file_that_was_just_uploaded_again_stays(uploaded_again):
    files, path = uploaded_again
    files.remove(_Visitor("first"))
    assert path.exists()


def test_old_files_go_and_those_of_sessions_that_fine_tune_stay(visitor_files, tmp_path):
    loose, upload, data = (
        tmp_path / "tmp1",
        tmp_path / "abc/scan.png",
        tmp_path / "workspace/data/a.png",
    )
    for path in (loose, upload, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    visitor_files.delete_old_files(tmp_path, 3600)
    assert loose.exists() and upload.exists()
    visitor_files.delete_old_files(tmp_path, -1)
    assert not loose.exists() and not upload.exists() and data.exists()


def test_the_oldest_files_make_room(visitor_files, tmp_path):
    for name in ("first", "second", "third"):
        (tmp_path / name).write_bytes(bytes(100))
        time.sleep(0.01)
    visitor_files.delete_old_files(tmp_path, 3600, most_bytes=250)
    assert {path.name for path in tmp_path.iterdir()} == {"second", "third"}


def test_empty_files_go_at_once_and_others_stay(visitor_files, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "empty").touch()
    visitor_files.delete_empty_files(tmp_path, 3600)
    assert (tmp_path / "empty").exists()
    visitor_files.delete_empty_files(tmp_path, -1)
    assert {path.name for path in tmp_path.iterdir()} == {"full", "folder"}
    assert (tmp_path / "folder" / "empty").exists()


_ARENAS_OF_THREADS = """
import ctypes, sys, threading
from kerasunet.processes import limit_malloc_arenas
if sys.argv[1] == "shared": limit_malloc_arenas()
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
def test_all_threads_share_a_few_arenas():
    counts = {}
    for way in ("shared", "own"):
        words = [sys.executable, "-c", _ARENAS_OF_THREADS, way]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        counts[way] = done.stderr.count("Arena ")
    assert counts["shared"] <= 2 < counts["own"]
