"""What a JPEG or JPEG-LS frame in DICOM tells: how large it is, and whether it is all there.

The decoder of their rarer kinds trusts the first and does not mind the second.
"""

from __future__ import annotations

import struct

# Start-of-frame markers: C0 to CF but for the tables C4, C8 and CC; F7 in JPEG-LS.
_START_OF_FRAME = {*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC}
_FILL = 0xFFFF
_END_OF_IMAGE = b"\xff\xd9"
_PADDING = b"\x00\xff"


def coded_size(frame: bytes) -> tuple[int, int]:
    """Returns rows and columns (ITU-T T.81, B.2.2; T.87, C.2.2).

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
    """Whether the stream is ended, which a truncated one is not."""
    return frame.rstrip(_PADDING).endswith(_END_OF_IMAGE)
