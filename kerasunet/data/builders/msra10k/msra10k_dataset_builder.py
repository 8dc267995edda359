"""MSRA10K: 10,000 natural photographs with a mask of the salient object."""

from kerasunet.data.builders.base import CasesBuilder, folder_with, images_with_masks


class Builder(CasesBuilder):
    """TFDS builder of MSRA10K, formerly THUS10000."""

    HOMEPAGE = "https://mmcheng.net/msra10k/"
    TERMS = "none stated; research use"
    CHANNELS = 3
    ARCHIVES = {"MSRA10K_Imgs_GT.zip": "http://mftp.mmcheng.net/Data/MSRA10K_Imgs_GT.zip"}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Needed only if the owners' server does not answer: put MSRA10K_Imgs_GT.zip or the "
        "folder MSRA10K_Imgs_GT, with Imgs in it, into the manual folder."
    )

    def find_cases(self, roots):
        folder = folder_with(roots, "Imgs")
        cases = images_with_masks([folder / "Imgs"]) if folder else []
        return {"train": self._as_data_set(cases)} if cases else {}
