"""A run directory: its files by name, and which run it belongs to; runs are never mixed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasunet import data, files, models, schema
from kerasunet.metrics import SCORES, with_unknown_bounds
from kerasunet.processes import alone_in
from kerasunet.schema import COUNT, FLAG, MOVE, NUMBER, OBJECT, TEXT, declared, or_null, read_values
from kerasunet.strategies import parse
from kerasunet.training.settings import FinetuneSettings, Optimization, to_json

_RUN = {"data": {"name": TEXT, "digest": TEXT}, "digests?": OBJECT, "constant_prediction": FLAG}
_ASKED = {"layers": TEXT, "unfreeze?": [TEXT], "init": TEXT, "image_size": COUNT}
_SETTINGS = {**_ASKED, "optimization": {"steps": COUNT}}
_PRETRAINED = {**_RUN, "settings": OBJECT, "metrics": SCORES}
_FINETUNED: dict[str, Any] = {
    **_RUN, "settings": _SETTINGS, "split": {"digest": TEXT, "train": COUNT, "test": COUNT},
    "chosen": TEXT, "parameters": COUNT, "trained": COUNT, "seconds": NUMBER, "after": SCORES,
    "before?": or_null(SCORES, "the scores before training, or null"),
}  # fmt: skip
_PATHS = ("data", "manual_dir", "validation_data", "init", "groups")
_KEPT = ("layers.txt", "layers.json", "history.csv")  # A run that goes on keeps changes to these.
_NOTED = ("choice.json", "rates.csv", "cases.csv", "model.keras", "model.json", "model.md",
          "overlays/[0-9]*-dice-*.png")  # fmt: skip
_TENSORBOARD = "tensorboard/**/events.out.tfevents.*"  # Last of what a run writes in its directory.
_RESULTS = ("summary.json", "checkpoint.npz", *_KEPT, *_NOTED, _TENSORBOARD)
_BACKGROUND = ("asked.json", "status.json", "log.txt", "warnings.json", "pictures/*.png")
_ONLY_FOR = {"choice.json": ("auto",), "rates.csv": ("auto", "rgn")}  # Words of their strategies.
_FOLDERS = ("overlays", "tensorboard", "tensorboard/train", "tensorboard/validation", "pictures")
_ASIDE, _NOTES, _OTHER = ".earlier-run", ".config.json.written", "use another output folder"
RECORDS = {"config.json": "a run", "study.json": "a study", "adapt.json": "an adaptation",
           "predictions.json": "predictions"}  # fmt: skip
_OF_NAMES = " (of the names of the data set and of its cases, groups and labels)"
_MARK = b'{"settings":{'  # However indented. Other programs have a `config.json`, too.


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Lock a directory for this process; remove what killed processes left half-written in it.

    Args:
        directory: Created, with its parents, if it is new; removed again if they stay empty.

    Raises:
        ValueError: Another process works in it, or it is that of registered models.
        NotWritten: It cannot be made.
    """
    models.require_elsewhere(directory)
    with contextlib.ExitStack() as ends:
        with files.writing(directory):
            ends.enter_context(files.folder_for(directory))
        if ends.enter_context(alone_in(directory)):
            files.remove_unfinished(directory)
        run = RunDirectory(directory.absolute())
        run.settle()  # Before anything is written that it would replace.
        ends.callback(run.settle)
        yield


def require_not_of(directory: Path, *records: str) -> None:
    """Refuse a directory of another verb, finished or not, whose files may have the same names.

    Raises:
        ValueError: It has one of these records, by which directories of other verbs are known.
    """
    run = RunDirectory(directory)
    for name in records:
        if run.has_record if name == run.config.name else (directory / name).is_file():
            raise ValueError(f"{directory}: holds {name} of {RECORDS[name]}; {_OTHER}")


