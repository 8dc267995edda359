"""A data set checked: every case by itself, then what only the data set as a whole shows.

Names of files say which images lack a mask, and perhaps patients. Whether they are patients is for
people to say. So a pattern is proposed where names look like patient and number, and
`--group-pattern` applies it. Cases compared with each other show unusual objects, mixed codes, and
near-duplicates that contradict each other.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from kerasunet.data.cases import DataSet, file_stem
from kerasunet.data.checking.inspection import (
    MASK_SIDE,
    Inspection,
    doubtful_places,
    inspect_all,
    shared_masks,
)
from kerasunet.data.checking.report import KINDS, Problem, Report, pairing_problems
from kerasunet.data.checking.unused_files import (
    unannotated,
    unread_documents,
    unread_files,
    unreadable_files,
    unused_flags,
    unused_lists,
)
from kerasunet.data.decoding import misread_masks, mixed_codes
from kerasunet.data.groups import (
    NearDuplicates,
    find_near_duplicates,
    group,
    match_groups,
    turned,
    with_group_pattern,
)
from kerasunet.data.layouts.contents import files_below, image_stem
from kerasunet.data.layouts.folder_names import CLASS, PART, VISIT, kind_of_name
from kerasunet.data.layouts.folders import PATIENTS, doubtful_patients
from kerasunet.data.loading import doubtful_outlines, load
from kerasunet.data.splits import contradicted, divided_patients, groups_in_words
from kerasunet.files import FileWarning, collect_problems, expanded
from kerasunet.objects import ObjectChoice, objects_of

_SEPARATOR, _ANYTHING = r"[ _.\-]", r"[^ _.\-]+"
_MOST_PARTS, _FEWEST, _MOST_IMAGES, _LARGEST_SHARE = 4, 3, 20, 1 / 3
_PLAIN = (r"\d+", "[A-Z]+", "[a-z]+", r"[A-Z]+\d+", r"[a-z]+\d+", "[A-Za-z]+", r"[A-Za-z]+\d+")
_SAID = r"(?i)(?<=[ _.\-])((?:patient|pat|subject|subj|sub|pid|mrn)[ _.\-]?\d+)"
_SIDE, _LAST = r"^(.*\d)[A-Za-z]$", r"(?i)[ _.\-]((?:p|pt|case)\d+)$"
_HASHED = r"^\d+_(?=\d*[a-f])([0-9a-f]{8,})_"
_FEW_FOLDERS, _FEW_OBJECTS, _EXAMPLES, _NAMES, _OTHERS = 10, 20, 3, 2, (CLASS, VISIT, PART)
_COUNTED = re.compile(r"(?i)(image|img|im|frame|slice|scan|us|x|picture|photo|file)?[ _-]*\d+")
_DEVIATIONS, _LEAST_DEVIATION, _CONTRADICTION, _SAME = 5.0, 0.2, 0.5, 0.7
_MOST_FOR_CROPS = 500  # With more images, the search takes seconds.


def check(
    name_or_path: str | os.PathLike,
    manual_dir: str | os.PathLike | None = None,
    objects: Sequence[str] = (),
    *,
    mask_threshold: int | None = None,
    overlapping: bool = False,
    group_pattern: str | None = None,
) -> Report:
    """Look at every case of a data set and compare the cases with each other.

    Files that do not pair up are reported, and the others are still checked. If no case is left, or
    the layout is unknown, every image file is at least opened.

    Args:
        name_or_path: As `kerasunet.data.load` takes it.
        manual_dir: For the name of a public set: a folder with its archives, or with their unpacked
            contents.
        objects: What counts as the object, as `kerasunet.data.load` takes it.
        mask_threshold: Gray level above which a pixel of a mask file is object.
        overlapping: Whether a pixel may belong to several objects.
        group_pattern: A regular expression that finds the patient in a file name.

    Returns:
        The report.

    Raises:
        FileNotFoundError: There is no such folder, file or data set.
        ValueError: The name of a simulated set is wrong, the pattern does not fit the names, or
            an object is chosen twice.
    """
    source = os.fspath(name_or_path)
    ObjectChoice.parse_all(objects)
    with collect_problems() as found, warnings.catch_warnings():
        # The report names the outlines that `load` warns of.
        warnings.filterwarnings("ignore", category=FileWarning, module=re.escape(__name__))
        try:
            data = load(
                source,
                manual_dir,
                objects=objects,
                mask_threshold=mask_threshold,
                overlapping=overlapping,
            )
        except ValueError as error:
            path = expanded(source if manual_dir is None else manual_dir)
            if not path.exists():
                raise
            # If the problems left no case, that there is none adds nothing.
            message = "\n".join(found) if found else str(error)
            unread = [file for file in files_below(path) if not image_stem(file.name)]
            problems = [*pairing_problems(message), *unreadable_files(path), *unread_files(unread)]
            return Report(source, None, tuple(problems))
    known = [*pairing_problems("\n".join(found)), *unused_lists(expanded(source), data)]
    reported = {file for problem in known for file in problem.files}
    known += unread_files([path for path in data.unread if str(path) not in reported])
    known += [*unread_documents(expanded(source), data, reported), *unused_flags(data)]
    if group_pattern is not None:
        data = with_group_pattern(data, group_pattern)
    return _check_cases(source, data, [*known, *unannotated(data), *unnamed_patients(data)])


def _check_cases(source: str, data: DataSet, known: list[Problem]) -> Report:
    inspections = inspect_all(data.cases)
    pairs = near_duplicates(inspections)
    joined = group([case.group for case in data.cases], pairs)
    groups = {case.key: name for case, name in zip(data.cases, joined, strict=True)}
    problems = known + [problem for found in inspections for problem in found.problems]
    problems += [Problem("left-out", remark) for remark in data.remarks]
    problems += [Problem("doubtful-outlines", text) for text in doubtful_outlines(data.cases)]
    problems += [*without_objects(inspections), *absent_objects(inspections)]
    problems += [*different_codes(inspections), *unusual_shares(inspections)]
    problems += [*shared_masks(inspections), *doubtful_places(inspections)]
    problems += divided_duplicates(inspections, pairs, groups)
    problems += contradictions(inspections, pairs)
    order = list(KINDS)
    problems.sort(key=lambda problem: order.index(problem.kind))
    return Report(source, data, tuple(problems), groups=groups)


class Proposal(NamedTuple):
    """A pattern that would find patients in file names.

    Attributes:
        pattern: As `--group-pattern` takes it.
        groups: The names by what the pattern finds in them, the largest group first.
    """

    pattern: str
    groups: dict[str, list[str]]

    @property
    def examples(self) -> str:
        """Some patients, and some names of each."""
        return ", ".join(
            f"{group} ({', '.join(names[:_NAMES])}{', …' if len(names) > _NAMES else ''})"
            for group, names in list(self.groups.items())[:_EXAMPLES]
        )

    def __str__(self) -> str:
        count = sum(map(len, self.groups.values()))
        return (
            f"{count:,} images look like {len(self.groups):,} patients, such as "
            f"{self.examples}; if they are, give --group-pattern '{self.pattern}'"
        )


def unnamed_patients(data: DataSet) -> Iterator[Problem]:
    """Yield that file names suggest patients, or names of folders fewer, with examples."""
    if (proposal := proposal_for(data)) is not None:
        yield Problem("patient-names", str(proposal))
    for names in (alike := divided_patients(data.cases)):
        yield Problem("divided-patients", f"{' and '.join(names)} look like one patient")
    named = sorted({case.group for case in data.cases})
    if data.layout.startswith(PATIENTS) and not alike and (folders := propose_pattern(named)):
        text = f"its folders look like several of each patient, such as {folders.examples}"
        yield Problem("patient-names", f"{text}; if they are, put them into one")
    yield from (Problem("patient-names", text) for text in doubtful_patients(data))
    for name, parts in data.official.items():
        in_parts = Counter(of for of, _ in {(c.group, parts.get(c.key)) for c in data.cases})
        for of in sorted(of for of, count in in_parts.items() if count > 1):
            yield Problem("divided-patients", f"{of} is in several parts of the division {name}")
    with suppress(ImportError):
        for text, files in contradicted(data.cases) if not data.citation else ():
            yield Problem("divided-patients", text, files)
    images = {getattr(case, "image", case.key): case.group for case in data.cases}
    if PATIENTS in data.layout and len(images) / _MOST_IMAGES > len(named) < _FEW_FOLDERS:
        text = f"{len(images):,} images are in {len(named)} folders, taken for patients; if they"
        yield Problem("patient-names", f"{text} are none, such as {named[0]}, use a manifest.csv")
    elif data.layout.startswith(PATIENTS) and (names := _names_in_all(data)):
        text = f"{', '.join(names[:_EXAMPLES])} are in all {len(named)} folders, taken for patients"
        yield Problem("patient-names", f"{text}; if they are patients, use a manifest.csv")


def _names_in_all(data: DataSet) -> list[str]:
    """Return names of images that all of a few folders have, if most are so and may be patients."""
    stems: dict[str, set[str]] = defaultdict(set)
    for case in data.cases:
        stems[case.group].add(file_stem(case.key))
    shared, every = set.intersection(*stems.values()), set.union(*stems.values())
    is_few = 1 < len(stems) < min(_FEW_FOLDERS, len(shared)) and 2 * len(shared) > len(every)
    return sorted(shared) if is_few and not all(map(_COUNTED.fullmatch, shared)) else []


def proposal_for(data: DataSet) -> Proposal | None:
    """Propose a pattern for the names of a data set.

    Args:
        data: A data set.

    Returns:
        The proposal; `None` if names do not look like patients, somebody has named patients
        already, or the owners of a published set should know theirs.
    """
    if data.citation or "patient" in groups_in_words(data.cases):
        return None
    return propose_pattern([*dict.fromkeys(file_stem(case.key) for case in data.cases)])


def propose_pattern(names: Sequence[str]) -> Proposal | None:
    """Propose a pattern if all names look like a patient and a number, side or view.

    Names begin with the patient, and a separator or, after digits, a single letter follows:
    `ABCD_001`, `case12_left`, `007R`. Or a digest follows a number, as in INbreast. There are at
    least three patients, one of them with several images; none has more than a third of the images,
    and on average they have at most twenty.

    Args:
        names: File names without suffix.

    Returns:
        The proposal with the fewest patients; `None` if there is none.
    """
    for pattern in _patterns(names):
        found = match_groups(names, pattern)
        if found and all(found) and _are_patients(found):
            groups: dict[str, list[str]] = {}
            for name, group in zip(names, found, strict=True):
                groups.setdefault(group, []).append(name)
            largest_first = sorted(groups.items(), key=lambda item: -len(item[1]))
            return Proposal(pattern, dict(largest_first))
    return None


def _are_patients(groups: Sequence[str]) -> bool:
    sizes = Counter(groups)
    few_each = len(groups) <= _MOST_IMAGES * len(sizes)
    even = max(sizes.values()) <= max(2, _LARGEST_SHARE * len(groups))
    words = {re.sub("[^a-z]+", "", group.lower()) for group in sizes}
    no_patients = {word for word in words if word == "slice" or kind_of_name(word) in _OTHERS}
    return _FEWEST <= len(sizes) < len(groups) and few_each and even and not words <= no_patients


def _patterns(names: Sequence[str]) -> Iterator[str]:
    """Yield patterns for a patient who is called so, the first parts of names, a side, the last."""
    parts = [re.split(_SEPARATOR, name) for name in names]
    separators = [re.findall(_SEPARATOR, name) for name in names]
    yield _SAID
    text = ""
    for index in range(min(min(map(len, separators), default=0), _MOST_PARTS)):
        text += _described({words[index] for words in parts}, _ANYTHING)
        after = _described({found[index] for found in separators}, _SEPARATOR)
        yield f"^({text}){after}"
        text += after
    yield from (_SIDE, _HASHED, _LAST)


def _described(words: set[str], otherwise: str) -> str:
    """Return the one word there is, or the plainest pattern for all."""
    if len(words) == 1:
        (word,) = words
        return word if word in "_- " else re.escape(word)
    plain = (p for p in _PLAIN if all(re.fullmatch(p, word) for word in words))
    return next(plain, otherwise)


def without_objects(inspections: Sequence[Inspection]) -> Iterator[Problem]:
    """Yield that no mask at all has an object, though the files are not black."""
    shares = [inspection.share for inspection in inspections if inspection.share is not None]
    read = [inspection.case for inspection in inspections if inspection.share is not None]
    if shares and not any(shares) and (misread := misread_masks(read)):
        yield Problem("coding", misread)


def absent_objects(inspections: Sequence[Inspection]) -> Iterator[Problem]:
    """Yield which of several objects are in no image, or only in images of some groups."""
    seen = [inspection for inspection in inspections if inspection.present]
    if not seen:
        return
    groups = {inspection.case.group for inspection in seen}
    for number, name in enumerate(objects_of(i.case for i in seen).names):
        having = {i.case.group for i in seen if i.present[number]}
        count = sum(i.present[number] for i in seen)
        if not having:
            yield Problem("absent-object", f"{name}: in none of {len(seen):,} images")
        elif having != groups:
            text = f"{name}: in {count:,} of {len(seen):,} images, {len(having):,} of "
            yield Problem("rare-object", f"{text}{len(groups):,} groups")


def different_codes(inspections: Sequence[Inspection]) -> Iterator[Problem]:
    """Yield that different values or colors are the object, or one of several."""
    codes = ((code, one.location) for one in inspections for code in one.codes)
    yield from (Problem("mixed-codes", text) for text in mixed_codes(codes))


def unusual_shares(inspections: Sequence[Inspection]) -> Iterator[Problem]:
    """Yield objects whose share of the image is far from the others'.

    An object is unusual if the log odds of its share, which put 1 % and 99 % equally far from the
    middle, lie more than five robust standard deviations from the median. With fewer than 20
    objects, none is unusual, and masks that seem inverted are not compared.
    """
    seen = [i for i in inspections if i.share is not None and 0 < i.share < 1]
    seen = [i for i in seen if all(problem.kind != "inverted-mask" for problem in i.problems)]
    if len(seen) < _FEW_OBJECTS:
        return
    shares = np.array([inspection.share for inspection in seen])
    odds = np.log(shares / (1 - shares))
    distance = np.abs(odds - np.median(odds))
    limit = _DEVIATIONS * max(1.4826 * float(np.median(distance)), _LEAST_DEVIATION)
    low, high = np.percentile(shares, [25, 75])
    for index in np.flatnonzero(distance > limit):
        location = seen[index].location
        text = (
            f"{location}: the object covers {shares[index]:.2%} of the image; in half of the "
            f"images it covers {low:.2%} to {high:.2%}"
        )
        yield Problem("unusual-share", text, (location,), keys=(seen[index].case.key,))


def near_duplicates(inspections: Sequence[Inspection]) -> list[NearDuplicates]:
    """Find near-duplicates among all cases with a readable image, by index of the inspections."""
    pictures = {i: one.thumbnail for i, one in enumerate(inspections) if one.thumbnail is not None}
    seen = list(pictures)
    pairs = find_near_duplicates(pictures.values(), crops=len(seen) <= _MOST_FOR_CROPS)
    return [pair._replace(first=seen[pair.first], second=seen[pair.second]) for pair in pairs]


def divided_duplicates(
    inspections: Sequence[Inspection],
    pairs: Sequence[NearDuplicates],
    groups: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield near-duplicates that are in several groups; `groups` is the remedy, by key."""
    members: dict[str, set[int]] = {}
    for pair in pairs:
        if inspections[pair.first].case.group != inspections[pair.second].case.group:
            joined = groups[inspections[pair.first].case.key]
            members.setdefault(joined, set()).update((pair.first, pair.second))
    for indices in members.values():
        alike = [inspections[index] for index in sorted(indices)]
        locations = tuple(inspection.location for inspection in alike)
        text = f"{', '.join(locations)}: show nearly the same, but are in different groups"
        yield Problem("near-duplicates", text, locations, keys=tuple(i.case.key for i in alike))


