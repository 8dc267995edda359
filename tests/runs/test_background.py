"""A fine-tuning in a process of its own: watched to the end, canceled, failed."""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import psutil
import pytest
from helpers.images import disc_images

from kerasunet.demo.finetune_rendering import status_html
from kerasunet.runs.background import BackgroundRun
from kerasunet.training import FinetuneSettings, Optimization, finetune

_PATIENCE = 600


@pytest.fixture
def settings(tiny_model_file, tmp_path) -> FinetuneSettings:
    for kind, arrays in zip(("images", "masks"), disc_images(16), strict=True):
        (tmp_path / "discs" / kind).mkdir(parents=True)
        for index, array in enumerate(arrays):
            cv2.imwrite(str(tmp_path / "discs" / kind / f"{index}.png"), array.astype("uint8") * 1)
    return FinetuneSettings(
        layers="shallow:2",
        init=str(tiny_model_file),
        data=str(tmp_path / "discs"),
        train_size=None,
        validation_size=3,
        image_size=32,
        optimization=Optimization(steps=12, batch_size=4, validate_every=4),
    )


def _watch(run: BackgroundRun) -> list:
    seen, end = [run.progress()], time.monotonic() + _PATIENCE
    while not seen[-1].is_over and time.monotonic() < end:
        time.sleep(0.1)
        seen.append(run.progress())
    return seen


@pytest.mark.slow
def test_a_run_is_watched_to_the_end(settings, tmp_path):
    seen = _watch(BackgroundRun(settings, tmp_path / "run"))
    last = seen[-1]
    assert last.phase == "finished", last.message
    assert seen[0].phase == "starting"
    assert [row["step"] for row in last.history] == [4, 8, 12]
    assert last.history[0]["loss"] > 0
    assert [path.name for path in last.pictures] == ["0.png", "1.png", "2.png"]
    assert (tmp_path / "run" / "model.keras").is_file()
    assert [p.step for p in seen] == sorted(p.step for p in seen)
    assert last.step == last.steps == 12


def test_a_canceled_run_leaves_no_process(settings, tmp_path):
    others = psutil.Process().children()
    run = BackgroundRun(settings, tmp_path / "run")
    children = [child for child in psutil.Process().children() if child not in others]
    assert children
    run.cancel()
    assert run.progress().phase == "canceled"
    assert not any(child.is_running() for child in children)
    run.cancel()  # once more does no harm
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.slow
def test_what_a_run_warns_of_is_shown_in_the_demo(settings, tmp_path):
    """The start was trained on the images that this run holds out, and at another image size."""
    first = finetune(replace(settings, train_size=8, fold=1), tmp_path / "first")
    again = replace(settings, init=str(first.files.model), train_size=4, image_size=64)
    last = _watch(BackgroundRun(again, tmp_path / "run"))[-1]
    assert last.phase == "finished", last.message
    size, seen = last.warnings
    assert "was trained on images of 32×32 pixels" in size
    assert " held-out cases, or others of their patients, so Dice is too optimistic" in seen
    assert "so Dice is too optimistic" in status_html(last)


@pytest.mark.slow
def test_a_failed_run_tells_why(settings, tmp_path):
    run = BackgroundRun(replace(settings, image_size=17), tmp_path / "run")
    last = _watch(run)[-1]
    assert last.phase == "failed"
    assert last.message == "image size 17: this U-Net needs a multiple of 2"