@dataclass(frozen=True)
class _File:
    """The path of a file or folder of a run that has this name."""

    name: str

    def __get__(self, run: RunDirectory, _: type) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run by name, and which run they belong to.

    Attributes:
        path: The directory; it need not exist.
    """

    path: Path
    config = _File("config.json")  # What distinguishes the run: settings, digests, versions.
    choice = _File("choice.json")  # With `auto`, what was chosen, and why.
    layers_table = _File("layers.txt")  # Which layers train, for people.
    layers = _File("layers.json")  # Which layers train, as JSON.
    checkpoint = _File("checkpoint.npz")  # The state of an unfinished training.
    history = _File("history.csv")  # A row for each validation.
    cases = _File("cases.csv")  # The metrics of each held-out case.
    model = _File("model.keras")  # The trained model; its card lies beside it as `.json` and `.md`.
    overlays = _File("overlays")  # Pictures of held-out cases, before and after.
    tensorboard = _File("tensorboard")  # Logs for TensorBoard.
    summary = _File("summary.json")  # The outcome of the run; a run without it is not finished.
    request = _File("asked.json")  # The settings of a run in the background.
    status = _File("status.json")  # Phase and step that it has reached.
    pictures = _File("pictures")  # What it finds on validation cases.
    log = _File("log.txt")  # What the process of a run printed.
    specification = _File("run.json")  # Settings and learning rates of a run of a study.
    result = _File("result.json")  # What a run of a study adds to its table.

    @property
    def recorded(self) -> Path:
        """The `config.json` that counts: after a kill in a restart, it may be set aside."""
        has_begun = self.checkpoint.is_file() or self.summary.is_file()
        aside = self.path / _ASIDE / self.config.name
        return aside if aside.is_file() and not has_begun else self.config

    def claim(self, settings: Any, digests: Mapping[str, str], *, restart: bool = False) -> None:
        """Claim the directory for this run, or refuse; call it last, when nothing else can refuse.

        The content of the data matters, its location does not: digests are compared, paths are not.

        Args:
            settings: Settings dataclass of the run.
            digests: Name to digest of everything that the settings only point to.
            restart: Set an earlier run aside first, for `settle`, which `exclusive` calls last.

        Raises:
            ValueError: The directory holds a run with other settings, data or major versions, each
                named; or what a run would overwrite, and no record; or see `require_removable`.
        """
        from keras.backend import backend

        versions = {"backend": backend(), **models.versions()}
        asked = {"settings": _named(settings), "digests": {**digests}, "versions": versions}
        self.settle()
        if restart or not self.summary.is_file():
            self._require_own_folders()
        if restart:
            self.require_removable(settings)
            self._set_aside()
        if self.config.is_file():
            refuse_differences(self.path, self._record(settings), asked, how=" (--restart does so)")
        else:
            self._refuse_remains(asked["settings"])
            with files.noting(self.config):
                files.write_json(self.config, asked)

    @contextlib.contextmanager
    def in_progress(self) -> Iterator[None]:
        """Note what a run writes that has claimed the directory; say what an interruption keeps."""
        try:
            with files.noting(self.config, besides=self.checkpoint.name):
                yield
        except KeyboardInterrupt:
            kept = f"the same command resumes from the last checkpoint in {self.path}"
            none = "no step is kept yet; the same command starts over"
            raise KeyboardInterrupt(kept if self.checkpoint.is_file() else none) from None

    def finished(self) -> dict[str, Any] | None:
        """Return the summary of a finished run, which no longer needs a checkpoint, else `None`.

        Raises:
            ValueError: `summary.json`, or a file that the run would replace, is something else.
            NotWritten: The run would go on, but a file cannot be replaced.
        """
        if not self.summary.is_file():
            for name in _RESULTS:
                files.require_replaceable(self.path / name)
            self._require_own()
            self.model.with_suffix(".md").unlink(missing_ok=True)  # A kill may have left it older.
            return None
        summary = self.read_summary()
        if (notes := files.notes_of(self.config)).is_file():  # Without, no checkpoint is its own.
            if self._owns_checkpoint:
                self.checkpoint.unlink(missing_ok=True)
            notes.unlink()
        return summary

    def read_summary(self, remedy: str = MOVE) -> dict[str, Any]:
        """Read `summary.json`, or refuse; what JSON calls null in its metrics is NaN."""
        summary = schema.read_record(self.summary, (), "the summary of a run", remedy=remedy)
        wanted = _PRETRAINED if "metrics" in summary else _FINETUNED
        read_values(self.summary, wanted, "the summary of a run", remedy=remedy)
        if self.has_record:
            known = files.read_json(self.recorded, remedy=remedy)
            own = {"data": summary["data"]["digest"], **summary.get("digests", {})}
            told = {"settings": summary["settings"], "digests": {**known.get("digests", {}), **own}}
            if _differences(known, {**known, **told}):
                raise ValueError(f"{self.summary}: is the summary of another run; {remedy}")
        found = (name for name in ("before", "after", "metrics") if summary.get(name))
        return {**summary, **{name: with_unknown_bounds(summary[name]) for name in found}}

    def finish(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Write the summary, the last step, which marks the run as finished; return it."""
        if not self.config.is_file():
            raise ValueError(f"{self.path}: was removed or renamed during the run; start it again")
        known = files.read_json(self.config, remedy=MOVE)
        files.write_json(self.summary, summary := {**summary, "digests": known["digests"]})
        self.finished()
        return summary

    def require_removable(self, settings: Any) -> None:
        """Refuse to restart with new settings where that would remove what is not an earlier run.

        Raises:
            NotWritten: A file of the earlier run is write-protected.
            ValueError: It holds something else, a run of a study, or a file that the run needs.
        """
        if not self.path.is_dir() or not any(self.path.iterdir()):
            return
        self._record(settings)
        for path in (self.specification, self.path.parent / self.specification.name):
            if path.is_file() and files.is_marked(path, _MARK):
                raise ValueError(f"{self.path}: is a run of a study; {_OTHER}")
        for path in self._files():
            files.require_replaceable(path)
        self._require_own(restart=True)
        own, path = [found.resolve() for found in self._files()], self.path.resolve()
        for name, given in ((name, getattr(settings, name, None)) for name in _PATHS):
            place = files.expanded(given).resolve() if given else path  # Perhaps a folder of it.
            if path in place.parents and any(one.is_relative_to(place) for one in own):
                told = f"belongs to the run in {self.path}, which --restart would remove, but"
                raise ValueError(f"{given}: {told} --{name.replace('_', '-')} needs it; {_OTHER}")

    @property
    def has_record(self) -> bool:
        """Whether it is a run, including one that a killed restart has set aside."""
        return self.recorded.is_file() and files.is_marked(self.recorded, _MARK)

    def writes(self, path: Path) -> bool:
        """Whether a run writes a file of this name here."""
        names, given = (self.config.name, *_RESULTS), path.resolve()
        alike = given.with_name(given.name.casefold())  # They are one file on many systems.
        return given.parent == self.path.resolve() and any(map(alike.match, names))

    def _patterns(self, settings: Mapping[str, Any] | None = None) -> Iterator[str]:
        """Yield patterns of what a run of such settings writes; other files are somebody's own."""
        if settings is None:
            is_run = self.config.is_file() and files.is_marked(self.config, _MARK)
            settings = files.read_json(self.config, remedy=MOVE)["settings"] if is_run else {}
        layers, is_aside = str(settings.get("layers")), self.path.name == _ASIDE
        for name in _RESULTS:
            if is_aside or any(word in layers for word in _ONLY_FOR.get(name, ("",))):
                yield name
        if is_aside or (self.request.is_file() and files.is_marked(self.request, b'{"layers":')):
            yield from _BACKGROUND
        yield _NOTES

    def _files(self, names: Iterable[str] = ()) -> list[Path]:
        """Return what a run wrote, not behind links: `summary.json` first, no `config.json`."""
        found = (path for name in names or self._patterns() for path in self.path.glob(name))
        found = (path for path in found if not {*self._links} & {*path.parents})
        return [path for path in found if path.is_symlink() or not path.is_dir()]

    @property
    def _links(self) -> list[Path]:
        """The folders of a run that are links."""
        return [path for name in _FOLDERS if (path := self.path / name).is_symlink()]

    def _require_own_folders(self) -> None:
        """Refuse links to where others' pictures may be; many runs may log into one folder."""
        for folder in self._links:
            if folder in (self.overlays, self.pictures):
                raise ValueError(f"{folder}: is a link, so its pictures may be others'; {MOVE}")
            data.require_outside(folder)

    def _require_own(self, *, restart: bool = False) -> None:
        """Refuse to replace or remove what the run did not write, as far as that is noted."""
        wanted, is_own = {*_NOTED, *(_KEPT if restart else ())}, files.noted(self.config)
        names = [name for name in self._patterns() if name in wanted]
        found = [] if self.summary.is_file() else [p for p in self._files(names) if not is_own(p)]
        foreign = [self.checkpoint] if restart and not self._owns_checkpoint else []
        for path in (*foreign, *found):
            raise ValueError(f"{path}: is not part of this run, or has been changed since; {MOVE}")

    @property
    def _owns_checkpoint(self) -> bool:
        """Whether a checkpoint is of this run, which keeps none once it is finished."""
        from numpy import load

        is_over = self.summary.is_file() and not files.notes_of(self.config).is_file()
        with contextlib.suppress(Exception):  # Whatever NumPy says of what is no checkpoint.
            with load(self.checkpoint, allow_pickle=False) as file:
                told = json.loads(file["meta"].tobytes()).get("run") or {}
            return not is_over and told.items() <= files.read_json(self.recorded).items()
        return not os.path.lexists(self.checkpoint)

    def _record(self, settings: Any) -> dict[str, Any]:
        """Return what `config.json` holds; refuse one that is not of a run with such settings."""
        if not self.recorded.is_file():
            told = f"has no {self.config.name}, so it is not a run; it was left untouched"
            raise ValueError(f"{self.path}: {told}")
        wanted, what = {"settings": OBJECT, "digests": OBJECT}, "the record of a run"
        known = read_values(self.recorded, wanted, what, remedy=MOVE)
        if ("layers" in known["settings"]) != hasattr(settings, "layers"):
            raise ValueError(f"{self.path}: is a run of another verb; {_OTHER}")
        return known

    def settle(self) -> None:
        """Remove the run that a restart has set aside, or bring it back if nothing replaces it."""
        aside = RunDirectory(self.path / _ASIDE)
        if aside.path.is_symlink():
            raise ValueError(f"{aside.path}: is a link, so its files may be others'; {MOVE}")
        if self.recorded != self.config:
            self._remove()
            _move(aside.config, self.config)
        elif aside.config.is_file():
            aside._remove()
        for path in reversed(aside._files()):
            _move(path, self.path / path.relative_to(aside.path))
        for folder, _, _ in os.walk(aside.path, topdown=False):
            with contextlib.suppress(OSError):  # Something else is in it.
                os.rmdir(folder)

    def _set_aside(self) -> None:
        """Move the files of the run into a hidden folder, the record of which run it is last."""
        for path in [*self._files(), self.config]:
            _move(path, self.path / _ASIDE / path.relative_to(self.path))

    def _remove(self) -> None:
        """Remove the files of the run, the record of which run it is last, and no others."""
        for path in [*self._files(), self.config]:
            path.unlink(missing_ok=True)

    def _refuse_remains(self, settings: Mapping[str, Any]) -> None:
        require_not_of(self.path, "study.json", "adapt.json", "predictions.json")
        if found := sorted(self._files({*_RESULTS} & {*self._patterns(settings)})):
            told = f"holds {found[0].name} but no {self.config.name}, so its settings are unknown"
            raise ValueError(f"{self.path}: {told}, and a run would replace it; {_OTHER}")


