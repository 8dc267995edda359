"""Candidates: the few strategies to try from each start, and how good studies expect them to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kerasunet.adapt.starts import NewHead, Untouched, short_name
from kerasunet.data.modality_names import Modality
from kerasunet.layer_selection.evidence import Belief, Evidence, Nearness
from kerasunet.layer_selection.selection import candidates as fitting_strategies
from kerasunet.models import ModelCard
from kerasunet.runs.preparation import HEAD
from kerasunet.strategies import NetworkLayout, parse

UNTOUCHED = "none"
"""The strategy that trains nothing."""
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
        untouched: Each start that marks the same objects, at each of its sizes.
        cards: The card of each start.
        evidence: Findings of studies.
        modality: The kind of image; `None` where it is not known.
        new_heads: The starts that mark other objects.
    """

    untouched: tuple[Untouched, ...]
    cards: Mapping[str, ModelCard]
    evidence: Evidence
    modality: Modality | None
    new_heads: tuple[NewHead, ...] = ()

    def best_sizes(self, keys: Sequence[str]) -> tuple[Untouched, ...]:
        """Return each start at the size at which it finds most in some cases, best start first."""
        best: dict[str, Untouched] = {}
        for one in sorted(self.untouched, key=lambda one: -one.mean(keys)):
            best.setdefault(one.start, one)
        return tuple(best.values())

    def beliefs(self, keys: Sequence[str]) -> dict[Candidate, Belief]:
        """Tell how far each candidate is expected to be behind the best.

        Close starts are ordered by what they find untouched. Starts of other objects, but of the
        same kind of image, come after these: somewhere between them and the far ones. Far ones are
        taken to be behind close ones as they were in studies. Of far starts the most general one
        is taken, which was trained on photographs; what another organ's network finds by chance
        says little.

        Args:
            keys: The cases to judge by, those to train on.

        Returns:
            By candidate; that of least behind first.
        """
        starts, images = self.best_sizes(keys), len(keys)
        close = [one for one in starts if one.nearness(keys, self.modality) == "close"]
        akin = [one for one in self.new_heads if one.nearness(self.modality) == "close"]
        far: list[Untouched | NewHead] = [one for one in starts if one not in close]
        far += [one for one in self.new_heads if one not in akin]
        to_far = self.evidence.far_starts(self.modality, images)
        found: dict[Candidate, Belief] = {}
        for one in close:
            gap = Belief(
                close[0].mean(keys) - one.mean(keys), 0.0 if one is close[0] else _CLOSE_STARTS
            )
            found |= self._of_start(one, "close", images, gap)
        for other in akin:
            gap = Belief(0.0, 0.0 if other is akin[0] else _CLOSE_STARTS)
            found |= self._of_start(other, "close", images, _halfway(to_far) if close else gap)
        if far:
            gap = to_far if close or akin else Belief(0.0, 0.0)
            found |= self._of_start(_most_general(far), "far", images, gap)
        return dict(sorted(found.items(), key=lambda item: item[1].behind))

    def _of_start(
        self, one: Untouched | NewHead, nearness: Nearness, images: int, gap: Belief
    ) -> dict[Candidate, Belief]:
        known = self.evidence.strategies(nearness, self.modality, images)
        layout = self.cards[one.start].architecture.layout()
        trained = {text: belief for text, belief in known.items() if text != UNTOUCHED}
        chosen = fitting_strategies(trained, layout, _PER_START)
        if isinstance(one, NewHead):
            chosen = {training_head(text, layout): belief for text, belief in chosen.items()}
        elif nearness == "close":
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


def _most_general(far: Sequence[Untouched | NewHead]) -> Untouched | NewHead:
    general = [one for one in far if one.modality == "photograph"]
    return (general or list(far))[0]


def _halfway(gap: Belief) -> Belief:
    """Return what is expected of something that lies between the best and what is behind."""
    return Belief(gap.behind / 2, (gap.error**2 + (gap.behind / 2) ** 2) ** 0.5)


def training_head(text: str, layout: NetworkLayout) -> str:
    """Return a strategy that trains the head at the full rate at least, else the same weights."""
    rates = parse(text).rates(layout)
    of_head = [rate for weight, rate in rates.items() if weight.layer == HEAD]
    if min(of_head, default=0.0) >= 1:
        return text
    return str(parse(f"{text}-{HEAD}+{HEAD}" if of_head else f"{text}+{HEAD}"))
