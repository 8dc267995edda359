"""DICOM files: uncompressed, run-length encoded, JPEG, multi-frame and a segmentation."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SegmentationStorage,
)

from kerasunet.data.readers import dicom  # noqa: F401
from targets._refusals import reading
from targets.image import read

LONGEST = 1024


def seeds() -> Iterable[bytes]:
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    window = {"WindowCenter": [100, 50], "WindowWidth": [200, 90], "RescaleSlope": 2}
    return [
        _saved(gray, **window, PixelSpacing=[0.3, 0.2]),
        _saved(gray.astype(np.uint16) * 300, "MONOCHROME1"),
        _saved(np.stack([gray] * 3, axis=-1), "RGB"),
        _saved(np.stack([gray, gray + 1]), NumberOfFrames=2),
        _saved(gray, compress=RLELossless),
        _saved(gray, syntax=ImplicitVRLittleEndian, PatientName="Somebody"),
        _saved(gray > 20, storage=SegmentationStorage, SegmentationType="BINARY"),
    ]


def checker(folder: Path) -> Callable[[bytes], None]:
    return reading(folder / "scan", read)


def _saved(
    pixels: np.ndarray,
    interpretation: str = "MONOCHROME2",
    storage: str = CTImageStorage,
    *,
    syntax: str = ExplicitVRLittleEndian,
    compress: str = "",
    **elements,
) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = storage, "1.2.3"
    for name, value in elements.items():
        setattr(dataset, name, value)
    pixels = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    dataset.set_pixel_data(pixels, interpretation, 8 * pixels.dtype.itemsize)
    if compress:
        dataset.compress(compress, encoding_plugin="pydicom")
    data = io.BytesIO()
    dataset.save_as(data, enforce_file_format=True)
    return data.getvalue()
