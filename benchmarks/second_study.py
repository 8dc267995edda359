"""The second study: rates, strategies, starts, robustness; training sets share no patient.

Stage by stage; started again, it goes on where it stopped. Every process trains one strategy on
one data set after the other, so that its steps are compiled once.

    python benchmarks/second_study.py first-study
    python benchmarks/second_study.py power
    python benchmarks/second_study.py pack SETS --data DATA
    python benchmarks/second_study.py start jsrt-all --data DATA
    python benchmarks/second_study.py run rates --data DATA --processes 2
    python benchmarks/second_study.py join
    python benchmarks/second_study.py choose
    python benchmarks/second_study.py run strategies --data DATA
    python benchmarks/second_study.py run starts --data DATA
    python benchmarks/second_study.py run robustness --data DATA
    python benchmarks/second_study.py run precision --data DATA
    python benchmarks/second_study.py join
    python benchmarks/second_study.py evidence
    python benchmarks/second_study.py tables
    python benchmarks/second_study.py figures

SETS holds the folders bus_bra, busi, jsrt and shenzhen; DATA receives their images at the sizes
that the study uses, about 40 MB. On a GPU: KERAS_BACKEND=jax, XLA_PYTHON_CLIENT_PREALLOCATE=false,
and as many processes as there are cores.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import optimize, stats

from kerasunet.data.cases import Case
from kerasunet.data.decoding import decode
from kerasunet.files import read_json, write_json
from kerasunet.layer_selection.evidence import QUESTIONS, START_WORDS, Evidence, Nearness
from kerasunet.objects import Modality, modality_of
from kerasunet.runs.preparation import load_data
from kerasunet.strategies import parse
from kerasunet.study.plan import StudySettings
from kerasunet.study.stats.training_sets import compare_over_sets
from kerasunet.study.tables import RECORD, RUNS, read_tables
from kerasunet.training.settings import FinetuneSettings, Optimization

HOME = Path(__file__).resolve().parent.parent / "docs" / "second-study"
FIRST_STUDY = HOME.parent / "study"
EVIDENCE = HOME.parent.parent / "kerasunet" / "layer_selection" / "evidence.csv"
RATES_FILE = "rates.json"
DEVELOPMENT = {"bus_bra": 300, "busi": 120, "jsrt": 100, "shenzhen": 120}
LABELS = {"busi": ("benign", "malignant")}
SIDES = {128: ("bus_bra", "busi", "jsrt", "shenzhen"), 256: ("bus_bra",)}
TUNED_ON = {"bus_bra": "bus_bra", "busi": "bus_bra", "jsrt": "jsrt", "shenzhen": "jsrt"}
CLOSE = {"busi": "ultrasound-all", "shenzhen": "jsrt-all"}
"""The start that saw another hospital's images of the same kind."""
FAMILIES = {
    "all": "{0}*all",
    "contracting": "{0}*contracting",
    "expanding": "{0}*expanding",
    "shallow:4": "{0}*shallow:4",
    "soft": "{0}*contracting+{1}*expanding",
    "expanding+statistics": "{0}*expanding+statistics",
}
STARTS_FAMILIES = ("all", "contracting", "expanding", "shallow:4", "soft")
ROBUST_FAMILIES = ("all", "contracting", "expanding", "soft")
FACTORS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Of the learning rate 1e-3 that all other settings share; a strategy takes no larger one."""
FIRST_FAMILIES = ("all", "contracting", "expanding")
"""Tried first, at factors 0.1 to 10. They told which factors are hopeless for the others."""
MARGINS = {"bus_bra": 0.01, "busi": 0.01, "jsrt": 0.002, "shenzhen": 0.002}
"""The smallest differences that matter, in Dice."""
PAIRS = (
    ("contracting", "all"),
    ("contracting", "expanding"),
    ("all", "expanding"),
    ("soft", "all"),
    ("soft", "contracting"),
    ("shallow:4", "all"),
    ("shallow:4", "contracting"),
    ("expanding+statistics", "expanding"),
)
_MOST_SETS = 10
"""Training sets that one process works off."""
EQUIVALENT = 0.003
"""Within this Dice, training in bfloat16 counts as equal to training in float32."""
_FLOAT32, _AGAIN = "-float32", "-again"
RGN_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Cell:
    """Runs that differ in strategy and training set only.

    Attributes:
        name: Folder of the cell within its stage.
        data: Name of the data set.
        size: Training images.
        folds: Number of disjoint training sets that the data are dealt out to.
        sets: Number after the last of them that is used.
        first: The first of them that is used.
        start: Initial weights.
        development: Whether it uses the development cases, or all but those.
        steps: Optimizer steps.
        side: Height and width in pixels.
        rate: Learning rate that factor 1 stands for.
        precision: Keras dtype policy.
    """

    name: str
    data: str
    size: int
    folds: int
    sets: int
    start: str = "natural"
    development: bool = False
    steps: int = 200
    side: int = 128
    rate: float = 1e-3
    first: int = 0
    precision: str = "float32"

    @property
    def nearness(self) -> Nearness:
        """How near the start is to the data."""
        return "far" if self.start == "natural" else "close"

    def settings(self, data: Path, starts: Path, strategies: Iterable[str]) -> StudySettings:
        """Return the study of this cell with some strategies."""
        known = starts / f"{self.start}.keras"
        return StudySettings(
            run=FinetuneSettings(
                init=str(known) if known.is_file() else self.start,
                data=str(data / str(self.side) / self.data),
                groups="given",
                train_size=None,
                validation_size=0,
                folds=self.folds,
                disjoint=True,
                development_size=DEVELOPMENT[self.data],
                development=self.development,
                image_size=self.side,
                optimization=Optimization(
                    steps=self.steps,
                    learning_rate=self.rate,
                    validate_every=100,
                    precision=self.precision,
                ),
            ),
            strategies=tuple(strategies),
            train_sizes=(self.size,),
            only_folds=tuple(range(self.first, self.sets)),
        )


@dataclass(frozen=True)
class Group:
    """What one process works off: a piece of each of some cells.

    Attributes:
        name: Name of the pieces.
        work: Cells, each with the strategies to run there.
    """

    name: str
    work: tuple[tuple[Cell, tuple[str, ...]], ...]


def strategy(family: str, factor: float) -> str:
    """Return the text of a strategy whose rates are a factor of the usual ones."""
    return str(parse(FAMILIES[family].format(f"{factor:g}", f"{factor / 10:g}")))


def rate_cells() -> list[Cell]:
    """Cells on development cases, in which rates are chosen."""
    near = [
        Cell(f"{data}-20-{start}", data, 20, 3, 3, start, development=True)
        for data, close in CLOSE.items()
        for start in ("natural", close)
    ]
    return [
        Cell("bus_bra-20-natural", "bus_bra", 20, 3, 3, development=True),
        Cell("jsrt-20-natural", "jsrt", 20, 3, 3, development=True),
        *near,
        Cell("bus_bra-80-natural", "bus_bra", 80, 3, 3, development=True),
    ]


def factors_of(cell: Cell, family: str) -> tuple[float, ...]:
    """Return the factors that are tried for a family of strategies in a cell."""
    close = cell.start != "natural"
    if family not in STARTS_FAMILIES and TUNED_ON[cell.data] != cell.data:
        return ()
    if cell.size == 80:
        return (1.0, 3.0, 10.0)
    if family in FIRST_FAMILIES:
        return FACTORS if close else FACTORS[2:]
    if close:
        return FACTORS[:4]
    return (0.3, 1.0, 3.0, 10.0) if cell.data in ("bus_bra", "busi") else (1.0, 3.0, 10.0)


def rates_stage(_: dict) -> Iterator[Group]:
    cells = rate_cells()
    for family in FAMILIES:
        for factor in FACTORS:
            work = tuple(
                (cell, (strategy(family, factor),))
                for cell in cells
                if factor in factors_of(cell, family)
            )
            yield Group(f"{family}-{factor:g}", work)
    yield Group("none", tuple((cell, ("none",)) for cell in cells))


def rgn_rates_cells() -> list[Cell]:
    """Cells of the base rates of `rgn`."""
    return rate_cells()[:2]


def rgn_rates_stage(_: dict) -> Iterator[Group]:
    for rate in RGN_RATES:
        for cell in rgn_rates_cells():
            one = replace(cell, name=f"{cell.name}-rgn-{rate:g}", rate=rate)
            yield Group(f"rgn-{rate:g}", ((one, ("rgn",)),))


def strategies_cells() -> list[Cell]:
    """Cells of the comparison of strategies."""
    return [
        Cell("bus_bra-20", "bus_bra", 20, 20, 20),
        Cell("busi-20", "busi", 20, 20, 20),
        Cell("bus_bra-80", "bus_bra", 80, 10, 10),
        Cell("busi-80", "busi", 80, 6, 6),
        *(
            Cell(f"{data}-{size}", data, size, 7, 7)
            for data in ("jsrt", "shenzhen")
            for size in (20, 5)
        ),
    ]


def strategies_stage(rates: dict) -> Iterator[Group]:
    for cell in strategies_cells():
        size = 80 if cell.size == 80 else 20
        known = rates[f"{TUNED_ON[cell.data]}-{size}-natural"]
        for part in _halves(cell):
            for family in FAMILIES:
                yield from _groups(family, part, known)
            yield Group(f"none-{part.first}", ((part, ("none",)),))


def _halves(cell: Cell) -> tuple[Cell, ...]:
    """Divide the sets of a large cell among two processes."""
    if cell.sets <= _MOST_SETS:
        return (cell,)
    middle = cell.sets // 2
    return replace(cell, sets=middle), replace(cell, first=middle)


def _groups(family: str, cell: Cell, factors: dict[str, float]) -> Iterator[Group]:
    if family in factors:
        texts = (strategy(family, factors[family]),)
        yield Group(f"{family}-{cell.first}", ((cell, texts),))


def starts_cells() -> list[Cell]:
    """Cells of the comparison of starts."""
    return [
        Cell(f"{data}-{size}-{start}", data, size, folds, 5, start)
        for data, close in CLOSE.items()
        for start in ("natural", close)
        for size, folds in ((20, 7), (80, 5))
    ]


def starts_stage(rates: dict) -> Iterator[Group]:
    for cell in starts_cells():
        for family in STARTS_FAMILIES:
            yield from _groups(family, cell, rates[f"{cell.data}-20-{cell.start}"])
        untouched = ("none",) if cell.start != "natural" else ("none", "scratch")
        yield Group("untouched", ((cell, untouched),))


def robustness_stage(rates: dict) -> Iterator[Group]:
    known = rates["bus_bra-20-natural"]
    cells = [
        Cell("bus_bra-20-600-steps", "bus_bra", 20, 20, 5, steps=600),
        Cell("bus_bra-20-256-pixels", "bus_bra", 20, 20, 5, side=256),
        *(
            Cell(f"bus_bra-20-{start}", "bus_bra", 20, 20, 5, start)
            for start in ("control", "second-seed", "simulated", "no-norm", "32-filters")
        ),
    ]
    for cell in cells:
        for family in ROBUST_FAMILIES:
            yield from _groups(family, cell, known)


def precision_stage(rates: dict) -> Iterator[Group]:
    """`all` again in bfloat16 on training sets of the comparison of strategies.

    Those of BUS-BRA were compared on a GPU, so these also run in float32 again.
    """
    for cell in strategies_cells():
        if cell.name not in ("bus_bra-20", "jsrt-20"):
            continue
        again = [replace(cell, precision="mixed_bfloat16")]
        if cell.data == "bus_bra":
            again.append(replace(cell, name=f"{cell.name}{_FLOAT32}"))
        for one in again:
            for part in _halves(one):
                yield from _groups("all", part, rates[f"{cell.data}-20-natural"])


STAGES = {
    "rates": rates_stage,
    "rgn-rates": rgn_rates_stage,
    "strategies": strategies_stage,
    "starts": starts_stage,
    "robustness": robustness_stage,
    "precision": precision_stage,
}


def groups_of(stage: str, only: str) -> list[Group]:
    """Return the groups of a stage whose cells' names contain a text."""
    rates = read_json(HOME / RATES_FILE) if "rates" not in stage else {}
    found = (
        replace(group, work=tuple(item for item in group.work if only in item[0].name))
        for group in STAGES[stage](rates)
    )
    return [group for group in found if group.work]


