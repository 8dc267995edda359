"""What a run works on: data sets listed, split and decoded. Nothing here imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from kerasunet.data.cases import NEAR_DUPLICATES, DataSet
from kerasunet.data.decoding import DecodedCases, decode, foreground_shares, require_objects
from kerasunet.data.groups import GIVEN, regroup, with_group_pattern
from kerasunet.data.loading import SIMULATED, load
from kerasunet.data.splits import Split, development_keys, split_cases
from kerasunet.training.settings import FinetuneSettings, PretrainSettings

MOST_VALIDATION, VALIDATION_SHARE = 20, 0.2
"""How many images validate unless their number is given: a share, but no more than the first."""


@dataclass(frozen=True)
class PreparedData:
    """What a fine-tuning run works on, determined before anything heavy is imported.

    Attributes:
        data: The cases of the requested labels, in the requested groups.
        split: Which of them train, validate and test.
    """

    data: DataSet
    split: Split

    def decode(self, image_size: int, channels: int) -> dict[str, DecodedCases]:
        """Decode the cases of the split in one go.

        Args:
            image_size: Height and width in pixels.
            channels: 1 for grey, 3 for color.

        Returns:
            By part, `"train"`, `"validation"` and `"test"`, the decoded cases in the split's order.

        Raises:
            ValueError: Files could not be used, the message lists every one of them; or no mask has
                an object.
        """
        parts = vars(self.split)
        keys = [key for part in parts.values() for key in part]
        cases = self.data.select(keys)
        decoded = decode(cases, (image_size, image_size), channels)
        require_objects(cases, decoded)
        ends = np.cumsum([len(part) for part in parts.values()]).tolist()
        starts = [0, *ends[:-1]]
        return {
            name: decoded.between(start, end)
            for name, start, end in zip(parts, starts, ends, strict=True)
        }


def prepare(settings: FinetuneSettings) -> PreparedData:
    """List the data of a fine-tuning run, and split it.

    Raises:
        FileNotFoundError: The data or the file of groups does not exist.
        ValueError: The data cannot be used, or cannot be split as requested.
    """
    data = load_data(settings)
    return PreparedData(data, split_data(settings, data))


def load_data(settings: FinetuneSettings) -> DataSet:
    """List the cases of the requested labels, in the requested groups.

    Unless `settings.groups` says otherwise, near-duplicates are joined into one group; but an
    official division is used as its owners made it, with only the groups of the data.

    Raises:
        FileNotFoundError: The data or the file of groups does not exist.
        ValueError: They cannot be used, or groups are given as a file and as a pattern.
    """
    data = load(
        settings.data,
        settings.manual_dir,
        settings.image_size,
        objects=settings.objects,
        mask_threshold=settings.mask_threshold,
    )
    if settings.labels:
        data = data.with_labels(settings.labels)
    groups = settings.groups or (GIVEN if settings.division else NEAR_DUPLICATES)
    if settings.group_pattern is not None:
        if groups not in (GIVEN, NEAR_DUPLICATES):
            raise ValueError(
                f"groups {groups} and group pattern {settings.group_pattern} both say which images "
                "belong together; give one of them"
            )
        data = with_group_pattern(data, settings.group_pattern)
    return _of_phase(settings, regroup(data, groups))


def _of_phase(settings: FinetuneSettings, data: DataSet) -> DataSet:
    """Keep the development cases, or all but those."""
    if not settings.development_size:
        return data
    chosen = development_keys(data.cases, settings.development_size, seed=settings.split_seed)
    kept = (case for case in data.cases if (case.key in chosen) is settings.development)
    return replace(data, cases=tuple(kept))


def split_data(settings: FinetuneSettings, data: DataSet) -> Split:
    """Split the cases according to the settings.

    Raises:
        ValueError: The data has no such division, or too few cases for the sizes.
    """
    split = partial(
        split_cases,
        data.cases,
        fold=settings.fold,
        folds=settings.folds,
        seed=settings.split_seed,
        sizes=foreground_shares(data.cases) if settings.stratify_sizes else None,
        official=_division(settings, data),
        disjoint=settings.disjoint,
    )
    size = settings.validation_size
    if size is None:
        size = _validation_size(settings, len(split().train), _division(settings, data))
    return split(settings.train_size, size)


def _validation_size(
    settings: FinetuneSettings, left: int, official: Mapping[str, int | str] | None
) -> int:
    """Return a share of the images that are left for training and validation, or of an own part."""
    own = sum(part == "validation" for part in (official or {}).values())
    share = min(MOST_VALIDATION, round(VALIDATION_SHARE * (own + left)))
    return max(0, min(share, own or left - (settings.train_size or 1)))


def load_pretraining_data(settings: PretrainSettings) -> tuple[DataSet, DataSet]:
    """List the training and the validation cases of a pre-training run.

    Raises:
        FileNotFoundError: They do not exist.
        ValueError: They cannot be used.
    """
    chosen: dict[str, Any] = {
        "objects": settings.objects,
        "mask_threshold": settings.mask_threshold,
    }
    training = load(settings.data, settings.manual_dir, **chosen)
    is_simulated = settings.validation_data.split(":")[0] in SIMULATED
    return training, load(settings.validation_data, **({} if is_simulated else chosen))


def _division(settings: FinetuneSettings, data: DataSet):
    if settings.division is None:
        return None
    if settings.division not in data.official:
        known = ", ".join(data.official) or "none"
        raise ValueError(
            f"division {settings.division}: {data.name} comes with these divisions: {known}"
        )
    return data.official[settings.division]
