"""Precision: what `auto` stands for, where it is settled, and that what has begun keeps its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from kerasunet.backend import fastest_precision, prepared_backend, seeded, tensorboard
from kerasunet.files import NotWritten, read_json
from kerasunet.study.execution import open_study
from kerasunet.study.plan import StudySettings
from kerasunet.training import FinetuneSettings, Optimization, finetune

PROCESSORS = {
    "Intel with AMX": ("flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", "mixed_bfloat16"),
    "AMD with AVX-512 BF16": ("flags\t\t: fpu avx512f avx512_bf16\n", "mixed_bfloat16"),
    "without": ("flags\t\t: fpu avx2 avx512f avx512bw\n", "float32"),
    "Arm with BF16": ("Features\t: fp asimd bf16 i8mm\n", "mixed_bfloat16"),
    "Arm without": ("Features\t: fp asimd\n", "float32"),
    "nothing known": ("", "float32"),
}
OTHER = {"float32": "mixed_bfloat16", "mixed_bfloat16": "float32"}


USE_ALL = """
import sys
from kerasunet.backend import start_backend
start_backend()
print(*sorted({"keras", "matplotlib", "pandas", "sklearn"} & set(sys.modules)))
import matplotlib.pyplot, pandas
"""


@pytest.fixture
def settings(tiny_model_file) -> FinetuneSettings:
    return FinetuneSettings(
        layers="shallow:1",
        init=str(tiny_model_file),
        data="simulated-xray:8",
        train_size=4,
        validation_size=0,
        image_size=32,
        optimization=Optimization(steps=2, batch_size=4, validate_every=2, precision="auto"),
    )


@pytest.mark.parametrize("kind", PROCESSORS)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(kind, tmp_path, monkeypatch):
    listed, expected = PROCESSORS[kind]
    monkeypatch.delenv("KERASUNET_PRECISION")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{listed}\nprocessor\t: 1\n")
    assert fastest_precision(tmp_path / "cpuinfo") == expected
    assert fastest_precision(tmp_path / "none") == "float32"


def test_the_environment_overrules_the_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASUNET_PRECISION", "mixed_float16")
    assert fastest_precision() == "mixed_float16"
    monkeypatch.setenv("KERASUNET_PRECISION", "double")
    with pytest.raises(ValueError, match=r"KERASUNET_PRECISION=double: must be one of float32, "):
        fastest_precision()


@pytest.mark.slow
@pytest.mark.parametrize("first", OTHER)
def test_a_run_keeps_its_precision_on_another_machine(first, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASUNET_PRECISION", first)
    run = finetune(settings, tmp_path / "run")
    assert recorded(run) == run.summary["settings"]["optimization"]["precision"] == first
    monkeypatch.setenv("KERASUNET_PRECISION", OTHER[first])
    assert finetune(settings, tmp_path / "run").summary == run.summary
    again = finetune(settings, tmp_path / "run", restart=True)
    assert recorded(again) == OTHER[first]
    assert keras.models.load_model(again.files.model).dtype_policy.name == "float32"


def recorded(run) -> str:
    return json.loads(run.files.config.read_text())["settings"]["optimization"]["precision"]


@pytest.mark.slow
def test_a_precision_that_is_asked_for_is_no_other(settings, tmp_path):
    finetune(settings, tmp_path / "run")
    asked = replace(settings.optimization, precision="mixed_bfloat16")
    with pytest.raises(ValueError, match=r"precision was 'float32', now 'mixed_bfloat16'"):
        finetune(replace(settings, optimization=asked), tmp_path / "run")


def test_a_study_says_its_precision_and_keeps_it(settings, tmp_path, monkeypatch):
    study = StudySettings(settings, ("all",), train_sizes=(4,), only_folds=(0,))
    monkeypatch.setenv("KERASUNET_PRECISION", "mixed_bfloat16")
    open_study(study, tmp_path)
    monkeypatch.setenv("KERASUNET_PRECISION", "float32")
    (planned,) = open_study(study, tmp_path).planned
    protocol = read_json(tmp_path / "study.json")["protocol"]
    assert protocol["run"]["optimization"]["precision"] == "mixed_bfloat16"
    assert planned.settings.optimization.precision == "mixed_bfloat16"


@pytest.mark.parametrize("deterministic", [True, False])
def test_seeds_and_determinism_are_the_callers_again(deterministic):
    import tensorflow as tf

    def about(run, inside: int) -> list[float]:
        """Draw from every sequence before and after a run, and from the first few inside."""
        keras.utils.set_random_seed(5)
        draws = [random.random, np.random.random, lambda: float(tf.random.uniform([]))]
        draws.append(lambda: float(keras.random.uniform([])))
        before = [draw() for draw in draws]
        with run:
            _ = [draw() for draw in draws[:inside]]
        return before + [draw() for draw in draws]

    run = prepared_backend(precision="float32", seed=9, deterministic=deterministic)
    assert about(run, inside=3 if deterministic else 2) == about(seeded(9), inside=2)
    tf.random.set_seed(None)
    tf.random.uniform([])  # Would be refused if operations still had to be deterministic.


def test_the_global_float_type_changes_no_run_and_is_the_callers_again():
    keras.config.set_floatx("float64")
    try:
        with prepared_backend(precision="float32", seed=1, deterministic=False):
            assert keras.config.floatx() == "float32"
        assert keras.config.floatx() == "float64"
    finally:
        keras.config.set_floatx("float32")


@pytest.mark.slow
def test_files_of_tensorboard_that_cannot_be_written_are_named(tmp_path):
    """TensorFlow raises errors of its own, which are none of the system's."""
    (tmp_path / "file").write_text("years of work")
    board = tensorboard(tmp_path / "file")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    with pytest.raises(NotWritten, match=r"file: cannot be written: .*directory; make room"):
        model.fit(np.zeros((2, 1)), np.zeros((2, 1)), callbacks=[board], verbose=0)
    assert (tmp_path / "file").read_text() == "years of work"


@pytest.mark.slow
def test_a_command_starts_without_what_keras_can_plot():
    """What is not needed is not looked for, and is there once it is needed."""
    done = subprocess.run(
        [sys.executable, "-c", USE_ALL], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("keras\n", "", 0)
