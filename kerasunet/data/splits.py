"""Seeded splits that keep a group in one part and are the same on every machine.

Their order comes from SHA-256, as random generators change between library versions. Training sets
are nested: the first 10 images are among the first 20.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kerasunet.data import readers
from kerasunet.data.cases import NEAR_DUPLICATES, Grouped
from kerasunet.schema import typed

_TERTILES, _MOST_YEARS = 3, 5  # More years than those are numbers of patients.
_YEAR = re.compile(r"(19|20)\d\d")
_VIEW = (
    r"[lr]|left|right|od|os|[lr]?[ _-]?(cc|mlo)|ap|pa|lat(eral)?|frontal|axial|sag(ittal)?|"
    r"cor(onal)?|trans(vers(e|al))?|long(itudinal)?|b[ _-]?mode|doppler|elastography|flair|dwi|adc|"
    r"t[12]w|before|after|pre|post|old|new|copy|baseline|bl|re(scan|test|peat)|"
    r"(follow[ _-]?up|fu)[ _-]?\d*|\d+[ _-]?(day|week|month|mo|year)s?"
)
_VISIT = r"(v|t|tp|ses|session|visit|scan|exam|study|day|week|month|year)[ _-]?\d+"
_OF_VISIT = re.compile(
    r"(?!\d\d?[_.-]\d\d?[_.-]\d{4}$)"  # A date alone.
    rf"(.*\d.*?)(?:[ _.-]*[(\[]\d+[)\]]|[ _.([-]+((19|20)\d\d([_.-]?\d\d){{0,2}}|{_VIEW}|{_VISIT})"
    r"[)\]]?|(?<=\d)(v|tp|ses|session|visit|day|week|month)\d+)",
    re.IGNORECASE,
)
_VISIT_FIRST = re.compile(
    rf"^({_VIEW})[ _.-]+(?=.*\d)|^(?![vt]\d){_VISIT}[ _.-]+(?=.*[^\W\d_].*\d)", re.IGNORECASE
)
_OF_EXAM = re.compile(r"(.*\d)[a-z]", re.IGNORECASE)


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


def development_keys(cases: Sequence[Grouped], size: int, *, seed: int = 0) -> frozenset[str]:
    """Choose cases for decisions, such as learning rates, that must not be made on test cases.

    Args:
        cases: All cases.
        size: Least number of images; whole groups are taken, in proportion from all labels.
        seed: Any whole number; the same seed gives the same choice on every machine.

    Returns:
        The keys of the development cases.

    Raises:
        ValueError: Nothing would be left, or keys repeat.
    """
    chosen: list[str] = []
    for group in _interleaved(_seeded_groups(cases, seed, None)):
        if len(chosen) >= size:
            break
        chosen += group.keys
    if len(chosen) == len(cases):
        raise ValueError(
            f"{size} development images of {len(cases)} leave none to train and to test on"
        )
    return frozenset(chosen)


class _Group(NamedTuple):
    """Cases that stay together, and the stratum they are counted in."""

    name: str
    keys: tuple[str, ...]
    stratum: tuple[str, int]


def split_cases(
    cases: Sequence[Grouped],
    train_size: int | None = None,
    validation_size: int = 0,
    *,
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    sizes: Mapping[str, float] | None = None,
    official: Mapping[str, int | str] | None = None,
    disjoint: bool = False,
) -> Split:
    """Split cases into training, validation and test parts.

    One fold of the groups, stratified by label, is the test part, whatever the training size. Of
    the others, training takes the first images in a seeded order, validation the last. A group
    that does not fit whole is cut short, and the rest of it is left out.

    With `disjoint`, folds change their part: training and validation take images of the one fold,
    and all other groups are the test part. So no two folds train on the same group, and a study
    over them says how much a result depends on which images happened to be annotated.

    Args:
        cases: All cases.
        train_size: Number of training images; `None` takes all that are left.
        validation_size: Number of validation images.
        fold: Which fold is tested, 0 to `folds - 1`.
        folds: Number of folds, at least 2.
        seed: Any whole number; the same seed gives the same split on every machine.
        sizes: Size of the object by key, such as the foreground share; each label is then also
            stratified by thirds of size.
        official: A division that came with the data, one of `DataSet.official`. If it has folds,
            the given one is the test part. If it has parts, they are kept, and validation comes
            from its validation part, if there is one.
        disjoint: Whether training images come from the fold, and the others are tested.

    Returns:
        The split.

    Raises:
        ValueError: There are too few groups for the folds or too few images for the sizes, keys
            repeat, or the official division does not fit or divides a group.
    """
    fold, folds = typed("fold", "int", fold), typed("folds", "int", folds)
    seed, train_size = typed("seed", "int", seed), typed("train_size", "int", train_size)
    validation_size = typed("validation_size", "int", validation_size)
    _check_numbers(train_size, validation_size, fold=fold, folds=folds)
    groups = _seeded_groups(cases, seed, sizes)
    if official is not None and disjoint:
        raise ValueError("an official division says what is tested; it cannot be disjoint")
    if official is None:
        parts = _own_parts(groups, fold, folds, disjoint=disjoint)
    else:
        parts = _official_parts(groups, official, fold=fold, folds=folds)
    pools = {
        name: _interleaved([group for group in groups if parts[group.name] == name])
        for name in ("train", "validation", "test")
    }
    train, validation = _take(
        pools["train"],
        pools["validation"],
        train_size=train_size,
        validation_size=validation_size,
        where="in the fold" if disjoint else "outside the test fold",
    )
    tested = pools["test"]
    if disjoint:
        used = {*train, *validation}
        tested = _interleaved([group for group in groups if used.isdisjoint(group.keys)])
    split = Split(train, validation, tuple(key for group in tested for key in group.keys))
    _refuse_leaks(split, cases)
    return split


def _check_numbers(train_size: int | None, validation_size: int, *, fold: int, folds: int) -> None:
    if None in (fold, folds) or folds < 2 or not 0 <= fold < folds:
        raise ValueError(
            f"fold {fold} of {folds}: there must be at least 2 folds, numbered 0 to folds - 1"
        )
    if train_size is not None and train_size < 1:
        raise ValueError(f"train_size must be at least 1, or None for all, not {train_size}")
    if validation_size is None or validation_size < 0:
        raise ValueError(f"validation_size must be at least 0, not {validation_size}")


def _seeded_groups(
    cases: Sequence[Grouped], seed: int, sizes: Mapping[str, float] | None
) -> list[_Group]:
    """Return all groups, ordered by stratum, and within a stratum by the seed."""
    repeated = [key for key, count in Counter(case.key for case in cases).items() if count > 1]
    if repeated:
        raise ValueError(f"these keys stand for several cases: {repeated}")
    members: dict[str, list[Grouped]] = defaultdict(list)
    for case in cases:
        members[case.group].append(case)
    names = sorted(members, key=lambda name: hashlib.sha256(f"{seed}\t{name}".encode()).digest())
    labels = {name: min(case.label for case in members[name]) for name in names}
    thirds = _thirds(members, names, labels, sizes=sizes) if sizes is not None else {}
    keys = {name: tuple(sorted(case.key for case in members[name])) for name in names}
    groups = [_Group(name, keys[name], (labels[name], thirds.get(name, 0))) for name in names]
    return sorted(groups, key=lambda group: group.stratum)


def _thirds(
    members: Mapping[str, Sequence[Grouped]],
    names: Sequence[str],
    labels: Mapping[str, str],
    *,
    sizes: Mapping[str, float],
) -> dict[str, int]:
    """Return the third of its label that each group is in by mean size: 0, 1 or 2."""
    keys = [case.key for name in names for case in members[name]]
    if unknown := [key for key in keys if not math.isfinite(sizes.get(key, math.nan))]:
        raise ValueError(f"sizes has no finite size for {sorted(unknown)}")
    mean = {n: sum(sizes[case.key] for case in members[n]) / len(members[n]) for n in names}
    by_label: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names, key=lambda name: mean[name]):
        by_label[labels[name]].append(name)
    return {
        name: rank * _TERTILES // len(alike)
        for alike in by_label.values()
        for rank, name in enumerate(alike)
    }


def _own_parts(
    groups: Sequence[_Group], fold: int, folds: int, *, disjoint: bool
) -> dict[str, str]:
    """Deal the groups out to the folds like cards, one stratum after the other."""
    if len(groups) < folds:
        most = f"; ask for {len(groups)} folds" if len(groups) > 1 else ""
        raise ValueError(
            f"{folds} folds need at least {folds} groups, but there are {len(groups)}{most}"
        )
    return {
        group.name: "test" if (index % folds == fold) is not disjoint else "train"
        for index, group in enumerate(groups)
    }


def _official_parts(
    groups: Sequence[_Group], official: Mapping[str, int | str], *, fold: int, folds: int
) -> dict[str, str]:
    missing = [key for group in groups for key in group.keys if key not in official]
    if missing:
        raise ValueError(f"the official division lacks {sorted(missing)}")
    divided = [g.name for g in groups if len({official[key] for key in g.keys}) > 1]
    if divided:
        raise ValueError(f"the official division splits these groups: {sorted(divided)}")
    part_of = {group.name: official[group.keys[0]] for group in groups}
    values = set(part_of.values())
    listing = ", ".join(sorted(map(str, values)))
    if values <= {"train", "validation", "test"}:
        if fold != 0 or not {"train", "test"} <= values:
            raise ValueError(
                f"fold {fold}: the official division has the parts {listing}; it needs "
                "train and test, and fold is 0"
            )
        return {name: str(part) for name, part in part_of.items()}
    if values != set(range(folds)):
        raise ValueError(
            f"{folds} folds: the official division has the folds {listing}; ask for {len(values)}"
        )
    return {name: "test" if number == fold else "train" for name, number in part_of.items()}


def _interleaved(groups: Sequence[_Group]) -> list[_Group]:
    """Mix the strata so that every part of the order holds each of them in proportion."""
    totals = Counter(group.stratum for group in groups)
    ranks: Counter = Counter()
    placed = []
    for group in groups:
        position = (ranks[group.stratum] + 0.5) / totals[group.stratum]
        placed.append((position, group.stratum, group.name, group))
        ranks[group.stratum] += 1
    return [group for *_, group in sorted(placed)]


def _take(
    train: Sequence[_Group],
    validation: Sequence[_Group],
    *,
    train_size: int | None,
    validation_size: int,
    where: str,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take the first images to train, and the last, or those of an own part, to validate."""
    left = list(train)
    source = list(validation) or left
    validation_keys: list[str] = []
    while len(validation_keys) < validation_size and source:
        validation_keys += source.pop().keys
    train_keys = [key for group in left for key in group.keys]
    if len(validation_keys) < validation_size or len(train_keys) < (train_size or 1):
        fits = len(train_keys)
        raise ValueError(
            f"{train_size or 'all'} training and {validation_size} validation images were "
            f"requested, but {where}, {fits} are left for training after {len(validation_keys)} "
            f"for validation; {_what_fits(fits, validation_size)}"
        )
    return tuple(train_keys[:train_size]), tuple(validation_keys[:validation_size])


