"""What visitors give: images to compare on, and files, which are deleted when they leave."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import gradio as gr
import numpy as np

from kerasunet.data.cases import MaskCoding
from kerasunet.data.identification import guess_modality, guess_of_all
from kerasunet.data.readers import MaskValues, count_frames, has_place, read_image, read_mask
from kerasunet.data.simulation import simulate

_SECONDS_KEPT, _SECONDS_EMPTY_KEPT, _SECONDS_BETWEEN_SWEEPS = 3600, 20, 10
_MOST_BYTES = 8 << 30
_FOLDER_NAME_LENGTH = 40
"""Characters of the random name of a folder that holds one file, here and in Gradio."""


class VisitorFiles:
    """The files of each session, deleted when it ends.

    Equal uploads of two sessions are one file. It is deleted with the last of them, and never
    while another session that has just uploaded it has yet to use it.
    """

    def __init__(self) -> None:
        self._files: dict[str, set[Path]] = defaultdict(set)
        self._times: dict[Path, int] = {}
        self._lock = threading.Lock()

    def keep(self, request: gr.Request | None, *paths: str | os.PathLike | None) -> None:
        """Record files as belonging to the session of a request."""
        if request is None:
            return
        with self._lock:
            for path in (Path(given) for given in paths if given):
                self._files[request.session_hash].add(path)
                self._times[path] = _changed_at(path)

    def remove(self, request: gr.Request) -> None:
        """Delete the files of a session that has ended."""
        with self._lock:
            files = self._files.pop(request.session_hash, set())
            for path in files.difference(*self._files.values()):
                if _changed_at(path) == self._times.pop(path):
                    _delete(path)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give Gradio a folder of this process's own for its files, and delete it at the end.

    Meanwhile, files that no session has deleted go when they are an hour old; the oldest go
    earlier if all together become too large.
    """
    with tempfile.TemporaryDirectory(prefix="kerasunet-demo-", ignore_cleanup_errors=True) as path:
        os.environ["GRADIO_TEMP_DIR"] = path
        over = threading.Event()
        sweeper = threading.Thread(target=_sweep_until, args=(Path(path), over), daemon=True)
        sweeper.start()
        try:
            yield Path(path)
        finally:
            over.set()
            sweeper.join()


def new_folder() -> Path:
    """Make a folder for a visitor, under a name that nobody can guess."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / secrets.token_hex(_FOLDER_NAME_LENGTH // 2)
    folder.mkdir(parents=True)
    return folder


def new_file(name: str, data: bytes) -> Path:
    """Write a file for a visitor to download, in its own folder."""
    path = new_folder() / name
    path.write_bytes(data)
    return path


def delete_old_files(folder: Path, seconds: float, most_bytes: int = _MOST_BYTES) -> None:
    """Delete uploads and downloads that are too old, and the oldest if they are too large.

    What lies deeper in the folder are the data and runs of sessions that fine-tune; those are
    deleted with their session.

    Args:
        folder: Folder of the demo's files.
        seconds: Age from which a file is deleted.
        most_bytes: Limit for all files together.
    """
    oldest, left = time.time() - seconds, most_bytes
    for changed, size, path in sorted(_files(folder), reverse=True):
        left -= size
        if left < 0 or changed < oldest * 1e9:
            _delete(path)


def delete_empty_files(folder: Path, seconds: float) -> None:
    """Delete empty files in the folder itself: Gradio leaves one for each file it is given."""
    oldest = time.time() - seconds
    for entry in os.scandir(folder):
        with suppress(OSError):  # Already deleted.
            if entry.is_file() and not (seen := entry.stat()).st_size and seen.st_ctime < oldest:
                os.unlink(entry)


def _sweep_until(folder: Path, over: threading.Event) -> None:
    while not over.wait(_SECONDS_BETWEEN_SWEEPS):
        delete_old_files(folder, _SECONDS_KEPT)
        delete_empty_files(folder, _SECONDS_EMPTY_KEPT)


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Yield time of change in nanoseconds, size and path of files at most one folder deep."""
    for place, folders, names in os.walk(folder):
        if place != str(folder):
            folders.clear()
        for path in (Path(place, name) for name in names):
            with suppress(OSError):  # Already deleted.
                seen = path.stat()
                yield seen.st_ctime_ns, seen.st_size, path


