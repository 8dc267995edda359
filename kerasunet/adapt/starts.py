"""Starts: which may be used, and what each finds untouched; starts for other objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet import models
from kerasunet.backend import seeded
from kerasunet.data.cases import DataSet
from kerasunet.data.decoding import DecodedCases, decode
from kerasunet.data.identification import image_identities, known_images
from kerasunet.layer_selection.evidence import Nearness
from kerasunet.layer_selection.selection import LEAST_OF_CLOSE, nearness_of
from kerasunet.models import ModelCard
from kerasunet.network import rebuilt, with_new_head
from kerasunet.objects import ONE_OBJECT, Modality, Objects
from kerasunet.runs.preparation import has_new_head
from kerasunet.training.evaluation import dice_of_masks, predict

SIZES = (192, 256)
"""Further image sizes, where objects are small."""
SMALL_OBJECT = 16.0
"""Side of an object, in pixels of 128, below which larger images are tried as well."""
_SHOWN_SEEN, _SHOWN_OF_DIGEST = 3, 8
_MEDICAL: tuple[Modality, ...] = ("ultrasound", "xray")
_CLEARLY_MORE = 0.2
"""By how much, in Dice, a start has to find more than those for other kinds of image."""


@dataclass(frozen=True)
class LeftOut:
    """A start that is not used.

    Attributes:
        name: Name or file.
        reason: Why, in a few words.
        instead: Names of the models of the same kind of image that are tried in its place.
    """

    name: str
    reason: str
    instead: tuple[str, ...] = ()

    def told(self) -> str:
        """Return why it is left out, and what is tried instead, as a line."""
        instead = f"; tried in its place: {', '.join(self.instead)}" if self.instead else ""
        return f"left out: {self.name}: {self.reason}{instead}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        known = {"name": self.name, "reason": self.reason}
        return known | ({"instead": [*self.instead]} if self.instead else {})


@dataclass(frozen=True, eq=False)
class Untouched:
    """What a start finds at one image size, without any training.

    Attributes:
        start: Name or file of the start.
        image_size: Height and width in pixels.
        modality: The kind of image that it is for; empty where that is not known.
        dice: By key of a case, 0 to 1, the mean over objects.
        probabilities: As `predict` gives them, in the order of the decoded cases.
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


def kind_found(
    guess: Modality | None, untouched: Sequence[Untouched], keys: Sequence[str]
) -> Modality | None:
    """Return what kind of image some cases are, where that was only guessed from their looks.

    Args:
        guess: What they look like.
        untouched: What the starts find.
        keys: The cases to judge by, at least one.

    Returns:
        The guess, unless the best start for another kind finds clearly more than all those that are
        not for that kind.
    """
    best: dict[str, float] = {}
    for one in untouched:
        best[one.modality] = max(best.get(one.modality, 0.0), one.mean(keys))
    for kind in (kind for kind in _MEDICAL if kind in best):
        others = max((dice for other, dice in best.items() if other != kind), default=0.0)
        if best[kind] >= max(LEAST_OF_CLOSE, others + _CLEARLY_MORE):
            return kind
    return guess


@dataclass(frozen=True)
class NewHead:
    """A start that was trained on other objects, so that its head has to be trained from scratch.

    Attributes:
        start: Name or file of the start.
        image_size: Height and width in pixels.
        modality: The kind of image that it is for; empty where that is not known.
    """

    start: str
    image_size: int
    modality: str

    def nearness(self, modality: str | None) -> Nearness:
        """Tell whether the start knows such images; untouched it finds nothing to judge by."""
        return nearness_of(1.0, self.modality, modality)


