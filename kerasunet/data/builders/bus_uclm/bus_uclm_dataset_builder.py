"""BUS-UCLM: breast ultrasound of 38 patients, with benign, malignant and no lesions."""

from kerasunet.data.builders.base import CasesBuilder, folder_with
from kerasunet.data.cases import MaskCoding
from kerasunet.data.layouts.contents import image_files
from kerasunet.data.layouts.pairing import pair
from kerasunet.data.layouts.tables import read_rows

_GREEN_OR_RED = MaskCoding(above=127, any_color=True)


class Builder(CasesBuilder):
    """TFDS builder of BUS-UCLM; benign (green) and malignant (red) pixels are the object."""

    HOMEPAGE = "https://doi.org/10.17632/7fvgj4jsp7"
    TERMS = "Creative Commons with attribution, some versions non-commercial: see Mendeley Data"
    ARCHIVES = {
        "7fvgj4jsp7-1.zip": "https://prod-dcd-datasets-cache-zipfiles.s3.eu-west-1.amazonaws.com/"
        "7fvgj4jsp7-1.zip"
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Needed only if the owners' server does not answer: put 7fvgj4jsp7-1.zip or the folder "
        "BUS-UCLM, with images, masks and INFO.csv, into the manual folder."
    )

    def find_cases(self, roots):
        folder = folder_with(roots, "images", "masks", "INFO.csv")
        return {} if folder is None else {"train": self._as_data_set(_cases(folder))}


def _cases(folder):
    rows = read_rows(folder / "INFO.csv", ";")
    labels = {row["image"].removesuffix(".png"): row["label"].lower() for _, row in rows}
    return pair(
        image_files(folder / "images"),
        image_files(folder / "masks"),
        _GREEN_OR_RED,
        group=lambda key: f"patient-{key.partition('_')[0]}",
        label=lambda key: labels.get(key, ""),
    )
