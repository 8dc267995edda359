"""What is written for predictions: masks in the formats asked for, overlays, maps of uncertainty.

Pictures have a file for each frame. NIfTI and DICOM segmentations have one for each image file, of
all its frames, and COCO has one for everything. labelme and COCO are folders of their own that hold
the images, too, as PNG without any metadata.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kerasunet.data import writers
from kerasunet.data.annotations import (
    CocoImage,
    coco_content,
    coco_image,
    labelme_content,
)
from kerasunet.files import call_all, write_json, write_text
from kerasunet.objects import Objects
from kerasunet.runs.predictions import FORMATS, Frame
from kerasunet.schema import read_record

_OF_FRAMES = {"png": "masks/{}.png", "labelme": "labelme/{}.json", "coco": "coco/images/{}.png"}
_OF_FILES = {"nifti": "nifti/{}.nii.gz", "dicom-seg": "dicom-seg/{}.dcm"}
_LABELME_IMAGE, _OVERLAY = "labelme/{}.png", "overlays/{}.png"
_MAP, _MAP_OF_FILE = "uncertainty/{}.png", "uncertainty/{}.nii.gz"
_COCO, _PARTS_OF_COCO = "coco/instances.json", ("images", "annotations", "categories")
_MANIFESTS = {"png": ".", **{form: form for form in _OF_FILES}}


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in a frame.

    Attributes:
        frame: The frame.
        labels: Uint8, `(height, width)`: 0 for the background, N for the N-th object, or a
            bit for each of objects that overlap.
        image: The image as displayed, 0 to 255, `(height, width[, 3])`.
        spacing: Millimeters per pixel, (row, column); `None` where unknown.
        uncertainty: Float32, `(height, width)`, 0 to 1; `None` where it isn't wanted.
    """

    frame: Frame
    labels: np.ndarray
    image: np.ndarray
    spacing: tuple[float, float] | None
    uncertainty: np.ndarray | None = None


def check_formats(formats: Sequence[str], paths: Iterable[Path]) -> None:
    """Refuse formats that cannot be written of some image files.

    Raises:
        ValueError: An extra is not installed, or there is no format of this name, or an image is
            not what the format refers to; the message names every one.
    """
    for form in formats:
        if form not in FORMATS:
            raise ValueError(f"--format {form}: give one or several of {', '.join(FORMATS)}")
    needed = {"nifti": ("nibabel", "dicom"), "dicom-seg": ("highdicom", "dicom-seg")}
    for form, (package, extra) in needed.items():
        if form in formats and importlib.util.find_spec(package) is None:
            raise ValueError(f'--format {form} needs an extra: pip install "kerasunet[{extra}]"')
    if "dicom-seg" in formats:
        call_all([_check_of(path) for path in paths])


def _check_of(path: Path):
    return lambda: writers.check_source(path)