class Pictures:
    """The cases decoded to every size that is asked for, once each.

    Attributes:
        objects: What the masks mark.
        groups: The group of each case, by key.
    """

    def __init__(self, data: DataSet):
        self._data = data
        self._decoded: dict[int, DecodedCases] = {}
        self.objects = data.objects
        self.groups = {case.key: case.group for case in data.cases}

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
    new patients. If that leaves none for its kind of image, registered models of that kind that
    have not seen them are taken instead, unless starts are named.

    Args:
        names: Names or files; empty for all registered models that are meant as starts and, for
            several objects, those that mark exactly these.
        data: The annotated images.

    Returns:
        The cards of those that may be used, by name, and those that are left out.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: A file is not the one that its card describes, or all starts are left out.
    """
    sorting = _Sorting(data, image_identities(data.cases), {}, left_out=[])
    for name in told_apart(names) or (*models.starts_for(), *_marking(data.objects)):
        sorting.add(name, models.card(name))
    if not names:
        sorting.replace_seen()
    cards, left_out = sorting.cards, tuple(sorting.left_out)
    if not cards:
        told = "; ".join(f"{one.name}: {one.reason}" for one in left_out)
        raise ValueError(f"no start is left to begin with ({told}); name others with --starts")
    for name in cards:
        models.check(name)
    return cards, left_out


@dataclass(frozen=True)
class _Sorting:
    """Starts sorted into those that may be used, and those that may not."""

    data: DataSet
    identities: Mapping[str, str]
    cards: dict[str, ModelCard]
    left_out: list[LeftOut]

    def add(self, name: str, card: ModelCard) -> None:
        if card.architecture.channels != 1:
            self.left_out.append(LeftOut(name, "it takes color images"))
        elif why := self._why_seen(card):
            self.left_out.append(LeftOut(name, why))
        else:
            self.cards[name] = card

    def replace_seen(self) -> None:
        """Take other models for a kind of image if all its starts have seen these images."""
        for number, one in enumerate(self.left_out):
            kind = models.card(one.name).kind_of_image
            if not kind or any(card.kind_of_image == kind for card in self.cards.values()):
                continue
            found = [n for n in _fine_tuned_for(kind) if not self._why_seen(models.card(n))]
            self.cards.update({name: models.card(name) for name in found})
            self.left_out[number] = replace(one, instead=tuple(found))

    def _why_seen(self, card: ModelCard) -> str:
        known, complete = models.seen_images(card)
        is_seen = known_images([*self.identities.values()], known)
        seen = sorted(key for key, one in zip(self.identities, is_seen, strict=True) if one)
        if not seen and (complete or self.data.name not in (card.data.name, *card.start_data)):
            return ""
        return _why_seen(seen, len(self.data))


def _marking(objects: Objects) -> tuple[str, ...]:
    """Return the registered models that mark these several objects, though not made as starts."""
    if not objects.several:
        return ()
    known = _tunable().items()
    return tuple(name for name, one in known if one.marked == objects and not one.is_start)


def _fine_tuned_for(modality: str) -> tuple[str, ...]:
    """Return the registered models that were fine-tuned on a kind of image."""
    known = _tunable().items()
    return tuple(n for n, one in known if one.kind_of_image == modality and one.is_fine_tuned)


def _tunable() -> dict[str, ModelCard]:
    """Return the cards of registered networks of gray images; averages of several do not count."""
    cards = {name: models.card(name) for name in models.list()}
    gray = {name: one for name, one in cards.items() if one.architecture.channels == 1}
    return {name: one for name, one in gray.items() if one.parameters < 2 * _of_one_network(one)}


def _of_one_network(card: ModelCard) -> int:
    """Return how many parameters a single network of the shape on a card has."""
    return card.architecture.costs(card.architecture.size_multiple, card.classes).parameters()


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


def with_new_heads(
    cards: Mapping[str, ModelCard], objects: Objects, object_side: float
) -> tuple[NewHead, ...]:
    """Return the starts that mark other objects, each at the first size that shows objects well.

    Args:
        cards: The cards of the starts, by name.
        objects: What the data mark.
        object_side: Side of an object, in pixels of 128.
    """
    found = []
    for name, card in cards.items():
        if has_new_head(name, objects):
            *sizes, largest = sizes_of(card, object_side)
            wide = [one for one in sizes if object_side * one >= SMALL_OBJECT * 128]
            found.append(NewHead(name, (*wide, largest)[0], card.kind_of_image))
    return tuple(found)


def evaluate_untouched(name: str, card: ModelCard, pictures: Pictures, *, size: int) -> Untouched:
    """Measure what a start that marks the same objects finds in all cases, at one image size."""
    cases = pictures.at(size)
    probabilities = predict(load_start(name, cases.objects), cases.images)
    found = cases.objects.decide(probabilities, card.threshold)
    dice = dice_of_masks(cases.masks, found, cases.objects)
    return Untouched(
        start=name,
        image_size=size,
        modality=card.kind_of_image,
        dice=dict(zip(cases.keys, dice.tolist(), strict=True)),
        probabilities=probabilities.astype(np.float16),
    )


def evaluate_all_untouched(
    cards: Mapping[str, ModelCard], pictures: Pictures, object_side: float
) -> tuple[Untouched, ...]:
    """Measure what starts that mark the same objects find, at every size that is worth trying.

    Args:
        cards: Their cards, by name.
        pictures: The cases.
        object_side: Side of an object, in pixels of 128.
    """
    return tuple(
        evaluate_untouched(name, card, pictures, size=size)
        for name, card in cards.items()
        for size in sizes_of(card, object_side)
    )


def load_start(name: str, objects: Objects = ONE_OBJECT, seed: int = 0) -> keras.Model:
    """Return the network of a start; for other objects, with a new head, random by the seed.

    Raises:
        ValueError: It is the average of several networks, or a file that cannot be used.
    """
    start = rebuilt(models.load(name))
    if not has_new_head(name, objects):
        return start
    with seeded(seed):  # Made again, as after an interruption, it is the same head.
        return with_new_head(start, objects.channels, overlapping=objects.overlapping)


class NamedStart(str):
    """Name or file of a start, `called` differently from other starts in answers and tables."""

    called: str

    @classmethod
    def of(cls, name: str, called: str) -> NamedStart:
        named = cls(name)
        named.called = called
        return named


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """Return starts, copies once, with parts of their digests in the names that several share.

    Every run calls its model `model.keras`; folders are not named in what may be shared.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: A file is not the one that its card describes.
    """
    each = [str(name) for name in models.each_once(names)]
    shared = Counter(map(short_name, each))
    return tuple(
        NamedStart.of(
            name,
            f"{short} {models.digest(name)[:_SHOWN_OF_DIGEST]}" if shared[short] > 1 else short,
        )
        for name, short in zip(each, map(short_name, each), strict=True)
    )


def which_file(names: Iterable[str]) -> list[str]:
    """Say which file is meant, for the starts that `told_apart` gave another name."""
    return [f"{short_name(n)} is {n}" for n in names if short_name(n) != short_name(str(n))]


def short_name(name: str) -> str:
    """Return a start's name without its folder, as answers call it."""
    if isinstance(name, NamedStart):
        return name.called
    return Path(name).stem if name.endswith(".keras") else name
