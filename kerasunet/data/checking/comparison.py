"""Compares the cases of a set with each other: unusual sizes of objects, near-duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kerasunet.data.cases import Case
from kerasunet.data.checking.inspection import Inspection
from kerasunet.data.checking.problem import Problem
from kerasunet.data.duplicates import NearDuplicates, find_near_duplicates

_FEW_OBJECTS = 20
_DEVIATIONS, _LEAST_DEVIATION = 5.0, 0.2
_CONTRADICTION = 0.5
_SAME = 0.7


def unusual_shares(inspections: Sequence[Inspection]) -> Iterator[Problem]:
    """Objects whose share of the image is far from the others'.

    Compared are log odds, so that shares of 1 % and 99 % are equally far from the middle: more than
    five robust standard deviations from the median. Below 20 objects nothing is called unusual, and
    masks that look inverted are not compared.
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
        place = seen[index].place
        text = (
            f"{place}: the object covers {shares[index]:.2%} of the image; in half of the images "
            f"it covers {low:.2%} to {high:.2%}"
        )
        yield Problem("unusual-share", text, (place,), (seen[index].case.key,))


def near_duplicates(inspections: Sequence[Inspection]) -> list[NearDuplicates]:
    """Near-duplicates among all cases whose image can be read, by index of the inspections."""
    seen = [index for index, found in enumerate(inspections) if found.thumbnail is not None]
    pairs = find_near_duplicates(inspections[index].thumbnail for index in seen)
    return [NearDuplicates(seen[a], seen[b], agreement) for a, b, agreement in pairs]


def divided_duplicates(
    inspections: Sequence[Inspection],
    pairs: Sequence[NearDuplicates],
    groups: Mapping[str, str],
) -> Iterator[Problem]:
    """Near-duplicates that are in several groups of the set; `groups` is the remedy, by key."""
    members: dict[str, set[int]] = {}
    for pair in pairs:
        if inspections[pair.first].case.group != inspections[pair.second].case.group:
            joined = groups[inspections[pair.first].case.key]
            members.setdefault(joined, set()).update((pair.first, pair.second))
    for indices in members.values():
        alike = [inspections[index] for index in sorted(indices)]
        places = tuple(inspection.place for inspection in alike)
        text = f"{', '.join(places)}: show nearly the same, but are in different groups"
        yield Problem("near-duplicates", text, places, tuple(i.case.key for i in alike))


def contradictions(
    inspections: Sequence[Inspection], pairs: Sequence[NearDuplicates]
) -> Iterator[Problem]:
    """Near-duplicates that differ in label, or whose masks have an IoU below 0.5.

    Only from a correlation of 0.7 on, and not within a file: else they may be neighbouring frames
    of one scan.
    """
    for pair in [pair for pair in pairs if pair.correlation >= _SAME]:
        one, other = inspections[pair.first], inspections[pair.second]
        if _in_one_file(one.case, other.case):
            continue
        places, keys = (one.place, other.place), (one.case.key, other.case.key)
        names = f"{one.place} and {other.place} (correlation {pair.correlation:.2f})"
        if one.case.label != other.case.label:
            text = f"{names}: one is {one.case.label!r}, the other {other.case.label!r}"
            yield Problem("label-conflict", text, places, keys)
        overlap = _iou(one.mask, other.mask)
        if overlap < _CONTRADICTION:
            text = f"{names}: their masks overlap with an IoU of only {overlap:.2f}"
            yield Problem("mask-conflict", text, places, keys)


def _in_one_file(one: Case, other: Case) -> bool:
    image = getattr(one, "image", None)
    return image is not None and image == getattr(other, "image", None)


def _iou(one: np.ndarray | None, other: np.ndarray | None) -> float:
    """Intersection over union of packed masks; 1 where one is unknown or both are empty."""
    if one is None or other is None:
        return 1.0
    union = int(np.bitwise_count(one | other).sum())
    return int(np.bitwise_count(one & other).sum()) / union if union else 1.0
