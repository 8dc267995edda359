"""DICOM files, decoded by pydicom: display (windows, LUTs), segmentations, frames and spacing.

Stored values become grey levels or colors as part 3 of the standard says.

The size and the completeness of JPEG and JPEG-LS frames are checked here: the decoder of their
rarer kinds trusts the header and does not notice a missing end.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
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
from scipy.special import expit

from kerasunet.data.readers.files import (
    Source,
    Unusable,
    millimetres,
    own_range,
    quiet,
    stretch,
    to_mask_values,
    without_equal_channels,
)

# Start-of-frame markers: C0 to CF but for the tables C4, C8 and CC; F7 in JPEG-LS.
_START_OF_FRAME = {*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC}
_FILL = 0xFFFF
_END_OF_IMAGE = b"\xff\xd9"
_PADDING = b"\x00\xff"
_PIXEL_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_CENTIMETRES = 3
_SPACING_ELEMENTS = ("SequenceOfUltrasoundRegions", *_PIXEL_SPACINGS)
_SEGMENTATION_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
)
_SEGMENTATION_ELEMENTS = ("SegmentationType", "MaximumFractionalValue")
_DISPLAY_ELEMENTS = (
    "PhotometricInterpretation",
    "BitsStored",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    *(
        f"{segmented}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
)
_WINDOW = ("WindowCenter", "WindowWidth")
_RGB = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MACROS = ("PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence")
_ELEMENTS = [
    "Rows",
    "Columns",
    "NumberOfFrames",
    *_FUNCTIONAL_GROUPS,
    *_SEGMENTATION_ELEMENTS,
    *_DISPLAY_ELEMENTS,
    *_SPACING_ELEMENTS,
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
    """Read float32 levels, `(height, width)` or `(height, width, 3)`, and the spacing."""
    with quiet("pydicom"):
        header = _header(source)
        levels = _levels(_stored(source, header), header)
        return without_equal_channels(levels), spacing(header)


def read_mask(source: Source) -> np.ndarray:
    """Read the stored values, unsigned integers, `(height, width)`; unite a segmentation's."""
    with quiet("pydicom"):
        if _is_segmentation(source):
            return _segmented(source)
        return to_mask_values(_stored(source, _header(source)))


