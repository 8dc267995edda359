"""XPIE: 10,000 natural photographs with a mask of the salient objects."""

from kerasunet.data.builders.base import CasesBuilder, folders_in, images_with_masks


class Builder(CasesBuilder):
    """TFDS builder of XPIE; photographs without a mask, of its other parts, are left out."""

    HOMEPAGE = "http://cvteam.net/projects/CVPR17-ELE/ELE.html"
    TERMS = "none stated; research use"
    CHANNELS = 3
    ARCHIVES = {"XPIE.tar.gz": ""}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put http://cvteam.net/projects/CVPR17-ELE/XPIE.tar.gz, or what it unpacks to, into the "
        "manual folder, in a folder XPIE if there are other data sets: photographs are .jpg files, "
        "masks have the same name and another suffix; both may lie anywhere."
    )

    def find_cases(self, roots):
        named = [folder for folder in folders_in(roots) if folder.name.lower() == "xpie"]
        cases = images_with_masks(folders_in(named[:1] or roots))
        return {"train": self._as_data_set(cases)} if cases else {}
