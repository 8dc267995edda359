"""Tables that come with images: CSV files, groups, classes by value, color or name of a mask."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from kerasunet.data.annotations import ENCODINGS, NO_OBJECT
from kerasunet.data.cases import Case, FileCase
from kerasunet.data.layouts import EVERY_MASK_FOLDER, pairing
from kerasunet.data.layouts.contents import image_stem
from kerasunet.data.layouts.folder_names import as_seen
from kerasunet.files import raise_all, read_json, write_text

_MOST_BYTES, _MOST_COLUMNS, _LONGEST_HEADER = 64 << 20, 1000, 1 << 16  # Of a table.
_EXCELS = re.compile(r'"?sep=([,;\t|])"?\r?\n', re.IGNORECASE)  # A first line that tells the mark.
_CLASS_AT_END = re.compile(
    rf"[_-](?:masks?|annotations|labels|{pairing.OTHER_WORDS})"
    r"[\W_]+(?:[\W\d_]*\d(?:[\W_]+|(?=[^\W\d_]{3})))?(?!of[_ -]?\d)"
    r"([^\W\d_][^\W_]*(?:(?:[^\w.]|_)+[^\W\d_][^\W_]*)*)((?:[\W_]+\d+[^\W\d_]?)*)[\W_]*$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(  # A number after these tells classes or annotators apart, and no parts.
    "(?i).*(class|label|category|organ|type|grade|version|annotator|reader|rater|observer|expert)"
)
_MASKS_OF_CLASS = re.compile(  # Not of a part, a version or a kind of file.
    r"(?i)(?:mask|label)s?[_ (\[-]+(?!train|val|test|final|correct|refine|new|old|clean|fix|check|"
    "revis|manual|auto|bin|png|tif|nii|mha|all|raw|out|pred|merge|full|small|resize|crop)"
    r"((?:class|label|category|organ|type|grade)[_ -]\d+|[^\W\d_]{3,}(?:[_ -][^\W\d_]+)*)[)\]]?"
)
_WHOLE = re.compile(r"(\d+)[.,]0+")
_LEADING_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")
_ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+", re.IGNORECASE)
_UNKNOWN = ("nan", "na", "n/a", "none", "null", "unknown", "?", "-")
_NO_VALUE = re.compile(r"#[A-Z/0]+[!?]?$|##+$")
_REGIONS = "dataset.json"
_OF_GROUPS = ("key", "group")
Classes = tuple[tuple[str, int | str], ...]
KNOWN_CLASSES: dict[str, Classes] = {
    "jsrt": (("right_lung", 150), ("left_lung", 200), ("heart", 250)),
}
"""What the values of a published set's masks stand for, where they mark several objects."""


def read_rows(path: Path, delimiter: str = "") -> list[tuple[int, dict[str, str]]]:
    """Read a CSV or TSV file with a header; empty rows and cells beyond the columns do not count.

    Args:
        path: The file.
        delimiter: What is between cells; if empty, a comma, semicolon or tab, as in the header.

    Returns:
        Line number and cells of each row, the cells by the name of their column in lower case.

    Raises:
        ValueError: The file is no UTF-8 or UTF-16 text, columns share a name, or a row is too long.
    """
    text = text_of(path)
    told = _EXCELS.match(text)
    between = told[1] if told else delimiter or _delimiter(path, text)
    text, begin = (text[told.end() :], 1) if told else (text, 0)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=between, restval="")
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        _check_columns(path, columns)
        reader.fieldnames = columns
        rows = [(begin + reader.line_num, row) for row in reader if any(map(_filled, row.values()))]
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: not a readable table ({error})") from error
    further = [(line, row.pop(None, ())) for line, row in rows]
    what = "more cells than columns; put names with commas in quotation marks"
    raise_all([f"{path}:{line}: {what}" for line, row in further if _filled(row)])
    return rows


def _filled(cells: str | Sequence[str]) -> bool:
    return any(map(str.strip, cells))


def text_of(path: Path, *, guessed: bool = False) -> str:
    """Return the text of a table; guessed if it has another encoding and is only looked at."""
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path}: larger than {_MOST_BYTES >> 20} MB, so it is not such a table")
    content = path.read_bytes()
    is_wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if guessed:
            return content.decode("cp1252", errors="replace")
        fault = f"not UTF-8 text ({error.reason}); save it as CSV UTF-8"
        raise ValueError(f"{path}: {fault}") from error


