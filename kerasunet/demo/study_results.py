"""Study results that the page shows: those that come with it, and those a visitor opens."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from kerasunet.study.results import StudyResults, read_results
from kerasunet.study.tables import CASES, RECORD, RUNS

if TYPE_CHECKING:
    from kerasunet.study.stats import StudyStatistics

_SHIPPED = Path(__file__).resolve().parents[2] / "docs" / "study"


def shipped() -> StudyStatistics | None:
    """Return the published results; `KERASUNET_STUDIES` names another folder of studies.

    Returns:
        Their statistics; `None` where there are none yet.

    Raises:
        ValueError: The studies cannot be used.
    """
    return _shipped(Path(os.environ.get("KERASUNET_STUDIES") or _SHIPPED))


def open_folder(text: str) -> StudyStatistics:
    """Read a study directory, or every study in a folder of several.

    Raises:
        FileNotFoundError: There is no such folder, or no study in it.
        ValueError: The studies cannot be used.
    """
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{text}: no such folder on this machine")
    inner = sorted(path.parent for path in folder.glob(f"*/{CASES}"))
    return _open([folder] if (folder / CASES).is_file() or not inner else inner)


def open_files(paths: Sequence[str]) -> StudyStatistics:
    """Read the uploaded files of one study, which have the names that a study gives them.

    Raises:
        ValueError: A table is missing or cannot be used.
    """
    files = {Path(path).name: path for path in paths}
    missing = [name for name in (CASES, RUNS) if name not in files]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} missing: give {CASES} and {RUNS} of a study, and its "
            f"{RECORD} if the U-Net is not of depth 4"
        )
    with tempfile.TemporaryDirectory() as folder:
        for name in {CASES, RUNS, RECORD} & files.keys():
            shutil.copyfile(files[name], Path(folder) / name)
        try:
            return _open([Path(folder)])
        except ValueError as error:
            raise ValueError(str(error).replace(f"{folder}/", "")) from None


def _open(directories: Sequence[Path]) -> StudyStatistics:
    return _statistics(read_results(directories, record_required=False))


@lru_cache(maxsize=2)
def _shipped(folder: Path) -> StudyStatistics | None:
    studies = sorted(path.parent for path in folder.glob(f"*/{CASES}"))
    whole = [study for study in studies if (study / RUNS).is_file()]
    if not whole:
        return None
    results = read_results(whole, record_required=False, results_required=False)
    return None if results.cases.empty else _statistics(results)


def _statistics(results: StudyResults) -> StudyStatistics:
    """Return the statistics, as soon as no other thread is importing TensorFlow.

    With TensorFlow comes JAX where that is installed, and SciPy fails over a JAX half imported.
    """
    import keras  # noqa: F401

    from kerasunet.study.stats import StudyStatistics

    return StudyStatistics(results)
