"""Show where decoded images are kept, and how many there are; --clear removes them.

KERASUNET_CACHE sets another folder, or off for no cache. Beyond the size in KERASUNET_CACHE_LIMIT
(such as 500MB), the least recently used images are removed.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear", action="store_true", help="remove all entries")


def run(options: argparse.Namespace) -> int:
    from kerasunet.data.cache import Store
    from kerasunet.files import cache_folder, cache_limit

    folder = cache_folder()
    if folder is None:
        print("no cache: KERASUNET_CACHE is set to off")
        return 0
    store = Store(folder, cache_limit())
    packs, entries, size = store.usage()
    print(f"{folder}: {entries:,} entries in {packs:,} files, {_megabytes(size)}", end="")
    print(f" (limit {_megabytes(cache_limit())})")
    if options.clear:
        store.clear()
        print("removed")
    return 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
