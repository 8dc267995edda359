"""Pairing images and masks by key: how the names of masks say of which image they are."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from kerasunet.data.cases import Case, FileCase, MaskCoding, UnannotatedCase
from kerasunet.data.layouts.contents import Files, image_stem, images_below, own_files
from kerasunet.data.layouts.folder_names import COPY, as_seen
from kerasunet.files import raise_all, report_all

_OME, _OF_SLICER = ".ome", ".seg.nrrd"
_LOCAL_FILE = "?d="  # In Label Studio's addresses of local files, before the path.
# "x_mask", "x_mask_1", "x_mask2", "x_mask_left", but not "face_masks_7", which is an image.
_REST = r"(?P<rest>\d*|\(\d+\)|[_ -].*)"
_BESIDE = re.compile(rf"(?P<key>.+)_mask{_REST}", re.IGNORECASE)
OTHER_WORDS = "seg|segmentation|gt|ground_?truth|annotation|label"
_BESIDE_OTHERWISE = re.compile(
    rf"(?P<key>.+)(?<!_cp)(?P<word>_((cp_)?masks|{OTHER_WORDS})|-(mask|{OTHER_WORDS})){_REST}",
    re.IGNORECASE,
)
RARE_WORD = re.compile(
    r"(?i)(?P<key>.+)[_ -](?P<word>roi|lesion|tumou?r|maske|masque|m[aá]scara|maschera|msk|dseg|"
    "manual|outline|contour|all_objects)"
)
"""Names of masks that are so rare that they count only where no other layout fits."""
_IN_MASK_FOLDER = re.compile(
    rf"(?P<key>.+)[_-](?P<word>masks?|annotations|labels|{OTHER_WORDS}){_REST}", re.IGNORECASE
)
_WORD = r"(?:^|[_ -])(?:{})(?=$|[_ -]|\d)"
OF_IMAGE = re.compile(_WORD.format("images?|imaging|imgs?|scans?|volumes?"), re.IGNORECASE)
OF_MASK = re.compile(_WORD.format(f"masks?|annotations|labels|{OTHER_WORDS}"), re.IGNORECASE)
_OF_DRIVE = re.compile(r"(\d\d)_(training|test)")
# What programs and people add to the name of a copy or a version: "- Copy", "_2024-01-31T1200" …
OF_COPY = re.compile(
    rf"[_ –—-]+({COPY})(?![^\W\d_])[_ -]?(\(\d+\)|\d*)"
    rf"|[_ -]*\([^()]*\b({COPY})\b[^()]*\)"
    r"|-(desktop|laptop)-[a-z\d]+(-\d+)?$"
    r"|(^|[_ -]+)\(?(19|20)\d\d[_.-]?(0[1-9]|1[0-2])[_.-]?(0[1-9]|[12]\d|3[01])"
    r"([t_ -]?([01]\d|2[0-3])[:.-]?[0-5]\d([:.-]?[0-5]\d)?)?\)?(?!\d)",
    re.IGNORECASE,
)
_BY_TASK = " (Label Studio numbers tasks, not images; its JSON says which is which)"
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
# Beside a name without it, the number is that of a copy; macOS calls a copy of `x_mask` `x_mask 2`.
_OF_NUMBERED_COPY = re.compile(r"[_ -]?\(\d+\)$|^ \d+$")


def pair(
    images: Files,
    masks: Files,
    coding: MaskCoding = MaskCoding(),
    *,
    group: Callable[[str], str] = lambda key: key,
    label: Callable[[str], str] = lambda key: "",
) -> list[FileCase]:
    """Make cases as `pair_annotated` does, of images that all have a mask, group and label."""
    cases = pair_annotated(images, masks, coding, complete=True)
    files = (case for case in cases if isinstance(case, FileCase))
    return [replace(case, group=group(case.key), label=label(case.key)) for case in files]


def pair_annotated(
    images: Files, masks: Files, coding: MaskCoding = MaskCoding(), *, complete: bool = False
) -> list[Case]:
    """Make a case of every image and the masks of the same key; images without one may be there.

    Args:
        images: Image files by key, one for each.
        masks: Mask files by key; several of one key are united.
        coding: How the masks code the object.
        complete: Whether every image must have a mask.

    Returns:
        The cases, sorted by key, those without a mask as `UnannotatedCase`.

    Raises:
        ValueError: Masks have no image, or files differ in suffix only; the message lists every
            one.
    """
    problems = [*doubled(images), *doubled(masks)]
    problems += [*(_alone(images, masks, "mask") if complete else ())]
    problems += [*_alone(masks, images, "image")]
    report_all(problems, f"{len(problems)} files cannot be paired; a manifest.csv pairs any names:")
    return [
        FileCase(key, key, paths[0], masks=tuple(masks[key]), coding=coding)
        if key in masks
        else UnannotatedCase(key, key, paths[0])
        for key, paths in sorted(images.items())
        if key in masks or not complete
    ]


def by_image(masks: Files, images: Files) -> Files:
    """Assign the files of a mask folder to images: `x`, `x_mask`, `x_seg_2`, `x.jpg` … are of `x`.

    Those of one image with several such words, or which look like copies, are a `ValueError`.
    """
    full_names = {name: key for key in images for name in _full_names(key, images[key][0])}
    sorted_masks: Files = {}
    endings: dict[str, dict[str, tuple[str, str]]] = {}
    for stem, paths in masks.items():
        names = {stem: ("", ""), stem.removesuffix(_OME): ("", "")}
        if match := _IN_MASK_FOLDER.fullmatch(stem):
            ending = (match["word"].lower().rstrip("s"), match["rest"].lower())
            names |= {match["key"]: ending, match["key"].removesuffix("_cp"): ending}
        name = next((name for name in names if name in images or name in full_names), stem)
        key = name if name in images else full_names.get(name, stem)
        sorted_masks.setdefault(key, []).extend(paths)
        endings.setdefault(key, {})[stem] = names[name]
    mixed = [
        " and ".join(found)
        for found in endings.values()
        if len({word for word, _ in found.values()}) > 1 or len({*found.values()}) < len(found)
    ]
    raise_all(mixed, "an image has masks of several kinds, keep one of them:")
    rests = {key: {stem: rest for stem, (_, rest) in of.items()} for key, of in endings.items()}
    _check_endings(rests, images)
    _check_images(images, sorted_masks)
    if sorted_masks.keys() & images:
        return sorted_masks
    return _by_words(masks, images) or by_rare_word(masks, images) or masks


def _by_words(masks: Files, images: Files) -> Files:
    """Assign `mask_7` to `image_7` or `7`, and `x_seg_7` to `x_img_7`; nothing if a mask is left.

    Without what is before and after these words, as in `mask`, the image is called `image`.
    """
    keys: dict[str, list[str]] = {}
    for key in images:
        keys.setdefault(without(OF_IMAGE, key), []).append(key)
    wanted = {stem: keys.get(without(OF_MASK, stem), []) for stem in masks}
    found = {key: masks[stem] for stem, of in wanted.items() if stem not in of for key in of}
    return found if all(len(of) == 1 for of in wanted.values()) and len(found) == len(masks) else {}


def by_rare_word(masks: Files, images: Files) -> Files:
    """Assign `x_roi` to `x`, if all masks have the same such word; nothing if a mask is left."""
    matches = [match for stem in masks if (match := RARE_WORD.fullmatch(stem))]
    found = {match["key"]: masks[match[0]] for match in matches if match["key"] in images}
    alike = len({match["word"].casefold() for match in matches}) == 1
    return found if alike and len(found) == len(masks) else {}


def without(words: re.Pattern[str], key: str) -> str:
    """Return a key without such a word and what divides it from the rest, if it has one."""
    folder, slash, name = key.rpartition("/")
    found = words.sub("", name) if len(words.findall(name)) == 1 else name
    return f"{folder}{slash}{found.lstrip('_ -')}"


def keys_of_masks(masks: Files, folder: str, images: Files, *, image_folder: str) -> Files:
    """Return the masks of a folder by the image in another, if their names or folders fit.

    Masks are called `x_mask`, `x_segmentation` …, or folders `train/` and `train_masks/`, or
    `trainannot/`, or `val-image/` and `val-mask/`, or `x_image/x` and `x_lesion/x_lesion`.
    """
    named = {stem: _IN_MASK_FOLDER.fullmatch(stem) for stem in masks}
    alike = without(OF_MASK, folder) == without(OF_IMAGE, image_folder) != folder
    alike |= folder == f"{image_folder}annot"
    called = any(stem.endswith(f"_{folder.rpartition('_')[2]}") for stem in masks)
    if not alike and not all(match and match["key"] in images for match in named.values()):
        return by_rare_word(masks, images) if called and OF_IMAGE.search(image_folder) else {}
    found = by_image(masks, images)
    return found if found.keys() <= images.keys() else {}


def _check_endings(endings: Mapping[str, Mapping[str, str]], images: Collection[str]) -> None:
    """Refuse copies of a mask and `x_mask_1` that may be of `x_1`, given what follows `_mask`."""
    copies = [found for found in endings.values() if _has_copies(found.values())]
    raise_all(
        [" and ".join(f"'{stem}'" for stem in found) for found in copies],
        "these look like copies or versions of one mask; keep one of them, or, if they are parts "
        "of one object, give them numbers such as _1 and _2:",
    )
    bare = {_joined(key): key for key in images if key not in endings}
    doubtful = [
        f"{stem} is of {key} or of {bare[other]}, which has no mask; name it after its image"
        for key, found in endings.items()
        for stem, other in ((stem, _joined(key + rest)) for stem, rest in found.items() if rest)
        if other in bare
    ]
    raise_all(doubtful)


def _check_images(images: Files, masks: Files) -> None:
    """Refuse images that are called like the mask of another, as masks among images are."""
    bare = {without(OF_IMAGE, key): key for key in images if key not in masks}
    found = ((key, bare.get(without(OF_MASK, key))) for key in sorted(images.keys() & masks.keys()))
    what = "which has none; keep only images in this folder"
    raise_all(
        [f"{images[key][0]}: is called like a mask of {of}, {what}" for key, of in found if of]
    )


def _has_copies(rests: Collection[str]) -> bool:
    """Return whether endings differ only in what tells copies apart; any others are of parts."""
    originals = [OF_COPY.sub("", rest) for rest in rests]
    numbered = filter(_OF_NUMBERED_COPY.search, originals)
    copied = {_OF_NUMBERED_COPY.sub("", original) for original in numbered}
    return len({*originals}) < len(originals) or not copied.isdisjoint(originals)


def _full_names(key: str, image: Path) -> Iterator[str]:
    """Yield other names of an image: `x.jpg`, `x` for `x.IMA` and `x.ome.tif`; DRIVE's masks."""
    folder = key.removesuffix(key.rpartition("/")[2])
    if number := _OF_DRIVE.fullmatch(key):
        yield f"{number[1]}_manual1"
    yield f"{folder}{_composed(image.name)}"
    yield key.removesuffix(_OME)
    if image_stem(image.name) is None and image.suffix[1:].isalpha():
        yield f"{folder}{_composed(image.stem)}"