@dataclass(frozen=True)
class PredictionFiles:
    """Names and writes the files of predictions within a folder.

    Attributes:
        folder: The folder.
        formats: Of the masks, of `FORMATS`; the table names the first one's files.
        objects: What the masks mark.
        algorithm: Who made the masks.
        overlays: Whether masks are drawn on images, too.
        uncertainty: Whether maps of uncertainty are written.
        manifests: Whether tables that name the images by their paths are written, too.
    """

    folder: Path
    formats: tuple[str, ...]
    objects: Objects
    algorithm: writers.Algorithm
    overlays: bool = True
    uncertainty: bool = False
    manifests: bool = True
    _coco: dict[str, CocoImage] = field(init=False, default_factory=dict)

    def mask_of(self, frame: Frame) -> str:
        """Return the path of the mask that the table names."""
        form = self.formats[0]
        return _OF_FILES[form].format(frame.file) if form in _OF_FILES else self._of(form, frame)

    def _of(self, form: str, frame: Frame) -> str:
        return _OF_FRAMES[form].format(frame.name)

    def of_frame(self, frame: Frame) -> list[str]:
        """Return the paths of what is written when a frame has been segmented."""
        names = [self._of(form, frame) for form in self.formats if form in _OF_FRAMES]
        names += [_LABELME_IMAGE.format(frame.name)] if "labelme" in self.formats else []
        names += [_OVERLAY.format(frame.name)] if self.overlays else []
        return names + ([_MAP.format(frame.name)] if self._has_pictures_of_maps else [])

    def of_file(self, frame: Frame) -> list[str]:
        """Return the paths of what is written when all frames of a file have been segmented."""
        names = [_OF_FILES[form].format(frame.file) for form in self.formats if form in _OF_FILES]
        return names + ([_MAP_OF_FILE.format(frame.file)] if self._has_volumes_of_maps else [])

    def of_all(self) -> list[str]:
        """Return the paths of what is about all images: a COCO file, manifests to be read back."""
        forms = [form for form in self.formats if form in _MANIFESTS]
        return [*([_COCO] if "coco" in self.formats else []), *map(_manifest, forms)]

    def all_of(self, frames: Iterable[Frame]) -> list[str]:
        """Return the paths of everything."""
        frames = list(frames)
        each = [name for one in frames for name in (*self.of_frame(one), *self.of_file(one))]
        return list(dict.fromkeys([*self.of_all(), *each]))

    @property
    def keeps_frames(self) -> bool:
        """Whether what was found in the frames of a file is needed again at its end."""
        return any(form in _OF_FILES for form in self.formats)

    @property
    def _has_volumes_of_maps(self) -> bool:
        return self.uncertainty and "nifti" in self.formats

    @property
    def _has_pictures_of_maps(self) -> bool:
        return self.uncertainty and set(self.formats) != {"nifti"}

    def write_frame(self, found: Found) -> list[str]:
        """Write what `of_frame` names, and return it."""
        frame = found.frame
        for form in self.formats:
            if form in _OF_FRAMES:
                getattr(self, f"_write_{form}")(found)
        if self.overlays:
            self._write_overlay(found)
        if self._has_pictures_of_maps and found.uncertainty is not None:
            shown = np.rint(found.uncertainty * 255).astype(np.uint8)
            self._picture(_MAP.format(frame.name), shown)
        return self.of_frame(frame)

    def write_file(self, found: Sequence[Found]) -> list[str]:
        """Write what `of_file` names, of all segmented frames of a file, and return it.

        Raises:
            ValueError: The image does not allow the format.
        """
        first = found[0]
        if len({one.labels.shape for one in found}) > 1 and self.keeps_frames:
            raise ValueError(
                f"{first.frame.path}: its frames have different sizes, and a NIfTI file or a DICOM "
                "segmentation has one; choose another format, such as png"
            )
        frame, labels = first.frame, np.stack([one.labels for one in found])
        if "nifti" in self.formats:
            self._write_nifti(_OF_FILES["nifti"], labels, found)
        if self._has_volumes_of_maps:
            maps = [np.asarray(one.uncertainty, np.float32) for one in found]
            self._write_nifti(_MAP_OF_FILE, np.stack(maps), found)
        if "dicom-seg" in self.formats:
            writers.write_dicom_seg(
                self.folder / _OF_FILES["dicom-seg"].format(frame.file),
                labels,
                self.objects.names,
                source=frame.path,
                algorithm=self.algorithm,
                frames=[one.frame.number or 0 for one in found],
            )
        return self.of_file(frame)

    def write_all(self, images: Iterable[Mapping[str, Any]]) -> list[str]:
        """Write what `of_all` names, as far as there is anything to say, and return that.

        Args:
            images: What `PredictionDirectory` knows of every image.
        """
        written = []
        if "coco" in self.formats:
            write_json(
                self.folder / _COCO,
                coco_content(self._coco.values(), self.objects.names),
            )
            written.append(_COCO)
        pairs = [image["pair"] for image in images if image.get("pair") and "row" in image]
        for form in self.formats:
            if form in _MANIFESTS and (rows := self._manifest_rows(form, pairs)):
                write_text(self.folder / _manifest(form), _table(rows))
                written.append(_manifest(form))
        return written

    def recall(self) -> None:
        """Take up the images of a COCO file that is there; to be called before any is written."""
        if "coco" in self.formats and (self.folder / _COCO).is_file():
            self._coco.update(read_coco_images(self.folder / _COCO))

    def pair(self, frame: Frame) -> dict[str, Any]:
        """Return what manifests are to say of a frame.

        Returns:
            The image and, by format, its mask, none where a manifest cannot say which frame it is
            about, or where frames that were not segmented would count as empty. Nothing without
            manifests.
        """
        if not self.manifests:
            return {}
        masks = {}
        if frame.wanted == frame.total:
            masks = {form: _OF_FILES[form].format(frame.file) for form in _OF_FILES}
        if frame.total == 1:
            masks["png"] = self._of("png", frame)
        return {"image": os.path.abspath(frame.path), "masks": masks}

    def _manifest_rows(self, form: str, pairs: Sequence[Mapping[str, Any]]) -> list[str]:
        start = "" if form == "png" else f"{form}/"
        rows = {
            (pair["image"], _apart(pair["masks"][form].removeprefix(start))): None
            for pair in pairs
            if form in pair["masks"] and (self.folder / pair["masks"][form]).is_file()
        }
        return [f"{_cell(image)},{_cell(mask)}" for image, mask in rows]

    def _picture(self, name: str, picture: np.ndarray) -> None:
        from kerasunet.drawing import write_png

        write_png(self.folder / name, picture)

    def _write_png(self, found: Found) -> None:
        mask = found.labels if self.objects.several else found.labels > 0
        self._picture(self._of("png", found.frame), mask)

    def _write_labelme(self, found: Found) -> None:
        image = _LABELME_IMAGE.format(found.frame.name)
        self._picture(image, _shown(found.image))
        content = labelme_content(found.labels, self.objects.names, Path(image).name)
        write_json(self.folder / self._of("labelme", found.frame), content)

    def _write_coco(self, found: Found) -> None:
        image = self._of("coco", found.frame)
        self._picture(image, _shown(found.image))
        name = image.removeprefix("coco/")
        self._coco[name] = coco_image(found.labels, self.objects.names, name)

    def _write_overlay(self, found: Found) -> None:
        from kerasunet.drawing import overlay, overlay_objects

        if self.objects.several:
            drawn = overlay_objects(found.image, found.labels, self.objects, thickness=2)
        else:
            drawn = overlay(found.image, found.labels > 0, thickness=2)
        self._picture(_OVERLAY.format(found.frame.name), drawn)

    def _write_nifti(self, name: str, frames: np.ndarray, found: Sequence[Found]) -> None:
        frame = found[0].frame
        if frame.wanted < frame.total:
            frames = _among_others(frames[0], frame)
        writers.write_nifti(
            self.folder / name.format(frame.file),
            frames,
            source=frame.path,
            spacing=found[0].spacing,
        )


