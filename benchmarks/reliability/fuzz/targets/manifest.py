"""Manifests: CSV and TSV tables of images and masks, beside a few files that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from kerasunet.data.layouts.manifests import read_manifest
from targets._refusals import reading

LONGEST = 300


def seeds() -> Iterable[bytes]:
    return [
        b"image,mask\na.png,b.png\nb.png,\n",
        b"\xef\xbb\xbfimage;mask;group;label;split\na.png;b.png;p1;benign;train\nb.png;;p2;;test\n",
        b'image,mask,group\n"a.png","a.png","p ""1"""\na.png,b.png,p1\n',
        b"image,mask\n../a.png,=cmd()\n/etc/passwd,b.png\n",
    ]


def checker(folder: Path) -> Callable[[bytes], None]:
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    return reading(folder / "table.csv", read_manifest)
