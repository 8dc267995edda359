"""The design of the second study: its cells, strategies, rates, and what each process works off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kerasunet.files import read_json
from kerasunet.layer_selection.evidence import Nearness
from kerasunet.strategies import parse
from kerasunet.study.plan import StudySettings
from kerasunet.study.tables import RUNS
from kerasunet.training.settings import FinetuneSettings, Optimization

HOME = Path(__file__).resolve().parent.parent / "docs" / "second-study"
FIRST_STUDY = HOME.parent / "first-study"
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
ROBUST_FAMILIES, ROBUST_OF = ("all", "contracting", "expanding", "soft"), "bus_bra-20"
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
MORE_SEEDS = (1, 2, 3)
"""Of the further runs in both precisions."""
FLOAT32, AGAIN = "-float32", "-again"
SEARCHES, SEARCHES_EACH = "searches", 5
"""Folder of the choices of `auto:search`, and how many training sets of a cell it chooses for."""
SHARED, SHARED_FAMILIES = {"shenzhen-80-natural": "shenzhen-80"}, ("all", "expanding")
"""Cells of stage 3 that have runs of stage 2, and the families whose rates are the same there."""
CHOSEN = {"jsrt-20": "3*shallow:4"}
"""Cells of stage 2, each with what is chosen for it without its own set and was not run there."""
ADDED = ("shenzhen-80", "jsrt-80")
"""Cells that stage 2 of the protocol does not have: no hypothesis is about them."""
RGN_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
BEYOND = {
    "bus_bra-80-natural": {"soft": 30.0, "shallow:4": 30.0},
    "busi-20-natural": {"soft": 0.1},
    "busi-20-ultrasound-all": {"all": 0.003, "contracting": 0.003, "expanding": 0.003},
    "jsrt-20-natural": {
        **dict.fromkeys(("soft", "contracting", "expanding", "shallow:4"), 30.0),
        "expanding+statistics": 30.0,
    },
    "shenzhen-20-natural": {"expanding": 30.0},
}
"""Families whose best factor is the least or the largest one tried, with the next beyond it."""


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
        seeds: Of order and augmentation; each training set has a run with each of them.
        disjoint: Whether the training sets share no image. Otherwise each fold is tested, and the
            training sets are drawn from the other folds.
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
    seeds: tuple[int, ...] = (0,)
    disjoint: bool = True

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
                disjoint=self.disjoint,
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
            seeds=self.seeds,
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


def family_of(text: str) -> str:
    """Return the family of a strategy, whatever its factor is."""
    return next((f for f in FAMILIES for x in FACTORS if strategy(f, x) == text), text)


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
        replace(near[1], name="busi-80-ultrasound-all", size=80, folds=4, disjoint=False),
    ]


def factors_of(cell: Cell, family: str) -> tuple[float, ...]:
    """Return the factors that are tried for a family of strategies in a cell."""
    close = cell.start != "natural"
    if family not in STARTS_FAMILIES and TUNED_ON[cell.data] != cell.data:
        return ()
    if cell.size == 80 and close:
        return (0.01, 0.1, 0.3) if family == "all" else ()
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


def beyond_cells() -> Iterator[tuple[Cell, str, float, Cell]]:
    """Yield the cells of rates, with a family, the factor beyond its edge, and the cell for it.

    A strategy takes no factor above 10, so the learning rate that factor 1 stands for is changed.
    """
    for cell in rate_cells():
        for family, factor in BEYOND.get(cell.name, {}).items():
            name = f"{cell.name}-{family.replace(':', '-')}-{factor:g}"
            yield cell, family, factor, replace(cell, name=name, rate=factor * cell.rate)


def beyond_stage(_: dict) -> Iterator[Group]:
    for _cell, family, factor, beyond in beyond_cells():
        yield Group(f"{family}-{factor:g}", ((beyond, (strategy(family, 1.0),)),))


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
        Cell("shenzhen-80", "shenzhen", 80, 5, 5),
        Cell("jsrt-80", "jsrt", 80, 5, 5, disjoint=False),
    ]


def searched_cells(output: Path) -> list[Cell]:
    """Return the cells with 20 and 80 images that have runs to score a choice by."""
    cells = (cell for cell in strategies_cells() if cell.size >= 20)
    return [cell for cell in cells if (output / "strategies" / cell.name / RUNS).is_file()]


def strategies_stage(rates: dict) -> Iterator[Group]:
    for cell in strategies_cells():
        tuned = f"{TUNED_ON[cell.data]}-{{}}-natural"
        known = rates.get(tuned.format(cell.size)) or rates[tuned.format(20)]
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
        shared = SHARED_FAMILIES if cell.name in SHARED else ()
        for family in (one for one in STARTS_FAMILIES if one not in shared):
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

    Those of BUS-BRA were compared on a GPU, so these also run in float32 again. As one run there
    differs from the next, each set has some with other seeds as well.
    """
    for cell in strategies_cells():
        if cell.name not in ("bus_bra-20", "jsrt-20"):
            continue
        again = [replace(cell, precision="mixed_bfloat16")]
        if cell.data == "bus_bra":
            again.append(replace(cell, name=f"{cell.name}{FLOAT32}"))
        known = rates[f"{cell.data}-20-natural"]
        for seed in (0, *MORE_SEEDS) if cell.data == "bus_bra" else (0,):
            for one in again:
                for part in _halves(replace(one, seeds=(seed,))):
                    for group in _groups("all", part, known):
                        suffix = f"-seed-{seed}" if seed else ""
                        yield replace(group, name=f"{group.name}{suffix}")


def regrets_stage(_: dict) -> Iterator[Group]:
    """What the evidence of other sets chooses, on the training sets of the comparison."""
    for cell in strategies_cells():
        if cell.name in CHOSEN:
            yield Group("chosen", ((cell, (CHOSEN[cell.name],)),))


STAGES = {
    "rates": rates_stage,
    "rgn-rates": rgn_rates_stage,
    "beyond-rates": beyond_stage,
    "strategies": strategies_stage,
    "starts": starts_stage,
    "robustness": robustness_stage,
    "precision": precision_stage,
    "regrets": regrets_stage,
}


def groups_of(stage: str, only: str) -> list[Group]:
    """Return the groups of a stage whose cells' names contain a text."""
    rates = read_json(HOME / RATES_FILE) if "rates" not in stage else {}
    found = (
        replace(group, work=tuple(item for item in group.work if only in item[0].name))
        for group in STAGES[stage](rates)
    )
    return [group for group in found if group.work]
