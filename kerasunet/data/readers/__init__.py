"""Image files to arrays: float32, 0 to 255, upright, with the pixel spacing; nothing else is kept.

The first bytes of a file decide what it is, never its name. PNG, JPEG, BMP and TIFF are read by
Pillow; DICOM and NIfTI by pydicom and nibabel, which the extra `kerasunet[dicom]` installs. Names,
dates and other words in a file reach no result, error message, warning or log.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "IMAGE_SUFFIXES": "kerasunet.data.readers.files",
    "SIZE_LIMIT": "kerasunet.data.readers.files",
    "count_frames": "kerasunet.data.readers.files",
    "read_image": "kerasunet.data.readers.files",
    "read_mask_values": "kerasunet.data.readers.files",
    "read_png": "kerasunet.data.readers.raster",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