def pack(options: argparse.Namespace) -> int:
    """Write the images and masks of the sets at the sizes that the study uses, with manifests."""
    for side, names in SIDES.items():
        for name in names:
            settings = FinetuneSettings(data=str(options.sets / name), labels=LABELS.get(name, ()))
            for path, content in packed(load_data(settings).cases, side):
                file = options.data / str(side) / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    return 0


def packed(
    cases: Sequence[Case], side: int, *, jpeg_quality: int | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file of a set: gray images, masks, and their manifest.

    Args:
        cases: The cases; their groups and labels go into the manifest.
        side: Height and width in pixels.
        jpeg_quality: Of images, 1 to 95; `None` keeps every gray level, as PNG.
    """
    decoded = decode(cases, (side, side), 1)
    suffix, lines = "png" if jpeg_quality is None else "jpg", ["image,mask,group,label"]
    for case, image, mask in zip(cases, decoded.images, decoded.masks, strict=True):
        gray = Image.fromarray(np.rint(image[..., 0]).astype(np.uint8))
        names = f"images/{case.key}.{suffix}", f"masks/{case.key}.png"
        yield names[0], _encoded(gray, jpeg_quality)
        yield names[1], _encoded(Image.fromarray(mask), None)
        lines.append(",".join([*names, case.group, case.label]))
    yield "manifest.csv", ("\n".join(lines) + "\n").encode()


def write_packed(
    archive: Path, cases: Sequence[Case], side: int, *, jpeg_quality: int | None = None
) -> None:
    """Write what `packed` yields into a zip file, and print how large it is."""
    with zipfile.ZipFile(archive, "w") as opened:
        for path, content in packed(cases, side, jpeg_quality=jpeg_quality):
            opened.writestr(path, content)
    print(f"{archive.stem}: {archive.stat().st_size / 1e6:.1f} MB")


def _encoded(picture: Image.Image, jpeg_quality: int | None) -> bytes:
    stream = BytesIO()
    if jpeg_quality is None:
        picture.save(stream, "PNG", optimize=True)
    else:
        picture.save(stream, "JPEG", quality=jpeg_quality, optimize=True)
    return stream.getvalue()


def start(options: argparse.Namespace) -> int:
    """Make the start that has seen JSRT: four fifths of it, 1,000 steps of `all`."""
    from kerasunet import runs

    settings = FinetuneSettings(
        layers="all",
        data=str(options.data / "128" / "jsrt"),
        groups="given",
        train_size=None,
        validation_size=0,
        optimization=Optimization(steps=1000, validate_every=250),
    )
    made = runs.finetune(settings, options.starts / "jsrt-all-run")
    options.starts.mkdir(parents=True, exist_ok=True)
    shutil.copy(made.files.model, options.starts / f"{options.name}.keras")
    card = made.files.model.with_suffix(".json")
    shutil.copy(card, options.starts / f"{options.name}.json")
    print(f"{options.name}: {made.summary['after']['dice']}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Work off the groups of a stage, some processes at a time."""
    total = len(groups_of(options.stage, options.only))
    command = [sys.executable, __file__, "group", options.stage, "--data", str(options.data)]
    command += ["--starts", str(options.starts), "--output", str(options.output)]
    command += ["--only", options.only]
    limit = time.monotonic() + 60 * options.minutes

    def work(number: int) -> int:
        left = limit - time.monotonic()
        if left <= 0:
            return 1
        try:
            return subprocess.run([*command, "--number", str(number)], timeout=left).returncode
        except subprocess.TimeoutExpired:
            return 1

    with ThreadPoolExecutor(options.processes) as pool:
        statuses = list(pool.map(work, range(total)))
    print(f"{statuses.count(0)} of {total} groups are finished")
    return 0 if not any(statuses) else 1


def work_group(options: argparse.Namespace) -> int:
    """Execute the open runs of one group in this process."""
    group = groups_of(options.stage, options.only)[options.number]
    for cell, strategies in group.work:
        _wait_for_start(options.starts, cell.start)
        folder = options.output / options.stage / cell.name / f"piece-{_safe(group.name)}"
        settings = cell.settings(options.data, options.starts, strategies)
        execute_study(settings, folder, f"{options.stage}/{cell.name}")
    return 0


def execute_study(settings: StudySettings, folder: Path, name: str) -> None:
    """Execute the open runs of a study in this process, and print a line a run."""
    from kerasunet.study.execution import open_study
    from kerasunet.study.workers import execute, read_result, specify

    study = open_study(settings, folder)
    for planned in study.open_runs():
        started = time.perf_counter()
        directory = folder / "runs" / planned.name
        directory.mkdir(parents=True, exist_ok=True)
        specify(planned, directory)
        execute(directory, started)
        result = read_result(planned, directory)
        study.tables.record(result.run, result.cases)
        shutil.rmtree(directory)
        dice = sum(float(case["dice"]) for case in result.cases) / len(result.cases)
        seconds = f"{result.run['seconds']:.1f} of {result.run['wall_seconds']:.1f} s"
        gc.collect()
        print(f"{name} {planned.strategy} {planned.fold}: {dice:.4f}, {seconds}", flush=True)


def _wait_for_start(starts: Path, name: str) -> None:
    """Wait for weights that another process is about to write."""
    if name in ("natural", "ultrasound-all"):
        return
    while not (starts / f"{name}.json").is_file():
        time.sleep(1)


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name)


