"""The benchmarks: turns and ratios, the table of a whole study, the script in plain Keras."""

from __future__ import annotations

import ast
import csv
import importlib
import json
import re
import runpy
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from helpers import ROOT
from helpers.images import disc_images
from scipy import stats

from kerasunet.data import NO_AUGMENTATION
from kerasunet.data.decoding import DecodedCases
from kerasunet.losses import dice_bce
from kerasunet.study.stats.training_sets import SetComparison
from kerasunet.study.tables import read_tables
from kerasunet.unet import UNet

FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(FOLDER))

from alternating import alternate  # noqa: E402
from gradient_norms import blocks_to_train, relative_gradient_norms  # noqa: E402
from next_images import as_markdown as next_as_markdown  # noqa: E402
from second_study import evidence_elsewhere  # noqa: E402
from second_study_design import searched_cells  # noqa: E402
from second_study_results import Halves, p_values_of  # noqa: E402
from whole_study import LOOP, OURS, TOGETHER, as_markdown  # noqa: E402

COMMANDS = (
    "gpu", "gradient_norms", "inference", "input", "many_runs", "memory", "near_duplicates",
    "next_images", "objects", "paper_size", "scaling", "second_study", "starts", "startup",
    "training", "whole_study",
)  # fmt: skip


def run(script: str, *words: object) -> None:
    """Run a script here, in a namespace of its own, as `python benchmarks/SCRIPT.py` would."""
    path = str(FOLDER / f"{script}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [path, *map(str, words)])
        runpy.run_path(path, run_name="__main__")


HELPS = """
import io, json, runpy, sys
from contextlib import redirect_stdout

folder, *scripts = sys.argv[1:]
sys.path.insert(0, folder)
for script in scripts:
    sys.argv = [f"{folder}/{script}.py", "--help"]
    with redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as stop:
            status = stop.code
    heavy = sorted({"keras", "tensorflow"} & sys.modules.keys())
    print(json.dumps([script, status, out.getvalue(), heavy]))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, list]:
    """What each script answers to `--help`, all in one process: status, output, heavy imports."""
    pytest.importorskip("psutil")
    command = [sys.executable, "-c", HELPS, str(FOLDER), *COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {script: told for script, *told in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("script", COMMANDS)
def test_help_tells_what_is_measured_and_loads_nothing_heavy(helps, script):
    status, said, heavy = helps[script]
    assert (status, heavy) == (0, [])
    assert f"python benchmarks/{script}.py" in said


def test_sides_take_turns_and_ratios_are_taken_within_a_round():
    now, order = 0.0, []

    def side(name: str, seconds: float):
        def work() -> None:
            nonlocal now
            order.append(name)
            now += seconds

        return work

    sides = {"slow": side("slow", 3.0), "fast": side("fast", 1.5)}
    timings = alternate(sides, rounds=2, calls=1, clock=lambda: now)
    assert order == ["slow", "slow", "fast", "fast", "fast", "fast", "slow", "slow"]
    assert timings.best("fast") == 1.5
    assert timings.ratio("slow", "fast") == {"median": 2.0, "low": 2.0, "high": 2.0}


def study_figures(dice: float = 0.5) -> dict:
    """Ours costs 10 s and 1 s a step, the scripts 100 s and 2 s a step, one by one 4 s a step."""
    rows = [
        {
            "side": side,
            "steps": steps,
            "round": 0,
            "wall_s": (start + slope * steps) / 2,
            "processor_s": start + slope * steps,
            "dice": {"none": dice if side == OURS else 0.5},
        }
        for steps in (10, 50)
        for side, start, slope in ((OURS, 10.0, 1.0), (LOOP, 100.0, 4.0), (TOGETHER, 100.0, 2.0))
    ]
    shape = {"strategies": ["none"], "processes": 2, "batch": 8, "pixels": 128, "rounds": 1}
    return {**shape, "rows": rows}


def test_table_of_a_whole_study_tells_ratios_and_what_steps_cost():
    table = as_markdown(study_figures())
    assert "| 10 | kerasunet study | 10 s | 20 s |  |  |" in table
    assert f"| 10 | {LOOP} | 70 s | 140 s | 0.14 (0.14 to 0.14) |" in table
    assert f"| 10 | {TOGETHER} | 60 s | 120 s | 0.17 (0.17 to 0.17) |" in table
    assert "| kerasunet study | 10 s | 1.00 s |" in table
    assert f"| {LOOP} | 100 s | 4.00 s |" in table
    assert f"| {TOGETHER} | 100 s | 2.00 s |" in table


def test_sides_that_start_from_different_networks_are_refused():
    with pytest.raises(ValueError, match="differ before they train"):
        as_markdown(study_figures(dice=0.6))


@pytest.mark.parametrize(
    ("norms", "text"),
    [
        ([1.0, 0.5, 0.49, 0.1, 0.2], "blocks:1-2"),
        ([0.1, 0.9, 0.2, 1.0, 0.8], "blocks:2,4-5"),
        ([1.0, 1.0, 1.0, 1.0, 1.0], "all"),
        ([0.0, 0.0, 2.0, 0.0, 0.0], "blocks:3"),
    ],
)
def test_blocks_with_half_of_the_largest_gradient_norm_are_named(norms, text):
    blocks = ("enc1", "enc2", "bottleneck", "dec2", "dec1")
    assert blocks_to_train(dict(zip(blocks, norms, strict=True))) == text


@pytest.mark.slow
def test_gradient_norms_are_those_of_tensorflows_tape():
    """Of the same batches, tensor by tensor; the model itself stays frozen where it is."""
    tf = pytest.importorskip("tensorflow")
    keras.utils.set_random_seed(3)
    model = UNet(base_filters=4, depth=1, normalization=None, trainable="deep:1")
    images, masks = disc_images(8)
    keys = tuple(map(str, range(8)))
    cases = DecodedCases(keys, keys, images[..., None], masks=masks, spacings=(None,) * 8)
    before, trained = model.get_weights(), [v.path for v in model.trainable_variables]
    found = relative_gradient_norms(model, cases, NO_AUGMENTATION)
    assert [v.path for v in model.trainable_variables] == trained
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    model.trainable = True
    own = [v for v in model.weights if v.path.startswith("enc1_")]
    with tf.GradientTape() as tape:  # Every batch holds all images.
        loss = tf.reduce_mean(dice_bce(masks[..., None], model(images[..., None], training=True)))
    norm = tf.linalg.global_norm(tape.gradient(loss, [v.value for v in own]))
    assert found["enc1"] == pytest.approx(float(norm / tf.linalg.global_norm(own)), rel=1e-3)
    assert list(found) == ["enc1", "bottleneck", "dec1"]


@pytest.mark.slow
def test_gradient_norms_are_printed_with_what_the_old_rule_chooses(tiny_model_file, capsys):
    words = ("--data", "simulated-xray:12", "--images", 2, "--image-size", 32, "--folds", 1)
    with pytest.raises(SystemExit) as end:
        run("gradient_norms", "--init", tiny_model_file, *words)
    head, _, *rows, _, told = capsys.readouterr().out.splitlines()
    assert (
        not end.value.code and head == "| block | relative gradient norm | share of the largest |"
    )
    norms = {row.split()[1]: float(row.split()[3]) for row in rows}
    assert list(norms) == ["enc1", "bottleneck", "dec1"]
    largest = max(norms, key=norms.__getitem__)
    assert next(row for row in rows if "| 1.00 |" in row).startswith(f"| {largest} |")
    assert re.fullmatch(r"The rule of version 0.1.0 chooses fold 0: (blocks:\S+|all)", told)


@pytest.mark.slow
def test_script_in_plain_keras_trains_what_it_is_told_and_nothing_else(tiny_model_file, tmp_path):
    images, masks = disc_images(4)
    for part, pictures in (("images", images), ("masks", masks.astype(np.uint8) * 255)):
        (tmp_path / part).mkdir()
        for number, picture in enumerate(pictures):
            cv2.imwrite(str(tmp_path / part / f"{number}.png"), picture)
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["0", "1"], "test": ["2", "3"]}))
    output = tmp_path / "output"
    words = [tiny_model_file, tmp_path, split, output, "--trains", "dec1_", "head"]
    run("plain_keras_script", *words, "--steps", 2, "--batch-size", 2)
    assert changed_blocks(tiny_model_file, output / "model.keras") == {"dec1", "head"}
    with open(output / "cases.csv", newline="") as file:
        assert [row["key"] for row in csv.DictReader(file)] == ["2", "3"]


def changed_blocks(before: Path, after: Path) -> set[str]:
    old, new = (keras.models.load_model(path, compile=False) for path in (before, after))
    return {
        layer.name.split("_")[0]
        for layer in old.layers
        if any(
            not np.array_equal(a, b)
            for a, b in zip(
                layer.get_weights(), new.get_layer(layer.name).get_weights(), strict=True
            )
        )
    }


# --- the second study, and the size of the paper's networks --------------------------------------


def write_set(path: Path, images: int, side: int = 32) -> None:
    """Write disc images as one of the packed sets."""
    lines = ["image,mask,group,label"]
    with zipfile.ZipFile(path, "w") as archive:
        for number, (image, mask) in enumerate(zip(*disc_images(images, side), strict=True)):
            for kind, picture in (("images", image), ("masks", mask * np.uint8(255))):
                content = cv2.imencode(".png", picture)[1].tobytes()
                archive.writestr(f"{kind}/{number}.png", content)
            lines.append(f"images/{number}.png,masks/{number}.png,{number},")
        archive.writestr("manifest.csv", "\n".join(lines))


@pytest.mark.slow
@pytest.mark.usefixtures("one_worker")
def test_the_size_of_the_paper_runs_at_the_size_of_a_toy(tmp_path, monkeypatch, capsys):
    import paper_size

    for name, images in (("duts", 8), ("ecssd", 4), ("bus_bra", 40), ("jsrt", 14)):
        write_set(tmp_path / f"{name}.zip", images)
    sizes = "--filters 2 --side 32 --steps 2 --pretraining-steps 2 --sets 2 --size 2"
    words = ["run", "--data", tmp_path, "--output", tmp_path / "out", *sizes.split()]
    words += ["--precision", "float32", "--processes", "1"]
    monkeypatch.setattr(paper_size, "STRATEGIES", ("none", "contracting"))
    monkeypatch.setattr(paper_size, "_until", lambda limit, command: in_process(command))
    monkeypatch.setattr(sys, "argv", ["paper_size.py", *map(str, words)])

    def in_process(command: list[str]) -> int:
        options = paper_size._parser().parse_args(command[2:])
        return options.function(options)

    assert paper_size.main() == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1:4] for row in rows[1:]] == [
        [f" {data} ", f" `{strategy}` ", " 2 "]
        for data in ("bus_bra", "jsrt")
        for strategy in ("contracting", "none")
    ]


def next_rows(*dice: tuple[float, float]) -> list[dict]:
    """Rows of rounds with 40 images: Dice of ranked images and of images by chance."""
    return [
        {"set": "busi", "repetition": number, "choice": way, "annotated": "40", "dice": value}
        for number, pair in enumerate(dice)
        for way, value in zip(("ranked", "chance"), pair, strict=True)
    ]


def test_ranked_images_are_compared_with_chance_within_repetitions():
    rows = next_rows((0.7, 0.6), (0.8, 0.72), (0.6, 0.54))
    alone = {**next_rows((0.9, 0.1))[0], "repetition": 3}  # One way alone says nothing.
    table = next_as_markdown([*rows, alone])
    assert "| busi | 40 | 0.700 | 0.620 | +0.080 (+0.030 to +0.130) | 3 |" in table
    assert next_as_markdown(next_rows((0.7, 0.6))).endswith("| +0.100 | 1 |")


@pytest.mark.slow
def test_rounds_of_annotation_go_on_where_they_stopped(tmp_path, tiny_model_file, capsys):
    words = ["--sets", "simulated-ultrasound:20", "--sizes", 4, 6, "--repetitions", 1]
    words += ["--steps", 1, "--image-size", 32, "--init", tiny_model_file]
    words += ["--work", tmp_path / "work", "--table", tmp_path / "cells.csv"]
    words += ["--curve", tmp_path / "curve.png"]
    run("next_images", *words)
    done = capsys.readouterr().out
    cells = {path.name: path.read_text() for path in (tmp_path / "work").iterdir()}
    assert len(cells) == 3 and "| 6 |" in done
    with open(tmp_path / "cells.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["choice"], row["annotated"]) for row in rows] == [
        ("chance", "6"), ("ranked", "6"), ("ranked", "4"), ("chance", "4"),
    ]  # fmt: skip
    run("next_images", *words, "--report")
    assert capsys.readouterr().out.splitlines()[-2:] == done.splitlines()[-2:]
    assert cv2.imread(str(tmp_path / "curve.png")) is not None


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_script_takes_from_the_package_is_there(path):
    """Also where a function imports it, which only a long measurement would call."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kerasunet"):
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or find_spec(f"{module.__name__}.{name}"), name


