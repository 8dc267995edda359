"""Layouts of image and mask files: two folders, nnU-Net, side by side, Pascal VOC; subfolders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from kerasunet.data.annotations import ENCODINGS
from kerasunet.data.cases import Case, DataSet, FileCase, MaskCoding
from kerasunet.data.layouts import (
    EVERY_IMAGE_FOLDER,
    EVERY_MASK_FOLDER,
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    OTHER_MASK_FOLDERS,
)
from kerasunet.data.layouts.pairing import (
    Files,
    by_image,
    image_files,
    image_stem,
    images_beside_masks,
    nested_image_files,
    pair_annotated,
    subfolder,
    subfolders,
)
from kerasunet.data.layouts.subfolder_names import PARTS as PARTS, under
from kerasunet.data.readers import count_frames, has_place
from kerasunet.files import raise_all, read_json, report_all

# labelme once wrote the images beside arrays.
_CLASS_FOLDERS = ("SegmentationClassPNG", "SegmentationClass")
_VERSION = re.compile(r"(.+)\.rf\.[0-9A-Za-z]{16,}")
_CHANNEL = re.compile(r"_\d{4}$")
_MOST_FRAMES = 100_000
_MAY_HOLD_MANY = (".dcm", ".dicom", ".nii", ".nii.gz", ".tif", ".tiff", ".nrrd", ".mha")


def images_and_masks(folder: Path) -> Sequence[Case] | None:
    """Read `images/x.jpg` with `masks/x.png`, or with `masks/x_mask.png`, `masks/x_seg_1.png` …

    Both folders may have subfolders of equal names. Or the folder of masks alone has some, one for
    each class. Images without a mask are unannotated.
    """
    masks = subfolder(folder, *MASK_FOLDERS) or subfolder(folder, *OTHER_MASK_FOLDERS)
    return _two_folders(subfolder(folder, *IMAGE_FOLDERS), masks)


def images_and_masks_of_other_names(folder: Path) -> Sequence[Case] | None:
    """Read `img/`, `frames/` … with `masks/`, or `images/` with `seg/`, `binary_masks/` …

    Such names are common for other things, too, so this is for folders in no other layout; and an
    image folder that has an `images/` of its own is a data set, not a part of one.
    """
    images = subfolder(folder, *IMAGE_FOLDERS) or subfolder(folder, *EVERY_IMAGE_FOLDER)
    if images is not None and subfolder(images, *IMAGE_FOLDERS):
        return None
    return _two_folders(
        images,
        subfolder(folder, *MASK_FOLDERS)
        or subfolder(folder, *OTHER_MASK_FOLDERS)
        or subfolder(folder, *EVERY_MASK_FOLDER),
    )


def _two_folders(image_folder: Path | None, mask_folder: Path | None) -> Sequence[Case] | None:
    if image_folder is None or mask_folder is None:
        return None
    images, masks = nested_image_files(image_folder), nested_image_files(mask_folder)
    if not masks:
        return None
    if not any("/" in key for key in images) and all("/" in key for key in masks):
        masks = _of_all_classes(masks, images)
    return pair_annotated(images, by_image(masks, images))


def _of_all_classes(masks: Files, images: Files) -> Files:
    """Put the files of all classes together, `lungs/x` and `heart/x` to `x`."""
    united: Files = {}
    for key, paths in masks.items():
        (name,) = by_image({key.partition("/")[2]: []}, images)
        united.setdefault(name, []).extend(paths)
    return united


def images_alone(folder: Path) -> Sequence[Case]:
    """Read `images/x.png` where no other folder beside it holds images; none of them has a mask.

    Such folders stand beside others that have masks, as the test images of many challenges do.
    """
    image_folder = subfolder(folder, *IMAGE_FOLDERS)
    if image_folder is None:
        return []
    beside = [path for path in subfolders(folder) if path != image_folder]
    if any(image_files(path) for path in (folder, *beside)):
        return []
    return pair_annotated(nested_image_files(image_folder), {})


def nnunet(folder: Path) -> Sequence[Case] | None:
    """Read nnU-Net's `imagesTr/x_0000.png` with `labelsTr/x.png`, also without `_0000`.

    Images in `imagesTs/` are the test part if there is a `labelsTs/`, and unannotated otherwise.

    Raises:
        ValueError: Images have several channels, which are files of their own; or masks have no
            image.
    """
    if not all((folder / name).is_dir() for name in ("imagesTr", "labelsTr")):
        return None
    _check_listed(folder / "dataset.json")
    training = _files_of_part(folder, "Tr")
    has_channels = training[0].keys().isdisjoint(training[1])
    parts = [
        _nnunet_cases(images, masks, has_channels)
        for images, masks in (training, _files_of_part(folder, "Ts"))
    ]
    if not (folder / "labelsTs").is_dir():
        return [case for cases in parts for case in cases]
    return [*under("train", parts[0]), *under("test", parts[1])]


def _check_listed(path: Path) -> None:
    """Refuse a table that pairs images and labels otherwise than their names do."""
    content = read_json(path, ENCODINGS) if path.is_file() else {}
    for named in _listed_pairs(content if isinstance(content, dict) else {}):
        stems = {_CHANNEL.sub("", image_stem(PurePath(name).name) or name) for name in named}
        if len(stems) > 1:
            raise ValueError(
                f"{path}: pairs {' and '.join(named)}, unlike their names; list the images and "
                "masks in a manifest.csv"
            )


def _listed_pairs(content: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield label and first image of each entry: of nnU-Net, with its key, and of the Decathlon."""
    listed = content.get("dataset")
    for key, entry in listed.items() if isinstance(listed, dict) else ():
        if isinstance(entry, dict) and {"label", "images"} <= entry.keys():
            yield (entry["label"], *entry["images"][:1], key)
    listed = content.get("training")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and {"label", "image"} <= entry.keys():
            image = entry["image"]
            yield entry["label"], image if isinstance(image, str) else image[0]


