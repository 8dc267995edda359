"""Montgomery County: chest X-rays with a mask for each lung, of healthy people and tuberculosis."""

from kerasunet.data.builders.base import CasesBuilder, folder_with
from kerasunet.data.cases import MaskCoding
from kerasunet.data.layouts.contents import image_files
from kerasunet.data.layouts.pairing import pair
from kerasunet.files import raise_all

_LABELS = {"0": "normal", "1": "tuberculosis"}
_SIDES = ("ManualMask/leftMask", "ManualMask/rightMask")


class Builder(CasesBuilder):
    """TFDS builder of the Montgomery County set; the object is both lungs."""

    HOMEPAGE = "https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html"
    TERMS = "research and education, with citation and acknowledgement of NLM"
    ARCHIVES = {
        "NLM-MontgomeryCXRSet.zip": "https://openi.nlm.nih.gov/imgs/collections/"
        "NLM-MontgomeryCXRSet.zip"
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Needed only if NLM's server does not answer: put NLM-MontgomeryCXRSet.zip or the "
        "folder MontgomerySet into the manual folder."
    )

    def find_cases(self, roots):
        folder = folder_with(roots, "CXR_png", *_SIDES)
        return {} if folder is None else {"train": self._as_data_set(_cases(folder))}


def _cases(folder):
    images = image_files(folder / "CXR_png")
    left, right = (image_files(folder / side) for side in _SIDES)
    raise_all(sorted(left.keys() ^ right.keys()), f"{folder}: only one lung has a mask in:")
    masks = {key: [*left[key], *right[key]] for key in left}
    return pair(images, masks, MaskCoding(above=127), label=lambda key: _LABELS.get(key[-1], ""))
