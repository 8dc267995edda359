"""Photographs and masks that only their file types tell apart: `x.jpg` and `x.png`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kerasunet.data.cases import FileCase, MaskCoding
from kerasunet.data.layouts.listing import Files, image_files
from kerasunet.data.layouts.pairing import pair

_PHOTOGRAPHS = (".jpg", ".jpeg")


def photographs_with_masks(folders: Iterable[Path]) -> list[FileCase]:
    """Pairs the JPEG files of these folders with the other image files of the same stem.

    Photographs without a mask are left out: some sets have thousands on purpose.

    Raises:
        ValueError: A mask has no photograph, or several files have one stem.
    """
    photographs: Files = {}
    masks: Files = {}
    for folder in folders:
        for stem, paths in image_files(folder).items():
            for path in paths:
                kind = photographs if path.suffix.lower() in _PHOTOGRAPHS else masks
                kind.setdefault(stem, []).append(path)
    masked = {stem: paths for stem, paths in photographs.items() if stem in masks}
    return pair(masked, masks, MaskCoding(above=127)) if masked else []
