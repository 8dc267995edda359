"""What all builders share: features, where the files come from, cases to examples."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from kerasunet.data.builders.archives import check_archive, clear_failures
from kerasunet.data.cases import Case, DataSet, Sample
from kerasunet.data.decoding import resize_image


class CasesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builds a data set of images and masks from cases.

    Files that were put into the manual folder, as archives or unpacked, come before any download.

    Attributes:
        HOMEPAGE: Where the owners publish the data.
        TERMS: Licence or terms of use.
        CHANNELS: 1 for grey images, 3 for photographs.
        ARCHIVES: The owners' files, by name, and where they can be downloaded; an empty address
            means that the owners ask for registration or a licence first.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    HOMEPAGE: str
    TERMS: str
    CHANNELS = 1
    ARCHIVES: Mapping[str, str]

    @abc.abstractmethod
    def search(self, roots: Sequence[Path]) -> Mapping[str, DataSet]:
        """Finds the data set.

        Args:
            roots: Unpacked archives, and the manual folder.

        Returns:
            The cases of each split; nothing where the files are not there.
        """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=features(self.CHANNELS),
            supervised_keys=("image", "mask"),
            homepage=self.HOMEPAGE,
            license=self.TERMS,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        splits = self._find(dl_manager)
        self.info.metadata["official"] = {
            name: dict(division)
            for data in splits.values()
            for name, division in data.official.items()
        }
        return {split: self._generate_examples(data.cases) for split, data in splits.items()}

    def _generate_examples(self, cases: Iterable[Case]) -> Iterator[tuple[str, dict[str, Any]]]:
        for case in cases:
            yield case.key, _example(case, case.load(), self.CHANNELS)

    def _find(self, dl_manager: tfds.download.DownloadManager) -> Mapping[str, DataSet]:
        with clear_failures(self.MANUAL_DOWNLOAD_INSTRUCTIONS):
            return self._find_or_download(dl_manager)

    def _find_or_download(self, dl_manager: tfds.download.DownloadManager) -> Mapping[str, DataSet]:
        by_hand = _put_by_hand(dl_manager, self.ARCHIVES)
        splits = self.search(list(by_hand.values()))
        missing = {n: url for n, url in self.ARCHIVES.items() if url and n not in by_hand}
        if not splits and missing:
            downloaded = dl_manager.download_and_extract(missing)
            splits = self.search([*by_hand.values(), *map(Path, downloaded.values())])
        if not splits:
            raise ValueError(f"{self.name}: files are missing. {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        return splits

    def _as_data_set(self, cases: Iterable[Case]) -> DataSet:
        return DataSet(self.name, tuple(cases), f"{self.name} archive", self.TERMS)


def features(channels: int) -> tfds.features.FeaturesDict:
    """The features of every builder; the mask is a mask of 0 and 1, never a class label."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                shape=(None, None, channels), encoding_format="png", doc="Levels 0 to 255."
            ),
            "mask": tfds.features.Image(
                shape=(None, None, 1), encoding_format="png", doc="1 is the object, 0 is not."
            ),
            "key": tfds.features.Text(doc="Unique name of the case."),
            "group": tfds.features.Text(doc="What splits keep together, such as a patient."),
            "label": tfds.features.Text(doc="Finding of the whole image; empty if not known."),
            "spacing": tfds.features.Tensor(
                shape=(2,), dtype=np.float32, doc="Millimetres per pixel, (row, column), or NaN."
            ),
        }
    )


def _example(case: Case, sample: Sample, channels: int) -> dict[str, Any]:
    spacing = (np.nan, np.nan) if sample.spacing is None else sample.spacing
    return {
        "image": resize_image(sample.image, sample.image.shape[:2], channels),
        "mask": sample.mask.astype(np.uint8)[..., None],
        "key": case.key,
        "group": case.group,
        "label": case.label,
        "spacing": np.array(spacing, np.float32),
    }


def _put_by_hand(
    dl_manager: tfds.download.DownloadManager, names: Iterable[str]
) -> dict[str, Path]:
    """Unpacked archives of the manual folder, by name, and under "" the folder itself."""
    try:
        manual = Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS has no other way to tell that there is none.
        return {}
    archives = {name: manual / name for name in names if (manual / name).is_file()}
    for path in archives.values():
        check_archive(path)
    unpacked = {name: Path(path) for name, path in dl_manager.extract(archives).items()}
    return {**unpacked, "": manual}
