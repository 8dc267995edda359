"""Options, made from the fields of settings; checks of what is given, without TensorFlow."""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasunet import models
from kerasunet.data.augmentation_settings import PRESETS
from kerasunet.files import NotWritten, before_naming, is_plain, kinds_in_words, sha256, write_text
from kerasunet.metrics import bounds_in_words
from kerasunet.schema import Option, declared
from kerasunet.training.settings import Architecture, FinetuneSettings, Optimization

if TYPE_CHECKING:
    from kerasunet.data.cases import DataSet

_MOST_BOTTLENECK_FILTERS, _MOST_REMARKS = 2048, 10
_MOST_ALIKE, _SHOWN_ALIKE, _NAMED = 5, 3, 20
_OBJECT_CHOICE = ("objects", "overlapping", "mask_threshold")


def add_settings(
    parser: argparse._ActionsContainer, settings: Any, without: Collection[str] = ()
) -> None:
    """Add an option for each field that declares one.

    Args:
        parser: A parser, or a group of one; receives the options, under the headings that they
            declare.
        settings: A settings dataclass, or an instance whose values are the defaults.
        without: Names of fields that get no option.
    """
    groups: dict[str, Any] = {"": parser}
    for name, option in declared(settings).items():
        if name not in without:
            if option.group not in groups:
                groups[option.group] = parser.add_argument_group(option.group)
            add_option(groups[option.group], name, option, default=getattr(settings, name))


def add_shared(
    parser: argparse.ArgumentParser, *names: str, required: bool = False, **defaults: Any
) -> None:
    """Add options with the meaning that they have in a fine-tuning, but other defaults.

    Args:
        parser: Receives the options.
        names: Names of fields of `FinetuneSettings`.
        required: Whether they must be given.
        defaults: Their defaults by name; `None` unless given.
    """
    for name in names:
        option = declared(FinetuneSettings)[name]
        add_option(parser, name, option, default=defaults.get(name), required=required)


