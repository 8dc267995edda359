"""Tables of cases with a planted truth: which strategy is better is for the test to say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from kerasunet.files import write_json
from kerasunet.strategies import NetworkLayout
from kerasunet.study.plan import StudySettings, distinct_strategies, protocol
from kerasunet.study.results import StudyResults
from kerasunet.study.stats import area_between_curves, compare
from kerasunet.study.tables import CASE_COLUMNS, RUN_COLUMNS
from kerasunet.training.settings import Architecture

PATTERNS = ("none", "scratch", "contracting", "expanding", "shallow:*", "deep:*", "all")
FULL = distinct_strategies(PATTERNS, NetworkLayout.unet(4))
LEVELS = distinct_strategies((*PATTERNS, "outer:*", "inner:*"), NetworkLayout.unet(4))


# -- own data -------------------------------------------------------------------------------------


def table(
    truth: dict[str, float],
    data: str = "bus_bra",
    train_size: int = 20,
    groups: int = 100,
    folds: int = 5,
    views: int = 2,
    seeds: int = 1,
    spread: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """A table of cases: a true mean for each strategy, patients alike over their 1 to `views`."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(groups), rng.integers(1, views + 1, groups))
    case = np.arange(len(patient))
    shared = rng.normal(0, spread, groups)[patient]
    blocks = []
    for strategy, mean in truth.items():
        for run_seed in range(seeds):
            own = rng.normal(0, spread, groups)[patient] + rng.normal(0, spread / 2, len(case))
            columns = {"strategy": strategy, "seed": run_seed, "dice": mean + shared + own}
            blocks.append(pd.DataFrame({**columns, "patient": patient, "case": case}))
    frame = pd.concat(blocks, ignore_index=True)
    frame["fold"] = frame.pop("patient").to_numpy() % folds
    frame["group"] = np.tile([f"p{number}" for number in patient], len(blocks))
    frame["key"] = [f"c{number}" for number in frame.pop("case")]
    constant = {"data": data, "train_size": train_size, "unit": "px", "outcome": "detected"}
    others = {name: 0.5 for name in CASE_COLUMNS if name not in (*frame.columns, *constant)}
    return frame.assign(**constant, **others)[list(CASE_COLUMNS)]


def runs_of(cases: pd.DataFrame, chosen: str = "shallow:3") -> pd.DataFrame:
    """The table of runs that belongs to a table of cases."""
    identity = ["data", "strategy", "fold", "train_size", "seed"]
    frame = cases[identity].drop_duplicates()
    automatic = frame["strategy"].str.startswith("auto")
    known = {"status": "finished", "note": "", "chosen": frame["strategy"].mask(automatic, chosen)}
    others = {name: 1 for name in RUN_COLUMNS if name not in (*identity, *known)}
    return frame.assign(**known, **others)[list(RUN_COLUMNS)]


def results_of(cases: pd.DataFrame, runs: pd.DataFrame | None = None, depth: int = 4):
    """The results of a study with these cases."""
    return StudyResults(cases, runs_of(cases) if runs is None else runs, depth)


def compared(cases: pd.DataFrame, first: str, second: str):
    return compare(results_of(cases), first, second, data="bus_bra", train_size=20)


def area(cases: pd.DataFrame, *directions: str, depth: int = 4):
    results = results_of(cases, depth=depth)
    return area_between_curves(results, *directions, data="bus_bra", train_size=20)


def level(strategies=FULL, **means: float) -> dict[str, float]:
    """The same truth for every strategy but those named (`shallow_3` is `shallow:3`)."""
    return {**dict.fromkeys(strategies, 0.7), **{k.replace("_", ":"): v for k, v in means.items()}}


def by_name(found, name: str, data: str | None = None):
    return [claim for claim in found if claim.name == name and data in (None, claim.data)]


def balanced(truth: dict[str, float], data: str, **options) -> pd.DataFrame:
    """A table whose noise cancels out: every mean is the true one, and chance decides nothing."""
    cases = table(truth, data, **options)
    opposite = cases.assign(
        dice=2 * cases["strategy"].map(truth) - cases["dice"],
        group=cases["group"] + "-opposite",
        key=cases["key"] + "-opposite",
    )
    return pd.concat([cases, opposite], ignore_index=True)


def both_modalities(ultrasound: dict[str, float], x_ray: dict[str, float]) -> pd.DataFrame:
    sets = (("bus_bra", ultrasound), ("jsrt", x_ray))
    return pd.concat([balanced(truth, data, groups=50) for data, truth in sets])


AHEAD = level(contracting=0.8, shallow_3=0.75, shallow_4=0.76)
BEHIND = level(expanding=0.8, deep_3=0.75, deep_5=0.76)


def write_study(directory, cases: pd.DataFrame, depth: int = 4, runs: pd.DataFrame | None = None):
    """A study directory as the engine leaves it, without its runs."""
    default = StudySettings()
    shape = Architecture(depth=depth)
    study = replace(default, run=replace(default.run, architecture=shape))
    directory.mkdir()
    cases.to_csv(directory / "cases.csv", index=False)
    (runs_of(cases) if runs is None else runs).to_csv(directory / "runs.csv", index=False)
    told = dict.fromkeys(("layout", "terms", "citation"), "")
    data = {"name": cases["data"].iloc[0], "cases": int(cases["key"].nunique()), **told}
    record = {"protocol": protocol(study), "digests": {"data": "", "init": ""}, "data": data}
    write_json(directory / "study.json", record)
    return directory
