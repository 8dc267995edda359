"""`load_cases`: public data sets, prepared by TFDS and read as NumPy-backed cases."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds

from kerasunet.data.builders import NAMES, PETS
from kerasunet.data.cases import DataSet, Sample

_FORMAT = "array_record"
_PET_BORDER, _PET = 3, 1
_SPECIES = ("cat", "dog")


class _Source(Protocol):
    """A split with random access, as TFDS gives it."""

    dataset_info: tfds.core.DatasetInfo
    split: Any

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Return one decoded example."""


@dataclass(frozen=True, eq=False)
class TfdsCase:
    """A case of a prepared data set; `load` reads and decodes its one record.

    Attributes:
        key: Unique name.
        group: What splits keep together.
        label: Finding of the whole image, or what it shows.
        source: The split, with random access.
        index: Position in the split.
        to_sample: Turns a decoded example into image, mask and spacing.
    """

    key: str
    group: str
    label: str
    source: _Source = field(repr=False)
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
    if manual_dir is not None and not Path(manual_dir).is_dir():
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