def _what_fits(training: int, validation_size: int) -> str:
    """Return the remedy for sizes that do not fit."""
    other = "fewer validation images" if validation_size else "another number of folds"
    if training:
        return f"ask for at most {training} training images, or for {other}"
    return f"ask for {other}, or none" if validation_size else f"ask for {other}"


def _refuse_leaks(split: Split, cases: Iterable[Grouped]) -> None:
    group_of = {case.key: case.group for case in cases}
    counts = Counter(
        group
        for part in (split.train, split.validation, split.test)
        for group in {group_of[key] for key in part}
    )
    shared = [group for group, count in counts.items() if count > 1]
    if shared:
        raise AssertionError(f"groups in several parts: {sorted(shared)}")


class GroupedKey(NamedTuple):
    """What distinguishes groups: the key of a case and its group."""

    key: str
    group: str


def divided_patients(cases: Iterable[Grouped]) -> list[list[str]]:
    """Return names of groups that differ only in a year, visit, side or view: `P1_2020`, `P1_left`.

    Or in what divides them, as `P1` and `P-1`, or in a letter, word or number more, as `P1`,
    `P1a` and `P1 2`. Many numbers that look like years, as `site1_1999` …, are those of patients.
    """
    names = {case.group: "" for case in cases if case.group != case.key}
    for name in names:
        one = _VISIT_FIRST.sub("", name)
        found = _OF_VISIT.fullmatch(one) or _OF_EXAM.fullmatch(one)
        patient = re.sub(r"[\W_]+", "_", found[1] if found else one).casefold().strip("_")
        names[name] = re.sub(r"(?<=[^\W\d_])_(?=\d)", "", patient) or name
    known = {*names.values()}
    by_patient: dict[str, list[str]] = {}
    for name, patient in sorted(names.items()):
        first = re.sub(r"(?<=\d)_([2-9]|[^\W\d_]+)$", "", patient)
        by_patient.setdefault(first if first in known else patient, []).append(name)
    return [
        alike
        for alike in by_patient.values()
        if len(alike) > 1 and sum(bool(_YEAR.fullmatch(n[-4:])) for n in alike) <= _MOST_YEARS
    ]


