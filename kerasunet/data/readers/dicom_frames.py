"""What DICOM files say of their frames: where and when they are, which image they segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from kerasunet.data.readers.source import (
    Partner,
    Source,
    Unusable,
    elsewhere,
    frames_at,
)

ELEMENTS = (
    "SegmentationType",
    "MaximumFractionalValue",
    "ReferencedSeriesSequence",
    "SegmentSequence",
    "DetectorInformationSequence",
    "SpacingBetweenSlices",
    "SliceThickness",
    "SliceVector",
    "GridFrameOffsetVector",
)
"""The elements of segmentations and stacks, beside those that all images have."""
_SEGMENTATION_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
)
_BACKGROUND = "background"
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_MACROS = (
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
    "FrameDisplayShutterSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
)
_TIMES = ("FrameContentSequence",)
_PLACES = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


def numbers(header: Dataset, name: str) -> list[float]:
    """Return the numbers of an element; none if the file lacks it."""
    value = header.get(name)
    return [] if value is None else [float(number) for number in np.ravel(value)]


def frame_count(header: Dataset) -> int:
    """Return how many frames the header states, 1 if it does not."""
    return max(int(header.get("NumberOfFrames", 1)), 1)


def of_frame(header: Dataset, frame: int, macros: Sequence[str] = _MACROS) -> Dataset:
    """Return what multi-frame objects say of one frame, from 0, as of a single image."""
    found = _of_stack(header, frame) if "PlanePositionSequence" in macros else Dataset()
    for sequence, position in ((_SHARED, 0), (_PER_FRAME, frame)):
        groups = header.get(sequence)
        for macro in macros if groups else ():
            for item in groups[position].get(macro, []):
                found.update(item)
    return found


def _of_stack(header: Dataset, frame: int) -> Dataset:
    """Return where a frame lies by the place of the first and the steps from it, if both are known.

    NM objects say it so, among others (C.8.4.15): a negative step leads to the front. RT Dose has a
    step for each frame (C.8.8.3.2).
    """
    found, detectors = Dataset(), header.get("DetectorInformationSequence") or []
    step = numbers(header, "SpacingBetweenSlices")
    count = frame_count(header)
    if count == 1 or len(detectors) != 1:
        return found
    corner, axes = (numbers(detectors[0], name) for name in _PLACES[:2])
    order = numbers(header, "SliceVector")
    step = step or (numbers(header, "SliceThickness") if order else [])
    order = order or [*range(1, count + 1)]
    steps = [step[0] * (number - 1) for number in order] if step and step[0] else []
    steps = numbers(header, "GridFrameOffsetVector") or steps
    if (len(corner), len(axes), len(steps)) == (3, 6, count) and min(map(abs, steps)) == 0:
        place = corner + steps[frame] * np.cross(axes[:3], axes[3:])
        found.add_new("ImagePositionPatient", "FD", place.tolist())
        found.add_new("ImageOrientationPatient", "FD", axes)
        found.add_new("PixelSpacing", "FD", numbers(header, "PixelSpacing"))
    return found


def plane(header: Dataset) -> np.ndarray | None:
    """Return where a frame lies, as `Partner.plane`; `None` if the elements do not say."""
    corner, axes, sides = (numbers(header, name) for name in _PLACES)
    if (len(corner), len(axes), len(sides)) != (3, 6, 2) or min(sides) <= 0:
        return None
    found = np.array([axes[:3], axes[3:], corner]).T * [sides[1], sides[0], 1]
    across = np.linalg.norm(np.cross(axes[:3], axes[3:]))
    return found if np.isfinite(found).all() and 0.9 < across < 1.1 else None


def planes(header: Dataset, count: int) -> list[np.ndarray | None]:
    """Return where each of `count` frames lies."""
    if count == 1 and _PER_FRAME not in header:
        return [plane(header)]
    return [plane(of_frame(header, frame, _MACROS)) for frame in range(count)]


def moment(header: Dataset, frame: int) -> tuple[int, int | None, int]:
    """Return which of the frames at one place a frame is, in two orders, and how many lie there.

    It counts from 0 in the order of the file, and then in that of time, if that is stated. There
    lie all frames of a loop, one of a stack of slices, and several of slices at several points in
    time, in any order.
    """
    count = frame_count(header)
    if count == 1 or plane(of_frame(header, frame)) is None:
        return 0, 0, 1
    places = [_rounded_place(header, number) for number in range(count)]
    there = [number for number, place in enumerate(places) if place == places[frame]]
    timed = in_time(header, there)
    return there.index(frame), timed.index(frame) if timed else None, len(there)


def in_time(header: Dataset, frames: Sequence[int]) -> list[int]:
    """Return frames of one place in the order of time; none if the file states no times of all."""
    times = [of_frame(header, n, _TIMES).get("TemporalPositionIndex") for n in frames]
    if None in times or len({*times}) < len(times):
        return []
    return [n for _, n in sorted(zip(times, frames, strict=True))]


def _rounded_place(header: Dataset, frame: int) -> tuple[float, ...]:
    """Return position and orientation of a frame, to a tenth of a micrometer."""
    place = of_frame(header, frame, ("PlanePositionSequence", "PlaneOrientationSequence"))
    return tuple(round(number, 4) for name in _PLACES[:2] for number in numbers(place, name))


def is_segmentation(header: Dataset) -> bool:
    """Return whether the frames are segments, which may be fewer or more than the image's."""
    named = (header.get("SOPClassUID"), header.file_meta.get("MediaStorageSOPClassUID"))
    return any(uid in _SEGMENTATION_CLASSES for uid in named)


