"""NIfTI files, version 1 and 2, plain and compressed."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel
import numpy as np

from kerasunet.data.readers import nifti  # noqa: F401
from targets._refusals import reading
from targets.image import read

LONGEST = 700


def seeds() -> Iterable[bytes]:
    gray = np.arange(24, dtype=np.int16).reshape(4, 6)
    affine = np.diag([-0.2, -0.3, 1, 1])
    plain = nibabel.Nifti1Image(gray, affine).to_bytes()
    volume = nibabel.Nifti1Image(np.stack([gray, gray], -1).astype(np.float32), affine).to_bytes()
    second = nibabel.Nifti2Image(gray, affine).to_bytes()
    return [plain, volume, second, gzip.compress(plain, mtime=0)]


def checker(folder: Path) -> Callable[[bytes], None]:
    return reading(folder / "volume", read)
