"""The second study: rates, strategies, starts, robustness; training sets share no patient.

Stage by stage; started again, it goes on where it stopped. Every process trains one strategy on
one data set after the other, so that its steps are compiled once.

    python benchmarks/second_study.py first-study
    python benchmarks/second_study.py power
    python benchmarks/second_study.py pack SETS --data DATA
    python benchmarks/second_study.py start jsrt-all --data DATA
    python benchmarks/second_study.py run rates --data DATA --processes 2
    python benchmarks/second_study.py join
    python benchmarks/second_study.py choose
    python benchmarks/second_study.py run strategies --data DATA
    python benchmarks/second_study.py run starts --data DATA
    python benchmarks/second_study.py run robustness --data DATA
    python benchmarks/second_study.py run precision --data DATA
    python benchmarks/second_study.py join
    python benchmarks/second_study.py search --data DATA
    python benchmarks/second_study.py evidence
    python benchmarks/second_study.py tables
    python benchmarks/second_study.py claims
    python benchmarks/second_study.py figures

SETS holds the folders bus_bra, busi, jsrt and shenzhen; DATA receives their images at the sizes
that the study uses, about 40 MB. On a GPU: KERAS_BACKEND=jax, XLA_PYTHON_CLIENT_PREALLOCATE=false,
and as many processes as there are cores.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image
from second_study_design import (
    HOME,
    LABELS,
    SEARCHES,
    SEARCHES_EACH,
    SIDES,
    STAGES,
    Cell,
    groups_of,
    searched_cells,
)
from second_study_results import choose, claims, evidence, first_study, power, tables

from kerasunet.data.cases import Case
from kerasunet.data.decoding import decode
from kerasunet.files import read_json, write_json
from kerasunet.layer_selection.evidence import Evidence
from kerasunet.runs.preparation import load_data, modality_of_start, prepare
from kerasunet.study.plan import StudySettings
from kerasunet.study.tables import RECORD, RUNS, read_tables
from kerasunet.training.settings import FinetuneSettings, Optimization

if TYPE_CHECKING:
    from kerasunet.layer_selection.selection import Choice


def pack(options: argparse.Namespace) -> int:
    """Write the images and masks of the sets at the sizes that the study uses, with manifests."""
    for side, names in SIDES.items():
        for name in names:
            settings = FinetuneSettings(data=str(options.sets / name), labels=LABELS.get(name, ()))
            for path, content in packed(load_data(settings).cases, side):
                file = options.data / str(side) / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    return 0


def packed(
    cases: Sequence[Case], side: int, *, jpeg_quality: int | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file of a set: gray images, masks, and their manifest.

    Args:
        cases: The cases; their groups and labels go into the manifest.
        side: Height and width in pixels.
        jpeg_quality: Of images, 1 to 95; `None` keeps every gray level, as PNG.
    """
    decoded = decode(cases, (side, side), 1)
    suffix, lines = "png" if jpeg_quality is None else "jpg", ["image,mask,group,label"]
    for case, image, mask in zip(cases, decoded.images, decoded.masks, strict=True):
        gray = Image.fromarray(np.rint(image[..., 0]).astype(np.uint8))
        names = f"images/{case.key}.{suffix}", f"masks/{case.key}.png"
        yield names[0], _encoded(gray, jpeg_quality)
        yield names[1], _encoded(Image.fromarray(mask), None)
        lines.append(",".join([*names, case.group, case.label]))
    yield "manifest.csv", ("\n".join(lines) + "\n").encode()


def write_packed(
    archive: Path, cases: Sequence[Case], side: int, *, jpeg_quality: int | None = None
) -> None:
    """Write what `packed` yields into a zip file, and print how large it is."""
    with zipfile.ZipFile(archive, "w") as opened:
        for path, content in packed(cases, side, jpeg_quality=jpeg_quality):
            opened.writestr(path, content)
    print(f"{archive.stem}: {archive.stat().st_size / 1e6:.1f} MB")


def _encoded(picture: Image.Image, jpeg_quality: int | None) -> bytes:
    stream = BytesIO()
    if jpeg_quality is None:
        picture.save(stream, "PNG", optimize=True)
    else:
        picture.save(stream, "JPEG", quality=jpeg_quality, optimize=True)
    return stream.getvalue()


