"""Folder and file layouts: how images, masks and groups are found, always paired by key.

Published data sets are recognised as they come out of their archives. One's own data may be
`images/` and `masks/`, `x.png` beside `x_mask.png`, a manifest, polygons (labelme, COCO) or Pascal
VOC, whole or with one such folder for each patient.
"""

from kerasunet.data.layouts.published import PUBLISHED
from kerasunet.data.layouts.recognition import read_file, read_folder

__all__ = ["PUBLISHED", "read_file", "read_folder"]
