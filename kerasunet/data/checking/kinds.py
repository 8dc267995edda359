"""The kinds of problems that a check finds, how bad each is, and its remedy."""

from __future__ import annotations

from collections.abc import Mapping
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
        "error", "masks that differ from their image in size", "export the mask at the image's size"
    ),
    "not-binary": Kind(
        "error",
        "masks with more than two values",
        "choose the object among labels with --objects; else save masks as PNG, never as JPEG, "
        "without smoothing: 0 and one other value",
    ),
    "mixed-codes": Kind(
        "error",
        "masks in which different values or colors are the object",
        "say with --objects whether one of them is meant, or all",
    ),
    "left-out": Kind(
        "warning",
        "shapes that have no area or cannot be drawn, and are left out",
        "correct the shape in its program, or delete it there",
    ),
    "coding": Kind(
        "error",
        "masks in which nothing is the object",
        "save masks as 0 and one other value, or leave out the files that make this look like a "
        "published set",
    ),
    "constant-image": Kind(
        "warning", "images that show nothing", "export the image again, or leave the case out"
    ),
    "empty-mask": Kind(
        "warning",
        "empty masks",
        "draw the object; if there is none, label the case normal to silence this",
    ),
    "full-mask": Kind(
        "warning",
        "masks that cover the whole image",
        "check whether the background was saved as the object",
    ),
    "inverted-mask": Kind(
        "warning",
        "masks that are object along nearly the whole edge",
        "check whether object and background are swapped",
    ),
    "unusual-share": Kind(
        "warning",
        "objects of an unusual size",
        "check whether the mask belongs to another image, or was drawn by mistake",
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
    "overlap": Kind(
        "error",
        "objects that exclude each other, and overlap",
        "say --overlapping if a pixel may be of both, or name the upper one last",
    ),
    "absent-object": Kind(
        "error",
        "objects that are in no image",
        "correct --objects, or leave the object out: nothing can be learned of it",
    ),
    "rare-object": Kind(
        "note",
        "objects that only some groups have",
        "a split may leave few of them for training or for the test; give more images of them, or "
        "more folds",
    ),
    "unread": Kind(
        "warning",
        "files that belong to no case",
        "convert images to PNG, give masks the names of their images, or move the files elsewhere",
    ),
    "outline": Kind(
        "warning",
        "masks that are a thin closed line",
        "fill the outline in the program that drew it: only the line counts as the object",
    ),
    "unannotated": Kind(
        "note",
        "images without a mask",
        "they are left out of training and evaluation; draw masks, or let predict segment them",
    ),
    "patient-names": Kind(
        "note",
        "file names that look like patients",
        "give the pattern to check, finetune, study and evaluate, so that no patient is in two "
        "parts of a split",
    ),
    "burnt-in-marks": Kind(
        "note",
        "images that may have burned-in annotations",
        "a network may learn these instead of the object; prefer images without them",
    ),
}
