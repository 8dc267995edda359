"""What builders share: the TFDS builder of cases, data sets in unpacked archives, `load_cases`.

What TFDS has prepared is read as NumPy-backed cases.
"""

from __future__ import annotations

import abc
import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from requests import RequestException
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.extractor import ExtractError
from tensorflow_datasets.core.download.util import DownloadError

from kerasunet.data.archives import check_archive
from kerasunet.data.builders import NAMES, PETS
from kerasunet.data.cases import Case, DataSet, FileCase, MaskCoding, Sample
from kerasunet.data.decoding import resize_image
from kerasunet.data.layouts.contents import Files, image_files, subfolders
from kerasunet.data.layouts.pairing import pair
from kerasunet.data.layouts.recognition import read_published
from kerasunet.files import expanded

_DEPTH = 7
_JPEG = (".jpg", ".jpeg")
_FORMAT = "array_record"
_PET_BORDER, _PET = 3, 1
_SPECIES = ("cat", "dog")


class CasesBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Build a data set of images and masks from cases.

    Files in the manual folder, as archives or unpacked, take precedence over any download.

    Attributes:
        HOMEPAGE: Where the owners publish the data.
        TERMS: License or terms of use.
        CHANNELS: 1 for gray images, 3 for color.
        ARCHIVES: The owners' files, by name, and where they can be downloaded; an empty address
            means that the owners ask for registration or a license first.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    HOMEPAGE: str
    TERMS: str
    CHANNELS = 1
    ARCHIVES: Mapping[str, str]

    @abc.abstractmethod
    def find_cases(self, roots: Sequence[Path]) -> Mapping[str, DataSet]:
        """Find the data set.

        Args:
            roots: Unpacked archives, and the manual folder.

        Returns:
            The cases of each split; empty if the files are missing.
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
        with _clear_failures(self.MANUAL_DOWNLOAD_INSTRUCTIONS):
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
        by_hand = _put_by_hand(dl_manager, self.ARCHIVES)
        splits = self.find_cases(list(by_hand.values()))
        missing = {n: url for n, url in self.ARCHIVES.items() if url and n not in by_hand}
        if not splits and missing:
            downloaded = dl_manager.download_and_extract(missing)
            splits = self.find_cases([*by_hand.values(), *map(Path, downloaded.values())])
        if not splits:
            raise ValueError(f"{self.name}: files are missing. {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        return splits

    def _as_data_set(self, cases: Iterable[Case]) -> DataSet:
        return DataSet(self.name, tuple(cases), f"{self.name} archive", terms=self.TERMS)


def features(channels: int) -> tfds.features.FeaturesDict:
    """Return the features of every builder; the mask is a mask of 0 and 1, never a class label."""
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
                shape=(2,), dtype=np.float32, doc="Millimeters per pixel, (row, column), or NaN."
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
    """Return the unpacked archives of the manual folder by name, and itself under ""."""
    try:
        manual = Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS gives no other sign that there is none.
        return {}
    archives = {name: manual / name for name in names if (manual / name).is_file()}
    for path in archives.values():
        check_archive(path)
    unpacked = {name: Path(path) for name, path in dl_manager.extract(archives).items()}
    return {**unpacked, "": manual}


@contextmanager
def _clear_failures(instructions: str) -> Iterator[None]:
    """Turn what downloading and unpacking may raise into a `ValueError` that says what to do."""
    try:
        yield
    except ExtractError as error:
        raise ValueError(f"an archive cannot be unpacked: {error.__cause__ or error}") from None
    except NonMatchingChecksumError as error:
        raise ValueError(f"a download is not what its owners published: {error}") from None
    except (RequestException, DownloadError) as error:
        raise ValueError(f"cannot be downloaded ({error}). {instructions}") from None


def folders_in(roots: Iterable[Path]) -> Iterator[Path]:
    """Yield folders and their subfolders, the upper ones first; skip roots that are files."""
    level = [root for root in roots if root.is_dir()]
    for _ in range(_DEPTH):
        yield from level
        level = [inner for folder in level for inner in subfolders(folder)]


def folder_with(roots: Iterable[Path], *entries: str) -> Path | None:
    """Return the first folder that has all these entries."""
    found = (f for f in folders_in(roots) if all((f / entry).exists() for entry in entries))
    return next(found, None)


def published(name: str, roots: Iterable[Path]) -> DataSet | None:
    """Read the data set of this name where `kerasunet.data.layouts` recognizes it."""
    found = (read_published(folder, name) for folder in folders_in(roots))
    return next((data for data in found if data is not None and data.name == name), None)


def joined(name: str, roots: Iterable[Path], parts: Mapping[str, str]) -> DataSet | None:
    """Read a published data set whose parts are in different archives, or differently named.

    Args:
        name: The data set.
        roots: Folders to search.
        parts: Entries of the recognized layout, and the names that their folders have here.

    Returns:
        The data set; `None` where a part is missing.
    """
    roots = list(roots)
    searched = {entry: _folder_of_images(roots, name) for entry, name in parts.items()}
    found = {entry: folder for entry, folder in searched.items() if folder}
    if len(found) < len(parts):
        return None
    with TemporaryDirectory() as together:
        for entry, folder in found.items():
            (Path(together) / entry).symlink_to(folder.resolve(), target_is_directory=True)
        data = read_published(Path(together), name)
        return data and replace(data, cases=tuple(_with_real_paths(case) for case in data.cases))


def _folder_of_images(roots: Iterable[Path], name: str) -> Path | None:
    named = (folder for folder in folders_in(roots) if folder.name == name)
    return next((folder for folder in named if image_files(folder)), None)


def _with_real_paths(case: Case) -> Case:
    if not isinstance(case, FileCase):
        raise TypeError(f"{case.key}: published data sets are image and mask files")
    masks = tuple(path.resolve() for path in case.masks)
    return replace(case, image=case.image.resolve(), masks=masks)


def images_with_masks(folders: Iterable[Path]) -> list[FileCase]:
    """Pair the JPEG files of these folders with the other image files of the same stem.

    Images without a mask are left out: some sets have thousands on purpose.

    Raises:
        ValueError: A mask has no image, or several files share a stem.
    """
    images: Files = {}
    masks: Files = {}
    for folder in folders:
        for stem, paths in image_files(folder).items():
            for path in paths:
                kind = images if path.suffix.lower() in _JPEG else masks
                kind.setdefault(stem, []).append(path)
    masked = {stem: paths for stem, paths in images.items() if stem in masks}
    return pair(masked, masks, MaskCoding(above=127)) if masked else []


@dataclass(frozen=True, eq=False)
class TfdsCase:
    """A case of a prepared data set; `load` reads and decodes its one record.

    Attributes:
        key: Unique name.
        group: What splits keep together.
        label: Finding of the whole image, or what it shows.
        source: The split with random access, as `as_data_source` gives it.
        index: Position in the split.
        to_sample: Turns a decoded example into image, mask and spacing.
    """

    key: str
    group: str
    label: str
    source: Any = field(repr=False)
    index: int
    to_sample: Callable[[Mapping[str, Any]], Sample] = field(repr=False)

    def load(self) -> Sample:
        """Read image, mask and spacing."""
        return self.to_sample(self.source[self.index])

    def origin(self) -> tuple[Path, str, int, str]:
        """Return all that the pixels depend on, for the cache of decoded cases."""
        prepared = Path(self.source.dataset_info.data_dir) / "dataset_info.json"
        return prepared, str(self.source.split), self.index, self.to_sample.__qualname__


def load_cases(
    name: str,
    manual_dir: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
) -> DataSet:
    """Prepare a public data set with TFDS, unless that is done already, and list its cases.

    Args:
        name: One of `NAMES`.
        manual_dir: Folder with the owners' archives, or with their unpacked contents. Missing files
            are downloaded where the owners allow it. A set that is already prepared in `data_dir`
            is not prepared again, whatever this folder holds.
        data_dir: Where TFDS keeps prepared sets; by default `~/tensorflow_datasets`.

    Returns:
        The data set. `official` has the owners' folds, and `"splits"` if there are several splits.

    Raises:
        FileNotFoundError: There is no such `manual_dir`.
        ValueError: The name is unknown, files are missing or do not pair up, or the set is there
            in files without random access.
    """
    if name not in NAMES:
        raise ValueError(f"{name}: not a data set with a builder; choose from {', '.join(NAMES)}")
    manual_dir = None if manual_dir is None else expanded(manual_dir)
    if manual_dir is not None and not manual_dir.is_dir():
        raise FileNotFoundError(f"{manual_dir}: no such folder")
    builder = _builder(name, data_dir)
    _prepare(builder, manual_dir)
    list_cases = _pets if name == PETS else _cases
    splits = {split: list_cases(builder, split) for split in builder.info.splits}
    return DataSet(
        name,
        tuple(sorted((c for cases in splits.values() for c in cases), key=lambda c: c.key)),
        f"TensorFlow Datasets {builder.info.full_name}",
        terms=builder.info.redistribution_info.license or "not stated",
        citation=builder.info.citation,
        official=_official(builder, splits),
    )


def _builder(name: str, data_dir: str | os.PathLike | None) -> tfds.core.DatasetBuilder:
    """Return the builder; cases need random access, which TFDS has in one file format only."""
    if name == PETS:
        builder = tfds.builder(name, data_dir=data_dir)
    else:
        module = importlib.import_module(f"kerasunet.data.builders.{name}.{name}_dataset_builder")
        builder = module.Builder(data_dir=data_dir)
    if not builder.is_prepared():
        builder.info.set_file_format(_FORMAT, override=True)
    elif builder.info.file_format != tfds.core.FileFormat(_FORMAT):
        raise ValueError(
            f"{builder.data_dir}: prepared in the format {builder.info.file_format.value}, cases "
            f"need {_FORMAT}; give another data_dir, or remove this folder"
        )
    return builder


def _prepare(builder: tfds.core.DatasetBuilder, manual_dir: str | os.PathLike | None) -> None:
    """Unpack archives afresh: TFDS would take what another one of that name once held."""
    if builder.is_prepared():
        return
    beside = Path(builder.data_dir).parent
    beside.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="unpacked-", dir=beside) as folder:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, extract_dir=folder)
        )


def _official(
    builder: tfds.core.DatasetBuilder, splits: Mapping[str, Sequence[TfdsCase]]
) -> dict[str, Mapping[str, int | str]]:
    official = dict((builder.info.metadata or {}).get("official", {}))
    if len(splits) > 1:
        official["splits"] = {case.key: split for split, cases in splits.items() for case in cases}
    return official


def _cases(builder: tfds.core.DatasetBuilder, split: str) -> list[TfdsCase]:
    source = builder.as_data_source(split)
    rows = [
        (row["key"].decode(), row["group"].decode(), row["label"].decode())
        for row in _undecoded(builder, split, "image", "mask")
    ]
    return [
        TfdsCase(key, group, label, source=source, index=i, to_sample=_sample)
        for i, (key, group, label) in enumerate(rows)
    ]


def _sample(example: Mapping[str, Any]) -> Sample:
    spacing = tuple(example["spacing"].tolist())
    return Sample(
        _levels(example["image"]),
        example["mask"][..., 0] > 0,
        None if np.isnan(spacing).any() else spacing,
    )


def _pets(builder: tfds.core.DatasetBuilder, split: str) -> list[TfdsCase]:
    source = builder.as_data_source(split)
    rows = [
        (row["file_name"].decode().removesuffix(".jpg"), _SPECIES[int(row["species"])])
        for row in _undecoded(builder, split, "image", "segmentation_mask")
    ]
    return [
        TfdsCase(key, key, label, source=source, index=i, to_sample=_pet)
        for i, (key, label) in enumerate(rows)
    ]


def _pet(example: Mapping[str, Any]) -> Sample:
    """Count the border as pet: it is mostly fur, and without it thin legs and tails vanish."""
    trimap = example["segmentation_mask"][..., 0]
    return Sample(_levels(example["image"]), np.isin(trimap, (_PET, _PET_BORDER)), None)


def _levels(image: np.ndarray) -> np.ndarray:
    return (image[..., 0] if image.shape[2] == 1 else image).astype(np.float32)


def _undecoded(builder: tfds.core.DatasetBuilder, split: str, *names: str):
    """Return the examples of a split, with these features left as their stored bytes."""
    decoders = {name: tfds.decode.SkipDecoding() for name in names}
    return builder.as_data_source(split, decoders=decoders)