def join(options: argparse.Namespace) -> int:
    """Join the pieces of every cell to one study directory, and remove the pieces."""
    for cell in sorted({piece.parent for piece in options.output.glob("*/*/piece-*")}):
        pieces = sorted(piece for piece in cell.glob("piece-*") if (piece / RUNS).is_file())
        if pieces:
            _join_pieces(cell, pieces)
    return 0


def _join_pieces(cell: Path, pieces: list[Path]) -> None:
    frames = [read_tables(piece) for piece in pieces]
    if (cell / RUNS).is_file():
        frames.append(read_tables(cell))
    cases, runs = (pd.concat(tables) for tables in zip(*frames, strict=True))
    identity = ["strategy", "fold", "train_size", "seed"]
    runs = runs.drop_duplicates(identity).sort_values(identity)
    cases = cases.drop_duplicates([*identity, "key"]).sort_values([*identity, "key"])
    cases.to_csv(cell / "cases.csv.xz", index=False)
    runs.to_csv(cell / RUNS, index=False)
    earlier = [cell] if (cell / RECORD).is_file() else []
    records = [read_json(folder / RECORD) for folder in (*earlier, *pieces)]
    splits = {name: digest for record in records for name, digest in record["splits"].items()}
    write_json(cell / RECORD, {**records[0], "splits": splits})
    for piece in pieces:
        shutil.rmtree(piece)


