"""Groups that splits keep together: given, read from a file, or joined by near-duplicates.

Near-duplicates are the same picture twice, whatever was done to its brightness or its file. They
are found in two stages. First, the coarse details of each image (32×32 pixels by area, without
what is smooth) are correlated with those of all others by a matrix product. How much different
images correlate depends on the data: speckle hardly, chest X-rays strongly, for all chests are
alike. So a pair must stand out from all pairs of its set. Second, the two images of such a pair
are aligned at 64×64 pixels, and their finer details must agree as well, again more than those of
other pairs do.

The same is done with one of the two mirrored or turned by quarters, as augmented copies are.

A crop of a chest does not stand out by its coarse details. So each image is also compared with all
others without their sides, and goes to the second stage with the images most like it then.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kerasunet.data import identification, layouts
from kerasunet.data.cache import cache_folder
from kerasunet.data.cases import NEAR_DUPLICATES, Case, DataSet, SimulatedCase, file_stem
from kerasunet.data.decoding import decode
from kerasunet.data.identification import (
    THUMBNAIL_SIDE,
    agreement,
    coarse_details,
    thumbnail,
)
from kerasunet.files import expanded, raise_all, read_json, write_json

_LEAST_COARSE, _LEAST_FINE, _LARGEST_THRESHOLD = 0.5, 0.5, 0.99
_DEVIATIONS, _DEVIATIONS_OF_MANY, _MANY_IMAGES = 5, 6, 20_000
_FEW_IMAGES, _THRESHOLD_OF_FEW, _FINE_OF_FEW = 20, 0.95, 0.8
_SAMPLE, _SAMPLED_PAIRS, _TILE = 2000, 100, 2048
_MOST_WHOLES, _LEAST_OF_CHANGED = 2, 0.75
_ENDS = [(0, 0), (0, 0.1), (0.1, 0), (0.05, 0.05), (0.1, 0.1), (0.15, 0.15), (0.2, 0.2)]
_CUTS = [(*across, *down) for across in _ENDS for down in _ENDS if any(across + down)]
"""Shares of the sides, before and after, that may have been cut off along an axis."""
_MIRRORED: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
_TURNS = [(transposed, axes) for transposed in (False, True) for axes in _MIRRORED]
"""Whether a picture is transposed, and which axes are mirrored then; the first changes nothing."""
_SHARED = re.compile("(lesion|study|exam|case|video|slide|eye)([ _-]?(instance_?)?(id|no|uid))?|id")
_FOLDER = "near-duplicates"
GIVEN = "given"


def regroup(data: DataSet, groups: str | os.PathLike) -> DataSet:
    """Group the cases of a data set.

    Args:
        data: The data set.
        groups: `"given"` keeps the groups of the data, such as patients. `"near-duplicates"`
            joins groups that share nearly the same image, whatever its label; every image is read,
            once: thumbnails and result stay in the cache. Anything else is a CSV file with the
            columns key and group.

    Returns:
        The data set in these groups.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Images cannot be read, or the file cannot be used; every problem is listed.
    """
    if groups == GIVEN:
        return data
    if groups == NEAR_DUPLICATES:
        return _with_joined_near_duplicates(data)
    path = expanded(groups)
    if not path.is_file():
        raise FileNotFoundError(
            f"{groups}: no such file; groups are {GIVEN}, {NEAR_DUPLICATES} or a CSV file"
        )
    return with_groups(data, layouts.read_groups(path))


def with_groups(data: DataSet, groups: Mapping[str, str]) -> DataSet:
    """Replace the groups of the cases of a data set.

    Args:
        data: A data set of files.
        groups: The group of every key.

    Raises:
        ValueError: Cases have no group here, the message lists every one; or they are simulated.
    """
    if _is_simulated(data):
        raise ValueError(
            f"{data.name}: simulated images have nothing in common, so each is a group of its "
            "own; leave out the groups"
        )
    missing = [case.key for case in data.cases if case.key not in groups]
    raise_all(missing, f"{data.name}: check --groups writes the keys; these cases are in no group:")
    return replace(data, cases=tuple(replace(c, group=groups[c.key]) for c in data.cases))


def with_group_pattern(data: DataSet, pattern: str) -> DataSet:
    """Group the cases of a data set by a pattern in their file names, such as `([A-Z]+)_`.

    Args:
        data: A data set of files.
        pattern: A regular expression that is searched for in the last part of each key. What its
            groups match, or else the whole of it, is the patient.

    Raises:
        ValueError: It is no regular expression, or names lack it; the message lists every one.
    """
    keys = [case.key for case in data.cases]
    try:
        found = match_groups([file_stem(key) for key in keys], pattern)
    except re.error as error:
        raise ValueError(f"group pattern {pattern}: not a regular expression ({error})") from None
    missing = [key for key, name in zip(keys, found, strict=True) if not name]
    raise_all(missing, f"group pattern {pattern}: is not in these names of {data.name}:")
    raise_all([f"group pattern {pattern}: {fault}" for fault in layouts.misspelled(found)])
    return with_groups(data, {k: f"patient-{name}" for k, name in zip(keys, found, strict=True)})


def match_groups(names: Iterable[str], pattern: str) -> list[str]:
    """Return what the groups of a pattern match in each name, or else all of it; or nothing."""
    found = (re.search(pattern, name) for name in names)
    return ["-".join(filter(None, m.groups() or [m[0]])) if m else "" for m in found]


def columns_of_patients(rows: Sequence[Mapping[str, str]], patient: re.Pattern) -> list[str]:
    """Return the columns that name patients, or lesions, studies … of several rows each."""
    found = []
    for key in sorted(rows[0]):
        shared = 1 < len({row.get(key) for row in rows}) < len(rows)
        if key == "group" or patient.fullmatch(key) or (shared and _SHARED.fullmatch(key)):
            found.append(key)
    return found


def _with_joined_near_duplicates(data: DataSet) -> DataSet:
    if _is_simulated(data):
        return data
    names = group([case.group for case in data.cases], near_duplicates_of(data.cases))
    named = zip(data.cases, names, strict=True)
    return replace(data, cases=tuple(replace(case, group=name) for case, name in named))


def _is_simulated(data: DataSet) -> bool:
    return all(isinstance(case, SimulatedCase) for case in data.cases)


class NearDuplicates(NamedTuple):
    """Two images that show the same thing.

    Attributes:
        first: Index of one image.
        second: Index of the other, larger than `first`.
        correlation: Of their finer details, aligned: 0.5 to 1.
        turn: How `turned` changes the first for that; 0 if it stays as it is.
    """

    first: int
    second: int
    correlation: float
    turn: int = 0


def near_duplicates_of(cases: Sequence[Case]) -> list[NearDuplicates]:
    """Find the near-duplicates among cases, as `find_near_duplicates` does among images.

    Args:
        cases: The cases; each is read, or taken from the cache of decoded cases.

    Returns:
        The pairs, by index.

    Raises:
        ValueError: Files could not be used; the message lists every one of them.
    """
    thumbnails = decode(cases, (THUMBNAIL_SIDE, THUMBNAIL_SIDE)).images[..., 0]
    file = _file(thumbnails)
    known = _recall(file, len(cases))
    if known is not None:
        return known
    found = find_near_duplicates(thumbnails)
    _keep(file, found)
    return found


def find_near_duplicates(
    images: Iterable[np.ndarray], *, crops: bool = False
) -> list[NearDuplicates]:
    """Find the pairs of images that show the same thing.

    Found are copies of other brightness, contrast, size or compression, with burnt-in annotations,
    cropped by a few percent of a side, mirrored, or turned by quarters. With `crops`, also those
    cut evenly by up to 15 % of each side and, mostly, unevenly by up to 10 %.

    The correlation of coarse details must reach 0.5 and, after Fisher's transformation, lie five
    robust standard deviations above the median of all pairs, or six among more than 20,000 images;
    so must that of fine details, which alone decides on crops. Below 20 images these cannot be
    estimated; 0.95 and 0.8 are required. The fine details of crops and of turned copies must also
    reach 0.75.

    Memory grows by 8 KiB per image, not with the number of pairs; for crops, by 6 bytes per pair.

    Args:
        images: `(height, width)` or `(height, width, 3)`, 0 to 255, of any sizes; consumed once.
        crops: Whether to search for crops, too, among at least 20 images; this takes several times
            as long.

    Returns:
        The pairs, by index. An image without any detail is in none.
    """
    thumbnails = [thumbnail(image) for image in images]
    if len(thumbnails) < 2:
        return []
    stack = np.stack(thumbnails)
    coarse = coarse_details(stack)
    cut = _crops(stack, coarse) if crops and len(stack) >= _FEW_IMAGES else {}
    known = [
        NearDuplicates(one, other, agreement(stack[one], stack[other]))
        for one, other in _pairs_above(coarse, _threshold(coarse), coarse)
    ]
    known = [pair for pair in known if pair.correlation >= _LEAST_FINE]
    changed = [
        NearDuplicates(*pair, agreement(_without_sides(stack[pair[0]], sides), stack[pair[1]]))
        for pair, sides in cut.items()
    ]
    changed += [
        NearDuplicates(one, other, agreement(turned(stack[one], turn), stack[other]), turn=turn)
        for one, other, turn in _turned_pairs_above(coarse)
    ]
    known += [pair for pair in changed if pair.correlation >= _LEAST_OF_CHANGED]
    # What is usual need not be looked at where no pair can stand out.
    least = _least_agreement(thumbnails) if known else 1.0
    found: dict[tuple[int, int], NearDuplicates] = {}
    for pair in (pair for pair in known if pair.correlation >= least):
        ends = min(pair[:2]), max(pair[:2])
        if ends not in found or found[ends].correlation < pair.correlation:
            found[ends] = pair._replace(first=ends[0], second=ends[1])
    return [found[ends] for ends in sorted(found)]


def _crops(thumbnails: np.ndarray, coarse: np.ndarray) -> dict[tuple[int, int], Sequence[float]]:
    """Return the pairs, whole and part, that may be an image and a crop, and what was cut off.

    Of each image, these are the few others that are most like it after a cut.
    """
    best = np.full((len(coarse), len(coarse)), -1, np.float32)  # By part and whole.
    cuts = np.zeros(best.shape, np.int16)
    for number, cut in enumerate(_CUTS):
        correlations = coarse @ coarse_details(thumbnails, cut).T
        better = correlations > best
        best[better], cuts[better] = correlations[better], number
    np.fill_diagonal(best, -1)
    wholes = np.argsort(-best, axis=1, kind="stable")[:, :_MOST_WHOLES]
    pairs = ((int(whole), part) for part, row in enumerate(wholes) for whole in row)
    return {pair: _CUTS[cuts[pair[1], pair[0]]] for pair in pairs if best[pair[1], pair[0]] > 0}


def _without_sides(small: np.ndarray, cut: Sequence[float]) -> np.ndarray:
    """Return a thumbnail whose sides were cut off, at the same size."""
    ends = (cut[:2], cut[2:])
    scales = [1 - before - after for before, after in ends]
    starts = [
        THUMBNAIL_SIDE * before + (scale - 1) / 2
        for (before, _), scale in zip(ends, scales, strict=True)
    ]
    warp = np.column_stack([np.diag(scales), starts])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(small, warp, small.shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def group(groups: Sequence[str], pairs: Iterable[NearDuplicates]) -> list[str]:
    """Join the groups that near-duplicates connect, directly or through others.

    Args:
        groups: Group of each image: its patient, or its key where it has no other.
        pairs: Near-duplicates, indices into `groups`.

    Returns:
        The new group of each image: of the groups that were joined, the first by name.
    """
    parents = {name: name for name in groups}
    for pair in pairs:
        names = (groups[pair.first], groups[pair.second])
        one, other = sorted(_root(parents, name) for name in names)
        parents[other] = one
    return [_root(parents, name) for name in groups]


def _root(parents: dict[str, str], name: str) -> str:
    while parents[name] != name:
        parents[name] = parents[parents[name]]
        name = parents[name]
    return name


def _file(thumbnails: np.ndarray) -> Path | None:
    """Return the file of the result, named by the pixels and the code that compares them."""
    folder = cache_folder()
    if folder is None:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for code in (__file__, identification.__file__):
        digest.update(Path(code).read_bytes())
    digest.update(np.ascontiguousarray(thumbnails).data)
    return folder / _FOLDER / f"{digest.hexdigest()}.json"


def _recall(file: Path | None, count: int) -> list[NearDuplicates] | None:
    """Return the kept result; `None` if there is none, or it is damaged."""
    if file is None or not file.is_file():
        return None
    with suppress(OSError, ValueError, TypeError, LookupError):
        return [_pair(values, count) for values in read_json(file)["pairs"]]
    return None


def _pair(values: Any, count: int) -> NearDuplicates:
    pair = NearDuplicates(*values)
    if not 0 <= pair.first < pair.second < count:
        raise ValueError(f"{pair}: no pair of {count} images")
    return pair


def _keep(file: Path | None, found: Sequence[NearDuplicates]) -> None:
    """Keep the result, if possible; otherwise the search is repeated next time."""
    if file is not None:
        with suppress(OSError):
            write_json(file, {"pairs": found})


def _threshold(coarse: np.ndarray) -> float:
    """Return the correlation at which a pair stands out from the others of its set."""
    if len(coarse) < _FEW_IMAGES:
        return _THRESHOLD_OF_FEW
    sample = coarse[:: math.ceil(len(coarse) / _SAMPLE)]
    correlations = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
    deviations = _DEVIATIONS if len(coarse) <= _MANY_IMAGES else _DEVIATIONS_OF_MANY
    return min(max(_outlying(correlations, deviations), _LEAST_COARSE), _LARGEST_THRESHOLD)


def _least_agreement(thumbnails: Sequence[np.ndarray]) -> float:
    """Return the agreement of fine details at which a pair stands out from random ones."""
    if len(thumbnails) < _FEW_IMAGES:
        return _FINE_OF_FEW
    rng = np.random.default_rng(0)
    pairs = [rng.choice(len(thumbnails), 2, replace=False) for _ in range(_SAMPLED_PAIRS)]
    usual = np.array([agreement(thumbnails[one], thumbnails[other]) for one, other in pairs])
    return min(max(_outlying(usual), _LEAST_FINE), _LARGEST_THRESHOLD)


def _outlying(correlations: np.ndarray, deviations: int = _DEVIATIONS) -> float:
    transformed = np.arctanh(np.clip(correlations, -0.999, 0.999))
    median = np.median(transformed)
    deviation = 1.4826 * np.median(np.abs(transformed - median))
    return math.tanh(median + deviations * deviation)


def _turned_pairs_above(coarse: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield pairs that are alike if the first is turned, and how; at half the size, to be quick."""
    side = math.isqrt(coarse.shape[1]) // 2
    small = coarse.reshape(-1, side, 2, side, 2).mean((2, 4)).reshape(len(coarse), -1)
    small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
    threshold = _threshold(small)
    for turn in range(1, len(_TURNS)):
        changed = turned(small.reshape(-1, side, side), turn).reshape(small.shape)
        for pair in _pairs_above(changed, threshold, small):
            yield *pair, turn


def turned(pictures: np.ndarray, turn: int) -> np.ndarray:
    """Mirror square pictures, `(…, side, side)`, or turn them; `turn` is 0 to 7, 0 for neither."""
    transposed, axes = _TURNS[turn]
    pictures = np.swapaxes(pictures, -1, -2) if transposed else pictures
    return np.ascontiguousarray(np.flip(pictures, axes))


def _pairs_above(
    some: np.ndarray, threshold: float, others: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Go through the correlations in tiles, so that never more than 16 MiB of them exist."""
    room = np.empty((_TILE, _TILE), np.float32)  # A new array for each tile takes longer to fill.
    for top in range(0, len(some), _TILE):
        for left in range(top, len(some), _TILE):
            one, other = some[top : top + _TILE], others[left : left + _TILE]
            tile = np.matmul(one, other.T, out=room[: len(one), : len(other)])
            for place in np.flatnonzero(tile >= threshold).tolist():
                row, column = divmod(place, len(other))
                if top + row < left + column:
                    yield top + row, left + column