@dataclass(frozen=True)
class _Reference:
    """What a frame of a segmentation says it was drawn on: an image, and frames of it, from 1."""

    uid: str
    frames: tuple[int, ...]


def frames_about(header: Dataset, count: int, source: Source) -> list[int]:
    """Return the stored frames, from 0, that segment the wanted frame of the image, if any.

    They are found by what they refer to or, where that does not say, by where they lie.

    Args:
        header: The segmentation's elements, its functional groups among them.
        count: Number of stored frames.
        source: The file, with the frame of the image that is wanted, from 0, and its partner.

    Raises:
        Unusable: It is about another image or several, or does not say which of several frames.
    """
    about = _references(header, count)
    partner = source.partner
    placed = partner is not None and partner.plane is not None and _is_placed(header, count)
    found = None
    if partner is not None and partner.uid:
        found = _by_image(about, partner, header)
    elif not placed:
        found = _by_number(about, source.frame)
    if found is None and partner is not None and placed:
        found = _by_place(about, partner, header, count=count)
    alone = partner is None or partner.count == 1
    if found is None and alone and _may_be_of_one_image(about, partner):
        found = list(range(count)) if _of_other_segments(header, count) else None
    if found is None:
        raise Unusable(_unmatched(about, partner))
    return found


def _by_place(
    about: list[list[_Reference]], partner: Partner, header: Dataset, *, count: int
) -> list[int] | None:
    """Match by where the frames lie.

    `None` if none lies there and the image is not referred to, or if several of its frames do.
    """
    space = header.get("FrameOfReferenceUID")
    if space and partner.space and space != partner.space:
        raise Unusable(
            f"a segmentation in another frame of reference than {partner.name}; give the image "
            "that it was drawn on"
        )
    found = frames_at(partner, planes(header, count))
    if found and partner.times > 1:
        return None  # Nothing says which of the image's frames there it is about.
    images = _images(about)
    is_known = not images or not partner.uid or partner.uid in images | _listed(header)
    return found if found or is_known else None


