"""The directory of an adaptation: which images and objects it is about; none are ever mixed.

Results are written aside and moved into place when all of them are complete, so a new model never
lies beside an old answer; what was changed by hand since is not replaced.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasunet.adapt.settings import AdaptSettings, suffice
from kerasunet.data.cases import DataSet
from kerasunet.data.identification import image_identities, known_images
from kerasunet.files import (
    read_json,
    require_replaceable,
    sha256,
    write_atomically,
    write_json,
    writing,
)
from kerasunet.models.model_card import read_card
from kerasunet.options import COUNT, NUMBER, TEXT, each, or_null, read_values

RECORD, ANSWER, MODEL = "adapt.json", "answer.json", "model.keras"
WORK = "work"
TOLD = ("answer.md", "report.html", "cases.csv", "failures.png", ANSWER)
"""What is told of a model, the answer last; nothing of it may stay beside another model."""
_CARD = ("model.json", "model.md")
_RESULTS = (MODEL, *_CARD, "check.html", "pairs.png", *TOLD)
_WRITTEN = "files"
_KNOWN = {
    "data": TEXT,
    "objects?": TEXT,
    "images?": [TEXT],
    f"{_WRITTEN}?": each("an object with digests of each file", [TEXT]),
}
_CHOSEN = {"start": TEXT, "image_size": COUNT, "strategy": TEXT}
_TOLD = {
    "images": COUNT,
    "chosen": or_null(_CHOSEN, "a start, an image size and a strategy, or null"),
    "estimate": or_null({"dice": NUMBER}, "an object with a dice, or null"),
}
_OTHER = "give another folder"


@dataclass(frozen=True)
class AdaptDirectory:
    """The files by which a directory tells what it is an adaptation to.

    Attributes:
        path: The directory, which exists.
    """

    path: Path

    def check(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse what must not be mixed; images may come and go, if some stay.

        Args:
            asked: What `record_of` returned.

        Returns:
            The earlier answer in the directory, empty if there is none.

        Raises:
            FileExistsError: It holds something else.
            ValueError: It is an adaptation to other data or objects, or holds a model that would
                stay beside the answer about too few images.
        """
        record = self.path / RECORD
        if record.is_file():
            known = read_values(record, _KNOWN, "the record of an adaptation", remedy=_OTHER)
            self._require_same(known, asked)
        elif others := sorted(path.name for path in self.path.iterdir()):
            raise FileExistsError(
                f"{self.path}: holds {others[0]} but no run of adapt; give a new folder"
            )
        self._require_unchanged(_RESULTS)
        earlier = next(filter(Path.is_file, (self.path / ANSWER, self._earlier)), None)
        if earlier is None:
            return {}
        return read_values(earlier, _TOLD, "the answer of an adaptation", remedy=_OTHER)

    def claim(self, asked: Mapping[str, Any]) -> None:
        """Write down what the directory is about, once nothing else can refuse the adaptation."""
        self._record(self._written(), asked)

    @contextmanager
    def publishing(self, withdrawn: Sequence[str] = ()) -> Iterator[Path]:
        """Yield a folder to write results in; then move them into place, the answer last.

        If it is interrupted, no earlier answer is left that a new model would contradict.

        Args:
            withdrawn: Names of earlier results, which go before the new ones come.

        Raises:
            FileExistsError: A result that would be replaced was changed since it was written.
            NotWritten: The system refused.
        """
        aside = self.path / WORK / "new"
        shutil.rmtree(aside, ignore_errors=True)
        with writing(aside):
            aside.mkdir(parents=True)
        yield aside
        self._publish(aside, withdrawn)
        shutil.rmtree(aside, ignore_errors=True)

    def _publish(self, aside: Path, withdrawn: Sequence[str]) -> None:
        names = sorted((path.name for path in aside.iterdir()), key=_RESULTS.index)
        self._require_unchanged({*names, *withdrawn})
        new = {name: [sha256(aside / name)] for name in names}
        old = self._written()
        # Whatever an interruption leaves is recognized: both the old and the new.
        self._record({name: [*old.get(name, ()), *new.get(name, ())] for name in {**old, **new}})
        self._withdraw(withdrawn)
        for name in names:
            _move(aside / name, self.path / name)
        self._record({name: known for name, known in old.items() if name not in withdrawn} | new)
        if ANSWER in names:
            self._earlier.unlink(missing_ok=True)

    @property
    def _earlier(self) -> Path:
        """A copy of the earlier answer while results are moved, to tell what has changed."""
        return self.path / WORK / "earlier.json"

    def _written(self) -> dict[str, list[str]]:
        """Return the digests of results by name; of an older version, of all that are there."""
        record = self.path / RECORD
        known = read_json(record) if record.is_file() else {_WRITTEN: {}}
        if _WRITTEN in known:
            return known[_WRITTEN]
        return {one.name: [sha256(one)] for one in self._results() if one.is_file()}

    def _results(self, names: Iterable[str] = _RESULTS) -> list[Path]:
        return [self.path / name for name in names]

    def _record(self, written: Mapping[str, Sequence[str]], asked: Mapping[str, Any] = {}) -> None:
        record = self.path / RECORD
        known = read_json(record) if record.is_file() else {}
        write_json(record, {**known, **asked, _WRITTEN: dict(sorted(written.items()))})

    def _require_unchanged(self, names: Iterable[str]) -> None:
        """Refuse to go on where something would be replaced that somebody has worked on."""
        written = self._written()
        for path in filter(Path.is_file, self._results(sorted(names))):
            require_replaceable(path)
            known = written.get(path.name, ())
            if sha256(path) not in known and not (known and _is_card(path)):
                raise FileExistsError(
                    f"{path}: was changed since adapt wrote it, and would be replaced; rename it, "
                    "then start again"
                )

    def _withdraw(self, names: Collection[str]) -> None:
        if ANSWER in names and (self.path / ANSWER).is_file():
            write_json(self._earlier, read_json(self.path / ANSWER))
        for path in filter(Path.is_file, self._results(names)):
            with writing(path):
                path.resolve().unlink()  # A link stays.

    def _require_same(self, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        """Refuse another data set, by its name or its images, and other objects.

        Older records tell the name alone.
        """
        for what in ("data", "objects"):
            if known.get(what, asked[what]) != asked[what]:
                raise ValueError(
                    f"{self.path}: is an adaptation to {known[what]}, not to {asked[what]}; "
                    f"{_OTHER}"
                )
        earlier = known.get("images")
        if earlier and not known_images(asked["images"], earlier).any():
            raise ValueError(
                f"{self.path}: is an adaptation to other images, of another folder that is called "
                f"{asked['data']}: none of them is among these; {_OTHER}"
            )

    def require_enough(self, data: DataSet) -> None:
        """Refuse images that are too few for a model where there is one of more images.

        Raises:
            ValueError: It would stay beside an answer that it has nothing to do with.
        """
        if (self.path / MODEL).is_file() and not suffice(data.cases):
            raise ValueError(
                f"{self.path}: holds a model of more images than the {len(data)} that {data.name} "
                f"has now, which are too few to make another; {_OTHER}"
            )


def _is_card(path: Path) -> bool:
    """Whether a file is the card of the model, to which `evaluate` adds, or follows from it."""
    if path.name not in _CARD:
        return False
    try:
        card = read_card(path.with_suffix(".json"))
    except (OSError, ValueError):
        return False
    return path.suffix == ".json" or path.read_text(encoding="utf-8") == card.to_markdown()


def _move(source: Path, target: Path) -> None:
    """Give a complete file its name; where that is a link, write what it leads to."""
    if target.is_symlink():
        write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))
        return
    with writing(target):
        os.replace(source, target)


def record_of(settings: AdaptSettings, data: DataSet) -> dict[str, Any]:
    """Return what the directory of an adaptation says of it: data set, objects and images.

    Args:
        settings: What counts as an object.
        data: The annotated cases.
    """
    return {
        "data": data.name,
        "objects": settings.chosen_objects or str(data.objects),
        "images": sorted(image_identities(data.cases).values()),
    }
