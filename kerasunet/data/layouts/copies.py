"""Copies and dated versions of a mask, told from masks of parts by how their names end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from kerasunet.files import raise_all

# What programs and people add to the name of a copy or a version: "- Copy", "_2024-01-31T1200" …
_OF_COPY = re.compile(
    r"[_ -]+(copy|kopi[ea]|copie|c[oó]pia)(?![^\W\d_])[_ -]?(\(\d+\)|\d*)"
    r"|[_ -]*\([^()]*\b(copy|kopi[ea]|copie|c[oó]pia)\b[^()]*\)"
    r"|-(desktop|laptop)-[a-z\d]+(-\d+)?$"
    r"|(^|[_ -]+)\(?(19|20)\d\d[_.-]?(0[1-9]|1[0-2])[_.-]?(0[1-9]|[12]\d|3[01])"
    r"([t_ -]?([01]\d|2[0-3])[:.-]?[0-5]\d([:.-]?[0-5]\d)?)?\)?(?!\d)",
    re.IGNORECASE,
)
# Beside a name without it, the number is that of a copy; macOS calls a copy of `x_mask` `x_mask 2`.
_OF_NUMBERED_COPY = re.compile(r"[_ -]?\(\d+\)$|^ \d+$")


def check_copies(endings: Iterable[Mapping[str, str]]) -> None:
    """Refuse masks that are copies or dated versions of one: to unite them is hardly ever right.

    Args:
        endings: For each image, its masks, with what stands behind the word such as `_mask`.
    """
    copies = [
        " and ".join(f"'{stem}'" for stem in rests)
        for rests in endings
        if _has_copies([*rests.values()])
    ]
    raise_all(
        copies,
        "these look like copies or versions of one mask; keep one of them, or, if they are parts "
        "of one object, give them numbers such as _1 and _2:",
    )


def _has_copies(rests: Sequence[str]) -> bool:
    """Return whether endings differ only in what tells copies apart; any others are of parts."""
    originals = [_OF_COPY.sub("", rest) for rest in rests]
    plain = [_OF_NUMBERED_COPY.sub("", original) for original in originals]
    pairs = zip(originals, plain, strict=True)
    return len({*originals}) < len(rests) or any(
        original != name and name in originals for original, name in pairs
    )
