"""OASBUD: raw echoes of 100 breast lesions, two scans each, as B-mode images."""

from kerasunet.data.builders.base import CasesBuilder
from kerasunet.data.builders.oasbud.scans import read_scans
from kerasunet.data.builders.searching import folder_with

_FILE = "OASBUD.mat"


class Builder(CasesBuilder):
    """TFDS builder of OASBUD."""

    HOMEPAGE = "https://doi.org/10.5281/zenodo.545928"
    TERMS = "Creative Commons with attribution; Zenodo states which"
    ARCHIVES = {_FILE: "https://zenodo.org/record/545928/files/OASBUD.mat?download=1"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Not needed where Zenodo can be reached; else put OASBUD.mat into the manual folder."
    )

    def search(self, roots):
        folder = folder_with(roots, _FILE)
        downloaded = [root for root in roots if root.is_file()]
        path = folder / _FILE if folder else next(iter(downloaded), None)
        return {"train": self._as_data_set(read_scans(path))} if path else {}
