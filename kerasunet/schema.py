"""What settings and records have to hold: types, ranges, and the words to refuse anything else.

An option is declared once: the field of a settings dataclass holds its default, help and range.
The command line and the demo's form are made from these fields, and the settings check themselves
against them. What a JSON file has to hold is written as kinds by name, what a table has to hold as
its columns.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple

from kerasunet.files import is_plain, read_json

_TYPES = {"int": int, "float": float, "bool": bool}
_FITTING: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "str": str}
_WORDS = {"int": "a whole number", "float": "a number", "bool": "True or False", "str": "text"}
_SEVERAL = {"int": "whole numbers", "float": "numbers", "str": "texts"}
LARGEST = 10**15
_SHOWN = 5
_BREAKS = "\n\t"
MOVE = "move it away, or use another output folder"


@dataclass(frozen=True)
class Option:
    """What is known of an option besides its name and its default.

    Attributes:
        help: What it does, for people; the default is not part of it.
        type: `int`, `float`, `bool` or `str`.
        minimum: Smallest value.
        maximum: Largest value.
        above: Bound that the value must exceed.
        below: Bound that the value must stay under, of a float with a lower bound.
        choices: All values that there are.
        none: What stands for `None` on the command line.
        metavar: What stands for the value in the help of the command line.
        group: Heading in the help of the command line.
        implied: The value implied by a record that is older than the option; `None` for
            options that every record has.
        unwritten: Whether records lack the option where it has the implied value.
    """

    help: str
    type: type = str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    none: str | float | None = None
    metavar: str | None = None
    group: str = ""
    implied: Any = None
    unwritten: bool = False

    def check(self, name: str, value: Any) -> None:
        """Require a value in range; `None`, the value that is not given, always is.

        Raises:
            ValueError: It is out of range; the message names the option, the range and the value.
        """
        if value is None:
            return
        if self.choices and value not in self.choices:
            known = ", ".join(map(str, self.choices))
            raise ValueError(f"{name} must be one of {known}, not {value!r}")
        if range_ := self._missed(value):
            raise ValueError(f"{name} must be {range_}, not {value}")

    def _missed(self, value: Any) -> str:
        """Return the range that a value misses, in words; empty if within. NaN is within none."""
        high_enough = (self.minimum is None or value >= self.minimum) and (
            self.above is None or value > self.above
        )
        low_enough = (self.maximum is None or value <= self.maximum) and (
            self.below is None or value < self.below
        )
        if high_enough and low_enough:
            return ""
        low = self.above if self.minimum is None else self.minimum
        high = self.maximum if self.below is None else self.below
        if self.below is not None and self.minimum is not None:
            return f"{low} to below {high}"
        if self.type is float and high is not None:
            return f"between {low} and {high}"
        if high_enough:
            return f"at most {high:,}"
        return f"above {low:,}" if self.minimum is None else f"at least {low:,}"


def option(default: Any, help: str, **facts: Any) -> Any:
    """Declare a field of a settings dataclass.

    Args:
        default: The default.
        help: What the option does, for people.
        facts: Range and more, as `Option` takes them; the type is that of the annotation.
    """
    return field(default=default, metadata={"option": Option(help, **facts)})


def declared(settings: Any) -> dict[str, Option]:
    """List the options of a settings dataclass, or of an instance, by name in their order."""
    found = {}
    for item in fields(settings):
        if "option" in item.metadata:
            type_ = _TYPES.get(str(item.type).removesuffix(" | None"), str)
            found[item.name] = replace(item.metadata["option"], type=type_)
    return found


def check(settings: Any) -> None:
    """Require that every field of a settings instance has its type, and every option its range.

    Values become those of plain Python, which JSON knows: a path its text, NumPy's numbers plain
    ones, a list a tuple, a whole float an integer where one is asked for.

    Raises:
        ValueError: One has not; the message names it and says what would be right.
    """
    known = declared(settings)
    for item in fields(settings):
        value = _typed(item, _plain(getattr(settings, item.name)))
        object.__setattr__(settings, item.name, value)  # Settings are frozen.
        if item.name in known:
            known[item.name].check(item.name, value)


def _typed(item: Field, value: Any) -> Any:
    """Return a value as its field is annotated, or refuse it."""
    text = str(item.type)
    kind = text.removesuffix(" | None")
    if value is None and kind != text:
        return None
    if is_dataclass(item.default) and not isinstance(value, type(item.default)):
        known = type(item.default).__name__
        raise ValueError(f"{item.name} must be made with {known}(…), not {value!r}")
    if not kind.startswith("tuple["):
        return _single(item.name, kind, value)
    kind = kind.removeprefix("tuple[").removesuffix(", ...]")
    if not isinstance(value, tuple):
        raise ValueError(
            f"{item.name} takes several {_SEVERAL.get(kind, 'values')}; give ({value!r},), not "
            f"{value!r}"
        )
    return tuple(_single(item.name, kind, one) for one in value)


def typed(name: str, kind: str, value: Any) -> Any:
    """Return an argument of a function as plain Python, `None` as it is, or refuse it.

    Args:
        name: Its name, for the message.
        kind: `"int"`, `"float"`, `"bool"` or `"str"`.
        value: What was given.

    Raises:
        ValueError: It is of another type; the message says what would be right.
    """
    return None if value is None else _single(name, kind, _plain(value))


def text_of(given: str | os.PathLike, what: str) -> str:
    """Return a name or a path as text.

    Args:
        given: The name or path.
        what: What it names, with the remedy for lists, for the message.

    Raises:
        TypeError: It is something else, such as a list or bytes.
    """
    text = os.fspath(given) if isinstance(given, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise TypeError(f"give {what} by its name or path, not as {type(given).__name__}")
    return text


def _single(name: str, kind: str, value: Any) -> Any:
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    fits = isinstance(value, _FITTING.get(kind, object))
    if fits and (kind in ("bool", "str") or not isinstance(value, bool)):
        return value
    words = kind in ("int", "float") and isinstance(value, str)
    remedy = "; leave out the quotes" if words and _is_finite(value) else ""
    raise ValueError(f"{name} must be {_WORDS[kind]}, not {value!r}{remedy}")


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    is_number = isinstance(value, Number) and not isinstance(value, bool | int)
    # NumPy's flags are no numbers to Python, but can tell their plain value, too.
    return value.item() if hasattr(value, "item") and (is_number or value.shape == ()) else value


class Kind(NamedTuple):
    """What a value of the JSON has to be: in words, and as a test."""

    words: str
    fits: Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Return whether it is printable text; a terminal obeys control characters."""
    return isinstance(value, str) and is_plain(value, _BREAKS)


