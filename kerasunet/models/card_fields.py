"""What model cards consist of: fields that are stored as JSON, notes on data, evaluations.

Each field of a dataclass says what its value has to be, once; reading, writing and the list of what
is wrong in a file follow from that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasunet.files import read_json
from kerasunet.metrics import METRICS, Interval, bounds_in_words, unit_in_words, with_unknown_bounds
from kerasunet.objects import Objects
from kerasunet.schema import (
    BOUND,
    COUNT,
    FLAG,
    NUMBER,
    NUMBERS,
    TEXT,
    Kind,
    faults,
    is_number,
    is_text,
    whole,
)

if TYPE_CHECKING:
    from kerasunet.data.cases import DataSet


_FORBIDDEN = re.compile(
    r"redistribution[^;.]*\b(prohibited|forbidden|not (permitted|allowed))|\bno redistribution|"
    r"\b(may|must) not be (re)?distributed|not for (re)?distribution",
    re.IGNORECASE,
)
_UNSTATED = re.compile(r"\s*|.*\b(not|none) stated\b.*", re.IGNORECASE | re.DOTALL)


def json_field(wanted: Any, **default: Any) -> Any:
    """Declare a field of a dataclass, and what its value in the JSON has to be."""
    return field(metadata={"wanted": wanted, "optional": False}, **default)


def optional_json_field(wanted: Any, default: Any) -> Any:
    """Declare a field that the JSON may lack: then it has the default, which is never written."""
    return field(metadata={"wanted": wanted, "optional": True}, default=default)


def decoded(values: Mapping[str, Any], part: type) -> dict[str, Any]:
    """Return the arguments of a dataclass from the values of its JSON, which must be valid."""
    return {
        one.name: _decoded_value(values[one.name], one.metadata["wanted"])
        for one in fields(part)
        if "optional" in one.metadata and one.name in values
    }


def _decoded_value(value: Any, wanted: Any) -> Any:
    if isinstance(wanted, list):
        return tuple(_decoded_value(item, wanted[0]) for item in value)
    if isinstance(wanted, type) and is_dataclass(wanted):
        return wanted(**decoded(value, wanted))
    return value


def encoded(value: Any) -> Any:
    """Return a dataclass, a tuple of them or a plain value as JSON has it."""
    if isinstance(value, tuple):
        return [encoded(item) for item in value]
    if not is_dataclass(value):
        return value
    return {
        one.name: encoded(getattr(value, one.name))
        for one in fields(value)
        if "optional" in one.metadata and not _is_implied(value, one)
    }


def _is_implied(value: Any, one: Field) -> bool:
    return one.metadata["optional"] and getattr(value, one.name) == one.default


SIDE = whole(1, 2048)
SHARE = Kind("a number of 0 to 1", lambda value: is_number(value) and 0 <= value <= 1)
_INTERVAL = {"mean": NUMBER, "low": BOUND, "high": BOUND}
_ONE_SUMMARY = {
    **dict.fromkeys(METRICS, _INTERVAL),
    **dict.fromkeys(("n", "missed", "false_alarm", "empty_truth"), COUNT),
    "unit": TEXT,
}


def _are_summaries(value: Any) -> bool:
    """Return whether a value is missing, or has a summary for each object by its name."""
    if not isinstance(value, dict):
        return value is None
    return all(is_text(n) and not [*faults(one, _ONE_SUMMARY, "")] for n, one in value.items())


_HOW = {"steps?": COUNT, "keep?": TEXT}
_CHOSEN = dict.fromkeys(("unfreeze?", "objects?", "labels?"), [TEXT])
SETTINGS = {"layers?": TEXT, **_CHOSEN, "optimization?": _HOW}
SUMMARY = {**_ONE_SUMMARY, "objects?": Kind("a summary for each object", _are_summaries)}


def _is_name(value: Any) -> bool:
    return is_text(value) and bool(re.fullmatch(r"[^./\\\n\t][^/\\\n\t]{0,199}", value))


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def _is_seen(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{16}([0-9a-f]{64})?", value))


SEEN = Kind("a digest of 16 hexadecimal digits, or one with a fingerprint of 64 more", _is_seen)
MODALITY = Kind(
    "ultrasound, xray, photograph or empty",
    lambda value: value in ("ultrasound", "xray", "photograph", ""),
)
NORMALIZATION = Kind("batch, group or null", lambda value: value in ("batch", "group", None))
NAME = Kind("a file name without a folder", _is_name)
DIGEST = Kind("a SHA-256 digest", _is_digest)


@dataclass(frozen=True, kw_only=True)
class DataNote:
    """What a card says about a data set.

    Attributes:
        name: Its name.
        cases: Number of its cases.
        digest: SHA-256 of its index.
        terms: Terms of use.
        citation: Whom to cite.
    """

    name: str = json_field(TEXT)
    cases: int = json_field(COUNT)
    digest: str = optional_json_field(TEXT, "")
    terms: str = json_field(TEXT)
    citation: str = json_field(TEXT)

    @classmethod
    def of(cls, data: DataSet) -> DataNote:
        """Note what a data set says about itself."""
        return cls(
            name=data.name,
            cases=len(data),
            digest=data.digest,
            terms=data.terms,
            citation=data.citation,
        )


@dataclass(frozen=True, kw_only=True)
class Span:
    """The range of something, except for one hundredth at either end."""

    low: float = json_field(NUMBER)
    high: float = json_field(NUMBER)


@dataclass(frozen=True, kw_only=True)
class ImageRanges:
    """What training images were like, as `kerasunet.data.identification` measures them.

    Attributes:
        brightness: Mean gray level, 0 to 255.
        contrast: Standard deviation of the gray levels.
        aspect: Width divided by height; `None` where all were squares, which somebody made.
    """

    brightness: Span = json_field(Span)
    contrast: Span = json_field(Span)
    aspect: Span | None = optional_json_field(Span, None)

    @classmethod
    def of(cls, spans: Mapping[str, tuple[float, float]]) -> ImageRanges:
        """Take each span by its name, rounded to hundredths."""
        return cls(**{k: Span(low=round(a, 2), high=round(b, 2)) for k, (a, b) in spans.items()})


@dataclass(frozen=True, kw_only=True)
class RecordedEvaluation:
    """What a card says about an evaluation.

    Attributes:
        data: The data set.
        image_size: Height and width that images were stretched to, in pixels.
        threshold: Probability from which a pixel counted as foreground.
        mirrored: Whether mirror images were predicted, too; `None`, in older cards, means no.
        seen: How many cases the model was trained on or chosen by; `None` where nobody knows it.
        labels: Those of the cases, where only some were chosen; empty for all, and in older cards.
        metrics: Summary, as in `kerasunet.training.evaluation`.
    """

    data: DataNote = json_field(DataNote)
    image_size: int = json_field(SIDE)
    threshold: float = json_field(SHARE)
    mirrored: bool | None = optional_json_field(FLAG, None)
    seen: int | None = optional_json_field(COUNT, None)
    labels: tuple[str, ...] = optional_json_field([TEXT], ())
    metrics: Mapping[str, Any] = json_field(SUMMARY)

    @property
    def kind(self) -> tuple[str, str, int, float, bool, bool]:
        """What is unique to an evaluation in a card: its data, how they were read and predicted."""
        read = self.data.name, self.data.digest, self.image_size, self.threshold
        return *read, bool(self.mirrored), bool(self.seen)

    def differences(self, image_size: int, threshold: float) -> str:
        """Return in words what differs from a plain prediction at this size and threshold."""
        size = f", {self.image_size}×{self.image_size} pixels" * (self.image_size != image_size)
        cut = f", threshold {self.threshold:g}" * (self.threshold != threshold)
        only = f", only {' '.join(self.labels)}" * bool(self.labels)
        return only + ", mirrored" * bool(self.mirrored) + size + cut

    @property
    def dice(self) -> Interval:
        """Mean Dice with its 95 % interval."""
        dice = with_unknown_bounds(self.metrics)["dice"]
        return Interval(dice["mean"], dice["low"], dice["high"], n=self.metrics["n"])


def united(
    old: Sequence[RecordedEvaluation], new: Sequence[RecordedEvaluation]
) -> tuple[RecordedEvaluation, ...]:
    """Return evaluations, the new ones in place of old ones of the same kind."""
    kinds = {one.kind for one in new}
    return (*(one for one in old if one.kind not in kinds), *new)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """How another network, made likewise, did on a hospital that was left out of its training.

    Attributes:
        trained_on: Names of its training data.
        data: Name of the hospital's data.
        cases: Number of cases with an object.
        image_size: Height and width that images were stretched to, in pixels.
        dice: Mean Dice of these cases with its 95 % interval: mean, low, high.
        parts: Mean Dice by part of the cases, such as `"malignant"` or `"small"`.
        empty: Number of cases without an object.
        marked: Share of those that got foreground above 0.5 % of the image; `None` without any.
    """

    trained_on: str = json_field(TEXT)
    data: str = json_field(TEXT)
    cases: int = json_field(COUNT)
    image_size: int = json_field(SIDE)
    dice: Mapping[str, float] = json_field(_INTERVAL)
    parts: Mapping[str, float] = json_field(NUMBERS)
    empty: int = optional_json_field(COUNT, 0)
    marked: float | None = optional_json_field(SHARE, None)

    @property
    def row(self) -> str:
        """The row of the table of hospitals, as Markdown."""
        dice = self.dice
        parts = ", ".join(f"{name} {value:.3f}" for name, value in self.parts.items())
        marked = "–" if self.marked is None else f"{self.marked:.0%} of {self.empty}"
        return (
            f"| `{self.trained_on}` | `{self.data}`, {self.cases} cases | {self.image_size} | "
            f"{dice['mean']:.3f} | {dice['low']:.3f} to {dice['high']:.3f} | {parts} | {marked} |"
        )


def left_out_table(rows: Sequence[LeftOut]) -> list[str]:
    """Return the lines of a table of hospitals that were left out of training, if any."""
    if not rows:
        return []
    lines = [
        "## On a hospital that was left out",
        "",
        "Measured once, with networks made in the same way from the other data. `NAME/choose` and "
        "`NAME/read` are halves of a data set, split by patients or groups of near-duplicates.",
        "",
        "| trained on | measured on | size | Dice | 95 % interval | by part | empty ones marked |",
        "|---|---|---|---|---|---|---|",
    ]
    return [*lines, *(one.row for one in rows), ""]


def failures_in_words(model: str, kind: str, worst: Mapping[str, float] | None) -> list[str]:
    """Return the lines on the worst of 100 simulated cases of a kind, if they are known."""
    source, cases = f"simulated-{kind}:100", [f"{k}, {v:.3f}" for k, v in (worst or {}).items()]
    how = f"`kerasunet panel --data {source} --models {model}` draws the worst one."
    told = f"The worst cases of `{source}`, with their Dice: {'; '.join(cases)}. {how}"
    return ["## Worst simulated cases", "", told, ""] if worst else []


def metrics_table(summary: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table of metrics, one for each object where there are several."""
    summary = with_unknown_bounds(summary)
    each = summary.get("objects") or {}
    lines = ["| metric | mean | 95 % interval |", "|---|---|---|"]
    if each:
        lines = ["| object | metric | mean | 95 % interval |", "|---|---|---|---|"]
    parts = [*(("| " + name + " ", one) for name, one in each.items())]
    for start, part in [*parts, ("| mean of all " if each else "", summary)]:
        lines += [f"{start}{line}" for line in _metric_rows(part)]
    lowest = summary.get("detection_iou")
    how = "no pixel found" if lowest is None else f"IoU below {lowest:g}"
    counts = (
        f"{summary['n']} cases; {summary['missed']} objects missed ({how}), "
        f"{summary['false_alarm']} false alarms, {summary['empty_truth']} cases without an object."
    )
    return [*lines, "", counts]


