"""What a data set shows: the objects that its masks mark, which to take, the kind of image.

One object has a bool mask. Several that exclude each other have labels: 0 is background, n the
n-th object. Several that overlap have a bit each, the lowest for the first. Labels and bits are
uint8, so that a mask takes one byte per pixel whatever it marks, in files, cache and batches.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kerasunet.files import raise_all

if TYPE_CHECKING:
    import numpy as np

_COLOR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
_UNNAMED = re.compile(r"((segment|label|region|roi|object|mask)[ _-]*)?\d*", re.IGNORECASE)
_NO_TYPES = ("", "tissue", "anatomical structure", "morphologically altered structure")
MOST_EXCLUSIVE, MOST_OVERLAPPING = 254, 8
"""How many objects one byte per pixel can distinguish; 255 often means "unknown" in files."""
OF_OBJECT = ": "
"""What stands between the name of an object and what codes it."""


@dataclass(frozen=True)
class Objects:
    """What the masks of a data set mark.

    Attributes:
        names: The name of each object, in the order of labels and outputs; one may be text.
        overlapping: Whether a pixel may belong to several objects; meaningless for one object.

    Raises:
        ValueError: There is no object, a name repeats or is empty, or there are too many.
    """

    names: tuple[str, ...] = ("object",)
    overlapping: bool = False

    def __post_init__(self):
        if isinstance(self.names, str | list):
            names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
            object.__setattr__(self, "names", names)
        given = self.names if isinstance(self.names, tuple) else ("", "")
        if not 0 < len({n for n in given if isinstance(n, str) and n}) == len(given):
            raise ValueError(f"objects {self.names or 'none'}: list them, each with its own name")
        most = MOST_OVERLAPPING if self.overlapping else MOST_EXCLUSIVE
        if len(self.names) > most:
            kind = "overlapping " * self.overlapping + "objects"
            raise ValueError(f"{len(self.names)} {kind}: there can be at most {most}")
        object.__setattr__(self, "overlapping", self.overlapping and self.several)

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.names)

    def __str__(self) -> str:
        """Return the names, and whether they overlap."""
        return ", ".join(self.names) + " (overlapping)" * self.overlapping

    @property
    def several(self) -> bool:
        """Whether there is more than one object."""
        return len(self.names) > 1

    @property
    def exclusive(self) -> bool:
        """Whether there are several, and a pixel belongs to at most one."""
        return self.several and not self.overlapping

    @property
    def channels(self) -> int:
        """Channels of a network's output: one per object, after the background if exclusive."""
        return len(self.names) + self.exclusive

    def encode(self, planes: Sequence[np.ndarray]) -> np.ndarray:
        """Join the masks of all objects, bool and of one shape, into one array of that shape.

        Where exclusive objects overlap, the one that is named last lies on top.
        """
        if not self.several:
            return planes[0].astype(bool, copy=False)
        joined = (planes[0] & False).astype("uint8")
        for number, plane in enumerate(planes):
            if self.overlapping:
                joined |= plane.astype("uint8") << number
            else:
                joined[plane] = number + 1
        return joined

    def planes(self, masks: np.ndarray) -> np.ndarray:
        """Return the mask of each object, bool, `(objects, …)`, of masks of any shape."""
        import numpy as np  # Cards and options need these names, and no arrays.

        if not self.several:
            return masks[None].astype(bool, copy=False)
        if self.overlapping:
            bits = np.arange(len(self), dtype=np.uint8)
            return (masks[None] >> bits.reshape(-1, *[1] * masks.ndim)) & 1 > 0
        labels = np.arange(1, len(self) + 1, dtype=np.uint8)
        return masks[None] == labels.reshape(-1, *[1] * masks.ndim)

    def squeezed(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs, `(…, channels)`; for one object `(…)`, because it has one channel."""
        return outputs if self.several else outputs[..., 0]

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each object, `(objects, …)`, of squeezed outputs."""
        if not self.several:
            return outputs[None]
        import numpy as np

        return np.moveaxis(outputs[..., int(self.exclusive) :], -1, 0)

    def decide(self, outputs: np.ndarray, threshold: float = 0.5) -> np.ndarray:
        """Turn a network's squeezed outputs into masks.

        Args:
            outputs: Probabilities, float, `(…, channels)`; for one object `(…)`.
            threshold: Probability from which a pixel belongs to an object. If several exclude each
                other, the most probable one, or the background, wins regardless.

        Returns:
            Masks as `encode` gives them, `(…)`.
        """
        if self.exclusive:
            return outputs.argmax(axis=-1).astype("uint8")
        return self.encode(list(self.probabilities(outputs) >= threshold))

    def check(self, masks: np.ndarray) -> None:
        """Refuse masks that are not those of these objects.

        Raises:
            ValueError: They are not uint8, or have labels or bits of no object; the message
                names them.
        """
        most = 2 ** len(self) - 1 if self.overlapping else len(self)
        if masks.dtype != "uint8" or (masks.size and int(masks.max()) > most):
            found = masks.dtype if masks.dtype != "uint8" else f"values up to {masks.max()}"
            raise ValueError(
                f"masks of {len(self)} objects ({self}) must be uint8 of 0 to {most}, not {found}"
            )


ONE_OBJECT = Objects()
"""What the masks of a data set mark that says nothing of objects."""


def objects_of(cases: Iterable[Any]) -> Objects:
    """Return what the masks of cases mark; all cases of a data set agree.

    Raises:
        ValueError: They do not.
    """
    found = dict.fromkeys(getattr(case, "objects", ONE_OBJECT) for case in cases)
    if len(found) > 1:
        listing = "; ".join(map(str, found))
        raise ValueError(f"cases of different objects cannot be used together: {listing}")
    return next(iter(found), ONE_OBJECT)


@dataclass(frozen=True)
class ObjectChoice:
    """What counts as the object, as `--objects` says it.

    Attributes:
        sources: Labels, categories, values (`"150"`) and colors (`"#ff0000"`), which are united.
        name: What the object is called.
    """

    sources: tuple[str, ...]
    name: str = ""

    @classmethod
    def parse_all(cls, texts: Sequence[str]) -> tuple[ObjectChoice, ...]:
        """Read the text of each object; there are none for what the data say by themselves.

        Raises:
            ValueError: A text lacks a name or a value, or a name or value is there twice.
        """
        choices = tuple(map(cls.parse, texts))
        for words in ([one.name for one in choices], [s for one in choices for s in one.sources]):
            if twice := sorted({word for word in words if words.count(word) > 1}):
                raise ValueError(
                    f"--objects {' '.join(texts)}: {', '.join(twice)} is named twice; each object "
                    "has its own name and values, and quotes keep a name with spaces together"
                )
        return choices

    @classmethod
    def parse(cls, text: str) -> ObjectChoice:
        """Read `NAME`, or `NAME=V,V`; without `=`, the parts of the name are what counts.

        Raises:
            ValueError: The text lacks a name or a value, or repeats one.
        """
        name, equals, listed = text.partition("=")
        sources = tuple(part.strip() for part in (listed if equals else name).split(","))
        if not name.strip() or not all(sources):
            raise ValueError(
                f"--objects {text!r}: give a name, or NAME=V,V with values, colors or labels, "
                "such as nodule, cyst,mass, lungs=150,200 or tumor=#ff0000"
            )
        if len(set(sources)) < len(sources):
            told = "names a value twice; a color is written as one, #ff0000"
            raise ValueError(f"--objects {text!r}: {told}")
        return cls(sources, name.strip())


def is_code(source: str) -> bool:
    """Return whether a source of an object is a value or a color, such as 150 or #ff0000."""
    return source.isdecimal() or _COLOR.fullmatch(source) is not None


Modality = Literal["ultrasound", "xray", "photograph"]
MODALITY_LABELS: dict[Modality, str] = {
    "ultrasound": "Ultrasound",
    "xray": "X-ray",
    "photograph": "Photograph",
}
PUBLIC_SETS: dict[Modality, tuple[str, ...]] = {
    "ultrasound": ("bus_bra", "bus_uclm", "busi", "oasbud", "udiat"),
    "xray": ("jsrt", "montgomery", "shenzhen"),
    "photograph": ("duts", "ecssd", "msra10k", "oxford_iiit_pet", "xpie"),
}
"""The public data sets that have a builder, by the kind of their images."""
_SIMULATED: dict[Modality, tuple[str, ...]] = {
    "ultrasound": ("simulated-ultrasound",),
    "xray": ("simulated-xray",),
    "photograph": ("simulated-natural",),
}
_ARCHIVES: dict[Modality, tuple[str, ...]] = {
    "ultrasound": ("Dataset_BUSI_with_GT", "BUS-UCLM", "DatasetB"),
    "xray": ("ChinaSet_AllFiles", "MontgomerySet", "JSRT_SCR"),
    "photograph": ("DUTS-TR", "DUTS-TE"),
}


def modality_of(data_name: str) -> Modality | None:
    """Return what kind of image a data set holds.

    Args:
        data_name: Name of a data set, as `DataSet.name` or its archive spells it (`bus_bra`,
            `BUSBRA`, `simulated-xray:60`); case, `-`, `_` and spaces do not matter.

    Returns:
        `"ultrasound"`, `"xray"`, `"photograph"`, or `None` where the name does not say.
    """
    return _BY_SPELLING.get(_plain(data_name.partition(":")[0]))


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()


_BY_SPELLING: dict[str, Modality] = {
    _plain(name): modality
    for table in (PUBLIC_SETS, _SIMULATED, _ARCHIVES)
    for modality, names in table.items()
    for name in names
}


def require_known(choice: ObjectChoice, data: str, names: Set[str], *, by_value: bool) -> None:
    """Require that what was chosen occurs.

    Args:
        choice: The object.
        data: The data set.
        names: The labels and classes that it has.
        by_value: Whether values and colors of its masks can be chosen, too.

    Raises:
        ValueError: It does not; the message names what does.
    """
    unknown = [s for s in choice.sources if s not in names and not (by_value and is_code(s))]
    if not unknown:
        return
    listed = f"--objects {', '.join(unknown)}"
    if names:
        raise ValueError(f"{listed}: {data} has no such label; it has {', '.join(sorted(names))}")
    if by_value:
        raise ValueError(
            f"{listed}: the masks of {data} come without a table of names; give values or colors, "
            f"such as --objects {choice.name}=1 or {choice.name}=#ff0000"
        )
    raise ValueError(f"{listed}: {data} has no shape with a label")


def require_one_meaning(
    chosen: Iterable[str], tables: Iterable[Sequence[tuple[str, int | str]]]
) -> None:
    """Refuse values and colors that mean different classes in the tables of different parts.

    Args:
        chosen: What was chosen, such as `"150"` or `"#ff0000"`; names of classes are passed over.
        tables: The name and the value or color of each class, for each table.

    Raises:
        ValueError: A value or color is one class in one table and another in another.
    """
    known = dict.fromkeys(map(tuple, tables))
    for code in chosen:
        named = ({name for name, of in table if str(of) == code.lower()} for table in known)
        called = sorted({" or ".join(sorted(names)) for names in named if names})
        if len(called) > 1:
            raise ValueError(
                f"--objects {code}: is {called[0]} in one table of classes and {called[1]} in "
                "another; choose by name"
            )


def require_one_type(
    chosen: Collection[str], segments: Mapping[Path, Sequence[tuple[str, str]]]
) -> None:
    """Refuse segments of one label in one file, or called like `Segment_1`, of different types.

    Args:
        chosen: What was chosen; empty for all.
        segments: Label and type, in words, of the segments of each file.

    Raises:
        ValueError: There are such; the message names the files and the types.
    """
    by_number, first = any(map(str.isdecimal, chosen)), dict[Any, tuple[Path, str]]()
    for path, label, kind in ((path, *one) for path, found in segments.items() for one in found):
        if kind.casefold() in _NO_TYPES or (chosen and label not in chosen and not by_number):
            continue
        place = label, None if _UNNAMED.fullmatch(label) else path
        other, known = first.setdefault(place, (path, kind))
        if known.casefold() != kind.casefold():
            of = f"its segment {label or '1'} is {kind}, that of {other} is {known}"
            raise ValueError(f"{path}: {of}; give segments names of their own, and save them again")


def require_labels(
    choice: ObjectChoice, data: str, labels: Set[str], *, chosen: Collection[str]
) -> None:
    """Refuse to choose by values alone beside outlines with labels, which would be left out.

    Args:
        choice: The object.
        data: The data set.
        labels: Those of its outlines.
        chosen: What makes this object and all others.

    Raises:
        ValueError: Values alone are chosen.
    """
    forgotten = labels.isdisjoint(chosen) or choice.name in labels - {*chosen}
    if labels and forgotten and all(map(is_code, choice.sources)):
        raise ValueError(
            f"{data}: has outlines of {', '.join(sorted(labels))}, which values do not choose; "
            f"give a label, too, such as --objects {choice.name}={min(labels)},{choice.sources[0]}"
        )


def require_names(choice: ObjectChoice, bare: Sequence[Path]) -> None:
    """Refuse to choose by names alone beside mask files without, which would be read as empty.

    Raises:
        ValueError: There are such files; the message lists every one.
    """
    example = f"--objects {choice.name}={choice.sources[0]},255"
    why = f"comes without names, so it may show {choice.name} or not; give its value or color, too"
    raise_all([f"{path}: {why}, such as {example}" for path in bare])


def nothing_drawn(name: str, count: int) -> str:
    """Say that no image of a COCO file has an annotation, and why that may be."""
    why = "some programs write polygons to COCO, but brushes only to PNG masks: export these"
    return f"{name}: none of its {count:,} images has an annotation; {why}"


def several_in_words(name: str, counts: Mapping[str, int], classes: Iterable[str]) -> str:
    """Say that data have several objects, and how to choose.

    Args:
        name: The data set.
        counts: How often each label is drawn.
        classes: The names of classes of mask files.
    """
    drawn = sorted(counts.items(), key=lambda found: -found[1])
    names = list(dict.fromkeys([*counts, *classes]))
    listing = [f"{label or 'no label'} ({count})" for label, count in drawn]
    listing += [name for name in names if name not in counts]
    one, all_, each = _quoted(names[0]), _quoted(",".join(names)), " ".join(map(_quoted, names))
    return (
        f"{name}: has several objects, {', '.join(listing)}; say which is meant: --objects {one} "
        f"takes one, --objects {all_} unites them, --objects {each} keeps them apart"
    )


def _quoted(text: str) -> str:
    return f'"{text}"' if re.search(r"[\s&;|<>()$]", text) else text
