"""What a fine-tuning run works on: the data set, its split, and the decoded parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode, foreground_shares
from kerasunet.data.groups import GIVEN, NEAR_DUPLICATES, regroup
from kerasunet.data.loading import load
from kerasunet.data.splits import Split, split_cases
from kerasunet.training.settings import FinetuneSettings


def load_data(settings: FinetuneSettings) -> DataSet:
    """Lists the cases of the labels asked for, in the groups asked for.

    Unless `settings.groups` says otherwise, near-duplicates are joined to one group; but an
    official division is taken as its owners made it, with the groups of the data alone.

    Raises:
        FileNotFoundError: The data or the file of groups are not there.
        ValueError: They cannot be used.
    """
    data = load(settings.data, settings.manual_dir, settings.image_size)
    if settings.labels:
        data = data.with_labels(settings.labels)
    return regroup(data, settings.groups or (GIVEN if settings.division else NEAR_DUPLICATES))


def split_data(settings: FinetuneSettings, data: DataSet) -> Split:
    """Splits the cases as the settings ask.

    Raises:
        ValueError: The data have no such division, or too few cases for the sizes.
    """
    return split_cases(
        data.cases,
        settings.train_size,
        settings.validation_size,
        fold=settings.fold,
        folds=settings.folds,
        seed=settings.split_seed,
        sizes=foreground_shares(data.cases) if settings.stratify_sizes else None,
        official=_division(settings, data),
    )


def decode_parts(
    data: DataSet, split: Split, image_size: int, channels: int
) -> dict[str, DecodedCases]:
    """Decodes the cases of a split in one go.

    Args:
        data: The data set.
        split: Keys of its parts.
        image_size: Height and width in pixels.
        channels: 1 for grey, 3 for colour.

    Returns:
        By part, `"train"`, `"validation"` and `"test"`, the decoded cases in the split's order.

    Raises:
        ValueError: Files could not be used; the message lists every one of them.
    """
    parts = vars(split)
    keys = [key for part in parts.values() for key in part]
    decoded = decode(data.select(keys), (image_size, image_size), channels)
    ends = np.cumsum([len(part) for part in parts.values()]).tolist()
    starts = [0, *ends[:-1]]
    return {
        name: decoded.between(start, end)
        for name, start, end in zip(parts, starts, ends, strict=True)
    }


def content_digest(cases: Iterable[DecodedCases]) -> str:
    """SHA-256 of the pixels of images and masks, and of their spacing.

    Lists of cases tell names alone; this tells that somebody drew a mask anew.
    """
    digest = hashlib.sha256()
    for part in cases:
        for array in (part.images, part.masks):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        digest.update(repr(part.spacings).encode())
    return digest.hexdigest()


def _division(settings: FinetuneSettings, data: DataSet):
    if settings.division is None:
        return None
    if settings.division not in data.official:
        known = ", ".join(data.official) or "none"
        raise ValueError(
            f"division {settings.division}: {data.name} comes with these divisions: {known}"
        )
    return data.official[settings.division]
