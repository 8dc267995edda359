"""The command line as users meet it: real files, exit statuses, messages.

What a process shows and a call does not, such as what it imports, is tested in real processes.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
from helpers import AS_INSTALLED, IMPORTS, ROOT, counts
from helpers.images import disc_images, write_disc_pairs
from pydicom.data import get_testdata_file

from kerasunet.cli import VERBS

QUICK = ["--steps", 4, "--batch-size", 2, "--validate-every", 2, "--image-size", 32]


def takes_less_than(seconds: float, words: list[str], tries: int = 5) -> bool:
    """Tell whether a program needs less time of a processor, whatever else the machine does."""

    def took() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return any(took() < seconds for _ in range(tries))


def test_help_and_import_are_quick():
    assert takes_less_than(0.3, ["scripts/finetune.py", "--help"])
    assert takes_less_than(0.2, ["-c", "import kerasunet"])


@pytest.mark.parametrize(
    "started", ["runpy.run_module('kerasunet', run_name='__main__')", "import _clone"]
)
def test_ctrl_c_during_imports_ends_quietly(started):
    code = (
        "import os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # Background jobs ignore it.\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'kerasunet.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.meta_path.insert(0, Interrupting())\n{started}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "scripts")))},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_help_brings_in_no_heavy_library():
    code = (
        "import sys\nfrom kerasunet.cli import main\n"
        "for verb in {verbs}:\n"
        "    try: main([verb, '--help'])\n"
        "    except SystemExit: pass\n"
        "print(sorted({{'keras', 'tensorflow', 'numpy', 'cv2', 'scipy'}} & set(sys.modules)))"
    )
    from kerasunet.cli import VERBS

    finished = subprocess.run(
        [sys.executable, "-c", code.format(verbs=list(VERBS))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb", sorted({p.stem for p in (ROOT / "scripts").iterdir()} & set(VERBS))
)
def test_every_script_is_its_verb(verb, call_cli):
    words = [sys.executable, f"scripts/{verb}.py", "--help"]
    text = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert text == call_cli(verb, "--help").stdout
    assert text.startswith(f"usage: kerasunet {verb}")


REFUSED = [
    (["finetune", "--layers", "shallow:12"], "shallow:12: this U-Net has 9 blocks"),
    (["finetune", "--layers", "auto:fast"], "auto takes nothing but search"),
    (["finetune", "--layers", "encoder"], "encoder: no block or layer of this name"),
    (["finetune", "--init", "imagenet"], "imagenet: neither a registered model"),
    (["finetune", "--data", "nowhere"], "nowhere: not a folder, a file or a data set"),
    (["finetune", "--train-size", "few"], "--train-size few: give a whole number"),
    (["finetune", "--threshold", "2"], "threshold must be between 0 and 1, not 2.0"),
    (["finetune", "--schedule", "linear"], "schedule must be one of cosine, constant"),
    (["finetune", "--steps", "0"], "--steps 0: give a whole number of 1 to 100,000,000"),
    (["finetune", "--warmup", "1"], "warmup must be 0 to below 1, not 1.0"),
    (["evaluate", "nonsense", "--data", "simulated-xray"], "nonsense: neither a registered"),
    (["predict", "natural", "missing.png"], "missing.png: no such file or folder"),
    (["show"], "nothing to show"),
    (["train"], "train: no such verb"),
]
ASKED_IN_TURN = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from kerasunet.cli import main

for words in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            status = main(words)
        except SystemExit as stop:
            status = stop.code
    heavy = sorted({"keras", "tensorflow"} & sys.modules.keys())
    print(json.dumps([status, out.getvalue(), err.getvalue(), heavy]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> list[tuple[int, str, str, list[str]]]:
    """What each of `REFUSED` leads to, in one process: status, output, errors, heavy imports."""
    asked = [words for words, _ in REFUSED]
    finished = subprocess.run(
        [sys.executable, "-c", ASKED_IN_TURN, json.dumps(asked)],
        cwd=tmp_path_factory.mktemp("empty"),
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(json.loads(line)) for line in finished.stdout.splitlines()]


@pytest.mark.parametrize(
    ("number", "message"),
    [pytest.param(n, message, id=" ".join(words)) for n, (words, message) in enumerate(REFUSED)],
)
def test_wrong_arguments_fail_at_once_with_what_exists(answers, number, message):
    status, out, err, heavy = answers[number]
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert heavy == []  # Importing them takes seconds.


def test_a_wrong_argument_is_the_exit_status_of_the_process(run_cli):
    finished = run_cli("finetune", "--layers", "shallow:12")
    assert finished.returncode == 2 and finished.stdout == ""
    assert finished.stderr.startswith("error: ") and "Traceback" not in finished.stderr


@pytest.mark.slow(5)
def test_finetune_with_nothing_but_layers_works(run_cli, tmp_path):
    """The README's command with fewer steps: shipped weights, simulated ultrasound, offline."""
    finished = run_cli("finetune", "--layers", "shallow:3", "--steps", 2, "--validate-every", 2)
    assert finished.returncode == 0, finished.stderr
    out = finished.stdout
    assert "Dice on 80 held-out cases (mean, 95 % interval over 80 images)" in out
    for word in ("before", "after", "enc1_conv1", "shallow:3: 72,016 of 1,942,289 weights"):
        assert word in out
    line = next(line for line in out.splitlines() if line.startswith("load"))
    path = tmp_path / line.split('"')[1]
    model = keras.models.load_model(path)
    assert model.input_shape == (None, None, None, 1)
    assert "step 2/2" in finished.stderr
    assert "oneDNN" not in finished.stderr
    assert path.parent == tmp_path / "runs" / "simulated-ultrasound_shallow-3"


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory):
    """Ten PNG discs with masks, as `images/` and `masks/`."""
    return write_disc_pairs(tmp_path_factory.mktemp("own"), 10)


