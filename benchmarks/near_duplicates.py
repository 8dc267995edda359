"""Measures the search for near-duplicates against a table of pairs that are known.

    python benchmarks/near_duplicates.py FOLDER PAIRS.csv
    python benchmarks/near_duplicates.py FOLDER PAIRS.csv --unrelated OTHER_FOLDER

The table has the columns a and b: keys of cases, or file names without their suffix. Prints how
many of its pairs are found (recall), how many of the found ones are in it (precision), and the
seconds that the whole of `kerasunet check` takes. Exit status 1 if a limit is missed. The last
lines are about fingerprints, as model cards hold them: how many of the pairs they tell, and how
many images are taken for copies of unrelated ones.

    python benchmarks/near_duplicates.py FOLDER --crops

needs no table: it adds 20 crops for each of several shares of a side, of images of the set, and
prints how many are found, and how many pairs of images that are no crops.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kerasunet.data import DataSet, load  # noqa: E402
from kerasunet.data.checking import check  # noqa: E402
from kerasunet.data.groups import find_near_duplicates  # noqa: E402
from kerasunet.data.identification import (  # noqa: E402
    distances,
    fingerprint,
    most_bits,
    recognized,
    thumbnail,
)
from kerasunet.data.layouts.tables import read_rows  # noqa: E402

Pairs = set[frozenset[str]]
SHARES, CROPS = (0.02, 0.05, 0.08, 0.1, 0.15), 20


def main() -> int:
    options = _options()
    if options.crops:
        return found_crops(load(options.data, options.manual_dir))
    started = time.perf_counter()
    check(options.data, options.manual_dir)
    seconds = time.perf_counter() - started
    data = load(options.data, options.manual_dir)
    known, found = known_pairs(options.pairs, data), found_pairs(data)
    recall = len(known & found) / len(known)
    precision = len(known & found) / len(found) if found else 0.0
    print(f"cases      {len(data):,}")
    print(f"pairs      {len(known)} known, {len(found)} found, {len(known & found)} in both")
    print(f"recall     {recall:.1%}  (at least {options.recall:.0%})")
    print(f"precision  {precision:.1%}  (at least {options.precision:.0%})")
    print(f"check      {seconds:.1f} s  (at most {options.seconds:g} s)")
    print(f"prints     {told_by_fingerprint(known, data):.1%} of the known pairs")
    if options.unrelated:
        count, most = taken_for_copies(data, load(options.unrelated))
        print(f"unrelated  {count} images taken for copies, of {most:,}")
    within = seconds <= options.seconds
    return 0 if recall >= options.recall and precision >= options.precision and within else 1


def known_pairs(table: Path, data: DataSet) -> Pairs:
    """Return the pairs of the table whose cases are both in the data set."""
    keys = {case.key.rpartition("/")[2]: case.key for case in data.cases}
    rows = [row for _, row in read_rows(table)]
    named = [(keys.get(row["a"]), keys.get(row["b"])) for row in rows]
    pairs = {frozenset(pair) for pair in named if None not in pair}
    if not pairs:
        raise SystemExit(f"{table}: none of its pairs are cases of {data.name}")
    return pairs


def found_pairs(data: DataSet) -> Pairs:
    """Return the pairs that the search finds."""
    pairs = find_near_duplicates(thumbnail(case.load().image) for case in data.cases)
    return {frozenset((data.cases[i].key, data.cases[j].key)) for i, j, *_ in pairs}


def found_crops(data: DataSet) -> int:
    """Print how many crops of images are found; half of them are cut unevenly."""
    rng = np.random.default_rng(0)
    images = [case.load().image for case in data.cases]
    cut = [(share, int(rng.integers(len(images)))) for share in SHARES for _ in range(CROPS)]
    parts = [
        cropped(images[of], rng.uniform(0, 2 * share, 4) if n % 2 else np.full(4, share))
        for n, (share, of) in enumerate(cut)
    ]
    started = time.perf_counter()
    pairs = {pair[:2] for pair in find_near_duplicates([*images, *parts], crops=True)}
    seconds = time.perf_counter() - started
    for share in SHARES:
        found = [
            (of, len(images) + n) in pairs for n, (known, of) in enumerate(cut) if known == share
        ]
        print(
            f"{share:.0%} of a side   even {sum(found[::2])}/{len(found[::2])}, "
            f"uneven, up to {2 * share:.0%} {sum(found[1::2])}/{len(found[1::2])}"
        )
    print(f"pairs of other images   {sum(j < len(images) for _, j in pairs)}")
    print(f"{len(images) + len(parts):,} images   {seconds:.1f} s")
    return 0


def cropped(image: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Cut shares off the top, bottom, left and right of an image."""
    height, width = image.shape[:2]
    top, bottom, left, right = np.rint(shares * [height, height, width, width]).astype(int)
    return image[top : height - bottom, left : width - right]


def told_by_fingerprint(known: Pairs, data: DataSet) -> float:
    """Return the share of known pairs of which either is recognized among all by the other."""
    prints = _fingerprints(data)
    texts, place = [*prints.values()], {key: number for number, key in enumerate(prints)}
    apart, most = distances(texts, texts), most_bits(texts, texts)
    pairs = [[place[key] for key in pair] for pair in known]
    return float(np.mean([apart[one, other] <= most[[one, other]].max() for one, other in pairs]))


def taken_for_copies(data: DataSet, unrelated: DataSet) -> tuple[int, int]:
    """Return how many images of a set are taken for copies of another's, and how many there are."""
    found = recognized([*_fingerprints(data).values()], [*_fingerprints(unrelated).values()])
    return int(found.sum()), len(found)


def _fingerprints(data: DataSet) -> dict[str, str]:
    return {case.key: fingerprint(case.load().image) for case in data.cases}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="as kerasunet check takes it")
    add("pairs", type=Path, metavar="CSV", nargs="?", help="table of known pairs, columns a and b")
    add("--crops", action="store_true", help="measure crops of these images instead")
    add("--manual-dir", metavar="FOLDER", help="with the name of a public set")
    add("--unrelated", metavar="DATA", help="a data set with none of these images")
    add("--recall", type=float, default=0.95, help="least share of known pairs (0.95)")
    add("--precision", type=float, default=0.95, help="least share of found pairs (0.95)")
    add("--seconds", type=float, default=30, help="most seconds of the check (30)")
    options = parser.parse_args()
    if options.pairs is None and not options.crops:
        parser.error("give a table of known pairs, or --crops")
    return options


if __name__ == "__main__":
    sys.exit(main())
