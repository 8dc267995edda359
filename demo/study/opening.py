"""A study of one's own: its folder on this machine, or its tables as uploaded files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from results import Results, read_studies

from kerasunet.study.tables import CASES, RECORD, RUNS


def open_folder(text: str) -> Results:
    """Reads a study directory, or every study in a folder of several.

    Raises:
        FileNotFoundError: There is no such folder, or no study in it.
        ValueError: The tables cannot be used.
    """
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{text}: no such folder on this machine")
    inner = sorted(path.parent for path in folder.glob(f"*/{CASES}"))
    return read_studies([folder] if (folder / CASES).is_file() or not inner else inner)


def open_files(paths: Sequence[str]) -> Results:
    """Reads the uploaded tables of one study; they are named as a study names them.

    Raises:
        ValueError: A table is missing, or they cannot be used.
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
            return read_studies([Path(folder)])
        except ValueError as error:
            raise ValueError(str(error).replace(f"{folder}/", "")) from None
