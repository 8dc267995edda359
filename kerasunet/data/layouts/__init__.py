"""File layouts: how images, masks and groups are found in a folder, always paired by key.

Published data sets are recognized as they come out of their archives. Your own data may be
`images/` and `masks/`, `x.png` beside `x_mask.png`, a manifest, polygons (labelme, COCO) or Pascal
VOC, as one folder or as one such folder for each patient.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

IMAGE_FOLDERS = ("images", "imgs", "image")
EVERY_IMAGE_FOLDER = (*IMAGE_FOLDERS, "img", "frames", "scans", "original", "originals", "img_dir")
MASK_FOLDERS = ("masks", "labels", "mask", "label")
OTHER_MASK_FOLDERS = (
    "ground_truth", "groundtruth", "ground_truth_mask", "ground_truth_masks", "gt", "segmentations",
    "segmentationclass",
)  # fmt: skip
EVERY_MASK_FOLDER = (
    *MASK_FOLDERS, *OTHER_MASK_FOLDERS,
    "segmentation", "seg", "ground truth", "ground-truth", "binary_masks", "ann_dir", "annotations",
    "masks_machine", "gts",
)  # fmt: skip
"""Names of folders of images and of masks, in lower case, the usual ones first.

Names that are in `EVERY_…` alone count only where no other layout fits.
"""

if TYPE_CHECKING:
    from kerasunet.data.layouts.objects import with_objects as with_objects
    from kerasunet.data.layouts.recognition import (
        PUBLISHED as PUBLISHED,
        read_file as read_file,
        read_folder as read_folder,
    )
    from kerasunet.data.layouts.tables import (
        misspelled as misspelled,
        read_groups as read_groups,
        read_rows as read_rows,
        write_groups as write_groups,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
    __all__ += ["EVERY_IMAGE_FOLDER", "EVERY_MASK_FOLDER", "IMAGE_FOLDERS", "MASK_FOLDERS"]
    __all__ += ["OTHER_MASK_FOLDERS"]
