"""Decodes in a process of its own: `python cache_probe.py COUNT SIZE LOG SECONDS [OPTION …]`.

Cases are noise of a seed. Each one that is really decoded adds a line to the file LOG, and takes
SECONDS. Options are `file-limit=BYTES`, `no-claim`, which writes without claiming space first, and
`batches`, which goes through 50 batches of what was decoded.
Prints the digest of the arrays and the MiB of memory that no file backs.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerasunet.backend import quiet_start
from kerasunet.data import Sample, decode
from kerasunet.data.augmentation_settings import Augmentation


@dataclass(frozen=True)
class NoiseCase:
    """Noise of a seed, 20 rows and 24 columns; tells what it is a function of."""

    seed: int
    log: str = ""
    seconds: float = 0.0
    broken: bool = False
    label: str = ""

    @property
    def key(self):
        return f"case-{self.seed:06d}"

    group = key

    def origin(self):
        return ("noise", self.seed)

    def load(self):
        time.sleep(self.seconds)
        if self.broken:
            raise ValueError(f"{self.key}: broken")
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{self.seed}\n")
        rng = np.random.default_rng(self.seed)
        image = rng.integers(0, 256, (20, 24)).astype(np.float32)
        spacing = None if self.seed % 3 else (0.1 + self.seed, 0.2)
        return Sample(image, rng.random((20, 24)) < 0.5, spacing)


def digest(decoded) -> str:
    parts = (decoded.images.tobytes(), decoded.masks.tobytes(), repr(decoded.spacings).encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def anonymous_memory() -> float:
    """MiB of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def reader_of_batches():
    """A function that goes through 50 batches; its imports are made by now."""
    with quiet_start():  # What TensorFlow says on the way is not what the tests read.
        from kerasunet.data.augmentation import Batches

    def read(decoded) -> None:
        for _ in Batches(decoded, 32, Augmentation(), seed=0).steps(0, 50):
            pass

    return read


def main(count: str, size: str, log: str, seconds: str, *options: str) -> None:
    for option in options:
        name, _, value = option.partition("=")
        if name == "file-limit":
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), int(value)))
        if name == "no-claim":
            del os.posix_fallocate
    cases = [NoiseCase(seed, log, float(seconds)) for seed in range(int(count))]
    read = reader_of_batches() if "batches" in options else lambda _: None
    before = anonymous_memory()
    decoded = decode(cases, (int(size), int(size)))
    read(decoded)
    print(round(anonymous_memory() - before, 1))
    print(digest(decoded))


if __name__ == "__main__":
    main(*sys.argv[1:])