def _by_number(about: list[list[_Reference]], frame: int) -> list[int] | None:
    """Match an image without identity by the number of the frame; `None` if that fails."""
    listed = [[n for ref in references for n in ref.frames] for references in about]
    if len(_images(about)) > 1 or not all(listed):
        return None
    return [index for index, known in enumerate(listed) if frame + 1 in known]


def _by_image(about: list[list[_Reference]], partner: Partner, header: Dataset) -> list[int] | None:
    """Match by the identity of the image, and the number of the frame; `None` if that fails."""
    own = [[ref for ref in references if ref.uid == partner.uid] for references in about]
    if any(about) and not all(about):
        return None  # The place decides of those that refer to nothing.
    if not any(own):
        return [] if partner.uid in _listed(header) and any(about) else None
    frames = [ref.frames for references in own for ref in references]
    if partner.count > 1 and not all(frames):
        return None
    if max((number for numbers in frames for number in numbers), default=0) > partner.count:
        raise Unusable(
            f"a segmentation of more frames than {partner.name} has; give the file that it was "
            "drawn on, with all its frames"
        )
    if any(refs and len(_images([every])) > 1 for refs, every in zip(own, about, strict=True)):
        return None  # Drawn from several images, so the place decides.
    wanted = partner.frame + 1
    return [
        index
        for index, references in enumerate(own)
        if any(wanted in ref.frames or not ref.frames for ref in references)
    ]


def _is_placed(header: Dataset, count: int) -> bool:
    return any(found is not None for found in planes(header, count))


def _of_other_segments(header: Dataset, count: int) -> bool:
    """Return whether every frame is of another segment, so that all may be of one image."""
    macros = ("SegmentIdentificationSequence",)
    numbered = [
        of_frame(header, frame, macros).get("ReferencedSegmentNumber") for frame in range(count)
    ]
    return len(set(numbered)) == count


def _images(about: list[list[_Reference]]) -> set[str]:
    return {reference.uid for references in about for reference in references}


def _may_be_of_one_image(about: list[list[_Reference]], partner: Partner | None) -> bool:
    """Return whether all that is referred to is the image, or one whose identity is not known."""
    images = _images(about)
    if partner is not None and partner.uid:
        return images <= {partner.uid}
    return len(images) <= 1


def _unmatched(about: list[list[_Reference]], partner: Partner | None) -> str:
    images = _images(about)
    name = "its image" if partner is None else partner.name
    if images and not all(about):
        fault = "a segmentation with frames that do not say which image they are about"
        return f"{fault}; export it again with references to images"
    if partner is not None and partner.uid and images and partner.uid not in images:
        return (
            f"a segmentation of another image than {name}, by its references; give the image that "
            "it was drawn on, or save the mask as PNG"
        )
    if len(images) > 1:
        return f"a segmentation of {len(images)} images; export one for each image"
    return (
        f"a segmentation of several frames that does not say which of them are about which frame "
        f"of {name}; export it again with references to frames"
    )


def check_aligned(header: Dataset, frames: Sequence[int], partner: Partner | None) -> None:
    """Refuse frames that refer to an image and lie elsewhere, such as turned.

    Raises:
        Unusable: Both say where they lie, and it is not the same place.
    """
    for frame in frames if partner is not None and partner.plane is not None else ():
        place = Dataset()
        place.update(header)
        place.update(of_frame(header, frame))
        found = plane(place)
        if found is not None and partner is not None and not frames_at(partner, [found]):
            raise Unusable(elsewhere(partner))


def _references(header: Dataset, count: int) -> list[list[_Reference]]:
    """Return, for each frame, what it and what all frames refer to."""
    shared = list(header.get(_SHARED) or [])
    groups = list(header.get(_PER_FRAME) or [Dataset()] * count)[:count]
    return [list(_derived_from([item, *shared])) for item in groups]


