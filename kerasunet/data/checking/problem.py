"""What can be wrong with a data set, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

SEVERITIES = ("error", "warning", "note")


class Kind(NamedTuple):
    """A kind of problem: how bad it is, what it is, and the remedy."""

    severity: str
    title: str
    remedy: str


KINDS: Mapping[str, Kind] = {
    "pairing": Kind(
        "error",
        "files that do not pair up or do not fit the layout",
        "add the partner, correct the name or take the file away",
    ),
    "unreadable": Kind(
        "error", "files that cannot be read", "copy or export the file again, or leave the case out"
    ),
    "annotation": Kind(
        "error", "annotations that cannot be drawn", "correct the annotation in its program"
    ),
    "wrong-size": Kind(
        "error", "masks of another size than their image", "export the mask at the image's size"
    ),
    "not-binary": Kind(
        "error",
        "masks with more than two values",
        "save masks without smoothing and as PNG, never as JPEG: 0 and one other value",
    ),
    "constant-image": Kind(
        "warning", "images that show nothing", "export the image again, or leave the case out"
    ),
    "empty-mask": Kind(
        "warning",
        "empty masks",
        "draw the object; if there is none, label the case normal and nothing is said",
    ),
    "full-mask": Kind(
        "warning",
        "masks that cover the whole image",
        "look whether the background was saved as the object",
    ),
    "inverted-mask": Kind(
        "warning",
        "masks that are object nearly all around the edge",
        "look whether object and background are swapped",
    ),
    "unusual-share": Kind(
        "warning",
        "objects of an unusual size",
        "look whether the mask belongs to another image, or is a slip of the pen",
    ),
    "near-duplicates": Kind(
        "warning",
        "nearly the same image in several groups",
        "train and test would share it: join the groups (--groups writes them) or keep one image",
    ),
    "label-conflict": Kind(
        "warning",
        "nearly the same image with different labels",
        "find out which label is right, or leave both out",
    ),
    "mask-conflict": Kind(
        "warning",
        "nearly the same image with contradicting masks",
        "draw one of the masks again, or leave both out",
    ),
    "burnt-in-marks": Kind(
        "note",
        "images that may have marks burnt in",
        "a network may learn the marks instead of the object; prefer images without them",
    ),
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: One of `KINDS`.
        message: What was found and where; the remedy is that of the kind.
        files: The files concerned.
        keys: The cases concerned; none where the files did not become a case.
    """

    kind: str
    message: str
    files: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        """`"error"`, `"warning"` or `"note"`."""
        return KINDS[self.kind].severity

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return KINDS[self.kind].remedy