def _among_others(only: np.ndarray, frame: Frame) -> np.ndarray:
    """Return all frames of a file, empty except for one."""
    frames = np.zeros((frame.total, *only.shape), only.dtype)
    frames[frame.number or 0] = only
    return frames


def _shown(image: np.ndarray) -> np.ndarray:
    return np.rint(image).astype(np.uint8)


def _manifest(form: str) -> str:
    return os.path.normpath(f"{_MANIFESTS[form]}/manifest.csv")


def _apart(path: str) -> str:
    """Return a relative path that does not begin with a space, which readers of tables ignore."""
    return f"./{path}" if path.startswith(" ") else path


def _cell(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""')) if set(text) & {",", '"'} else text


def _table(rows: Sequence[str]) -> str:
    return "\n".join(["image,mask", *rows, ""])


def read_coco_images(path: Path) -> dict[str, CocoImage]:
    """Return, by name, the images of a file that `coco_content` made, to write it with others.

    Raises:
        ValueError: It is another file.
    """
    content = read_record(path, _PARTS_OF_COCO, "a COCO file")
    found: dict[int, list[dict]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        kept = {key: value for key, value in annotation.items() if key not in ("id", "image_id")}
        found[annotation["image_id"]].append(kept)
    return {
        image["file_name"]: CocoImage(
            image["file_name"], (image["height"], image["width"]), tuple(found[image["id"]])
        )
        for image in content["images"]
    }
