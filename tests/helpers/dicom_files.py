"""DICOM files made by code, and sequence items for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid


def dicom(
    pixels: np.ndarray, photometric: str = "MONOCHROME2", bits: int | None = None, **elements: Any
) -> Dataset:
    """Return a data set of these pixels; elements are given by keyword."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = CTImageStorage
    ds.set_pixel_data(pixels, photometric, bits or 8 * pixels.dtype.itemsize)
    ds.SOPInstanceUID = generate_uid()
    for name, value in elements.items():
        setattr(ds, name, value)
    return ds


def item(**elements: Any) -> Dataset:
    """Return an item of a sequence."""
    ds = Dataset()
    for name, value in elements.items():
        setattr(ds, name, value)
    return ds


def table(vr: str, descriptor: list[int], entries: Any) -> Dataset:
    """Return the item of a lookup table; a descriptor's numbers are written as unsigned."""
    ds = Dataset()
    ds.add_new("LUTDescriptor", "US", [number % 2**16 for number in descriptor])
    ds.add_new("LUTData", vr, entries)
    return ds


def save(ds: Dataset, path: Path) -> Path:
    """Write a file with preamble and file meta information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def big_endian(ds: Dataset, pixels: np.ndarray) -> Dataset:
    """Return the data set in big endian, with its pixels as 16-bit words."""
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = pixels.astype(">u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def overwritten(path: Path, keyword: str, old: bytes, new: bytes) -> Path:
    """Replace the value of an element, explicit and little endian, by one of equal length."""
    content = path.read_bytes()
    tag = Tag(keyword)
    mark = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    at = content.index(old, content.index(mark))
    assert len(old) == len(new) and at < content.index(mark) + 20
    path.write_bytes(content[:at] + new + content[at + len(old) :])
    return path
