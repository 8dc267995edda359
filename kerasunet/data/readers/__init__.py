"""Image files to arrays: float32, 0 to 255, upright, with the pixel spacing; nothing else is kept.

The first bytes of a file decide what it is, never its name. PNG, JPEG, BMP, GIF, WebP and TIFF are
read by Pillow; DICOM and NIfTI by pydicom and nibabel, which the extra `kerasunet[dicom]` installs;
NRRD and MetaImage by SimpleITK, of the extra `kerasunet[itk]`. Names, dates and other words in a
file reach no result, error message, warning or log.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.data.readers.files import (
        IMAGE_SUFFIXES as IMAGE_SUFFIXES,
        SIZE_LIMIT as SIZE_LIMIT,
        count_frames as count_frames,
        grid as grid,
        has_place as has_place,
        kind as kind,
        locate as locate,
        patient_and_study as patient_and_study,
        read_image as read_image,
        read_mask as read_mask,
        read_mask_values as read_mask_values,
        segments as segments,
        step as step,
        wrong_size as wrong_size,
    )
    from kerasunet.data.readers.levels import (
        as_array as as_array,
        as_masks as as_masks,
        gray_levels as gray_levels,
        kind_of_range as kind_of_range,
        level_left_out as level_left_out,
        require_alike as require_alike,
        require_levels as require_levels,
        scaling_of as scaling_of,
    )
    from kerasunet.data.readers.masks import (
        MaskValues as MaskValues,
        object_pixels as object_pixels,
    )
    from kerasunet.data.readers.raster import (
        embedded_size as embedded_size,
        read_embedded as read_embedded,
        read_png as read_png,
    )
    from kerasunet.data.readers.source import (
        have_nothing_in_common as have_nothing_in_common,
        is_dicom as is_dicom,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
