"""Decoded and resized cases on disk, mapped into memory: no image is decoded twice.

A folder per size, number of channels and decoder holds packs: files of many cases each, written
once and never changed. Cases are found in them by what they were made from, see `sources`. Every
row has a checksum; a pack that is damaged is removed and what was wanted of it is made again.
Where packs cannot be written, everything works as it does without a cache.
"""

from kerasunet.data.cache.rows import PutRow, Rows, rows_in_memory
from kerasunet.data.cache.store import Store, Usage, cached_rows

__all__ = ["PutRow", "Rows", "Store", "Usage", "cached_rows", "rows_in_memory"]
