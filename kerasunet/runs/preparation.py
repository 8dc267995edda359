"""What a run works on: data sets listed, split and decoded. Nothing here imports TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from kerasunet import models
from kerasunet.data import identification
from kerasunet.data.cases import NEAR_DUPLICATES, Case, DataSet
from kerasunet.data.decoding import DecodedCases, decode, foreground_shares
from kerasunet.data.groups import GIVEN, regroup, with_group_pattern
from kerasunet.data.loading import SIMULATED, load, require_objects, require_one_code
from kerasunet.data.splits import Split, development_keys, split_cases
from kerasunet.models import ModelCard
from kerasunet.objects import Objects
from kerasunet.strategies import Strategy, parse
from kerasunet.training.settings import (
    FinetuneSettings,
    PretrainSettings,
    finetune_settings,
    to_json,
)

HEAD = "head"
"""Name of a network's last layer."""
MOST_VALIDATION, VALIDATION_SHARE = 20, 0.2
"""Images that validate unless their number is given: a share, but no more than the first."""
_OF_MASKS = ("objects", "mask_threshold", "overlapping")
_OF_DATA = ("data", "manual_dir", "image_size", "labels", "groups", "group_pattern", "development")


@dataclass(frozen=True)
class PreparedData:
    """What a fine-tuning run works on, determined before anything heavy is imported.

    Attributes:
        data: The cases of the requested labels, in the requested groups.
        split: Which of them train, validate and test.
        settings: What they were prepared for, if known.
    """

    data: DataSet
    split: Split
    settings: FinetuneSettings | None = None

    def fits(self, settings: FinetuneSettings) -> bool:
        """Whether the same data would be prepared for other settings, and divided in this way."""
        if (own := self.settings) in (None, settings):
            return own is not None or split_data(settings, self.data) == self.split
        same = all(getattr(own, n) == getattr(settings, n) for n in (*_OF_DATA, *_OF_MASKS))
        return same and split_data(settings, self.data) == self.split

    @property
    def held_out(self) -> DataSet:
        """The cases that test."""
        return replace(self.data, cases=self.data.select(self.split.test))

    def decode(self, image_size: int, channels: int) -> dict[str, DecodedCases]:
        """Decode the cases of the split in one go.

        Args:
            image_size: Height and width in pixels.
            channels: 1 for gray, 3 for color.

        Returns:
            By part, `"train"`, `"validation"` and `"test"`, the decoded cases in the split's order.

        Raises:
            ValueError: Files could not be used, the message lists every one of them; or no mask has
                an object.
        """
        parts = vars(self.split)
        keys = [key for part in parts.values() for key in part]
        cases = self.data.select(keys)
        decoded = decode(cases, (image_size, image_size), channels)
        require_objects(cases, decoded)
        ends = np.cumsum([len(part) for part in parts.values()]).tolist()
        return {
            name: decoded.between(start, end)
            for name, start, end in zip(parts, [0, *ends[:-1]], ends, strict=True)
        }


def prepare(settings: FinetuneSettings) -> PreparedData:
    """List the data of a fine-tuning run, and split it.

    Raises:
        FileNotFoundError: The data or the file of groups does not exist.
        ValueError: The data cannot be used, or cannot be split as requested.
    """
    data = load_data(settings)
    return PreparedData(data, split_data(settings, data), settings)


def load_data(settings: FinetuneSettings) -> DataSet:
    """List the cases of the requested labels, in the requested groups.

    Unless `settings.groups` says otherwise, near-duplicates are joined into one group; but an
    official division is used as its owners made it, with only the groups of the data.

    Raises:
        FileNotFoundError: The data or the file of groups does not exist.
        ValueError: They cannot be used, the object has another value or color in some mask files
            than in others, or groups are given as a file and as a pattern.
    """
    data = load(
        settings.data,
        settings.manual_dir,
        settings.image_size,
        **{name: getattr(settings, name) for name in _OF_MASKS},
    )
    if settings.labels:
        data = data.with_labels(settings.labels)
    require_one_code(data.cases)
    groups = settings.groups or (GIVEN if settings.division else NEAR_DUPLICATES)
    if settings.group_pattern is not None:
        if groups not in (GIVEN, NEAR_DUPLICATES):
            raise ValueError(
                f"groups {groups} and group pattern {settings.group_pattern} both say which images "
                "belong together; give one of them"
            )
        data = with_group_pattern(data, settings.group_pattern)
    return _of_phase(settings, regroup(data, groups))


def _of_phase(settings: FinetuneSettings, data: DataSet) -> DataSet:
    """Keep the development cases, or all but those."""
    if not settings.development_size:
        return data
    chosen = development_keys(data.cases, settings.development_size, seed=settings.split_seed)
    kept = (case for case in data.cases if (case.key in chosen) is settings.development)
    return replace(data, cases=tuple(kept))