def _delimiter(path: Path, text: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = text[:_LONGEST_HEADER].splitlines()[:1]
    return next((mark for mark in ",;\t" if mark in "".join(header)), ",")


def _check_columns(path: Path, columns: list[str]) -> None:
    if len(columns) > _MOST_COLUMNS:
        raise ValueError(f"{path}: {len(columns):,} columns, so it is not such a table")
    if repeated := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise ValueError(f"{path}: several columns have the same name: {', '.join(repeated)}")


def write_groups(path: Path, groups: Mapping[str, str]) -> None:
    """Write the group of each key, atomically."""
    table = io.StringIO(newline="")
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(_OF_GROUPS)
    rows.writerows(groups.items())
    write_text(path, table.getvalue())


def read_groups(path: Path) -> dict[str, str]:
    """Read the group of each key.

    Raises:
        ValueError: A column is missing, a cell is empty, or a key has several groups.
    """
    rows = read_rows(path)
    missing = [name for name in _OF_GROUPS if not rows or name not in rows[0][1]]
    if missing:
        raise ValueError(
            f"{path}: has no column {', '.join(missing)}, or no rows; it needs key and group"
        )
    groups: dict[str, str] = {}
    faults = []
    for line, row in rows:
        key, name = row["key"], row["group"]
        if not (key and name):
            faults.append(f"{path}:{line}: key or group is empty")
        elif groups.setdefault(key, name) != name:
            faults.append(f"{path}:{line}: {key} has several groups, {groups[key]} and {name}")
    named = (name for key, name in groups.items() if name != key)
    raise_all([*faults, *(f"{path}: {fault}" for fault in misspelled(named))])
    return groups


def misspelled(names: Iterable[str], what: str = "group") -> Iterator[str]:
    """Yield what is wrong with names of groups: one may be written in several ways, or say nothing.

    Spreadsheets and people write `1`, `01` and `1.0`, or `P7` and `p7`, of the same patient, who
    would be divided; and what they leave open would be one patient.

    Args:
        names: The names.
        what: What they name; of a `"label"`, only the spelling matters.
    """
    spellings: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        divided = name.replace("_", " ").replace("-", " ") if what == "object" else name
        spellings.setdefault(_loosely(divided), []).append(name)
        if what == "group" and _ROUNDED.fullmatch(name):
            yield f"group {name} is a number that a spreadsheet has rounded; enter it as text"
        elif what == "group" and (name.lower() in _UNKNOWN or _NO_VALUE.match(name)):
            yield f"group {name} says that it is not known; give such images groups of their own"
    for alike in (of for of in spellings.values() if len(of) > 1):
        listing, exact = (" and ".join(map(of, alike)) for of in (repr, ascii))
        if listing != exact and len({*map(as_seen, alike)}) < len(alike):
            listing += f" ({exact})"  # As they look the same.
        yield f"{what}s {listing} look like one, written in several ways; write them alike"


def _loosely(name: str) -> str:
    """Return a name without what people overlook and spreadsheets add."""
    loose = "".join(as_seen(name).casefold().split()).lstrip("'")
    whole = match[1] if (match := _WHOLE.fullmatch(loose)) else loose
    return _LEADING_ZEROS.sub("", whole)


def read_table(path: Path, key: str) -> dict[str, dict[str, str]]:
    """Read the rows of a CSV file with a header, by their value in the column `key`."""
    rows = read_rows(path)
    if rows and key not in rows[0][1]:
        raise ValueError(f"{path}: has no column {key}")
    return {row[key]: row for _, row in rows}


def with_classes(folder: Path, cases: Sequence[Case]) -> list[Case]:
    """Let mask files be read by the table of classes beside them, or else above, up to a folder."""
    direct = {mask.parent for case in cases for mask in getattr(case, "masks", ())}
    places = direct | {p for of in direct for p in of.parents if _is_of_masks(p, folder)}
    beside = {place: found for place in places if (found := classes_in(place))}
    above = classes_in(folder)
    raise_all(
        [
            f"{place}: its table of classes disagrees with that in {upper}; keep one of them"
            for place, classes in beside.items()
            for upper in place.parents
            if _disagree(classes, {**beside, folder: above}.get(upper, ()))
        ]
    )
    cases = [c for one in cases for c in coded([one], _beside(one, beside))] if beside else cases
    return coded(cases, above)


def _is_of_masks(place: Path, folder: Path) -> bool:
    below = place.relative_to(folder).parts if folder in place.parents else ()
    return any(part.lower() in EVERY_MASK_FOLDER for part in below)


def _beside(case: Case, tables: Mapping[Path, Classes]) -> Classes:
    found = (tables.get(p) for mask in getattr(case, "masks", ()) for p in mask.parents)
    return next(filter(None, found), ())


def coded(cases: Sequence[Case], classes: Classes) -> list[Case]:
    """Let mask files without a table of classes be read by this one; an empty one says nothing."""
    if not classes:
        return list(cases)
    return [
        replace(case, coding=replace(case.coding, classes=classes))
        if isinstance(case, FileCase) and not case.coding.classes
        else case
        for case in cases
    ]


def classes_in(folder: Path) -> Classes:
    """Read the table of classes that comes with masks.

    That is `labelmap.txt` (CVAT), `label_colors.txt` (CamVid), `class_names.txt` or
    `label_names.txt` (labelme), `_classes.csv` (Roboflow), `dataset.json` (nnU-Net) or
    `obj_class_to_machine_color.json` (Supervisely).

    Returns:
        The name and the value or color of each class, also of the background; empty if there is no
        table. One that cannot be read, or several that disagree, are a `ValueError`.
    """
    found = {}
    for name, read in TABLES_OF_CLASSES.items():
        path = folder / name
        if path.is_file():
            try:
                found[name] = with_background(_distinct(tuple(read(path)), name))
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"{path}: not a readable table of classes ({error})") from error
    (name, first), *others = [(n, of) for n, of in found.items() if of] or [("", ())]
    for other, classes in others:
        if _disagree(first, classes):
            raise ValueError(f"{folder}: {name} and {other} number classes differently; keep one")
    return first