def choose(options: argparse.Namespace) -> int:
    """Choose the factor with the best mean Dice over training sets, and write it down."""
    found: dict[str, dict[str, float]] = {}
    for cell, family, best, _ in _by_factor(options.output):
        found.setdefault(cell, {})[family] = best
    write_json(options.output / RATES_FILE, found)
    return 0


def _by_factor(output: Path) -> Iterator[tuple[str, str, float, dict[float, float]]]:
    """Yield cell, family, best factor, and mean Dice on development cases by factor."""
    for cell in rate_cells():
        if not (output / "rates" / cell.name / RUNS).is_file():
            continue
        cases, _ = read_tables(output / "rates" / cell.name)
        sets = cases.groupby(["strategy", "fold"])["dice"].mean().groupby("strategy")
        means = sets.mean()[sets.size() == cell.sets]
        for family in FAMILIES:
            known = {f: means[t] for f in FACTORS if (t := strategy(family, f)) in means}
            if known:
                yield cell.name, family, max(known, key=lambda factor: known[factor]), known


def evidence(options: argparse.Namespace) -> int:
    """Write what the finished cells say about strategies to the table that `auto` reads."""
    rows = []
    stages = {"rates": rate_cells(), "strategies": strategies_cells(), "starts": starts_cells()}
    for stage, cell in ((stage, cell) for stage, cells in stages.items() for cell in cells):
        folder = options.output / stage / cell.name
        cases = read_tables(folder)[0] if (folder / RUNS).is_file() else None
        if cases is not None and _is_finished(cell, cases):
            rows += _evidence_of(cell, stage, cases)
    pd.DataFrame(rows).to_csv(EVIDENCE, index=False, float_format="%.4f")
    print(f"{len(rows)} findings are in kerasunet/layer_selection/{EVIDENCE.name}\n")
    print("| kind | images | start | tune | behind the best, expected | Dice in the studies |")
    print("|---|---|---|---|---|---|")
    for modality, size, start in QUESTIONS:
        print(f"| {modality} | {size} | {START_WORDS[start]} | {_advice(modality, size, start)} |")
    _print_left_out(options.output, stages)
    return 0


