"""Candidates: the few starts and strategies that evidence leaves to be tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kerasunet.adapt.fits import UNTOUCHED, Candidate
from kerasunet.adapt.starts import Untouched
from kerasunet.data.modality import Modality
from kerasunet.layer_selection.evidence import Belief, Evidence
from kerasunet.layer_selection.selection import candidates as fitting_strategies
from kerasunet.models import ModelCard

_CLOSE_STARTS = 0.02
"""Standard deviation, in Dice, of the order that untouched Dice gives close starts."""
_PER_START = 4


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
