"""Layouts of image and mask files: two folders, side by side, Pascal VOC; what subfolders mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from pathlib import Path

from kerasunet.data import layouts
from kerasunet.data.cases import Case, DataSet, FileCase, MaskCoding, by_annotation
from kerasunet.data.layouts import contents
from kerasunet.data.layouts.contents import Files, image_files, subfolder, subfolders
from kerasunet.data.layouts.folder_names import (
    BATCH,
    CLASS,
    FOLD,
    NUMBER_OF_FOLD,
    OF_PART,
    OUT,
    PART,
    PARTS,
    VISIT,
    common_kind,
    folders_within,
    kind_of_name,
)
from kerasunet.data.layouts.pairing import (
    RARE_WORD,
    by_image,
    by_rare_word,
    images_beside_masks,
    pair_annotated,
)
from kerasunet.data.layouts.tables import misspelled
from kerasunet.data.readers import count_frames, has_place, locate
from kerasunet.files import raise_all, report_all

PATIENTS, OTHER_FOLDERS = "one folder per patient", "folders that are no patients"
_LIKE_VISITS = f"{PATIENTS}, though named like visits, sides or years"
_HOLDING = f"{PATIENTS}, though there are folders in these that may be the patients"
FOLDS, VISITS = "one folder per fold", "one folder per visit or side"
_CLASSES = "one folder per class"
Official = Mapping[str, Mapping[str, int | str]]
_CLASS_FOLDERS = ("SegmentationClassPNG", "SegmentationClass")  # labelme once put arrays there.
_VERSION = re.compile(r"(.+)(?:\.rf\.[0-9A-Za-z]{16,}|-frame\d{4,})")
_OF_INSTANCE = re.compile(r"[ _-]?(mask|instance|object)?[ _-]?\d*", re.IGNORECASE)
_DIGEST = re.compile("[0-9a-f]{16,}")  # A name that says nothing, of an object in a folder's image.
_YEAR = re.compile(
    r"(19|20)\d\d([_.-]?(0[1-9]|1[0-2])[_.-]?[0-3]\d|[_.-](0[1-9]|1[0-2]))?|"
    r"[0-3]?\d[_.-][01]?\d[_.-](19|20)\d\d|"
    r"(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|"
    r"oct(ober)?|nov(ember)?|dec(ember)?)[ _-]?(19|20)\d\d"
)
_MOST_NAMED, _MOST_FRAMES, _MOST_YEARS = 3, 100_000, 5  # More years are numbers of patients.
_MAY_HOLD_MANY = (".dcm", ".dicom", ".nii", ".nii.gz", ".tif", ".tiff", ".nrrd", ".mha")


def images_and_masks(folder: Path) -> Sequence[Case] | None:
    """Read `images/x.jpg` with `masks/x.png`, or with `masks/x_mask.png`, `masks/x_seg_1.png` …

    Both may have subfolders of equal names; or masks alone, one for each class; or images alone.
    Images without a mask are unannotated.
    """
    masks = contents.mask_folder(folder, *layouts.MASK_FOLDERS) or contents.mask_folder(
        folder, *layouts.OTHER_MASK_FOLDERS
    )
    return _two_folders(subfolder(folder, *layouts.IMAGE_FOLDERS), masks)


def images_and_masks_of_other_names(folder: Path) -> Sequence[Case] | None:
    """Read `img/` … with `masks/`, `images/` with `seg/` …, or `x` with `masks/x` or `x_roi`."""
    # Such names are common for other things, too, so this is for folders in no other layout.
    names = (layouts.IMAGE_FOLDERS, layouts.EVERY_IMAGE_FOLDER)
    images = next(filter(None, (subfolder(folder, *some) for some in names)), None)
    images = images or contents.version_of(folder, *names[0]) or subfolder(folder, "data")
    if images is not None and subfolder(images, *layouts.IMAGE_FOLDERS):
        return None
    places = (layouts.MASK_FOLDERS, layouts.OTHER_MASK_FOLDERS, layouts.EVERY_MASK_FOLDER)
    masks = next(filter(None, (contents.mask_folder(folder, *some) for some in places)), None)
    masks = masks or contents.version_of(folder, *layouts.MASK_FOLDERS)
    if images or not (files := image_files(folder)):
        return _two_folders(images, masks)
    if masks and (found := image_files(masks)):
        return pair_annotated(files, by_image(found, files))
    others = {stem: of for stem, of in files.items() if not RARE_WORD.fullmatch(stem)}
    beside = by_rare_word({stem: files[stem] for stem in files.keys() - others}, others)
    return pair_annotated(others, beside) if beside else None


def _two_folders(image_folder: Path | None, mask_folder: Path | None) -> Sequence[Case] | None:
    if image_folder is None or mask_folder is None:
        return None
    images, masks = map(contents.nested_image_files, (image_folder, mask_folder))
    if not masks:
        return None
    are_deep = [{"/" in key for key in files} for files in (images, masks)]
    if are_deep == [{False}, {True}]:
        masks = _of_all_classes(masks, images)
    elif are_deep == [{True}, {False}]:
        masks = _of_folders(masks, images)
    paired = by_image(masks, images)
    if {*images} == {image_folder.parent.name} and all(map(_DIGEST.fullmatch, masks)):
        paired = {key: [path for of in masks.values() for path in of] for key in images}
    return _inner_first(pair_annotated(images, paired))


def _of_folders(masks: Files, images: Files) -> Files:
    """Give masks of one folder the keys of images in several, where their names are unique."""
    count = Counter(key.rpartition("/")[2] for key in images)
    single = {stem: key for key in images if count[stem := key.rpartition("/")[2]] == 1}
    paired = by_image(masks, {stem: images[key] for stem, key in single.items()})
    return {single.get(stem, stem): paths for stem, paths in paired.items()}


def _of_all_classes(masks: Files, images: Files) -> Files:
    """Put the files of all classes together, `lungs/x` and `heart/x` to `x`, or `x/1` and `x/2`."""
    classes: dict[str, Files] = {}
    for key, paths in masks.items():
        name, _, stem = key.partition("/")
        classes.setdefault(name, {})[stem] = paths
    every = classes.items()
    named = [(stem, stem.removeprefix(name)) for name, files in every for stem in files]
    others = () if classes.keys() == images.keys() != {stem for stem, _ in named} else images
    foreign = [s for s, end in named if not _OF_INSTANCE.fullmatch(end) or (end and s in others)]
    if classes.keys() <= images.keys() and not foreign:
        return {name: [path for of in files.values() for path in of] for name, files in every}
    united: Files = {}
    for files in classes.values():
        for key, paths in by_image(files, images).items():
            united.setdefault(key, []).extend(paths)
    return united


def images_alone(folder: Path) -> Sequence[Case]:
    """Read `images/x.png`, or `test/x.png`, where no folder beside it holds images."""
    if OF_PART.fullmatch(folder.name) and not subfolders(folder):
        return pair_annotated(image_files(folder), {})
    image_folder = subfolder(folder, *layouts.IMAGE_FOLDERS)
    beside = [p for p in subfolders(folder) if p != image_folder and not contents.shows_view(p)]
    if image_folder is None or any(image_files(path) for path in (folder, *beside)):
        return []
    return _inner_first(pair_annotated(contents.nested_image_files(image_folder), {}))


def masks_beside_images(folder: Path) -> Sequence[Case] | None:
    """Read `x.png` with `x_mask.png`, `x_mask_1.png` …, all in one folder."""
    images, masks = images_beside_masks(image_files(folder))
    above = folder.name.lower() in layouts.EVERY_MASK_FOLDER and image_files(folder.parent)
    return pair_annotated(images, masks) if masks and (images or not above) else None


def pascal_voc(folder: Path) -> Sequence[Case] | None:
    """Read `JPEGImages/` with `SegmentationClass/`; void outlines belong to no object."""
    folders = [path for name in _CLASS_FOLDERS if (path := folder / name).is_dir()]
    if not folders or not (folder / "JPEGImages").is_dir():
        return None
    images, *masks = map(contents.nested_image_files, (folder / "JPEGImages", *folders))
    paired = pair_annotated(images, next(filter(None, masks), {}), MaskCoding(void=True))
    return _inner_first(paired)


def interpret(cases: Sequence[Case]) -> tuple[list[Case], str, Official]:
    """Interpret the subfolders of cases, the first parts of keys such as `a/x`.

    `train/`, `val/` and `test/` are an official division, and so are `fold0/`, `fold1/` …;
    `benign/`, `malignant/`, `positive/` and the like are labels; `batch1/`, `siteA/` and the like
    say nothing; in `day1/`, `day2/`, `left/`, `right/` and the like, what has the same name is one
    group; the folder of any other name holds one patient and is a group. A `ValueError` says if
    folders of different meaning are mixed, or seem to hold the same images.

    Returns:
        The cases; what the folders are, for messages; the official divisions.
    """
    annotated, _ = by_annotation(cases)
    report_all([*misspelled(case.group for case in cases if case.group != case.key)], "")
    names = {folder_of(case).lower() for case in annotated} - {""}
    if not names:
        return list(cases), "", {}
    kind = common_kind(sorted(names))
    if kind == PART:
        by_key = {case.key: OF_PART.fullmatch(folder_of(case)) for case in annotated}
        parts = {key: PARTS[found[1].lower()] for key, found in by_key.items() if found}
        return list(cases), "one folder per part", {"folders": parts}
    if kind == CLASS:
        return _labeled(cases, names), _CLASSES, {}
    if kind == FOLD:
        return list(cases), FOLDS, {"folders": _numbered(annotated)}
    are_images = all(map(_DIGEST.fullmatch, names)) and all(
        case.key.endswith(f"{folder_of(case)}/{folder_of(case)}") for case in annotated
    )
    if are_images or kind in (BATCH, OUT) or (kind == VISIT and len(names) == 1):
        return list(cases), OTHER_FOLDERS, {}
    are_years = len(names) <= _MOST_YEARS and all(map(_YEAR.fullmatch, names))
    grouped = all(case.group != case.key for case in annotated if folder_of(case))
    if (grouped and (are_years or kind == VISIT)) or (kind == VISIT and _names_recur(annotated)):
        report_all([*misspelled(map(_name_within, cases))], "")
        return [replace(case, group=_name_within(case)) for case in cases], VISITS, {}
    report_all([*misspelled(map(folder_of, cases))], "")
    patients = [replace(case, group=folder_of(case) or case.group) for case in cases]
    what = _HOLDING if folders_within(case.key for case in annotated) else PATIENTS
    return patients, _LIKE_VISITS if kind == VISIT or are_years else what, {}


def doubtful_patients(data: DataSet) -> Iterator[str]:
    """Yield which folders may be the patients, or patients of other folders of the same names."""
    within = folders_within(case.key for case in data.cases)
    if within and data.layout.startswith(PATIENTS):
        yield (
            f"{within[0]} and the like are in folders taken for patients; if they are patients, "
            "call those above site1, site2 …"
        )
    above: dict[str, set[str]] = {}
    for case in data.cases if data.layout.startswith((OTHER_FOLDERS, _CLASSES)) else ():
        place, found, _ = case.key.partition(f"/{case.group}/")
        above.setdefault(case.group, set()).update([place] if found else [])
    shared = sorted(group for group, places in above.items() if len(places) > 1)
    if shared:
        names = ", ".join(shared[:_MOST_NAMED])
        places = " and ".join(sorted(above[shared[0]])[:2])
        yield (
            f"{names}: in several folders, such as {places}, and taken for the same patients; if "
            "they are others, give each patient a name of its own"
        )


def _inner_first(cases: Sequence[Case]) -> Sequence[Case]:
    """Interpret the lower of two levels of subfolders, such as `day1/` of `P1/day1/x`."""
    deep = [case for case in cases if case.key.count("/") > 1]
    tops, keys = zip(*(case.key.split("/", 1) for case in deep), strict=True) if deep else ((), ())
    if len({key.partition("/")[0] for key in keys}) < 2:
        return cases
    inside = [replace(case, key=key, group=key) for case, key in zip(deep, keys, strict=True)]
    inner, _, official = interpret(inside)
    if official:
        raise ValueError(f"{deep[0].key}: parts or folds are in other folders; put them on top")
    moved = [case for top, case in zip(tops, inner, strict=True) for case in under(top, [case])]
    return [*(case for case in cases if case.key.count("/") < 2), *moved]


def _labeled(cases: Sequence[Case], names: Collection[str]) -> list[Case]:
    """Label the cases by their folders, but those without a mask only if theirs is a class."""
    folders = [folder_of(case).lower() for case in cases]
    return [
        replace(case, label=of) if of in names or (of and kind_of_name(of) == CLASS) else case
        for case, of in zip(cases, folders, strict=True)
    ]


def _numbered(cases: Sequence[Case]) -> dict[str, int]:
    numbers = {
        c.key: int(found[1]) for c in cases if (found := NUMBER_OF_FOLD.fullmatch(folder_of(c)))
    }
    order = sorted({*numbers.values()})
    return {key: order.index(number) for key, number in numbers.items()}


def _names_recur(cases: Sequence[Case]) -> bool:
    """Return whether folders share names."""
    pairs = {(_name_within(case), folder_of(case)) for case in cases if folder_of(case)}
    return len({name for name, _ in pairs}) < len(pairs)


def _name_within(case: Case) -> str:
    """Return the group that a case has, or else its key within its folder."""
    return case.group if case.group != case.key else case.key.removeprefix(f"{folder_of(case)}/")


def under(name: str, cases: Iterable[Case]) -> list[Case]:
    """Move cases under a subfolder: key `x` becomes `name/x`; the group of a patient stays."""
    listed = list(cases)
    groups = [f"{name}/{c.group}" if _is_named_after_file(c) else c.group for c in listed]
    return [replace(c, key=f"{name}/{c.key}", group=g) for c, g in zip(listed, groups, strict=True)]


def _is_named_after_file(case: Case) -> bool:
    folder, _, name = case.key.partition("/")
    return case.group == case.key or (case.group == name and kind_of_name(folder.lower()) == VISIT)


def folder_of(case: Case) -> str:
    """Return the subfolder that a case is in; empty if it is in none."""
    return case.key.rpartition("/")[0].partition("/")[0]


def frames_apart(data: DataSet) -> DataSet:
    """Make a case of every frame, and a group of the versions of an image.

    Frames of `x` have the keys `x-frame0000`, `x-frame0001` … If masks do not have as many frames
    as their image, the message of the `ValueError` lists every one.
    """
    data = replace(data, cases=tuple(_versions_together(data.cases)))
    files = [case for case in data.cases if isinstance(case, FileCase)]
    known = {case.key: _count(case.image) for case in files}
    counts = {key: count or 1 for key, count in known.items()}
    words = f"frames, more than the limit of {_MOST_FRAMES:,}; export the frames that were outlined"
    many = [case for case in files if counts[case.key] > _MOST_FRAMES]
    raise_all([f"{case.image}: states that it has {counts[case.key]:,} {words}" for case in many])
    faults = {case.key: list(_unequal(case, counts[case.key])) for case in files if known[case.key]}
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
        official={
            name: {frame.key: part for key, part in division.items() for frame in frames[key]}
            for name, division in data.official.items()
        },
    )


def _versions_together(cases: Sequence[Case]) -> Iterator[Case]:
    """Give versions of an image one group: those by Roboflow, `x_png.rf.` and a digest, and frames.

    These are named `x-frame0012` where each is a picture, as `predict` writes them for annotation.
    """
    first: dict[str, str] = {}
    for case in cases:
        source = _VERSION.fullmatch(case.key) if case.group == case.key else None
        group = first.setdefault(source[1], case.key) if source else case.group
        yield case if group == case.group else replace(case, group=group)


def _count(path: Path) -> int | None:
    """Count the frames of a file; `None` if it is unreadable, as is said when it is read."""
    if contents.image_stem(path.name) and not path.name.lower().endswith(_MAY_HOLD_MANY):
        return 1
    try:
        return count_frames(path)
    except (OSError, ValueError):
        return None


def _unequal(case: FileCase, wanted: int) -> Iterator[str]:
    for path in case.masks:
        found = _count(path)
        if found and found != wanted and not _are_placed((case.image, wanted), (path, found)):
            yield (
                f"{path}: its number of frames is {found}, that of {case.image.name} is {wanted}; "
                "export a mask of every frame, or only the frame that was outlined"
            )


def _are_placed(image: tuple[Path, int], mask: tuple[Path, int]) -> bool:
    """Return whether a mask finds an image of one frame, or of as many pixels, by its place."""
    with suppress(OSError, ValueError):  # Reported when it is read.
        sizes = [
            count * prod(locate(path).shape) for path, count in (image, mask) if has_place(path)
        ]
        return len(sizes) == 2 and (image[1] == 1 or sizes[0] == sizes[1])
    return False


def _frames(case: Case, count: int) -> list[Case]:
    numbered = (replace(case, key=f"{case.key}-frame{n:04d}", frame=n) for n in range(count))
    return [case] if count == 1 else [*numbered]
