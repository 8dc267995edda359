"""`compare`: runs are ranked and told apart, and only those of the same images are compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest
from helpers.images import write_disc_pairs

from kerasunet.cli import main
from kerasunet.schema import read_rows

QUICK = ["--steps", 4, "--batch-size", 2, "--validate-every", 2, "--image-size", 32]


@pytest.mark.slow
def test_compare_ranks_runs_and_refuses_other_data(call_cli, tiny_model_file):
    words = ["finetune", "--init", tiny_model_file, "--train-size", 4, "--validation-size", 2]
    for layers, data in (("none", "xray:12"), ("all", "xray:12"), ("head", "xray:15")):
        done = call_cli(
            *words, "--layers", layers, "--data", f"simulated-{data}", "--output", layers, *QUICK
        )
        assert done.returncode == 0, done.stderr
    compared = call_cli("compare", "none", "all")
    assert compared.returncode == 0, compared.stderr
    rows = [line for line in compared.stdout.splitlines() if line.startswith("| `")]
    scores = [float(row.split("|")[7].split()[0]) for row in rows]
    assert all("| `model.keras` | " in row for row in rows)
    assert {row.split("|")[3].strip() for row in rows} == {"none", "4"}
    assert {row.split("`")[5] for row in rows} == {"none", "all"}  # The runs' folders.
    assert {row.split("`")[1] for row in rows} == {"none", "all"}
    assert scores == sorted(scores, reverse=True)
    assert compared.stdout.endswith("Intervals are over 3 images.\n")
    Path("other").mkdir()
    shutil.copytree("all", "other/none")
    for name in ("config.json", "summary.json"):
        record = json.loads(Path("other/none", name).read_text(encoding="utf-8"))
        record["digests"]["init"] = "0123456789abcdef"  # As of another file called the same.
        Path("other/none", name).write_text(json.dumps(record), encoding="utf-8")
    told = call_cli("compare", "none", "other/none", "./none").stdout
    rows = [line for line in told.splitlines() if line.startswith("| `")]
    folders = {row.split("`")[5].split("/")[-2] for row in rows}
    assert (len(rows), folders) == (2, {Path.cwd().name, "other"})
    assert sum("| `model.keras 01234567` |" in row for row in rows) == 1
    for name in ("summary.json", "config.json", "model.json"):
        record = Path("other/none", name)
        record.write_text(record.read_text().replace('"threshold": 0.5', '"threshold": 0.3'))
    told = call_cli("compare", "none", "other/none").stdout
    assert told.count("| 32×32 |") == told.count("| 32×32, threshold 0.3 |") == 1
    table = Path("other/none/cases.csv")
    first, *rows = table.read_text().splitlines()
    area = first.split(",").index("truth_area")
    cells = rows[0].split(",")
    cells[area] = str(int(cells[area]) + 9)  # As of a mask that was redrawn under its name.
    table.write_text("\n".join([first, ",".join(cells), *rows[1:]]) + "\n")
    refused = call_cli("compare", "none", "other/none")
    assert refused.returncode == 2
    assert "different area of the held-out masks from none, so" in refused.stderr
    refused = call_cli("compare", "none", "head")
    assert refused.returncode == 2
    assert "cannot be compared" in refused.stderr


@pytest.mark.slow
def test_compare_refuses_runs_of_other_pixels(call_cli, tiny_model_file):
    """Masks that were redrawn with the same areas, or images that were only trained on."""
    Path("cases").mkdir()
    write_disc_pairs(Path("cases"), 12)

    def finetune(name: str) -> None:
        words = ["finetune", "--init", tiny_model_file, "--layers", "none", "--data", "cases"]
        words += ["--train-size", 4, "--validation-size", 2, *QUICK, "--output", name]
        assert call_cli(*words).returncode == 0

    finetune("one")
    finetune("again")
    assert call_cli("compare", "one", "again").returncode == 0
    tested = {Path(row["key"]).stem for row in read_rows(Path("one/cases.csv"), {"key": str})}
    for part in ("masks", "images"):
        changed = [
            p for p in Path("cases", part).iterdir() if (p.stem in tested) == (part[0] == "m")
        ]
        kept = {path: path.read_bytes() for path in changed}
        for path in changed:
            cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:, ::-1])
        finetune(part)
        refused = call_cli("compare", "one", "again", part)
        assert refused.returncode == 2
        assert f"{part}: has a different content of images or masks from one" in refused.stderr
        for path, content in kept.items():
            path.write_bytes(content)


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A finished run of version 0.1.0."""
    kept = Path(__file__).parents[1] / "fixtures" / "version-0.1.0" / "finetune-finished"
    return Path(shutil.copytree(kept, tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        (
            "cases.csv",
            lambda text: text[: len(text) // 2],
            "cases.csv: is damaged, or a part is missing (row 2",
        ),
        (
            "cases.csv",
            lambda text: text[:-3],
            "a part is missing (it ends in the middle of a line)",
        ),
        (
            "cases.csv",
            lambda text: text[: text.index("\n") + 1],
            "cases.csv: has 0 rows, but the run",
        ),
        (
            "history.csv",
            lambda text: text.replace("step", "stop"),
            "history.csv: is damaged, or a part is missing (it has no column step)",
        ),
        (
            "summary.json",
            lambda text: text.replace('"chosen"', '"c"'),
            "summary of a run: chosen is",
        ),
        ("summary.json", lambda text: text.replace('"mean"', '"m"'), "after.dice.mean is missing"),
        ("summary.json", lambda text: text[:-20], "summary.json: not a readable JSON file"),
        ("config.json", lambda text: text.replace('"init": ""', '"i": ""'), "init is missing"),
        ("config.json", lambda text: text.replace(": 32", ": 64"), "the summary of another run"),
        ("cases.csv", lambda text: text.replace(",0.", ",0.9"), "has another mean Dice than sum"),
    ],
)
def test_compare_names_what_is_wrong_or_missing_in_a_run(earlier, capsys, name, change, fault):
    assert main(["compare", str(earlier)]) == 0
    path = earlier / name
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert main(["compare", str(earlier)]) == 2
    said = capsys.readouterr().err
    assert fault in said and said.count("\n") == 1


def test_compare_leaves_out_what_is_no_run_by_name(earlier, capsys):
    (earlier.parent / "adapted").mkdir()
    (earlier.parent / "adapted" / "adapt.json").write_text("{}")
    told = [str(earlier), str(earlier.parent / "adapted")]
    assert main(["compare", *told]) == 0
    said = capsys.readouterr()
    assert "adapted: an adaptation; what it found is in its answer.md" in said.err
    assert said.out.count("\n| `") == 1
    for name in ("adapt.json", "study.json", "predictions.json"):
        (earlier / name).write_text("of mine")  # Beside a run, which it is no less for that.
    assert main(["compare", *told]) == 0
    assert capsys.readouterr().out == said.out
    assert main(["compare", told[1]]) == 2
    assert "there is no fine-tuning run among these" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"start_saw": 2}, "has seen 2 of the 4 held-out cases, or others of their patients"),
        ({"start_unknown": True}, "its card does not list what it was trained on"),
        (None, "may have seen held-out cases: without model.json, that is not known"),
    ],
)
def test_compare_says_what_the_start_of_a_run_may_have_seen(earlier, capsys, changes, told):
    for name in ("config.json", "summary.json", "model.json"):
        text = (earlier / name).read_text(encoding="utf-8")
        (earlier / name).write_text(text.replace('"scratch"', '"start.keras"'), encoding="utf-8")
    card = earlier / "model.json"
    known = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps(known | (changes or {})), encoding="utf-8")
    if changes is None:  # As in a run of a study.
        card.unlink()
    assert main(["compare", str(earlier)]) == 0
    said = capsys.readouterr().out
    assert said.count("run: its start, start.keras, ") == bool(told) and told in said


def test_compare_says_which_labels_were_used(tmp_path, capsys):
    run = Path(__file__).parents[1] / "fixtures" / "version-0.1.0" / "finetune-finished"
    shutil.copytree(run, tmp_path / "run")
    for name in ("summary.json", "config.json", "model.json"):
        record = json.loads((run / name).read_text(encoding="utf-8"))
        record["settings"]["labels"] = ["benign", "malignant"]
        (tmp_path / "run" / name).write_text(json.dumps(record), encoding="utf-8")
    assert main(["compare", str(run)]) == 0
    assert "\ndata: " in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "run")]) == 0
    assert "\ndata, only benign malignant: " in capsys.readouterr().out
