"""Reading image files of any kind: by their first bytes, checked before any pixel is decoded."""

from __future__ import annotations

import errno
import gzip
import importlib
import logging
import math
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import ModuleType

import numpy as np

from kerasunet.data.readers.masks import MaskValues

SIZE_LIMIT = 100_000_000
# Filters of warnings, levels of loggers and standard error belong to the whole process, so one
# thread at a time may change them.
_TURN = threading.RLock()
_STANDARD_ERROR = 2
_OUTER_PERCENTILES = (0.1, 99.9)
_READERS = {"DICOM": "dicom", "NIfTI": "nifti"}
_HEAD_BYTES = 352
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".nii", ".nii.gz",
)  # fmt: skip


def read_image(
    path: str | os.PathLike, *, frame: int = 0, size_limit: int = SIZE_LIMIT
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read an image file: PNG, JPEG, BMP, TIFF, DICOM or NIfTI, whatever its suffix says.

    Eight bits are taken as they are. Sixteen bits and floats are stretched linearly so that their
    0.1th percentile becomes 0 and the 99.9th 255. A DICOM file's own window or look-up table comes
    before that, MONOCHROME1 and TIFF's white-is-zero are inverted. EXIF orientation is honored.
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
        `(height, width, 3)` in RGB order, 0 to 255; and the pixel spacing in millimeters,
        (row, column), `None` where the file does not say.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable image, has no such frame or is too large, or its
            kind needs an extra that is not installed.
    """
    with _opened(Path(path)) as file:
        kind = _kind(file)
        return _reader(kind).read_image(Source(file, kind, frame, size_limit=size_limit))


def read_mask(
    path: str | os.PathLike, *, frame: int = 0, size_limit: int = SIZE_LIMIT
) -> MaskValues:
    """Read what a mask file stores: values and, where it has any, their colors.

    Arguments and errors are those of `read_mask_values`.
    """
    with _opened(Path(path)) as file:
        kind = _kind(file)
        found = _reader(kind).read_mask(Source(file, kind, frame, size_limit=size_limit))
        return found if isinstance(found, MaskValues) else MaskValues(found)


def read_mask_values(
    path: str | os.PathLike, *, frame: int = 0, size_limit: int = SIZE_LIMIT
) -> np.ndarray:
    """Read the values of a mask file unchanged.

    One bit gives 0 and 255, except in DICOM. Of a palette with colors the indices count, as
    labels do in Pascal VOC; of a grey palette its grey levels. Of a color image the brightest
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
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable image, has no such frame or is too large, holds
            negative or fractional values, or its kind needs an extra that is not installed.
    """
    return read_mask(path, frame=frame, size_limit=size_limit).numbers()


def count_frames(path: str | os.PathLike) -> int | None:
    """Count the pages of a TIFF, frames of a DICOM or slices of a NIfTI file, from its header.

    Args:
        path: An image or mask file, of any kind that `read_image` reads.

    Returns:
        The number, 1 for the other kinds; `None` for a DICOM segmentation, whose frames say
        themselves which frame of the image they segment.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable image, or its kind needs an extra.
    """
    with _opened(Path(path)) as file:
        kind = _kind(file)
        return _reader(kind).count_frames(Source(file, kind, 0, size_limit=SIZE_LIMIT))


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Yield the open file; turn whatever goes wrong into one line that names it."""
    try:
        _check_regular(path)
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except PermissionError:
        raise PermissionError(f"{path}: permission denied; change its permissions") from None
    except Unusable as error:
        raise ValueError(f"{path}: {error}") from None
    except MemoryError:
        raise ValueError(f"{path}: too large for the memory; scale it down") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise OSError(
                f"{path}: cannot be read: {error.strerror}; check the disk, or the link"
            ) from None
        # Decoders raise exceptions of every type for broken bytes, and their messages may quote
        # the file: neither gets out.
        raise ValueError(
            f"{path}: damaged, cut off or of a rare kind, so it cannot be decoded; copy it "
            "again or convert it to PNG"
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
        return importlib.import_module(f"kerasunet.data.readers.{_READERS.get(kind, 'raster')}")
    except ImportError:
        raise Unusable(f'{kind} needs an extra: pip install "kerasunet[dicom]"') from None


def _kind(file: BufferedReader) -> str:
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
    # Two letters are not enough: the upper bytes of the header's size must be zero as well.
    return "BMP" if head[:2] == b"BM" and head[15:18] == b"\0\0\0" else None


class Unusable(ValueError):
    """A file cannot be used; the message gives cause and remedy, but not yet the file's name."""


@dataclass(frozen=True)
class Source:
    """An opened file and what to take out of it.

    Attributes:
        file: The file, open for reading.
        kind: What its contents are: `"PNG"`, `"JPEG"`, `"BMP"`, `"TIFF"`, `"DICOM"`, `"NIfTI"`.
        frame: Which page, frame or slice, from 0.
        size_limit: The largest number of pixels, height times width, that is decoded.
    """

    file: BufferedReader
    kind: str
    frame: int
    size_limit: int

    def check_size(self, width: int, height: int) -> None:
        """Refuse an image that has no pixels or too many of them."""
        if width < 1 or height < 1:
            raise Unusable(f"its header states {width}×{height} pixels; export it again")
        if width * height > self.size_limit:
            raise Unusable(
                f"{width}×{height} pixels, more than the limit of {self.size_limit:,}; "
                "scale it down, or raise size_limit"
            )

    def check_frame(self, count: int) -> None:
        """Refuse a frame that does not exist."""
        if not 0 <= self.frame < count:
            raise Unusable(f"there is no frame {self.frame}; it has {count}, counted from 0")


def millimetres(row: float, column: float) -> tuple[float, float] | None:
    """Return the pixel spacing, (row, column); `None` if the values make no sense."""
    spacing = (abs(float(row)), abs(float(column)))
    return spacing if all(math.isfinite(side) and side > 0 for side in spacing) else None


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Drop every warning, and everything that the library logs, while the body runs."""
    logger = logging.getLogger(library)
    with _TURN, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def quiet_native_code() -> Iterator[None]:
    """Drop what C libraries print to standard error while the body runs.

    So is what other threads print there: wrap no more than the call of the library.
    """
    with _TURN:
        kept = _duplicate(_STANDARD_ERROR)
        if kept is None:
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STANDARD_ERROR)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(kept, _STANDARD_ERROR)
            os.close(kept)


def _duplicate(descriptor: int) -> int | None:
    """Duplicate a file descriptor; services and windowed programs may lack the original."""
    try:
        return os.dup(descriptor)
    except OSError:
        return None


def to_levels(pixels: np.ndarray) -> np.ndarray:
    """Map pixel values to grey levels: 8 bits as they are, others by the image's own range.

    Args:
        pixels: `(height, width)` or `(height, width, 3)`, bool, integer or float.

    Returns:
        Float32 of the same shape, 0 to 255.

    Raises:
        Unusable: There are NaN or infinite values.
    """
    if pixels.dtype == bool:
        return pixels * np.float32(255)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32)
    return stretch(pixels, *own_range(pixels))


def own_range(pixels: np.ndarray) -> tuple[float, float]:
    """Return the values that become black and white in an image without a stated window.

    They are the 0.1th and 99.9th percentile: the few dead pixels, burnt-in markers and pieces of
    metal of a radiograph would otherwise squeeze the anatomy into a fraction of the range. Where
    less than that share of the pixels differs from the rest, they are the smallest and largest.
    """
    low, high = np.percentile(pixels, _OUTER_PERCENTILES, method="nearest").tolist()
    return (low, high) if low < high else (pixels.min().item(), pixels.max().item())


def stretch(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map values up to `low` to 0, from `high` on to 255, linearly in between.

    Where both are one value, only what is above it is white: a constant image becomes black.
    """
    _check_finite(pixels)
    if not low < high:
        return np.where(pixels > low, np.float32(255), np.float32(0))
    scale = 255 / (high - low)
    if not 0 < scale < np.inf:
        raise Unusable(
            "the range of its values is too large or too small for floating point; rescale them"
        )
    exact = np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    levels = np.clip(pixels.astype(exact), low, high)
    levels -= low
    levels *= scale
    return np.minimum(levels, 255).astype(np.float32, copy=False)  # Products are rounded, too.


def to_mask_values(pixels: np.ndarray) -> np.ndarray:
    """Turn pixel values into unsigned integers; in color the brightest channel counts.

    Args:
        pixels: `(height, width)` or `(height, width, channels)`; bool counts as 0 and 255.

    Returns:
        Unsigned integers, `(height, width)`.

    Raises:
        Unusable: There are negative or fractional values.
    """
    if pixels.dtype == bool:
        return pixels * np.uint8(255)
    values = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    if values.dtype.kind == "u":
        return values.astype(values.dtype.newbyteorder("="))
    _check_finite(values)
    if values.min() < 0 or (values.dtype.kind == "f" and np.any(values % 1)):
        raise Unusable(
            "a mask holds whole numbers from 0 up, and this one holds others; export it again"
        )
    return values.astype(np.min_scalar_type(int(values.max())))


def without_equal_channels(image: np.ndarray) -> np.ndarray:
    """Turn color whose channels all agree into grey, `(height, width)`."""
    if image.ndim == 2:
        return image
    red, green, blue = np.moveaxis(image, 2, 0)
    agree = np.array_equal(red, green) and np.array_equal(red, blue)
    return np.ascontiguousarray(red if agree else image)


def _check_finite(pixels: np.ndarray) -> None:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise Unusable("holds NaN or infinite values; replace them with numbers")