def contradictions(
    inspections: Sequence[Inspection], pairs: Sequence[NearDuplicates]
) -> Iterator[Problem]:
    """Yield near-duplicates that differ in label, or whose masks have an IoU below 0.5.

    Only from a correlation of 0.7 on, and not within a file: they might be neighboring frames of
    one scan.
    """
    for pair in [pair for pair in pairs if pair.correlation >= _SAME]:
        one, other = inspections[pair.first], inspections[pair.second]
        image = getattr(one.case, "image", None)
        if image is not None and image == getattr(other.case, "image", None):
            continue
        locations, keys = (one.location, other.location), (one.case.key, other.case.key)
        names = f"{one.location} and {other.location} (correlation {pair.correlation:.2f})"
        if one.case.label != other.case.label:
            text = f"{names}: one is {one.case.label!r}, the other {other.case.label!r}"
            yield Problem("label-conflict", text, locations, keys=keys)
        overlap = _iou(one.mask, other.mask, pair.turn)
        if overlap < _CONTRADICTION:
            text = f"{names}: their masks overlap with an IoU of only {overlap:.2f}"
            yield Problem("mask-conflict", text, locations, keys=keys)


def _iou(one: np.ndarray | None, other: np.ndarray | None, turn: int) -> float:
    """Return the IoU of packed masks, the first turned; 1 where one is unknown or both empty."""
    if one is None or other is None:
        return 1.0
    sides = (MASK_SIDE, MASK_SIDE)
    first, second = (np.unpackbits(packed).reshape(sides) for packed in (one, other))
    first = turned(first, turn)
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0