def _move(path: Path, target: Path) -> None:
    """Rename a file, which needs no room for its contents."""
    if os.path.lexists(path):
        with files.writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


def _named(settings: Any) -> dict[str, Any]:
    """Return the settings, of files and folders only the name: runs are handed on."""
    values = to_json(settings)
    return {**values, **{name: Path(values[name]).name for name in _PATHS if values.get(name)}}


_IMPLIED = {
    name: option.implied
    for settings in (Optimization, FinetuneSettings, FinetuneSettings.augmentation)
    for name, option in declared(settings).items()
}


def refuse_differences(directory: Path, known: dict, asked: dict, *, how: str = "") -> None:
    """Compare what a directory holds with what is requested, but no locations of files.

    Raises:
        ValueError: They differ; the message names both sides of each difference.
    """
    if differences := _differences(known, asked):
        told = f"holds results of other settings, data or versions: {'; '.join(differences)}"
        raise ValueError(f"{directory}: {told}. Continue with these, {_OTHER}, or remove it{how}.")


def _differences(known: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    old, new = schema.flat(known), schema.flat(asked)
    return [  # Digests and versions that an older record lacks are not compared.
        f"{name.removeprefix('settings.')} was {_readable(name, was)}, now {_readable(name, now)}"
        f"{_OF_NAMES if name == 'digests.data' else ''}"
        for name, was, now in ((n, old.get(n), new.get(n)) for n in sorted(old.keys() | new.keys()))
        if not _agree(name, was, now)
        and (name in old or not name.startswith(("digests.", "versions.")))
    ]


def _agree(name: str, old: Any, new: Any) -> bool:
    """Whether a value is as it was; a strategy may be spelled differently, an option be newer."""
    section, _, last = name.rpartition(".")
    if section.endswith(("settings", "run")) and last in _PATHS:
        return True
    old = _IMPLIED.get(last) if old is None else old
    if name == "settings.layers" and old != new and isinstance(old, str):
        return str(parse(old)) == new
    return _compared(name, old) == _compared(name, new)


def _compared(name: str, value: Any) -> Any:
    """Of a version, only the first number counts; before 1.0, the second one too."""
    is_version = name.startswith("versions.") and isinstance(value, str)
    return value.split(".")[: 2 if value.startswith("0.") else 1] if is_version else value


def _readable(name: str, value: Any) -> str:
    return repr(value[:12] if name.startswith("digests.") and isinstance(value, str) else value)
