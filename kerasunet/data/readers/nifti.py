"""NIfTI (.nii, .nii.gz): one slice of a volume, turned the way radiologists look at it.

Header and data are read by nibabel's parts instead of `nibabel.load`, which logs what it finds in
headers and keeps the rest of them.
"""

from __future__ import annotations

import gzip
import math
from io import BufferedReader

import numpy as np
from nibabel import Nifti1Header, Nifti2Header
from nibabel.arrayproxy import ArrayProxy
from nibabel.orientations import io_orientation

from kerasunet.data.readers.files import (
    Source,
    Unusable,
    millimetres,
    quiet,
    to_levels,
    to_mask_values,
    without_equal_channels,
)

_UNIT_MM = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}

File = BufferedReader | gzip.GzipFile


def read_image(source: Source) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read float32 levels, `(height, width)` or `(height, width, 3)`, and the spacing."""
    with quiet("nibabel"):
        file, header = _open(source)
        pixels = without_equal_channels(_slice(file, header, source))
        return to_levels(pixels), _spacing(header)


def read_mask(source: Source) -> np.ndarray:
    """Read unsigned integers, `(height, width)`."""
    with quiet("nibabel"):
        return to_mask_values(_slice(*_open(source), source))


def count_frames(source: Source) -> int:
    """Return the number of slices, through all points in time."""
    with quiet("nibabel"):
        return math.prod(_open(source)[1].get_data_shape()[2:])


def _open(source: Source) -> tuple[File, Nifti1Header]:
    file: File = source.file
    if file.peek(2)[:2] == b"\x1f\x8b":
        file = gzip.GzipFile(fileobj=file)
    layout = Nifti2Header if file.peek(8)[4:8] == b"n+2\0" else Nifti1Header
    return file, layout.from_fileobj(file, check=False)


def _slice(file: File, header: Nifti1Header, source: Source) -> np.ndarray:
    """Cut the slice across the third stored axis, with rows and columns as displayed."""
    shape = header.get_data_shape()
    if len(shape) < 2:
        raise Unusable("a NIfTI file with fewer than two axes; export it again")
    source.check_size(*shape[:2])
    source.check_frame(math.prod(shape[2:]))
    position = np.unravel_index(source.frame, shape[2:], order="F") if shape[2:] else ()
    volume = ArrayProxy(file, header, mmap=False)
    return _displayed(_channels(np.asarray(volume[(..., *map(int, position))])), header)


def _channels(stored: np.ndarray) -> np.ndarray:
    """Split NIfTI's RGB voxels into channels."""
    if stored.dtype.names is None:
        return stored
    return np.stack([stored[name] for name in stored.dtype.names[:3]], axis=-1)


def _displayed(stored: np.ndarray, header: Nifti1Header) -> np.ndarray:
    """Turn (i, j) so that columns run to the left or posterior, rows to the posterior or inferior.

    This is how axial, coronal and sagittal slices are shown, and how ITK writes plain pictures.
    Where the header knows no orientation, i runs along a row and j down a column.
    """
    axes, rises = _plane(header)
    for axis in (0, 1):
        if rises[axis]:
            stored = np.flip(stored, axis)
    return stored.swapaxes(0, 1) if axes[0] < axes[1] else stored


def _plane(header: Nifti1Header) -> tuple[list[float], list[bool]]:
    """Return the axes of i and j (0 right, 1 anterior, 2 superior), and whether each rises."""
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        return [0, 1], [False, False]
    orientation = io_orientation(header.get_best_affine())[:2]
    if not np.isfinite(orientation).all():
        raise Unusable("a NIfTI file whose orientation matrix is singular; export it again")
    return orientation[:, 0].tolist(), (orientation[:, 1] > 0).tolist()


def _spacing(header: Nifti1Header) -> tuple[float, float] | None:
    """Return the spacing, (row, column); `None` if it has no unit and was left at 1."""
    along = [float(size) for size in header.get_zooms()[:2]]
    unit = header.get_xyzt_units()[0]
    if unit == "unknown" and along == [1.0, 1.0]:
        return None
    axes, _ = _plane(header)
    row, column = reversed(along) if axes[0] < axes[1] else along
    return millimetres(row * _UNIT_MM[unit], column * _UNIT_MM[unit])