def images_beside_masks(files: Files) -> tuple[Files, Files]:
    """Separate `x` from `x_mask`, `x_mask_1` … of one folder: images and masks, by key.

    Where no name has `_mask`, masks may be `x_seg`, `x_gt`, `x-label` … instead; such a word counts
    if `x` is there for one of its names at least, and several of them are a `ValueError`. Beside
    `_mask`, `x-label` is an image.
    """
    key_of = _keys_beside(files)
    masks: Files = {}
    for stem, key in key_of.items():
        masks.setdefault(key, []).extend(files[stem])
    if masks:
        return {stem: paths for stem, paths in files.items() if stem not in key_of}, masks
    named = {stem: files[stem] for stem in files if without(OF_MASK, stem) != stem}
    images = {stem: paths for stem, paths in files.items() if stem not in named}
    if found := _by_words(named, images):
        return images, found
    of_slicer = {stem: of for stem, of in files.items() if of[0].name.lower().endswith(_OF_SLICER)}
    if len(files) == 2 and len(of_slicer) == 1:  # It may be called `Segmentation`.
        images = {stem: of for stem, of in files.items() if stem not in of_slicer}
        return images, dict(zip(images, of_slicer.values(), strict=True))
    return files, {}


def _keys_beside(files: Files) -> dict[str, str]:
    """Return the key of every mask, by its stem."""
    usual = [match for stem in files if (match := _BESIDE.fullmatch(stem))]
    others = [match for stem in files if (match := _BESIDE_OTHERWISE.fullmatch(stem))]
    words = {match["word"].lower() for match in others if match["key"] in files}
    words = {word for word in words if word[0] == "_" or not usual}
    if len(words) + bool(usual) > 1:
        known = ", ".join(f"x{word}" for word in sorted(words | ({"_mask"} if usual else set())))
        folder = next(iter(files.values()))[0].parent
        raise ValueError(f"{folder}: has masks of several kinds, {known}; keep one of them")
    found = usual or [match for match in others if match["word"].lower() in words]
    # An image may be called `x_mask_1` where there is no `x`, but a mask of it.
    key_of = {match[0]: match["key"] for match in found}
    images = {key for key in key_of.values() if key in key_of and key_of[key] not in files}
    masks = [match for match in found if match[0] not in images]
    endings: dict[str, dict[str, str]] = {}
    for match in masks:
        endings.setdefault(match["key"], {})[match[0]] = match["rest"]
    _check_endings(endings, files.keys() - {match[0] for match in masks})
    return {match[0]: match["key"] for match in masks}


