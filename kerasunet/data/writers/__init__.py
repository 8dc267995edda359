"""Masks to files of other programs: DICOM segmentations and NIfTI."""

from kerasunet.data.writers.dicom_segmentation import (
    Algorithm as Algorithm,
    check_source as check_source,
    write_dicom_seg as write_dicom_seg,
)
from kerasunet.data.writers.nifti import write_nifti as write_nifti
