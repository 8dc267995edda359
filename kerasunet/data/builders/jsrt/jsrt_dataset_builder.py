"""JSRT: chest X-rays, films scanned to headerless 12-bit files, with SCR's outlines of organs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kerasunet.data import readers
from kerasunet.data.builders.base import CasesBuilder, folders_in, published
from kerasunet.data.cases import FileCase, Sample
from kerasunet.data.decoding import resize_image
from kerasunet.data.layouts import PUBLISHED
from kerasunet.data.layouts.pairing import pair
from kerasunet.files import raise_all

_FILM = 2048 * 0.175  # Millimeters, either side.
_LARGEST = 4095
_LUNGS = ("left lung", "right lung")
_OUTLINES = (".gif", ".tif", ".tiff", ".png")


class Builder(CasesBuilder):
    """TFDS builder of JSRT with SCR; the object is both lungs, without the heart."""

    HOMEPAGE = "http://db.jsrt.or.jp/eng.php"
    TERMS = PUBLISHED["jsrt"][0]
    ARCHIVES = {"All247images.zip": "", "scratch.zip": ""}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Register on the home page for All247images.zip, get SCR's masks, scratch.zip "
        "(https://www.isi.uu.nl/Research/Databases/SCR/, now https://zenodo.org/records/7056076), "
        "and put both, or what they unpack to, into the manual folder. A folder with images, masks "
        "of organ labels (150 and 200 are the lungs) and jsrt_metadata.csv is read as well."
    )

    def find_cases(self, roots):
        data = published("jsrt", roots)
        if data is None:
            films = read_films(roots)
            data = self._as_data_set(films) if films else None
        return {"train": data} if data else {}


def read_films(roots: Iterable[Path]) -> list[FilmCase]:
    """Pair `JPCLN001.IMG` … with `left lung/JPCLN001.gif` and `right lung/JPCLN001.gif`."""
    images: dict[str, list[Path]] = {}
    masks: dict[str, list[Path]] = {}
    for folder in folders_in(roots):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() == ".img":
                images.setdefault(path.stem, []).append(path)
            elif path.suffix.lower() in _OUTLINES and _organ(folder) in _LUNGS:
                masks.setdefault(path.stem, []).append(path)
    if not images or not masks:
        return []
    halves = [f"{paths[0]}" for paths in masks.values() if len(paths) != len(_LUNGS)]
    raise_all(sorted(halves), "only one lung has a mask, or one has two:")
    return [
        FilmCase(case.key, case.group, case.image, masks=case.masks, label=case.label)
        for case in pair(images, masks, label=_label)
    ]


@dataclass(frozen=True)
class FilmCase(FileCase):
    """A scanned film and the masks of its lungs.

    The masks have half as many rows and columns as the film, and the film is averaged to their
    size: nothing finer was outlined.
    """

    def load(self) -> Sample:
        """Read film and masks."""
        masks = [_read_outline(path) for path in self.masks]
        shape = masks[0].shape
        raise_all(
            [
                readers.wrong_size(path, mask.shape, shape, image=f"that of {self.masks[0].name}")
                for path, mask in zip(self.masks, masks, strict=True)
                if mask.shape != shape
            ]
        )
        image = resize_image(_read_film(self.image), shape)[..., 0].astype(np.float32)
        return Sample(image, np.logical_or.reduce(masks), (_FILM / shape[0], _FILM / shape[1]))


def _organ(folder: Path) -> str:
    """Return what the masks of a folder outline; copies of the archive spell it differently."""
    return re.sub(r"[ _-]+", " ", folder.name).lower()


def _label(key: str) -> str:
    return "nodule" if key.startswith("JPCLN") else "no nodule"


def _read_outline(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")) > 127


def _read_film(path: Path) -> np.ndarray:
    """Read float32 levels, square; the files hold high values where the film is black."""
    values = np.fromfile(path, ">u2")
    side = math.isqrt(len(values))
    if side == 0 or side**2 != len(values) or values.max() > _LARGEST:
        raise ValueError(
            f"{path}: not a square film of big-endian values up to {_LARGEST}; copy it again"
        )
    return (255 * (1 - values.reshape(side, side) / _LARGEST)).astype(np.float32)
