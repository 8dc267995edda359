"""Images and masks are paired by key; whatever does not pair up is reported all at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from kerasunet.data.cases import FileCase, MaskCoding
from kerasunet.data.layouts.listing import Files, image_stem
from kerasunet.data.problems import report_all

# "x_mask", "x_mask_1", "x_mask2", "x_mask_left", but not "face_masks_7", which is an image.
_BESIDE = re.compile(r"(?P<key>.+)_mask(?:\d*|[_ -].*)", re.IGNORECASE)
_IN_MASK_FOLDER = re.compile(
    r"(?P<key>.+)[_-](?:masks?|seg|segmentation|gt|labels?)(?:\d*|[_ -].*)", re.IGNORECASE
)


def pair(
    images: Files,
    masks: Files,
    coding: MaskCoding = MaskCoding(),
    group: Callable[[str], str] = lambda key: key,
    label: Callable[[str], str] = lambda key: "",
) -> list[FileCase]:
    """Makes a case of every image and the masks of the same key.

    Args:
        images: Image files by key, one for each.
        masks: Mask files by key; several of one key are united.
        coding: How the masks code the object.
        group: Group of a key.
        label: Label of a key.

    Returns:
        The cases, sorted by key.

    Raises:
        ValueError: Images have no mask, masks have no image, or files differ in suffix only; the
            message lists every one.
    """
    problems = [*doubled(images), *doubled(masks)]
    problems += [*_alone(images, masks, "mask"), *_alone(masks, images, "image")]
    report_all(problems, f"{len(problems)} files cannot be paired:")
    return [
        FileCase(key, group(key), images[key][0], tuple(masks[key]), label(key), coding)
        for key in sorted(images.keys() & masks.keys())
    ]


def by_image(masks: Files, keys: Collection[str]) -> Files:
    """Sorts the files of a mask folder by image: `x`, `x_mask`, `x_seg_2` … belong to `x`."""
    sorted_masks: Files = {}
    for stem, paths in masks.items():
        key = stem if stem in keys else _shortened(stem, _IN_MASK_FOLDER)
        sorted_masks.setdefault(key if key in keys else stem, []).extend(paths)
    return sorted_masks


def images_beside_masks(files: Files) -> tuple[Files, Files]:
    """Tells `x` from `x_mask`, `x_mask_1` …, all in one folder: images and masks, by key."""
    masks: Files = {}
    for stem, paths in files.items():
        if _BESIDE.fullmatch(stem):
            masks.setdefault(_shortened(stem, _BESIDE), []).extend(paths)
    return {stem: paths for stem, paths in files.items() if not _BESIDE.fullmatch(stem)}, masks


def doubled(files: Files) -> Iterator[str]:
    """Complaints about files that differ in their suffix only."""
    for paths in files.values():
        stems: dict[str | None, str] = {}
        for path in paths:
            first = stems.setdefault(image_stem(path.name), path.name)
            if first != path.name:
                yield f"{path}: differs from {first} in the suffix only; keep one of them"


def _alone(files: Files, partners: Files, wanted: str) -> Iterator[str]:
    spellings = {key.casefold(): paths[0].name for key, paths in partners.items()}
    for key in sorted(files.keys() - partners.keys()):
        alike = spellings.get(key.casefold())
        hint = f" ({alike} differs in upper and lower case)" if alike else ""
        for path in files[key]:
            yield f"{path}: has no {wanted}{hint}"


def _shortened(stem: str, pattern: re.Pattern) -> str:
    match = pattern.fullmatch(stem)
    return match["key"] if match else stem
