"""UDIAT, or "Dataset B": breast ultrasound, 163 images with a lesion each."""

from kerasunet.data.builders.base import CasesBuilder, folder_with
from kerasunet.data.cases import MaskCoding
from kerasunet.data.layouts.contents import image_files
from kerasunet.data.layouts.pairing import pair


class Builder(CasesBuilder):
    """TFDS builder of UDIAT's Dataset B."""

    HOMEPAGE = "https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php"
    TERMS = "research use under the owners' license agreement; no redistribution"
    ARCHIVES = {"BUS.zip": ""}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask the owners for Dataset B, on the home page, and put BUS.zip or its folders original "
        "and GT into the manual folder."
    )

    def find_cases(self, roots):
        folder = folder_with(roots, "original", "GT")
        if folder is None:
            return {}
        images, masks = image_files(folder / "original"), image_files(folder / "GT")
        return {"train": self._as_data_set(pair(images, masks, MaskCoding(above=127)))}
