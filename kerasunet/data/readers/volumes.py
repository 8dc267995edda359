"""Volumes of voxels with a place in the patient: their slices as displayed, and masks laid on them.

A slice is turned the way radiologists look at it. Volumes are unpacked as a whole, once, and the
last ones are kept, because the slices of one are wanted one after the other.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from nibabel.orientations import io_orientation

from kerasunet.data.readers.source import (
    TOLERANCE,
    Partner,
    Source,
    Unusable,
    check_order,
    corners,
    elsewhere,
    millimeters,
)

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNMEASURED = ((1.0, 1.0, 1.0), (1.0, 1.0, 999.0))  # nnU-Net's first version calls a picture thick.
_MOST_KEPT, _MOST_BYTES = 4, 512 << 20
_kept: OrderedDict[tuple, tuple[int, object]] = OrderedDict()
_keeping = threading.Lock()
T = TypeVar("T")


def kept(source: Source, size: int, make: Callable[[], T]) -> T:
    """Return what is made of a file, from memory if it was made before and the file is the same.

    Args:
        source: The file.
        size: Bytes of what is made; if these are too many, it is not kept.
        make: Makes it.
    """
    status = os.fstat(source.file.fileno())
    times = status.st_mtime_ns, status.st_ctime_ns  # `cp -p` sets back the first.
    key = (status.st_dev, status.st_ino, status.st_size, times)
    with _keeping:
        if key not in _kept:
            made = make()
            if size > _MOST_BYTES:
                return made
            _kept[key] = size, made
        _kept.move_to_end(key)
        found = _kept[key][1]
        while len(_kept) > _MOST_KEPT or sum(size for size, _ in _kept.values()) > _MOST_BYTES:
            _kept.popitem(last=False)
    return found  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid.

    Attributes:
        shape: Voxels along the three axes of space, then points in time along the others.
        affine: From voxel indices to millimeters to the right, anterior and superior, `(4, 4)`;
            `None` if the file does not say.
        sizes: Size of a voxel along the axes of space, millimeters, NaN where it is not certain;
            `None` if the file does not say.
        read: Returns the voxels at an index of all axes, color in a last axis.
    """

    shape: tuple[int, ...]
    affine: np.ndarray | None
    sizes: tuple[float, ...] | None
    read: Callable[[tuple[int | slice, ...]], np.ndarray]

    @property
    def across(self) -> int:
        """The axis across slices: the third, unless only another one is a single voxel long."""
        return next((axis for axis in (2, 0, 1) if self.shape[axis] == 1), 2)

    @property
    def count(self) -> int:
        """Number of slices, through all points in time."""
        return self.shape[self.across] * self.times

    @property
    def times(self) -> int:
        """Number of points in time."""
        return int(np.prod(self.shape[3:], dtype=int))

    @property
    def sides(self) -> tuple[int, int]:
        """The axes within a slice, in stored order."""
        first, second = (axis for axis in range(3) if axis != self.across)
        return first, second

    @cached_property
    def turn(self) -> Turn:
        """How slices are displayed."""
        return Turn.of(self)

    def slice(self, frame: int, across: int | None = None) -> np.ndarray:
        """Return a slice as it is stored, the axes in order; color in a last axis."""
        axis = self.across if across is None else across
        through = self.shape[axis]
        others = self.shape[3:]
        time = np.unravel_index(frame // through, others, order="F") if others else ()
        index: list[int | slice] = [slice(None)] * 3
        index[axis] = frame % through
        return self.read((*index, *map(int, time)))

    def spacing(self) -> tuple[float, float] | None:
        """Return millimeters per pixel as displayed, (row, column); `None` if it is not known.

        At ITK's default place, voxels of ITK's default size are those of a converted picture.
        """
        sizes = self.sizes
        if sizes is None or (sizes in _UNMEASURED and self._is_at_origin(sizes)):
            return None
        return millimeters(sizes[self.turn.row], sizes[self.turn.column])

    def _is_at_origin(self, sizes: tuple[float, ...]) -> bool:
        along = np.diag([*sizes, 1.0])
        return self.affine is not None and np.array_equal(_TO_LPS @ self.affine, along)

    def step(self) -> float | None:
        """Return millimeters from a slice to the next; `None` if that is not known."""
        size = np.nan if self.sizes is None else self.sizes[self.across]
        sides = millimeters(size, size)
        return None if sides is None else sides[0]

    def plane(self, frame: int) -> np.ndarray | None:
        """Return where a slice lies, as `Partner.plane`."""
        if self.affine is None:
            return None
        start = np.zeros(4)
        start[self.across], start[3] = frame % self.shape[self.across], 1
        for axis, flipped in self.turn.axes:
            start[axis] = self.shape[axis] - 1 if flipped else 0
        lps = _TO_LPS @ self.affine
        steps = [lps[:3, axis] * (-1 if flipped else 1) for axis, flipped in self.turn.axes]
        return np.column_stack([*steps, (lps @ start)[:3]])

    @property
    def is_bare(self) -> bool:
        """Whether the orientation is no more than what a program writes that knows none."""
        if self.affine is None:
            return True
        inner = self.affine[:3, :3]
        diagonal = np.diag(np.diag(inner))
        return bool(
            (inner == diagonal).all() and (inner >= 0).all() and not self.affine[:3, 3].any()
        )


@dataclass(frozen=True)
class Turn:
    """How a slice is displayed: the axes along a row and down a column, and which are reversed."""

    column: int
    row: int
    column_flipped: bool
    row_flipped: bool

    @staticmethod
    def of(volume: Volume) -> Turn:
        """Let columns run to the left or posterior, rows to the posterior or inferior.

        This is how axial, coronal and sagittal slices are shown, and how ITK writes plain pictures.
        Where the file knows no orientation, the first axis runs along a row.
        """
        first, second = volume.sides
        if volume.affine is None:
            return Turn(first, second, False, row_flipped=False)
        orientation = io_orientation(volume.affine)
        if not np.isfinite(orientation).all():
            raise Unusable("a volume whose orientation matrix is singular; export it again")
        rises = orientation[:, 1] > 0
        column, row = (
            (first, second)
            if orientation[first, 0] < orientation[second, 0]
            else (
                second,
                first,
            )
        )
        return Turn(column, row, bool(rises[column]), row_flipped=bool(rises[row]))

    @property
    def axes(self) -> tuple[tuple[int, bool], tuple[int, bool]]:
        """The axis along a row and the one down a column, and whether each is reversed."""
        return (self.column, self.column_flipped), (self.row, self.row_flipped)

    @property
    def is_plain(self) -> bool:
        """Whether the first axis runs along a row and the second down a column."""
        return self.column < self.row and not self.column_flipped and not self.row_flipped

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """Turn a slice, its axes in stored order."""
        picture = stored.swapaxes(0, 1) if self.column < self.row else stored
        if self.row_flipped:
            picture = np.flip(picture, 0)
        return np.flip(picture, 1) if self.column_flipped else picture


def displayed(volume: Volume, source: Source) -> np.ndarray:
    """Return the wanted slice as displayed, `(height, width)` or with channels last."""
    _check(volume, source)
    return volume.turn.apply(volume.slice(source.frame))


def partner_of(volume: Volume, source: Source) -> Partner:
    """Return the wanted slice as the partner of a mask."""
    _check(volume, source)
    shape = (volume.shape[volume.turn.row], volume.shape[volume.turn.column])
    order = "stored" if volume.turn.is_plain else "turned"
    time = source.frame // volume.shape[volume.across]
    return Partner(
        source.name,
        source.frame,
        volume.count,
        shape=shape,
        plane=volume.plane(source.frame),
        order="unknown" if volume.affine is None else order,
        times=volume.times,
        time=time,
        number=time,
    )


def laid_on(volume: Volume, source: Source, *, padded: bool = False) -> np.ndarray:
    """Return the slice of a mask that belongs to the partner of the source, as displayed.

    Args:
        volume: The mask.
        source: Its file, the wanted frame, and the image that it belongs to.
        padded: Whether it may be cut to a part of its image, around which there is 0.

    Raises:
        Unusable: It does not lie on its image, or does not say whether it does.
    """
    partner = source.partner
    if partner is None:
        return displayed(volume, source)
    if partner.plane is not None and volume.affine is not None:
        return _at_position(volume, partner, padded)
    _check(volume, source)
    if volume.is_bare:
        return _of_unknown_order(volume, partner, source.frame)
    if partner.plane is None and not volume.turn.is_plain:
        raise Unusable(
            f"it is turned by its orientation, and {partner.name} does not say where it lies; "
            "save the mask as PNG"
        )
    check_order(partner)
    return displayed(volume, source)


def _check(volume: Volume, source: Source) -> None:
    first, second = volume.sides
    source.check_size(volume.shape[first], volume.shape[second])
    source.check_frame(volume.count)


def _of_unknown_order(volume: Volume, partner: Partner, frame: int) -> np.ndarray:
    """Return a slice as stored; the shape of the image says which axis runs along a row."""
    stored = volume.slice(frame)
    check_order(partner)
    height, width = partner.shape
    if height == width and partner.order != "unknown":
        raise Unusable(
            f"it has no orientation, so it is unknown which of its axes runs along a row of "
            f"{partner.name}; save the mask as PNG, or with SimpleITK"
        )
    return stored if stored.shape[:2] == partner.shape else stored.swapaxes(0, 1)


def _at_position(volume: Volume, partner: Partner, padded: bool) -> np.ndarray:
    """Return the slice that lies where the partner does, in its order of pixels."""
    assert partner.plane is not None and volume.affine is not None
    if partner.times > 1 and volume.times != partner.times:
        raise Unusable(
            f"{partner.name} has {partner.times} points in time, and this {volume.times}, so its "
            "slices cannot be told from points in time; save it with the axes of its image"
        )
    voxels = np.linalg.inv(_TO_LPS @ volume.affine)
    steps = voxels[:3, :3] @ partner.plane[:, :2]
    start = voxels[:3] @ [*partner.plane[:, 2], 1]
    whole = np.rint(np.column_stack([steps, start]))
    at_corners = np.column_stack([steps, start]) @ corners(partner.shape)
    rounded = whole @ corners(partner.shape)
    if np.abs(at_corners - rounded).max() > TOLERANCE:
        raise Unusable(elsewhere(partner))
    low, high = rounded.min(axis=1), rounded.max(axis=1)
    shape = volume.shape[:3]
    if (low >= 0).all() and (high < shape).all():
        return _cut(volume, whole.astype(int), partner)
    if padded and ((high >= 0) & (low < shape) | (low == high)).all():
        return _padded(volume, whole.astype(int), partner.shape)
    if ((high >= 0) & (low < shape)).all():
        raise Unusable(
            f"it covers only a part of {partner.name}; pad it with 0 to the size of its image"
        )
    raise Unusable(elsewhere(partner))


def _padded(volume: Volume, whole: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return what a mask that is cut to a part of its image has there, and 0 around it.

    Args:
        volume: The mask.
        whole: Whole steps to the next column and row from a first voxel, `(3, 3)`.
        shape: Height and width of the image.
    """
    column, row = (int(np.flatnonzero(whole[:, step])[0]) for step in (0, 1))
    across = 3 - column - row
    columns = whole[column, 0] * np.arange(shape[1]) + whole[column, 2]
    rows = whole[row, 1] * np.arange(shape[0]) + whole[row, 2]
    is_column = (columns >= 0) & (columns < volume.shape[column])
    is_row = (rows >= 0) & (rows < volume.shape[row])
    depth = int(whole[across, 2])
    stored = volume.slice(min(max(depth, 0), volume.shape[across] - 1), across)
    picture = stored.swapaxes(0, 1) if column < row else stored
    found = np.zeros((*shape, *picture.shape[2:]), picture.dtype)
    if 0 <= depth < volume.shape[across]:
        found[np.ix_(is_row, is_column)] = picture[np.ix_(rows[is_row], columns[is_column])]
    return found


def _cut(volume: Volume, whole: np.ndarray, partner: Partner) -> np.ndarray:
    """Cut the slice of whole steps to the next column and row from a first voxel, `(3, 3)`."""
    column, row = (int(np.flatnonzero(whole[:, step])[0]) for step in (0, 1))
    across = 3 - column - row
    times = volume.times
    if times > 1 and (partner.times, partner.count) != (times, volume.shape[across] * times):
        raise Unusable(
            f"it has {times} volumes, such as time points or one per label, unlike {partner.name}; "
            "save only the volume that belongs to the image"
        )
    in_time = partner.number if partner.time is None else partner.time
    time = in_time if times > 1 else 0
    stored = volume.slice(int(whole[across, 2]) + time * volume.shape[across], across)
    turn = Turn(column, row, bool(whole[column, 0] < 0), row_flipped=bool(whole[row, 1] < 0))
    return turn.apply(stored)
