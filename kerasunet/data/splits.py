"""Seeded splits that keep a group in one part and are the same on every machine.

The order of groups comes from SHA-256, not from a random generator, whose stream may change
between library versions. Training sets are nested: the first 10 images are among the first 20.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kerasunet.data.cases import Case


@dataclass(frozen=True)
class Split:
    """Keys of the training, validation and test cases; no group is in two parts."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the keys of each part, in order."""
        text = "\n\n".join("\n".join(part) for part in (self.train, self.validation, self.test))
        return hashlib.sha256(text.encode()).hexdigest()


def split_cases(
    cases: Sequence[Case],
    train_size: int | None = None,
    validation_size: int = 0,
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
) -> Split:
    """Splits cases into training, validation and test parts.

    One fold of the groups, stratified by label, is the test part, whatever the training size. Of
    the others, training takes the first images in a seeded order, validation the last.

    Args:
        cases: All cases.
        train_size: Number of training images; `None` takes all that is left.
        validation_size: Number of validation images.
        fold: Which fold is tested, 0 to `folds - 1`.
        folds: Number of folds, at least 2.
        seed: Any whole number; the same seed gives the same split on every machine.

    Returns:
        The split.

    Raises:
        ValueError: There are too few groups for the folds or too few images for the sizes.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise ValueError(f"fold {fold} of {folds}: folds are numbered 0 to folds - 1, at least 2")
    members = _members(cases)
    if len(members) < folds:
        raise ValueError(f"{folds} folds need at least {folds} groups, there are {len(members)}")
    order = _stratified_order(members, seed)
    test = [key for group in order[fold::folds] for key in _keys(members[group])]
    rest = [group for index, group in enumerate(order) if index % folds != fold]
    train, validation = _take(
        [_keys(members[group]) for group in rest], train_size, validation_size
    )
    split = Split(tuple(train), tuple(validation), tuple(test))
    _assert_no_leak(split, cases)
    return split


def _members(cases: Sequence[Case]) -> dict[str, list[Case]]:
    members: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        members[case.group].append(case)
    return members


def _keys(cases: Sequence[Case]) -> list[str]:
    return sorted(case.key for case in cases)


def _stratified_order(members: dict[str, list[Case]], seed: int) -> list[str]:
    """Groups in seeded order, such that every stretch holds each label in proportion."""
    strata: dict[str, list[str]] = defaultdict(list)
    for group in sorted(members, key=lambda group: _shuffling_key(seed, group)):
        strata[min(case.label for case in members[group])].append(group)
    placed = [
        ((rank + 0.5) / len(groups), label, group)
        for label, groups in strata.items()
        for rank, group in enumerate(groups)
    ]
    return [group for _, _, group in sorted(placed)]


def _shuffling_key(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}\t{group}".encode()).digest()


def _take(groups: list[list[str]], train_size: int | None, validation_size: int):
    """The first images for training, the last for validation; a group cut short is not shared."""
    validation: list[str] = []
    while len(validation) < validation_size and groups:
        validation += groups.pop()
    train = [key for group in groups for key in group]
    if len(validation) < validation_size or len(train) < max(train_size or 0, 1):
        raise ValueError(
            f"{train_size or 'all'} training and {validation_size} validation images were asked "
            f"for; outside the test fold, {len(train)} are left for training after "
            f"{len(validation)} for validation"
        )
    return train[:train_size], validation[:validation_size]


def _assert_no_leak(split: Split, cases: Sequence[Case]) -> None:
    group_of = {case.key: case.group for case in cases}
    parts = [{group_of[key] for key in part} for part in (split.train, split.validation, split.test)]
    shared = (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
    if shared:
        raise AssertionError(f"groups in several parts: {sorted(shared)}")
