"""Fine-tuning jobs of sessions: settings from the form, a workspace each, a background run."""

from __future__ import annotations

import shlex
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from kerasunet import models
from kerasunet.adapt.background import BackgroundAdaptation
from kerasunet.adapt.directory import ANSWER, TOLD
from kerasunet.adapt.settings import AdaptSettings
from kerasunet.comparison_report import without_formulas
from kerasunet.data.archives import unpack
from kerasunet.data.cases import AnnotatedCase, Case, FileCase
from kerasunet.data.checking import Report, check
from kerasunet.data.layouts.objects import CaseOfObjects
from kerasunet.data.loading import load
from kerasunet.demo.visitors import new_folder, whole_number
from kerasunet.files import collect_problems
from kerasunet.objects import Objects
from kerasunet.runs.background import BackgroundRun
from kerasunet.runs.preparation import require_trained_head
from kerasunet.schema import declared
from kerasunet.strategies import parse
from kerasunet.training.settings import FinetuneSettings, Optimization

STRATEGIES = (
    "shallow:3",
    "contracting",
    "contracting+0.1*expanding",
    "expanding",
    "all",
    "deep:3",
    "auto",
    "auto:search",
)
IMAGE_SIZES = (32, 64, 128, 192, 256)
OPTIMIZATION = declared(Optimization)
"""Range and help of each option, by name."""
_VALIDATIONS = 20
_MODEL = ("model.keras", "model.md", "model.json")


class MaskChoice(NamedTuple):
    """What counts as the object or the objects, as `kerasunet.data.load` takes it."""

    objects: tuple[str, ...] = ()
    mask_threshold: int | None = None

    @classmethod
    def of(cls, objects: str | None, threshold: str | float | None) -> MaskChoice:
        """Read the fields of the form; empty ones choose nothing.

        Raises:
            ValueError: A quote is not closed, or the threshold is not a gray level.
        """
        try:
            texts = tuple(shlex.split(objects or ""))
        except ValueError:
            raise ValueError(f"{objects}: a quote is not closed") from None
        level = "" if threshold is None else str(threshold).strip()
        if level and not (level.isdecimal() and int(level) < 255):
            raise ValueError(f"{level}: the threshold is a whole gray level from 0 to 254")
        return cls(texts, int(level) if level else None)


def settings(
    report: Report | None,
    strategy: str,
    steps: float | None,
    init: str,
    image_size: int,
    learning_rate: float | None,
    *,
    choice: MaskChoice = MaskChoice(),
) -> FinetuneSettings:
    """Return the settings of a run: a fifth of the cases are held out, the others train.

    Args:
        report: Of the data; it must list cases and hold no error. `None` before there are data.
        strategy: Strategy text.
        steps: Training steps.
        init: Model to start from.
        image_size: Height and width in pixels.
        learning_rate: Peak learning rate.
        choice: What counts as the object.

    Raises:
        ValueError: Data, strategy or numbers cannot be used, or a new head would never be trained.
        FileNotFoundError: There is no such model.
    """
    source, objects = _checked(report)
    known = OPTIMIZATION["steps"]
    steps = whole_number("Steps", steps, int(known.minimum or 0), int(known.maximum or 0))
    OPTIMIZATION["learning_rate"].check("Learning rate", learning_rate)
    if learning_rate is None:
        raise ValueError("Learning rate: is empty; give a number, such as 1e-3")
    architecture = models.card(init).architecture
    parsed = parse(strategy)
    if not parsed.is_auto:
        parsed.select(architecture.layout())
    usual = FinetuneSettings()
    optimization = replace(
        usual.optimization,
        steps=steps,
        validate_every=max(1, steps // _VALIDATIONS),
        learning_rate=learning_rate,
    )
    wanted = replace(
        usual,
        layers=parsed,
        init=init,
        data=source,
        **choice._asdict(),
        image_size=image_size,
        optimization=optimization,
    )
    require_trained_head(wanted, objects)
    return wanted


def adapt_settings(report: Report | None, budget: str, *, choice: MaskChoice) -> AdaptSettings:
    """Return the settings of an adaptation to all cases.

    Raises:
        ValueError: The data cannot be used.
    """
    source, _ = _checked(report)
    return AdaptSettings(data=source, budget=budget, **choice._asdict())


def _checked(report: Report | None) -> tuple[str, Objects]:
    """Return where checked data are, and their objects; refuse data with errors."""
    if report is None:
        raise ValueError("there are no images yet: give a zip file and wait for the check")
    if report.data is None or report.counts()["error"]:
        raise ValueError("the data has errors: correct them and check again")
    return report.source, report.data.objects


@dataclass(eq=False)
class Workspace:
    """The data, the latest run and the folder of one session.

    Attributes:
        folder: Holds all files of the session.
        report: What the check found; `None` before there are data.
        source: What was checked; empty before there are data.
        unpacked: The unpacked archive, whose files may name none outside of it.
        choice: What counts as the object.
        run: The latest run.
        adaptation: The latest adaptation.
        runs: How many runs and adaptations were started.
        validations_shown: How many validations of the run the page shows.
    """

    folder: Path
    report: Report | None = None
    source: str = ""
    unpacked: Path | None = None
    choice: MaskChoice = MaskChoice()
    run: BackgroundRun | None = None
    adaptation: BackgroundAdaptation | None = None
    runs: int = 0
    validations_shown: int = -1

    def open_archive(self, archive: Path, choice: MaskChoice = MaskChoice()) -> Report:
        """Unpack a zip file in place of earlier data, and check the data in it.

        Raises:
            ValueError: It cannot be unpacked, it lists files outside of it, or the run still needs
                the earlier data, which then stay.
        """
        data, new = self.folder / "data", self.folder / "new"
        if self.is_training:
            raise ValueError("your run has not ended and still needs its images; cancel it first")
        shutil.rmtree(new, ignore_errors=True)
        try:
            folder = unpack(archive, new / archive.stem)
            _require_inside(folder, choice)
            shutil.rmtree(data, ignore_errors=True)
            new.rename(data)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        inside = data / folder.relative_to(new)
        return self._open(str(inside), choice, unpacked=inside)

    def open_data(self, name_or_path: str, choice: MaskChoice = MaskChoice()) -> Report:
        """Check a folder, or a simulated data set.

        Raises:
            FileNotFoundError: There is no such data.
            ValueError: The name is wrong, or the choice.
        """
        return self._open(name_or_path, choice, unpacked=None)

    def forget_data(self) -> None:
        """Take away the data, unless they are needed."""
        if not self.is_training:
            self.report, self.source, self.unpacked = None, "", None

    def choose(self, choice: MaskChoice) -> Report:
        """Check the data again, with another object.

        Raises:
            ValueError: There are no data, or they do not have what is chosen.
        """
        if not self.source:
            raise ValueError("there are no images yet: give a zip file first")
        return self._open(self.source, choice, unpacked=self.unpacked)

    def _open(self, source: str, choice: MaskChoice, unpacked: Path | None) -> Report:
        self.report = None
        self.source, self.choice, self.unpacked = source, choice, unpacked
        if unpacked is not None:
            _require_inside(unpacked, choice)
        self.report = check(source, **choice._asdict())
        return self.report

    def start(self, settings: FinetuneSettings | AdaptSettings) -> None:
        """Start a run or an adaptation in its own folder."""
        self.runs += 1
        # A visitor's images must not stay in the cache of this machine.
        additions = {"KERASUNET_CACHE": "off"}
        if isinstance(settings, AdaptSettings):
            directory = self.folder / f"adaptation-{self.runs}"
            self.adaptation = BackgroundAdaptation(settings, directory, additions)
        else:
            self.validations_shown = -1
            self.run = BackgroundRun(settings, self.folder / f"run-{self.runs}", additions)

    @property
    def is_training(self) -> bool:
        """Whether a run or an adaptation is in progress."""
        jobs = (self.run, self.adaptation)
        return any(job is not None and not job.progress().is_over for job in jobs)

    def clear(self) -> None:
        """End what is in progress and delete all files."""
        for job in (self.run, self.adaptation):
            if job is not None:
                job.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)


