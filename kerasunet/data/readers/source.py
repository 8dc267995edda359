"""What the readers of all kinds share: opened files, their kind and refusal; quiet libraries."""

from __future__ import annotations

import gzip
import logging
import math
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

import numpy as np

# Filters of warnings, levels of loggers and standard error belong to the whole process, so one
# thread at a time may change them.
TURN = threading.RLock()
_STANDARD_ERROR = 2
_META_IMAGE = re.compile(rb"\s*(ObjectType|NDims|Comment)\s*=")
_FIRST_TYPES = (b"UL", b"CS", b"UI", b"DA", b"TM", b"OB", b"LO", b"SH")
_HEAD_BYTES = 352


class Unusable(ValueError):
    """A file cannot be used; the message gives cause and remedy, but not yet the file's name."""


@dataclass(frozen=True, eq=False)
class Partner:
    """The frame of the image that a mask belongs to.

    Attributes:
        name: Name of the image file, for messages.
        frame: Which frame of it, from 0.
        count: How many it has.
        shape: Height and width of a frame as displayed.
        plane: Where the frame lies in the patient: the step to the next column, the step to the
            next row and the center of the first pixel as displayed, in the columns of a matrix,
            `(3, 3)`, millimeters to the left, posterior and superior; `None` if it does not say.
        uid: Its SOP instance UID; empty if it has none.
        space: Its frame of reference UID; empty if it has none.
        order: How the pixels are displayed: `"stored"`, the first axis along a row; `"turned"`, as
            the orientation in the file asks; `"unknown"`, as stored, although the file does not say
            which axis is which.
        exif: The EXIF orientation that it was turned by, 1 for none.
    """

    name: str
    frame: int
    count: int
    shape: tuple[int, int]
    plane: np.ndarray | None = None
    uid: str = ""
    space: str = ""
    order: str = "stored"
    exif: int = 1


@dataclass(frozen=True)
class Source:
    """An opened file and what to take out of it.

    Attributes:
        file: The file, open for reading.
        kind: What its contents are, such as `"PNG"` or `"DICOM"`.
        frame: Which page, frame or slice, from 0.
        size_limit: The largest number of pixels, height times width, that is decoded.
        partner: The frame of the image that a mask belongs to, if it is known.
        segments: Labels or numbers of the segments of a DICOM segmentation that count; all if there
            are none.
        remarks: Receives what was ignored or assumed; each begins with "its" or "the".
    """

    file: BufferedReader
    kind: str
    frame: int
    size_limit: int
    partner: Partner | None = None
    segments: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the file, without its folder."""
        return Path(self.file.name).name

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
    with TURN, warnings.catch_warnings():
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
    with TURN:
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


def kind_of(file: BufferedReader) -> str:
    """Return the kind of a file, such as `"PNG"`, by its first bytes.

    Raises:
        Unusable: It is of no kind that is read.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    kind = _kind_by(head)
    if head[:2] == b"\x1f\x8b":
        kind = _kind_by(gzip.GzipFile(fileobj=file).read(_HEAD_BYTES))
        file.seek(0)
        kind = kind if kind == "NIfTI" else None
    if kind is None:
        raise Unusable(
            "not a PNG, JPEG, BMP, GIF, WebP, TIFF, DICOM, NIfTI, NRRD or MetaImage image; convert "
            "it to PNG"
        )
    return kind


def _kind_by(head: bytes) -> str | None:
    if is_dicom(head):
        return "DICOM"
    if head[:4] == b"NRRD":
        return "NRRD"
    if _META_IMAGE.match(head):
        return "MetaImage"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return "NIfTI"
    # Two letters are not enough: the upper bytes of the header's size must be zero as well.
    return "BMP" if head[:2] == b"BM" and head[15:18] == b"\0\0\0" else None


def is_dicom(head: bytes) -> bool:
    """Return whether a file begins like DICOM: with the preamble or, without it, with an element.

    Args:
        head: The first 352 bytes, or fewer if the file is shorter.
    """
    if head[128:132] == b"DICM":
        return True
    group, length = head[:2], int.from_bytes(head[4:8], "little")
    if group in (b"\x08\0", b"\x02\0", b"\0\x08") and head[4:6] in _FIRST_TYPES:
        return True
    # Without types: a short element of the first group, then another one of it.
    following = head[8 + length : 10 + length]
    return group == b"\x08\0" and length < _HEAD_BYTES and following == b"\x08\0"