def _changed_at(path: Path) -> int:
    """Return when the file came, in nanoseconds; uploading it again changes that. 0 if gone."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _delete(path: Path) -> None:
    """Delete a file, and its folder if that was made for it alone."""
    path.unlink(missing_ok=True)
    if len(path.parent.name) == _FOLDER_NAME_LENGTH:
        with suppress(OSError):  # Not empty.
            path.parent.rmdir()


_FIELDS = {
    "--init": "Start from",
    "--layers": "Strategy",
    "--objects": "Objects",
    "--mask-threshold": "Mask threshold",
    "--image-size": "Image size in pixels",
    "--steps": "Steps",
    "--learning-rate": "Learning rate",
    "kerasunet adapt": "Find the best start and layers",
}
"""What the command line calls them, and what the page does."""
_OPTION = re.compile(rf"{'|'.join(_FIELDS)}|--[a-z][a-z-]*[a-z]")


def in_page_words(text: str) -> str:
    """Return a message with the page's names of its fields; other options say where they are."""
    return _OPTION.sub(_field, text)


def _field(found: re.Match[str]) -> str:
    name = found.group()
    return f"“{_FIELDS[name]}”" if name in _FIELDS else f"{name} (on the command line)"


def whole_number(label: str, value: float | None, least: int, most: int | None = None) -> int:
    """Return the number of a field of the page.

    Args:
        label: The field.
        value: What it holds; `None` if nothing.
        least, most: The range.

    Raises:
        ValueError: It is empty, no whole number or out of range; the message names the field.
    """
    span = f"from {least:,}" if most is None else f"from {least:,} to {most:,}"
    if value is None:
        raise ValueError(f"{label}: is empty; give a whole number {span}")
    if not float(value).is_integer() or value < least or (most is not None and value > most):
        raise ValueError(f"{label}: {value:g} is not a whole number {span}")
    return int(value)


MODALITIES = {"ultrasound": "Breast ultrasound", "xray": "Chest X-ray"}
"""Key of each modality, and its name on the page."""
FRAME = "Frame or slice, from 0"
PIXEL_LIMIT = 12_000_000
COLORED = "it has colors, as no ultrasound image or X-ray has; its masks may mean nothing"
EXAMPLES = (
    ("ultrasound", 3), ("ultrasound", 8), ("ultrasound", 14),
    ("xray", 2), ("xray", 5), ("xray", 9),
)  # fmt: skip
"""Modality and index of the examples on the page."""
_SIMULATORS = {"ultrasound": "breast-ultrasound", "xray": "chest-xray"}
_EXAMPLE_SEED, _EXAMPLE_SIZE = 2020, 512


