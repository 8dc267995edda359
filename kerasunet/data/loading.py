"""`load`: any data set by a name or path: simulated, published, a folder or a file.

What is loaded to be learned has objects, all coded alike: `require_objects`, `require_one_code`.
Outlines that may mean something else are named: `doubtful_outlines`. Results are not written where
they would be loaded with it: `require_outside`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from kerasunet.data import builders, decoding, layouts, readers
from kerasunet.data.cache import PutRow, cached_rows
from kerasunet.data.cases import AnnotatedCase, Case, DataSet, FileCase, SimulatedCase
from kerasunet.data.decoding import DecodedCases, misread_masks, mixed_codes, use_each
from kerasunet.data.groups import GIVEN, regroup
from kerasunet.data.layouts import EVERY_IMAGE_FOLDER, EVERY_MASK_FOLDER, IMAGE_FOLDERS
from kerasunet.files import FileWarning, expanded, is_plain, raise_all
from kerasunet.objects import OF_OBJECT, objects_of
from kerasunet.schema import text_of, typed

if TYPE_CHECKING:
    from kerasunet.data.annotations import Outlines

SIMULATED = {
    "simulated-ultrasound": "breast-ultrasound",
    "simulated-xray": "chest-xray",
    "simulated-natural": "natural",
}
_SIMULATED_CASES, _MOST_SIMULATED_CASES = 400, 100_000
_ARCHIVES = (".zip", ".rar", ".tar", ".gz", ".tgz")
_CODE = 32  # The bytes of a value or color and its owner, kept like a part of an image.
_MOST_NAMED = 3  # That a message lists.
_FEWEST_BOXES, _FEW_BOXES, _LEAST_SIDE = 5, 0.1, 200  # The side in pixels: far beyond percent.
_INNER = (
    "inside a polygon of the same object, and united with it; make a hole a _background_ shape "
    "(labelme) or run lengths (COCO)"
)
_ELSEWHERE = "the bbox is not that of the outline, which may lack a part; correct one of them"
_RECORDS = ("config.json", "study.json", "predictions.json", "adapt.json")  # Of results.


def load(
    name_or_path: str | os.PathLike,
    manual_dir: str | os.PathLike | None = None,
    size: int = 128,
    *,
    groups: str | os.PathLike = GIVEN,
    objects: Sequence[str] = (),
    mask_threshold: int | None = None,
    overlapping: bool = False,
) -> DataSet:
    """List the cases of a data set; images are read, or simulated, when a case is loaded.

    Args:
        name_or_path: `"simulated-ultrasound"`, `"simulated-xray"` or `"simulated-natural"`
            (optionally with a number of cases, `"simulated-xray:60"`; 400 by default); a folder in
            one of the layouts of `kerasunet.data.layouts.read_folder`; a manifest (CSV, TSV) or
            COCO file (JSON); or the name of a public set in `kerasunet.data.builders`, which
            TensorFlow Datasets downloads and prepares where its owners allow it.
        manual_dir: For the name of a public set: a folder with its archives, or with their
            unpacked contents.
        size: Height and width of simulated images in pixels.
        groups: `"given"` for the groups of the data, such as patients; `"near-duplicates"` to read
            every image and join the groups that share one; or a CSV file of key and group.
        objects: What counts as an object, text for each: labels, categories or classes
            (`"cyst,mass"`), or a name with values or colors (`"lungs=150,200"`,
            `"tumor=#ff0000"`); empty where the data mark one object.
        mask_threshold: Gray level above which a pixel of a mask file is object, of masks that were
            smoothed or saved as JPEG; `None`: masks are binary.
        overlapping: Whether a pixel may belong to several objects.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: There is no such folder or file.
        TypeError: The data are no name or path.
        ValueError: The name is unknown, the layout is not recognized, files have no partner, or
            the data mark several objects and `objects` does not say which is meant.
    """
    if not isinstance(objects, list | tuple) or not all(isinstance(one, str) for one in objects):
        example = f"({objects!r},)" if isinstance(objects, str) else "('cyst', 'mass')"
        raise ValueError(f"objects takes several texts in order; give {example}, not {objects!r}")
    threshold = typed("mask_threshold", "int", mask_threshold)
    overlapping = typed("overlapping", "bool", overlapping)
    name = os.fsdecode(name_or_path) if isinstance(name_or_path, bytes) else name_or_path
    data = _listed(text_of(name, "the data"), manual_dir, size)
    in_files = any(isinstance(case, FileCase | AnnotatedCase) for case in data.cases)
    for text in doubtful_outlines(data.cases):
        warnings.warn(text, FileWarning, stacklevel=2)
    if in_files or objects or threshold is not None or overlapping:
        data = layouts.with_objects(data, objects, threshold, overlapping=overlapping)
    return regroup(data, groups)


def _listed(name: str, manual_dir: str | os.PathLike | None, size: int) -> DataSet:
    if name.split(":")[0] in SIMULATED:
        return _simulated(name, size)
    if manual_dir is not None:
        return _published(name, expanded(manual_dir))
    if not name.strip():
        raise ValueError("the name of the data is empty; give a folder, a file or a data set")
    path = expanded(name)
    if path.name == "..":  # A folder is called by its name, wherever one is.
        path = path.resolve()
    if path.exists():
        return layouts.read_folder(path) if path.is_dir() else layouts.read_file(path)
    if name in builders.NAMES:
        return builders.load_cases(name)
    known = "the data sets are " + ", ".join([*SIMULATED, *builders.NAMES])
    raise FileNotFoundError(f"{name}: not a folder, a file or a data set; {known}")


def _published(name: str, folder: Path) -> DataSet:
    """Read an unpacked set directly if its layout is known; otherwise prepare it with TFDS."""
    packed = folder.is_dir() and any(p.name.endswith(_ARCHIVES) for p in folder.iterdir())
    if packed or name not in layouts.PUBLISHED:
        return builders.load_cases(name, folder)
    found = layouts.read_folder(folder, name)
    if found.name != name:
        raise ValueError(f"{folder}: expected the data set {name}, found {found.layout}")
    return found


def _simulated(name: str, size: int) -> DataSet:
    base, _, count = name.partition(":")
    if expanded(name).is_dir():
        raise ValueError(f"{name}: is also a folder here; give ./{name} for it, or rename it")
    known = count.isdecimal() and len(count) < 9 and 0 < int(count) <= _MOST_SIMULATED_CASES
    if count and not known:
        most = f"at least 1 and at most {_MOST_SIMULATED_CASES:,}"
        raise ValueError(f"{name}: the number of cases must be a whole number of {most}")
    cases = tuple(
        SimulatedCase(SIMULATED[base], seed=0, index=index, size=size)
        for index in range(int(count or _SIMULATED_CASES))
    )
    return DataSet(base, cases, "simulated", terms="generated by kerasunet, Apache-2.0")


def doubtful_outlines(cases: Iterable[Case]) -> list[str]:
    """Say which outlines may mean something else than what is drawn, a line for each kind.

    They may be holes, or boxes around objects, or in percent, or lack a part.
    """
    found: dict[Path, list[Outlines]] = {}
    for case in (getattr(case, "parts", (case,))[0] for case in cases):
        if outlines := getattr(getattr(case, "annotation", None), "outlines", None):
            found.setdefault(outlines.source, []).append(outlines)
    doubts = [text for source, images in found.items() for text in _doubts(source, images)]
    every = [one for images in found.values() for one in images]
    doubts += _of_all((name for one in every for name in _inner(one.polygons)), _INNER)
    return doubts + _of_all((name for one in every for name in one.elsewhere), _ELSEWHERE)


def _of_all(found: Iterable[str], what: str) -> list[str]:
    names = list(found)
    more = " …" if len(names) > _MOST_NAMED else ""
    return [f"{', '.join(names[:_MOST_NAMED])}{more}: {what}"] if names else []


def _doubts(source: Path, images: Sequence[Outlines]) -> Iterator[str]:
    polygons = [corners for one in images for *_, corners in one.polygons]
    boxes, every = sum(map(_is_box, polygons)), len(polygons) + sum(one.others for one in images)
    if boxes >= max(_FEWEST_BOXES, _FEW_BOXES * every):
        yield (
            f"{source}: {boxes:,} of its {every:,} outlines are upright boxes; if these are "
            "around objects, a network learns boxes: draw the outlines of the objects"
        )
    side = min((min(one.size or (0,)) for one in images if one.polygons), default=0)
    if side > _LEAST_SIDE and all(c.min() >= 0 and c.max() <= 100 for c in polygons):
        yield (
            f"{source}: no coordinate is above 100, though the images have {side} pixels and "
            "more; if they are percent, as in Label Studio's JSON, convert them to pixels"
        )


def _is_box(corners: np.ndarray) -> bool:
    different = np.unique(corners.round(1), axis=0)
    return len(different) == 4 and all(len(np.unique(side)) == 2 for side in different.T)


def _inner(polygons: Sequence[tuple[str, str, np.ndarray]]) -> Iterator[str]:
    """Yield the names of polygons that lie inside another of the same owner."""
    owners = np.unique([owner for _, owner, _ in polygons], return_inverse=True)[1]
    ends = [(corners.min(axis=0), corners.max(axis=0)) for *_, corners in polygons]
    low, high = np.array(ends).reshape(-1, 2, 2).transpose(1, 2, 0).copy()
    for number, (name, _, corners) in enumerate(polygons):
        beyond = (low < low[:, number, None]).all(0) & (high > high[:, number, None]).all(0)
        around = np.flatnonzero(beyond & (owners == owners[number])).tolist()
        rings = (polygons[other][2].astype(np.float32) for other in around)
        if any(all(cv2.pointPolygonTest(r, c, False) > 0 for c in corners.tolist()) for r in rings):
            yield name


def require_objects(
    cases: Sequence[Case], decoded: DecodedCases, *, none_allowed: bool = False
) -> None:
    """Refuse cases without any object at the size that they were decoded to; name some without.

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
    empty = [case for case, present in zip(cases, found, strict=True) if not present.any()]
    if lost := [key for key, share in decoding.foreground_shares(empty).items() if share]:
        text = f"{len(lost):,} of {len(found):,} masks, such as that of {lost[0]}, have no object "
        text += "left at {2}×{1} pixels; give a larger --image-size".format(*decoded.masks.shape)
        warnings.warn(text, FileWarning, stacklevel=2)
    present = np.any(found, axis=0).tolist()
    absent = [name for name, of in zip(decoded.objects.names, present, strict=True) if not of]
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
    """Refuse mask files of one value or color each, but of different ones: other objects, maybe.

    Args:
        cases: The cases; of those with a choice, only the colors of its numbers are compared.

    Raises:
        ValueError: There are such files, or some that cannot be used.
    """
    named = [one for case in cases for one in _named(case)]
    plain = [part for _, part in named]
    shape = (1, 1, _CODE * (1 + max((len(part.coding.labels) for part in plain), default=0)))

    def name(indices: Sequence[int], put: PutRow) -> None:
        def keep(index: int, codes: tuple[str, ...]) -> None:
            text = "\n".join(codes).encode()[: shape[2]].ljust(shape[2], b"\0")
            put(index, np.frombuffer(text, np.uint8).reshape(shape), np.zeros(shape[:2], bool))

        use_each(plain, indices, _codes, use=keep)

    rows = cached_rows(plain, shape, name).images if plain else ()
    raise_all(
        mixed_codes(
            (owner + code, str(case.image))
            for (owner, case), row in zip(named, rows, strict=True)
            for code in row.tobytes().rstrip(b"\0").decode(errors="ignore").splitlines()
        )
    )