def _metric_rows(summary: Mapping[str, Any]) -> Iterator[str]:
    for name, metric in METRICS.items():
        interval = summary[name]
        unit = f" ({unit_in_words(summary)})" if metric.is_distance else ""
        yield (
            f"| {metric.label}{unit} | {interval['mean']:.3f} | "
            f"{bounds_in_words(interval['low'], interval['high'])} |"
        )


def require_of_run(path: Path, sha256: str, **told: Mapping[str, Any]) -> None:
    """Refuse the card of a model that was exchanged, together with it, for that of another run.

    Args:
        path: The card; only the `model.json` of a finished run or an adaptation is of that.
        sha256: Of the model, as it says.
        told: The `settings` and `metrics` that it holds.

    Raises:
        ValueError: The run's `summary.json` beside it has others, or `adapt.json` another model.
    """
    if path.name != "model.json":
        return
    for beside in filter(Path.is_file, map(path.with_name, ("summary.json", "adapt.json"))):
        try:
            record = read_json(beside)
            if beside.name == "adapt.json":
                is_own = sha256 in record["files"][path.with_suffix(".keras").name]
            else:
                metrics = record.get("after") or record["metrics"]
                is_own = {"settings": record["settings"], "metrics": metrics} == told
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # Something else is called so.
        if not is_own:
            raise ValueError(
                f"{path}: it and its model are of another run than {beside.name} beside them; "
                "restore those of this run, or give the others another name"
            )


