"""Feeds a reader or parser with inputs that atheris (libFuzzer) steers toward code not yet run.

    python benchmarks/reliability/fuzz/run.py strategy --runs 1000000

Needs `pip install atheris`. An input is a failure if anything is raised but the errors that are
documented, if their message does not name the file in one line, if it takes longer than 10 seconds
or more than 1 GiB. A failure ends the run with exit status 1 and leaves its input in the current
folder. Coverage is that of the Python code: kerasunet and the libraries that parse for it.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("[!_]*.py"))
_MEMORY_DISK = Path("/dev/shm")
_INSTRUMENTED = ["kerasunet", "PIL", "pydicom", "nibabel", "zipfile", "csv", "json"]
_SECONDS, _MEGABYTES = 10, 1024


def main() -> int:
    options = _options()
    if options.folder:
        return _fuzz(options)
    place = _MEMORY_DISK if _MEMORY_DISK.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=place) as folder:
        words = [sys.executable, __file__, *sys.argv[1:], "--folder", folder]
        status = subprocess.run(words, check=False).returncode
        for found in Path(folder).glob("failure-*"):
            print(f"failure: {shutil.copy(found, Path.cwd())}")
            status = 1
    return status


def _fuzz(options: argparse.Namespace) -> int:
    """Run until the executions are done; never return, for libFuzzer ends the process."""
    import atheris

    sys.path[:0] = [str(HERE.parents[2]), str(HERE)]
    with atheris.instrument_imports(include=_INSTRUMENTED):
        target = importlib.import_module(f"targets.{options.target}")
    folder = Path(options.folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03d}").write_bytes(seed)
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-runs={options.runs}",
            f"-max_len={target.LONGEST}",
            f"-timeout={_SECONDS}",
            f"-rss_limit_mb={_MEGABYTES}",
            f"-seed={options.seed}",
            f"-artifact_prefix={folder}/failure-",
            "-print_final_stats=1",
        ],
        target.checker(folder),
    )
    atheris.Fuzz()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=1_000_000, help="executions (1000000)")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer (1)")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
