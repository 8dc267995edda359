"""Model cards: what is known of a saved model, as the JSON beside it and as Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from kerasunet.architecture import Architecture
from kerasunet.files import require_replaceable, strict, write_json, write_text
from kerasunet.metrics import POLICY
from kerasunet.models.card_fields import (
    DIGEST,
    MODALITY,
    NAME,
    NORMALIZATION,
    SEEN,
    SETTINGS,
    SHARE,
    SIDE,
    SUMMARY,
    DataNote,
    ImageRanges,
    LeftOut,
    RecordedEvaluation,
    data_notes,
    decoded,
    encoded,
    failures_in_words,
    json_field,
    left_out_table,
    metrics_table,
    optional_json_field,
    output_in_words,
    require_of_run,
)
from kerasunet.objects import ONE_OBJECT, Objects, modality_of
from kerasunet.schema import COUNT, FLAG, NUMBERS, TEXT, TEXTS, Kind, faults, whole

MOST_BYTES = 4 << 20
_REMEDY, _MAY = "restore it from its source", ", which its start may have been trained on"
_FAULTS_SHOWN, _MOST_FILTERS, _DEEPEST = 5, 2048, 8
_START_SAW = "; {} has seen {} of them, or others of their patients"
_ARCHITECTURE = {
    "base_filters": whole(1, _MOST_FILTERS),
    "depth": whole(1, _DEEPEST),
    "classes": whole(1, _MOST_FILTERS),
    "normalization": NORMALIZATION,
    "channels": whole(1, 3),
}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is known about a saved model. `kerasunet.models.save` fills in what has a default.

    Attributes:
        name: Name of the file, without folder and suffix.
        title: One line for people.
        strategy: Strategy text: which weights trained.
        init: Where the weights came from.
        data: The training data.
        evaluation_data: The data that the metrics were measured on.
        split: SHA-256 of the split; empty where two data sets were used whole.
        image_size: Height and width of training images in pixels.
        threshold: Probability from which a pixel counts as foreground.
        training_cases: Number of training cases.
        metrics: Summary of the held-out cases, as in `kerasunet.training.evaluation`.
        settings: All settings of the run, as plain values.
        architecture: The shape of the network.
        classes: Channels of its output.
        parameters: Number of its weights, moving statistics included.
        versions: Of the libraries that it was saved with, by name.
        saved: When it was saved, as in ISO 8601.
        sha256: Digest of the model file.
        storage: Type of the stored weights: `"float32"` or `"float16"`.
        seen: Of each image that it was trained on or chosen by, and its start, unless that is among
            `seen_by`: what `image_identities` gives; in older cards only the digest, or nothing.
        seen_by: Names of registered models whose cards list the other images: those of its start.
        start_data: Names of the data sets that its start was trained on.
        start_unknown: Whether its start, or the start of that, lists no images.
        start_saw: How many of the held-out cases its start, or its pre-training, has seen.
        evaluations: Evaluations on other data sets.
        role: `"start"` for a model that is made to fine-tune from.
        modality: Kind of image; empty for what the name of the data says; see `kind_of_image`.
        sizes: Smallest and largest training size in pixels; empty for `image_size` alone.
        left_out: How its recipe did on hospitals that it was not shown.
        use: What it is meant for, in a sentence or two.
        weights_of: Name of the registered model that it shares its file with, if any.
        objects: Names of the objects, where there are several, in the order of the channels.
        overlapping: Whether a pixel may belong to several of them.
        images: What its training images were like; `None` where nobody measured that.
        failures: Dice of the worst of 100 simulated cases of its kind, by their keys.
        steps: Steps that it was trained for, where training ended before those of the settings.
        unknown: Values of the JSON that this version does not know; they are kept.
    """

    name: str = json_field(NAME, default="")
    title: str = json_field(TEXT)
    strategy: str = json_field(TEXT)
    init: str = json_field(TEXT)
    data: DataNote = json_field(DataNote)
    evaluation_data: DataNote = json_field(DataNote)
    split: str = json_field(TEXT)
    image_size: int = json_field(SIDE)
    threshold: float = json_field(SHARE)
    training_cases: int = json_field(COUNT)
    metrics: Mapping[str, Any] = json_field(SUMMARY)
    settings: Mapping[str, Any] = json_field(SETTINGS)
    architecture: Architecture = json_field(_ARCHITECTURE, default=Architecture())
    classes: int = 1
    parameters: int = json_field(COUNT, default=0)
    versions: Mapping[str, str] = json_field(TEXTS, default_factory=dict)
    saved: str = optional_json_field(TEXT, "")
    sha256: str = json_field(DIGEST, default="")
    storage: str = optional_json_field(TEXT, "float32")
    seen: tuple[str, ...] = optional_json_field([SEEN], ())
    seen_by: tuple[str, ...] = optional_json_field([TEXT], ())
    start_data: tuple[str, ...] = optional_json_field([TEXT], ())
    start_unknown: bool = optional_json_field(FLAG, False)
    start_saw: int = optional_json_field(COUNT, 0)
    evaluations: tuple[RecordedEvaluation, ...] = optional_json_field([RecordedEvaluation], ())
    role: str = optional_json_field(
        Kind("start, or empty", lambda value: value in ("start", "")), ""
    )
    modality: str = optional_json_field(MODALITY, "")
    sizes: tuple[int, ...] = optional_json_field([SIDE], ())
    left_out: tuple[LeftOut, ...] = optional_json_field([LeftOut], ())
    use: str = optional_json_field(TEXT, "")
    weights_of: str = optional_json_field(TEXT, "")
    objects: tuple[str, ...] = optional_json_field([TEXT], ())
    overlapping: bool = optional_json_field(FLAG, False)
    steps: int | None = optional_json_field(COUNT, None)
    images: ImageRanges | None = optional_json_field(ImageRanges, None)
    failures: Mapping[str, float] | None = optional_json_field(NUMBERS, None)
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def marked(self) -> Objects:
        """The objects that the model finds, named by its run; several without names are numbers."""
        if self.objects:
            return Objects(self.objects, self.overlapping)
        if self.classes > 1:
            return Objects(tuple(f"class {number}" for number in range(1, self.classes)))
        given = [*(self.settings.get("objects") or ())]
        name = str(given[0]).partition("=")[0].strip() if len(given) == 1 else ""
        return Objects((name,)) if name else ONE_OBJECT

    @property
    def is_start(self) -> bool:
        """Whether a fine-tuning is meant to begin with it."""
        return self.role == "start" and "layers" not in self.settings

    @property
    def kind_of_image(self) -> str:
        """What images it is for: a modality; empty where neither card nor data say."""
        return self.modality or modality_of(self.data.name) or ""

    @property
    def trained_sizes(self) -> tuple[int, int]:
        """The smallest and largest size that it was trained at, in pixels."""
        sizes = self.sizes or (self.image_size,)
        return min(sizes), max(sizes)

    @property
    def is_fine_tuned(self) -> bool:
        """Whether it was fine-tuned, and with some of its weights, or is a start as it was."""
        return "layers" in self.settings and self.strategy != "none"

    @property
    def trained_layers(self) -> str:
        """What was fine-tuned, such as `shallow:3`, `auto: blocks:1` (as chosen) or `none`."""
        if not self.is_fine_tuned:
            return "none"
        asked = asked_layers(self.settings)
        return f"{asked}: {self.strategy}" if asked.startswith("auto") else asked

    @property
    def origin(self) -> dict[str, str]:
        """What distinguishes runs of one strategy: start, steps, image size, as words by name."""
        steps = self.steps or self.settings.get("optimization", {}).get("steps")
        start = f"from {self.init}" if "layers" in self.settings else f"{self.name}, pre-trained"
        return {
            "start": start,
            "steps": f"{steps:,} steps" if self.is_fine_tuned and steps else "not fine-tuned",
            "size": f"{self.image_size}×{self.image_size} pixels",
        }

    @property
    def held_out(self) -> RecordedEvaluation:
        """The evaluation on the held-out cases."""
        return RecordedEvaluation(
            data=self.evaluation_data,
            image_size=self.image_size,
            threshold=self.threshold,
            seen=self.start_saw or None,
            labels=tuple(self.settings.get("labels") or ()),
            metrics=self.metrics,
        )

    def may_have_seen(self, one: RecordedEvaluation) -> bool:
        """Whether nobody knows if it was trained on what is evaluated; older cards go by name."""
        lists = bool(self.seen or self.seen_by) and not self.start_unknown
        return one.seen is None and not (
            lists and one.data.name not in (self.data.name, *self.start_data)
        )

    @classmethod
    def from_json(cls, values: Any) -> ModelCard:
        """Make a card from the values of `NAME.json`.

        Raises:
            ValueError: They do not make a card; the message says what is wrong.
        """
        if wrong := [*faults(values, cls, "the card")]:
            hidden = len(wrong) - _FAULTS_SHOWN
            more = f" and {hidden} more" if hidden > 0 else ""
            raise ValueError(f"not a model card: {'; '.join(wrong[:_FAULTS_SHOWN])}{more}")
        found = decoded(values, cls)
        shape = found.pop("architecture")
        card = cls(
            **found,
            architecture=Architecture(**{name: shape[name] for name in vars(Architecture())}),
            classes=shape["classes"],
            unknown={name: values[name] for name in values if name not in (*found, "architecture")},
        )
        if card.marked.channels != card.classes:
            raise ValueError(f"not a model card: {card.marked} do not take {card.classes} channels")
        return card

    def require_readable(self, path: Path) -> None:
        """Refuse a card for a model file that could not be read back, such as one with a set."""
        try:
            self.from_json(json.loads(json.dumps(strict(self.to_json()))))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: its card could not be read back: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """Return the values of `NAME.json`."""
        known = {**vars(self.architecture), "classes": self.classes}
        shape = {"architecture": {name: known[name] for name in _ARCHITECTURE}}
        return encoded(self) | shape | self.unknown

    @property
    def terms(self) -> dict[str, str]:
        """Terms of each data set that it or its start was trained on, by name; empty if unknown."""
        from kerasunet.data.layouts import PUBLISHED

        known = {name: PUBLISHED[name][0] for name in self.start_data if name in PUBLISHED}
        return {**dict.fromkeys(self.start_data, ""), **known, self.data.name: self.data.terms}

    def to_markdown(self) -> str:
        """Return the card as Markdown, for people."""
        return "\n".join(_lines(self))


