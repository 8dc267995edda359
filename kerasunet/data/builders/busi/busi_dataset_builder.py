"""BUSI: breast ultrasound with benign, malignant and no lesions."""

from kerasunet.data.builders.base import CasesBuilder, published
from kerasunet.data.layouts import PUBLISHED


class Builder(CasesBuilder):
    """TFDS builder of BUSI."""

    HOMEPAGE = "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset"
    TERMS = PUBLISHED["busi"][0]
    ARCHIVES = {"Dataset_BUSI.zip": "https://scholar.cu.edu.eg/Dataset_BUSI.zip"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Needed only if the owners' server does not answer: put Dataset_BUSI.zip or the folder "
        "Dataset_BUSI_with_GT into the manual folder."
    )

    def find_cases(self, roots):
        data = published("busi", roots)
        return {"train": data} if data else {}