def _disagree(one: Classes, other: Classes) -> bool:
    """Return whether a value or color is one class in a table, and another in a second."""
    for code in {code for _, code in one} & {code for _, code in other}:
        named = [{name.lower() for name, of in table if of == code} for table in (one, other)]
        if named[0].isdisjoint(named[1]) and not named[0] | named[1] <= {*NO_OBJECT}:
            return True
    return False


def _distinct(classes: Classes, table: str) -> Classes:
    """Refuse several names of one value or color, except where regions overlap, as in nnU-Net."""
    names: dict[int | str, set[str]] = {}
    for name, code in classes if table != _REGIONS else ():
        names.setdefault(code, set()).add(name)
    for code, same in names.items():
        if len(same) > 1 and not all(name.lower() in NO_OBJECT for name in same):
            raise ValueError(f"{code} is {' and '.join(sorted(same))}")
    return classes


def with_background(classes: Classes) -> Classes:
    """Add the background, which some tables take for granted."""
    if not classes or any(name.lower() in NO_OBJECT for name, _ in classes):
        return classes
    return (("background", 0), ("background", "#000000"), *classes)


def classes_of_files(files: Iterable[FileCase]) -> dict[Path, str]:
    """Return the class of each mask file whose folder or name says it.

    As `masks/heart/x.png`, `masks_heart/x.png`, `x_mask_heart_1.png` or `x_mask (heart).png` do.
    """
    return {
        path: name
        for case in files
        for path in case.masks
        if (name := _class_of_folder(path, case) or _class_in_name(path, case.image))
    }


def check_named(files: Iterable[FileCase], classes: Mapping[Path, str], *, chosen: bool) -> None:
    """Refuse masks whose names say no class beside others that do, for the same image.

    If a class was chosen, the others may be anywhere in the set, as the masks would be left out.
    """
    named = next(iter(classes), None)
    groups = [case.masks for case in files]
    mixed = [path for masks in groups if chosen or {*masks} & {*classes} for path in masks]
    bare = [path for path in mixed if path not in classes]
    if named and bare:
        more = f", and {len(bare) - 1:,} others" if bare[1:] else ""
        raise ValueError(
            f"{bare[0]}: its name does not say which object it marks, as that of {named} does "
            f"({classes[named]}); rename it{more}, or keep them elsewhere"
        )