def split_data(settings: FinetuneSettings, data: DataSet) -> Split:
    """Split the cases according to the settings.

    Raises:
        ValueError: The data has no such division, or too few cases for the sizes.
    """
    split = partial(
        split_cases,
        data.cases,
        fold=settings.fold,
        folds=settings.folds,
        seed=settings.split_seed,
        sizes=foreground_shares(data.cases) if settings.stratify_sizes else None,
        official=_division(settings, data),
        disjoint=settings.disjoint,
    )
    size = settings.validation_size
    if size is None:
        left = [case.group for case in data.select(split().train)]
        size = _validation_size(settings, left, _division(settings, data))
    return split(settings.train_size, size)


def _validation_size(
    settings: FinetuneSettings, left: Sequence[str], official: Mapping[str, int | str] | None
) -> int:
    """Return how many images validate: a share of those left, or of the division's own part."""
    own = sum(part == "validation" for part in (official or {}).values())
    share = min(MOST_VALIDATION, round(VALIDATION_SHARE * (own + len(left))))
    return min(share, own) if own else _spared(left, share, settings.train_size or 1)


def _spared(groups: Sequence[str], size: int, needed: int) -> int:
    """Return how many images, up to a size, groups at the end can spare if others are needed."""
    spared, members = 0, Counter(groups)
    for group in reversed(dict.fromkeys(groups)):
        if spared >= size or len(groups) - spared - members[group] < needed:
            break
        spared += members[group]
    return min(size, spared)


@dataclass(frozen=True)
class Seen:
    """Which cases of a data set a model has seen.

    Attributes:
        keys: Keys of the cases that it was trained on or chosen by, and of those of the same groups
            (patients).
        is_known: Whether that can be told; if not, there may be more.
    """

    keys: frozenset[str]
    is_known: bool


def seen_cases(card: ModelCard, cases: DataSet, **sources: str | None) -> Seen:
    """Return which cases of a data set a model has seen: by pixels or appearance, not by name.

    A card that lists no images, as those of version 0.1.0, says it by its settings, for the data
    set that the model was fine-tuned on.

    Args:
        card: The card of the model.
        cases: The data set.
        sources: `data`, `manual_dir` and `groups` as the settings of a fine-tuning take them; the
            groups are those that the model was fine-tuned with.
    """
    known, complete = models.seen_images(card)
    if known:
        identities = identification.image_identities(cases.cases)
        found = identification.known_images([*identities.values()], known)
        seen = {key for key, is_known in zip(identities, found, strict=True) if is_known}
        return Seen(with_their_groups(cases, seen), is_known=complete)
    split = split_of(card, **sources) if cases.name == card.data.name else None
    if split is None:
        return Seen(frozenset(), is_known=False)  # Another folder may hold copies.
    keys = with_their_groups(cases, {*split.train, *split.validation})
    return Seen(keys, is_known=card.init == "scratch" or models.is_registered(card.init))


def split_of(card: ModelCard, **sources: str | None) -> Split | None:
    """Split the data that a model was fine-tuned on as it was then, by the settings in its card.

    If it was not fine-tuned, or the data or groups are no longer the same, return `None`.
    """
    if not card.split:
        return None
    values = {**to_json(FinetuneSettings()), **card.settings, **sources}
    try:
        split = prepare(finetune_settings(values)).split
    except ValueError:
        return None
    return split if split.digest == card.split else None


def with_their_groups(data: DataSet, keys: set[str]) -> frozenset[str]:
    groups = {case.group for case in data.cases if case.key in keys}
    return frozenset(case.key for case in data.cases if case.group in groups)


def with_seen(
    card: ModelCard,
    settings: FinetuneSettings | PretrainSettings,
    trained: Sequence[Case],
    *,
    judged: Sequence[Case],
    held_out: DataSet | None = None,
) -> ModelCard:
    """Return a card that says what its model has seen, its start included.

    Args:
        card: The card.
        settings: Of the run.
        trained: The cases that it was trained on.
        judged: The validation cases, which count if they chose weights or ended the training.
        held_out: The cases that it was measured on, if its start may have seen them.
    """
    by_choice = settings.optimization.keep == "best" or settings.optimization.patience is not None
    seen = {*identification.image_identities([*trained, *(judged if by_choice else ())]).values()}
    start, by_name = _card_of_start(settings.init), models.is_registered(settings.init)
    spans = identification.image_spans(trained)
    unlisted = start is None or not all(models.seen_images(start))
    card = replace(
        card,
        seen=identification.united(seen | {*(start.seen if start and not by_name else ())}),
        start_unknown=settings.init != "scratch" and unlisted,
        images=models.ImageRanges.of(spans) if spans else None,
    )
    if start is None:
        return card
    return replace(
        card,
        seen_by=(start.name,) if by_name else start.seen_by,
        start_data=tuple(sorted({start.data.name, *start.start_data})),
        start_saw=0 if held_out is None else len(seen_cases(start, held_out).keys),
    )


