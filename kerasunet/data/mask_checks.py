"""Masks of a whole data set: whether they have objects, and whether these are coded alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kerasunet.data import readers
from kerasunet.data.cache import PutRow, cached_rows
from kerasunet.data.cases import Case, FileCase
from kerasunet.data.decoding import DecodedCases, use_each
from kerasunet.data.object_cases import CaseOfObjects

_MOST_VALUES = 8  # That a message lists.
_CODES = (1, 1, 64)  # The bytes of a few values or colors, kept like an image.
_ONE_CODE = {"1", "255", "#ffffff"}  # What programs write for the one object there is.
_MOST_CODES = 5


def require_objects(
    cases: Sequence[Case], decoded: DecodedCases, *, none_allowed: bool = False
) -> None:
    """Refuse cases of which not one mask has some object at the size that they were decoded to.

    Args:
        cases: The cases.
        decoded: What `decode` made of them.
        none_allowed: Accept them if their mask files are empty, too.

    Raises:
        ValueError: No mask has an object, or one of several. If the files have other values than 0,
            the message names them: they mean an object under another coding.
    """
    if not len(decoded):
        return
    found = [decoded.objects.planes(decoded.masks[row]).any((1, 2)) for row in range(len(decoded))]
    absent = [
        name
        for name, present in zip(decoded.objects.names, np.any(found, axis=0), strict=True)
        if not present
    ]
    if not absent or (none_allowed and len(absent) < len(decoded.objects)):
        return
    if len(absent) < len(decoded.objects):
        raise ValueError(
            f"none of {len(cases):,} masks has {' or '.join(absent)}, so it cannot be learned; "
            "correct --objects, or leave it out"
        )
    if misread := misread_masks(cases):
        raise ValueError(misread)
    if not none_allowed:
        raise ValueError(
            f"none of {len(cases):,} masks has an object, so there is nothing to learn; draw masks"
        )


def require_one_code(cases: Sequence[Case]) -> None:
    """Refuse mask files of one value each, but of different ones, which may be different objects.

    Args:
        cases: The cases; those of which somebody has chosen what is the object are passed over.

    Raises:
        ValueError: There are such files, or some that cannot be used.
    """
    plain = [case for case in cases if isinstance(case, FileCase) and case.masks]
    plain = [case for case in plain if case.coding.is_plain]

    def name(indices: Sequence[int], put: PutRow) -> None:
        def keep(index: int, codes: tuple[str, ...]) -> None:
            text = "\n".join(codes).encode()[: _CODES[2]].ljust(_CODES[2], b"\0")
            row = np.frombuffer(text, np.uint8).reshape(_CODES)
            put(index, row, np.zeros(_CODES[:2], bool), None)

        use_each(plain, indices, FileCase.codes, keep)

    found: dict[str, list[str]] = {}
    rows = cached_rows(plain, _CODES, name).images if plain else ()
    for case, row in zip(plain, rows, strict=True):
        for code in row.tobytes().rstrip(b"\0").decode(errors="ignore").splitlines():
            found.setdefault(code, []).append(str(case.image))
    if mixed := mixed_codes(found):
        raise ValueError(mixed)


def mixed_codes(found: Mapping[str, Sequence[str]]) -> str:
    """Say that the object has several values or colors; empty if it has one.

    Args:
        found: The images by the value or color that their mask files have beside the ground.
    """
    if len(found) < 2 or found.keys() <= _ONE_CODE:
        return ""
    parts = [f"{code} in {len(names):,} (such as {names[0]})" for code, names in found.items()]
    more = f", and {len(parts) - _MOST_CODES} more" if len(parts) > _MOST_CODES else ""
    codes = [code.split()[0] for code in found]
    unite = f"--objects NAME={','.join(codes[:_MOST_CODES])}{',…' if more else ''} unites them"
    if all(map(str.isdecimal, codes)):
        unite += ", and so does --mask-threshold 0"
    return (
        f"the object is {', '.join(parts[:_MOST_CODES])}{more}: one value or color in each mask, "
        f"but not the same; if they are different objects, --objects NAME={codes[0]} takes one; "
        f"{unite}"
    )


def misread_masks(cases: Sequence[Case]) -> str:
    """Explain why no mask has an object: the message names values of a mask that is not black.

    Args:
        cases: Cases of which no mask has an object as it is read.

    Returns:
        One line; empty if every mask file is black.
    """
    files = (
        (path, case.frame)
        for case in cases
        if isinstance(case, FileCase | CaseOfObjects)
        for path in case.masks
    )
    for path, frame in files:
        values = np.unique(readers.read_mask_values(path, frame=frame))
        if values.any():
            listed = ", ".join(map(str, values[:_MOST_VALUES]))
            return (
                f"none of {len(cases):,} masks has an object as they are read here, though {path} "
                f"has the values {listed}: these masks are coded in another way, or their objects "
                "are smaller than a pixel at this image size"
            )
    return ""