def data_notes(
    trained: DataNote, evaluated: DataNote, evaluations: Sequence[RecordedEvaluation]
) -> list[str]:
    """Return lines about the data that a model was trained and evaluated on, each set once."""
    notes = [("Trained on", trained), ("Evaluated on", evaluated)]
    others = {one.data.name: one.data for one in evaluations}
    notes += [("Evaluated on", data) for data in others.values()]
    return [
        f"- {role} `{note.name}` ({note.cases} cases in the set). Terms: {note.terms}. "
        f"{note.citation}".rstrip()
        for role, note in notes
    ]


MAY_HAVE_SEEN = "may have seen held-out cases: its card does not list what it was trained on"


def seen_in_words(count: int, held_out: int) -> str:
    """Say how many held-out cases a start has seen, in words of which it is the subject."""
    cases = f"{count} of the {held_out} held-out cases, or others of their patients"
    return f"has seen {cases}, so Dice is too optimistic"


def output_in_words(objects: Objects) -> str:
    """Say what a model of these objects outputs."""
    if not objects.several:
        return "foreground probability"
    names = [*(["background"] if objects.exclusive else []), *objects.names]
    channels = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    return f"{len(names)} channels, the probabilities of {channels},"


def forbids_redistribution(terms: str) -> bool:
    """Return whether terms of use forbid passing on data, or what was learned from it."""
    return bool(_FORBIDDEN.search(terms))


def is_unstated(terms: str) -> bool:
    """Return whether terms of use are empty, or say that there are none."""
    return bool(_UNSTATED.fullmatch(terms))
