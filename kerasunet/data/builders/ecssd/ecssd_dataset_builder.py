"""ECSSD: 1,000 natural photographs with a mask of the salient objects."""

from kerasunet.data.builders.base import CasesBuilder, joined
from kerasunet.data.layouts import PUBLISHED

_OWNERS = "https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency"
_PARTS = {"images": "images", "ground_truth_mask": "ground_truth_mask"}


class Builder(CasesBuilder):
    """TFDS builder of ECSSD; images and masks come in two archives."""

    HOMEPAGE = f"{_OWNERS}/dataset.html"
    TERMS = PUBLISHED["ecssd"][0]
    CHANNELS = 3
    ARCHIVES = {
        "images.zip": f"{_OWNERS}/data/ECSSD/images.zip",
        "ground_truth_mask.zip": f"{_OWNERS}/data/ECSSD/ground_truth_mask.zip",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Needed only if the owners' server does not answer: put images.zip and "
        "ground_truth_mask.zip, or the folders images and ground_truth_mask, into a manual "
        "folder without other data sets."
    )

    def find_cases(self, roots):
        data = joined("ecssd", roots, _PARTS)
        return {"train": data} if data else {}
