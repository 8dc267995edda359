"""`study.json`: what a study is, so that its directory is never mixed with another study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kerasunet import zoo
from kerasunet.files import read_json, write_json
from kerasunet.study.plan import PlannedRun
from kerasunet.study.settings import StudySettings, protocol
from kerasunet.study.tables import RECORD
from kerasunet.training.directory import refuse_differences
from kerasunet.training.inputs import load_data, split_data


def claim_study(directory: Path, settings: StudySettings, planned: Sequence[PlannedRun]) -> str:
    """Makes a directory this study's own, or refuses; finds faults of data before any run.

    Args:
        directory: The study directory.
        settings: The study.
        planned: Its runs. Every split is made once here, so that data too small are refused now.

    Returns:
        The name of the data set, as the tables give it.

    Raises:
        ValueError: The directory holds a study with another protocol or other data, both sides
            of each difference named; or the data cannot be split as asked.
    """
    data = load_data(settings.run)
    splits = {(run.fold, run.train_size): split_data(run.settings, data).digest for run in planned}
    asked = {
        "protocol": protocol(settings),
        "digests": {"data": data.digest, "init": zoo.digest(settings.run.init)},
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
        fixed = ("protocol", "digests")
        refuse_differences(directory, {n: known[n] for n in fixed}, {n: asked[n] for n in fixed})
    named = {f"fold {fold}, {size} images": digest for (fold, size), digest in splits.items()}
    write_json(path, {**asked, "splits": {**known["splits"], **named}})
    return data.name