def _derived_from(items: Sequence[Dataset]) -> Iterator[_Reference]:
    for item in items:
        for derivation in item.get("DerivationImageSequence") or []:
            for image in derivation.get("SourceImageSequence") or []:
                listed = image.get("ReferencedFrameNumber")
                frames = [] if listed is None else np.ravel(listed).astype(int).tolist()
                yield _Reference(str(image.get("ReferencedSOPInstanceUID", "")), tuple(frames))


def _listed(header: Dataset) -> set[str]:
    """Return the images that the file as a whole refers to; of some of them it marks nothing."""
    return {
        str(instance.get("ReferencedSOPInstanceUID", ""))
        for series in header.get("ReferencedSeriesSequence") or []
        for instance in series.get("ReferencedInstanceSequence") or []
    }


def _segments(header: Dataset) -> dict[int, Dataset]:
    listed = enumerate(header.get("SegmentSequence") or [], start=1)
    return {int(segment.get("SegmentNumber", number)): segment for number, segment in listed}


def segment_labels(header: Dataset) -> dict[int, str]:
    """Return the label of each segment by its number, which stands for a missing one of several."""
    segments = _segments(header)
    missing = str if len(segments) > 1 else lambda number: ""
    return {n: str(of.get("SegmentLabel") or "") or missing(n) for n, of in segments.items()}


def labels_of_objects(header: Dataset) -> dict[int, str]:
    """Return the label of each segment, by its number, except that of the background.

    In a label map, that is the one whose number is also the padding.
    """
    labels = segment_labels(header)
    if is_label_map(header):
        labels.pop(header.get("PixelPaddingValue"), None)
    return {number: text for number, text in labels.items() if text.strip().lower() != _BACKGROUND}


def objects_and_types(header: Dataset) -> tuple[tuple[str, str], ...]:
    """Return label and type of each segment except the background; no text where it has none."""
    labels, segments = labels_of_objects(header), _segments(header)
    return tuple((label, _type_of(segments[number])) for number, label in labels.items())


def _type_of(segment: Dataset) -> str:
    codes = list(segment.get("SegmentedPropertyTypeCodeSequence") or [])
    name = "SegmentedPropertyTypeModifierCodeSequence"
    codes += [further for code in codes for further in code.get(name) or []]
    return ", ".join(filter(None, (str(code.get("CodeMeaning") or "") for code in codes)))


def beside_background(header: Dataset) -> tuple[str, ...]:
    """Return the numbers of the other segments if one is the background, else nothing."""
    objects = labels_of_objects(header)
    return () if len(objects) == len(segment_labels(header)) else tuple(map(str, objects))


def of_segments(header: Dataset, frames: Sequence[int], wanted: Sequence[str]) -> list[int]:
    """Return the frames that show one of some segments, which are named by label or number.

    All frames are returned if none is named.

    Raises:
        Unusable: Segments have the same number, or a frame does not say of which of them it is.
    """
    known, macros = list(segment_labels(header)), ("SegmentIdentificationSequence",)
    if len(known) < len(header.get("SegmentSequence") or []):
        raise Unusable("a segmentation with segments of the same number; export it again")
    if is_label_map(header) or not (known or wanted):
        return list(frames)
    of = {i: of_frame(header, i, macros).get("ReferencedSegmentNumber") for i in frames}
    if len(known) == 1 and len({*of.values()}) == 1:  # Whichever it is called.
        of = dict.fromkeys(frames, known[0])
    if any(number not in known for number in of.values()):
        raise Unusable("frames do not say which of its segments they show; export it again")
    chosen = numbers_of(header, wanted) if wanted else known
    return [frame for frame, number in of.items() if number in chosen]


def numbers_of(header: Dataset, wanted: Sequence[str]) -> list[int]:
    """Return the numbers of segments that are named by label or number."""
    labels = segment_labels(header)
    return [number for number, label in labels.items() if {label, str(number)} & {*wanted}]


def is_label_map(header: Dataset) -> bool:
    """Return whether pixels are numbers of segments."""
    return header.get("SegmentationType") == "LABELMAP"
