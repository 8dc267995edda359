"""Opens a file, tells from its first bytes what it is, and has the right reader read it."""

from __future__ import annotations

import errno
import gzip
import importlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np

from kerasunet.data.reading.source import SIZE_LIMIT, Source, Unusable

_READERS = {"DICOM": "dicom", "NIfTI": "nifti"}
_HEAD_BYTES = 352

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".nii", ".nii.gz",
)  # fmt: skip


def read_image(
    path: str | os.PathLike, *, frame: int = 0, size_limit: int = SIZE_LIMIT
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Reads an image file: PNG, JPEG, BMP, TIFF, DICOM or NIfTI, whatever its suffix says.

    Eight bits are taken as they are. Sixteen bits and floats are stretched linearly so that their
    0.1th percentile becomes 0 and the 99.9th 255. A DICOM file's own window or look-up table comes
    before that, MONOCHROME1 and TIFF's white-is-zero are inverted. EXIF orientation is honoured.
    Transparent pixels show black, unless all are transparent: then opacity is ignored. A NIfTI
    slice is cut across the third stored axis and shown in radiological convention, by the nearest
    anatomical axes: the right edge is the patient's left or back, the lower one back or feet.

    The spacing comes from DICOM, from NIfTI, and from a TIFF file that ImageJ calibrated; the dots
    per inch of other files are a print size and not believed. An X-ray's spacing may be that of
    its detector, some percent larger than in the patient.

    Args:
        path: The image file.
        frame: Page of a TIFF, frame of a DICOM, slice of a NIfTI file, from 0.
        size_limit: Largest height times width; checked in the header, before pixels are decoded.

    Returns:
        The image, float32, `(height, width)` when all channels agree, else
        `(height, width, 3)` in RGB order, 0 to 255; and the pixel spacing in millimetres,
        (row, column), `None` where the file does not tell.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: The file may not be read.
        ValueError: The file is not a readable image, has no such frame or is too large, or its
            kind needs an extra that is not installed.
    """
    with _opened(Path(path)) as file:
        kind = _kind(file)
        return _reader(kind).read_image(Source(file, kind, frame, size_limit))


def read_mask_values(
    path: str | os.PathLike, *, frame: int = 0, size_limit: int = SIZE_LIMIT
) -> np.ndarray:
    """Reads the values of a mask file as they are.

    One bit gives 0 and 255, except in DICOM. Of a palette with colours the indices count, as
    labels do in Pascal VOC; of a grey palette its grey levels. Of a colour image the brightest
    channel counts. DICOM windows are not applied. All segments of a DICOM segmentation that belong
    to the frame are united to 0 and 1. Orientation is that of `read_image`.

    Args:
        path: The mask file, of any kind that `read_image` reads.
        frame: Page of a TIFF, frame of a DICOM, slice of a NIfTI file, from 0.
        size_limit: Largest height times width; checked in the header, before pixels are decoded.

    Returns:
        Unsigned integers, `(height, width)`.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: The file may not be read.
        ValueError: The file is not a readable image, has no such frame or is too large, holds
            negative or fractional values, or its kind needs an extra that is not installed.
    """
    with _opened(Path(path)) as file:
        kind = _kind(file)
        return _reader(kind).read_mask(Source(file, kind, frame, size_limit))


def count_frames(path: str | os.PathLike) -> int | None:
    """Counts the pages of a TIFF, frames of a DICOM or slices of a NIfTI file, from its header.

    Args:
        path: An image or mask file, of any kind that `read_image` reads.

    Returns:
        The number, 1 for the other kinds; `None` for a DICOM segmentation, whose frames tell
        themselves which frame of the image they belong to.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: The file may not be read.
        ValueError: The file is not a readable image, or its kind needs an extra.
    """
    with _opened(Path(path)) as file:
        kind = _kind(file)
        return _reader(kind).count_frames(Source(file, kind, 0, SIZE_LIMIT))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The open file; whatever goes wrong with it becomes one line that names it."""
    try:
        _check_regular(path)
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except PermissionError:
        raise PermissionError(f"{path}: may not be read; change its permissions") from None
    except Unusable as error:
        raise ValueError(f"{path}: {error}") from None
    except MemoryError:
        raise ValueError(f"{path}: larger than the memory; scale it down") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise OSError(
                f"{path}: cannot be read: {error.strerror}; see to the disk, or to the link"
            ) from None
        # Decoders answer broken bytes with exceptions of every type, whose words may quote the
        # file's: neither goes further.
        raise ValueError(
            f"{path}: damaged, cut off or of a rare variety, it cannot be decoded; "
            "copy it again or convert it to PNG"
        ) from None


def _check_regular(path: Path) -> None:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise Unusable("a folder; give an image file in it")
    if not stat.S_ISREG(status.st_mode):
        raise Unusable("not a regular file; copy its contents into one")
    if status.st_size == 0:
        raise Unusable("the file is empty; copy or export it again")


def _reader(kind: str) -> ModuleType:
    try:
        return importlib.import_module(f"kerasunet.data.reading.{_READERS.get(kind, 'raster')}")
    except ImportError:
        raise Unusable(f'{kind} needs an extra: pip install "kerasunet[dicom]"') from None


def _kind(file: BinaryIO) -> str:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    kind = _kind_of(head)
    if head[:2] == b"\x1f\x8b":
        kind = _kind_of(gzip.GzipFile(fileobj=file).read(_HEAD_BYTES))
        file.seek(0)
        kind = kind if kind == "NIfTI" else None
    if kind is None:
        raise Unusable("not a PNG, JPEG, BMP, TIFF, DICOM or NIfTI image; convert it to PNG")
    return kind


def _kind_of(head: bytes) -> str | None:
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return "NIfTI"
    # Two letters are too little to go by: the upper bytes of the header's size are zero, too.
    return "BMP" if head[:2] == b"BM" and head[15:18] == b"\0\0\0" else None
