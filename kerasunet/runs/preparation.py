"""What a run works on: data sets listed, split and decoded. Nothing here imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode, foreground_shares
from kerasunet.data.groups import GIVEN, NEAR_DUPLICATES, regroup
from kerasunet.data.loading import load
from kerasunet.data.splits import Split, development_keys, split_cases
from kerasunet.training.settings import FinetuneSettings, PretrainSettings


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
            ValueError: Files could not be used; the message lists every one of them.
        """
        parts = vars(self.split)
        keys = [key for part in parts.values() for key in part]
        decoded = decode(self.data.select(keys), (image_size, image_size), channels)
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
        ValueError: They cannot be used.
    """
    data = load(settings.data, settings.manual_dir, settings.image_size)
    if settings.labels:
        data = data.with_labels(settings.labels)
    data = regroup(data, settings.groups or (GIVEN if settings.division else NEAR_DUPLICATES))
    return _of_phase(settings, data)


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
    return split_cases(
        data.cases,
        train_size=settings.train_size,
        validation_size=settings.validation_size,
        fold=settings.fold,
        folds=settings.folds,
        seed=settings.split_seed,
        sizes=foreground_shares(data.cases) if settings.stratify_sizes else None,
        official=_division(settings, data),
        disjoint=settings.disjoint,
    )


def load_pretraining_data(settings: PretrainSettings) -> tuple[DataSet, DataSet]:
    """List the training and the validation cases of a pre-training run.

    Raises:
        FileNotFoundError: They do not exist.
        ValueError: They cannot be used.
    """
    return load(settings.data, settings.manual_dir), load(settings.validation_data)


def _division(settings: FinetuneSettings, data: DataSet):
    if settings.division is None:
        return None
    if settings.division not in data.official:
        known = ", ".join(data.official) or "none"
        raise ValueError(
            f"division {settings.division}: {data.name} comes with these divisions: {known}"
        )
    return data.official[settings.division]