def count_frames(source: Source) -> int | None:
    """Return the number of frames; `None` for a segmentation, whose frames name their image's."""
    with quiet("pydicom"):
        if _is_segmentation(source):
            return None
        header = dcmread(source.file, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        return int(header.get("NumberOfFrames") or 1)


def _is_segmentation(source: Source) -> bool:
    meta = read_file_meta_info(source.file.name)
    return meta.get("MediaStorageSOPClassUID") in _SEGMENTATION_CLASSES


def _segmented(source: Source) -> np.ndarray:
    header = _header(replace(source, frame=0))
    count = int(header.get("NumberOfFrames") or 1)
    indices = frames_about(header, count, source.frame)
    return united([_stored(replace(source, frame=index), header) for index in indices], header)


def _header(source: Source) -> Dataset:
    """Read the elements for display and spacing, those of the frame merged in, none empty."""
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
    """Refuse a frame that is larger than the header says, or cut off."""
    source.file.seek(_PIXEL_DATA_HEADER_BYTES, os.SEEK_CUR)  # `dcmread` stopped before it.
    frame = get_frame(source.file, source.frame, number_of_frames=frames)
    if coded_size(frame) != (header.Rows, header.Columns):
        raise Unusable("its pixel data are not of the size that its header states; export it again")
    if not is_complete(frame):
        raise Unusable("its pixel data are cut off; copy or export it again")


def _merge_functional_groups(header: Dataset, frame: int) -> None:
    """Move what enhanced multi-frame objects say of one frame to where others say it of all."""
    for sequence, position in zip(_FUNCTIONAL_GROUPS, (0, frame), strict=True):
        groups = header.get(sequence)
        for macro in _MACROS if groups else ():
            for item in groups[position].get(macro, []):
                header.update(item)


def _stored(source: Source, header: Dataset) -> np.ndarray:
    """Return the frame's stored values, `(height, width)`, or RGB, `(height, width, 3)`."""
    syntax = header.file_meta.TransferSyntaxUID
    if not get_decoder(syntax).is_available:
        raise Unusable(f'{syntax.name} needs an extra: pip install "kerasunet[dicom-lossless]"')
    plugin = _DECODERS.get(syntax, "")
    return pixel_array(source.file, index=source.frame, decoding_plugin=plugin)


def coded_size(frame: bytes) -> tuple[int, int]:
    """Return the rows and columns of a frame (ITU-T T.81, B.2.2; T.87, C.2.2).

    Args:
        frame: A JPEG or JPEG-LS interchange stream.

    Raises:
        struct.error: The stream ends before it tells.
    """
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker in _START_OF_FRAME:
            return struct.unpack_from(">HH", frame, at + 5)
        at += 1 if marker == _FILL else 2 + length


def is_complete(frame: bytes) -> bool:
    """Return whether the stream has its end marker, which a truncated one lacks."""
    return frame.rstrip(_PADDING).endswith(_END_OF_IMAGE)


def spacing(header: Dataset) -> tuple[float, float] | None:
    """Return the spacing in millimeters, (row, column), `None` where the file does not say.

    Calibrated ultrasound regions come first; where regions differ in scale, there is no one
    spacing of the image. `PixelSpacing` is preferred to that of the detector and of a film's scan.

    Args:
        header: The elements named in `_SPACING_ELEMENTS`, as far as the file has them.
    """
    scales = {
        millimetres(10 * region.PhysicalDeltaY, 10 * region.PhysicalDeltaX)
        for region in header.get("SequenceOfUltrasoundRegions", [])
        if _is_tissue(region)
    }
    if scales:
        return scales.pop() if len(scales) == 1 else None
    for name in _PIXEL_SPACINGS:
        if name in header:
            return millimetres(*header[name].value)
    return None


def _is_tissue(region: Dataset) -> bool:
    """Return whether both axes of an ultrasound region are lengths, unlike M-mode and Doppler."""
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    return units == (_CENTIMETRES, _CENTIMETRES)


def frames_about(header: Dataset, count: int, frame: int) -> list[int]:
    """Return the stored frames, from 0, that segment a frame of the image, if any.

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
    """Unite frames to uint8 of 0 and 1; fractions count from one half on."""
    shape = (header.Rows, header.Columns)
    fractional = header.get("SegmentationType") == "FRACTIONAL"
    least = (header.get("MaximumFractionalValue", 1) / 2) if fractional else 1
    inside = [frame >= least for frame in frames]
    return np.logical_or.reduce([np.zeros(shape, bool), *inside]).astype(np.uint8)


def _shared(header: Dataset) -> list[Dataset]:
    return list(header.get("SharedFunctionalGroupsSequence") or [])


def _references(items: list[Dataset]) -> Iterator[tuple[str, list[int]]]:
    """Yield the images that functional groups name, and the numbers of their frames, from 1."""
    for item in items:
        for derivation in item.get("DerivationImageSequence") or []:
            for image in derivation.get("SourceImageSequence") or []:
                numbers = image.get("ReferencedFrameNumber")
                listed = [] if numbers is None else np.ravel(numbers).astype(int).tolist()
                yield str(image.get("ReferencedSOPInstanceUID", "")), listed


def _levels(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Map stored values to what a viewer shows first.

    Args:
        stored: `(height, width)`, or RGB `(height, width, 3)`, as pydicom decodes them.
        header: The elements named in `_DISPLAY_ELEMENTS`, as far as the file has them.

    Returns:
        Float32, `(height, width)` or RGB `(height, width, 3)`, 0 to 255.

    Raises:
        Unusable: The photometric interpretation is not supported.
    """
    interpretation = header.PhotometricInterpretation
    if interpretation == "MONOCHROME1":
        return 255 - _grey(stored, header)
    if interpretation == "MONOCHROME2":
        return _grey(stored, header)
    if interpretation == "PALETTE COLOR":
        return _palette(stored, header)
    if interpretation in _RGB:
        return stretch(stored, 0, 2**header.BitsStored - 1)
    raise Unusable("DICOM of a rare photometric interpretation; convert it to PNG")


def _grey(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Apply the modality LUT, then VOI LUT or window; else keep 8 bits, else use the own range."""
    values = apply_modality_lut(stored, header)
    if "VOILUTSequence" in header:
        return _looked_up(values, header.VOILUTSequence[0])
    windowed = _windowed(values, header)
    if windowed is not None:
        return windowed
    if header.BitsStored <= 8 and stored.dtype == np.uint8 and np.array_equal(values, stored):
        return stretch(stored, 0, 2**header.BitsStored - 1)
    return stretch(values, *own_range(values))


def _looked_up(values: np.ndarray, table: Dataset) -> np.ndarray:
    """Apply a VOI LUT (C.11.2.1.1).

    pydicom's `apply_voi` counts in the type of the entries, and so wraps around in a table of more
    than 256 entries of 8 bits.
    """
    count, first, bits = table.LUTDescriptor
    entries = table.LUTData
    if isinstance(entries, bytes):
        entries = np.frombuffer(entries, "<u2")
    indices = np.clip(np.rint(values).astype(np.int64) - first, 0, (count or 2**16) - 1)
    return stretch(np.asarray(entries)[indices], 0, 2**bits - 1)


def _windowed(values: np.ndarray, header: Dataset) -> np.ndarray | None:
    """Apply the first window (C.11.2.1.2); `None` if there is no sensible one."""
    if not all(name in header for name in _WINDOW):
        return None
    center, width = (float(np.ravel(header[name].value)[0]) for name in _WINDOW)
    function = header.get("VOILUTFunction", "LINEAR")
    if width < 1 if function == "LINEAR" else width <= 0:
        return None
    if function == "SIGMOID":
        return np.float32(255) * expit(4 * (values - center) / width).astype(np.float32)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    return stretch(values, center - width / 2, center + width / 2)


def _palette(stored: np.ndarray, header: Dataset) -> np.ndarray:
    # pydicom counts the entries in the type of the colors: eight bits overflow, or wrap around.
    too_many = "DICOM with a palette of more than 256 8-bit colors; convert it to PNG"
    try:
        colours = apply_color_lut(stored, header)[..., :3]
    except OverflowError as error:
        raise Unusable(too_many) from error
    if colours.dtype == np.uint8 and stored.max() > 255:
        raise Unusable(too_many)
    return stretch(colours, 0, np.iinfo(colours.dtype).max)
