"""Where sessions check their data and train: a bench each, cleared when its session ends."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from kerasunet.data.archives import unpack
from kerasunet.data.checking import Report, check
from kerasunet.data.loading import load
from kerasunet.files import collect_problems
from kerasunet.runs.background import BackgroundRun
from kerasunet.training.settings import FinetuneSettings


@dataclass(eq=False)
class Bench:
    """The data, the run and the folder of one session.

    Attributes:
        folder: Holds all files of the session.
        report: What the check found; `None` before there are data.
        run: The run that goes on, or the last one.
        runs: How many were started.
        shown: What of the run the page shows already: the number of validations.
        ended: Whether the page shows its end.
    """

    folder: Path
    report: Report | None = None
    run: BackgroundRun | None = None
    runs: int = 0
    shown: int = -1
    ended: bool = False

    def open_archive(self, archive: Path) -> Report:
        """Unpacks a zip file in place of earlier data, and checks what is in it.

        Raises:
            ValueError: It cannot be unpacked, a list in it names files elsewhere, or a run still
                needs the earlier data.
        """
        data = self.folder / "data"
        if self.is_training:
            raise ValueError("your run still goes on and needs its images; cancel it first")
        shutil.rmtree(data, ignore_errors=True)
        folder = unpack(archive, data / archive.stem)
        _require_inside(folder)
        return self.open_data(str(folder))

    def open_data(self, name_or_path: str) -> Report:
        """Checks a folder, or a simulated data set.

        Raises:
            FileNotFoundError: There is no such data.
            ValueError: The name is wrong.
        """
        self.report = None
        self.report = check(name_or_path)
        return self.report

    def start(self, settings: FinetuneSettings) -> BackgroundRun:
        """Starts a run in a folder of its own."""
        self.runs += 1
        self.shown, self.ended = -1, False
        # Nothing of a visitor's images may stay in the cache of this machine.
        directory = self.folder / f"run-{self.runs}"
        self.run = BackgroundRun(settings, directory, {"KERASUNET_CACHE": "off"})
        return self.run

    @property
    def is_training(self) -> bool:
        """Whether a run goes on."""
        return self.run is not None and not self.run.progress().is_over

    def clear(self) -> None:
        """Ends the run that goes on, and removes all files."""
        if self.run is not None:
            self.run.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)


class Workshop:
    """The benches of all sessions; one of them trains at a time, as runs slow each other down."""

    def __init__(self) -> None:
        self._benches: dict[str, Bench] = {}
        self._lock = threading.Lock()

    def bench(self, session: str) -> Bench:
        """The bench of a session, in a folder that nobody can guess."""
        with self._lock:
            if session not in self._benches:
                folder = Path(os.environ["GRADIO_TEMP_DIR"]) / secrets.token_hex(20)
                folder.mkdir(parents=True)
                self._benches[session] = Bench(folder)
            return self._benches[session]

    def start(self, session: str, settings: FinetuneSettings) -> BackgroundRun:
        """Starts a run.

        Raises:
            ValueError: Another run goes on.
        """
        bench = self.bench(session)
        with self._lock:
            busy = next((other for other in self._benches.values() if other.is_training), None)
            if busy is not None:
                whose = "your run" if busy is bench else "the run of another visitor"
                raise ValueError(f"{whose} still goes on; one trains at a time")
            return bench.start(settings)

    def clear(self, session: str) -> Bench | None:
        """Clears the bench of a session that has ended, and returns it, if there is one."""
        with self._lock:
            bench = self._benches.pop(session, None)
        if bench is not None:
            bench.clear()
        return bench


def _require_inside(folder: Path) -> None:
    """Refuses data whose manifest or annotations name files of this machine outside of them."""
    try:
        with collect_problems():  # as the check does, which goes on with what has no fault
            data = load(folder)
    except ValueError:  # the check tells what is wrong
        return
    for case in data.cases:
        for path in (case.image, *getattr(case, "masks", ())):
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{case.key}: {path} lies outside of the archive")
