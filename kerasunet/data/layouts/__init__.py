"""File layouts: how images, masks and groups are found in a folder, always paired by key.

Published data sets are recognised as they come out of their archives. Your own data may be
`images/` and `masks/`, `x.png` beside `x_mask.png`, a manifest, polygons (labelme, COCO) or Pascal
VOC, as one folder or as one such folder for each patient.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "PUBLISHED": "kerasunet.data.layouts.recognition",
    "read_file": "kerasunet.data.layouts.recognition",
    "read_folder": "kerasunet.data.layouts.recognition",
    "read_rows": "kerasunet.data.layouts.pairing",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