def add_object_choice(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what counts as an object."""
    add_shared(parser, *_OBJECT_CHOICE, objects=())


def object_choice(
    options: argparse.Namespace, card: models.ModelCard | None = None
) -> dict[str, Any]:
    """Return what was given of the objects, as arguments of `kerasunet.data.load`.

    Args:
        options: The options.
        card: Of a model; where it finds several objects and none is given, they are those that it
            was trained on.
    """
    given = {name: getattr(options, name) for name in _OBJECT_CHOICE}
    if card is not None and card.marked.several and not options.objects:
        trained = tuple(card.settings.get("objects") or ()) or card.marked.names
        if _may_have(options.data, trained):
            given |= {"objects": trained, "overlapping": card.marked.overlapping}
    return given


def _may_have(data: str, objects: Sequence[str]) -> bool:
    """Return whether these objects may be chosen in a data set; false where it is known not to."""
    from kerasunet.data.loading import SIMULATED
    from kerasunet.data.simulation import PARTS

    simulator = SIMULATED.get(data.partition(":")[0])
    return simulator is None or {*objects} <= {*PARTS.get(simulator, ())}


def require_same_objects(card: models.ModelCard, data: DataSet) -> None:
    """Refuse data whose several objects are not those of a model.

    Raises:
        ValueError: They are not; the message names both.
    """
    if data.objects == card.marked or not (data.objects.several or card.marked.several):
        return
    raise ValueError(
        f"{card.name} finds {card.marked}, but {data.name} marks {data.objects}: name the same "
        f"objects in the same order, --objects {' '.join(card.marked.names)}"
        + " --overlapping"
        * card.marked.overlapping
    )


def add_option(
    container: Any, name: str, option: Option, *, default: Any = None, **more: Any
) -> None:
    """Add one option to a parser or to a group of it.

    Args:
        container: The parser or the group.
        name: Name in Python; the flag is derived from it.
        option: Type, range and help.
        default: The default; the help states it.
        more: For `add_argument`, such as `nargs`.
    """
    flag = "--" + name.replace("_", "-")
    if option.type is bool:
        container.add_argument(flag, action="store_true", help=option.help)
        return
    if isinstance(default, tuple):
        more = {"nargs": "+", **more}
    if option.choices:
        words = [*map(str, option.choices), *([str(option.none)] if option.none else [])]
        more["metavar"] = "{" + ",".join(words) + "}"
    elif option.metavar:
        more["metavar"] = option.metavar
    has_word = isinstance(option.none, str)
    container.add_argument(
        flag,
        action=_Checked,
        option=option,
        type=str if has_word else option.type,
        default=default,
        help=option.help + _shown_default(default),
        **more,
    )


def _shown_default(default: Any) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return f" ({' '.join(map(str, default))})"
    return f" ({default:g})" if isinstance(default, float) else f" ({default})"


class _Checked(argparse.Action):
    """Keeps a value, or several, that are within the range of their option."""

    def __init__(self, *words: Any, option: Option, **more: Any):
        super().__init__(*words, **more)
        self._option = option

    def __call__(self, parser, namespace, values, *_):
        flag = self.option_strings[0]
        if isinstance(values, list):
            values = tuple(self._value(flag, value) for value in values)
        else:
            values = self._value(flag, values)
        setattr(namespace, self.dest, values)

    def _value(self, flag: str, value: Any) -> Any:
        option = self._option
        if option.none is not None and value == option.none:
            return None
        if option.type is int:
            return _whole_number(flag, value, option)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{flag} {value}: give a finite number")
        option.check(flag, value)
        return value


def _whole_number(flag: str, value: int | str, option: Option) -> int:
    """Return the number, in range; with a word for `None`, values are text still."""
    number = int(value) if str(value).removeprefix("-").isdecimal() else None
    known = not option.choices or number in option.choices
    low = -math.inf if option.minimum is None else option.minimum
    high = math.inf if option.maximum is None else option.maximum
    if number is None or not known or not low <= number <= high:
        raise ValueError(f"{flag} {value}: give {_wanted(option)}")
    return number


def _wanted(option: Option) -> str:
    words = "a whole number"
    if option.choices:
        words = "one of " + ", ".join(map(str, option.choices))
    elif option.maximum is not None:
        words += f" of {option.minimum:,} to {option.maximum:,}"
    elif option.minimum is not None:
        words += f" of at least {option.minimum:,}"
    return f"{words}, or {option.none}" if option.none is not None else words


def values_of(options: argparse.Namespace, settings: type) -> dict[str, Any]:
    """Return what was given of the fields of a settings dataclass, by name."""
    return {n: getattr(options, n) for n in declared(settings) if hasattr(options, n)}


def add_optimization(parser: argparse.ArgumentParser, default: Optimization) -> None:
    group = parser.add_argument_group("optimization")
    add_settings(group, default)
    group.add_argument(
        "--augmentation",
        default="full",
        choices=list(PRESETS),
        help="how far training views differ from the images (full)",
    )


def optimization(options: argparse.Namespace) -> Optimization:
    return Optimization(**values_of(options, Optimization))


def add_architecture(parser: argparse.ArgumentParser, when: str) -> None:
    add_settings(parser.add_argument_group(f"architecture ({when})"), Architecture)


def architecture(options: argparse.Namespace) -> Architecture:
    """Return the requested architecture.

    Raises:
        ValueError: It is too large for any memory.
    """
    shape = Architecture(**values_of(options, Architecture))
    if shape.base_filters * 2**shape.depth > _MOST_BOTTLENECK_FILTERS:
        raise ValueError(
            f"--base-filters {shape.base_filters} --depth {shape.depth}: more than "
            f"{_MOST_BOTTLENECK_FILTERS:,} filters in the bottleneck, too many for any memory; "
            "reduce one of them"
        )
    return shape


def printable(text: str) -> str:
    """Return text without control sequences, which file names and contents may hold."""
    return "".join(c if is_plain(c, "\n") else repr(c)[1:-1] for c in text)


def condensed(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines such as `FILE: fault`; of many that say the same, the first and other names."""
    alike: dict[Any, list[str]] = {}
    for line in lines:
        path, _, what = line.partition(": ")
        key = re.sub(r"[\d.,]+", "", what.replace(Path(path).stem, "")) if what else object()
        alike.setdefault(key, []).append(line)
    for found in alike.values():
        shown = len(found) if len(found) <= _MOST_ALIKE else _SHOWN_ALIKE
        yield from found[:shown]
        if hidden := [line.partition(": ")[0] for line in found[shown:]]:
            folder = os.path.commonprefix(hidden).rpartition("/")[0]
            names = [path.removeprefix(f"{folder}/").strip() for path in hidden[:_NAMED]]
            start = f"{re.sub(r'[^ ].*', '', found[0])}… and {len(hidden):,} more like these: "
            yield start + ", ".join(names) + (", …" if len(hidden) > _NAMED else "")


def tell_subfolders(folder: Path) -> None:
    """Print what files of a folder of images are not read because they are in subfolders."""
    from kerasunet.data.layouts.contents import files_below

    if below := [path for path in files_below(folder) if path.parent != folder]:
        kinds = kinds_in_words(below)
        print(printable(f"{folder}: not read, in its subfolders: {kinds}; give each by itself"))


def describe_data(data: DataSet) -> str:
    """Describe a data set in a line, and what is left out of it in one line each.

    Name, the recognized layout, cases, groups if there are any; images without a mask; files that
    are not read; shapes that cannot be drawn; patients that nobody has named.
    """
    groups = len({case.group for case in data.cases})
    kept = f" in {groups:,} groups" if groups < len(data) else ""
    lines = [f"data        {data.name} ({data.layout}): {len(data):,} cases{kept}"]
    if data.objects.several:
        lines.append(f"objects     {data.objects}")
    if data.unannotated:
        from kerasunet.data.checking.report import first_names

        names = first_names([case.key for case in data.unannotated])
        lines.append(f"no mask     {len(data.unannotated):,} images, left out: {names}")
    if data.unread:
        lines.append(f"not read    {kinds_in_words(data.unread)}; kerasunet check lists them")
    lines += [f"left out    {remark}" for remark in data.remarks[:_MOST_REMARKS]]
    if (more := len(data.remarks) - _MOST_REMARKS) > 0:
        lines.append(f"left out    {more:,} more, which kerasunet check lists")
    if hasattr(data.cases[0], "image"):
        lines += _patients_in_names(data)
    return printable("\n".join(lines))


def _patients_in_names(data: DataSet) -> list[str]:
    from kerasunet.data.checking.data_set import proposal_for
    from kerasunet.data.splits import divided_patients

    if alike := divided_patients(data.cases):
        return [
            f"patients    {' and '.join(alike[0])} may be one; kerasunet check lists such names"
        ]
    proposal = proposal_for(data)
    if proposal is None:
        return []
    return [
        f"patients    not named, but file names suggest {len(proposal.groups):,}; "
        f"--group-pattern '{proposal.pattern}' keeps each in one part of the split"
    ]


@contextmanager
def unless_changed(paths: Iterable[Any]) -> Iterator[None]:
    """Refuse to replace files that others write meanwhile, as the same command at the same time.

    Args:
        paths: Of files, and of what else was given, which is passed over.
    """
    given = [path for path in paths if isinstance(path, Path)]
    given += [Path(f"{os.path.splitext(path)[0]}.svg") for path in given]  # Of a panel.
    found = {path: _state(path) for path in given}

    def check(content: Path, path: Path) -> None:
        if path not in found:
            return
        if found[path] != _state(path):
            told = "was written by another process since this command began, and is left as it is"
            raise NotWritten(f"{path}: {told}; give another name")
        found[path] = _state(content)
        with suppress(OSError):  # Without a cache, files are known by their marks alone.
            _note(path, sha256(content))

    with before_naming(check):
        yield


def require_as_written(path: Path) -> None:
    """Refuse to replace a file that was changed since a command wrote it here.

    Raises:
        FileExistsError: It was.
    """
    known: list[str] = []
    with suppress(OSError):
        known = _noted(path).read_text().split()
    if known and path.is_file() and path.stat().st_size and sha256(path) not in known:
        told = "was changed since it was written; give another file, or move it away"
        raise FileExistsError(f"{path}: {told}")


def _note(path: Path, digest: str) -> None:
    """Note what a file holds that is about to get its name; until then, what it held counts."""
    note, known = _noted(path), [sha256(path)] if path.is_file() else []
    write_text(note, "\n".join([*known, digest]))


def _noted(path: Path) -> Path:
    """Return where the digests of a file are noted; no name of a file is."""
    from kerasunet.data.cache import cache_folder

    if (folder := cache_folder()) is None:
        raise FileNotFoundError(path)
    name = hashlib.sha256(os.path.realpath(path).encode()).hexdigest()
    return folder / "written" / name[:32]


def _state(path: Path) -> tuple[int, ...] | None:
    """Return what changes with the content of a file; `None` without a file."""
    with suppress(OSError):
        known = path.stat()
        return known.st_ino, known.st_size, known.st_mtime_ns
    return None


def estimate(mean: float, low: float, high: float, *, form: str) -> str:
    """Return a mean with the ends of its interval in brackets."""
    return f"{mean:{form}} ({bounds_in_words(low, high, form)})"


def add_save_as(parser: argparse.ArgumentParser) -> None:
    """Add the option that registers a model."""
    parser.add_argument(
        "--save-as", metavar="NAME", help="also register the model as saved_models/NAME.keras"
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run that has a directory."""
    add_save_as(parser)
    add = parser.add_argument
    add("--half-precision", action="store_true", help="with --save-as: a file of half the size")
    restart = "start over, and remove an earlier run in the output folder once this one is kept"
    add("--restart", action="store_true", help=restart)
