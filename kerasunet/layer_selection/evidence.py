"""What the published studies say: how far each strategy was behind the best one, and each start."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from kerasunet.data.modality import Modality, modality_of
from kerasunet.strategies import parse

Nearness = Literal["close", "far"]
"""A start is close if it was trained on images of the same kind, and finds their objects."""

_FILE = Path(__file__).with_name("evidence.csv")
_OTHER_MODALITY = 0.2
"""What a study of another kind of image counts, against 1."""
_ONE_STUDY = 0.01
"""Standard deviation, in Dice, of what one study says about another data set, at least."""
_STARTS = 0.03
"""The same of the difference between starts, which data sets agree on less."""


class Belief(NamedTuple):
    """How far something is behind the best, in Dice: the mean, and its standard deviation."""

    behind: float
    error: float


@dataclass(frozen=True)
class Finding:
    """One strategy in one cell of a study.

    Attributes:
        data: Name of the data set.
        start: How near the start was.
        images: Training images.
        strategy: Text of the strategy; factors are of the learning rate 1e-3.
        dice: Mean Dice over training sets, 0 to 1.
        behind: How far it was behind the best strategy of the cell, in Dice.
        error: Standard error of `behind` over training sets.
        sets: Training sets, at least 2.
    """

    data: str
    start: Nearness
    images: int
    strategy: str
    dice: float
    behind: float
    error: float
    sets: int

    def weight(self, modality: Modality | None, images: int) -> float:
        """Return how much this says about a kind of image and a number of images, above 0."""
        same = modality is None or modality_of(self.data) == modality
        distance = abs(math.log2(max(images, 1) / self.images))
        return self.sets * 2.0**-distance * (1.0 if same else _OTHER_MODALITY)


@dataclass(frozen=True)
class Evidence:
    """Findings of studies.

    Attributes:
        findings: In no particular order.
    """

    findings: tuple[Finding, ...]

    @staticmethod
    def published() -> Evidence:
        """Return the findings of the second study, `docs/second-study/`."""
        return Evidence(_read(_FILE))

    def without(self, data: Collection[str]) -> Evidence:
        """Return the findings on other data sets than the named ones."""
        return Evidence(tuple(one for one in self.findings if one.data not in data))

    def strategies(
        self, nearness: Nearness, modality: Modality | None, images: int
    ) -> dict[str, Belief]:
        """Tell how far strategies are expected to be behind the best one.

        Data sets count by likeness: those of the same kind of image more than others, and studies
        with about as many images more than those with few or many.

        Args:
            nearness: How near the start is.
            modality: The kind of image; `None` where it is not known.
            images: Number of training images.

        Returns:
            By text of the strategy, best first; empty if no study had such a start.
        """
        found: dict[str, list[Finding]] = defaultdict(list)
        for one in self.findings:
            if one.start == nearness:
                found[one.strategy].append(one)
        beliefs = {text: _pooled(some, modality, images) for text, some in found.items()}
        return dict(sorted(beliefs.items(), key=lambda item: item[1].behind))

    def far_starts(self, modality: Modality | None, images: int) -> Belief:
        """Tell how far the best strategy from a far start is behind the best from a close one."""
        cells = defaultdict(list)
        for one in self.findings:
            cells[one.data, one.images, one.start].append(one)
        gaps, weights = [], []
        for (data, size, start), some in cells.items():
            if start == "close" and (others := cells.get((data, size, "far"))):
                gaps.append(max(o.dice for o in some) - max(o.dice for o in others))
                weights.append(some[0].weight(modality, images))
        mean, spread = _mean_and_spread(gaps, weights) if gaps else (0.0, 0.0)
        return Belief(mean, math.hypot(spread, _STARTS))


def _pooled(findings: Iterable[Finding], modality: Modality | None, images: int) -> Belief:
    """Pool the findings on one strategy, first by data set, then over data sets."""
    by_data: dict[str, list[Finding]] = defaultdict(list)
    for one in findings:
        by_data[one.data].append(one)
    means, errors, weights = [], [], []
    for some in by_data.values():
        own = [one.weight(modality, images) for one in some]
        means.append(_mean([one.behind for one in some], own))
        errors.append(_mean([one.error**2 for one in some], own))
        weights.append(max(own))
    mean, spread = _mean_and_spread(means, weights)
    least = _ONE_STUDY / len(by_data) ** 0.5
    return Belief(mean, math.sqrt(_mean(errors, weights) + spread**2 + least**2))


def _mean(values: list[float], weights: list[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def _mean_and_spread(values: list[float], weights: list[float]) -> tuple[float, float]:
    mean = _mean(values, weights)
    return mean, math.sqrt(_mean([(value - mean) ** 2 for value in values], weights))


@cache
def _read(path: Path) -> tuple[Finding, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            Finding(
                data=row["data"],
                start="close" if row["start"] == "close" else "far",
                images=int(row["images"]),
                strategy=str(parse(row["strategy"])),
                dice=float(row["dice"]),
                behind=float(row["behind"]),
                error=float(row["error"]),
                sets=int(row["sets"]),
            )
            for row in csv.DictReader(file)
        )