@pytest.mark.slow
def test_runs_of_a_study_that_train_nothing_are_all_collected(tmp_path, capsys):
    words = ["--runs", 100, "--executors", "local", "--cases", 6, "--report"]
    run("many_runs", *words, "--json", tmp_path / "figures.json")
    (row,) = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert row["runs"] == 100
    assert "| local | 100 |" in capsys.readouterr().out


def test_a_search_is_told_nothing_of_the_set_that_it_is_scored_on():
    published = ROOT / "docs" / "second-study"
    cells = searched_cells(published)
    assert {"bus_bra-20", "busi-20", "jsrt-20", "shenzhen-20"} <= {cell.name for cell in cells}
    for cell in cells:
        told = evidence_elsewhere(cell, published / "strategies" / cell.name).findings
        assert len(told) > 20
        assert cell.data not in {finding.data for finding in told}


def test_regret_is_scored_on_the_half_that_did_not_choose():
    """`b` is best on the second half and worse on the first; `a` is best on the first."""

    def halves(*dice, folds=(0,)):
        return Halves(np.array(dice, float)[None], strategies=("a", "b"), folds=folds)

    one = halves([[0.8, 0.7]], [[0.6, 0.65]])
    assert one.regrets("a") == pytest.approx([(0.7 - 0.8 + 0.6 - 0.6) / 2])
    assert one.regrets("b") == pytest.approx([(0.7 - 0.7 + 0.6 - 0.65) / 2])
    # The mean over sets, not the one of the first set, tells the best.
    two = halves([[0.9, 0.95], [0.7, 0.6]], [[0.7, 0.75], [0.5, 0.55]], folds=(3, 7))
    assert two.regrets("a", 3) == pytest.approx([(0.95 - 0.9 + 0.7 - 0.7) / 2])


