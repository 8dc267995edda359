"""What the readers of all kinds share: opened files, their kind and refusal; quiet libraries.

Of a mask's file also its partner, the image: whether both lie at the same place in the patient.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
import re
import struct
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import IO

import cv2
import numpy as np

# Filters of warnings, levels of loggers and standard error belong to the whole process, so one
# thread at a time may change them.
TURN = threading.RLock()
_WARNING = r"(pydicom|highdicom|nibabel|PIL|numpy|kerasunet\.data\.(readers|writers))(\.|$)"
_META_IMAGE = re.compile(rb"\s*(ObjectType|NDims|Comment)\s*=")
_FIRST_TYPES = (b"UL", b"CS", b"UI", b"DA", b"TM", b"OB", b"LO", b"SH")
_STANDARD_ERROR, _LEAST_ALIKE, _SMALL = 2, 0.3, 64
_HEAD_BYTES, _HEAD_OF_JPEG = 352, 1 << 18
_JPEG, _RARE_JPEG = (0xFFC0, 0xFFC1, 0xFFC2), {0xFFC3: "lossless JPEG", 0xFFF7: "JPEG-LS"}
_PNG_MARK, _CHUNK_HEAD = b"\x89PNG\r\n\x1a\n", 8
_OTHERS = {
    rb"version https://git-lfs": "a pointer of Git LFS; fetch what it stands for: git lfs pull",
    rb"(?i)\s*<(!doctype )?html": "a web page, as of a failed download; download the image again",
    rb"\0+\Z": "only zeros at its start, as of a failed copy or bare voxels; export it again",
    rb"(?s).{344}ni1\0": "a header of NIfTI whose voxels are in another file; save both as .nii",
    rb"(?s)....ftyp(heic|heix|mif1|avif)": "HEIC or AVIF; convert it to PNG",
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": "JPEG 2000; convert it to PNG",
    rb"P[1-7]\s": "a picture of the Netpbm family, such as PGM; convert it to PNG",
    rb"%PDF": "a PDF; convert its pages to PNG",
    rb"PK\x03\x04": "a zip archive; unpack it",
}
"""What people rename or download by mistake, by their first bytes, and the remedy."""
TOLERANCE = 0.25
"""How far, in pixels, the centers of pixels that are said to be the same may lie apart."""


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
        times: How many of its frames lie where this one does, as in a loop.
        time: Which of these it is in the order of time, from 0; `None` if that is not stated.
        number: Which of these it is in the order of the file, from 0.
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
    times: int = 1
    time: int | None = 0
    number: int = 0


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


def millimeters(row: float, column: float) -> tuple[float, float] | None:
    """Return the pixel spacing, (row, column); `None` if the values make no sense."""
    spacing = (abs(float(row)), abs(float(column)))
    return spacing if all(math.isfinite(side) and side > 0 for side in spacing) else None


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Drop what the library logs, and what it and its like warn of, while the body runs.

    What other threads warn of meanwhile, from code of their own, is not dropped.
    """
    logger = logging.getLogger(library)
    with TURN, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=_WARNING)
        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def heard_native_code(wanted: re.Pattern[str]) -> Iterator[list[str]]:
    """Yield a list that receives what C libraries print to standard error while the body runs.

    Only lines that begin as wanted are taken. All others are passed on when the body has ended,
    such as those of other threads: wrap no more than the call of the library. What others print
    into the middle of a line shares its fate. Without a standard error, or a place for temporary
    files, nothing is heard.
    """
    heard: list[str] = []
    with TURN, ExitStack() as restored:
        kept = _duplicate(_STANDARD_ERROR)
        if kept is None:
            yield heard
            return
        restored.callback(os.close, kept)
        with suppress(OSError):  # No place for temporary files.
            file = restored.enter_context(tempfile.TemporaryFile())
            restored.callback(_sort_lines, file, wanted, heard, others=kept)
            os.dup2(file.fileno(), _STANDARD_ERROR)
            restored.callback(os.dup2, kept, _STANDARD_ERROR)
        yield heard


def _sort_lines(file: IO[bytes], wanted: re.Pattern[str], heard: list[str], *, others: int) -> None:
    """Append the wanted lines of a file to a list, and write all others to a file descriptor."""
    file.seek(0)
    for line in file.read().splitlines(keepends=True):
        text = line.decode(errors="replace")
        if wanted.match(text):
            heard.append(text)
        else:
            with suppress(OSError):  # Nobody reads it any more.
                os.write(others, line)


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
        other = next((words for mark, words in _OTHERS.items() if re.match(mark, head)), "")
        raise Unusable(
            other
            or "not a PNG, JPEG, BMP, GIF, WebP, TIFF, DICOM, NIfTI, NRRD or MetaImage image; "
            "convert it to PNG"
        )
    return kind


def _kind_by(head: bytes) -> str | None:
    if is_dicom(head):
        return "DICOM"
    if head[:4] == b"NRRD":
        return "NRRD"
    if _META_IMAGE.match(head):
        return "MetaImage"
    if head[:8] == _PNG_MARK:
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


