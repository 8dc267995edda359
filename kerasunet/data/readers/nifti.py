"""NIfTI (.nii, .nii.gz), by nibabel's parts.

`nibabel.load` logs what it finds in headers and keeps the rest of them.
"""

from __future__ import annotations

import gzip
import io
from io import BufferedReader

import numpy as np
from nibabel import Nifti1Header, Nifti2Header
from nibabel.affines import voxel_sizes
from nibabel.arrayproxy import ArrayProxy
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError

from kerasunet.data.readers import volumes
from kerasunet.data.readers.levels import to_levels
from kerasunet.data.readers.masks import MaskValues, stored
from kerasunet.data.readers.source import Partner, Source, Unusable, quiet, without_equal_channels
from kerasunet.data.readers.volumes import Volume

File = BufferedReader | gzip.GzipFile | io.BytesIO
_UNIT_MM = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_SAME_SIZE = 0.01
_COLORS, _AXES_WITH_COLOR = 3, 5
_ALIGNED = 2  # Codes from here on name standard brains.
_GZIP = b"\x1f\x8b"
_HEADER_BYTES, _CHUNK_BYTES = 540, 1 << 20
_MOST_BYTES = 512 << 20  # Unpacked; larger volumes are unpacked as far as each slice needs.


def read_image(source: Source) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read float32 levels, `(height, width)` or `(height, width, 3)`, and the spacing."""
    with quiet("nibabel"):
        volume = _open(source)
        pixels = without_equal_channels(volumes.displayed(volume, source))
        return to_levels(pixels), volume.spacing()


def read_mask(source: Source) -> MaskValues:
    """Read values, `(height, width)`, and their colors if there are any."""
    with quiet("nibabel"):
        return stored(volumes.laid_on(_open(source), source))


def count_frames(source: Source) -> int:
    """Return the number of slices, through all points in time."""
    with quiet("nibabel"):
        return _open(source).count


def step(source: Source) -> float | None:
    """Return millimeters from a slice to the next; `None` if that is not known."""
    with quiet("nibabel"):
        return _open(source).step()


def locate(source: Source) -> Partner:
    """Return the slice as the partner of a mask."""
    with quiet("nibabel"):
        return volumes.partner_of(_open(source), source)


def grid(source: Source) -> tuple[Nifti1Header, Volume]:
    """Return the header and the grid, whose voxels can be read while the file is open."""
    with quiet("nibabel"):
        return _opened(source)


def _open(source: Source) -> Volume:
    return _opened(source)[1]


def _opened(source: Source) -> tuple[Nifti1Header, Volume]:
    source.file.seek(0)
    is_packed = source.file.peek(2)[:2] == _GZIP
    file: File = gzip.GzipFile(fileobj=source.file) if is_packed else source.file
    head = file.read(_HEADER_BYTES)
    layout = Nifti2Header if head[4:8] == b"n+2\0" else Nifti1Header
    # Alone: the extensions that may follow, of any length, say nothing of the voxels.
    header = layout(head[: layout.template_dtype.itemsize], check=False)
    shape = header.get_data_shape()
    if len(shape) < 2:
        raise Unusable("a NIfTI file with fewer than two axes; export it again")
    if header.get_data_offset() < layout.single_vox_offset:
        raise Unusable("its header states that the voxels begin within it; export it again")
    if header.get_data_dtype().kind == "c":
        raise Unusable("complex numbers; save their magnitude")
    file.seek(0)
    shape, in_color = _without_color(shape)

    def read(index: tuple[int | slice, ...]) -> np.ndarray:
        content = _unpacked(source, file, header) if is_packed else file
        volume = ArrayProxy(content, header, mmap=False)
        inside = index[: len(shape)]
        return _channels(np.asarray(volume[(*inside, slice(None)) if in_color else inside]))

    padded = (*shape, 1)[: max(3, len(shape))]
    affine = _affine(header)
    return header, Volume(padded, affine, _sizes(header, affine), read=read)


def _unpacked(source: Source, file: File, header: Nifti1Header) -> File:
    """Return the unpacked content, as far as the voxels go."""
    voxels = int(np.prod(header.get_data_shape(), dtype=object)) * header.get_data_dtype().itemsize
    size = int(header.get_data_offset()) + voxels
    if size > _MOST_BYTES:
        return file

    def unpack() -> bytes:
        content = file.read(size)
        try:
            while file.read(_CHUNK_BYTES):  # Only at the end the checksum is compared.
                pass
        except gzip.BadGzipFile as error:
            if "Not a gzipped file" not in str(error):  # Bytes that follow do not matter.
                raise
        return content

    return io.BytesIO(volumes.kept(source, size, unpack))


def _without_color(shape: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    """Return the axes of space and time, and whether the fifth, of a voxel's numbers, is color.

    Raises:
        Unusable: A voxel has several other numbers, such as a vector.
    """
    numbers = [count for count in shape[4:] if count > 1]
    if not numbers:
        return shape, False
    if numbers != [_COLORS] or len(shape) > _AXES_WITH_COLOR:
        raise Unusable(f"voxels of {int(np.prod(numbers))} numbers; save one of them, or color")
    return shape[:4], True


def _channels(stored: np.ndarray) -> np.ndarray:
    """Split NIfTI's RGB voxels into channels.

    Raises:
        Unusable: They have an opacity, too, which varies.
    """
    if stored.dtype.names is None:
        return stored
    if len(stored.dtype.names) > _COLORS and np.ptp(stored[stored.dtype.names[-1]]):
        raise Unusable("voxels of color and opacity; save color alone, or a picture as PNG")
    return np.stack([stored[name] for name in stored.dtype.names[:3]], axis=-1)


def _affine(header: Nifti1Header) -> np.ndarray | None:
    """Return the orientation matrix in millimeters; `None` if the header knows none."""
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        return None
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        _check_agreement(header)
    scale = _UNIT_MM[header.get_xyzt_units()[0]]
    return np.diag([scale, scale, scale, 1]) @ header.get_best_affine()


def _check_agreement(header: Nifti1Header) -> None:
    """Refuse a file whose two matrices turn it differently; programs follow one or the other."""
    try:
        by_quaternion = io_orientation(header.get_qform())
    except (ValueError, HeaderDataError):  # A broken quaternion says nothing.
        return
    if not np.array_equal(by_quaternion, io_orientation(header.get_sform())):
        raise Unusable(
            "its two orientations, sform and qform, contradict each other; delete the wrong one, "
            "or copy the right one over it"
        )


def _sizes(header: Nifti1Header, affine: np.ndarray | None) -> tuple[float, ...] | None:
    """Return the size of a voxel in millimeters; `None` if it has no unit and was left at 1.

    Where a size is 0, the orientation matrix says it. Where both differ, it is NaN, unless the
    matrix leads to a standard brain, which the patient was stretched to.
    """
    unit = header.get_xyzt_units()[0]
    stated = np.abs([*map(float, header.get_zooms()), 1.0])[:3]
    if unit == "unknown" and (stated[:2] == 1).all():
        return None
    sizes = stated * _UNIT_MM[unit]
    if affine is not None:
        by_affine = voxel_sizes(affine)
        missing = ~((sizes > 0) & np.isfinite(sizes))
        differ = np.abs(by_affine - sizes) > _SAME_SIZE * sizes
        sizes = np.where(differ & (header["sform_code"] <= _ALIGNED), np.nan, sizes)
        sizes = np.where(missing, by_affine, sizes)
    return tuple(sizes.tolist())
