"""How a study was made: what its own files tell, for the end of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kerasunet.study.figures.results import Results, StudyRecord
from kerasunet.study.report.tables import Table

_ABSENT = {None: "–", True: "yes", False: "no"}


def facts(results: Results, study: StudyRecord) -> tuple[tuple[str, str], ...]:
    """Data, size and versions of one study, as pairs of name and value."""
    data, runs = study.data, results.runs[results.runs["data"] == study.data["name"]]
    listing = {
        "data": f"{data['name']}, {data['cases']} cases ({data['layout']})",
        "terms of the data": data["terms"],
        "to cite": data["citation"],
        "digest of the data": study.digests["data"],
        "digest of the initial model": study.digests["init"],
        "runs": f"{(runs['status'] == 'finished').sum()} finished, "
        f"{(runs['status'] != 'finished').sum()} failed",
        "folds with results": _listing(runs["fold"].unique()),
        "training images": _listing(runs["train_size"].unique()),
        "seeds": _listing(runs["seed"].unique()),
        "time of all runs": f"{runs['wall_seconds'].sum() / 3600:.1f} h",
        "versions": "; ".join(sorted(filter(None, runs["versions"].dropna().unique()))),
    }
    return tuple((name, str(value)) for name, value in listing.items() if value)


def settings_table(studies: Sequence[StudyRecord]) -> Table:
    """Every setting that all runs of a study share, a column for each study."""
    columns = [dict((*_flat(study.protocol["run"]), *_flat(_rates(study)))) for study in studies]
    rows = [(name, *(column.get(name, "–") for column in columns)) for name in columns[0]]
    names = [study.data["name"] for study in studies]
    everywhere = tuple(range(len(studies) + 1))
    return Table("Settings of all runs.", ("setting", *names), tuple(rows), texts=everywhere)


def _rates(study: StudyRecord) -> dict[str, Any]:
    """Where learning rates were searched, which; an empty list is no search."""
    return {"learning rates to choose from": study.protocol["learning_rates"] or None}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ".replace("_", " "))
        else:
            yield prefix + name.replace("_", " "), _plain(value)


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return _ABSENT[value]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _listing(values) -> str:
    return ", ".join(str(value) for value in sorted(values))