def _named(case: Case) -> Iterator[tuple[str, FileCase]]:
    """Yield what is in mask files, with the name of each of several objects."""
    parts = getattr(case, "parts", (case,))
    owners = [f"{name}{OF_OBJECT}" for name in objects_of([case]).names]
    for owner, part in zip(owners if len(parts) > 1 else ("",), parts, strict=True):
        if isinstance(part, FileCase) and part.masks and part.coding.is_compared:
            yield owner, part


def _codes(case: FileCase) -> tuple[str, ...]:
    """Return what codes the object in the files of a case, as `MaskCoding.codes` does."""
    read = [(case.read_mask_values(path), str(path)) for path in case.masks]
    found = (case.coding.codes(of, case.coding.decode(of, name)) for of, name in read)
    return tuple(dict.fromkeys(code for codes in found for code in codes))


def require_outside(
    path: str | os.PathLike,
    data: Iterable[str | os.PathLike | None] = (),
    *,
    images: Iterable[Path] = (),
    is_file: bool = False,
    levels: int = 1,
) -> None:
    """Refuse what would be taken for part of a data set: pictures and folders among its images.

    Data sets are those given, and those whose images or masks the path lies among. Below a folder
    that holds images itself, other folders are not read.

    Args:
        path: The file or folder to be written; it need not exist.
        data: Folders of data; names of data sets, files and `None` are passed over.
        images: Image files, or folders of them.
        is_file: Whether a file is written. Unless it is a picture, it may be anywhere, but not be
            called like the list of a data set.
        levels: How deep below a folder of data that consists of folders nothing may be written;
            0 allows the folder of the data, too.

    Raises:
        ValueError: The message names the folder of images, or calls the path a part of the data.
    """
    if not (text := text_of(path, "the output")).strip():
        raise ValueError("the name of the output is empty; give a folder or a file")
    if not is_plain(text):
        raise ValueError(f"{text!r}: has characters that are no text here; give another name")
    path = expanded(path)
    if is_file and path.suffix.lower() != ".png":
        _require_no_list(path)
        return
    here = path.resolve().parent if is_file else path.resolve()
    for folder, root, is_whole in _folders_of_data(data, images, here):
        for place in (here, *here.parents):
            within = root in place.parents or folder == place == here
            if within and (_holds_images(place, path) or _is_part(place, root)):
                raise ValueError(
                    f"{path}: lies among the images in {place}, so what is written there would "
                    "be taken for data; choose another place"
                )
        goes_on = any((here / name).exists() for name in _RECORDS)
        if is_whole and levels and not (is_file or goes_on):
            _require_unread(path, folder, levels)


