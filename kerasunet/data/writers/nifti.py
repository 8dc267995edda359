"""Masks, or maps of numbers, as NIfTI files, by nibabel, in the space of their image.

Of a NIfTI image, shape, orientation matrix and units are kept, and each slice is turned back to the
way it is stored. Of others, slices are stored as pictures are, the first axis along a row, where
the image lies in the patient if it says so. The library is imported where it is used, as it does
not have to be installed.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasunet.data import readers
from kerasunet.data.readers.source import quiet
from kerasunet.files import write_atomically

if TYPE_CHECKING:
    from nibabel import Nifti1Header, Nifti1Image

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # From LPS, and back.
_SAME_STEP = 0.01
_SCANNER = 1  # The code of coordinates in the patient.
_WORDS = ("descrip", "aux_file", "intent_name", "db_name", "data_type", "unused_str")
"""What may name a patient."""


def write_nifti(
    path: Path,
    frames: np.ndarray,
    *,
    source: Path,
    spacing: tuple[float, float] | None = None,
) -> None:
    """Write the masks or maps of all frames of an image, atomically and compressed.

    Args:
        path: The `.nii.gz` file.
        frames: Uint8 or float32, `(frames, height, width)`, as the frames are displayed.
        source: The image file.
        spacing: Millimeters per pixel, (row, column), for an image that does not say where it lies.

    Raises:
        FileNotFoundError: The image is gone.
        ValueError: The image is unreadable, has other frames, or has frames in the patient that
            are no evenly spaced stack.
    """
    from nibabel import Nifti1Image

    if readers.kind(source) == "NIfTI":
        made = _in_grid(frames, source)
    else:
        planes = [readers.locate(source, frame).plane for frame in range(len(frames))]
        matrix = _TO_RAS @ _place(source, planes, spacing)
        made = Nifti1Image(_stored(frames, _is_flat(source, planes[0])), matrix)
        is_known = spacing is not None or planes[0] is not None
        made.header.set_xyzt_units("mm" if is_known else "unknown")
        for code in ("sform_code", "qform_code"):
            made.header[code] = _SCANNER
    content = gzip.compress(made.to_bytes(), mtime=0)  # The same masks make the same file.
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _in_grid(frames: np.ndarray, source: Path) -> Nifti1Image:
    """Lay frames on the grid of a NIfTI image."""
    from nibabel import Nifti1Image, Nifti2Header, Nifti2Image

    header, volume = readers.grid(source)
    if len(frames) != volume.count:
        raise ValueError(f"{source}: has {volume.count:,} slices, not {len(frames):,}")
    voxels = np.zeros(volume.shape, frames.dtype)
    views = replace(volume, read=voxels.__getitem__)
    for number, frame in enumerate(frames):
        views.turn.apply(views.slice(number))[...] = frame
    own = _without_values(header)
    kind = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
    with quiet("nibabel"):
        axes = len(header.get_data_shape())  # Beyond the fourth there may be color.
        return kind(voxels.reshape(volume.shape[:axes]), None, own, dtype=frames.dtype)


def _without_values(header: Nifti1Header) -> Nifti1Header:
    """Return the header with its grid, but without anything about values or people."""
    own = header.copy()
    for name in _WORDS:
        if name in own:
            own[name] = b""
    own["cal_min"] = own["cal_max"] = own["intent_code"] = 0
    own.set_slope_inter(1, 0)
    return own


def _stored(frames: np.ndarray, is_flat: bool) -> np.ndarray:
    """Return `(width, height, frames)`, or `(width, height)` of one alone that is flat."""
    voxels = frames.transpose(2, 1, 0)
    return voxels[..., 0] if len(frames) == 1 and is_flat else voxels


def _is_flat(source: Path, plane: np.ndarray | None) -> bool:
    """Return whether two axes say where a frame lies: ITK takes no place from a third of those."""
    is_picture = plane is None or readers.kind(source) != "DICOM"
    return is_picture and (plane is None or not plane[2].any())


def _place(
    source: Path, planes: list[np.ndarray | None], spacing: tuple[float, float] | None
) -> np.ndarray:
    """Return the matrix from voxels to millimeters to the left, posterior and superior.

    Where nothing states the step from a frame to the next, as of points in time, it is 1.
    """
    first, across = planes[0], readers.step(source) or 1.0
    if first is None:
        row, column = spacing or (1.0, 1.0)
        return np.diag([column, row, across, 1.0])
    matrix = np.eye(4)
    matrix[:3, [0, 1, 3]] = first
    matrix[:3, 2] = _step(source, planes, across)
    return matrix


def _step(source: Path, planes: list[np.ndarray | None], across: float) -> np.ndarray:
    """Return the step from a frame to the next; through a single one it is as long as given."""
    known = [plane for plane in planes if plane is not None]
    if len(known) == 1:
        normal = np.cross(known[0][:, 0], known[0][:, 1])
        return across * normal / np.linalg.norm(normal)
    steps = np.diff([plane[:, 2] for plane in known], axis=0)
    alike = np.abs(steps - steps[0]).max() <= _SAME_STEP * float(np.linalg.norm(steps[0]))
    turned = any(np.abs(plane[:, :2] - known[0][:, :2]).max() > 1e-6 for plane in known)
    if len(known) < len(planes) or not alike or not steps[0].any() or turned:
        other = "dicom-seg" if readers.kind(source) == "DICOM" else "png"
        raise ValueError(
            f"{source}: its frames are no evenly spaced stack, which a NIfTI file is; choose "
            f"another format, such as {other}"
        )
    return steps[0]
