"""Model cards: the JSON beside a saved model, told to people as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kerasunet.files import is_plain
from kerasunet.metrics import METRICS, POLICY


def as_markdown(facts: dict[str, Any]) -> str:
    """Renders the card of a saved model.

    Args:
        facts: The values of `NAME.json`, as `kerasunet.models.save` writes them.

    Returns:
        Markdown text.
    """
    return "\n".join(
        [
            f"# {facts['name']}: {facts['title']}",
            "",
            "Research use only; not a medical device.",
            "",
            "```python",
            "import keras",
            f'model = keras.models.load_model("saved_models/{facts["name"]}.keras")',
            "```",
            "",
            "Input: grey levels 0 to 255, `(batch, height, width, "
            f"{facts['architecture']['channels']})`, any float or uint8, height and width "
            f"multiples of {2 ** facts['architecture']['depth']}. Standardisation is inside. "
            "Output: foreground probability of the same height and width.",
            "",
            *_facts_table(facts),
            "",
            "## Held-out cases",
            "",
            *_metrics_table(facts["metrics"]),
            "",
            *_other_evaluations(facts.get("evaluations", [])),
            POLICY,
            "",
            "## Data",
            "",
            *_data_notes(facts),
            "",
        ]
    )


def _facts_table(facts: dict[str, Any]) -> list[str]:
    rows = {
        "trained layers": f"`{facts['strategy']}`",
        "initial weights": f"`{facts['init']}`",
        "training cases": facts["training_cases"],
        "image size": f"{facts['image_size']}×{facts['image_size']}",
        "threshold": facts["threshold"],
        "parameters": f"{facts['parameters']:,}",
        "split (SHA-256)": f"`{facts['split'][:16]}`" if facts["split"] else "whole data sets",
        "file (SHA-256)": f"`{facts['sha256']}`",
        "storage": facts.get("storage", "float32"),
        "versions": ", ".join(f"{name} {number}" for name, number in facts["versions"].items()),
    }
    return ["| | |", "|---|---|"] + [f"| {name} | {value} |" for name, value in rows.items()]


def _metrics_table(summary: dict[str, Any]) -> list[str]:
    lines = ["| metric | mean | 95 % interval |", "|---|---|---|"]
    for name, metric in METRICS.items():
        interval = summary[name]
        unit = f" ({summary['unit']})" if metric.is_distance else ""
        lines.append(
            f"| {metric.label}{unit} | {interval['mean']:.3f} | "
            f"{interval['low']:.3f} to {interval['high']:.3f} |"
        )
    counts = (
        f"{summary['n']} cases; {summary['missed']} objects missed, {summary['false_alarm']} "
        f"false alarms, {summary['empty_truth']} cases without an object."
    )
    return [*lines, "", counts]


def _other_evaluations(evaluations: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for found in evaluations:
        side = found["image_size"]
        looks = ", with mirror images" if found.get("mirrored") else ""
        lines += [f"## On `{found['data']['name']}`, none of which was trained on{looks}", ""]
        lines += [*_metrics_table(found["metrics"]), ""]
        lines += [f"At {side}×{side} pixels, threshold {found['threshold']}.", ""]
    return lines


def _data_notes(facts: dict[str, Any]) -> list[str]:
    notes = [("Trained on", facts["data"]), ("Evaluated on", facts["evaluation_data"])]
    others = {found["data"]["name"]: found["data"] for found in facts.get("evaluations", [])}
    notes += [("Evaluated on", data) for data in others.values()]
    return [
        f"- {role} `{note['name']}` ({note['cases']} cases in the set). Terms: {note['terms']}. "
        f"{note['citation']}".rstrip()
        for role, note in notes
    ]


MOST_BYTES = 4 << 20
_REMEDY = "restore it from where it came from"
_SHOWN = 5
_LARGEST = 10**15
_LARGEST_SIDE = 2048
_MOST_FILTERS, _DEEPEST = 2048, 8
_BREAKS = "\n\t"


class _Kind(NamedTuple):
    """What a value has to be: in words, and as a test."""

    words: str
    fits: Callable[[Any], bool]


def read_card(path: Path) -> dict[str, Any]:
    """Reads a card.

    Args:
        path: `NAME.json` beside a `.keras` file, as `kerasunet.models.save` writes it.

    Returns:
        Its values; all that this package uses are there and of the right type.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no card; the message names the file and what is wrong in it.
    """
    with open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    return parse_card(content, str(path))


def parse_card(content: bytes, name: str) -> dict[str, Any]:
    """Parses and checks the contents of a card; `name` is the file's, for messages.

    Raises:
        ValueError: It is no card.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name}: larger than {MOST_BYTES >> 20} MB, so it is no card; {_REMEDY}")
    try:
        facts = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"{name}: not a readable JSON file (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"{name}: not a readable JSON file ({error}); {_REMEDY}") from None
    faults = list(_faults(facts, _CARD, "the card"))
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ValueError(f"{name}: not a model card: {'; '.join(faults[:_SHOWN])}{more}; {_REMEDY}")
    return facts