def _require_no_list(path: Path) -> None:
    """Refuse the name of a file that says which images and masks a folder has."""
    from kerasunet.data.layouts.manifests import MANIFESTS

    if path.name.lower() in (*MANIFESTS, "_classes.csv"):
        told = "this name is that of a list of images and masks, and the file would be read as one"
        raise ValueError(f"{path}: {told}; give another name")


def _folders_of_data(
    data: Iterable[str | os.PathLike | None], images: Iterable[Path], output: Path
) -> list[tuple[Path, Path, bool]]:
    """Return each folder of data that is given, or that an output lies among the images of.

    Beside it stands the root of the data set that it is part of, and whether all of the folder is
    given, not single files in it.
    """
    given = {expanded(name or os.devnull).resolve() for name in data}
    found = [(path, path, True) for path in given]
    found += [(root, root, False) for root in _sets_around(output)]
    for one in images:
        folder = (one if one.is_dir() else one.parent).resolve()
        parts = [part for part in (folder, folder.parent) if part.name.lower() in IMAGE_FOLDERS]
        found.append((folder, parts[0].parent if parts else folder, one.is_dir()))
    return list(dict.fromkeys(found))


def _sets_around(output: Path) -> list[Path]:
    """Return the data sets into whose images or masks a folder leads."""
    return [
        place.parent
        for place in (output, *output.parents)
        if place.name.lower() in (*EVERY_IMAGE_FOLDER, *EVERY_MASK_FOLDER)
        and all(
            any((place.parent / name).is_dir() for name in names)
            for names in (EVERY_IMAGE_FOLDER, EVERY_MASK_FOLDER)
        )
    ]


def _is_part(place: Path, root: Path) -> bool:
    """Whether a folder holds the images or the masks of a data set, itself or in folders below."""
    is_inside = place.parent == root and place.is_dir()
    return is_inside and place.name.lower() in (*EVERY_IMAGE_FOLDER, *EVERY_MASK_FOLDER)


def _require_unread(path: Path, data: Path, levels: int) -> None:
    """Refuse a folder for results that is the data set, or that would be read as a part of it."""
    here = path.resolve()
    inside = here.is_relative_to(data) and len(here.relative_to(data).parts) <= levels
    if not inside or not data.is_dir():
        return
    from kerasunet.data.layouts.recognition import is_folder_of_folders

    if here == data or is_folder_of_folders(data):
        raise ValueError(
            f"{path}: is the folder of the data, or would be read as a part of it; choose another "
            "place"
        )


def _holds_images(folder: Path, path: Path) -> bool:
    """Whether there are images in a folder, beside one that is to be replaced."""
    names = {name.lower() for name in os.listdir(folder)} if folder.is_dir() else set()
    return any(name.endswith(readers.IMAGE_SUFFIXES) for name in names - {path.name.lower()})
