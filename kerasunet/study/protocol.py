"""`study.json`: what a study is, so that its directory is never mixed with another study."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kerasunet import __version__, zoo
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import decode
from kerasunet.files import read_json, write_json
from kerasunet.study.plan import PlannedRun
from kerasunet.study.settings import StudySettings, protocol
from kerasunet.study.tables import RECORD
from kerasunet.training.directory import refuse_differences
from kerasunet.training.inputs import content_digest, load_data, split_data


def claim_study(directory: Path, settings: StudySettings, planned: Sequence[PlannedRun]) -> str:
    """Makes a directory this study's own, or refuses; finds faults of data before any run.

    Args:
        directory: The study directory.
        settings: The study.
        planned: Its runs. Every split is made once here, so that data too small are refused now.

    Returns:
        The name of the data set, as the tables give it.

    Raises:
        ValueError: The directory holds a study with another protocol, other data or other major
            versions, both sides of each difference named; or the data cannot be decoded, or not
            be split as asked.
    """
    data = load_data(settings.run)
    splits = {(run.fold, run.train_size): split_data(run.settings, data).digest for run in planned}
    asked = {
        "protocol": protocol(settings),
        "digests": {
            "data": data.digest,
            "images and masks": _content(settings, data),
            "init": zoo.digest(settings.run.init),
        },
        "versions": _versions(),
        "data": {
            "name": data.name,
            "cases": len(data),
            "layout": data.layout,
            "terms": data.terms,
            "citation": data.citation,
        },
    }
    path = directory / RECORD
    known = read_json(path) if path.is_file() else {"splits": {}}
    if path.is_file():
        fixed = ("protocol", "digests", "versions")
        was, now = ({n: record.get(n, {}) for n in fixed} for record in (known, asked))
        refuse_differences(directory, was, now)
    named = {f"fold {fold}, {size} images": digest for (fold, size), digest in splits.items()}
    write_json(path, {**asked, "splits": {**known["splits"], **named}})
    return data.name


def _content(settings: StudySettings, data: DataSet) -> str:
    side = settings.run.image_size
    return content_digest([decode(data.cases, (side, side), settings.run.architecture.channels)])


def _versions() -> dict[str, str]:
    """As installed: only the processes of the runs import these libraries."""
    found = {"kerasunet": __version__}
    for name in ("keras", "tensorflow"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