def masks_by_name(files: Files) -> set[str]:
    """Return the stems of one folder that are those of another with `_mask`, `_seg` or the like."""
    patterns = (_BESIDE, _BESIDE_OTHERWISE, RARE_WORD)
    matches = (pattern.fullmatch(stem) for stem in files for pattern in patterns)
    found = {match[0] for match in matches if match and match["key"] in files}
    return found or files.keys() - images_beside_masks(files)[0].keys()


def doubled(files: Files) -> Iterator[str]:
    """Yield problems with files that differ in their suffix only."""
    for paths in files.values():
        stems: dict[str | None, str] = {}
        for path in paths:
            first = stems.setdefault(image_stem(path.name), path.name)
            if first != path.name:
                same = _composed(path.name) == _composed(first)
                what = "the Unicode form of its accents" if same else "its suffix"
                yield f"{path}: differs from {first} only in {what}; keep one of them"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _loosely(key: str) -> str:
    """Return a key without what people overlook: alphabet, case, spaces, zeros before numbers."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", "".join(as_seen(key).casefold().split()))


def _joined(key: str) -> str:
    """Return a key, loosely, without what divides its parts, but for two numbers."""
    return _loosely(re.sub(r"(?<!\d)[_ -]+|[_ -]+(?!\d)", "", re.sub(r"[_ -]+", "_", key)))


def _alone(files: Files, partners: Files, wanted: str) -> Iterator[str]:
    spellings = {_loosely(key): paths[0].name for key, paths in partners.items()}
    unread = _of_other_kinds(partners) if wanted == "image" else {}
    for key in sorted(files.keys() - partners.keys()):
        alike = spellings.get(_loosely(key))
        case = alike and key.rpartition("/")[2].casefold() == image_stem(alike.casefold())
        what = "upper and lower case" if case else "spaces, zeros before numbers, case or alphabet"
        hint = f" ({alike} differs only in {what})" if alike else ""
        if not hint and (other := unread.get(key)):
            hint = f" ({other} is of a kind that is not read; convert it to PNG)"
        hint = hint or (_BY_TASK if "-annotation-" in key else "")
        for path in files[key]:
            yield f"{path}: has no {wanted}{hint}"


def _of_other_kinds(images: Files) -> dict[str, str]:
    """Return the names, by stem, of files beside images that are none of a kind that is read."""
    names = [p.name for of in {one[0].parent for one in images.values()} for p in own_files(of)]
    others = [name for name in names if not image_stem(name)]
    return {_composed(image_stem(Path(name).stem) or Path(name).stem): name for name in others}


@dataclass
class ImageSearch:
    """Finds image files below a folder by what annotations call them."""

    root: Path
    part: str

    def find(self, name: str) -> list[Path]:
        """Return the file of an image, none if it is missing, several if that is ambiguous."""
        texts = (name, unquote(name.rpartition(_LOCAL_FILE)[2]))
        paths = (PurePosixPath(text.replace("\\", "/")) for text in texts)
        return next(filter(None, map(self._found, paths)), [])

    def _found(self, called: PurePosixPath) -> list[Path]:
        inside = not called.is_absolute() and ".." not in called.parts
        places = [self.root / called, self.root / "images" / called] if inside else []
        # `Path.is_file` fails on names that are too long.
        if there := next(filter(os.path.isfile, places), None):
            return [there]
        listed, name = self._by_name, unicodedata.normalize("NFC", called.name)
        found = listed.get(name) or listed.get(_UPLOADED.sub("", name, count=1), [])
        named = self._folders_of_images & {p.parent for p in places if called.parent.name}
        if named:  # The file is in this folder of images, or missing.
            found = [path for path in found if named & {*path.parents}]
        return self._closest(called, found) if found else []

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        listed: dict[str, list[Path]] = {}
        for path in images_below(self.root):
            listed.setdefault(unicodedata.normalize("NFC", path.name), []).append(path)
        return listed

    @cached_property
    def _folders_of_images(self) -> set[Path]:
        return {parent for paths in self._by_name.values() for p in paths for parent in p.parents}

    def _closest(self, called: PurePosixPath, found: list[Path]) -> list[Path]:
        """Keep the paths that share most folders with the name, and those of the part, if any."""
        shared = [shared_end(called.parts, path.parts) for path in found]
        best = [path for path, n in zip(found, shared, strict=True) if n == max(shared)]
        within = [path for path in best if self.part in self._folders(path)]
        return within if len(within) == 1 else best

    def _folders(self, path: Path) -> set[str]:
        """Return the folders of a path in lower case, also without numbers as in `train2017`."""
        parts = [part.lower() for part in path.relative_to(self.root).parts[:-1]]
        return {*parts, *(part.rstrip("0123456789") for part in parts)}


def misplaced(called: Sequence[tuple[str, Sequence[Path]]]) -> Iterator[str]:
    """Yield what is wrong with the files found for images, given what each image is called."""
    for name, places in called:
        if not places:
            yield f"image {name}: no such file where its path leads, or elsewhere; case matters"
        elif len(places) > 1:
            yield f"image {name}: may be any of {', '.join(map(str, places))}; give its folder"
    single = [(name.replace("\\", "/"), places[0]) for name, places in called if len(places) == 1]
    inside = [(PurePosixPath(name), file) for name, file in single if "/" in name]
    strayed = [  # Images that are not in the folder they name, while others are, may be missing.
        f"image {path}: no such file, but there is {file}"
        for path, file in inside
        if shared_end(path.parts, file.parts) < len(path.parts) - 1 and not path.is_absolute()
    ]
    yield from strayed if len(strayed) < len(inside) else ()
    for file, count in Counter(file for _, file in single).items():
        if count > 1:
            yield f"{count} of its images are the file {file}; unite them to one"


def shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the folders that two paths, given as parts, have in common, from the end."""
    pairs = zip(reversed(one[:-1]), reversed(other[:-1]), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)) - 1)