def read_card(path: Path) -> ModelCard:
    """Read a card.

    Args:
        path: `NAME.json` beside a `.keras` file, as `kerasunet.models.save` writes it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a card, or that of another run than the one in its folder.
    """
    with open(path, "rb") as file:
        card = parse_card(file.read(MOST_BYTES + 1), str(path))
    require_of_run(path, card.sha256, settings=card.settings, metrics=card.metrics)
    return card


@lru_cache(maxsize=32)  # A study asks for its start's card in every run, with 10,000 images in it.
def parse_card(content: bytes, name: str) -> ModelCard:
    """Parse the contents of a card, equal ones once; `name` is the file's, for messages.

    Raises:
        ValueError: It is not a card.
    """
    if len(content) > MOST_BYTES:
        most = f"{MOST_BYTES >> 20} MB"
        raise ValueError(f"{name}: larger than {most}, so it is not a model card; {_REMEDY}")
    try:
        values = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{name}: not a readable JSON file ({why}); {_REMEDY}") from None
    try:
        return ModelCard.from_json(values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; {_REMEDY}") from None


def write_card(path: Path, card: ModelCard) -> None:
    """Write `NAME.json` and `NAME.md` beside a model file; neither if one is write-protected."""
    card.require_readable(path)
    require_replaceable(path.with_suffix(".md"))
    write_json(path.with_suffix(".json"), card.to_json())
    write_text(path.with_suffix(".md"), card.to_markdown())


def asked_layers(settings: Mapping[str, Any]) -> str:
    """Return what a fine-tuning was to train, such as `shallow:3` or `deep:1@0 all@100`.

    Args:
        settings: Its settings, as in a card or a `summary.json`.
    """
    return " ".join(settings.get("unfreeze") or [str(settings["layers"])])


def _lines(card: ModelCard) -> list[str]:
    """Return the lines of a card as Markdown."""
    channels, multiple = card.architecture.channels, card.architecture.size_multiple
    return [
        f"# {card.name}: {card.title}",
        "",
        "Research use only; not a medical device.",
        "",
        *([card.use, ""] if card.use else ()),
        "```python",
        "import keras  # The file lies beside this card.",
        f'model = keras.models.load_model("{card.weights_of or card.name}.keras")',
        "```",
        "",
        f"Input: gray levels 0 to 255, `(batch, height, width, {channels})`, any float or "
        f"uint8, height and width multiples of {multiple}. Standardization is inside. "
        f"Output: {output_in_words(card.marked)} of the same height and width.",
        "",
        *_overview(card),
        "",
        f"## {_judges(card)}",
        "",
        *metrics_table(card.metrics),
        "",
        *_other_evaluations(card),
        *left_out_table(card.left_out),
        POLICY,
        "",
        *failures_in_words(card.name, card.kind_of_image, card.failures),
        "## Data",
        "",
        *data_notes(card.data, card.evaluation_data, card.evaluations),
        "",
    ]


def _overview(card: ModelCard) -> list[str]:
    rows = {
        "trained layers": f"`{' '.join(card.settings.get('unfreeze', ())) or card.strategy}`",
        "initial weights": f"`{card.init}`",
        "training cases": card.training_cases,
        "image size": _sizes(card),
        "threshold": card.threshold,
        "parameters": f"{card.parameters:,}",
        "split (SHA-256)": f"`{card.split[:16]}`" if card.split else "whole data sets",
        "file (SHA-256)": f"`{card.sha256}`",
        "storage": card.storage,
        "versions": ", ".join(f"{name} {number}" for name, number in card.versions.items()),
    }
    return ["| | |", "|---|---|"] + [f"| {name} | {value} |" for name, value in rows.items()]


def _sizes(card: ModelCard) -> str:
    size, (least, most) = f"{card.image_size}×{card.image_size}", card.trained_sizes
    return size if least == most else f"{size}; trained from {least} to {most}"


def _judges(card: ModelCard) -> str:
    """Return what the cases are that the metrics were measured on."""
    kept = card.settings.get("optimization", {})
    if "layers" not in card.settings and (kept.get("keep") == "best" or kept.get("patience")):
        return "Validation cases, by which the weights were chosen"
    who = "its start" if "layers" in card.settings else "it, or its start,"
    saw = _START_SAW.format(who, card.start_saw) if card.start_saw else ""
    told = f"Held-out cases{_MAY if card.start_unknown else saw}"
    others = "cross_validation" in card.settings and card.training_cases > 0
    return told + "; in cross-validation, by models trained without them" * others


def _other_evaluations(card: ModelCard) -> list[str]:
    lines: list[str] = []
    for one in card.evaluations:
        views = ", with mirror images" if one.mirrored else ""
        only = f", only {' '.join(one.labels)}" * bool(one.labels)
        lines += [f"## On `{one.data.name}`{only}, {_seen_of(one, card)}{views}", ""]
        how = f"At {one.image_size}×{one.image_size} pixels, threshold {one.threshold}."
        lines += [*metrics_table(one.metrics), "", how, ""]
    return lines


def _seen_of(one: RecordedEvaluation, card: ModelCard) -> str:
    if one.seen:
        return f"{one.seen} of {one.metrics['n']} cases trained on or chosen by, or their patients"
    unknown = card.may_have_seen(one)
    return "not known which of it was trained on" if unknown else "none of which was trained on"
