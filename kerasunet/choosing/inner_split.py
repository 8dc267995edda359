"""Training images divided once more, so that candidates are compared on images they never saw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kerasunet.data.decoding import DecodedCases
from kerasunet.data.splits import split_cases

SMALLEST = 4
_FOLDS = 4


class _Member(NamedTuple):
    """A decoded case as `split_cases` needs it; labels are no longer known here."""

    key: str
    group: str
    label: str = ""


def inner_split(cases: DecodedCases, seed: int) -> tuple[DecodedCases, DecodedCases]:
    """Holds out about a quarter of the groups, the same on every machine.

    Args:
        cases: Training cases, at least 4 in at least 2 groups.
        seed: Seed of the split.

    Returns:
        The cases to train on and those to compare on; no group is in both.

    Raises:
        ValueError: There are too few cases or groups.
    """
    groups = len(set(cases.groups))
    if len(cases) < SMALLEST or groups < 2:
        raise ValueError(
            f"auto:search divides the training images once more: it needs {SMALLEST} images or "
            f"more in 2 groups or more, there are {len(cases)} in {groups}"
        )
    members = [_Member(*pair) for pair in zip(cases.keys, cases.groups, strict=True)]
    split = split_cases(members, folds=min(_FOLDS, groups), seed=seed)
    return _select(cases, split.train), _select(cases, split.test)


def _select(cases: DecodedCases, keys: tuple[str, ...]) -> DecodedCases:
    rows = [cases.keys.index(key) for key in keys]
    return DecodedCases(
        keys,
        tuple(cases.groups[row] for row in rows),
        np.ascontiguousarray(cases.images[rows]),
        np.ascontiguousarray(cases.masks[rows]),
        tuple(cases.spacings[row] for row in rows),
    )
