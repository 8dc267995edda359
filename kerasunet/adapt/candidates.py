"""Candidates: the starts, what each finds untouched, and the few strategies to try from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from kerasunet import models
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode
from kerasunet.data.identification import image_identities, known_images
from kerasunet.data.modality import Modality
from kerasunet.layer_selection.evidence import Belief, Evidence, Nearness
from kerasunet.layer_selection.selection import candidates as fitting_strategies, nearness_of
from kerasunet.metrics.measures import dice_of_each
from kerasunet.models import ModelCard
from kerasunet.network import rebuilt
from kerasunet.training.evaluation import predict

UNTOUCHED = "none"
"""The strategy that trains nothing."""
SIZES = (192, 256)
"""Further image sizes, where objects are small."""
SMALL_OBJECT = 16.0
"""Side of an object, in pixels of 128, below which larger images are tried as well."""
_SHOWN_SEEN = 3


@dataclass(frozen=True)
class LeftOut:
    """A start that is not used.

    Attributes:
        name: Name or file.
        reason: Why, in a few words.
    """

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Untouched:
    """What a start finds at one image size, without any training.

    Attributes:
        start: Name or file of the start.
        image_size: Height and width in pixels.
        modality: The kind of image that it is for; empty where that is not known.
        dice: By key of a case, 0 to 1.
        probabilities: `(cases, height, width)`, in the order of the decoded cases.
    """

    start: str
    image_size: int
    modality: str
    dice: Mapping[str, float]
    probabilities: np.ndarray

    def mean(self, keys: Iterable[str]) -> float:
        """Return the mean Dice of some cases, at least one."""
        return float(np.mean([self.dice[key] for key in keys]))

    def nearness(self, keys: Iterable[str], modality: str | None) -> Nearness:
        """Tell whether the start knows such images, judged by some of them."""
        return nearness_of(self.mean(keys), self.modality, modality)


class Pictures:
    """The cases decoded to every size that is asked for, once each."""

    def __init__(self, data: DataSet):
        self._data = data
        self._decoded: dict[int, DecodedCases] = {}

    def at(self, size: int) -> DecodedCases:
        """Return the cases at a size.

        Raises:
            ValueError: Files could not be used; the message lists every one of them.
        """
        if size not in self._decoded:
            self._decoded[size] = decode(self._data.cases, (size, size))
        return self._decoded[size]


def usable_starts(
    names: Sequence[str], data: DataSet
) -> tuple[dict[str, ModelCard], tuple[LeftOut, ...]]:
    """Tell which starts may be used.

    A start that saw one of the images is left out: whatever it finds in them says nothing about
    new patients.

    Args:
        names: Names or files; none for all registered models that are meant as starts.
        data: The annotated images.

    Returns:
        The cards of those that may be used, by name, and those that are left out.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: A file is not the one that its card describes, or all starts are left out.
    """
    identities = image_identities(data.cases)
    cards, left_out = {}, []
    for name in names or models.starts_for():
        card = models.card(name)
        known, complete = models.seen_images(card)
        is_seen = known_images([*identities.values()], known)
        seen = sorted(key for key, one in zip(identities, is_seen, strict=True) if one)
        if card.architecture.channels != 1:
            left_out.append(LeftOut(name, "it takes color images"))
        elif seen or (not complete and data.name in (card.data.name, *card.start_data)):
            left_out.append(LeftOut(name, _why_seen(seen, len(data))))
        else:
            models.check(name)
            cards[name] = card
    if not cards:
        told = "; ".join(f"{one.name}: {one.reason}" for one in left_out)
        raise ValueError(f"no start is left to begin with ({told}); name others with --starts")
    return cards, tuple(left_out)


def _why_seen(seen: Sequence[str], count: int) -> str:
    if not seen:
        return "it was trained on this data set"
    names = ", ".join(seen[:_SHOWN_SEEN]) + (", …" if len(seen) > _SHOWN_SEEN else "")
    return f"it has seen {len(seen)} of the {count} images, or copies of them ({names})"


def sizes_of(card: ModelCard, object_side: float) -> tuple[int, ...]:
    """Return the image sizes to try with a start: its own, and larger ones for small objects."""
    larger = [size for size in SIZES if size > card.image_size and object_side < SMALL_OBJECT]
    multiple = card.architecture.size_multiple
    return tuple(size for size in (card.image_size, *larger) if size % multiple == 0)


def evaluate_untouched(name: str, card: ModelCard, pictures: Pictures, size: int) -> Untouched:
    """Measure what a start finds in all cases, at one image size."""
    cases = pictures.at(size)
    probabilities = predict(load_start(name), cases.images)
    dice = dice_of_each(cases.masks, probabilities >= card.threshold)
    return Untouched(
        start=name,
        image_size=size,
        modality=card.kind_of_image,
        dice=dict(zip(cases.keys, dice.tolist(), strict=True)),
        probabilities=probabilities.astype(np.float16),
    )


def load_start(name: str) -> keras.Model:
    """Return the network of a start."""
    return rebuilt(models.load(name))


def short_name(name: str) -> str:
    """Return a start's name without its folder."""
    return Path(name).stem if name.endswith(".keras") else name