def is_number(value: Any) -> bool:
    """Return whether it is a number, and not too large to be shown."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) <= LARGEST


def whole(least: int, most: int) -> Kind:
    """Return the kind of whole numbers in a range."""
    return Kind(
        f"a whole number of {least:,} to {most:,}",
        lambda value: type(value) is int and least <= value <= most,
    )


TEXT = Kind("text without control characters", is_text)
NUMBER = Kind("a number", is_number)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
TEXTS = Kind(
    "an object whose values are text",
    lambda value: isinstance(value, dict) and all(map(is_text, [*value.keys(), *value.values()])),
)
LIST = Kind("a list", lambda value: isinstance(value, list))
NUMBERS = Kind(
    "an object whose values are numbers",
    lambda value: isinstance(value, dict) and all(map(is_number, value.values())),
)
COUNT = whole(0, LARGEST)
BOUND = Kind("a number or null", lambda value: value is None or is_number(value))


def faults(value: Any, wanted: Any, place: str) -> Iterator[str]:
    """Yield what is wrong with a value of the JSON, one line for each place.

    Args:
        value: As `json` reads it.
        wanted: A `Kind`, a dataclass, a mapping from names to what is wanted there (with `"?"`
            after the names of what may be missing), or a list of one of these.
        place: What to call the value.
    """
    if isinstance(wanted, Kind):
        if not wanted.fits(value):
            yield f"{place} is not {wanted.words}"
    elif isinstance(wanted, list):
        yield from _faults_of_list(value, wanted[0], place)
    else:
        yield from _faults_of_object(value, *_inner(wanted), place=place)


def _faults_of_list(value: Any, wanted: Any, place: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{place} is not a list"
        return
    for number, item in enumerate(value, start=1):
        yield from faults(item, wanted, f"{place} {number}")


def _faults_of_object(value: Any, required: dict, optional: dict, *, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place} is not an object with {', '.join([*required][:_SHOWN])} …"
        return
    start = "" if place.startswith("the ") else f"{place}."
    for name, inner in required.items():
        if name in value:
            yield from faults(value[name], inner, start + name)
        else:
            yield f"{start}{name} is missing"
    for name, inner in optional.items():
        if name in value:
            yield from faults(value[name], inner, start + name)


def _inner(wanted: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an object must hold and what it may hold, each by name."""
    if isinstance(wanted, dict):
        required = {name: inner for name, inner in wanted.items() if not name.endswith("?")}
        return required, {n.removesuffix("?"): wanted[n] for n in wanted if n not in required}
    parts: tuple[dict, dict] = {}, {}
    for one in fields(wanted):
        if "optional" in one.metadata:
            parts[one.metadata["optional"]][one.name] = one.metadata["wanted"]
    return parts


