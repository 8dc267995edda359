"""HDF5 files of weights: plain arrays in groups, all of them in the file itself.

HDF5 can also point into other files (external links, external storage, virtual datasets), promise
arrays that nobody stored, compress zeros by the gigabyte, and call plug-ins to unpack them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kerasunet.model_files.refusal import Refused

if TYPE_CHECKING:
    import h5py

MOST_WEIGHTS = 1 << 28
_MOST_OBJECTS = 20_000
_ITEM_BYTES = 8
_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3  # HDF5's registered filters.
_LARGEST_RATIO = 1100  # Deflate packs no tighter than 1032 to 1.
_SLACK_BYTES = 4096  # Of tiny arrays kept in their header.


def count_weights(file: Path | BinaryIO) -> int:
    """Counts the numbers in an HDF5 file.

    Raises:
        Refused: It is damaged, or has anything but plain arrays.
    """
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            count = sum(_size(name, item) for name, item in _datasets(opened))
    except Refused:
        raise
    except Exception as error:  # Broken bytes are answered with exceptions of every type.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Refused(f"its weights are no whole HDF5 file ({reason}); copy it again") from None
    if count > MOST_WEIGHTS:
        raise Refused(f"{count:,} weights, more than the limit of {MOST_WEIGHTS:,}")
    return count


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """All arrays; what is neither an array nor a group, or is met twice, is refused."""
    import h5py

    waiting, met = [file["/"]], set()
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise Refused(f"{name} in its weights is a link; only arrays are taken")
            item = group[name]
            place = h5py.h5o.get_info(item.id).addr
            if place in met or len(met) >= _MOST_OBJECTS:
                raise Refused(f"{name} in its weights is there twice, or they are too many")
            met.add(place)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            else:
                yield item.name, item


def _size(name: str, item: h5py.Dataset | h5py.Datatype) -> int:
    """Number of values of an array, if it is a plain one that is really stored."""
    import h5py

    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub" or item.shape is None:
        raise Refused(f"{name} in its weights is no array of numbers")
    if item.is_virtual or item.external:
        raise Refused(f"{name} in its weights is kept in another file")
    properties = item.id.get_create_plist()
    filters = {properties.get_filter(n)[0] for n in range(properties.get_nfilters())}
    if not filters <= {_DEFLATE, _SHUFFLE, _CHECKSUM} or item.dtype.itemsize > _ITEM_BYTES:
        raise Refused(f"{name} in its weights is stored in a rare way")
    stored = item.id.get_storage_size() * (_LARGEST_RATIO if _DEFLATE in filters else 1)
    if item.size * item.dtype.itemsize > stored + _SLACK_BYTES or item.size > MOST_WEIGHTS:
        raise Refused(f"{name} in its weights has {item.size:,} numbers that are not in the file")
    return item.size
