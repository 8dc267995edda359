"""Files that hold many images: cine loops, volumes, TIFF stacks. Each frame becomes a case.

The frames of a file are one group, for they show the same patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kerasunet.data.cases import Case, DataSet, FileCase
from kerasunet.data.layouts.listing import image_stem
from kerasunet.data.problems import raise_all, report_all
from kerasunet.data.reading import count_frames

_MOST_FRAMES = 100_000
_MAY_HOLD_MANY = (".dcm", ".dicom", ".nii", ".nii.gz", ".tif", ".tiff")


def frames_apart(data: DataSet) -> DataSet:
    """Makes a case of every frame.

    Args:
        data: A data set whose cases stand for whole files.

    Returns:
        The data set; frames of `x` have the keys `x-frame0000`, `x-frame0001` …

    Raises:
        ValueError: Masks do not have as many frames as their image; the message lists every one.
    """
    files = [case for case in data.cases if isinstance(case, FileCase)]
    counts = {case.key: _count(case.image) or 1 for case in files}
    raise_all(
        [
            f"{case.image}: says it has {counts[case.key]:,} frames, more than the limit of "
            f"{_MOST_FRAMES:,}; export the frames that were outlined"
            for case in files
            if counts[case.key] > _MOST_FRAMES
        ]
    )
    faults = {case.key: list(_unequal(case, counts[case.key])) for case in files}
    problems = [problem for found in faults.values() for problem in found]
    report_all(problems, f"{len(problems)} masks do not have the frames of their image:")
    if not problems and all(count == 1 for count in counts.values()):
        return data
    frames = {
        case.key: [] if faults.get(case.key) else _frames(case, counts.get(case.key, 1))
        for case in data.cases
    }
    return replace(
        data,
        cases=tuple(frame for case in data.cases for frame in frames[case.key]),
        official={name: _each(division, frames) for name, division in data.official.items()},
    )


def _count(path: Path) -> int | None:
    """Frames of a file; 1 if it cannot be read, which is told when it is to be."""
    if image_stem(path.name) and not path.name.lower().endswith(_MAY_HOLD_MANY):
        return 1
    try:
        return count_frames(path)
    except (OSError, ValueError):
        return 1


def _unequal(case: FileCase, wanted: int) -> Iterator[str]:
    for path in case.masks:
        found = _count(path)
        if found not in (wanted, None):
            yield (
                f"{path}: its number of frames is {found}, that of {case.image.name} is {wanted}; "
                "export a mask of every frame, or only the frame that was outlined"
            )


def _frames(case: Case, count: int) -> list[Case]:
    if count == 1:
        return [case]
    return [replace(case, key=f"{case.key}-frame{n:04d}", frame=n) for n in range(count)]


def _each(division: Mapping[str, int | str], frames: Mapping[str, Sequence[Case]]):
    return {frame.key: part for key, part in division.items() for frame in frames[key]}