class TrainingJobs:
    """The workspaces of all sessions; one trains at a time, because runs slow each other down."""

    def __init__(self) -> None:
        self._workspaces: dict[str, Workspace] = {}
        self._lock = threading.Lock()

    def workspace(self, session: str) -> Workspace:
        """Return the workspace of a session; make it first if need be."""
        with self._lock:
            if session not in self._workspaces:
                self._workspaces[session] = Workspace(new_folder())
            return self._workspaces[session]

    def start(self, session: str, settings: FinetuneSettings | AdaptSettings) -> Workspace:
        """Start a run or an adaptation in the workspace of a session, and return that.

        Raises:
            ValueError: Another one is not over.
        """
        workspace = self.workspace(session)
        with self._lock:
            self._require_idle(workspace)
            workspace.start(settings)
        return workspace

    def _require_idle(self, workspace: Workspace) -> None:
        busy = next((other for other in self._workspaces.values() if other.is_training), None)
        if busy is not None:
            whose = "your run" if busy is workspace else "another visitor's run"
            raise ValueError(f"{whose} has not ended; only one run trains at a time")

    def clear(self, session: str) -> Workspace | None:
        """Clear and return the workspace of a session that has ended, if it has one."""
        with self._lock:
            workspace = self._workspaces.pop(session, None)
        if workspace is not None:
            workspace.clear()
        return workspace


def _require_inside(folder: Path, choice: MaskChoice) -> None:
    """Refuse data whose manifest or annotations name files outside of their folder."""
    try:
        with collect_problems():  # as the check does, which continues with what has no fault
            data = load(folder, **choice._asdict())
    except ValueError:  # the check says what is wrong
        return
    for case in data.cases:
        for path in _files_of(case):
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{case.key}: {path} lies outside the archive")


def _files_of(case: Case) -> tuple[Path, ...]:
    """Return the files of a case; refuse any whose files are unknown."""
    if isinstance(case, FileCase):
        return case.image, *case.masks
    if isinstance(case, AnnotatedCase):
        return (case.image,)
    if isinstance(case, CaseOfObjects):
        return tuple(path for part in case.parts for path in _files_of(part))
    raise ValueError(f"{case.key}: its files are not known")


def files_of_run(directory: Path) -> list[str]:
    """Return the paths of what a visitor may download of a run."""
    names = (*_MODEL, "history.csv", "layers.txt")
    return [*present(directory, names), harmless_table(directory)]


def files_of_adaptation(folder: Path) -> list[str]:
    """Return the paths of what a visitor may download of the result of an adaptation."""
    told = [name for name in TOLD if name != ANSWER]  # That names folders of this machine.
    return present(folder, (*_MODEL, *told))


def present(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the paths of those files that a folder holds."""
    return [str(path) for name in names if (path := folder / name).is_file()]


def harmless_table(directory: Path) -> str:
    """Copy the table of cases; image names in it are made harmless for spreadsheets.

    Returns:
        The path of the copy.
    """
    table = directory / "download" / "cases.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text(without_formulas((directory / table.name).read_text()))
    return str(table)