def _files_of_part(folder: Path, part: str) -> tuple[Files, Files]:
    images, masks = (
        image_files(path) if (path := folder / f"{kind}{part}").is_dir() else {}
        for kind in ("images", "labels")
    )
    return images, masks


def _nnunet_cases(images: Files, masks: Files, has_channels: bool) -> list[Case]:
    if not has_channels:
        return pair_annotated(images, masks)
    channels = {stem: _CHANNEL.search(stem) for stem in images}
    further = [
        f"{images[stem][0]}: is a further channel of its image; keep only the first, _0000"
        for stem, found in channels.items()
        if found and found[0] != "_0000"
    ]
    report_all(further, f"{len(further)} channels cannot be read beside the first:")
    first = {stem for stem, found in channels.items() if not found or found[0] == "_0000"}
    twice = [images[stem][0] for stem in sorted(first) if f"{stem}_0000" in first]
    raise_all([f"{path}: is there with _0000, too; keep one of them" for path in twice])
    return pair_annotated({_CHANNEL.sub("", stem): images[stem] for stem in first}, masks)


def masks_beside_images(folder: Path) -> Sequence[Case] | None:
    """Read `x.png` with `x_mask.png`, `x_mask_1.png` …, all in one folder.

    Images without a mask are unannotated.
    """
    images, masks = images_beside_masks(image_files(folder))
    return pair_annotated(images, masks) if masks else None


def pascal_voc(folder: Path) -> Sequence[Case] | None:
    """Read `JPEGImages/` with `SegmentationClass/`.

    The format shares its images with other tasks, so that most have no mask: these are unannotated.
    The void outline between object and background belongs to neither.
    """
    if not all((folder / name).is_dir() for name in ("JPEGImages", _CLASS_FOLDERS[-1])):
        return None
    masks = next(filter(None, (_files_of(folder / name) for name in _CLASS_FOLDERS)), {})
    images = image_files(folder / "JPEGImages")
    return pair_annotated(images, masks, MaskCoding(void=True))


def _files_of(folder: Path) -> Files:
    return image_files(folder) if folder.is_dir() else {}


def frames_apart(data: DataSet) -> DataSet:
    """Make a case of every frame, and a group of the versions of an image.

    Args:
        data: A data set whose cases stand for whole files.

    Returns:
        The data set; frames of `x` have the keys `x-frame0000`, `x-frame0001` …

    Raises:
        ValueError: Masks do not have as many frames as their image; the message lists every one.
    """
    data = replace(data, cases=tuple(_versions_together(data.cases)))
    files = [case for case in data.cases if isinstance(case, FileCase)]
    known = {case.key: _count(case.image) for case in files}
    counts = {key: count or 1 for key, count in known.items()}
    raise_all(
        [
            f"{case.image}: states that it has {counts[case.key]:,} frames, more than the limit "
            f"of {_MOST_FRAMES:,}; export the frames that were outlined"
            for case in files
            if counts[case.key] > _MOST_FRAMES
        ]
    )
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
        official={name: _each(division, frames) for name, division in data.official.items()},
    )


def _versions_together(cases: Sequence[Case]) -> Iterator[Case]:
    """Give the versions of an image that Roboflow has made, turned or otherwise, one group.

    It calls them `x_png.rf.` and a digest. The group is named after the first of them.
    """
    first: dict[str, str] = {}
    for case in cases:
        source = _VERSION.fullmatch(case.key) if case.group == case.key else None
        group = first.setdefault(source[1], case.key) if source else case.group
        yield case if group == case.group else replace(case, group=group)


def _count(path: Path) -> int | None:
    """Count the frames of a file; `None` if it is unreadable, which is said when it is read."""
    if image_stem(path.name) and not path.name.lower().endswith(_MAY_HOLD_MANY):
        return 1
    try:
        return count_frames(path)
    except (OSError, ValueError):
        return None


def _unequal(case: FileCase, wanted: int) -> Iterator[str]:
    for path in case.masks:
        found = _count(path)
        if found not in (wanted, None) and not _is_slice_of(case.image, path, wanted):
            yield (
                f"{path}: its number of frames is {found}, that of {case.image.name} is {wanted}; "
                "export a mask of every frame, or only the frame that was outlined"
            )


def _is_slice_of(image: Path, mask: Path, frames: int) -> bool:
    """Return whether an image of one frame finds its slice in the mask's volume by its place."""
    try:
        return frames == 1 and has_place(image) and has_place(mask)
    except (OSError, ValueError):  # Reported when it is read.
        return False


def _frames(case: Case, count: int) -> list[Case]:
    if count == 1:
        return [case]
    return [replace(case, key=f"{case.key}-frame{n:04d}", frame=n) for n in range(count)]


def _each(division: Mapping[str, int | str], frames: Mapping[str, Sequence[Case]]):
    return {frame.key: part for key, part in division.items() for frame in frames[key]}