def start(options: argparse.Namespace) -> int:
    """Make the start that has seen JSRT: four fifths of it, 1,000 steps of `all`."""
    from kerasunet import runs

    settings = FinetuneSettings(
        layers="all",
        data=str(options.data / "128" / "jsrt"),
        groups="given",
        train_size=None,
        validation_size=0,
        optimization=Optimization(steps=1000, validate_every=250),
    )
    made = runs.finetune(settings, options.starts / "jsrt-all-run")
    options.starts.mkdir(parents=True, exist_ok=True)
    shutil.copy(made.files.model, options.starts / f"{options.name}.keras")
    card = made.files.model.with_suffix(".json")
    shutil.copy(card, options.starts / f"{options.name}.json")
    print(f"{options.name}: {made.summary['after']['dice']}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Work off the groups of a stage, some processes at a time."""
    total = len(groups_of(options.stage, options.only))
    command = [sys.executable, __file__, "group", options.stage, "--data", str(options.data)]
    command += ["--starts", str(options.starts), "--output", str(options.output)]
    command += ["--only", options.only]
    limit = time.monotonic() + 60 * options.minutes

    def work(number: int) -> int:
        left = limit - time.monotonic()
        if left <= 0:
            return 1
        try:
            return subprocess.run([*command, "--number", str(number)], timeout=left).returncode
        except subprocess.TimeoutExpired:
            return 1

    with ThreadPoolExecutor(options.processes) as pool:
        statuses = list(pool.map(work, range(total)))
    print(f"{statuses.count(0)} of {total} groups are finished")
    return 0 if not any(statuses) else 1


def work_group(options: argparse.Namespace) -> int:
    """Execute the open runs of one group in this process."""
    group = groups_of(options.stage, options.only)[options.number]
    for cell, strategies in group.work:
        _wait_for_start(options.starts, cell.start)
        folder = options.output / options.stage / cell.name / f"piece-{_safe(group.name)}"
        settings = cell.settings(options.data, options.starts, strategies)
        execute_study(settings, folder, f"{options.stage}/{cell.name}")
    return 0


def execute_study(settings: StudySettings, folder: Path, name: str) -> None:
    """Execute the open runs of a study in this process, and print a line a run."""
    from kerasunet.study.execution import open_study
    from kerasunet.study.workers import execute, read_result, specify

    study = open_study(settings, folder)
    for planned in study.open_runs():
        started = time.perf_counter()
        directory = folder / "runs" / planned.name
        directory.mkdir(parents=True, exist_ok=True)
        specify(planned, directory)
        execute(directory, started)
        result = read_result(planned, directory)
        study.tables.record(result.run, result.cases)
        shutil.rmtree(directory)
        dice = sum(float(case["dice"]) for case in result.cases) / len(result.cases)
        seconds = f"{result.run['seconds']:.1f} of {result.run['wall_seconds']:.1f} s"
        gc.collect()
        print(f"{name} {planned.strategy} {planned.fold}: {dice:.4f}, {seconds}", flush=True)


def search(options: argparse.Namespace) -> int:
    """Let `auto:search` choose in cells of the second stage, by trials and other sets' evidence.

    A choice is made once, and kept as a file.
    """
    from kerasunet.study.execution import plan_study

    for cell in searched_cells(options.output):
        if options.only not in cell.name:
            continue
        evidence = evidence_elsewhere(cell, options.output / "strategies" / cell.name)
        settings = cell.settings(options.data, options.starts, ["all"])
        with tempfile.TemporaryDirectory() as folder:
            runs = plan_study(settings, Path(folder) / "study").planned[:SEARCHES_EACH]
        for planned in runs:
            file = options.output / SEARCHES / f"{cell.name}-{planned.fold}.json"
            if not file.is_file():
                choice = _choose_layers(planned.settings, cell, evidence)
                write_json(file, choice.as_dict())
                words = f"{choice.strategy}, {choice.seconds:.0f} s"
                print(f"{cell.name} {planned.fold}: {words}", flush=True)
    return 0


def evidence_elsewhere(cell: Cell, folder: Path) -> Evidence:
    """Return what other data sets say of the strategies that the cell has runs of."""
    known = {*read_tables(folder)[1]["strategy"]}
    others = Evidence.published().without([cell.data]).findings
    return Evidence(tuple(one for one in others if one.strategy in known))


def _choose_layers(settings: FinetuneSettings, cell: Cell, evidence: Evidence) -> Choice:
    from kerasunet.layer_selection.selection import SEARCH, choose as choose_layers
    from kerasunet.runs.finetuning import initial_model

    return choose_layers(
        SEARCH,
        lambda: initial_model(settings),
        prepare(settings).decode(cell.side, 1)["train"],
        optimization=settings.optimization,
        augmentation=settings.augmentation,
        start_modality=modality_of_start(settings.init),
        data=cell.data,
        evidence=evidence,
    )


def _wait_for_start(starts: Path, name: str) -> None:
    """Wait for weights that another process is about to write."""
    if name in ("natural", "ultrasound-all"):
        return
    while not (starts / f"{name}.json").is_file():
        time.sleep(1)


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name)


