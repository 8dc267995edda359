"""What names of files tell: files of no case, images without a mask, and perhaps patients.

Whether they are patients is for people to say. So a pattern is proposed where names look like
patient and number, and `--group-pattern` applies it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kerasunet.data.cases import DataSet, UnannotatedCase, file_stem
from kerasunet.data.checking.inspection import Problem
from kerasunet.data.groups import match_groups
from kerasunet.data.splits import groups_in_words
from kerasunet.files import suffix_of

_SEPARATOR = r"[ _.\-]"
_MOST_PARTS = 4
_FEWEST, _MOST_IMAGES, _LARGEST_SHARE = 3, 20, 1 / 3
_EXAMPLES, _NAMES = 3, 2
_NAMED = 5
_PLAIN = (r"\d+", "[A-Z]+", "[a-z]+", r"[A-Z]+\d+", r"[a-z]+\d+", "[A-Za-z]+", r"[A-Za-z]+\d+")
_ANYTHING = r"[^ _.\-]+"
_SIDE = r"^(.*\d)[A-Za-z]$"
_NO_PATIENTS = {
    *("benign", "malignant", "normal", "abnormal", "healthy", "tumor", "tumour", "lesion", "cyst"),
    *("left", "right", "train", "val", "test", "positive", "negative", "male", "female"),
}


class Proposal(NamedTuple):
    """A pattern that would tell patients apart by their file names.

    Attributes:
        pattern: As `--group-pattern` takes it.
        groups: The names by what the pattern finds in them, the largest group first.
    """

    pattern: str
    groups: dict[str, list[str]]

    def __str__(self) -> str:
        count = sum(map(len, self.groups.values()))
        examples = [
            f"{group} ({', '.join(names[:_NAMES])}{', …' if len(names) > _NAMES else ''})"
            for group, names in list(self.groups.items())[:_EXAMPLES]
        ]
        return (
            f"{count:,} images look like {len(self.groups):,} patients, such as "
            f"{', '.join(examples)}; if they are, give --group-pattern '{self.pattern}'"
        )


def unread_files(files: Sequence[Path]) -> Iterator[Problem]:
    """Yield files that belong to no case, by folder and suffix."""
    kinds: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        kinds.setdefault((path.parent, suffix_of(path)), []).append(path)
    for (folder, suffix), paths in kinds.items():
        names = [path.name for path in paths]
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        text = f"{folder}/: {len(paths):,} {suffix}, {', '.join(names[:_NAMED])}{more}"
        yield Problem("unread", text, tuple(map(str, paths)))


def unannotated(data: DataSet) -> Iterator[Problem]:
    """Yield the images without a mask; of some, the name tells that they may be a mask."""
    named = {case.key for case in (*data.cases, *data.unannotated)}
    for case in data.unannotated:
        hint = _annotation_beside(case) or _image_of(case, named)
        yield Problem("unannotated", f"{case.image}: has no mask{hint}", (str(case.image),))


def _annotation_beside(case: UnannotatedCase) -> str:
    path = case.image.with_suffix(".json")
    if not path.is_file():
        return ""
    return f"; {path.name} beside it is not read, because other images have mask files"


def _image_of(case: UnannotatedCase, keys: Collection[str]) -> str:
    """Name the image of which this may be a mask, going by its name."""
    match = re.match(r"(.+?)[ _-]+[A-Za-z]+\d*$", case.key)
    if not match or match[1] not in keys:
        return ""
    return f"; if it is the mask of {match[1]}, give it a name like the others"


def unnamed_patients(data: DataSet) -> Iterator[Problem]:
    """Yield that the file names look like patients, with the pattern that tells them apart."""
    proposal = proposal_for(data)
    if proposal is not None:
        yield Problem("patient-names", str(proposal))


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
    `ABCD_001`, `case12_left`, `007R`. There are at least three patients, one of them with several
    images; none has more than a third of the images, and on average they have at most twenty.

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
    return _FEWEST <= len(sizes) < len(groups) and few_each and even and not words <= _NO_PATIENTS


def _patterns(names: Sequence[str]) -> Iterator[str]:
    """Yield a pattern for the first part of all names, then for the first two …; one for a side."""
    parts = [re.split(_SEPARATOR, name) for name in names]
    separators = [re.findall(_SEPARATOR, name) for name in names]
    text = ""
    for index in range(min(min(map(len, separators), default=0), _MOST_PARTS)):
        text += _described({words[index] for words in parts}, _ANYTHING)
        after = _described({found[index] for found in separators}, _SEPARATOR)
        yield f"^({text}){after}"
        text += after
    yield _SIDE


def _described(words: set[str], otherwise: str) -> str:
    """Return the one word there is, or the plainest pattern for all."""
    if len(words) == 1:
        (word,) = words
        return word if word in "_- " else re.escape(word)
    plain = (p for p in _PLAIN if all(re.fullmatch(p, word) for word in words))
    return next(plain, otherwise)
