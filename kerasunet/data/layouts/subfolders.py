"""What the subfolders of a data set mean: its parts, classes of image, or else patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kerasunet.data.cases import Case

PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_CLASSES = {"benign", "malignant", "normal"}

Official = Mapping[str, Mapping[str, int | str]]


def under(name: str, cases: Iterable[Case]) -> list[Case]:
    """Moves cases under a subfolder: key `x` becomes `name/x`; the group of a patient stays."""
    return [
        replace(
            case,
            key=f"{name}/{case.key}",
            group=f"{name}/{case.key}" if case.group == case.key else case.group,
        )
        for case in cases
    ]


def interpret(cases: Sequence[Case]) -> tuple[list[Case], str, Official]:
    """Gives the subfolders, the first parts of keys such as `a/x`, their meaning.

    `train/`, `val/` and `test/` are an official division; `benign/`, `malignant/` and `normal/`
    are labels; the folder of any other name holds one patient and is a group.

    Args:
        cases: Cases of which some are in subfolders.

    Returns:
        The cases; what the folders are, for messages; the official divisions.

    Raises:
        ValueError: Folders of different meaning are mixed.
    """
    names = {folder_of(case).lower() for case in cases} - {""}
    if not names:
        return list(cases), "", {}
    if names <= PARTS.keys():
        division = {case.key: PARTS[folder_of(case).lower()] for case in cases if folder_of(case)}
        return list(cases), "one folder per part", {"folders": division}
    if names <= _CLASSES:
        labelled = [_changed(case, label=folder_of(case).lower()) for case in cases]
        return labelled, "one folder per class", {}
    if names & (PARTS.keys() | _CLASSES):
        raise ValueError(
            f"folders {', '.join(sorted(names))}: parts such as train, classes such as benign, and "
            "patients cannot be told apart; use one kind"
        )
    return [_changed(case, group=folder_of(case)) for case in cases], "one folder per patient", {}


def folder_of(case: Case) -> str:
    """The subfolder that a case is in, empty where it is in none."""
    return case.key.rpartition("/")[0].partition("/")[0]


def _changed(case: Case, **changes: str) -> Case:
    return replace(case, **changes) if folder_of(case) else case
