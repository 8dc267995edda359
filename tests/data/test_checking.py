"""`kerasunet check`: every planted mistake is found, and a clean set has none."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.layout_makers import (
    SHAPE,
    colored,
    corners,
    image_of,
    make_busi,
    make_folder_pairs,
    mask_of,
    write,
    write_pair,
    write_rows,
)

from kerasunet.cli import main
from kerasunet.data import decode, load, split_cases
from kerasunet.data.checking import KINDS, check, read_groups, with_groups
from kerasunet.data.loading import require_objects
from kerasunet.files import FileWarning

COUNT = 24


@pytest.fixture(scope="module")
def clean_folder(tmp_path_factory) -> Path:
    """24 simulated scans, `images/x.png` and `masks/x.png`."""
    folder = tmp_path_factory.mktemp("clean")
    for number, case in enumerate(load(f"simulated-ultrasound:{COUNT}", size=96).cases):
        image, mask, _ = case.load()
        write(folder / "images" / f"scan{number:02d}.png", image.astype(np.uint8))
        write(folder / "masks" / f"scan{number:02d}.png", mask)
    return folder


@pytest.fixture
def scans(clean_folder, tmp_path) -> Path:
    """A copy of the clean folder to spoil."""
    return Path(shutil.copytree(clean_folder, tmp_path / "scans"))


def pixels(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def kinds(folder: Path) -> list[str]:
    return [problem.kind for problem in check(folder).problems]


def the_one_problem(folder: Path):
    (problem,) = check(folder).problems
    return problem


@pytest.mark.slow
def test_a_clean_folder_has_no_problems(clean_folder):
    report = check(clean_folder)
    assert report.problems == ()
    assert report.counts() == {"error": 0, "warning": 0, "note": 0}
    assert report.groups == {f"scan{number:02d}": f"scan{number:02d}" for number in range(COUNT)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simulated-xray", "simulated-natural"])
def test_simulated_sets_are_clean_but_for_their_simulated_letters(name):
    assert set(kinds(f"{name}:40")) <= {"burnt-in-marks"}


def spoil_image(folder: Path) -> None:
    (folder / "images" / "scan05.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")


def spoil_mask_file(folder: Path) -> None:
    (folder / "masks" / "scan05.png").write_bytes(b"")


def shrink_mask(folder: Path) -> None:
    write(folder / "masks" / "scan05.png", pixels(folder / "masks" / "scan05.png")[:50])


def smooth_mask(folder: Path) -> None:
    path = folder / "masks" / "scan05.png"
    write(path, cv2.GaussianBlur(pixels(path), (9, 9), 3))


def flatten_image(folder: Path) -> None:
    write(folder / "images" / "scan05.png", np.full((96, 96), 77, np.uint8))


def empty_mask(folder: Path) -> None:
    write(folder / "masks" / "scan05.png", np.zeros((96, 96), bool))


def fill_mask(folder: Path) -> None:
    write(folder / "masks" / "scan05.png", np.ones((96, 96), bool))


def invert_mask(folder: Path) -> None:
    path = folder / "masks" / "scan05.png"
    write(path, pixels(path) == 0)


def dot_mask(folder: Path) -> None:
    mask = np.zeros((96, 96), bool)
    mask[50, 50] = True
    write(folder / "masks" / "scan05.png", mask)


def draw_letters(folder: Path) -> None:
    path = folder / "images" / "scan05.png"
    write(path, cv2.putText(pixels(path) // 2, "LEFT 2", (2, 90), 0, 0.4, 255, 1))


def draw_in_color(folder: Path) -> None:
    path = folder / "images" / "scan05.png"
    image = colored(pixels(path))
    image[40, 20:60] = (255, 220, 0)
    write(path, image)


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (spoil_image, "unreadable", "images/scan05.png: damaged"),
        (spoil_mask_file, "unreadable", "masks/scan05.png: the file is empty"),
        (shrink_mask, "wrong-size", "masks/scan05.png: the mask is 96×50 pixels"),
        (smooth_mask, "not-binary", "masks/scan05.png: not a binary mask"),
        (flatten_image, "constant-image", "images/scan05.png: every pixel has the gray level 77"),
        (empty_mask, "empty-mask", "images/scan05.png: the mask has no object"),
        (fill_mask, "full-mask", "images/scan05.png: every pixel is object"),
        (invert_mask, "inverted-mask", "images/scan05.png: 100% of the pixels at the edge"),
        (dot_mask, "unusual-share", "images/scan05.png: the object covers 0.01%"),
        (draw_letters, "burnt-in-marks", "pixels of thin white lines"),
        (draw_in_color, "burnt-in-marks", "40 colored pixels in a gray image"),
    ],
)
def test_each_mistake_is_found_and_named(scans, spoil, kind, words):
    spoil(scans)
    problem = the_one_problem(scans)
    assert (problem.kind, problem.keys) == (kind, ("scan05",))
    assert words in problem.message
    assert all(Path(file).name == "scan05.png" for file in problem.files)
    assert problem.severity == KINDS[kind].severity
    assert problem.remedy == KINDS[kind].remedy


def test_an_object_that_shrinking_leaves_nothing_of_is_named(tmp_path):
    for number, side in enumerate((2, 200)):
        mask = np.zeros((600, 600), bool)
        mask[100 : 100 + side, 100 : 100 + side] = True
        write(tmp_path / "images" / f"{number}.png", image_of(mask))
        write(tmp_path / "masks" / f"{number}.png", mask)
    (problem,) = check(tmp_path).by_kind()["empty-mask"]
    assert problem.keys == ("0",) and "no object left at 128×128 pixels" in problem.message
    cases = load(tmp_path).cases
    with pytest.warns(FileWarning, match="1 of 2 masks, such as that of 0, have no object left at"):
        require_objects(cases, decode(cases, (128, 128)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_objects(cases, decode(cases, (512, 512)))


@pytest.mark.slow
def test_masks_of_one_image_that_cover_the_same_are_named(scans):
    path = scans / "masks" / "scan05.png"
    again = path.with_name("scan05_mask_2.png")
    write(again, np.roll(pixels(path) > 0, 1, axis=0))
    path = path.rename(path.with_name("scan05_mask_1.png"))
    problem = the_one_problem(scans)
    assert (problem.kind, problem.keys) == ("overlapping-masks", ("scan05",))
    assert problem.message.endswith("% of the object are in several of its masks")
    assert problem.files == (str(path), str(again)) and problem.severity == "warning"
    write(again, np.zeros((96, 96), bool))
    assert not kinds(scans)


def test_all_mistakes_of_a_set_are_found_in_one_pass(scans):
    (scans / "images" / "scan00.png").write_bytes(b"BM")
    (scans / "masks" / "scan00.png").write_bytes(b"P5")
    write(scans / "masks" / "scan01.png", pixels(scans / "masks" / "scan01.png")[:, :90])
    write(scans / "masks" / "scan02.png", np.zeros((96, 96), bool))
    shutil.copy(scans / "images" / "scan03.png", scans / "images" / "scan04.png")
    assert kinds(scans) == [
        "unreadable", "unreadable", "wrong-size", "empty-mask", "near-duplicates", "mask-conflict",
    ]  # fmt: skip


@pytest.mark.slow
def test_an_image_is_compared_even_if_its_mask_is_spoilt(scans):
    shutil.copy(scans / "images" / "scan03.png", scans / "images" / "scan05.png")
    smooth_mask(scans)
    assert kinds(scans) == ["not-binary", "near-duplicates"]


def test_unpaired_files_hide_nothing_else(scans):
    (scans / "masks" / "scan02.png").unlink()
    (scans / "images" / "scan03.png").unlink()
    spoil_image(scans)
    write(scans / "masks" / "scan07.png", np.zeros((96, 96), bool))
    report = check(scans)
    assert len(report.data) == 22
    assert [(p.kind, Path(p.files[0]).relative_to(scans).as_posix()) for p in report.problems] == [
        ("pairing", "masks/scan03.png"),
        ("unreadable", "images/scan05.png"),
        ("empty-mask", "images/scan07.png"),
        ("unannotated", "images/scan02.png"),
    ]
    assert "has no image" in report.problems[0].message


def test_where_nothing_pairs_up_images_are_opened_all_the_same(scans):
    for path in (scans / "masks").iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    spoil_image(scans)
    report = check(scans)
    assert report.data is None
    assert {p.kind for p in report.problems} == {"pairing", "unreadable"}
    assert sum(p.kind == "pairing" for p in report.problems) == 24


def test_every_line_of_a_reader_s_message_is_a_problem_that_says_what_is_wrong(tmp_path):
    make_folder_pairs(tmp_path / "a", "x", "y")
    make_folder_pairs(tmp_path / "b", "z")
    for name in ("c", "d"):
        write(tmp_path / name / "odd.png", np.zeros((9, 9), np.uint8))
    messages = [problem.message for problem in check(tmp_path).problems]
    assert messages == [
        "images in these folders are in no known layout (images without masks belong in a folder "
        f"named images/): {tmp_path / name}/"
        for name in "cd"
    ]


def test_the_faults_of_a_manifest_are_problems(tmp_path):
    rows = ("gone.png,gone.png", ",m.png")
    path = write_rows(tmp_path / "manifest.csv", "image,mask", *rows)
    report = check(path)
    assert {problem.kind for problem in report.problems} == {"pairing"}
    assert any(f"{path}:2: no such file" in problem.message for problem in report.problems)
    assert any(f"{path}:3: the image is empty" in problem.message for problem in report.problems)


def test_what_does_not_exist_is_no_report():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check("nowhere")
    with pytest.raises(ValueError, match="number of cases"):
        check("simulated-xray:none")


def test_an_annotation_that_cannot_be_drawn_is_named(tmp_path):
    shapes = {
        "good": [{"shape_type": "polygon", "points": corners(mask_of(3))}],
        "bad": [{"shape_type": "line", "points": [[1, 1], [9, 9]]}],
        "forgotten": [],
    }
    for name, drawn in shapes.items():
        write(tmp_path / f"{name}.png", np.arange(24 * 32, dtype=np.uint8).reshape(24, 32))
        (tmp_path / f"{name}.json").write_text(json.dumps({"shapes": drawn}))
    found = {problem.kind: problem for problem in check(tmp_path).problems}
    assert found["annotation"].keys == ("bad",)
    assert "'line' has no area" in found["annotation"].message
    assert found["empty-mask"].keys == ("forgotten",)


def write_manifest(folder: Path, labels: dict[int, str], groups: dict[int, str]) -> Path:
    """A manifest of the scans; labels and groups are `benign` and the key unless given."""
    rows = []
    for number in range(COUNT):
        name = f"scan{number:02d}"
        group, label = groups.get(number, name), labels.get(number, "benign")
        mask = "" if label == "no mask" else f"masks/{name}.png"
        rows.append(f"images/{name}.png,{mask},{group},{label}")
    return write_rows(folder / "manifest.csv", "image,mask,group,label", *rows)


@pytest.mark.slow
def test_an_empty_mask_is_right_where_there_is_nothing_to_draw(scans):
    empty_mask(scans)
    assert kinds(write_manifest(scans, {}, {})) == ["empty-mask"]
    assert kinds(write_manifest(scans, {5: "Normal"}, {})) == []
    assert kinds(write_manifest(scans, {5: "no mask"}, {})) == []


def duplicate(folder: Path) -> None:
    """Makes scan 9 a darker copy of scan 4, with the same mask."""
    darker = (pixels(folder / "images" / "scan04.png") * 0.8).astype(np.uint8)
    write(folder / "images" / "scan09.png", darker)
    shutil.copy(folder / "masks" / "scan04.png", folder / "masks" / "scan09.png")


@pytest.mark.parametrize("turn_mask", [True, False])
def test_turned_copies_are_joined_and_their_masks_compared_in_the_same_way(scans, turn_mask):
    for name in ("images", "masks"):
        picture = pixels(scans / name / "scan06.png")
        turned = picture if name == "masks" and not turn_mask else np.rot90(picture)
        write(scans / name / "scan06_rot90.png", turned > 0 if name == "masks" else turned)
    found = check(scans)
    expected = ["near-duplicates"] + ["mask-conflict"] * (not turn_mask)
    assert [problem.kind for problem in found.problems] == expected
    assert found.problems[0].keys == ("scan06", "scan06_rot90")
    assert found.groups["scan06_rot90"] == found.groups["scan06"]


@pytest.mark.slow
def test_near_duplicates_are_a_problem_only_if_their_groups_differ(scans):
    duplicate(scans)
    apart = check(write_manifest(scans, {}, {9: "p9", 10: "p9"}))
    (problem,) = apart.problems
    assert (problem.kind, problem.keys) == ("near-duplicates", ("scan04", "scan09"))
    joined = {key for key, group in apart.groups.items() if group == apart.groups["scan04"]}
    assert joined == {"scan04", "scan09", "scan10"}
    assert len(set(apart.groups.values())) == COUNT - 2
    assert kinds(write_manifest(scans, {}, {4: "p", 9: "p"})) == []


def test_near_duplicates_with_different_labels_are_a_conflict(scans):
    duplicate(scans)
    manifest = write_manifest(scans, {9: "malignant"}, {4: "p", 9: "p"})
    problem = the_one_problem(manifest)
    assert (problem.kind, problem.keys) == ("label-conflict", ("scan04", "scan09"))
    assert "one is 'benign', the other 'malignant'" in problem.message


def test_near_duplicates_with_contradicting_masks_are_a_conflict(scans):
    duplicate(scans)
    path = scans / "masks" / "scan09.png"
    write(path, np.roll(pixels(path) > 0, 48, axis=1))
    problem = the_one_problem(write_manifest(scans, {}, {4: "p", 9: "p"}))
    assert (problem.kind, problem.keys) == ("mask-conflict", ("scan04", "scan09"))


@pytest.mark.slow
def test_written_groups_keep_near_duplicates_in_one_part(call_cli, scans, tmp_path):
    duplicate(scans)
    finished = call_cli("check", scans, "--groups", "groups.csv")
    assert finished.returncode == 0, finished.stderr
    groups = read_groups(tmp_path / "groups.csv")
    assert groups == check(scans).groups
    data = with_groups(load(scans), groups)
    for seed in range(5):
        split = split_cases(data.cases, seed=seed)
        assert ("scan04" in split.test) == ("scan09" in split.test)


def test_a_table_of_groups_has_every_key_once(clean_folder, tmp_path):
    def table(*rows: str, header: str = "key,group") -> Path:
        return write_rows(tmp_path / "groups.csv", header, *rows)

    with pytest.raises(ValueError, match="no column group"):
        read_groups(table("a,b", header="key,patient"))
    with pytest.raises(ValueError, match=r"groups.csv:3: a has several groups, p and q"):
        read_groups(table("a,p", "a,q"))
    with pytest.raises(ValueError, match=r"groups.csv:2: key or group is empty"):
        read_groups(table("a,"))
    with pytest.raises(ValueError, match="--groups writes the keys; .* in no group:\n  scan01"):
        with_groups(load(clean_folder), read_groups(table("scan00,p")))


def test_a_public_set_is_checked_where_its_files_are(tmp_path):
    make_busi(tmp_path)
    report = check("busi", manual_dir=tmp_path)
    assert (report.data.name, len(report.data)) == ("busi", 9)
    (tmp_path / "Dataset_BUSI_with_GT" / "benign" / "benign (1)_mask.png").unlink()
    report = check("busi", manual_dir=tmp_path)
    (problem,) = report.by_kind()["pairing"]
    assert "benign (1).png: has no mask" in problem.message
    assert len(report.data) == 8


def test_the_command_says_that_a_clean_set_has_no_problems(call_cli, clean_folder):
    finished = call_cli("check", clean_folder)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith("24 cases, patients not known: no problems\n")
    assert finished.stderr == ""


@pytest.mark.slow
def test_warnings_leave_the_exit_status_at_0_and_errors_make_it_1(call_cli, scans):
    empty_mask(scans)
    warned = call_cli("check", scans)
    assert warned.returncode == 0
    assert "1 warning\n\nwarning: empty masks (1)" in warned.stdout
    spoil_image(scans)
    failed = call_cli("check", scans)
    assert failed.returncode == 1
    assert "error: files that cannot be read (1)\n  copy or export" in failed.stdout


@pytest.mark.parametrize(("boxes", "is_named"), [(COUNT, True), (COUNT - 4, False)])
def test_masks_that_are_upright_boxes_are_named(scans, boxes, is_named):
    for number, path in enumerate(sorted((scans / "masks").glob("*.png"))[:boxes]):
        mask = np.zeros((96, 96), bool)
        mask[20 + number : 50 + number, 10 + number : 60] = True
        write(path, mask)
    named = check(scans).by_kind().get("doubtful-outlines", ())
    assert any("masks are upright boxes" in problem.message for problem in named) is is_named


def test_pictures_of_the_object_are_named_where_masks_are_cut_at_a_level(scans):
    for path in (scans / "masks").glob("*.png"):
        mask = pixels(path)
        write(path, cv2.GaussianBlur(mask, (5, 5), 0))
    assert not check(scans, mask_threshold=127).problems
    noise = np.random.default_rng(0).integers(9, 256, mask.shape)
    write(path, np.where(mask > 0, noise, 0).astype(np.uint8))
    (problem,) = check(scans, mask_threshold=127).problems
    assert problem.message.startswith(f"{path}: most of it is neither black nor white")


def test_wrong_arguments_are_told_from_problems(call_cli, scans):
    assert call_cli("check").returncode == 2
    missing = call_cli("check", "nowhere")
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: nowhere: not a folder")
    shutil.rmtree(scans / "masks")
    (scans / "masks").mkdir()
    write(scans / "masks" / "odd.png", np.zeros((96, 96), bool))
    unpaired = call_cli("check", scans, "--groups", "groups.csv")
    assert unpaired.returncode == 2
    assert "odd.png: has no image" in unpaired.stdout
    assert "groups.csv: not written" in unpaired.stderr


def test_a_long_list_of_warnings_is_cut_and_says_so(call_cli, scans):
    for number in range(13):
        write(scans / "masks" / f"scan{number:02d}.png", np.zeros((96, 96), bool))
    shown = call_cli("check", scans).stdout
    assert shown.count("the mask has no object") == 10
    assert "--json and --html show all 13" in shown


def test_json_holds_every_problem(call_cli, scans):
    smooth_mask(scans)
    finished = call_cli("check", scans, "--json")
    assert finished.returncode == 1
    content = json.loads(finished.stdout)
    assert content["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert (content["name"], content["cases"]) == ("scans", COUNT)
    (problem,) = content["problems"]
    assert problem["kind"] == "not-binary"
    assert problem["keys"] == ["scan05"]
    assert "never as JPEG" in problem["remedy"]


def test_the_page_holds_pictures_and_escapes_names(call_cli, scans, tmp_path):
    evil = "<script>alert(1)<!--"
    for name in ("images", "masks"):
        (scans / name / "scan05.png").rename(scans / name / f'{evil}".png')
    write(scans / "masks" / f'{evil}".png', np.zeros((96, 96), bool))
    write(scans / "masks" / "scan06.png", np.ones((50, 96), bool))
    assert call_cli("check", scans, "--html", "report.html").returncode == 1
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;!--") == 3
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    shapes = [
        cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR).shape
        for text in pictures
    ]
    assert shapes == [(160, 160, 3)] * 2
    assert "http" not in page


def test_groups_are_a_plain_table(call_cli, clean_folder, tmp_path):
    assert call_cli("check", clean_folder, "--groups", "out/groups.csv").returncode == 0
    with open(tmp_path / "out" / "groups.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[:2] == [["key", "group"], ["scan00", "scan00"]]
    assert len(rows) == COUNT + 1


def test_a_faulty_row_of_a_manifest_hides_nothing_else(tmp_path):
    for name in ("a", "b"):
        write_pair(tmp_path / f"{name}.png", tmp_path / f"{name}_m.png", ord(name))
    write(tmp_path / "b_m.png", np.zeros(SHAPE, bool))
    rows = ["a.png,a_m.png", "b.png,b_m.png", "c.png,c_m.png", "a.png,a_m.png"]
    write_rows(tmp_path / "manifest.csv", "image,mask", *rows)
    found = check(tmp_path).by_kind()
    messages = [problem.message for problem in found["pairing"]]
    assert len(messages) == 3 and "manifest.csv:4: no such file" in messages[0]
    assert "a.png has a mask twice" in messages[-1]
    assert [problem.keys for problem in found["empty-mask"]] == [("b",)]


def renamed(scans: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        for part in ("images", "masks"):
            (scans / part / f"scan{number:02d}.png").rename(scans / part / f"{name}.png")
    return scans


PATIENTS = [f"{letters}_{n:03d}" for letters in ("ABCD", "EF", "GHI", "K") for n in range(6)]
SIDES = [f"case{n}_{side}" for n in range(1, 13) for side in ("left", "right")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "pattern", "words"),
    [
        (
            PATIENTS,
            "^([A-Z]+)_",
            "24 images look like 4 patients, such as ABCD (ABCD_000, ABCD_001",
        ),
        (SIDES, r"^([a-z]+\d+)_", "12 patients, such as case10 (case10_left, case10_right), c"),
        ([f"{n:02d}{s}" for n in range(12) for s in "LR"], r"^(.*\d)[A-Za-z]$", "12 patients"),
        (
            [f"{20586908 + n}_{n // 3:02d}13a14b80a8591_MG_R" for n in range(COUNT)],
            r"^\d+_(?=\d*[a-f])([0-9a-f]{8,})_",
            "8 patients, such as 0013a14b80a8591 (20586908_00",
        ),
        (
            [f"img_{n % 6}_patient_{n // 6}" for n in range(COUNT)],
            r"(?i)(?<=[ _.\-])((?:patient|pat|subject|subj|sub|pid|mrn)[ _.\-]?\d+)",
            "4 patients, such as patient_0 (img_0_patient_0, img_1_patient_0",
        ),
        (
            [f"slice{n % 6}_P{n // 6}" for n in range(COUNT)],
            r"(?i)[ _.\-]((?:p|pt|case)\d+)$",
            "4 patients, such as P0 (slice0_P0, slice1_P0",
        ),
    ],
)
def test_patients_are_proposed_and_the_pattern_takes_them(scans, names, pattern, words):
    renamed(scans, names)
    problem = the_one_problem(scans)
    assert (problem.kind, problem.severity) == ("patient-names", "note")
    assert words in problem.message and problem.message.endswith(f"--group-pattern '{pattern}'")
    grouped = check(scans, group_pattern=pattern)
    assert grouped.problems == ()
    assert f" {len(set(grouped.groups.values()))} patients" in problem.message


@pytest.mark.parametrize(
    "names",
    [
        [f"img_{n:03d}" for n in range(COUNT)],
        [f"{kind}_{n}" for kind in ("benign", "malignant", "normal") for n in range(8)],
        [f"{n:04d}" for n in range(COUNT)],
        [f"CHNCXR_{n:04d}_{n % 2}" for n in range(COUNT)],
        [f"scan_{n % 2}_{n}" for n in range(COUNT)],
        [f"{n:04d}_202401{n // 3:02d}_MG" for n in range(COUNT)],
    ],
    ids=lambda names: names[0],
)
def test_other_names_are_no_patients(scans, names):
    assert kinds(renamed(scans, names)) == []


@pytest.mark.slow
def test_the_command_proposes_counts_and_applies(scans, tmp_path, capsys):
    renamed(scans, PATIENTS)
    assert main(["check", str(scans)]) == 0
    assert (
        "note: names that look like patients, or were taken for patients (1)"
        in capsys.readouterr().out
    )
    table = tmp_path / "groups.csv"
    words = ["check", str(scans), "--group-pattern", "([A-Z]+)_", "--groups", str(table)]
    assert main(words) == 0
    assert capsys.readouterr().out.endswith("24 cases of 4 patients: no problems\n")
    assert set(read_groups(table).values()) == {f"patient-{p}" for p in ("ABCD", "EF", "GHI", "K")}


@pytest.mark.slow
def test_a_mask_that_is_a_thin_closed_line_is_told(scans):
    path = scans / "masks" / "scan05.png"
    filled = (pixels(path) > 0).astype(np.uint8)
    assert kinds(scans) == []
    write(path, (filled - cv2.erode(filled, np.ones((3, 3), np.uint8))) > 0)
    found = {problem.kind: problem for problem in check(scans).problems}
    assert found["outline"].keys == ("scan05",)
    assert "a line around an area" in found["outline"].message


@pytest.mark.parametrize("mark", ["PatientID", "PatientName", "StudyInstanceUID"])
@pytest.mark.parametrize(("patients", "found"), [("112", 1), ("123", 0), ("111", 0), ("1 ", 0)])
def test_dicom_files_of_one_patient_in_several_groups_are_named(tmp_path, patients, found, mark):
    """Where all have the same PatientID, somebody has replaced it; it is itself shown nowhere."""
    pytest.importorskip("pydicom")
    from helpers.dicom_files import dicom, save

    for number, patient in enumerate(patients):
        image = image_of(mask_of(number))
        marks = {mark: f"1.{patient}" if patient.isdigit() else ""}
        save(dicom(image, **marks), tmp_path / f"images/{number}.dcm")
        write(tmp_path / f"masks/{number}.png", mask_of(number))
    told = check(tmp_path).by_kind().get("divided-patients", [])
    assert len(told) == found
    for problem in told:
        first, second = problem.files
        said = mark if "Study" in mark else "PatientID or name"
        assert problem.message == f"{first} and {second} have the same {said}"


def test_folders_with_dicom_files_of_several_patients_are_named(tmp_path):
    pytest.importorskip("pydicom")
    from helpers.dicom_files import dicom, save

    for number, patient in enumerate("ABBCC"):
        folder = tmp_path / ("P1" if number < 3 else "P2")
        image = dicom(image_of(mask_of(number)), PatientID=patient)
        save(image, folder / f"images/{number}.dcm")
        write(folder / f"masks/{number}.png", mask_of(number))
    (problem,) = check(tmp_path).by_kind()["divided-patients"]
    assert problem.message == "P1 has files of 2 PatientIDs"


def test_faults_that_many_files_share_are_told_once(tmp_path, capsys):
    """Names and numbers may differ; one mask is wrong in another way, and keeps its own line."""
    stems = [f"case{number}" for number in range(12)]
    make_folder_pairs(tmp_path, *stems)
    for number, stem in enumerate(stems):
        (mask,) = tmp_path.glob(f"masks/{stem}.*")
        write(mask, mask_of(number)[: 12 + number])
    write(
        mask.with_name("case0.png"),
        colored(mask_of(0))[..., 0] // 2 + np.eye(*SHAPE, dtype=np.uint8),
    )
    assert main(["check", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.count("they must be the same size") == 3
    assert "    … and 8 more like these: case2.png, case3.png, case4.png, case5.png, " in said
    assert ", case9.png\n    --json and --html show all 11" in said
    assert "case0.png: not a" in said
    assert main(["check", str(tmp_path), "--json"]) == 1
    assert capsys.readouterr().out.count("they must be the same size") == 11
    write(mask.with_name("case0.png"), mask_of(0)[:12])
    assert main(["finetune", "--data", str(tmp_path), "--output", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: 12 of 12 cases cannot be used:\n  ")
    assert "\n  … and 9 more like these: case11.png, case2.png, " in said
    assert said.endswith(", case9.png\n")