def test_halves_of_a_cell_hold_every_group_once(tmp_path):
    published = ROOT / "docs" / "second-study" / "strategies" / "bus_bra-80"
    halves, cases = Halves.of(published), read_tables(published)[0]
    assert halves is not None and halves.dice.shape[1:] == (2, 10, 7)
    chosen = halves.strategies.index("3*all")
    means = cases[cases["strategy"] == "3*all"].groupby("fold")["dice"].mean()
    middle = halves.dice[:, :, :, chosen].mean((0, 1))
    assert middle == pytest.approx(means.to_numpy(), abs=0.002)
    assert halves.dice[:, 0, 0, chosen].std() > 0.001
    assert Halves.of(tmp_path) is None


@pytest.mark.parametrize(
    ("expected", "difference", "holds", "contradicted"),
    [
        ("better", 0.02, True, False),
        ("better", -0.02, False, True),
        ("better", 0.0, False, True),  # Equivalent.
        ("better", 0.0052, False, False),
        ("equivalent", 0.0, True, False),
        ("equivalent", 0.004, True, False),
        ("equivalent", 0.008, False, False),
        ("equivalent", -0.02, False, True),
        ("not worse", 0.05, True, False),
        ("not worse", -0.02, False, True),
        ("not better", -0.05, True, False),
        ("not better", 0.008, False, False),
        ("not better", 0.02, False, True),
    ],
)
def test_what_is_expected_is_tested_and_so_is_its_contrary(
    expected, difference, holds, contradicted
):
    """The margin is 0.01; with 5 sets and an error of 0.002, 0.0056 is significant."""
    student = stats.t(4, difference, 0.002)
    one = SetComparison(
        *("busi", 20, "a", "b"), sets=5, ahead=5, groups=9, difference=difference, error=0.002,
        low=student.ppf(0.025), high=student.ppf(0.975), p_adjusted=1.0, margin=0.01,
        p_value=2 * min(student.cdf(0), student.sf(0)),
        p_equivalence=max(student.cdf(-0.01), student.sf(0.01)),
    )  # fmt: skip
    p_for, p_against = p_values_of(one, expected)
    assert (p_for < 0.05, p_against < 0.05) == (holds, contradicted)
