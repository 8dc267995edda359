"""DICOM segmentations: which stored frames belong to a frame of the image that was segmented.

A segmentation has a frame for each segment and each frame of the image, but may leave out those
without an object (PS3.3, C.8.20). All segments are united.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom import Dataset

from kerasunet.data.reading.source import Unusable

SEGMENTATION_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
)
SEGMENTATION_ELEMENTS = ("SegmentationType", "MaximumFractionalValue")


def frames_about(header: Dataset, count: int, frame: int) -> list[int]:
    """Returns the stored frames, from 0, that segment a frame of the image; none if it is empty.

    Args:
        header: The segmentation's elements, its functional groups among them.
        count: Number of stored frames.
        frame: Frame of the image, from 0.

    Raises:
        Unusable: It segments several images, or does not tell which of several frames.
    """
    groups = header.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * count
    about = [list(_references([item, *_shared(header)])) for item in groups]
    images = {uid for references in about for uid, _ in references}
    if len(images) > 1:
        raise Unusable(f"a segmentation of {len(images)} images; export one for each image")
    numbers = [{number for _, listed in refs for number in listed} for refs in about]
    if not any(numbers):
        return list(range(count))
    return [index for index, known in enumerate(numbers) if frame + 1 in known]


def united(frames: list[np.ndarray], header: Dataset) -> np.ndarray:
    """Unites frames: uint8 of 0 and 1; of fractions, at least one half is the object."""
    shape = (header.Rows, header.Columns)
    fractional = header.get("SegmentationType") == "FRACTIONAL"
    least = (header.get("MaximumFractionalValue", 1) / 2) if fractional else 1
    inside = [frame >= least for frame in frames]
    return np.logical_or.reduce([np.zeros(shape, bool), *inside]).astype(np.uint8)


def _shared(header: Dataset) -> list[Dataset]:
    return list(header.get("SharedFunctionalGroupsSequence") or [])


def _references(items: list[Dataset]) -> Iterator[tuple[str, list[int]]]:
    """The images that functional groups name, and the numbers of their frames, from 1."""
    for item in items:
        for derivation in item.get("DerivationImageSequence") or []:
            for image in derivation.get("SourceImageSequence") or []:
                numbers = image.get("ReferencedFrameNumber")
                listed = [] if numbers is None else np.ravel(numbers).astype(int).tolist()
                yield str(image.get("ReferencedSOPInstanceUID", "")), listed
