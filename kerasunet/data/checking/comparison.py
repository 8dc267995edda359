"""Cases compared with each other: unusual objects, mixed codes, near-duplicates that contradict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kerasunet.data.cases import Case
from kerasunet.data.checking.inspection import Inspection, Problem
from kerasunet.data.groups import NearDuplicates, find_near_duplicates
from kerasunet.data.loading import misread_masks, mixed_codes
from kerasunet.objects import objects_of

_FEW_OBJECTS = 20
_DEVIATIONS, _LEAST_DEVIATION = 5.0, 0.2
_CONTRADICTION = 0.5
_SAME = 0.7


def without_objects(inspections: Sequence[Inspection]) -> Iterator[Problem]:
    """Yield that no mask at all has an object, though the files are not black."""
    shares = [inspection.share for inspection in inspections if inspection.share is not None]
    if shares and not any(shares):
        misread = misread_masks([i.case for i in inspections if i.share is not None])
        if misread:
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
    """Yield that different values or colors are the object."""
    found: dict[str, list[str]] = {}
    for inspection in inspections:
        for code in inspection.codes:
            found.setdefault(code, []).append(inspection.location)
    if mixed := mixed_codes(found):
        yield Problem("mixed-codes", mixed)


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
    pairs = find_near_duplicates(pictures.values())
    return [NearDuplicates(seen[a], seen[b], agreement) for a, b, agreement in pairs]


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
        if _in_one_file(one.case, other.case):
            continue
        locations, keys = (one.location, other.location), (one.case.key, other.case.key)
        names = f"{one.location} and {other.location} (correlation {pair.correlation:.2f})"
        if one.case.label != other.case.label:
            text = f"{names}: one is {one.case.label!r}, the other {other.case.label!r}"
            yield Problem("label-conflict", text, locations, keys=keys)
        overlap = _iou(one.mask, other.mask)
        if overlap < _CONTRADICTION:
            text = f"{names}: their masks overlap with an IoU of only {overlap:.2f}"
            yield Problem("mask-conflict", text, locations, keys=keys)


def _in_one_file(one: Case, other: Case) -> bool:
    image = getattr(one, "image", None)
    return image is not None and image == getattr(other, "image", None)


def _iou(one: np.ndarray | None, other: np.ndarray | None) -> float:
    """Return the IoU of packed masks; 1 where one is unknown or both are empty."""
    if one is None or other is None:
        return 1.0
    union = int(np.bitwise_count(one | other).sum())
    return int(np.bitwise_count(one & other).sum()) / union if union else 1.0
