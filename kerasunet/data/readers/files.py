"""Read image files of any kind; their size is checked before any pixel is decoded."""

from __future__ import annotations

import errno
import importlib
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kerasunet.data.readers.masks import MaskValues
from kerasunet.data.readers.source import (
    TURN,
    Partner,
    Source,
    Unusable,
    check_outlined,
    kind_of,
)
from kerasunet.files import FileWarning, expanded
from kerasunet.schema import typed

SIZE_LIMIT = 100_000_000
_READERS = {"DICOM": "dicom", "NIfTI": "nifti", "NRRD": "itk", "MetaImage": "itk"}
_EXTRAS = {"NRRD": "itk", "MetaImage": "itk"}
_ONE_FRAME = ("PNG", "JPEG", "BMP", "GIF", "WebP")
_WITHOUT_PLACE = (*_ONE_FRAME, "TIFF")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
IMAGE_SUFFIXES = (
    *_PICTURE_SUFFIXES, ".tif", ".tiff", ".dcm", ".dicom", ".nii", ".nii.gz", ".nrrd", ".nhdr",
    ".mha", ".mhd",
)  # fmt: skip


def read_image(
    path: str | os.PathLike,
    *,
    frame: int | None = None,
    size_limit: int = SIZE_LIMIT,
    outlined: bool = False,
    sized: bool = True,
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read an image file of a kind that is known by its contents, whatever its suffix says.

    The kinds are PNG, JPEG, BMP, GIF and WebP (but no animations), TIFF, DICOM, NIfTI, NRRD and
    MetaImage (MHA). Eight bits are taken as they are. Sixteen bits and floats are stretched
    linearly so that their 0.1th percentile becomes 0 and the 99.9th 255. A DICOM file's own window
    or look-up table comes before that, its padding becomes black; MONOCHROME1 and TIFF's
    white-is-zero are inverted. EXIF orientation is honored. Transparent pixels show black, unless
    all are transparent: then opacity is ignored. A slice of a volume is cut across the third stored
    axis, or the one that is a single voxel long, and shown in radiological convention, by the
    nearest anatomical axes: the right edge is the patient's left or back, the lower one back or
    feet.

    The spacing comes from DICOM, from volumes, and from a TIFF file that ImageJ calibrated; the
    dots per inch of other files are a print size and not believed. An X-ray's spacing may be that
    of its detector, some percent larger than in the patient.

    Args:
        path: The image file.
        frame: Page of a TIFF, frame of a DICOM, slice of a volume, from 0; `None` for the only one.
        size_limit: Largest height times width; checked in the header, before pixels are decoded.
        outlined: Whether outlines in pixels belong to it, so that a turned volume is refused, and a
            picture turned by EXIF unless its shape says which view was outlined.
        sized: Whether the outlines come with the size of the view that they were drawn on.

    Returns:
        The image, float32, `(height, width)` when all channels agree, else
        `(height, width, 3)` in RGB order, 0 to 255; and the pixel spacing in millimeters,
        (row, column), `None` where the file does not say.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable image, has no such frame or several and none was
            named, or is too large, or its kind needs an extra that is not installed.

    Warns:
        FileWarning: An element of the file makes no sense and was ignored.
    """
    frame = typed("frame", "int", frame)
    with _opened(Path(path)) as file:
        kind = kind_of(file)
        reader = _reader(kind)
        source = Source(file, kind, frame or 0, size_limit=size_limit)
        if frame is None and kind not in _ONE_FRAME:
            _check_only_frame(reader.count_frames(source), outlined=outlined)
        _check_suffix(source, reader)
        if outlined and kind != "DICOM":
            check_outlined(reader.locate(source), sized=sized)
        image = reader.read_image(source)
    _say(path, source.remarks)
    return image


def _check_only_frame(count: int | None, *, outlined: bool) -> None:
    if count is not None and count > 1 and outlined:
        what = "its outlines do not say of which; save the one that was outlined as PNG"
        raise Unusable(f"it has {count:,} frames, and {what}")
    if count is not None and count > 1:
        raise Unusable(f"it has {count:,} frames; say which: frame 0 to {count - 1}")


def _check_suffix(source: Source, reader: ModuleType) -> None:
    """Refuse a file of several frames that is named like a picture: nobody looks for the others."""
    if source.kind in _ONE_FRAME or not source.name.lower().endswith(_PICTURE_SUFFIXES):
        return
    count = reader.count_frames(source)
    if count is not None and count > 1:
        raise Unusable(
            f"a {source.kind} file of {count:,} frames that is named like a picture; give it the "
            "suffix of its format"
        )


def _say(path: str | os.PathLike, remarks: list[str]) -> None:
    """Warn of what was ignored, while no other thread has silenced all warnings."""
    for remark in dict.fromkeys(remarks):
        with TURN:
            warnings.warn(f"{os.fspath(path)}: {remark}", FileWarning, stacklevel=3)


def read_mask(
    path: str | os.PathLike,
    *,
    frame: int = 0,
    size_limit: int = SIZE_LIMIT,
    image: str | os.PathLike | None = None,
    segments: tuple[str, ...] = (),
) -> MaskValues:
    """Read what a mask file stores: values and, where it has any, their colors.

    The other arguments and the errors are those of `read_mask_values`.

    Args:
        segments: Labels or numbers of the segments of a DICOM segmentation that count; all if
            there are none.
    """
    partner = None if image is None else _located(Path(path), Path(image), frame)
    with _opened(Path(path)) as file:
        kind = kind_of(file)
        source = Source(
            file, kind, frame, size_limit=size_limit, partner=partner, segments=segments
        )
        reader = _reader(kind)
        _check_suffix(source, reader)
        found = reader.read_mask(source)
        return found if isinstance(found, MaskValues) else MaskValues(found)


def read_mask_values(
    path: str | os.PathLike,
    *,
    frame: int = 0,
    size_limit: int = SIZE_LIMIT,
    image: str | os.PathLike | None = None,
) -> np.ndarray:
    """Read the values of a mask file unchanged.

    One bit gives 0 and 255, except in DICOM. Of a palette with colors the indices count, as
    labels do in Pascal VOC; of a gray palette its gray levels. Of a color image the brightest
    channel counts. DICOM windows are not applied. All segments of a DICOM segmentation that belong
    to the frame are united to 0 and 1. Orientation is that of `read_image`.

    Where the image is given, the mask is laid on it: by the references of a DICOM segmentation, by
    position where both files say where they lie in the patient, else by the number of the frame.

    Args:
        path: The mask file, of any kind that `read_image` reads.
        frame: Page of a TIFF, frame of a DICOM, slice of a volume, from 0: the image's.
        size_limit: Largest height times width; checked in the header, before pixels are decoded.
        image: The image that the mask belongs to.

    Returns:
        Unsigned integers, `(height, width)`.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable image, has no such frame or is too large, holds
            negative or fractional values, does not lie where the image does or does not say
            whether it does, or its kind needs an extra that is not installed.
    """
    return read_mask(path, frame=frame, size_limit=size_limit, image=image).numbers()


def _located(mask: Path, image: Path, frame: int) -> Partner | None:
    """Return the image's frame; `None` if either file is unreadable."""
    try:
        with _opened(image) as file, _opened(mask) as other:
            kind = kind_of(file)
            kind_of(other)
            return _reader(kind).locate(Source(file, kind, frame, size_limit=SIZE_LIMIT))
    except (OSError, ValueError):  # Said when the image, or the mask, is read itself.
        return None


def segments(path: str | os.PathLike) -> tuple[tuple[str, str], ...]:
    """Return label and type, in words, of a segmentation's segments (DICOM, .seg.nrrd).

    There are none in other files.

    Raises:
        ValueError: The file is not readable, or DICOM needs an extra that is not installed.
    """
    with _opened(Path(path)) as file:
        if (kind := kind_of(file)) not in ("DICOM", "NRRD"):
            return ()
        return _reader(kind).segments(Source(file, kind, 0, size_limit=SIZE_LIMIT))


def patient_and_study(path: Path) -> tuple[str, str]:
    """Return a DICOM file's PatientID and StudyInstanceUID, to compare files; else, empty texts."""
    with suppress(OSError, ValueError), _opened(path) as file:  # Named when the image is read.
        if kind_of(file) == "DICOM":
            source = Source(file, "DICOM", 0, size_limit=SIZE_LIMIT)
            return _reader("DICOM").patient_and_study(source)
    return "", ""


def count_frames(path: str | os.PathLike) -> int | None:
    """Count the pages of a TIFF, frames of a DICOM or slices of a volume, from the file's header.

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
        kind = kind_of(file)
        return _reader(kind).count_frames(Source(file, kind, 0, size_limit=SIZE_LIMIT))


def has_place(path: str | os.PathLike) -> bool:
    """Return whether a file says where its first frame lies in the patient.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable image, or its kind needs an extra.
    """
    with _opened(Path(path)) as file:
        kind = kind_of(file)
        if kind in _WITHOUT_PLACE:
            return False
        source = Source(file, kind, 0, size_limit=SIZE_LIMIT)
        return _reader(kind).locate(source).plane is not None


def kind(path: str | os.PathLike) -> str:
    """Return what a file is by its first bytes, such as `"PNG"`, `"DICOM"` or `"NIfTI"`.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable image.
    """
    with _opened(Path(path)) as file:
        return kind_of(file)


def locate(path: str | os.PathLike, frame: int = 0) -> Partner:
    """Return a frame of an image file, from 0, as the partner of a mask: its size and its place.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable image, or its kind needs an extra.
    """
    with _opened(Path(path)) as file:
        found = kind_of(file)
        return _reader(found).locate(Source(file, found, frame, size_limit=SIZE_LIMIT))


def step(path: str | os.PathLike) -> float | None:
    """Return millimeters from a frame of an image file to the next, or through its only one.

    Returns:
        `None` if the file does not say, or its frames are points in time.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable image, or its kind needs an extra.
    """
    with _opened(Path(path)) as file:
        found = kind_of(file)
        return _reader(found).step(Source(file, found, 0, size_limit=SIZE_LIMIT))


def grid(path: str | os.PathLike) -> tuple[Any, Any]:
    """Return header and grid of a NIfTI file: nibabel's header, and a `volumes.Volume`.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: There is no permission to read the file.
        ValueError: The file is not a readable NIfTI file, or its kind needs an extra.
    """
    with _opened(Path(path)) as file:
        found = kind_of(file)
        return _reader(found).grid(Source(file, found, 0, size_limit=SIZE_LIMIT))


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Yield the open file; turn whatever goes wrong into one line that names it."""
    path = path if os.path.lexists(path) else expanded(path)
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
        extra = _EXTRAS.get(kind, "dicom")
        raise Unusable(f'{kind} needs an extra: pip install "kerasunet[{extra}]"') from None


def wrong_size(path, found: Sequence[int], wanted: Sequence[int], *, image="its image") -> str:
    """Return the message that a mask, (height, width, …) `found`, should have the size `wanted`."""
    return (
        f"{path}: the mask is {found[1]}×{found[0]} pixels, {image} is {wanted[1]}×{wanted[0]}; "
        "they must be the same size"
    )
