"""XPIE: 10,000 natural photographs with a mask of the salient objects."""

from kerasunet.data.builders.base import CasesBuilder
from kerasunet.data.builders.photographs import photographs_with_masks
from kerasunet.data.builders.searching import folders_in


class Builder(CasesBuilder):
    """TFDS builder of XPIE; photographs without a mask, of its other parts, are left out."""

    HOMEPAGE = "http://cvteam.net/projects/CVPR17-ELE/ELE.html"
    TERMS = "none stated; research use"
    CHANNELS = 3
    ARCHIVES = {"XPIE.tar.gz": ""}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put http://cvteam.net/projects/CVPR17-ELE/XPIE.tar.gz, or what it unpacks to in a folder "
        "XPIE, into the manual folder: photographs are .jpg files, masks have the same name and "
        "another suffix, and lie anywhere below XPIE."
    )

    def search(self, roots):
        folder = next((f for f in folders_in(roots) if f.name.lower() == "xpie"), None)
        cases = photographs_with_masks(folders_in([folder])) if folder else []
        return {"train": self._as_data_set(cases)} if cases else {}
