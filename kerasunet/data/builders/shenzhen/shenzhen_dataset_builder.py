"""Shenzhen: chest X-rays of healthy people and tuberculosis; 566 of 662 have a lung mask."""

from kerasunet.data.builders.base import CasesBuilder, joined
from kerasunet.data.layouts import PUBLISHED

_PARTS = {"CXR_png": "CXR_png", "mask": "mask"}


class Builder(CasesBuilder):
    """TFDS builder of the Shenzhen set; images and masks have different owners."""

    HOMEPAGE = "https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html"
    TERMS = PUBLISHED["shenzhen"][0]
    ARCHIVES = {
        "ChinaSet_AllFiles.zip": "https://openi.nlm.nih.gov/imgs/collections/ChinaSet_AllFiles.zip",
        "mask.zip": "",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put the masks, mask.zip or its folder mask of "
        "https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask, into the manual folder. "
        "ChinaSet_AllFiles.zip or its folder CXR_png may be there, too; otherwise it is "
        "downloaded."
    )

    def find_cases(self, roots):
        data = joined("shenzhen", roots, _PARTS)
        return {"train": data} if data else {}
