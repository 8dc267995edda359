"""What names of subfolders say: parts, classes, folds, visits and sides, batches, patients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kerasunet.data.cases import Case, by_annotation
from kerasunet.data.layouts.tables import misspelled
from kerasunet.files import report_all

PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
PART_FOLDERS = {
    f"{name}{end}": PARTS[name] for name in PARTS for end in ("", "set", "_set", "-set")
}
PATIENTS = "one folder per patient"
_LIKE_VISITS = f"{PATIENTS}, though named like visits or sides"
FOLDS, VISITS = "one folder per fold", "one folder per visit or side"
OTHER_FOLDERS = "folders that are no patients"
_FOLD = re.compile(r"(?:fold|split|cv)[ _-]?(\d+)", re.IGNORECASE)
_CLASSES = {
    *("benign", "malignant", "normal", "abnormal", "healthy", "sick", "diseased", "control"),
    *("positive", "negative", "male", "female", "cancer", "tumor", "tumour", "lesion", "mass"),
    *("masses", "cyst", "nodule", "polyp", "adenoma", "fibroadenoma", "papilloma", "hematoma"),
    *("carcinoma", "adenocarcinoma", "melanoma", "nevus", "lymphoma", "sarcoma", "metastasis"),
    *("metastases", "glioma", "meningioma", "pituitary", "hemangioma", "lipoma", "abscess"),
    *("calcification", "microcalcification", "covid", "covid_19", "covid19", "pneumonia"),
    *("tuberculosis", "bacterial", "viral", "effusion", "glaucoma"),
}
_WITHOUT = re.compile("(no|non|not)_")
_ONE_OF_SEVERAL = r"(?:[ _-]?(?:\d{1,3}|[a-z]))?"
_VISIT_OR_SIDE = re.compile(
    r"(day|week|month|year|visit|session|timepoint)(?:[ _-]?(?:\d{1,4}|[a-z]))?|baseline|"
    r"follow[ _-]?up(?:[ _-]?\d{1,3})?|(left|right)(?:[ _-][a-z]+)?|bilateral|od|os|ou"
)
_BATCH_OR_SITE = re.compile(
    "(batch|data|dataset|set|part|site|cent(er|re)|hospital|clinic|scanner|device|"
    "images|folder|internal|external|ge|philips|siemens|samsung|mindray|canon|toshiba|esaote|"
    rf"fujifilm|hitachi){_ONE_OF_SEVERAL}"
)
_SAME_IMAGES = re.compile(
    "(raw|processed|preprocessed|original|augmented|aug|annotator|reader|rater|observer|expert)"
    + _ONE_OF_SEVERAL
)
_PART, _CLASS, _OF_FOLD, _PATIENT = "part", "class", "fold", "patient"
_VISIT, _BATCH = "visit or side", "batch or site"
_SEVERAL = {
    _PART: "parts",
    _CLASS: "classes",
    _OF_FOLD: "folds",
    _VISIT: "visits or sides",
    _BATCH: "batches or sites",
    _PATIENT: "patients",
}
_MOST_NAMED = 5
Official = Mapping[str, Mapping[str, int | str]]


def interpret(cases: Sequence[Case]) -> tuple[list[Case], str, Official]:
    """Interpret the subfolders of cases, the first parts of keys such as `a/x`.

    `train/`, `val/` and `test/` are an official division, and so are `fold0/`, `fold1/` …;
    `benign/`, `malignant/`, `positive/` and the like are labels; `batch1/`, `siteA/` and the like
    say nothing; in `day1/`, `day2/`, `left/`, `right/` and the like, what has the same name is one
    group; the folder of any other name holds one patient and is a group.

    Args:
        cases: Cases of which some are in subfolders.

    Returns:
        The cases; what the folders are, for messages; the official divisions.

    Raises:
        ValueError: Folders of different meaning are mixed, or they seem to hold the same images.
    """
    annotated, _ = by_annotation(cases)
    report_all([*misspelled(case.group for case in cases if case.group != case.key)], "")
    names = {folder_of(case).lower() for case in annotated} - {""}
    if not names:
        return list(cases), "", {}
    kind = _common_kind(sorted(names))
    if kind == _PART:
        parts = {
            case.key: PART_FOLDERS[folder_of(case).lower()] for case in annotated if folder_of(case)
        }
        return list(cases), "one folder per part", {"folders": parts}
    if kind == _CLASS:
        return _labeled(cases), "one folder per class", {}
    if kind == _OF_FOLD:
        return list(cases), FOLDS, {"folders": _numbered(annotated)}
    if kind == _BATCH or (kind == _VISIT and len(names) == 1):
        return list(cases), OTHER_FOLDERS, {}
    if kind == _VISIT and _names_recur(annotated):
        report_all([*misspelled(map(_name_within, cases))], "")
        return [_changed(case, group=_name_within(case)) for case in cases], VISITS, {}
    report_all([*misspelled(map(folder_of, cases))], "")
    patients = [_changed(case, group=folder_of(case)) for case in cases]
    return patients, _LIKE_VISITS if kind == _VISIT else PATIENTS, {}


def _common_kind(names: Sequence[str]) -> str:
    """Return what all folders are; refuse them if they are of several kinds.

    A single batch, site, visit or side beside patients is the patient of an unlucky name.
    """
    if len(names) > 1 and all(map(_SAME_IMAGES.fullmatch, names)):
        raise ValueError(
            f"folders {', '.join(names)}: seem to hold the same images in several ways, "
            "which would be in training and test; give the path of one of them"
        )
    by_kind: dict[str, list[str]] = {}
    for name in names:
        by_kind.setdefault(_kind(name), []).append(name)
    if len(by_kind) == 1:
        return next(iter(by_kind))
    unclear = [*by_kind.get(_VISIT, ()), *by_kind.get(_BATCH, ())]
    if len(unclear) == 1 and by_kind.keys() <= {_VISIT, _BATCH, _PATIENT}:
        return _PATIENT
    looks = ", ".join(_look(by_kind[kind], kind) for kind in _SEVERAL if kind in by_kind)
    raise ValueError(
        f"folders {', '.join(names)}: {looks}, and these cannot be told apart; use one kind, or a "
        "manifest.csv"
    )


def _look(names: Sequence[str], kind: str) -> str:
    if len(names) == 1:
        return f"{names[0]} looks like a {kind}"
    more = " …" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more} look like {_SEVERAL[kind]}"


def _kind(name: str) -> str:
    """Return what a folder looks like, by its name in lower case."""
    if name in PART_FOLDERS:
        return _PART
    word = _WITHOUT.sub("", re.sub("[ _-]+", "_", name), count=1)
    if word in _CLASSES:
        return _CLASS
    if _FOLD.fullmatch(name):
        return _OF_FOLD
    if _VISIT_OR_SIDE.fullmatch(name):
        return _VISIT
    return _BATCH if _BATCH_OR_SITE.fullmatch(name) else _PATIENT


def _labeled(cases: Sequence[Case]) -> list[Case]:
    """Label the cases by their folders, but those without a mask only if theirs is a class."""
    folders = [folder_of(case).lower() for case in cases]
    return [
        replace(case, label=folder) if folder and _kind(folder) == _CLASS else case
        for case, folder in zip(cases, folders, strict=True)
    ]


def _numbered(cases: Sequence[Case]) -> dict[str, int]:
    """Return the fold of each case in a folder, from 0 on."""
    found = {case.key: _FOLD.fullmatch(folder_of(case)) for case in cases}
    numbers = {key: int(match[1]) for key, match in found.items() if match}
    order = sorted({*numbers.values()})
    return {key: order.index(number) for key, number in numbers.items()}


def _names_recur(cases: Sequence[Case]) -> bool:
    """Return whether folders share names, or all of their cases have groups already."""
    inside = [case for case in cases if folder_of(case)]
    if all(case.group != case.key for case in inside):
        return True
    pairs = {(_name_within(case), folder_of(case)) for case in inside}
    return len({name for name, _ in pairs}) < len(pairs)


def _name_within(case: Case) -> str:
    """Return the group that a case has, or else its key within its folder."""
    return case.group if case.group != case.key else case.key.removeprefix(f"{folder_of(case)}/")


def under(name: str, cases: Iterable[Case]) -> list[Case]:
    """Move cases under a subfolder: key `x` becomes `name/x`; the group of a patient stays.

    Images of one name in `day1/` and `day2/` are one group in each subfolder, not across these.
    """
    return [
        replace(
            case,
            key=f"{name}/{case.key}",
            group=f"{name}/{case.group}" if _is_named_after_file(case) else case.group,
        )
        for case in cases
    ]


def _is_named_after_file(case: Case) -> bool:
    folder, _, name = case.key.partition("/")
    return case.group == case.key or (case.group == name and _kind(folder.lower()) == _VISIT)


def folder_of(case: Case) -> str:
    """Return the subfolder that a case is in; empty if it is in none."""
    return case.key.rpartition("/")[0].partition("/")[0]


def _changed(case: Case, **changes: str) -> Case:
    return replace(case, **changes) if folder_of(case) else case
