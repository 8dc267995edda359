"""Tables of studies whose results are made up: which strategy is better is for the test to say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from kerasunet.study.tables import CASE_COLUMNS, RUN_COLUMNS

STRATEGIES = {
    "none": 0.4,
    "contracting": 0.8,
    "expanding": 0.7,
    "shallow:1": 0.5,
    "shallow:3": 0.75,
    "deep:1": 0.45,
    "deep:3": 0.6,
    "all": 0.82,
}
_FOLDS = 2


def make_study(
    folder: Path, name: str, cases: int = 16, sizes: tuple[int, ...] = (20,), missing: int = 0
) -> Path:
    """Writes `study.json`, `cases.csv` and `runs.csv` into `folder / name`.

    Args:
        folder: Of several studies.
        name: Of the data set.
        cases: Held-out cases, two to a patient.
        sizes: Numbers of training images.
        missing: How many of the last runs have not been.
    """
    rows, runs = [], []
    planned = [(n, fold, text) for n in sizes for fold in range(_FOLDS) for text in STRATEGIES]
    for size, fold, strategy in planned[: len(planned) - missing]:
        identity = {"data": name, "strategy": strategy, "fold": fold, "train_size": size, "seed": 0}
        runs.append(_run(identity))
        rows += [_case(identity, number) for number in range(fold, cases, _FOLDS)]
    directory = folder / name
    directory.mkdir(parents=True)
    pd.DataFrame(rows, columns=CASE_COLUMNS).to_csv(directory / "cases.csv", index=False)
    pd.DataFrame(runs, columns=RUN_COLUMNS).to_csv(directory / "runs.csv", index=False)
    architecture = {"base_filters": 16, "depth": 4, "normalization": "batch", "channels": 1}
    run = {"architecture": architecture, "folds": _FOLDS}
    told = dict.fromkeys(("layout", "terms", "citation"), "")
    record = {
        "protocol": {"run": run, "learning_rates": []},
        "digests": {"data": "", "init": ""},
        "data": {"name": name, "cases": 0, **told},
    }
    (directory / "study.json").write_text(json.dumps(record))
    return directory


def _run(identity: dict) -> dict:
    numbers = dict.fromkeys(RUN_COLUMNS, 1)
    return {**numbers, **identity, "chosen": identity["strategy"], "status": "finished", "note": ""}


def _case(identity: dict, number: int) -> dict:
    seed = [number, identity["train_size"], sorted(STRATEGIES).index(identity["strategy"])]
    noise = np.random.default_rng(seed).normal(0, 0.02)
    value = float(np.clip(STRATEGIES[identity["strategy"]] + noise, 0, 1))
    texts = {"key": f"c{number}", "group": f"p{number // 2}", "outcome": "overlap", "unit": "px"}
    return {**dict.fromkeys(CASE_COLUMNS, 1.0), **identity, **texts, "dice": value}
