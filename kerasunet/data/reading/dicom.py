"""DICOM: one frame, as its modality, window and photometric interpretation say it is shown.

Only the elements listed here are looked at. Names and identifiers are skipped, and pydicom, whose
warnings and log quote values, is silenced.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from kerasunet.data.reading import dicom_display
from kerasunet.data.reading.dicom_jpeg import coded_size, is_complete
from kerasunet.data.reading.dicom_segmentation import (
    SEGMENTATION_CLASSES,
    SEGMENTATION_ELEMENTS,
    frames_about,
    united,
)
from kerasunet.data.reading.dicom_spacing import SPACING_ELEMENTS, spacing
from kerasunet.data.reading.levels import to_mask_values, without_equal_channels
from kerasunet.data.reading.quiet import quiet
from kerasunet.data.reading.source import Source, Unusable

_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MACROS = ("PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence")
_ELEMENTS = [
    "Rows",
    "Columns",
    "NumberOfFrames",
    *_FUNCTIONAL_GROUPS,
    *SEGMENTATION_ELEMENTS,
    *dicom_display.DISPLAY_ELEMENTS,
    *SPACING_ELEMENTS,
]
# Where there is a choice, the decoder that copes best with damage: Pillow refuses a frame whose own
# header promises gigabytes, and pylibjpeg's run-length decoder can end in a Rust panic.
_DECODERS = {
    ImplicitVRLittleEndian: "",
    ExplicitVRLittleEndian: "",
    ExplicitVRBigEndian: "",
    JPEGBaseline8Bit: "pillow",
    JPEG2000: "pillow",
    JPEG2000Lossless: "pillow",
    RLELossless: "pydicom",
}
_RARE_JPEG = (
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)
_PIXEL_DATA_HEADER_BYTES = 12


def read_image(source: Source) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Reads float32 levels, `(height, width)` or `(height, width, 3)`, and the spacing."""
    with quiet("pydicom"):
        header = _header(source)
        levels = dicom_display.levels(_stored(source, header), header)
        return without_equal_channels(levels), spacing(header)


def read_mask(source: Source) -> np.ndarray:
    """Reads the stored values, unsigned integers, `(height, width)`; a segmentation's united."""
    with quiet("pydicom"):
        if _is_segmentation(source):
            return _segmented(source)
        return to_mask_values(_stored(source, _header(source)))


def count_frames(source: Source) -> int | None:
    """Returns the number of frames; `None` of a segmentation, which tells for itself."""
    with quiet("pydicom"):
        if _is_segmentation(source):
            return None
        header = dcmread(source.file, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        return int(header.get("NumberOfFrames") or 1)


def _is_segmentation(source: Source) -> bool:
    meta = read_file_meta_info(source.file.name)
    return meta.get("MediaStorageSOPClassUID") in SEGMENTATION_CLASSES


def _segmented(source: Source) -> np.ndarray:
    header = _header(replace(source, frame=0))
    count = int(header.get("NumberOfFrames") or 1)
    indices = frames_about(header, count, source.frame)
    return united([_stored(replace(source, frame=index), header) for index in indices], header)


def _header(source: Source) -> Dataset:
    """The elements that display and spacing take, those of the frame merged in, none empty."""
    syntax = read_file_meta_info(source.file.name).TransferSyntaxUID
    if syntax not in (*_DECODERS, *_RARE_JPEG):
        # Among them is deflate, whose header can be inflated only with the pixels, to any size.
        raise Unusable("DICOM with video or a rare compression; convert it to PNG")
    header = dcmread(source.file, stop_before_pixels=True, specific_tags=_ELEMENTS)
    if "Rows" not in header or "Columns" not in header:
        raise Unusable("a DICOM file without an image; give one that has pixels")
    source.check_size(header.Columns, header.Rows)
    frames = int(header.get("NumberOfFrames") or 1)
    source.check_frame(frames)
    if syntax in _RARE_JPEG:
        _check_jpeg(source, header, frames)
    _merge_functional_groups(header, source.frame)
    for element in [element for element in header if element.is_empty]:
        del header[element.tag]
    return header


def _check_jpeg(source: Source, header: Dataset, frames: int) -> None:
    """Refuses a frame that is larger than the header says, or cut off."""
    source.file.seek(_PIXEL_DATA_HEADER_BYTES, os.SEEK_CUR)  # `dcmread` stopped before it.
    frame = get_frame(source.file, source.frame, number_of_frames=frames)
    if coded_size(frame) != (header.Rows, header.Columns):
        raise Unusable("its pixel data are not of the size its header says; export it again")
    if not is_complete(frame):
        raise Unusable("its pixel data are cut off; copy or export it again")


def _merge_functional_groups(header: Dataset, frame: int) -> None:
    """Lifts what enhanced multi-frame objects say of one frame to where others say it of all."""
    for sequence, position in zip(_FUNCTIONAL_GROUPS, (0, frame), strict=True):
        groups = header.get(sequence)
        for macro in _MACROS if groups else ():
            for item in groups[position].get(macro, []):
                header.update(item)


def _stored(source: Source, header: Dataset) -> np.ndarray:
    """The frame's stored values, `(height, width)`, or RGB, `(height, width, 3)`."""
    syntax = header.file_meta.TransferSyntaxUID
    if not get_decoder(syntax).is_available:
        raise Unusable(f'{syntax.name} needs an extra: pip install "kerasunet[dicom-lossless]"')
    plugin = _DECODERS.get(syntax, "")
    return pixel_array(source.file, index=source.frame, decoding_plugin=plugin)