def join(options: argparse.Namespace) -> int:
    """Join the pieces of every cell to one study directory, and remove the pieces."""
    for cell in sorted({piece.parent for piece in options.output.glob("*/*/piece-*")}):
        pieces = sorted(piece for piece in cell.glob("piece-*") if (piece / RUNS).is_file())
        if pieces:
            _join_pieces(cell, pieces)
    return 0


def _join_pieces(cell: Path, pieces: list[Path]) -> None:
    frames = [read_tables(piece) for piece in pieces]
    if (cell / RUNS).is_file():
        frames.append(read_tables(cell))
    cases, runs = (pd.concat(tables) for tables in zip(*frames, strict=True))
    identity = ["strategy", "fold", "train_size", "seed"]
    runs = runs.drop_duplicates(identity).sort_values(identity)
    cases = cases.drop_duplicates([*identity, "key"]).sort_values([*identity, "key"])
    cases.to_csv(cell / "cases.csv.xz", index=False)
    runs.to_csv(cell / RUNS, index=False)
    earlier = [cell] if (cell / RECORD).is_file() else []
    records = [read_json(folder / RECORD) for folder in (*earlier, *pieces)]
    splits = {name: digest for record in records for name, digest in record["splits"].items()}
    write_json(cell / RECORD, {**records[0], "splits": splits})
    for piece in pieces:
        shutil.rmtree(piece)


def figures(options: argparse.Namespace) -> int:
    """Draw the comparisons of all cells, and what is reached from each start."""
    from second_study_figures import draw

    draw(options.output)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    for name, function in (("run", run), ("group", work_group), ("search", search)):
        verb = verbs.add_parser(name)
        verb.set_defaults(function=function)
        if name != "search":
            verb.add_argument("stage", choices=STAGES)
        verb.add_argument("--data", type=Path, required=True)
        verb.add_argument("--starts", type=Path, default=HOME / "starts")
        verb.add_argument("--only", default="", help="only cells whose name contains this")
        if name == "run":
            verb.add_argument("--processes", type=int, default=1)
            verb.add_argument("--minutes", type=float, default=1e6)
        elif name == "group":
            verb.add_argument("--number", type=int, required=True)
    verb = verbs.add_parser("pack")
    verb.set_defaults(function=pack)
    verb.add_argument("sets", type=Path)
    verb.add_argument("--data", type=Path, required=True)
    verb = verbs.add_parser("start")
    verb.set_defaults(function=start)
    verb.add_argument("name", choices=("jsrt-all",))
    verb.add_argument("--data", type=Path, required=True)
    verb.add_argument("--starts", type=Path, default=HOME / "starts")
    for name, function in (
        ("join", join),
        ("choose", choose),
        ("evidence", evidence),
        ("tables", tables),
        ("claims", claims),
        ("figures", figures),
        ("first-study", first_study),
        ("power", power),
    ):
        verbs.add_parser(name).set_defaults(function=function)
    for verb in verbs.choices.values():
        verb.add_argument("--output", type=Path, default=HOME)
    options = parser.parse_args()
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())
