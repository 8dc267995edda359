"""Masks to files that other programs open: DICOM segmentations, NIfTI, labelme, COCO.

Labels are uint8, `(height, width)`, 0 for the background and N for the N-th of the objects. What is
written is read again by `kerasunet.data.layouts`, corrected or not.
"""

from typing import TYPE_CHECKING

from kerasunet.backend import lazy_members

if TYPE_CHECKING:
    from kerasunet.data.annotations import (
        CocoImage as CocoImage,
        Region as Region,
        coco_content as coco_content,
        coco_image as coco_image,
        labelme_content as labelme_content,
        read_coco_images as read_coco_images,
        regions as regions,
    )
    from kerasunet.data.writers.dicom_seg import (
        Algorithm as Algorithm,
        check_source as check_source,
        write_dicom_seg as write_dicom_seg,
    )
    from kerasunet.data.writers.nifti import write_nifti as write_nifti
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