def _faults(value: Any, wanted: _Kind | Mapping | list, place: str) -> Iterator[str]:
    """What is wrong with a value: one line a place, none if nothing is."""
    if isinstance(wanted, _Kind):
        if not wanted.fits(value):
            yield f"{place} is not {wanted.words}"
    elif isinstance(wanted, list):
        yield from _faults_of_list(value, wanted[0], place)
    elif not isinstance(value, dict):
        yield f"{place} is not an object with {', '.join(list(wanted)[:_SHOWN])} …"
    else:
        for name, inner in wanted.items():
            if name in value or name not in _OPTIONAL:
                yield from _faults(value.get(name), inner, name)


def _faults_of_list(value: Any, wanted: Mapping, place: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{place} is not a list"
        return
    for number, item in enumerate(value, start=1):
        yield from _faults(item, wanted, f"{place} {number}")


def _is_text(value: Any) -> bool:
    """Text that can be printed: a terminal takes control characters for orders."""
    return isinstance(value, str) and is_plain(value, _BREAKS)


def _is_name(value: Any) -> bool:
    return _is_text(value) and bool(re.fullmatch(r"[^./\\\n\t][^/\\\n\t]{0,199}", value))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) <= _LARGEST


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def _whole(least: int, most: int) -> _Kind:
    return _Kind(
        f"a whole number of {least:,} to {most:,}",
        lambda value: type(value) is int and least <= value <= most,
    )


_TEXT = _Kind("text without control characters", _is_text)
_NUMBER = _Kind("a number", _is_number)
_COUNT = _whole(0, _LARGEST)
_SIDE = _whole(1, _LARGEST_SIDE)
_SHARE = _Kind("a number of 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
_OBJECT = _Kind("an object", lambda value: isinstance(value, dict))
_NORMALIZATION = _Kind("batch, group or null", lambda value: value in ("batch", "group", None))
_VERSIONS = _Kind(
    "an object of texts",
    lambda value: isinstance(value, dict) and all(map(_is_text, [*value.keys(), *value.values()])),
)
_DATA = {"name": _TEXT, "cases": _COUNT, "terms": _TEXT, "citation": _TEXT}
_INTERVAL = {"mean": _NUMBER, "low": _NUMBER, "high": _NUMBER}
_METRICS = {
    **dict.fromkeys(METRICS, _INTERVAL),
    **dict.fromkeys(("n", "missed", "false_alarm", "empty_truth"), _COUNT),
    "unit": _TEXT,
}
_EVALUATION = {"data": _DATA, "image_size": _SIDE, "threshold": _SHARE, "metrics": _METRICS}
_CARD = {
    "name": _Kind("the name of a file, without folder", _is_name),
    "title": _TEXT,
    "strategy": _TEXT,
    "init": _TEXT,
    "data": _DATA,
    "evaluation_data": _DATA,
    "split": _TEXT,
    "image_size": _SIDE,
    "threshold": _SHARE,
    "training_cases": _COUNT,
    "metrics": _METRICS,
    "settings": _OBJECT,
    "architecture": {
        "base_filters": _whole(1, _MOST_FILTERS),
        "depth": _whole(1, _DEEPEST),
        "classes": _whole(1, _MOST_FILTERS),
        "normalization": _NORMALIZATION,
        "channels": _whole(1, 3),
    },
    "parameters": _COUNT,
    "versions": _VERSIONS,
    "sha256": _Kind("a SHA-256 digest", _is_digest),
    "evaluations": [_EVALUATION],
    "storage": _TEXT,
}
_OPTIONAL = ("evaluations", "storage")
