"""DICOM's pixel data: where they are in the file, whether they are whole, and their bits.

The size and the completeness of JPEG and JPEG-LS frames are checked here: the decoder of their
rarer kinds trusts the header and does not notice a missing end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.encaps import get_frame, parse_basic_offsets, parse_fragments
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.tag import Tag
from pydicom.uid import (
    JPEG2000,
    UID,
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

from kerasunet.data.readers.dicom_frames import frame_count
from kerasunet.data.readers.pillow_gaps import check_codes
from kerasunet.data.readers.source import Source, Unusable

# Start-of-frame markers: C0 to CF except the tables C4, C8 and CC; F7 in JPEG-LS.
_START_OF_FRAME = {*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC}
_FILL = 0xFFFF
_COLOR_MARKS = (b"JFIF\0", b"Adobe")
_END_OF_IMAGE = b"\xff\xd9"
_PADDING = b"\x00\xff"
_BEGINNINGS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
_FIRST_RUN = b"\x40\0\0\0"  # Where it starts, right after the table.
_ITEM_BYTES = 8
# Where there is a choice, the decoder that copes best with damage: Pillow refuses a frame whose own
# header promises gigabytes, and pylibjpeg's run-length decoder can end in a Rust panic.
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_DECODERS = {
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
_YBR_FULL = ("YBR_FULL", "YBR_FULL_422")
_CODESTREAM, _CODING_STYLE, _TRANSFORMATION_AT = b"\xff\x4f\xff\x51", 0xFF52, 8
_SIGN_AT, _SIGNED = 42, 0x80
_PIXEL_DATA = {
    0x7FE00010: "PixelData",
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LEAST_EXCESS = 64  # Bytes; writers pad.
OVERLAYS = [Tag(group, 0x0010) for group in range(0x6000, 0x6020, 2)]
"""The elements of their rows; overlays may be in the unused bits."""
MORE_BITS = "bits above those that its header states"
SYNTAXES = (*_NATIVE, *_DECODERS, *_RARE_JPEG)
"""The transfer syntaxes that are read."""
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)


class Pixels(NamedTuple):
    """The values of one frame.

    Attributes:
        raw: `(height, width)`, or RGB `(height, width, 3)`, with the bits that are not used.
        stored: The same without them.
    """

    raw: np.ndarray
    stored: np.ndarray


def is_lossy(header: Dataset) -> bool:
    """Return whether compression has changed values; JPEG 2000 need not, so the file says it."""
    syntax = header.file_meta.TransferSyntaxUID
    said = syntax == JPEG2000 and header.get("LossyImageCompression") == "01"
    return syntax in _LOSSY or said


def decoded(source: Source, header: Dataset) -> Pixels:
    """Decode a frame.

    Args:
        source: The file and the frame.
        header: The elements of the pixels; `pixel_element_at` is where in the file theirs begins.

    Raises:
        Unusable: An extra is missing, or the pixels are not those that the header states.
    """
    syntax = header.file_meta.TransferSyntaxUID
    if not get_decoder(syntax).is_available:
        raise Unusable(f'{syntax.name} needs an extra: pip install "kerasunet[dicom-lossless]"')
    source.file.seek(header.pixel_element_at)
    keyword, vr, length = _pixel_element(source, syntax)
    start = source.file.tell()
    if syntax in _NATIVE:
        if header.PhotometricInterpretation == "YBR_FULL_422" and header.PlanarConfiguration:
            raise Unusable(
                "its header puts colors that pixels share (YBR_FULL_422) in planes, which is no "
                "order of pixels; export it again, or convert it to PNG"
            )
        _check_length(header, length)
        if header.get("BitsAllocated") == 1:
            return _bits(source, header, start)
    else:
        _check_fragments(source, header)
        if syntax in (*_RARE_JPEG, JPEGBaseline8Bit):
            source.file.seek(start)
            _check_jpeg(source, header)
        if syntax == JPEGBaseline8Bit and header.PhotometricInterpretation == "RGB":
            source.file.seek(start)
            _check_color(source, header)
        if syntax in (JPEG2000, JPEG2000Lossless):
            source.file.seek(start)
            _check_jpeg_2000(source, header)
        source.file.seek(start)
    options = as_pixel_options(
        header, transfer_syntax_uid=syntax, pixel_keyword=keyword, correct_unused_bits=False
    )
    options |= {"pixel_vr": vr} if vr else {}
    if syntax not in _NATIVE:  # Decoders give colors pixel by pixel, or say what else they do.
        options["planar_configuration"] = 0
    raw, _ = get_decoder(syntax).as_array(
        source.file, index=source.frame, decoding_plugin=_plugin(syntax), **options
    )
    if syntax in (JPEG2000, JPEG2000Lossless) and header.PixelRepresentation:
        source.file.seek(start)
        raw = _with_sign(raw, source, header)
    return Pixels(raw, _significant(raw, header))


def _plugin(syntax: UID) -> str:
    return _DECODERS.get(syntax, "")


def _pixel_element(source: Source, syntax: UID) -> tuple[str, str, int]:
    """Go to the pixel data; return the name, representation and length of their element."""
    order = "<" if syntax.is_little_endian else ">"
    group, element, length = struct.unpack(f"{order}HHL", source.file.read(8))
    if (group << 16 | element) not in _PIXEL_DATA:
        raise Unusable("a DICOM file without an image; give one that has pixels")
    vr = ""
    if not syntax.is_implicit_VR:
        vr = struct.pack(f"{order}L", length)[:2].decode("ascii")
        (length,) = struct.unpack(f"{order}L", source.file.read(4))
    return _PIXEL_DATA[group << 16 | element], vr, length


def _check_length(header: Dataset, length: int) -> None:
    """Refuse pixels of more frames than the header states, which would be dropped."""
    if length == _UNDEFINED_LENGTH:
        raise Unusable("compressed pixels, and it does not say how; export it again")
    bits = header.Rows * header.Columns * header.SamplesPerPixel * header.BitsAllocated
    if header.PhotometricInterpretation == "YBR_FULL_422":
        bits = bits * 2 // 3
    stated = frame_count(header)
    padded, whole = stated * -(-bits // 8), -(-stated * bits // 8)
    if _is_even(length, padded) and not _is_even(length, whole):
        raise Unusable("its frames of single bits are padded to whole bytes; export it again")
    if length - stated * bits / 8 >= max(bits / 8, _LEAST_EXCESS):
        raise Unusable(_other_frames(8 * length // bits, stated))


def _check_fragments(source: Source, header: Dataset) -> None:
    """Refuse compressed frames that the header lacks, or those that their table misplaces."""
    offsets, stated = parse_basic_offsets(source.file), frame_count(header)
    fragments = _fragments(source)
    begun = sum(map(_begins_frame, _heads(source, fragments)))
    if (count := max(len(offsets), begun)) > stated:
        raise Unusable(_other_frames(count, stated))
    if len(fragments) < stated:
        raise Unusable(_other_frames(len(fragments), stated))
    known = {at - fragments[0] for at in fragments}
    if offsets and (offsets != sorted({*offsets}) or not known.issuperset(offsets)):
        raise Unusable(
            "its table of frames contradicts its pixel data, so it is unknown which frame is "
            "which; export it again"
        )


def _is_even(length: int, size: int) -> bool:
    """Return whether a length is a size, made even as lengths of DICOM are."""
    return length - size in (0, size % 2)


def _fragments(source: Source) -> list[int]:
    """Return where the fragments begin in the file.

    Raises:
        Unusable: One of them does not begin where the length of the one before says.
    """
    try:
        return parse_fragments(source.file)[1]
    except ValueError:
        raise Unusable(
            "damaged, or the fragments of its compressed pixels are not as long as they state; "
            "copy it again, or export it again"
        ) from None


def _heads(source: Source, fragments: Sequence[int]) -> Iterator[bytes]:
    """Yield the first bytes of each fragment; a frame may be in several of them."""
    for at in fragments:
        source.file.seek(at + _ITEM_BYTES)
        yield source.file.read(_ITEM_BYTES)


def _begins_frame(head: bytes) -> bool:
    """Return whether a fragment begins like JPEG, JPEG 2000 or a table of run lengths."""
    return head.startswith(_BEGINNINGS) or head[4:] == _FIRST_RUN


def _other_frames(count: int, stated: int) -> str:
    return f"its pixel data hold {count:,} frames, its header states {stated:,}; export it again"


def _bits(source: Source, header: Dataset, start: int) -> Pixels:
    """Unpack a frame of single bits, which need not start at a byte."""
    size = header.Rows * header.Columns
    first, last = source.frame * size // 8, -(-(source.frame + 1) * size // 8)
    source.file.seek(start + first)
    packed = np.frombuffer(source.file.read(last - first), np.uint8)
    skipped = source.frame * size - 8 * first
    bits = np.unpackbits(packed, bitorder="little")[skipped : skipped + size]
    frame = bits.reshape(header.Rows, header.Columns)
    return Pixels(frame, frame)


def _significant(raw: np.ndarray, header: Dataset) -> np.ndarray:
    """Return the values without the bits around the stored ones, which may hold anything."""
    syntax = header.file_meta.TransferSyntaxUID
    bits, stored = 8 * raw.dtype.itemsize, header.get("BitsStored", 0)
    own = syntax not in (*_NATIVE, RLELossless, *_RARE_JPEG[:3], JPEGBaseline8Bit)
    above = raw >> stored if own and stored and raw.dtype.kind == "u" else np.zeros(1)
    if above.max() > 1 and np.isin(above, (0, above.max())).all():
        raise Unusable(
            f"its pixel data have an overlay above the {stored} bits that its header states; "
            "export it again without"
        )
    if own or raw.dtype.kind == "f" or not 0 < stored < bits:
        return raw  # JPEG 2000 and JPEG-LS say themselves how many bits there are.
    below = max(int(header.get("HighBit", stored - 1)) + 1 - stored, 0)
    if syntax not in (*_NATIVE, RLELossless) or (raw >> stored == 0).all():
        below = 0  # The high bit is that of uncompressed values, and wrong where none is so high.
    return (raw << (bits - stored - below)) >> (bits - stored)


def need_more_bits(pixels: Pixels, header: Dataset) -> bool:
    """Return whether gray levels vary above the stored bits, other than by sign and overlays."""
    if np.array_equal(pixels.raw, pixels.stored) or any(tag in header for tag in OVERLAYS):
        return False
    used = max(int(header.get("HighBit", 0)) + 1, header.BitsStored)
    return used < 8 * pixels.raw.dtype.itemsize and np.ptp(pixels.raw >> used) != 0


def _check_jpeg(source: Source, header: Dataset) -> None:
    """Refuse a frame that is larger than the header says, or cut off."""
    frame = get_frame(source.file, source.frame, number_of_frames=frame_count(header))
    _check_size(header, coded_size(frame), frame[_start_of_frame(frame) + 9])
    if header.file_meta.TransferSyntaxUID not in _RARE_JPEG:
        check_codes(frame)
    elif not is_complete(frame):
        raise Unusable("its pixel data are cut off; copy or export it again")


def _check_size(header: Dataset, size: tuple[int, int], channels: int) -> None:
    if size != (header.Rows, header.Columns):
        raise Unusable("its pixel data are not of the size that its header states; export it again")
    if channels != header.SamplesPerPixel:
        raise Unusable(
            f"its pixel data have {channels} channels, its header states {header.SamplesPerPixel}; "
            "export it again"
        )


def _check_color(source: Source, header: Dataset) -> None:
    """Refuse a frame that says nothing of its colors and cannot be the RGB that the header states.

    Only the two channels of color are ever stored at a lower resolution than the others.
    """
    frame = get_frame(source.file, source.frame, number_of_frames=frame_count(header))
    at = _start_of_frame(frame)
    sampling = set(frame[at + 11 : at + 10 + 3 * frame[at + 9] : 3])
    if len(sampling) > 1 and not any(mark in frame[:at] for mark in _COLOR_MARKS):
        raise Unusable(
            "its header states RGB, but its JPEG is subsampled as YBR_FULL_422 is, so its colors "
            "are not known; export it again"
        )


def _check_jpeg_2000(source: Source, header: Dataset) -> None:
    """Refuse a frame of JPEG 2000 of another size than the header states, or of unclear colors."""
    frame = get_frame(source.file, source.frame, number_of_frames=frame_count(header))
    right, bottom, left, top = struct.unpack_from(">4L", frame, frame.index(_CODESTREAM) + 8)
    _check_size(header, (bottom - top, right - left), frame[frame.index(_CODESTREAM) + 41])
    bits = (frame[frame.index(_CODESTREAM) + _SIGN_AT] & ~_SIGNED) + 1
    if bits > header.BitsAllocated:
        raise Unusable(
            f"its pixel data have {bits} bits, its header states {header.BitsAllocated}; export it "
            "again"
        )
    if header.PhotometricInterpretation in _YBR_FULL:
        _check_transformation(frame, header)


def _check_transformation(frame: bytes, header: Dataset) -> None:
    """Refuse a frame of JPEG 2000 that undoes a change of colors which the header states as well.

    Both would be undone one after the other (DICOM part 5, 8.2.4; ITU-T T.800, A.6.1).
    """
    at = frame.index(_CODESTREAM) + 2
    while (marker := struct.unpack_from(">HH", frame, at))[0] != _CODING_STYLE:
        at += 2 + marker[1]
    if frame[at + _TRANSFORMATION_AT]:
        raise Unusable(
            f"its header states {header.PhotometricInterpretation}, but its JPEG 2000 changes "
            "colors itself, so they are not known; export it again"
        )


def _with_sign(raw: np.ndarray, source: Source, header: Dataset) -> np.ndarray:
    """Return the signed values that the header states where JPEG 2000 has them unsigned (A.5.1)."""
    frame = get_frame(source.file, source.frame, number_of_frames=frame_count(header))
    is_signed = frame[frame.index(_CODESTREAM) + _SIGN_AT] & _SIGNED
    above = 8 * raw.dtype.itemsize - header.BitsStored
    lacks_sign = not is_signed and raw.max() >= 2 ** (header.BitsStored - 1)
    return raw << above >> above if lacks_sign else raw


def coded_size(frame: bytes) -> tuple[int, int]:
    """Return the rows and columns of a frame (ITU-T T.81, B.2.2; T.87, C.2.2).

    Args:
        frame: A JPEG or JPEG-LS interchange stream.

    Raises:
        struct.error: The stream ends before it says.
    """
    return struct.unpack_from(">HH", frame, _start_of_frame(frame) + 5)


def _start_of_frame(frame: bytes) -> int:
    """Return where the header of the frame begins."""
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker in _START_OF_FRAME:
            return at
        at += 1 if marker == _FILL else 2 + length


def is_complete(frame: bytes) -> bool:
    """Return whether the stream has its end marker, which a truncated one lacks."""
    return frame.rstrip(_PADDING).endswith(_END_OF_IMAGE)
