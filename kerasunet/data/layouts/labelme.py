"""labelme annotations: JSON files beside the images or in a folder of their own, or with the image.

Shapes are drawn in the order of the file. A shape labeled `_background_` or `__ignore__` cuts what
was drawn before it, as in labelme's own export.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from kerasunet.data import readers
from kerasunet.data.annotations import (
    ENCODINGS,
    MALFORMED,
    NO_OBJECT,
    Outlines,
    Points,
    check_area,
    check_points,
    check_polygon,
    circle_mask,
    polygon_mask,
)
from kerasunet.data.cases import AnnotatedCase, Case, UnannotatedCase
from kerasunet.data.layouts import IMAGE_FOLDERS, MASK_FOLDERS
from kerasunet.data.layouts.contents import (
    Files,
    foreign,
    image_files,
    image_stem,
    json_files,
    subfolders,
)
from kerasunet.data.layouts.pairing import doubled
from kerasunet.files import read_json, report_all

_IMAGE_FOLDERS = (*IMAGE_FOLDERS, "img")
_JSON_FOLDERS = ("annotations", "annotation", "ann", "json", "jsons", "labelme", *MASK_FOLDERS)
_LINES = ("line", "linestrip", "point", "points")
IGNORED = ("ignore", "ignored", *NO_OBJECT)
_POLYGONS = ("polygon", "rectangle", "oriented_rectangle", "rotation")


def labelme(folder: Path) -> Sequence[Case] | None:
    """Read `x.json` beside `x.jpg`; an image without an object has a file without shapes.

    An image without a file is unannotated; one that is flagged to be ignored is left out. Images
    and JSON files may also be in folders of their own, such as `images/` and `annotations/`; a JSON
    file that has its image inside needs no image file.
    """
    images, files = _files(folder)
    contents = {key: _content_of(path, required=key not in images) for key, path in files.items()}
    known = {key: found for key, found in contents.items() if found or key in images}
    if not known:
        return None
    partners = {key: _image_of(key, found, images) for key, found in known.items()}
    ignored = {key: partners.pop(key) for key in [*known] if (of := known[key]) and of.ignored}
    known = {key: found for key, found in known.items() if key not in ignored}
    images = {stem: of for stem, of in images.items() if of[0] not in ignored.values()}
    problems = [*doubled(images), *_of_one_image(files, partners)]
    unannotated = [
        UnannotatedCase(key, key, paths[0])
        for key, paths in images.items()
        if paths[0] not in partners.values()
    ]
    cases = {key: _case(files[key], known[key], partners[key]) for key in sorted(known)}
    problems += [f"{files[key]}: has no image" for key, case in cases.items() if case is None]
    report_all(problems, f"{len(problems)} files cannot be paired:")
    return [*(case for case in cases.values() if case), *unannotated]


def _of_one_image(files: Mapping[str, Path], partners: Mapping[str, Path | None]) -> Iterator[str]:
    """Yield problems with files that are of the same image."""
    first: dict[Path, Path] = {}
    for key, image in partners.items():
        if image and first.setdefault(image, files[key]) != files[key]:
            yield f"{files[key]}: is of {image.name}, as is {first[image].name}; keep one of them"


def _files(folder: Path) -> tuple[Files, dict[str, Path]]:
    """Return images and JSON files by stem, of the folder and of subfolders for either."""
    images, files = image_files(folder), json_files(folder)
    for inner in subfolders(folder):
        name = inner.name.lower()
        images = {**image_files(inner), **images} if name in _IMAGE_FOLDERS else images
        files = {**json_files(inner), **files} if name in _JSON_FOLDERS else files
    return images, files


class _Content(NamedTuple):
    """What the list of cases needs of a labelme file, which may be large.

    Attributes:
        image: Name of the image, without folder.
        embedded: Whether the image is inside.
        ignored: Whether the image is flagged to be ignored.
        drawn: Its shapes, as they are drawn on the image inside.
    """

    image: str
    embedded: bool
    ignored: bool
    drawn: LabelmeFile


def _content_of(path: Path, *, required: bool) -> _Content | None:
    """Return the content of a labelme file; `None` if it is another one, or broken.

    One that has its image beside it is read again as a case, and complains then.

    Raises:
        ValueError: It is broken, and required.
    """
    try:
        content = read_json(path, ENCODINGS)
    except ValueError:
        if required:
            raise
        return None
    if not _is_labelme(content):
        return None
    faults = _faults(path, content)
    labels = dict.fromkeys(map(_label, content["shapes"]))
    drawn = LabelmeFile(
        path,
        path,
        labels=tuple(label for label in labels if label not in NO_OBJECT),
        faults=tuple(faults.values()),
        outlines=_outlines(path, content, faults),
    )
    image = PureWindowsPath(str(content.get("imagePath") or "")).name
    return _Content(image, bool(content.get("imageData")), _is_ignored(content), drawn=drawn)


def _outlines(path: Path, content: Mapping[str, Any], faults: Collection[int]) -> Outlines:
    shapes = [(n, one) for n, one in enumerate(content["shapes"]) if n not in faults]
    objects = [(n, one) for n, one in shapes if _label(one) not in NO_OBJECT]
    # Who cuts holes with the background means what lies inside others as it is.
    has_holes = len(objects) < len(shapes)
    polygons = tuple(
        (f"{path}: shape {n + 1}", str(n) if has_holes else _label(one), _corners(one))
        for n, one in objects
        if _kind(one) in _POLYGONS
    )
    return Outlines(path.parent, _size(content), polygons, others=len(objects) - len(polygons))


def _size(content: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def _image_of(key: str, content: _Content | None, images: Files) -> Path | None:
    """Return the image file that has the name of the JSON file, or else the one that it names."""
    named = image_stem(content.image) if content else None
    found = images.get(key) or images.get(named or "")
    return found[0] if found else None


def _case(path: Path, content: _Content | None, image: Path | None) -> AnnotatedCase | None:
    drawn = content.drawn if content else LabelmeFile(path, path)
    if image:
        key = image_stem(image.name) or image.name
        return AnnotatedCase(key, key, image, annotation=replace(drawn, image=image))
    if content and content.embedded:
        return EmbeddedCase(path.stem, path.stem, path, annotation=drawn)
    return None


@dataclass(frozen=True)
class EmbeddedCase(AnnotatedCase):
    """A case whose image is inside its labelme file."""

    def read_image(self) -> tuple[np.ndarray, tuple[float, float] | None]:
        """Read the image, which has no spacing."""
        content = read_json(self.image, ENCODINGS)
        try:
            return readers.read_embedded(_bytes_of(content["imageData"], "its image")), None
        except MALFORMED as error:
            raise ValueError(f"{self.image}: {error}; put the image file beside it") from error

    def origin(self) -> tuple[Path | str, ...]:
        """Return what the pixels are a function of."""
        return self.image, repr(self.annotation)


@dataclass(frozen=True)
class LabelmeFile:
    """A labelme annotation, whose shapes are united.

    Attributes:
        path: The JSON file.
        image: The image that it describes.
        labels: The labels of its shapes, except those that stand for background.
        faults: What is wrong with shapes that cannot be drawn.
        wanted: The labels that count; all if there are none.
        outlines: Its polygons, but for the background.
    """

    path: Path
    image: Path
    labels: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    outlines: Outlines | None = field(default=None, repr=False, compare=False)

    def of(self, labels: Collection[str]) -> LabelmeFile:
        """Return the annotation with only the shapes that have one of these labels."""
        return replace(self, wanted=tuple(labels))

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw the bool mask, (height, width); shapes with a fault are left out.

        Raises:
            ValueError: It is no labelme file, or of another image, or no shape can be drawn.
        """
        content = read_json(self.path, ENCODINGS)
        if not _is_labelme(content):
            raise ValueError(f"{self.path}: not a labelme file: {foreign(content)}")
        self._require_same_image(content, shape)
        stated = {"imageHeight": shape[0], "imageWidth": shape[1]}
        faults = _faults(self.path, content | stated)
        counted = [n for n, drawn in enumerate(content["shapes"]) if self._counts(_label(drawn))]
        if counted and faults.keys() >= set(counted):
            raise ValueError(faults[counted[0]])
        mask = np.zeros(shape, bool)
        for number, drawn in enumerate(content["shapes"]):
            if number not in faults:
                self._draw(drawn, mask, shape, number=number + 1)
        return mask

    def _counts(self, label: str) -> bool:
        return label not in NO_OBJECT and (not self.wanted or label in self.wanted)

    def _draw(
        self, drawn: Mapping[str, Any], mask: np.ndarray, shape: tuple[int, int], *, number: int
    ) -> None:
        label = _label(drawn)
        try:
            if label in NO_OBJECT:
                mask &= ~_draw_shape(drawn, shape)
            elif self._counts(label):
                mask |= _draw_shape(drawn, shape)
        except MALFORMED as error:
            raise ValueError(f"{self.path}: shape {number}: {error}") from error

    def _require_same_image(self, content: Mapping[str, Any], shape: tuple[int, int]) -> None:
        name = PureWindowsPath(str(content.get("imagePath") or "")).name
        beside = self.image != self.path
        if name and beside and image_stem(name) != image_stem(self.image.name):
            raise ValueError(f"{self.path}: was drawn on {name}, not on {self.image.name}")
        size = (content.get("imageHeight") or shape[0], content.get("imageWidth") or shape[1])
        inside = _embedded_size(content) if beside else None
        for stated in (size, inside or shape):
            if stated != shape:
                raise ValueError(
                    readers.wrong_size(self.path, stated, shape, image=self.image.name)
                )
        if beside and _shows_another(content, self.image):
            raise ValueError(
                f"{self.path}: the picture inside, which was outlined, is not {self.image.name}; "
                "put it beside, or, if that shows the same, set imageData to null"
            )