def size_warning(settings: FinetuneSettings | PretrainSettings) -> str:
    """Return a warning if a run's start was trained at another image size, otherwise nothing."""
    start, size = _card_of_start(settings.init), settings.image_size
    if start is None or start.trained_sizes[0] <= size <= start.trained_sizes[1]:
        return ""
    return (
        f"{start.name} was trained on images of {start.image_size}×{start.image_size} pixels, this "
        f"run uses {size}×{size}, where objects have another size; use --image-size "
        f"{start.image_size}, or expect to need more steps and images"
    )


def seen_by_start(init: str, data: DataSet) -> Seen:
    """Return which cases of a data set the start of a run has seen."""
    start = _card_of_start(init)
    return Seen(frozenset(), init == "scratch") if start is None else seen_cases(start, data)


def seen_warning(init: str, held_out: DataSet, seen: Seen | None = None) -> str:
    """Return a warning if a start has seen cases that are to be held out, otherwise nothing."""
    keys = (seen or seen_by_start(init, held_out)).keys
    count = sum(case.key in keys for case in held_out.cases)
    told = f"{init} {models.seen_in_words(count, len(held_out))}"
    return f"{told}; give another --init, or use kerasunet adapt" if count else ""


def has_new_head(init: str, objects: Objects) -> bool:
    """Return whether a network needs a new head, because its start marks other objects.

    Args:
        init: The start, as the settings have it.
        objects: What the data mark.
    """
    start = _card_of_start(init)
    if init == "scratch" or (start is None and not objects.several):
        return False
    known = Objects() if start is None else start.marked
    return known != objects if objects.several else known.several


def require_trained_head(settings: FinetuneSettings, objects: Objects) -> None:
    """Refuse strategies that would leave a head as random as it starts.

    Args:
        settings: Of a run.
        objects: What its data mark.

    Raises:
        ValueError: The head is new and is never trained; the message has the remedy.
    """
    if not has_new_head(settings.init, objects):
        return
    strategies = [one for one in settings.strategies if not one.is_auto]
    if strategies and not any(trains_head(one, settings) for one in strategies):
        text = str(settings.strategy)
        raise ValueError(
            f"layers {text}: {settings.init} was not trained on {objects}, so the head, its last "
            f"layer, starts with new random weights, and {text} would not train it; give "
            + ("head" if text == "none" else f"{text}+head")
            + ", or all, which fails less often"
        )


def trains_head(strategy: Strategy, settings: FinetuneSettings) -> bool:
    """Return whether a strategy trains the head of the network that a run starts from."""
    shape = getattr(_card_of_start(settings.init), "architecture", settings.architecture)
    return any(weight.layer == HEAD for weight in strategy.select(shape.layout()))


def with_trained_head(strategy: Strategy, settings: FinetuneSettings, objects: Objects) -> Strategy:
    """Return the strategy that `auto` chose, with a new head that an older choice left out."""
    if not has_new_head(settings.init, objects) or trains_head(strategy, settings):
        return strategy
    return parse(f"{strategy}+{HEAD}")


def modality_of_start(init: str) -> str:
    """Return the kind of image that a start is for; empty if nobody knows."""
    return getattr(_card_of_start(init), "kind_of_image", "")


def fitting_start(data: DataSet) -> str:
    """Return the registered start that fits the images of a data set, `natural` if none does."""
    return models.start_for(identification.modality_of_data(data))


def _card_of_start(init: str) -> ModelCard | None:
    try:
        return None if init == "scratch" else models.card(init)
    except FileNotFoundError:  # A model file from elsewhere needs no card.
        return None


def load_pretraining_data(settings: PretrainSettings) -> tuple[DataSet, DataSet]:
    """List the training and the validation cases of a pre-training run.

    Raises:
        FileNotFoundError: They do not exist.
        ValueError: They cannot be used.
    """
    chosen: dict[str, Any] = {name: getattr(settings, name) for name in _OF_MASKS}
    training = load(settings.data, settings.manual_dir, **chosen)
    require_one_code(training.cases)
    is_simulated = settings.validation_data.split(":")[0] in SIMULATED
    has_one = not training.objects.several
    validation = load(settings.validation_data, **({} if is_simulated and has_one else chosen))
    if validation.objects != training.objects:
        raise ValueError(
            f"{settings.validation_data}: marks {validation.objects}, the training data "
            f"{training.objects}; validate on the same objects"
        )
    return training, validation


def _division(settings: FinetuneSettings, data: DataSet) -> Mapping[str, int | str] | None:
    if settings.division is None or settings.division in data.official:
        return data.official.get(settings.division or "")
    known = ", ".join(data.official) or "none"
    given = f"division {settings.division}: {data.name}"
    raise ValueError(f"{given} comes with these divisions: {known}")