def rare_jpeg(source: Source) -> str:
    """Describe a JPEG file that is not read (ITU-T T.81, B.2); empty if it is damaged."""
    source.file.seek(0)
    head = source.file.read(_HEAD_OF_JPEG)
    at = 2
    with suppress(struct.error):
        while True:
            marker, length = struct.unpack_from(">HH", head, at)
            if (name := _RARE_JPEG.get(marker)) or (marker in _JPEG and head[at + 4] != 8):
                name = name or f"JPEG of {head[at + 4]} bits"
                return f"{name}, which is not read as a picture; convert it to PNG"
            at += 2 + length
    return ""


def chunks(source: Source) -> Iterator[tuple[bytes, int]]:
    """Yield kind and length of each part of a PNG; the file stands at its content then."""
    at = source.file.seek(len(_PNG_MARK))
    while len(head := source.file.read(_CHUNK_HEAD)) == _CHUNK_HEAD:
        length, kind = struct.unpack(">I4s", head)
        yield kind, length
        at = source.file.seek(at + _CHUNK_HEAD + length + 4)


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


def corners(shape: tuple[int, int]) -> np.ndarray:
    """Return the corners of a frame, `(3, 4)`: columns and rows from 0, and ones."""
    height, width = shape
    columns, rows = np.meshgrid([0, width - 1], [0, height - 1])
    return np.stack([columns.ravel(), rows.ravel(), np.ones(4)])


def apart(mask: np.ndarray, image: np.ndarray, shape: tuple[int, int]) -> tuple[float, float]:
    """Measure how far a mask's frame lies from an image's.

    Args:
        mask: Plane of the mask's frame, `(3, 3)`, as in `Partner.plane`.
        image: Plane of the image's frame.
        shape: Height and width of the image.

    Returns:
        The largest distance within the plane and that across it, both in pixels of the mask.
    """
    across = np.cross(mask[:, 0], mask[:, 1])
    pixel = float(np.linalg.norm(mask[:, :2], axis=0).max())
    axes = np.column_stack([mask[:, :2], across * pixel / np.linalg.norm(across)])
    found = np.linalg.solve(axes, image @ corners(shape) - mask[:, 2:])
    within = np.abs(found[:2] - corners(shape)[:2]).max()
    return float(within), float(np.abs(found[2]).max())


def frames_at(partner: Partner, planes: Sequence[np.ndarray | None]) -> list[int]:
    """Return the frames, from 0, that lie where the image's frame does.

    There may be none, if the others continue the image to the front or to the back.

    Raises:
        Unusable: None of them lies so, or they do not say where they lie.
    """
    image = partner.plane
    if image is None or any(plane is None for plane in planes):
        raise Unusable(f"it does not say where it lies in {partner.name}; export it again")
    found = [apart(plane, image, partner.shape) for plane in planes if plane is not None]
    if all(within > TOLERANCE for within, _ in found):
        raise Unusable(elsewhere(partner))
    return [
        index
        for index, (within, across) in enumerate(found)
        if within <= TOLERANCE and across <= TOLERANCE
    ]


def check_order(partner: Partner) -> None:
    """Refuse to lay a mask that has no place in the patient on an image that was turned by it."""
    if _may_be_turned(partner):
        raise Unusable(
            f"it does not say where it lies, and {partner.name} is turned by its orientation; "
            "save the mask in the format of its image, with the same orientation"
        )


def check_outlined(image: Partner, *, sized: bool) -> None:
    """Refuse an image whose outlines, in pixels, may be those of another view of it.

    Args:
        image: The image.
        sized: Whether the outlines come with the size of the view that they were drawn on.
    """
    if image.exif != 1 and (_may_be_turned(image) or not sized):
        raise Unusable(
            "it is turned by its EXIF orientation, so it is unknown which view its outlines were "
            "drawn on; save it as it was outlined, without that orientation"
        )
    if _may_be_turned(image):
        raise Unusable(
            "it is turned by its orientation, or may have to be, so it is unknown where outlines "
            "in pixels lie; export them as masks in the format of this image"
        )


def _may_be_turned(image: Partner) -> bool:
    height, width = image.shape
    return image.order == "turned" or (image.order == "unknown" and height == width)


def elsewhere(partner: Partner) -> str:
    """Return the words for a mask that does not lie on its image."""
    return (
        f"its pixels lie elsewhere in the patient than those of {partner.name}; resample it to "
        "its image, or save it with the image's orientation and position"
    )


def check_finite(pixels: np.ndarray) -> None:
    """Refuse floats that are no numbers."""
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise Unusable("holds NaN or infinite values; replace them with numbers")


def without_equal_channels(image: np.ndarray) -> np.ndarray:
    """Turn color whose channels all agree into gray, `(height, width)`."""
    if image.ndim == 2:
        return image
    red, green, blue = np.moveaxis(image, 2, 0)
    agree = np.array_equal(red, green) and np.array_equal(red, blue)
    return np.ascontiguousarray(red if agree else image)


def have_nothing_in_common(*images: np.ndarray) -> bool:
    """Return whether the details of two images, even inverted, are unlike; smooth parts aside."""
    grays = (image.mean(axis=2) if image.ndim == 3 else image for image in images)
    small = (cv2.resize(gray, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA) for gray in grays)
    one, other = (image - cv2.GaussianBlur(image, (0, 0), _SMALL / 16) for image in small)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return abs(float(np.vdot(one, other))) < _LEAST_ALIKE * lengths
