"""Segment images: lossless PNG masks at the size of the image, overlays, and a CSV of areas."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

from kerasunet.cli import options as shared

_COLUMNS = (
    "image",
    "height",
    "width",
    "area_pixels",
    "area_share",
    "area_mm2",
    "largest_probability",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file")
    add("images", nargs="+", type=Path, help="image files, or folders of them")
    add("--output", type=Path, default=Path("predictions"), help="folder (predictions)")
    add("--threshold", type=float, help="probability of foreground (default: the model card's)")
    add("--engine", default="auto", help="auto, openvino, onnx, litert or keras (auto)")
    add("--tile", type=int, metavar="PIXELS", help="cut large images instead of stretching them")
    add("--overlap", type=int, metavar="PIXELS", help="of neighbouring tiles (a quarter of a tile)")
    add("--no-overlays", action="store_true", help="write masks and table only")


def run(options: argparse.Namespace) -> int:
    from kerasunet import zoo

    zoo.card(options.model)
    paths = _image_files(options.images)
    names = _output_names(paths)

    from kerasunet.drawing import overlay, write_png
    from kerasunet.files import write_text
    from kerasunet.segmenter import Segmenter

    with shared.quiet_start():
        segment = Segmenter(
            options.model,
            options.threshold,
            engine=options.engine,
            tile=options.tile,
            overlap=options.overlap,
        )
    rows, failures = [], []
    for path, name in zip(paths, names, strict=True):
        try:
            found = segment(path)
        except (OSError, ValueError) as error:
            failures.append(str(error))
            continue
        write_png(options.output / "masks" / f"{name}.png", found.mask)
        if not options.no_overlays:
            picture = overlay(found.image, found.mask, thickness=2)
            write_png(options.output / "overlays" / f"{name}.png", picture)
        rows.append(_row(path, found))
    write_text(options.output / "areas.csv", _csv(rows))
    print(f"{len(rows)} of {len(paths)} images segmented, see {options.output}/")
    if failures:
        raise ValueError("not segmented:\n  " + "\n  ".join(failures))
    return 0


def _image_files(given: list[Path]) -> list[Path]:
    from kerasunet.data.reading import IMAGE_SUFFIXES

    files: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.name.lower().endswith(IMAGE_SUFFIXES)]
            if not inside:
                raise FileNotFoundError(
                    f"{path}: holds no image; wanted {', '.join(IMAGE_SUFFIXES)}"
                )
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    return files


def _output_names(paths: list[Path]) -> list[str]:
    """File stems, with the suffix or a number added where stems repeat."""
    names: list[str] = []
    for path in paths:
        name = path.stem
        if name in names:
            name = path.name.replace(".", "_")
        number = 2
        while name in names:
            name = f"{path.stem}_{number}"
            number += 1
        names.append(name)
    return names


def _row(path: Path, found) -> dict:
    height, width = found.mask.shape
    area_mm2 = found.area_mm2
    return {
        "image": path.name,
        "height": height,
        "width": width,
        "area_pixels": found.area_pixels,
        "area_share": f"{found.area_pixels / (height * width):.4f}",
        "area_mm2": "" if area_mm2 is None else f"{area_mm2:.1f}",
        "largest_probability": f"{found.probability.max():.4f}",
    }


def _csv(rows: list[dict]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
