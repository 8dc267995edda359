"""Makes study directories with tables whose answer is known, drawn from a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from kerasunet.strategies import NetworkLayout, parse
from kerasunet.study.plan import StudySettings, protocol
from kerasunet.study.tables import CASE_COLUMNS, RUN_COLUMNS
from kerasunet.training.settings import Architecture

EVERY_STRATEGY = (
    *("none", "scratch", "contracting", "expanding", "all", "auto"),
    *(f"shallow:{k}" for k in (1, 2, 3, 4, 6, 7, 8)),
    *(f"deep:{k}" for k in (1, 2, 3, 5, 6, 7, 8)),
    *(f"outer:{k}" for k in (1, 2, 3, 4)),
    *(f"inner:{k}" for k in (1, 2, 3, 4)),
    *("enc1", "dec1"),
)
# What tuning brings in Dice, spread over the blocks in data-flow order.
GAINS = {
    "bus_bra": (0.10, 0.06, 0.05, 0.03, 0.02, 0.01, 0.01, 0.01, 0.02),
    "jsrt": (0.05, 0.03, 0.02, 0.02, 0.01, 0.02, 0.03, 0.05, 0.06),
}
_START = {"bus_bra": 0.50, "jsrt": 0.68}
_SPREAD = {"bus_bra": 0.10, "jsrt": 0.02}


def write_study(
    directory: Path,
    data: str = "bus_bra",
    strategies: Sequence[str] = EVERY_STRATEGY,
    train_sizes: Sequence[int] = (20, 80),
    folds: Sequence[int] = (0, 1, 2, 3, 4),
    cases_per_fold: int = 40,
    depth: int = 4,
    failed: Sequence[str] = (),
    failure: str = "RuntimeError: FloatingPointError: loss became NaN or infinite",
    terms: str = "CC BY 4.0",
) -> Path:
    """Writes `study.json`, `cases.csv` and `runs.csv` as a study leaves them."""
    maker = _Maker(data, depth, cases_per_fold)
    runs, cases = [], []
    for fold in folds:
        for size in train_sizes:
            for strategy in strategies:
                identity = {"data": data, "strategy": strategy, "fold": fold, "train_size": size}
                is_failed = strategy in failed
                runs.append(maker.run(identity, failure if is_failed else ""))
                cases += [] if is_failed else maker.cases(identity)
    directory.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(cases, columns=CASE_COLUMNS).to_csv(directory / "cases.csv", index=False)
    pd.DataFrame(runs, columns=RUN_COLUMNS).to_csv(directory / "runs.csv", index=False)
    record = _record(data, depth, 5 * cases_per_fold, terms)
    (directory / "study.json").write_text(json.dumps(record), encoding="utf-8")
    return directory


class _Maker:
    def __init__(self, data: str, depth: int, cases_per_fold: int):
        self.data = data
        self.layout = NetworkLayout.unet(depth)
        self.rng = np.random.default_rng(sum(map(ord, data)))
        self.difficulty = self.rng.normal(0, 1, (5, cases_per_fold))
        self.sizes = _block_sizes(depth)

    def run(self, identity: dict, failure: str) -> dict:
        trained = sum(self.sizes[block] for block in self.trained_blocks(identity["strategy"]))
        seconds = 20 + 40 * trained / sum(self.sizes.values()) + self.rng.uniform(0, 4)
        measured = {} if failure else {"trained": trained, "parameters": sum(self.sizes.values())}
        measured |= {} if failure else {"seconds": seconds * (trained > 0)}
        return {
            **identity,
            "seed": 0,
            "chosen": "shallow:3" if identity["strategy"] == "auto" else identity["strategy"],
            "learning_rate": 1e-3,
            "steps": 200 if trained else 0,
            **measured,
            "wall_seconds": "" if failure else seconds + 8,
            "versions": "" if failure else "kerasunet 0.1.0, keras 3.15.1, tensorflow 2.21.0",
            "status": "failed" if failure else "finished",
            "note": failure,
        }

    def cases(self, identity: dict) -> list[dict]:
        fold, mean = identity["fold"], self.mean(identity["strategy"], identity["train_size"])
        spread = _SPREAD.get(self.data, 0.08)
        noise = self.rng.normal(0, spread / 3, self.difficulty[fold].size)
        dice = np.clip(mean + spread * self.difficulty[fold] + noise, 0, 1)
        return [
            self._case({**identity, "key": f"case-{fold}-{n:03d}"}, float(value))
            for n, value in enumerate(dice)
        ]

    def mean(self, strategy: str, train_size: int) -> float:
        gains = GAINS.get(self.data, GAINS["bus_bra"])
        blocks = self.layout.blocks
        spread = np.interp(_places(blocks), _places(gains), gains)
        per_block = dict(zip(blocks, spread, strict=True))
        if strategy == "scratch":
            return _START.get(self.data, 0.5) + 0.08 + 0.04 * np.log2(train_size / 20)
        learned = sum(per_block[block] for block in self.trained_blocks(strategy))
        return _START.get(self.data, 0.5) + learned * (1 + 0.06 * np.log2(train_size / 20))

    def trained_blocks(self, strategy: str) -> set[str]:
        text = {"scratch": "all", "auto": "shallow:3", "auto:search": "shallow:2"}.get(
            strategy, strategy
        )
        return {weight.block for weight in parse(text).select(self.layout)}

    def _case(self, row: dict, dice: float) -> dict:
        return {
            **row,
            "seed": 0,
            "group": row["key"],
            "dice": dice,
            "iou": dice / (2 - dice),
            "sensitivity": dice,
            "precision": dice,
            "hd95": 40 * (1 - dice),
            "assd": 10 * (1 - dice),
            "ece": 0.05,
            "truth_area": 900,
            "predicted_area": 900,
            "outcome": "detected",
            "unit": "px",
        }


def _places(values: Sequence) -> np.ndarray:
    return np.linspace(0, 1, len(values))


def _block_sizes(depth: int) -> dict[str, int]:
    layout = NetworkLayout.unet(depth)
    filters = {block: 16 * 2 ** (layout.level_of(block) - 1) for block in layout.blocks}
    return {block: (27 if "enc" in block else 40) * n * n for block, n in filters.items()}


def _record(data: str, depth: int, cases: int, terms: str) -> dict:
    run = replace(StudySettings().run, data=data, architecture=Architecture(depth=depth))
    return {
        "protocol": protocol(replace(StudySettings(), run=run)),
        "digests": {"data": "0" * 64, "init": "1" * 64},
        "data": {
            "name": data,
            "cases": cases,
            "layout": f"{data} archive",
            "terms": terms,
            "citation": f"The makers of {data}, A Set of Images",
        },
        "splits": {},
    }