def _class_in_name(mask: Path, image: Path) -> str:
    """Return the class that the name of a mask says beyond that of its image; empty for none."""
    stems = (image_stem(mask.name) or mask.name, image_stem(image.name) or image.name)
    match = _CLASS_AT_END.search(pairing.OF_COPY.sub("", stems[0].removeprefix(stems[1])))
    return match[1] + match[2] * bool(_NUMBERED.fullmatch(match[1])) if match else ""


def _class_of_folder(mask: Path, case: FileCase) -> str:
    """Return the class of a folder such as `masks/lung/` or `masks_lung/`; empty for none."""
    name, of_image = mask.parent.name, case.image.parent.name
    if found := _MASKS_OF_CLASS.fullmatch(name):
        known = name.lower() in EVERY_MASK_FOLDER or found[1].lower() in of_image.lower()
        return "" if known else found[1]
    inside = mask.parent.parent.name.lower() in EVERY_MASK_FOLDER
    return name if inside and name not in (*PurePosixPath(case.key).parts, of_image) else ""


def _cvat(path: Path) -> Iterator[tuple[str, int | str]]:
    """Read lines such as `lung:128,0,0::`; a mere list of names is another kind of file."""
    lines = _lines(path)
    for line in lines if any(":" in line for line in lines) else ():
        name, color, *_ = line.split(":")
        yield name, _hex([int(part) for part in color.split(",")])


def _camvid(path: Path) -> Iterator[tuple[str, int | str]]:
    """Read lines such as `128 0 0 lung`, or `lung 128 0 0`."""
    for line in _lines(path):
        parts = line.replace(",", " ").split()
        color, name = (parts[:3], parts[3:]) if parts[0].isdecimal() else (parts[-3:], parts[:-3])
        yield " ".join([name[0], *name[1:]]), _hex([int(part) for part in color])


def _labelme(path: Path) -> Iterator[tuple[str, int | str]]:
    """Read names whose line is their value, from `_background_` on."""
    lines = [line for line in _lines(path) if line != "__ignore__"]
    if lines and lines[0].lower() in NO_OBJECT:
        yield from ((name, number) for number, name in enumerate(lines))


def _roboflow(path: Path) -> Iterator[tuple[str, int | str]]:
    for _, row in read_rows(path):
        yield row["class"].strip(), int(row["pixel value"])


def _nnunet(path: Path) -> Iterator[tuple[str, int | str]]:
    """Read `{"lung": 1}`, or `{"1": "lung"}` of the first version; a region has several values.

    The label `ignore` is of pixels that nobody has judged, so it is no class.
    """
    labels = _dictionary(path, "labels")
    labels.pop("ignore", None)
    if any(name.lower() in NO_OBJECT and isinstance(value, int) for name, value in labels.items()):
        for name, value in labels.items():
            yield from ((name, int(one)) for one in (value if isinstance(value, list) else [value]))
    elif any(str(name).lower() in NO_OBJECT for name in labels.values()):
        yield from ((str(name), int(value)) for value, name in labels.items())


def _supervisely(path: Path) -> Iterator[tuple[str, int | str]]:
    for name, color in _dictionary(path).items():
        yield name, _hex(color)


def _dictionary(path: Path, part: str = "") -> dict[str, Any]:
    content = read_json(path, ENCODINGS)
    found = content.get(part, {}) if part and isinstance(content, dict) else content
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _hex(color: Sequence[int]) -> str:
    if len(color) != 3:
        raise ValueError("a color has three numbers")
    return f"#{bytes(color).hex()}"


TABLES_OF_CLASSES: dict[str, Callable[[Path], Iterator[tuple[str, int | str]]]] = {
    "labelmap.txt": _cvat,
    "label_colors.txt": _camvid,
    "class_names.txt": _labelme,
    "label_names.txt": _labelme,
    "_classes.csv": _roboflow,
    _REGIONS: _nnunet,
    "obj_class_to_machine_color.json": _supervisely,
}