def contradicted(cases: Iterable[Grouped]) -> list[tuple[str, tuple[str, ...]]]:
    """Say where DICOM files contradict groups, with the files, one of each group or patient.

    A PatientID or study that all files have says nothing: somebody has replaced it.
    """
    images = {case.image: case for case in cases if hasattr(case, "image")}
    marks = {image: readers.patient_and_study(image) for image in images}
    said: dict[tuple[str, ...], str] = {}
    for number, what in enumerate(("PatientID or name", "StudyInstanceUID")):
        of_group: dict[str, dict[str, str]] = defaultdict(dict)
        of_patient: dict[str, dict[str, str]] = defaultdict(dict)
        for image, case in images.items():
            if mark := marks[image][number]:
                of_patient[mark].setdefault(case.group, str(image))
                if case.group != case.key and not number:
                    of_group[case.group].setdefault(mark, str(image))
        for files in of_patient.values() if len(of_patient) > 1 else ():
            if len(files) > 1:
                text = f"{' and '.join([*files.values()][:2])} have the same {what}"
                said.setdefault((*files.values(),), text)
        for group, files in of_group.items():
            if len(files) > 1:
                said[(*files.values(),)] = f"{group} has files of {len(files)} PatientIDs"
    return [(text, files) for files, text in said.items()]


def groups_in_words(cases: Iterable[Grouped | GroupedKey]) -> str:
    """Return what the groups of cases are, as far as anybody has said: "9 patients", "27 images".

    A group is a patient if it has its own name. It is not if it is named after an image in
    it, as single images and near-duplicates are, or after the file of its frames.
    """
    members: dict[str, set[str]] = {}
    for case in cases:
        members.setdefault(case.group, set()).add(case.key)
    named = sum(_is_patient(group, keys) for group, keys in members.items())
    other = len(members) - named
    apart = other == sum(
        len(keys) for group, keys in members.items() if not _is_patient(group, keys)
    )
    what = "image" if apart else "group of images"
    counts = [_counted(named, "patient"), _counted(other, what)]
    return " and ".join(filter(None, counts))


def _is_patient(group: str, keys: Collection[str]) -> bool:
    a_file = any(key.startswith(f"{group}-frame") for key in keys)
    return group not in keys and not a_file and not group.startswith(NEAR_DUPLICATES)


def _counted(count: int, what: str) -> str:
    if count == 1:
        return f"1 {what}"
    head, _, rest = what.partition(" ")
    return f"{count:,} {head}s {rest}".strip() if count else ""
