"""JSRT: 247 chest X-rays with and without lung nodules; the lungs are outlined by SCR."""

from kerasunet.data.builders.base import CasesBuilder
from kerasunet.data.builders.jsrt.scans import read_films
from kerasunet.data.builders.searching import published
from kerasunet.data.layouts import PUBLISHED


class Builder(CasesBuilder):
    """TFDS builder of JSRT with SCR; the object is both lungs, without the heart."""

    HOMEPAGE = "http://db.jsrt.or.jp/eng.php"
    TERMS = PUBLISHED["jsrt"][0]
    ARCHIVES = {"All247images.zip": "", "scratch.zip": ""}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Register on the home page for All247images.zip, get SCR's masks, scratch.zip "
        "(https://www.isi.uu.nl/Research/Databases/SCR/, now https://zenodo.org/records/7056076), "
        "and put both, or what they unpack to, into the manual folder. A folder with images, masks "
        "of organ labels (150 and 200 are the lungs) and jsrt_metadata.csv is read as well."
    )

    def search(self, roots):
        data = published("jsrt", roots)
        if data is None:
            films = read_films(roots)
            data = self._as_data_set(films) if films else None
        return {"train": data} if data else {}
