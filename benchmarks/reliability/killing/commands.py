"""The commands that are killed: small networks and images, many checkpoints, deterministic."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from kerasunet.data.simulation import simulate  # noqa: E402

_HOOK = Path(__file__).with_name("hook")
_SIDE, _IMAGES = 48, 24
EPOCHS = 20
_TINY = ("--base-filters", 4, "--depth", 1)
_TRAINING = ("--image-size", 32, "--steps", 6 * EPOCHS, "--validate-every", 6)
_COMMON = ("--batch-size", 4, "--deterministic")
_STUDY_STEPS = ("--image-size", 32, "--steps", 24, "--validate-every", 4)
_STRATEGIES = ("none", "contracting", "all")


@dataclass(frozen=True)
class Command:
    """A command that writes into `out` of the folder it is started in.

    Attributes:
        verb: `"finetune"`, `"pretrain"` or `"study"`.
        words: What follows `kerasunet`.
    """

    verb: str
    words: tuple[str, ...]

    def start(self, folder: Path, variables: Mapping[str, str] | None = None) -> subprocess.Popen:
        """Start it in a session of its own; what it says is added to `said.txt`."""
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **(variables or {}),
            "KERASUNET_CACHE": str(folder / "cache"),
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": os.pathsep.join([str(_HOOK), str(ROOT), *_inherited()]),
        }
        with open(folder / "said.txt", "a", encoding="utf-8") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "kerasunet", *self.words],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _inherited() -> list[str]:
    return [path for path in (os.environ.get("PYTHONPATH"),) if path]


def make_command(verb: str, place: Path) -> Command:
    """Make the data, and for a study the initial model, that a command needs.

    Args:
        verb: `"finetune"`, `"pretrain"` or `"study"`.
        place: Folder that receives them.
    """
    data = _make_images(place / "data")
    if verb == "finetune":
        split = ("--train-size", 8, "--validation-size", 4, "--folds", 3)
        words = ("--init", "scratch", *_TINY, "--layers", "all", *split, *_TRAINING)
    elif verb == "pretrain":
        words = ("--validation-data", data, *_TINY, *_TRAINING)
    else:
        only = ("--folds", 3, "--only-folds", 0, "--train-sizes", 6)
        quiet = ("--no-estimate", "--no-report")
        model = _make_model(place, data)
        words = ("--init", model, "--strategies", *_STRATEGIES, *only, *_STUDY_STEPS, *quiet)
    all_words = (verb, "--data", data, *words, *_COMMON, "--output", "out")
    return Command(verb, tuple(map(str, all_words)))


def _make_images(folder: Path) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(_IMAGES):
        sample = simulate("breast-ultrasound", 0, index, size=_SIDE)
        cv2.imwrite(str(folder / "images" / f"{index:02d}.png"), sample.image.astype(np.uint8))
        mask = sample.mask.astype(np.uint8) * 255
        cv2.imwrite(str(folder / "masks" / f"{index:02d}.png"), mask)
    return folder


def _make_model(place: Path, data: Path) -> Path:
    steps = ("--image-size", 32, "--steps", 6, "--validate-every", 6)
    words = ("pretrain", "--data", data, "--validation-data", data, *_TINY, *steps, *_COMMON)
    command = Command("pretrain", tuple(map(str, (*words, "--output", "out"))))
    if command.start(place / "initial").wait():
        raise RuntimeError((place / "initial" / "said.txt").read_text(encoding="utf-8"))
    return place / "initial" / "out" / "model.keras"