def _is_finished(cell: Cell, cases: pd.DataFrame) -> bool:
    """Whether all strategies can be compared in all training sets of a cell, or in all but one."""
    sets = cases.groupby("strategy")["fold"].nunique()
    known = {family_of(text) for text in sets.index[sets >= cell.sets - 1]}
    return {*STARTS_FAMILIES} <= known


def _print_left_out(output: Path, stages: Mapping[str, Sequence[Cell]]) -> None:
    """Print what is lost where the evidence of a data set is left out, and it is chosen for."""
    known = Evidence.published()
    print("\n| set | images | start | chosen without it | regret, Dice |")
    print("|---|---|---|---|---|")
    for data, size, start in sorted({(o.data, o.images, o.start) for o in known.findings}):
        text = next(iter(known.without([data]).strategies(start, modality_of(data), size)))
        for stage, cell in ((stage, cell) for stage, cells in stages.items() for cell in cells):
            if (cell.data, cell.size, cell.nearness) != (data, size, start):
                continue
            dice = _dice_by_half(output / stage / cell.name)
            if text in dice:
                lost = f"{_regret(dice, text):.4f}, {cell.sets} sets, {stage}"
                print(f"| {data} | {size} | {START_WORDS[start]} | `{text}` | {lost} |")


def _dice_by_half(folder: Path) -> pd.DataFrame:
    """Return the mean Dice of strategies, in columns, on either half of the test groups.

    Only strategies that were trained on all training sets, or on all but one, are compared.
    """
    if not (folder / RUNS).is_file():
        return pd.DataFrame()
    cases = read_tables(folder)[0]
    groups = np.random.default_rng(0).permutation(np.sort(cases["group"].unique()))
    is_first = cases["group"].isin(groups[: len(groups) // 2])
    halves = is_first.map({True: "first", False: "second"}).rename("half")
    by_set = cases.groupby([halves, "strategy", "fold"])["dice"].mean()
    sets = cases.groupby("strategy")["fold"].nunique()
    complete = sets.index[sets >= max(2, sets.max() - 1)]
    return by_set.groupby(level=["half", "strategy"]).mean().unstack()[list(complete)]


def _regret(dice: pd.DataFrame, text: str) -> float:
    """Return how far a strategy is behind the one that is best on the other half of the groups."""
    best = dice.idxmax(axis=1)
    halves = (("first", "second"), ("second", "first"))
    return float(np.mean([dice.at[here, best[o]] - dice.at[here, text] for here, o in halves]))


def _advice(modality: Modality, size: int, start: Nearness) -> str:
    """Return what the evidence says to tune, how sure it is, and what that reached."""
    strategy, belief, seen = Evidence.published().advice(modality, size, start)
    found = [f"{o.data}, {o.images} images, {o.sets} sets: {o.dice:.3f}" for o in seen]
    listed = "; ".join(found) or "none of this kind"
    return f"`{strategy}` | {belief.behind:.3f} ± {belief.error:.3f} | {listed}"


def _evidence_of(cell: Cell, stage: str, cases: pd.DataFrame) -> Iterator[dict]:
    """Yield, for each strategy of a cell, its Dice and how far it is behind the best one."""
    cases = cases[cases["strategy"] != "scratch"]  # No strategy, but another start.
    by_set = cases.groupby(["fold", "strategy"])["dice"].mean().unstack()
    by_set = by_set.loc[:, by_set.count() > 1]  # Of one training set nobody knows the error.
    best = by_set.loc[:, by_set.count() >= by_set.count().max() - 1].mean().idxmax()
    for text, dice in by_set.items():
        behind = (by_set[best] - dice).dropna()
        yield {
            "data": cell.data,
            "start": cell.nearness,
            "images": cell.size,
            "strategy": text,
            "dice": dice.mean(),
            "behind": behind.mean(),
            "error": behind.std(ddof=1) / len(behind) ** 0.5,
            "sets": len(behind),
            "stage": stage,
        }


def tables(options: argparse.Namespace) -> int:
    """Print the results of the finished cells as tables for a document."""
    print("### Rates\n\n| cell | strategy | best factor | Dice by factor |\n|---|---|---|---|")
    for name, family, best, known in _by_factor(options.output):
        listing = ", ".join(f"{factor:g}: {dice:.4f}" for factor, dice in known.items())
        print(f"| {name} | `{family}` | {best:g} | {listing} |")
    for cell in rgn_rates_cells():
        if dice := _dice_of_rgn(options.output, cell):
            best = max(dice, key=dice.__getitem__)
            listing = ", ".join(f"{rate:g}: {value:.4f}" for rate, value in dice.items())
            print(f"| {cell.name} | `rgn`, base rate | {best:g} | {listing} |")
    print("\n### Untouched, on the same cases\n\n| cell | Dice |\n|---|---|")
    for cell in rate_cells():
        cases, _ = read_tables(options.output / "rates" / cell.name)
        untouched = cases[cases["strategy"] == "none"].groupby("fold")["dice"].mean()
        print(f"| {cell.name} | {untouched.mean():.4f} |")
    for folder in sorted(path.parent for path in options.output.glob("strategies/*/runs.csv")):
        cases, runs = read_tables(folder)
        print(f"\n### {folder.name}\n")
        _print_means(cases, runs)
        _print_comparisons(cases, PAIRS)
    for cell in starts_cells():
        if (options.output / "starts" / cell.name / RUNS).is_file():
            _print_start(options.output / "starts", cell)
    _print_equivalences(options.output)
    return 0


def _dice_of_rgn(output: Path, cell: Cell) -> dict[float, float]:
    """Return the mean Dice of `rgn` on development cases by base rate, where all sets are there."""
    found = {}
    for rate in RGN_RATES:
        folder = output / "rgn-rates" / f"{cell.name}-rgn-{rate:g}"
        if (folder / RUNS).is_file():
            sets = read_tables(folder)[0].groupby("fold")["dice"].mean()
            if len(sets) == cell.sets:
                found[rate] = float(sets.mean())
    return found


def _print_equivalences(output: Path) -> None:
    """Print whether other precisions, and other devices, give the same Dice."""
    folders = sorted(path.parent for path in output.glob("precision/*/runs.csv"))
    known = {folder.name: folder for folder in folders}
    head = "| difference | SD over sets | 90 % interval | verdict |\n" + "|---" * 7 + "|"
    print(f"\n### Precision\n\n| cell | float32 | bfloat16 {head}")
    for name, folder in known.items():
        if not name.endswith((_FLOAT32, _AGAIN)):
            usual = known.get(f"{name}{_FLOAT32}", output / "strategies" / name)
            _print_equivalence(folder, usual)
    print(f"\n### The same runs on another device\n\n| cell | one | other {head}")
    for name, folder in known.items():
        cell = name.removesuffix(_AGAIN).removesuffix(_FLOAT32)
        if name.endswith((_FLOAT32, _AGAIN)) and (output / "strategies" / cell / RUNS).is_file():
            _print_equivalence(folder, output / "strategies" / cell)


def _print_equivalence(folder: Path, usual: Path) -> None:
    """Print whether the runs of a folder are as good as the same runs elsewhere."""
    again, first = read_tables(folder)[0], read_tables(usual)[0]
    pairs = again.merge(first, on=["strategy", "fold", "key"], suffixes=("_again", ""))
    gaps = (pairs["dice_again"] - pairs["dice"]).groupby(pairs["fold"]).mean()
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval(0.9)
    verdict = "equal" if max(-low, high) < EQUIVALENT else "undecided"
    means = f"{pairs['dice'].mean():.4f} | {pairs['dice_again'].mean():.4f}"
    numbers = f"{gaps.mean():+.4f} | {gaps.std(ddof=1):.4f} | {low:+.4f} to {high:+.4f}"
    print(f"| {folder.name}, {len(gaps)} sets | {means} | {numbers} | {verdict} |")


def figures(options: argparse.Namespace) -> int:
    """Draw the comparisons of all cells, and what is reached from each start."""
    _draw_differences(options.output)
    _draw_starts(options.output)
    return 0


def _draw_differences(output: Path) -> None:
    """Draw the comparisons of all cells, with one point for each training set."""
    import matplotlib.pyplot as plt

    from kerasunet.study.figures.style import RC, WIDTH, Drawing

    cells = [c for c in strategies_cells() if (output / "strategies" / c.name / RUNS).is_file()]
    if not cells:
        return
    with plt.rc_context(RC):
        drawn, all_axes = plt.subplots(
            1, len(cells), figsize=(WIDTH, 2.8), sharey=True, layout="constrained"
        )
        told = [
            f"{cell.name}: {_draw_cell(axes, output / 'strategies' / cell.name, cell)}"
            for cell, axes in zip(cells, all_axes, strict=True)
        ]
        all_axes[0].set_yticks(range(len(PAIRS)), [f"{a} − {b}" for a, b in PAIRS])
        all_axes[0].invert_yaxis()
        drawn.supxlabel("difference in Dice", fontsize=RC["axes.labelsize"])
        title = "Strategies compared over disjoint training sets"
        caption = (
            "Mean difference in Dice and its 95 % interval over training sets and patients; each "
            "light point is a training set; the band is the smallest difference that matters."
        )
        Drawing("differences", title, caption, "; ".join(told), drawn).write(output)
    print(output / "differences.png")


def _draw_cell(axes, folder: Path, cell: Cell) -> str:
    """Draw the comparisons of one cell; return them in words."""
    from kerasunet.study.figures.style import BLUE, FAINT, GREEN, HAIR, PALE, VERMILLION

    looks = {
        "better": (BLUE, "o"),
        "worse": (VERMILLION, "s"),
        "equivalent": (GREEN, "D"),
        "undecided": (FAINT, "x"),
    }
    cases, _ = read_tables(folder)
    known = {family_of(text): text for text in cases["strategy"].unique()}
    pairs = [(known[a], known[b]) for a, b in PAIRS if a in known and b in known]
    rows = {(family_of(a), family_of(b)): row for row, (a, b) in enumerate(pairs)}
    margin = MARGINS[cell.data]
    by_set = cases.groupby(["fold", "strategy"])["dice"].mean().unstack()
    axes.axvspan(-margin, margin, color=HAIR, linewidth=0)
    axes.axvline(0, color=FAINT, linewidth=0.6)
    words = []
    for one in compare_over_sets(cases, pairs, margin=margin):
        row = rows[family_of(one.first), family_of(one.second)]
        gaps = (by_set[one.first] - by_set[one.second]).dropna()
        axes.plot(gaps, [row + 0.25] * len(gaps), "|", color=PALE, markersize=3, zorder=1)
        color, marker = looks[one.verdict]
        axes.plot([one.low, one.high], [row, row], color=color, zorder=2)
        axes.plot(one.difference, row, marker, color=color, zorder=3)
        words.append(f"{one.first} - {one.second} {one.difference:+.3f}, {one.verdict}")
    axes.set_title(f"{cell.data}\n{cell.size} images")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.locator_params(axis="x", nbins=3)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return ", ".join(words)


def _draw_starts(output: Path) -> None:
    """Draw what every strategy reaches from photographs and from a close start."""
    import matplotlib.pyplot as plt

    from kerasunet.study.figures.style import RC, WIDTH, Drawing

    known = {(c.data, c.size, c.nearness): output / "starts" / c.name for c in starts_cells()}
    known = {key: folder for key, folder in known.items() if (folder / RUNS).is_file()}
    scenarios = [key[:2] for key in known if key[2] == "close" and (*key[:2], "far") in known]
    if not scenarios:
        return
    rows = ("none", *STARTS_FAMILIES, "scratch")
    with plt.rc_context(RC):
        drawn, all_axes = plt.subplots(
            1,
            len(scenarios),
            figsize=(WIDTH, 2.6),
            sharey=True,
            layout="constrained",
        )
        told = []
        for (data, size), axes in zip(scenarios, np.atleast_1d(all_axes), strict=True):
            means = {
                start: _draw_start(axes, known[data, size, start], start, rows=rows)
                for start in START_WORDS
            }
            _cut_off(axes, means["far"], rows.index("none"))
            for start, of_start in means.items():
                words = ", ".join(f"{text} {mean:.3f}" for text, mean in of_start.items())
                told.append(f"{data}, {size} images, from {START_WORDS[start]}: {words}")
            axes.set_title(f"{data}, {size} images")
            axes.set_xlabel("Dice", fontsize=RC["axes.labelsize"])
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=6)
        drawn.axes[0].set_yticks(range(len(rows)), rows)
        drawn.axes[0].invert_yaxis()
        handles = drawn.axes[0].get_legend_handles_labels()
        drawn.legend(*handles, loc="outside lower center", ncols=2, fontsize=RC["xtick.labelsize"])
        title = "What each strategy reaches, by start"
        caption = "Mean Dice over training sets; each light mark is one of them."
        Drawing("starts", title, caption, "; ".join(told), drawn).write(output)
    print(output / "starts.png")


def _draw_start(axes, folder: Path, start: Nearness, *, rows: Sequence[str]) -> dict[str, float]:
    """Draw the Dice of every strategy from one start; return the means."""
    from kerasunet.study.figures.style import BLUE, PALE, VERMILLION

    color, marker, offset = {"far": (VERMILLION, "s", 0.15), "close": (BLUE, "o", -0.15)}[start]
    cases, _ = read_tables(folder)
    by_set = cases.groupby(["strategy", "fold"])["dice"].mean()
    means = {}
    for text, dice in by_set.groupby(level="strategy"):
        row = rows.index(family_of(text)) + offset
        axes.plot(dice, [row] * len(dice), "|", color=PALE, markersize=5, zorder=1)
        means[text] = dice.mean()
        label = START_WORDS[start] if len(means) == 1 else None
        axes.plot(means[text], row, marker, color=color, linestyle="", label=label, zorder=2)
    return means


def _cut_off(axes, means: dict[str, float], row: int) -> None:
    """Write the Dice of an untouched start at the edge if it would squeeze all else together."""
    from kerasunet.study.figures.style import RC, VERMILLION

    tuned = [mean for text, mean in means.items() if text != "none"]
    least, spread = min(tuned), max(tuned) - min(tuned)
    if means["none"] > least - 4 * spread:
        return
    axes.set_xlim(least - 0.4 * spread, axes.dataLim.x1 + 0.2 * spread)
    axes.text(
        0.02,
        row + 0.15,
        f"← {means['none']:.3f}",
        transform=axes.get_yaxis_transform(),
        color=VERMILLION,
        va="center",
        fontsize=RC["xtick.labelsize"],
    )


def _print_means(cases: pd.DataFrame, runs: pd.DataFrame) -> None:
    by_set = cases.groupby(["strategy", "fold"])[["dice", "hd95"]].mean()
    print("| strategy | sets | Dice | SD over sets | HD95, pixels |\n|---|---|---|---|---|")
    for text, rows in by_set.groupby("strategy"):
        numbers = f"{rows.dice.mean():.4f} | {rows.dice.std(ddof=1):.4f} | {rows.hd95.mean():.1f}"
        print(f"| `{text}` | {len(rows)} | {numbers} |")
    devices = ", ".join(sorted(set(runs["device"]) | set(runs["precision"])))
    print(f"\nComputed on: {devices}.\n")


def _print_start(stage: Path, cell: Cell) -> None:
    """Print what strategies reach from a start; from a close one, also against its alternatives."""
    cases, runs = read_tables(stage / cell.name)
    print(f"\n### From {cell.start}: {cell.data}, {cell.size} images\n")
    _print_means(cases, runs)
    _print_comparisons(cases, PAIRS)
    if cell.start == "natural":
        return
    print("\nAgainst leaving the start untouched:\n")
    _print_comparisons(cases, [(family, "none") for family in STARTS_FAMILIES])
    far = stage / f"{cell.data}-{cell.size}-natural"
    if (far / RUNS).is_file():
        print("\nThe start, untouched, against fine-tuning from photographs and from scratch:\n")
        others = read_tables(far)[0]
        others = others[others["strategy"] != "none"]
        both = pd.concat([cases[cases["strategy"] == "none"], others], ignore_index=True)
        _print_comparisons(both, [("none", f) for f in (*STARTS_FAMILIES, "scratch")])


def _print_comparisons(cases: pd.DataFrame, families: Iterable[tuple[str, str]]) -> None:
    """Print comparisons of pairs of families, as far as the cases have them."""
    known = {family_of(text): text for text in cases["strategy"].unique()}
    pairs = [(known[a], known[b]) for a, b in families if a in known and b in known]
    margin = MARGINS[cases["data"].iloc[0]]
    print("| comparison | Dice | 95 % interval | ahead in | p, Holm | verdict |")
    print("|---|---|---|---|---|---|")
    for one in compare_over_sets(cases, pairs, margin=margin):
        numbers = f"{one.difference:+.4f} | {one.low:+.4f} to {one.high:+.4f}"
        verdict = one.verdict + (", and by more than matters" if one.matters else "")
        ahead = f"{one.ahead} of {one.sets}"
        names = f"`{one.first}` - `{one.second}`"
        print(f"| {names} | {numbers} | {ahead} | {one.p_adjusted:.2g} | {verdict} |")


def family_of(text: str) -> str:
    """Return the family of a strategy, whatever its factor is."""
    return next((f for f in FAMILIES for x in FACTORS if strategy(f, x) == text), text)


def first_study(options: argparse.Namespace) -> int:
    """Print what the first study says if its five training sets are the unit of inference."""
    print("| data | images | comparison | Dice | 95 % interval over training sets | verdict |")
    print("|---|---|---|---|---|---|")
    for data in SIDES[128]:
        cases, _ = read_tables(FIRST_STUDY / data)
        means = cases.groupby(["train_size", "fold", "strategy"])["dice"].mean().unstack()
        for size, rows in means.groupby(level="train_size"):
            for one, other in PAIRS[:3]:
                gaps = rows[one] - rows[other]
                low, high = stats.ttest_1samp(gaps, 0).confidence_interval()
                verdict = "undecided" if low <= 0 <= high else "better" if low > 0 else "worse"
                numbers = f"{gaps.mean():+.4f} | {low:+.4f} to {high:+.4f} | {verdict}"
                print(f"| {data} | {size} | `{one}` - `{other}` | {numbers} |")
    return 0


def power(options: argparse.Namespace) -> int:
    """Print which differences the second study can see, from the scatter in the first study."""
    print("cell          sets  comparison                 SD      80 % power from")
    for cell in strategies_cells():
        first = FIRST_STUDY / cell.data
        cases, _ = read_tables(first)
        size = 20 if cell.size < 80 else 80
        kept = cases[cases["train_size"] == size]
        means = kept.groupby(["fold", "strategy"])["dice"].mean().unstack()
        for one, other in (("contracting", "all"), ("contracting", "expanding")):
            scatter = float((means[one] - means[other]).std(ddof=1))
            least = _least_difference(scatter, cell.sets)
            pair = f"{one} - {other}"
            print(f"{cell.name:12}  {cell.sets:4}  {pair:25}  {scatter:.4f}  {least:.4f}")
    return 0


def _least_difference(scatter: float, sets: int, wanted: float = 0.8) -> float:
    """Return the difference that a paired, two-sided t test at 5 % finds with a given power."""
    limit = stats.t.ppf(0.975, sets - 1)

    def missing(difference: float) -> float:
        shift = difference / scatter * sets**0.5
        return float(stats.nct.sf(limit, sets - 1, shift)) - wanted

    return float(optimize.brentq(missing, 1e-9, 20 * scatter))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    for name, function in (("run", run), ("group", work_group)):
        verb = verbs.add_parser(name)
        verb.set_defaults(function=function)
        verb.add_argument("stage", choices=STAGES)
        verb.add_argument("--data", type=Path, required=True)
        verb.add_argument("--starts", type=Path, default=HOME / "starts")
        verb.add_argument("--only", default="", help="only cells whose name contains this")
        if name == "run":
            verb.add_argument("--processes", type=int, default=1)
            verb.add_argument("--minutes", type=float, default=1e6)
        else:
            verb.add_argument("--number", type=int, required=True)
    verb = verbs.add_parser("pack")
    verb.set_defaults(function=pack)
    verb.add_argument("sets", type=Path)
    verb.add_argument("--data", type=Path, required=True)
    verb = verbs.add_parser("start")
    verb.set_defaults(function=start)
    verb.add_argument("name", choices=("jsrt-all",))
    verb.add_argument("--data", type=Path, required=True)
    verb.add_argument("--starts", type=Path, default=HOME / "starts")
    for name, function in (
        ("join", join),
        ("choose", choose),
        ("evidence", evidence),
        ("tables", tables),
        ("figures", figures),
        ("first-study", first_study),
        ("power", power),
    ):
        verbs.add_parser(name).set_defaults(function=function)
    for verb in verbs.choices.values():
        verb.add_argument("--output", type=Path, default=HOME)
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())
