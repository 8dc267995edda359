"""DUTS: natural photographs with a mask of the salient object, 10,553 to train, 5,019 to test."""

from kerasunet.data.builders.base import CasesBuilder, joined, published
from kerasunet.data.layouts import PUBLISHED

_TEST = {"DUTS-TR-Image": "DUTS-TE-Image", "DUTS-TR-Mask": "DUTS-TE-Mask"}


class Builder(CasesBuilder):
    """TFDS builder of DUTS; without the files of DUTS-TE there is no split `test`."""

    HOMEPAGE = "http://saliencydetection.net/duts/"
    TERMS = PUBLISHED["duts"][0]
    CHANNELS = 3
    ARCHIVES = {
        "DUTS-TR.zip": "http://saliencydetection.net/duts/download/DUTS-TR.zip",
        "DUTS-TE.zip": "http://saliencydetection.net/duts/download/DUTS-TE.zip",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Needed only if the owners' server does not answer: put DUTS-TR.zip and, if wanted, "
        "DUTS-TE.zip, or the folders DUTS-TR and DUTS-TE, into the manual folder."
    )

    def find_cases(self, roots):
        train = published("duts", roots)
        if train is None:
            return {}
        test = joined("duts", roots, _TEST)
        return {"train": train} | ({"test": test} if test else {})
