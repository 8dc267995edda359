"""Measures whether `kerasunet next` chooses better images to annotate than chance does.

    python benchmarks/next_images.py                         # BUS-BRA and BUSI, five repetitions
    python benchmarks/next_images.py --sets bus_bra --manual-dir D --repetitions 2
    python benchmarks/next_images.py --report                # table and curve of what is there

Rounds of annotation are simulated. A fifth of the groups is the test part, another one in each
repetition; of the rest, the first images are drawn by chance, the same for both ways to go on: the
images that `rank` in `kerasunet.inference.annotation_choice` chooses, or others drawn by chance.
Each round trains three models from the same start, each without a third of the annotated images.
Their disagreement chooses the next images, and the Dice of their average on the test part is what
counts. Without a network, sets lie in `--manual-dir`, as `finetune --manual-dir` takes them.

Every cell is kept in `--work`, so the same command goes on after a kill. `--table` and `--curve`
are written from all cells there. Those that are computed so far are in `docs/next-images/cells`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from kerasunet.data import DecodedCases, decode, load  # noqa: E402
from kerasunet.data.cases import NEAR_DUPLICATES  # noqa: E402
from kerasunet.data.groups import regroup  # noqa: E402
from kerasunet.data.splits import split_cases  # noqa: E402
from kerasunet.files import write_json, write_text  # noqa: E402

RANKED, CHANCE = "ranked", "chance"
_WITH_LESION = {"busi": ("benign", "malignant")}
_FOLDS = 5
_MODELS = 3
_THRESHOLD = 0.5
_COLUMNS = ("set", "repetition", "choice", "annotated", "groups", "dice", "test")
_FOLDER = ROOT / "docs" / "next-images"


def main() -> None:
    options = _options()
    if not options.report:
        for name in options.sets:
            data = _data(name, options)
            for repetition in range(options.repetitions):
                _Repetition.prepare(name, data, repetition, options=options).run()
    rows = [*_rows(options.work)]
    if not rows:
        raise SystemExit(f"{options.work}: holds no finished cell; leave out --report")
    write_text(options.table, _csv(rows))
    print(as_markdown(rows))
    _draw(rows, options.curve)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sets", nargs="+", default=["bus_bra", "busi"], help="names or folders of data sets")
    add("--manual-dir", type=Path, help="folder with the archives of the sets")
    add("--sizes", nargs="+", type=int, default=[20, 40, 80], help="annotated images by round")
    add("--repetitions", type=int, default=5)
    add("--init", default="natural", help="the start; one that saw the set would prove nothing")
    add("--layers", default="all", help="strategy")
    add("--steps", type=int, default=200)
    add("--image-size", type=int, default=128)
    add("--work", type=Path, default=Path("runs/next-images"), help="folder of finished cells")
    add("--table", type=Path, default=_FOLDER / "cells.csv")
    add("--curve", type=Path, default=_FOLDER / "curve.png")
    add("--report", action="store_true", help="train nothing")
    return parser.parse_args()


def _data(name: str, options: argparse.Namespace) -> DecodedCases:
    """Return the images of a set that have an object, near-duplicates in one group."""
    data = load(name, options.manual_dir)
    if name in _WITH_LESION:
        data = data.with_labels(_WITH_LESION[name])
    data = regroup(data, NEAR_DUPLICATES)
    return decode(data.cases, (options.image_size, options.image_size))


@dataclass
class _Repetition:
    """One division of a set, and the rounds of annotation in it."""

    name: str
    number: int
    pool: DecodedCases
    test: DecodedCases
    options: argparse.Namespace

    @classmethod
    def prepare(
        cls, name: str, data: DecodedCases, number: int, *, options: argparse.Namespace
    ) -> _Repetition:
        from kerasunet.layer_selection.selection import Member

        members = [Member(*pair) for pair in zip(data.keys, data.groups, strict=True)]
        parts = split_cases(members, fold=number % _FOLDS, folds=_FOLDS, seed=number)
        return cls(
            Path(name).name, number, data.select(parts.train), data.select(parts.test), options
        )

    def run(self) -> None:
        """Go through the rounds of both ways, each cell once."""
        first, *later = self.options.sizes
        rng = np.random.default_rng(self.number)
        order = [self.pool.keys[index] for index in rng.permutation(len(self.pool))]
        start = self._cell("start", order[:first])
        for choice in (RANKED, CHANCE):
            cell = start
            for size in later:
                known = cell["keys"]
                if choice == CHANCE:
                    more = [key for key in order if key not in known][: size - len(known)]
                else:
                    more = cell["next"][: size - len(known)]
                cell = self._cell(choice, [*known, *more])

    def _cell(self, choice: str, keys: Sequence[str]) -> dict[str, Any]:
        """Return a cell: trained now, or as it was kept."""
        name = f"{self.name}-{self.number}-{choice}-{len(keys)}.json"
        path = self.options.work / name
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        cell = self._trained(choice, keys)
        write_json(path, cell)
        print(f"{name}: Dice {cell['dice']:.3f}", flush=True)
        return cell

    def _trained(self, choice: str, keys: Sequence[str]) -> dict[str, Any]:
        from kerasunet.metrics.measures import dice_of_each
        from kerasunet.training.evaluation import predict

        annotated = self.pool.select(keys)
        rest = self.pool.select([key for key in self.pool.keys if key not in set(keys)])
        tested, asked, features = [], [], None
        for model in _members(annotated, self.options, seed=self.number):
            tested.append(predict(model, self.test.images))
            if choice != CHANCE:
                asked.append(predict(model, rest.images))
                if features is None:
                    features = (_features(model, rest), _features(model, annotated))
        dice = dice_of_each(self.test.masks, np.mean(tested, axis=0) >= _THRESHOLD)
        most = max(self.options.sizes) - len(keys)
        chosen = (
            _next(rest, annotated, asked, features=features, number=most)
            if features and most
            else []
        )
        return {
            "set": self.name,
            "repetition": self.number,
            "choice": choice,
            "annotated": len(keys),
            "groups": len(set(annotated.groups)),
            "dice": float(dice.mean()),
            "test": len(self.test),
            "keys": list(keys),
            "next": chosen,
        }


def _members(annotated: DecodedCases, options: argparse.Namespace, *, seed: int) -> Iterator[Any]:
    """Yield models in turn, each trained without a part of the annotated images; use it at once."""
    from kerasunet.data import Augmentation
    from kerasunet.layer_selection.selection import folds_of

    network, steps = _network(options.init, options.layers, options.steps)
    for number, left_out in enumerate(folds_of(annotated, _MODELS, seed)):
        kept = annotated.select([key for key in annotated.keys if key not in set(left_out)])
        own = replace(steps, seed=seed * _MODELS + number)
        network.fit(kept, optimization=own, augmentation=Augmentation())
        yield network.model


@cache
def _network(init: str, layers: str, steps: int) -> tuple[Any, Any]:
    """Return the network, compiled once, and the settings of its training."""
    from kerasunet import models
    from kerasunet.network import rebuilt
    from kerasunet.strategies import parse
    from kerasunet.training import Optimization
    from kerasunet.training.learner import Network

    settings = Optimization(steps=steps, validate_every=steps)
    network = Network(rebuilt(models.load(init)))
    network.set_up(parse(layers), settings)
    return network, settings


def _features(model: Any, cases: DecodedCases) -> np.ndarray:
    from kerasunet.inference.annotation_choice import features, innermost

    network = innermost(model)
    parts = [features(network, cases.images[n : n + 16]) for n in range(0, len(cases), 16)]
    return np.concatenate(parts)


def _next(
    rest: DecodedCases,
    annotated: DecodedCases,
    asked: Sequence[np.ndarray],
    *,
    features: tuple[np.ndarray, np.ndarray],
    number: int,
) -> list[str]:
    """Return the keys of the images to annotate next, the most useful first."""
    from kerasunet.inference.annotation_choice import Look, PoolImage, rank

    known = [
        Look.of([np.zeros(image.shape[:2], np.float32)], own, image[..., 0])
        for image, own in zip(annotated.images, features[1], strict=True)
    ]
    looks = [
        Look.of([found[index] for found in asked], features[0][index], image[..., 0])
        for index, image in enumerate(rest.images)
    ]
    images = [
        PoolImage(key, group, Path(key)) for key, group in zip(rest.keys, rest.groups, strict=True)
    ]
    return [one.image.key for one in rank(images, looks, number, annotated=known)]


def _rows(work: Path) -> Iterator[dict[str, Any]]:
    """Yield the cells; the first round counts for both ways to go on."""
    for path in sorted(work.glob("*.json")):
        cell = json.loads(path.read_text(encoding="utf-8"))
        row = {name: cell[name] for name in _COLUMNS}
        ways = (RANKED, CHANCE) if row["choice"] == "start" else (row["choice"],)
        yield from ({**row, "choice": way} for way in ways)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    lines = [",".join(_COLUMNS)]
    for row in rows:
        lines.append(",".join(str(row[name]) for name in _COLUMNS))
    return "\n".join([*lines, ""])


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table: mean Dice by set and round, and the difference with its 95 % interval.

    The interval is Student's, over repetitions, each of which compares both ways on one division.
    """
    lines = [
        "| set | annotated | ranked | chance | ranked minus chance (95 % interval) | repetitions |",
        "|---|---|---|---|---|---|",
    ]
    for name, size in sorted({(row["set"], int(row["annotated"])) for row in rows}):
        pairs = _pairs(rows, name, size)
        if len(pairs):
            ranked, chance = pairs.mean(axis=0)
            lines.append(
                f"| {name} | {size} | {ranked:.3f} | {chance:.3f} | {_interval(pairs)} | "
                f"{len(pairs)} |"
            )
    return "\n".join(lines)


