"""Broken and hostile inputs: each ends in one clear message, soon, and leaves nothing behind.

All of `hostile_files` runs in one process of its own, which proves at the end that neither Keras
nor TensorFlow was imported: what is wrong is told before anything heavy starts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import IMPORTS, ROOT
from helpers.hostile_files import CASES, Case, encoded, png_of_size

from kerasunet import Segmenter, SideBySide

_SECONDS, _MEGABYTES = 15, 1024


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict:
    """What came of every case, by name, and which heavy libraries were imported."""
    place = tmp_path_factory.mktemp("hostile")
    (place / "work").mkdir()
    probe = Path(__file__).with_name("helpers") / "bad_input_probe.py"
    finished = subprocess.run(
        [sys.executable, str(probe), str(place / "work"), str(place / "results.json")],
        env={**os.environ, "PYTHONPATH": IMPORTS},
        cwd=probe.parent,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert finished.stderr == finished.stdout == ""
    return json.loads((place / "results.json").read_text())


def test_there_are_many_cases_each_of_its_own():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 250


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_bad_input_is_told_and_leaves_nothing(outcomes, number):
    case: Case = CASES[number]
    found = outcomes["cases"][number]
    assert found["status"] == case.status, found["said"]
    assert re.search(case.message, found["said"]), found["said"]
    assert "Traceback" not in found["said"] and "bug in kerasunet" not in found["said"]
    assert found["left"] == []
    assert found["seconds"] < _SECONDS
    if found["by_words"]:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", found["said"]), "orders to the terminal"


@pytest.mark.slow
def test_bad_input_takes_little_memory_and_no_heavy_library(outcomes):
    assert outcomes["heavy"] == []
    assert max(found["megabytes"] for found in outcomes["cases"]) < _MEGABYTES


# -- real processes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "natural", "x.png"], "x.png: 65536×65536 pixels, more than the limit"),
        (["check", "/dev/null"], "/dev/null: a data set is a folder"),
        (["finetune", "--layers", "shallow:99"], "shallow:99: this U-Net has 9 blocks"),
        (
            ["evaluate", "x.keras", "--data", "simulated-xray:2"],
            "x.keras: not a complete .keras file",
        ),
    ],
)
def test_a_process_answers_without_importing_anything_heavy(run_cli, tmp_path, words, message):
    (tmp_path / "x.png").write_bytes(png_of_size(2**16, 2**16, b"0" * 99))
    (tmp_path / "x.keras").write_bytes(b"nothing")
    card = (ROOT / "saved_models" / "natural.json").read_text(encoding="utf-8")
    digest = hashlib.sha256(b"nothing").hexdigest()
    (tmp_path / "x.json").write_text(re.sub('"sha256": "[0-9a-f]+"', f'"sha256": "{digest}"', card))
    finished = run_cli(*words, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert finished.returncode in (1, 2)
    assert message in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    assert not re.search(r"\| +(keras|tensorflow)$", finished.stderr, re.MULTILINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.keras", "x.png"]


def test_debug_shows_the_traceback(run_cli):
    finished = run_cli("evaluate", "nonsense", "--data", "simulated-xray:2", "--debug")
    assert finished.returncode == 1
    assert "Traceback" in finished.stderr and "nonsense: neither a registered" in finished.stderr


def test_a_file_name_that_is_no_text_is_told_on_a_real_terminal(run_cli, tmp_path):
    name = os.fsdecode(b"scan\xff\x1b[2J.png")
    (tmp_path / name).write_bytes(encoded(np.zeros((8, 8), np.uint8)))
    finished = run_cli("predict", "natural", ".")
    assert finished.returncode == 2
    assert "\\udcff\\x1b[2J.png': this name cannot be written into a table; rename it" in (
        finished.stderr
    )


# -- arrays, with a real model --------------------------------------------------------------------


@pytest.fixture(scope="module", params=[Segmenter, lambda model, **o: SideBySide([model], **o)])
def segmenter(request, tiny_model_file):
    return request.param(tiny_model_file, engine="keras")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((32, 32), np.nan), "holds NaN or infinite values; replace them with numbers"),
        (np.zeros((32, 32, 4)), r"must have the shape \(height, width\) or .*, not \(32, 32, 4\)"),
        (np.zeros((0, 32)), r"not \(0, 32\)"),
        (np.full((32, 32), "x"), "must hold numbers, gray levels 0 to 255, not <U1"),
    ],
)
def test_arrays_that_are_no_images_are_refused(segmenter, array, message):
    with pytest.raises(ValueError, match=message):
        segmenter(array)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float16, ">u2"])
def test_arrays_of_any_numbers_are_taken(segmenter, dtype):
    found = segmenter(np.ones((40, 24), dtype))
    found = found if not isinstance(found, dict) else next(iter(found.values()))
    assert found.mask.shape == (40, 24)
    assert np.isfinite(found.probability).all()