_CLOSE_STARTS = 0.02
"""Standard deviation, in Dice, of the order that untouched Dice gives close starts."""
_PER_START = 4


class Candidate(NamedTuple):
    """What may be trained.

    Attributes:
        start: Name or file of the start.
        image_size: Height and width in pixels.
        strategy: Text of the strategy, with its rates.
    """

    start: str
    image_size: int
    strategy: str

    @property
    def is_untouched(self) -> bool:
        """Whether nothing is trained."""
        return self.strategy == UNTOUCHED

    def __str__(self) -> str:
        size = "" if self.image_size == 128 else f" at {self.image_size} pixels"
        what = "untouched" if self.is_untouched else self.strategy
        return f"{short_name(self.start)}, {what}{size}"


@dataclass(frozen=True)
class Contenders:
    """Who may be tried: all starts at all sizes, and what studies say about strategies.

    Attributes:
        untouched: Each start at each of its sizes.
        cards: The card of each start.
        evidence: Findings of studies.
        modality: The kind of image; `None` where it is not known.
    """

    untouched: tuple[Untouched, ...]
    cards: Mapping[str, ModelCard]
    evidence: Evidence
    modality: Modality | None

    def best_sizes(self, keys: Sequence[str]) -> tuple[Untouched, ...]:
        """Return each start at the size at which it finds most in some cases, best start first."""
        best: dict[str, Untouched] = {}
        for one in sorted(self.untouched, key=lambda one: -one.mean(keys)):
            best.setdefault(one.start, one)
        return tuple(best.values())

    def beliefs(self, keys: Sequence[str]) -> dict[Candidate, Belief]:
        """Tell how far each candidate is expected to be behind the best.

        Close starts are ordered by what they find untouched. Far ones are taken to be behind them
        as they were in studies. Of far starts the most general one is taken, which was trained on
        photographs; what another organ's network finds by chance says little.

        Args:
            keys: The cases to judge by, those to train on.

        Returns:
            By candidate; that of least behind first.
        """
        starts = self.best_sizes(keys)
        close = [one for one in starts if one.nearness(keys, self.modality) == "close"]
        found: dict[Candidate, Belief] = {}
        for one in close:
            gap = Belief(
                close[0].mean(keys) - one.mean(keys), 0.0 if one is close[0] else _CLOSE_STARTS
            )
            found |= self._of_start(one, "close", len(keys), gap)
        far = [one for one in starts if one not in close]
        if far:
            gap = self.evidence.far_starts(self.modality, len(keys)) if close else Belief(0.0, 0.0)
            found |= self._of_start(_most_general(far), "far", len(keys), gap)
        return dict(sorted(found.items(), key=lambda item: item[1].behind))

    def _of_start(
        self, one: Untouched, nearness, images: int, gap: Belief
    ) -> dict[Candidate, Belief]:
        known = self.evidence.strategies(nearness, self.modality, images)
        layout = self.cards[one.start].architecture.layout()
        trained = {text: belief for text, belief in known.items() if text != UNTOUCHED}
        chosen = fitting_strategies(trained, layout, _PER_START)
        if nearness == "close":
            chosen[UNTOUCHED] = known.get(UNTOUCHED, Belief(0.0, 0.02))
        return {
            Candidate(one.start, one.image_size, text): Belief(
                gap.behind + belief.behind, (gap.error**2 + belief.error**2) ** 0.5
            )
            for text, belief in chosen.items()
        }

    def shortlist(self, keys: Sequence[str], trained: int) -> dict[Candidate, Belief]:
        """Return the candidates to try: untouched ones, which cost nothing, and the likeliest.

        Args:
            keys: The cases to judge by.
            trained: How many of those that are trained to take, at least 1: the favorite, and then
                by what they are behind less one standard deviation, for what nobody has tried
                often may be better than it looks.
        """
        beliefs = self.beliefs(keys)
        favorite, *others = [one for one in beliefs if not one.is_untouched]
        others.sort(key=lambda one: beliefs[one].behind - beliefs[one].error)
        costly = [favorite, *others][:trained]
        return {c: b for c, b in beliefs.items() if c.is_untouched or c in costly}


def _most_general(far: Sequence[Untouched]) -> Untouched:
    general = [one for one in far if one.modality == "photograph"]
    return (general or list(far))[0]
