"""Image files to arrays: float32, 0 to 255, upright, with the pixel spacing; nothing else is kept.

What a file is, its first bytes decide and never its name. PNG, JPEG, BMP and TIFF are read by
Pillow; DICOM and NIfTI by pydicom and nibabel, which the extra `kerasunet[dicom]` installs. Names,
dates and other words of a file reach no result, error message, warning or log.
"""

from kerasunet.data.reading.files import (
    IMAGE_SUFFIXES,
    count_frames,
    read_image,
    read_mask_values,
)
from kerasunet.data.reading.levels import to_grey
from kerasunet.data.reading.source import SIZE_LIMIT

__all__ = [
    "IMAGE_SUFFIXES",
    "SIZE_LIMIT",
    "count_frames",
    "read_image",
    "read_mask_values",
    "to_grey",
]