def _pairs(rows: Sequence[dict[str, Any]], name: str, size: int) -> np.ndarray:
    """Return the Dice of both ways, `(repetitions, 2)`, of the repetitions that have both."""
    found: dict[Any, dict[str, float]] = {}
    for row in rows:
        if (row["set"], int(row["annotated"])) == (name, size):
            found.setdefault(row["repetition"], {})[row["choice"]] = float(row["dice"])
    both = [(one[RANKED], one[CHANCE]) for one in found.values() if len(one) == 2]
    return np.array(both)


def _interval(pairs: np.ndarray) -> str:
    from scipy.stats import t

    differences = pairs[:, 0] - pairs[:, 1]
    mean, count = differences.mean(), len(differences)
    if count < 2 or not differences.any():
        return f"{mean:+.3f}"
    half = t.ppf(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count)
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def _draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from kerasunet.files import write_atomically

    names = sorted({row["set"] for row in rows})
    figure, axes = pyplot.subplots(1, len(names), figsize=(4.5 * len(names), 3.4), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        sizes = sorted({int(row["annotated"]) for row in rows if row["set"] == name})
        pairs = {size: found for size in sizes if len(found := _pairs(rows, name, size))}
        for column, way in enumerate((RANKED, CHANCE)):
            for line in zip(*(found[:, column] for found in pairs.values()), strict=False):
                axis.plot(list(pairs), line, color=f"C{column}", alpha=0.25, linewidth=0.8)
            means = [found[:, column].mean() for found in pairs.values()]
            axis.plot(list(pairs), means, color=f"C{column}", marker="o", label=way)
        axis.set(title=name, xlabel="annotated images", ylabel="Dice", xticks=list(pairs))
        axis.legend()
    figure.tight_layout()
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=120))
    pyplot.close(figure)


if __name__ == "__main__":
    main()