@pytest.mark.slow
def test_own_folder_from_training_to_masks(call_cli, tmp_path, tiny_model_file, own_folder):
    """finetune → evaluate → predict on a user's own images."""
    sizes = ["--train-size", 5, "--validation-size", 1]
    trained = call_cli(
        "finetune",
        "--init",
        tiny_model_file,
        "--data",
        own_folder,
        *sizes,
        "--output",
        "run",
        *QUICK,
    )
    assert trained.returncode == 0, trained.stderr

    measured = call_cli(
        *("evaluate", "run/model.keras", "--data", own_folder, "--csv", "cases.csv"),
        "--include-seen",
    )
    assert measured.returncode == 0, measured.stderr
    assert "10 cases (mean, 95 % interval over 10 images)" in measured.stdout
    with open(tmp_path / "cases.csv", newline="") as file:
        assert [row["key"] for row in csv.DictReader(file)] == [f"case{i}" for i in range(10)]

    recorded = call_cli(
        "evaluate", "run/model.keras", "--data", "simulated-xray:5", "--record", "--image-size", 32
    )
    assert recorded.returncode == 0, recorded.stderr
    card = json.loads((tmp_path / "run" / "model.json").read_text(encoding="utf-8"))
    assert [found["data"]["name"] for found in card["evaluations"]] == ["simulated-xray"]
    assert card["evaluations"][0]["metrics"]["n"] == 5

    twice = call_cli("evaluate", "run/model.keras", "--data", own_folder, "--mirror")
    assert twice.returncode == 0 and "mirrored, 5 cases" in twice.stdout, twice.stderr

    predicted = call_cli("predict", "run/model.keras", own_folder / "images", "--output", "out")
    assert predicted.returncode == 0, predicted.stderr
    with open(tmp_path / "out" / "areas.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    for row in rows:
        mask = cv2.imread(str(tmp_path / "out" / "masks" / row["image"]), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (40, 40)
        assert set(np.unique(mask)) <= {0, 255}
        assert int(row["area_pixels"]) == np.count_nonzero(mask)
        assert (tmp_path / "out" / "overlays" / row["image"]).is_file()


@pytest.mark.slow
def test_prediction_goes_on_after_a_broken_image_and_says_so(
    call_cli, tmp_path, tiny_model_file, own_folder
):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    finished = call_cli(
        "predict", tiny_model_file, tmp_path / "broken.png", own_folder / "images" / "case0.png"
    )
    assert finished.returncode == 2
    assert "1 of 2 images segmented" in finished.stdout
    assert "broken.png" in finished.stderr
    assert (tmp_path / "predictions" / "masks" / "case0.png").is_file()


@pytest.mark.slow
def test_prediction_of_a_folder_names_what_it_leaves_out(call_cli, tmp_path, tiny_model_file):
    images, masks = disc_images(3, size=40)
    (tmp_path / "own").mkdir()
    for name, picture in zip(("a", "b", "lone_mask"), images, strict=True):
        cv2.imwrite(str(tmp_path / "own" / f"{name}.png"), picture)
    cv2.imwrite(str(tmp_path / "own" / "a_mask.png"), masks[0] * np.uint8(255))
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "own" / "IM0001")
    (tmp_path / "own" / "c.npy").write_bytes(b"numbers")
    everything = call_cli("predict", tiny_model_file, "own", "--output", "out")
    assert everything.returncode == 0, everything.stderr
    assert "own: left out 1 masks beside their images" in everything.stdout
    assert "own: not read: 1 .npy" in everything.stdout
    found = {path.name for path in (tmp_path / "out" / "masks").iterdir()}
    assert found == {"a.png", "b.png", "lone_mask.png", "IM0001.png"}
    for name in ("lone_mask.png", "IM0001"):
        (tmp_path / "own" / name).unlink()
    missing = call_cli("predict", tiny_model_file, "own", "--unannotated", "--output", "missing")
    assert missing.returncode == 0, missing.stderr
    assert [path.name for path in (tmp_path / "missing" / "masks").iterdir()] == ["b.png"]


@pytest.mark.slow
def test_pretrain_writes_a_model_with_its_card(call_cli, tmp_path):
    finished = call_cli(
        "pretrain", "--data", "simulated-natural:8", "--validation-data", "simulated-natural:3",
        "--base-filters", 4, "--depth", 2, "--output", "natural", *QUICK,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "Dice on 3 validation cases" in finished.stdout
    card = json.loads((tmp_path / "natural" / "model.json").read_text())
    assert card["architecture"]["depth"] == 2


@pytest.mark.slow
def test_show_draws_pairs_and_prints_layers(call_cli, tmp_path, own_folder):
    finished = call_cli(
        "show", "--data", own_folder, "--sheet", "sheet.png", "--layers", "deep:1", "--depth", 1,
        "--base-filters", 2,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "10 of 10 pairs" in finished.stdout
    assert "dec1_conv1" in finished.stdout
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] > 6 * 256


@pytest.mark.slow
def test_show_checks_that_masks_can_be_learned(call_cli, own_folder):
    options = ["--image-size", 32, "--depth", 2, "--base-filters", 8]
    words = ["show", "--data", own_folder, "--overfit-one-batch", *options]
    good = call_cli(*words, "--steps", 60)
    assert good.returncode == 0, good.stderr
    assert "the network can learn these masks" in good.stdout
    hopeless = call_cli(*words, "--steps", 1)
    assert hopeless.returncode == 2
    assert "give it more --steps" in hopeless.stderr


def test_models_lists_what_ships(call_cli):
    finished = call_cli("models")
    assert finished.returncode == 0
    assert finished.stdout.startswith("natural") or "\nnatural" in finished.stdout


@pytest.mark.slow
def test_another_run_in_the_same_folder_is_refused_unless_restarted(
    call_cli, tmp_path, tiny_model_file
):
    words = [
        "finetune", "--init", tiny_model_file, "--data", "simulated-xray:12", "--train-size", 4,
        "--validation-size", 2, "--output", "run", *QUICK,
    ]  # fmt: skip
    assert call_cli(*words, "--layers", "none").returncode == 0
    refused = call_cli(*words, "--layers", "head")
    assert refused.returncode == 2
    assert "layers was 'none', now 'head'" in refused.stderr
    assert call_cli(*words, "--layers", "head", "--restart").returncode == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["trained"] == 5

    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    spared = call_cli(*words[: -len(QUICK) - 1], "precious", *QUICK, "--restart")
    assert spared.returncode == 2
    assert "is not a run" in spared.stderr
    assert (tmp_path / "precious" / "thesis.txt").is_file()


COUNTED = """
import sys
from collections import Counter
from kerasunet.data import loading, splits
from kerasunet.strategies import parser

calls = Counter()
for module, name in ((parser, "parse"), (loading, "load"), (splits, "split_cases")):
    def counted(*words, name=name, function=getattr(module, name), **more):
        calls[name] += name != "parse" or words[0] == "shallow:3"
        return function(*words, **more)
    setattr(module, name, counted)  # Before anybody imports it from there.

from helpers import counts

counts.run(sys.argv[1:])
print(sorted(calls.items()))
"""


@pytest.fixture(scope="module")
def counted(tmp_path_factory) -> subprocess.CompletedProcess:
    """A fine-tuning in a process in which warnings are errors; modules, certain calls counted."""
    words = [*counts.RUN, "--image-size", "128", "--output", "run"]  # Others are warned of.
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", COUNTED, *words],
        cwd=tmp_path_factory.mktemp("counted"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([IMPORTS, AS_INSTALLED])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_run_is_quiet_and_survives_warnings_as_errors(counted):
    assert counted.returncode == 0, counted.stderr
    assert "retracing" not in counted.stderr and "arning" not in counted.stderr


@pytest.mark.slow
def test_a_fine_tuning_parses_lists_and_splits_once(counted):
    assert counted.stdout.splitlines()[-1] == "[('load', 1), ('parse', 1), ('split_cases', 1)]"


@pytest.mark.slow
def test_a_default_fine_tuning_opens_few_modules(counted):
    assert not counts.over(counts.printed_by_a_run(counted.stdout))