def each(words: str, wanted: Any) -> Kind:
    """Return the kind of an object whose values are all as wanted, in these words."""
    return Kind(
        words,
        lambda value: (
            isinstance(value, dict)
            and not any([*faults(one, wanted, "")] for one in value.values())
        ),
    )


def or_null(wanted: Any, words: str) -> Kind:
    """Return the kind of what is null or as wanted, in these words."""
    return Kind(words, lambda value: value is None or not [*faults(value, wanted, "")])


def read_values(path: Path, wanted: Any, what: str, *, remedy: str) -> Any:
    """Read a JSON file that has to be as wanted.

    Args:
        path: The file.
        wanted: As `faults` takes it.
        what: What it is to be, such as `"the record of a run"`, for the message.
        remedy: What to do if it is not.

    Raises:
        ValueError: It is something else, or cannot be read; the message names file and entry.
    """
    values = read_json(path, remedy=remedy)
    for fault in faults(values, wanted, "the file"):
        raise ValueError(f"{path}: is not {what}: {fault}; {remedy}")
    return values


def read_record(
    path: Path, entries: Collection[str], what: str, *, remedy: str = MOVE
) -> dict[str, Any]:
    """Read a JSON object that has these entries.

    Raises:
        ValueError: The file is something else; the message calls it not `what`, and has the remedy.
    """
    record = read_json(path, remedy=remedy)
    if not isinstance(record, dict) or not record.keys() >= set(entries):
        raise ValueError(f"{path}: is not {what}; {remedy}")
    return record


def read_rows(
    path: Path, columns: Mapping[str, Callable[[str], Any]], *, remedy: str = MOVE
) -> list[dict[str, str]]:
    """Read the rows of a table that this package wrote, as text.

    Args:
        path: A CSV file.
        columns: Those that are needed, with what makes a value of the text, such as `float`.
        remedy: What to do if the file is something else, or a part of it is missing.

    Raises:
        ValueError: A cell or the end of the last line is missing, or a value is invalid; the
            message names the file and the row.
    """
    try:
        text = path.read_text(encoding="utf-8")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(reader)
        if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise ValueError(f"it has no column {', '.join(missing)}")
        for number, row in enumerate(rows, start=1):
            if None in row or None in row.values():
                raise ValueError(f"row {number} does not have a cell in every column")
            for name, made in columns.items():
                made(row[name])
        if not text.endswith("\n"):
            raise ValueError("it ends in the middle of a line")
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: is damaged, or a part is missing ({error}); {remedy}") from error
    return rows


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested records by names such as `settings.layers`."""
    found: dict[str, Any] = {}
    for name, one in values.items():
        found |= flat(one, f"{prefix}{name}.") if isinstance(one, dict) else {prefix + name: one}
    return found