def _embedded_size(content: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return height and width of the image inside, on which the shapes were drawn, if one is."""
    with suppress(*MALFORMED):  # The image beside it is good.
        return readers.embedded_size(_bytes_of(content["imageData"], "its image"))
    return None


def _shows_another(content: Mapping[str, Any], image: Path) -> bool:
    """Return whether the image inside has nothing in common with the one beside it."""
    with suppress(*MALFORMED):  # What cannot be read inside is not compared.
        inside = readers.read_embedded(_bytes_of(content["imageData"], "its image"))
        return readers.have_nothing_in_common(inside, readers.read_image(image, outlined=True)[0])
    return False


def _label(drawn: Any) -> str:
    return str(drawn.get("label", "")) if isinstance(drawn, dict) else ""


def _faults(path: Path, content: Mapping[str, Any]) -> dict[int, str]:
    """Return what is wrong with shapes that cannot be drawn, by number from 0."""
    size, found = _size(content), {}
    for number, drawn in enumerate(content["shapes"]):
        try:
            _check(drawn, size)
        except MALFORMED as error:
            found[number] = f"{path}: shape {number + 1}: {error}"
    return found


def _check(drawn: Mapping[str, Any], size: tuple[int, int] | None) -> None:
    if _is_ignored(drawn):
        raise ValueError("is flagged to be ignored")
    if drawn.get("holes"):
        raise ValueError("has holes, which are not read; draw them as _background_ shapes")
    if _kind(drawn) == "mask":
        if not _embedded_pixels(drawn).any():
            raise ValueError("its mask is empty")
        return
    if _kind(drawn) in _POLYGONS:
        corners, is_turned = _corners(drawn), _kind(drawn) not in ("polygon", "rectangle")
        check_area(corners, size, corners.mean(axis=0) if is_turned else None)
        return
    _draw_shape(drawn, (1, 1))
    if _kind(drawn) == "circle":
        center, radius = _circle(drawn["points"])
        check_area(np.stack([center - radius, center + radius]), size, center)


def _is_ignored(content: Mapping[str, Any]) -> bool:
    """Return whether a flag of an image or shape says that it does not count."""
    flags = content.get("flags")
    return isinstance(flags, dict) and any(flags.get(name) for name in IGNORED)


def _circle(points: Points) -> tuple[np.ndarray, float]:
    """Return center and radius; refuse points that are not the center and one on the edge."""
    if len(points) != 2:
        raise ValueError(f"a circle has two points, center and edge, not {len(points)}")
    center, edge = check_points(points)
    return center, math.dist(center, edge)


def _kind(drawn: Mapping[str, Any]) -> str:
    return drawn.get("shape_type") or "polygon"


def _draw_shape(drawn: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    kind, points = _kind(drawn), drawn.get("points", ())
    if kind == "mask":
        return _embedded_mask(drawn, shape)
    if kind in _POLYGONS:
        return polygon_mask(_corners(drawn), shape)
    if kind == "circle":
        center, radius = _circle(points)
        return circle_mask(center.tolist(), radius, shape)
    why = "has no area" if kind in _LINES else "is not read"
    raise ValueError(f"{kind!r} {why}; polygon, rectangle, circle and mask are drawn")


def _corners(drawn: Mapping[str, Any]) -> np.ndarray:
    """Return the corners of a polygon or rectangle, (corners, 2)."""
    points = drawn.get("points", ())
    if _kind(drawn) == "rectangle":
        (x0, y0), (x1, y1) = np.min(points, axis=0), np.max(points, axis=0)
        points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return check_polygon(points)


def _embedded_mask(drawn: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """Draw a small PNG image, given in base64, with its top left pixel at the corner."""
    pixels = _embedded_pixels(drawn)
    left, top = (round(value) for value in drawn["points"][0])
    bottom, right = top + pixels.shape[0], left + pixels.shape[1]
    if min(top, left) < 0 or bottom > shape[0] or right > shape[1]:
        raise ValueError("its mask reaches beyond the image")
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = pixels > 0
    return mask


def _embedded_pixels(drawn: Mapping[str, Any]) -> np.ndarray:
    corners = check_points(drawn["points"])
    if not isinstance(drawn.get("mask"), str):
        raise ValueError("its mask is missing")
    pixels = readers.read_png(_bytes_of(drawn["mask"], "its mask"), readers.SIZE_LIMIT)
    if len(corners) == 2:
        width, height = np.rint(np.abs(corners[1] - corners[0])).astype(int) + 1
        if np.abs(np.subtract(pixels.shape, (height, width))).max() > 1:
            raise ValueError(
                f"its mask is {pixels.shape[1]}×{pixels.shape[0]} pixels, its box {width}×{height}"
            )
    return pixels


def _bytes_of(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except ValueError as error:
        raise ValueError(f"{what} is not in base64 ({error})") from error
