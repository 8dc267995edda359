"""BUS-BRA: breast ultrasound of 1,064 patients, a lesion in every image, official folds."""

from kerasunet.data.builders.base import CasesBuilder, published
from kerasunet.data.layouts import PUBLISHED


class Builder(CasesBuilder):
    """TFDS builder of BUS-BRA; `info.metadata["official"]` holds its 5 and 10 folds."""

    HOMEPAGE = "https://doi.org/10.5281/zenodo.8231412"
    TERMS = PUBLISHED["bus_bra"][0]
    ARCHIVES = {"BUSBRA.zip": "https://zenodo.org/records/8231412/files/BUSBRA.zip?download=1"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Needed only if Zenodo cannot be reached: put BUSBRA.zip or the folder BUSBRA into the "
        "manual folder."
    )

    def find_cases(self, roots):
        data = published("bus_bra", roots)
        return {"train": data} if data else {}
