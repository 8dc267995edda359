"""A directory of predictions: its frames and their names, its table; nothing else is replaced."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kerasunet import data  # Whose functions, and NumPy, come with their first use.
from kerasunet.data import readers
from kerasunet.files import (
    expanded,
    note,
    noted,
    notes_of,
    require_replaceable,
    sha256,
    write_json,
)
from kerasunet.runs.directory import refuse_differences, require_not_of
from kerasunet.schema import OBJECT, TEXT, each, or_null, read_values

if TYPE_CHECKING:
    from kerasunet.inference.segmentation import Segmentation

FORMATS = ("png", "nifti", "dicom-seg", "labelme", "coco")
"""Formats of masks."""
_IMAGE = {
    **{"sha256": TEXT, "row?": OBJECT, "rows?": [OBJECT], "mask?": TEXT, "pair?": OBJECT},
    "shared?": [TEXT],
}
_PARTS = {
    "settings": OBJECT,
    "images": each("an object with what is known of each image", _IMAGE),
    "files": each("an object with digests", or_null(TEXT, "text")),
}
_OTHER = "use another output folder"
_OUTPUTS = (
    "masks", "overlays", "uncertainty", "nifti", "dicom-seg", "labelme", "coco", "areas.csv",
)  # fmt: skip
_SHOWN = 5
_COLUMNS = (
    "image",
    "frame",
    "height",
    "width",
    "area_pixels",
    "area_share",
    "area_mm2",
    "largest_probability",
    "mask",
)


class Frame(NamedTuple):
    """A frame to segment.

    Attributes:
        path: The image file.
        label: What tables call it.
        file: Name of what is written of the file, without suffix.
        name: Name of what is written of the frame, without suffix.
        number: Which frame, from 0; `None` where the file has no other.
        wanted: How many frames of the file are segmented.
        total: How many it has.
    """

    path: Path
    label: str
    file: str
    name: str
    number: int | None
    wanted: int
    total: int


def frames_of(paths: Sequence[Path], chosen: int | None) -> dict[str, Frame]:
    """Return every frame of some files by a name for its outputs, without suffix.

    Args:
        paths: Image files.
        chosen: The only frame of each that is wanted, from 0; `None` for all.

    Raises:
        ValueError: One name would stand for two frames.
    """
    frames: dict[str, Frame] = {}
    for path, file, label in zip(paths, _output_names(paths), labels_of(paths), strict=True):
        total = _count(path)
        numbers = range(total) if chosen is None else [chosen]
        several = total > 1 or chosen is not None
        for number in numbers:
            name = f"{file}-frame{number:04d}" if several else file
            if name in frames:
                raise ValueError(f"{path}: {name} would name two masks; rename the file")
            frame = number if several else None
            frames[name] = Frame(
                path, label, file, name=name, number=frame, wanted=len(numbers), total=total
            )
    return frames


def paths_of(frames: Mapping[str, Frame]) -> dict[str, Path]:
    """Return the image file of each frame."""
    return {name: frame.path for name, frame in frames.items()}


def _count(path: Path) -> int:
    """Return the number of frames; one if they cannot be counted, which reading reports."""
    try:
        return readers.count_frames(path) or 1
    except (OSError, ValueError):
        return 1


def _output_names(paths: Sequence[Path]) -> list[str]:
    """File stems, with the suffix or a number added where stems repeat, in whatever case."""
    names: dict[str, str] = {}
    for path in paths:
        stem = name = path.stem.removesuffix(".nii")
        if name.casefold() in names:
            name = path.name.replace(".", "_")
        number = 2
        while name.casefold() in names:
            name = f"{stem}_{number}"
            number += 1
        names[name.casefold()] = name
    return list(names.values())


@dataclass
class PredictionDirectory:
    """Files by image, and `predictions.json`, the record of what they are.

    Predictions of further images by the same model join those that are there. A file that the
    record does not know, or that has been changed since, is never replaced.

    Attributes:
        path: The directory; it need not exist.
        settings: What masks depend on besides the image, such as model and threshold, as plain
            values.
        images: By name of a mask, without suffix, the `sha256` of the image file and, once it is
            segmented, its `row` of the table (for several objects, `rows`), the path of its `mask`,
            its `pair` of a manifest, and the `shared` files in which it is beside other frames.
        files: By path within the directory, the SHA-256 of what was written; `None` where that is
            unfinished.
    """

    path: Path
    settings: Mapping[str, Any]
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, settings: Mapping[str, Any]) -> PredictionDirectory:
        """Open a directory for predictions with these settings.

        Raises:
            ValueError: It holds predictions with others, or masks without a record of predictions.
        """
        path = expanded(path)
        opened = cls(path, settings)
        found = [name for name in _OUTPUTS if (path / name).exists()]
        if found and not opened.record.is_file():
            raise ValueError(
                f"{path}: holds {found[0]} but no {opened.record.name}, so these are not "
                "predictions of this command; use another output folder"
            )
        if not opened.record.is_file():
            require_not_of(path, "config.json")
        else:
            known = read_values(opened.record, _PARTS, "a record of predictions", remedy=_OTHER)
            refuse_differences(path, {"settings": known["settings"]}, {"settings": settings})
            opened.images, opened.files = known["images"], known["files"]
        return opened

    @property
    def record(self) -> Path:
        """Says what the files are."""
        return self.path / "predictions.json"

    @cached_property
    def _is_noted(self) -> Callable[[Path], bool]:
        return noted(self.record)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table: of every image whose mask is there."""
        return [
            row
            for name, image in self.images.items()
            if "row" in image and (self.path / _mask_of(name, image)).is_file()
            for row in image.get("rows", [image["row"]])
        ]

    def require_free(
        self,
        images: Mapping[str, Path],
        names: Sequence[str],
        shared: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Refuse images whose files would replace something else; nothing is written.

        Args:
            images: By name of the mask, without suffix, the image file.
            names: Paths within the directory of all files to be written.
            shared: By name of the mask, those of them that hold other frames of the image, too.

        Raises:
            ValueError: The message names the files in the way, or the first of them; or what is in
                the directory would be read as data.
            NotWritten: One of them is write-protected.
        """
        folders = {(self.path / name).parent for name in names}
        for folder in (self.path, *sorted(one for one in folders if one.is_symlink())):
            data.require_outside(folder, images=set(images.values()))
        digest = cache(_digest)  # A file may have many frames.
        problems = [
            f"{self.path / _mask_of(name, self.images[name])}: is the mask of another image of "
            "this name"
            for name, image in images.items()
            if name in self.images and digest(image) not in ("", self.images[name]["sha256"])
        ]
        problems += self._would_confuse(images)
        problems += [
            f"{self.path / name}: was not written by this command, or has been changed since"
            for name in dict.fromkeys([*names, *self.files])
            if (self.path / name).exists() and not self._is_own(name)
        ]
        problems += self._would_lose(shared or {})
        if len(problems) > _SHOWN:
            problems[_SHOWN:] = [f"… and {len(problems) - _SHOWN} more"]
        if problems:
            raise ValueError(
                "\n  ".join(["nothing was written; use another output folder:", *problems])
            )
        for name in dict.fromkeys([*names, *self.files]):
            require_replaceable(self.path / name)

    def _would_confuse(self, images: Mapping[str, Path]) -> Iterator[str]:
        """Tell of images whose rows would bear the name that others have in the table."""
        known = {
            image["row"].get("image"): (name, image["sha256"])
            for name, image in self.images.items()
            if "row" in image and name not in images
        }
        paths = list(dict.fromkeys(images.values()))
        for path, label in zip(paths, labels_of(paths), strict=True):
            name, digest = known.get(label, ("", ""))
            if name and digest != sha256(path):
                yield f"{path}: the table has another image as {label}, that of {name}"

    def _would_lose(self, shared: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Tell of files that hold frames which are not to be segmented now."""
        for file in dict.fromkeys(name for names in shared.values() for name in names):
            held = [n for n, image in self.images.items() if file in _shared_of(image)]
            lost = [name for name in held if name not in shared]
            if lost and (self.path / file).exists():
                yield (
                    f"{self.path / file}: holds the mask of {lost[0]}, too, and would no longer; "
                    "leave out --frame"
                )

    def end(self) -> None:
        """Write the record of what is there: nothing else is to be written."""
        self.files = {
            name: digest
            for name, digest in self.files.items()
            if digest is not None or (self.path / name).exists()
        }
        self.save()
        notes_of(self.record).unlink(missing_ok=True)

    def begin(self, images: Mapping[str, Path], names: Sequence[str]) -> None:
        """Record what is about to be written; remove what a killed command left unfinished."""
        digest = cache(_digest)  # A file may have many frames.
        for name, written in list(self.files.items()):
            if written is None and name not in names:
                (self.path / name).unlink(missing_ok=True)
                del self.files[name]
        self.images = {name: image for name, image in self.images.items() if "row" in image}
        for name, image in images.items():
            if found := digest(image):
                self.images.setdefault(name, {"sha256": found})
        present = [self.path / name for name in names if (self.path / name).is_file()]
        note([(path, path.name) for path in present], self.record)
        self.files |= dict.fromkeys(names)
        self.save()

    def keep(self, name: str, row: Mapping[str, Any], written: Sequence[str], **more: Any) -> None:
        """Note the row of an image, the digests of its files, and what else is known of it."""
        if "shared" in more:  # Files in other formats may be there from before.
            more["shared"] = sorted({*_shared_of(self.images[name]), *more["shared"]})
        self.images[name] |= {"row": dict(row), **more}
        self.note(written)

    def note(self, written: Sequence[str]) -> None:
        """Note the digests of files."""
        self.files |= {one: sha256(self.path / one) for one in written}

    def save(self) -> None:
        """Write the record."""
        known = {"settings": self.settings, "images": self.images, "files": self.files}
        write_json(self.record, known)

    def _is_own(self, name: str) -> bool:
        path = self.path / name
        if name not in self.files or not path.is_file():
            return False
        if (known := self.files[name]) is not None and known == sha256(path):
            return True
        return (known is None or notes_of(self.record).exists()) and self._is_noted(path)


def _digest(image: Path) -> str:
    """Return the digest of an image file; empty if it cannot be read, which reading tells of."""
    try:
        return sha256(image)
    except OSError:
        return ""


def _mask_of(name: str, image: Mapping[str, Any]) -> str:
    """Return the path of an image's mask within the directory; older records do not say it."""
    return image.get("mask", f"masks/{name}.png")


def _shared_of(image: Mapping[str, Any]) -> Sequence[str]:
    """Return the files in which a frame is beside others; older records say only the mask."""
    return image.get("shared", [image["mask"]] if "mask" in image else [])


def rows_of(frame: Frame, found: Segmentation, mask: str) -> list[dict[str, Any]]:
    """Return the row of a frame; for several objects, one for each."""
    if not found.objects.several:
        return [_row(frame, found, mask)]
    names = found.objects.names
    return [{**_row(frame, found.of(name), mask), "object": name} for name in names]


def _row(frame: Frame, found: Segmentation, mask: str) -> dict[str, Any]:
    height, width = found.mask.shape
    area_mm2 = found.area_mm2
    return {
        "image": frame.label,
        "frame": "" if frame.number is None else frame.number,
        "height": height,
        "width": width,
        "area_pixels": found.area_pixels,
        "area_share": f"{found.area_pixels / (height * width):.4f}",
        "area_mm2": "" if area_mm2 is None else f"{area_mm2:.1f}",
        "largest_probability": f"{found.probability.max():.4f}",
        "mask": mask,
    }


def as_csv(rows: list[dict]) -> str:
    """Return the table; names that a spreadsheet would take for formulas get an apostrophe."""
    from kerasunet.comparison_report import without_formulas

    text = io.StringIO(newline="")
    columns = [*_COLUMNS]
    if any("object" in row for row in rows):
        columns.insert(columns.index("height"), "object")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return without_formulas(text.getvalue())


def each_once(files: Iterable[Path]) -> list[Path]:
    """Return paths in order, without those that were given before, perhaps spelled differently."""
    unique: dict[str, Path] = {}
    for file in files:
        unique.setdefault(os.path.abspath(file), file)
    return list(unique.values())


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Return names of files or folders, with as many folders above as tell equal names apart."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    depths = [1] * len(paths)
    while True:
        labels = ["/".join(one[-depth:]) for one, depth in zip(parts, depths, strict=True)]
        repeated = {label for label, count in Counter(labels).items() if count > 1}
        if not repeated:
            return labels
        depths = [depth + (label in repeated) for depth, label in zip(depths, labels, strict=True)]