@dataclass(frozen=True, eq=False)
class InputImage:
    """An image to compare on.

    Attributes:
        name: File name, without its folder.
        pixels: Float32, `(height, width)` or `(height, width, 3)`, 0 to 255.
        spacing: Millimeters per pixel, (row, column), or `None`.
        modality: What the models take it for: a key of `MODALITIES`.
        truth: True mask, bool, `(height, width)`, or `None`.
        known_modality: The modality where it is certain; empty where it has to be guessed.
        is_guess: Whether `modality` is a guess.
        path: The file; empty if it was simulated.
        frame: Which frame of the file, from 0.
        frames: How many it has.
        parts: True masks of several objects by name, where they are known apart.
    """

    name: str
    pixels: np.ndarray
    spacing: tuple[float, float] | None
    modality: str
    truth: np.ndarray | None = None
    known_modality: str = ""
    is_guess: bool = False
    path: str = ""
    frame: int = 0
    frames: int = 1
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its name, and which frame of several it is, as in `loop.tif, frame 2 of 0 to 8`."""
        which = f", frame {self.frame} of 0 to {self.frames - 1}" if self.frames > 1 else ""
        return f"{self.name}{which}"

    def with_modality(self, modality: str) -> InputImage:
        """Return the image taken for a modality; empty stands for the known or guessed one."""
        told = modality or self.known_modality
        return replace(self, modality=told or guess_modality(self.pixels), is_guess=not told)

    @property
    def is_colored(self) -> bool:
        """Whether much of it has colors, so that it is neither an ultrasound image nor an X-ray."""
        return guess_of_all([self.pixels]) == "photograph"

    @property
    def description(self) -> str:
        """Size, scale, and what the models take it for, in words."""
        height, width = self.pixels.shape[:2]
        scale = "unknown pixel size"
        if self.spacing:
            scale = f"{self.spacing[0]:.3g} × {self.spacing[1]:.3g} mm per pixel"
        guessed = "guessed from grain and symmetry; you can correct it below"
        how = guessed if self.is_guess else "as you chose"
        return (
            f"{self.title}: {width} × {height} pixels, {scale}. Treated as "
            f"{MODALITIES[self.modality]} ({how})."
        )


def open_image(path: str, frame: int | None = None) -> InputImage:
    """Read an uploaded image; of a file of several frames, one has to be named.

    Raises:
        ValueError: The file cannot be used; says why without naming its folder.
    """
    try:
        pixels, spacing = read_image(path, frame=frame, size_limit=PIXEL_LIMIT)
        frames = count_frames(path) or 1
    except (OSError, ValueError) as error:
        raise _without_folder(error, path) from None
    opened = InputImage(Path(path).name, pixels, spacing, modality="", path=path, frame=frame or 0)
    return replace(opened, frames=frames).with_modality("")


def with_truth(image: InputImage, path: str, objects: Sequence[str]) -> InputImage:
    """Return the image with an uploaded true mask.

    Args:
        image: The image.
        path: The file, as in `open_mask`; or a label image of several objects.
        objects: What the models find, where one finds several. A label image with as many values is
            of these, in the order of its values.

    Raises:
        ValueError: As `open_mask`.
    """
    values = _checked_values(path, image)
    labels = [value for value in np.unique(values.values).tolist() if value]
    if values.palette is not None or not 1 < len(labels) == len(objects):
        return replace(image, truth=open_mask(path, image), parts={})
    parts = {n: values.values == value for n, value in zip(objects, labels, strict=True)}
    return replace(image, truth=values.values > 0, parts=parts)


def open_mask(path: str, image: InputImage) -> np.ndarray:
    """Read an uploaded true mask.

    Args:
        path: The file. If it has several frames, that of the image's counts.
        image: The image.

    Returns:
        Bool, `(height, width)`.

    Raises:
        ValueError: The file is not a mask, or not of the size of the image.
    """
    values, name = _checked_values(path, image), Path(path).name
    try:
        return MaskCoding().decode(values, name)
    except ValueError as error:  # Where images are compared, there are no fields for its options.
        told = _WITH_OPTION.sub("", str(error).partition("; ")[0])
        raise ValueError(f"{told}; give a mask of one object") from None


_WITH_OPTION = re.compile(r"[;,][^;,]*--[a-z].*$")


def _checked_values(path: str, image: InputImage) -> MaskValues:
    name, shape = Path(path).name, image.pixels.shape[:2]
    try:
        values = _mask_values(path, image)
    except (OSError, ValueError) as error:
        raise _without_folder(error, path) from None
    if values.shape != shape:
        raise ValueError(
            f"{name}: has {values.shape[1]} × {values.shape[0]} pixels, the image "
            f"{shape[1]} × {shape[0]}; a mask has the size of its image"
        )
    return values


def _mask_values(path: str, image: InputImage) -> MaskValues:
    """Read the mask's frame; the only one is that of whichever frame is shown."""
    count = count_frames(path)
    if image.frame and count == 1:
        return read_mask(path, size_limit=PIXEL_LIMIT)
    placed = bool(image.path) and has_place(path) and has_place(image.path)
    if count not in (1, image.frames, None) and not placed:
        raise ValueError(
            f"{path}: has {count:,} frames, the image {image.frames:,}; export the mask of the "
            "frame that is shown"
        )
    return read_mask(path, frame=image.frame, size_limit=PIXEL_LIMIT, image=image.path or None)


def simulate_example(modality: str, index: int, size: int = _EXAMPLE_SIZE) -> InputImage:
    """Simulate an example of `size` × `size` pixels, with its exact mask."""
    sample = simulate(_SIMULATORS[modality], _EXAMPLE_SEED, index, size=size)
    return InputImage(
        name=f"simulated-{modality}-{index}",
        pixels=sample.image.astype(np.float32),
        spacing=sample.spacing,
        modality=modality,
        truth=sample.mask,
        known_modality=modality,
        parts=sample.parts,
    )


def _without_folder(error: Exception, path: str) -> ValueError:
    return ValueError(str(error).replace(str(path), Path(path).name).replace("size_limit", "it"))
