"""What a figure is: the picture with its caption, or the reason why it cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from kerasunet.files import write_atomically
from kerasunet.study.figures.style import RC

DOTS_PER_INCH = 200


class NotDrawnError(ValueError):
    """The tables lack what a figure needs; the message tells what."""


@dataclass(frozen=True)
class Drawing:
    """One finished figure.

    Attributes:
        name: File name without suffix.
        title: A few words.
        caption: What is drawn and how it was computed.
        alt: The picture in words, with its main numbers, for those who do not see it.
        figure: The matplotlib figure; its layout is final.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure

    def __post_init__(self):
        # Laid out anew each time it is written, a figure would not give the same bytes.
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Writes `NAME.png` and `NAME.svg`, the same bytes each time; returns their paths."""
        paths = folder / f"{self.name}.png", folder / f"{self.name}.svg"
        told = {"Title": self.title, "Description": self.alt}
        png = {**told, "Comment": self.caption, "Software": None}
        with matplotlib.rc_context(RC):
            write_atomically(paths[0], lambda path: self._save(path, png))
            write_atomically(paths[1], lambda path: self._save(path, {**told, "Date": None}))
        return paths

    def _save(self, path: Path, metadata: dict) -> None:
        self.figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata)
