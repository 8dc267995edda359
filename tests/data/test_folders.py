"""Nothing in a folder is dropped or mistaken without being named; arrays are scaled or refused."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from helpers.layout_makers import (
    SHAPE,
    image_of,
    make_ecssd,
    make_folder_pairs,
    make_jsrt,
    make_shenzhen,
    make_side_by_side,
    mask_of,
    paired,
    write,
    write_pair,
    write_rows,
)

from kerasunet.cli import main
from kerasunet.cli.options import describe_data
from kerasunet.data import DataSet, DecodedCases, decode, gray_levels, load, split_cases
from kerasunet.data.checking import check
from kerasunet.data.groups import with_group_pattern
from kerasunet.data.loading import require_objects
from kerasunet.data.splits import groups_in_words
from kerasunet.runs.preparation import prepare
from kerasunet.training.settings import FinetuneSettings

pytestmark = pytest.mark.filterwarnings("error")


def keys(data: DataSet) -> list[str]:
    return [case.key for case in data.cases]


def bare(data: DataSet) -> list[str]:
    return [case.key for case in data.unannotated]


def problems(folder: Path, kind: str) -> list:
    return check(folder).by_kind().get(kind, [])


# --- images without a mask ----------------------------------------------------------------------


def two_folders(folder: Path) -> None:
    make_folder_pairs(folder, "a", "b", "c", "d")
    (folder / "masks" / "b.png").unlink()


def side_by_side(folder: Path) -> None:
    make_side_by_side(folder, "a", "b", "c", "d")
    (folder / "b_mask.png").unlink()


@pytest.mark.parametrize("make", [two_folders, side_by_side])
def test_images_without_a_mask_are_unannotated(tmp_path, make):
    make(tmp_path)
    data = load(tmp_path)
    assert (keys(data), bare(data)) == (["a", "c", "d"], ["b"])
    assert all(map(paired, data.cases))
    (found,) = problems(tmp_path, "unannotated")
    assert found.severity == "note" and "b.png: has no mask" in found.message
    assert check(tmp_path).counts()["error"] == 0


def test_what_may_be_a_mask_of_another_name_is_hinted_at(tmp_path):
    side_by_side(tmp_path)
    write(tmp_path / "b_lesion.png", mask_of(1))
    messages = [problem.message for problem in problems(tmp_path, "unannotated")]
    assert [message.endswith("has no mask") for message in messages] == [True, False]
    assert "b_lesion.png: has no mask; if it is the mask of b, give it a name like" in messages[1]


def test_an_annotation_beside_images_with_mask_files_is_hinted_at(tmp_path):
    side_by_side(tmp_path)
    (tmp_path / "b.json").write_text('{"shapes": []}')
    (found,) = problems(tmp_path, "unannotated")
    assert found.message.endswith(
        "b.json beside it is not read, because other images have mask files"
    )


def test_unannotated_images_of_patients_parts_and_classes_are_counted_with_them(tmp_path):
    for name in ("train", "test"):
        two_folders(tmp_path / name)
    data = load(tmp_path)
    assert bare(data) == ["test/b", "train/b"]
    assert set(data.official["folders"].values()) == {"train", "test"}
    for name in ("benign", "malignant", "Viral Pneumonia", "Lung_Opacity"):
        side_by_side(tmp_path / "classes" / name)
    labeled = load(tmp_path / "classes").with_labels(["benign"])
    assert (len(labeled), bare(labeled)) == (3, ["benign/b"])


@pytest.mark.parametrize("parts", [("train",), ("train", "val")])
def test_a_folder_of_images_alone_is_unannotated_beside_others_with_masks(tmp_path, parts):
    for first, name in enumerate(parts):
        make_folder_pairs(tmp_path / name, "a", "b", first=2 * first)
    for name in ("x", "y"):
        write(tmp_path / "test" / "images" / f"{name}.png", image_of(mask_of(9)))
    data = load(tmp_path)
    assert (len(data), bare(data)) == (2 * len(parts), ["test/x", "test/y"])
    assert all(map(paired, data.cases))
    write(tmp_path / "test" / "outlines" / "x.png", mask_of(9))
    with pytest.raises(ValueError, match="in no known layout .*:\n.*test/"):
        load(tmp_path)


def test_images_without_masks_in_an_odd_folder_change_no_meaning(tmp_path):
    for name in ("train", "test"):
        make_folder_pairs(tmp_path / name, "a", first=len(name))
    write(tmp_path / "unlabeled" / "images" / "x.png", image_of(mask_of(9)))
    data = load(tmp_path)
    assert bare(data) == ["unlabeled/x"] and set(data.official) == {"folders"}


def test_unannotated_images_are_in_no_split(tmp_path):
    make_folder_pairs(tmp_path, *"abcdefghij")
    whole = load(tmp_path).digest
    write(tmp_path / "images" / "x.png", image_of(mask_of(50)))
    settings = FinetuneSettings(data=str(tmp_path), train_size=4, validation_size=2)
    prepared = prepare(settings)
    assert "x" not in [key for part in vars(prepared.split).values() for key in part]
    assert prepared.data.digest == whole


@pytest.mark.parametrize(("image", "mask"), [
    ("images/s{}.png", "masks/s{}_roi.png"),
    ("images/s{}.png", "masks/s{} Maske.png"),
    ("images/s{}.jpg", "masks/s{}-outline.png"),
    ("images/left_s{}.png", "masks/left_s{}_all_objects.png"),
    ("Images/s{}.png", "gts/s{}.bmp"),
    ("images/s{}.png", "lesion/s{}_lesion.png"),
    ("s{}.png", "s{}_roi.png"),
    ("s{}.png", "masks/s{}.png"),
    ("P{}/us.png", "P{}/masks/us_mask_1.png"),
    ("P{}/us.png", "P{}/us_Maske.png"),
    ("P{}/images/us.png", "P{}/masks/us_lesion.png"),
    ("IMD{0}/IMD{0}_Dermoscopic_Image/IMD{0}.bmp", "IMD{0}/IMD{0}_lesion/IMD{0}_lesion.bmp"),
    ("images/P{}/s{}.png", "masks/s{}.png"),
    ("P{0}/images/P{0}.png", "P{0}/masks/0123456789abcdef.png"),
])  # fmt: skip
def test_masks_are_paired_by_names_that_leave_no_doubt(tmp_path, image, mask):
    for number in (1, 2, 3):
        names = [
            tmp_path / text.replace("{}", str(number)).format(number) for text in (image, mask)
        ]
        write_pair(*names, number)
    data = load(tmp_path)
    assert len(data) == 3 and not data.unannotated and not data.unread
    if image.endswith("png"):
        assert all(map(paired, data.cases))


@pytest.mark.parametrize(("images", "masks"), [
    (["a", "b"], ["a_roi", "b_lesion"]),
    (["a"], ["a_other"]),
    (["P1/a", "P2/a"], ["a"]),
    (["a"], ["1"]),
    (["a", "b"], ["a_lung", "b_lung"]),
    (["a", "b"], ["a_roi", "A_ROI"]),
])  # fmt: skip
def test_masks_whose_names_leave_doubt_are_refused(tmp_path, images, masks):
    for name in images:
        write(tmp_path / "images" / f"{name}.png", image_of(mask_of(1)))
    for name in masks:
        write(tmp_path / "masks" / f"{name}.png", mask_of(1))
    with pytest.raises(ValueError, match="has no image"):
        load(tmp_path)


@pytest.mark.parametrize(("image", "copy"), [
    ("a", "a_mask"), ("image_1", "mask_1"), ("a", "a-label"), ("P1/a", "P1/a_seg"),
])  # fmt: skip
def test_a_mask_among_the_images_is_no_image(tmp_path, image, copy):
    write_pair(tmp_path / "images" / f"{image}.png", tmp_path / "masks" / f"{copy}.png", 1)
    write(tmp_path / "images" / f"{copy}.png", mask_of(1))
    with pytest.raises(ValueError, match=rf"{copy}.png: is called like a mask of {image}, which"):
        load(tmp_path)
    write(tmp_path / "masks" / f"{image}.png", mask_of(1))
    (tmp_path / "masks" / f"{copy}.png").unlink()
    assert (keys(load(tmp_path)), bare(load(tmp_path))) == ([image], [copy])


@pytest.mark.parametrize(("folders", "are_objects"), [
    (("masks_lung", "masks_heart"), True), (("masks_left_lung", "labels_heart"), True),
    (("masks (left)", "masks (right)"), True), (("masks_class_1", "masks_class_2"), True),
    (("masks_reader_1", "masks_reader_2"), False), (("masks (1)", "masks (2)"), False),
    (("masks_v1", "masks_v2"), False), (("masks_final", "masks_corrected"), False),
    (("masks_lung", "masks_lung"), False),
])  # fmt: skip
def test_masks_of_patients_in_folders_called_after_objects(tmp_path, folders, are_objects):
    for number, folder in enumerate(folders):
        place = tmp_path / f"P{number}"
        write_pair(place / "images" / "x.png", place / folder / "x.png", number)
    if not are_objects:
        assert all(map(paired, load(tmp_path).cases))
        return
    names = [re.split("[_ (]+", folder, maxsplit=1)[1].rstrip(")") for folder in folders]
    with pytest.raises(ValueError, match=f"has several objects, {', '.join(names)}"):
        load(tmp_path)
    assert load(tmp_path, objects=names[:1]).cases[0].load().mask.any()


@pytest.mark.parametrize(("name", "text", "kind"), [
    ("masks/manifest.csv", "image,mask,group\na.png,a.png,P1\nb.png,b.png,P1\n", "unused-patients"),
    ("images/manifest.tsv", "image\tmask\na.png\ta.png\n", "documents"),
    ("images/labelmap.txt", "background:0,0,0::\nlung:255,255,255::\n", "documents"),
    ("notes/dataset.json", '{"labels": {"background": 0, "lung": 255}}', "documents"),
    ("masks/labelmap.txt", "background:0,0,0::\nlung:255,255,255::\n", ""),
])  # fmt: skip
def test_a_manifest_or_table_where_it_is_not_read_is_named(tmp_path, name, text, kind):
    make_folder_pairs(tmp_path, "a", "b")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    found = [problem for problem in check(tmp_path).problems if problem.kind != "near-duplicates"]
    assert [problem.kind for problem in found] == ([kind] if kind else [])
    assert all(Path(name).name in problem.message for problem in found)


def test_an_image_that_is_its_own_mask_is_named(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    write(tmp_path / "images" / "a.png", mask_of(0))
    (problem,) = problems(tmp_path, "constant-image")
    assert problem.message.endswith("a.png: is black and white, and shows its own mask")


def test_of_several_folders_for_masks_the_one_with_pictures_is_read(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    data = load(tmp_path)
    assert all(map(paired, data.cases))
    assert [path.name for path in data.unread] == ["a.txt"]
    write(tmp_path / "labels" / "b.png", mask_of(1))
    with pytest.raises(ValueError, match="has labels/, masks/; keep one of them"):
        load(tmp_path)


@pytest.mark.parametrize("name", [
    "excluded", "predictions", "preds_v2", "old", "trash", "results", "augmented", "reader2",
    "PNG", "8bit", "grayscale", "512x512", "Kopie", "копия",
])  # fmt: skip
@pytest.mark.parametrize("place", ["{}/images/{}", "images/{}/{}"])
def test_a_folder_of_results_copies_or_rejects_is_no_patient(tmp_path, name, place):
    for number, patient in enumerate(("P1", "P2", name)):
        image = tmp_path / f"{place.format(patient, number)}.png"
        write_pair(image, Path(str(image).replace("images", "masks")), number)
    text = f"{name.lower()} looks like a result, copy or reject, p1, p2 look like patients"
    with pytest.raises(ValueError, match=text):
        load(tmp_path)


def test_a_patient_in_two_parts_of_a_division_is_named(tmp_path):
    for part, patients in (("train", "12"), ("test", "13")):
        for patient in patients:
            make_folder_pairs(tmp_path / part / f"P{patient}", part, first=int(patient))
    (problem,) = problems(tmp_path, "divided-patients")
    assert problem.message == "P1 is in several parts of the division folders"


def test_where_no_image_has_a_mask_it_says_so(tmp_path):
    make_folder_pairs(tmp_path / "p", "a", "b")
    for path in (tmp_path / "p" / "masks").iterdir():
        path.rename(path.with_name("a_other.png"))
    with pytest.raises(ValueError, match=r"a_other.png: has no image"):
        load(tmp_path / "p")
    report = check(tmp_path / "p")
    assert report.data is None and report.counts()["error"] == 1


def test_a_command_counts_what_is_left_out(tmp_path, capsys):
    two_folders(tmp_path)
    for name in ("x.avif", "y.avif", "z.npy"):
        (tmp_path / "images" / name).write_bytes(b"pixels")
    main(["check", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "note: images without a mask (1)" in shown
    assert f"{tmp_path / 'images'}/: 2 .avif, x.avif, y.avif" in shown
    lines = describe_data(load(tmp_path)).splitlines()
    assert lines[1:] == [
        "no mask     1 images, left out: b",
        "not read    2 .avif, 1 .npy; kerasunet check lists them",
    ]


def test_a_command_says_that_names_look_like_patients_unless_these_are_named(tmp_path):
    names = [f"{patient}_{number}" for patient in ("AB", "CD", "EFG") for number in (1, 2, 3)]
    data = load(make_folder_pairs(tmp_path, *names))
    (line,) = describe_data(data).splitlines()[1:]
    assert "file names suggest 3; --group-pattern '^([A-Z]+)_' keeps each" in line
    assert len(describe_data(with_group_pattern(data, "^([A-Z]+)_")).splitlines()) == 1


# --- files of no case ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "x.avif",
        "x.svg",
        "x.npy",
        "x.heic",
        "x.mp4",
        "x",
        "x.keras",
        "deep/x.png",
    ],
)
@pytest.mark.parametrize("place", ["images", "masks", "other", "."])
def test_a_file_of_no_case_is_named(tmp_path, name, place):
    make_folder_pairs(tmp_path, "a", "b")
    path = tmp_path / place / "down" / name if "/" in name else tmp_path / place / name
    if place in ("images", "masks") and "/" in name:
        path = tmp_path / "extra" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no image that is read")
    data = load(tmp_path)
    assert data.unread == (path,) and keys(data) == ["a", "b"]
    (found,) = problems(tmp_path, "unread")
    assert path.name in found.message and found.files == (str(path),)


def test_documents_are_no_images_and_hidden_files_are_hidden(tmp_path):
    make_folder_pairs(tmp_path, "a")
    for name in ("README", "LICENSE.txt", "notes.pdf", "table.xlsx", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).write_text("words")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.png").write_bytes(b"")
    assert load(tmp_path).unread == ()


@pytest.mark.parametrize("name", ["foo.json", "s/b.csv", "notes.txt", "a.yaml", "x.xml", "p.docx"])
def test_check_names_every_document_that_no_case_is_read_from(tmp_path, name):
    make_folder_pairs(tmp_path, "a", "b")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("words")
    (tmp_path / "README.md").write_text("what this is")
    (problem,) = problems(tmp_path, "documents")
    assert problem.files == (str(tmp_path / name),)


def test_a_document_that_is_named_for_another_reason_is_named_once(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    write_rows(tmp_path / "x.csv", "file,patient", "a.png,P1", "b.png,P1")
    assert [problem.kind for problem in check(tmp_path).problems] == ["unused-patients"]


@pytest.mark.parametrize("name", ["manifest.csv", "labelmap.txt"])
def test_a_table_that_is_read_is_not_named(tmp_path, name):
    make_folder_pairs(tmp_path, "a")
    lines = {
        "manifest.csv": ("image,mask", "images/a.png,masks/a.png"),
        "labelmap.txt": ("# label:color_rgb:parts:actions", "background:0,0,0::", "x:9,9,9::"),
    }
    write_rows(tmp_path / name, *lines[name])
    assert "documents" not in check(tmp_path).by_kind()


def test_check_says_that_nobody_has_named_patients(tmp_path, capsys):
    make_folder_pairs(tmp_path, "a")
    main(["check", str(tmp_path)])
    assert "1 case, patients not known" in capsys.readouterr().out


def test_a_database_is_named_as_unread(tmp_path):
    make_folder_pairs(tmp_path, "a")
    (tmp_path / "patients.db").write_bytes(b"SQLite format 3\0")
    assert load(tmp_path).unread == (tmp_path / "patients.db",)


def test_a_mask_folder_that_is_not_taken_is_named(tmp_path):
    make_folder_pairs(tmp_path, "a")
    write(tmp_path / "gt" / "a.png", mask_of(1))
    assert load(tmp_path).unread == (tmp_path / "gt" / "a.png",)


def test_images_that_a_manifest_leaves_out_are_named(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    write_rows(tmp_path / "manifest.csv", "image,mask", "images/a.png,masks/a.png")
    left = {path.relative_to(tmp_path).as_posix() for path in load(tmp_path).unread}
    assert left == {"images/b.png", "masks/b.png"}


def test_images_of_a_kind_that_is_not_read_are_named_though_nothing_pairs_up(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    for path in (tmp_path / "images").iterdir():
        path.rename(path.with_suffix(".avif"))
    report = check(tmp_path)
    assert {problem.kind: len(problem.files) for problem in report.problems} == {
        "pairing": 1,
        "unread": 2,
    }


def test_a_folder_in_no_layout_says_what_it_holds(tmp_path):
    for name in ("a.avif", "b.avif", "c.png"):
        (tmp_path / name).write_bytes(b"pixels")
    with pytest.raises(ValueError, match=r"no known layout.*it holds 2 \.avif, 1 \.png"):
        load(tmp_path)


# --- names of masks ------------------------------------------------------------------------------


def test_what_icloud_has_moved_away_is_named(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    for folder in ("images", "masks"):
        (tmp_path / folder / ".c.png.icloud").write_bytes(b"bplist00")
    data = load(tmp_path)
    assert keys(data) == ["a", "b"]
    assert [path.name for path in data.unread] == [".c.png.icloud"] * 2


def test_an_archive_among_the_images_is_named(tmp_path):
    """One part of a download that nobody has unpacked; the archive of the whole is above them."""
    make_folder_pairs(tmp_path, "a", "b")
    for name in ("all.zip", "images/images_002.tar.gz", "masks/more.zip", "masks/notes.txt"):
        (tmp_path / name).write_bytes(b"PK")
    unread = [path.name for path in load(tmp_path).unread]
    assert unread == ["images_002.tar.gz", "more.zip"]


def test_a_folder_in_a_folder_of_the_same_name_is_looked_through(tmp_path):
    """Archives of Kaggle often unpack so."""
    for number in range(3):
        image, mask = (tmp_path / name / name for name in ("images", "masks"))
        write_pair(image / f"{number}.png", mask / f"{number}_mask.png", number)
    data = load(tmp_path)
    assert keys(data) == ["0", "1", "2"] and all(map(paired, data.cases))
    write(tmp_path / "images" / "3.png", image_of(mask_of(3)))
    with pytest.raises(ValueError, match=r"masks/masks/0_mask\.png: has no image"):
        load(tmp_path)


@pytest.mark.parametrize("word", ["seg", "gt", "GT", "label", "Annotation", "segmentation"])
@pytest.mark.parametrize("number", ["", "_1"])
def test_other_words_than_mask_beside_images(tmp_path, word, number):
    for index, stem in enumerate(["a", "b"]):
        write_pair(tmp_path / f"{stem}.png", tmp_path / f"{stem}_{word}{number}.png", index)
    write(tmp_path / "c.png", image_of(mask_of(7)))
    data = load(tmp_path)
    assert (keys(data), bare(data), data.layout) == (["a", "b"], ["c"], "x beside x_mask")
    assert all(map(paired, data.cases))


def test_parts_of_masks_are_united_after_the_plural_too(tmp_path):
    write(tmp_path / "a.png", image_of(mask_of(1) | mask_of(9)))
    write(tmp_path / "a_masks.png", mask_of(1))
    write(tmp_path / "a_masks_2.png", mask_of(9))
    (case,) = load(tmp_path).cases
    assert paired(case)


@pytest.mark.parametrize("ending", ["masks", "cp_masks"])
@pytest.mark.parametrize("folder", ["", "masks"])
def test_masks_of_cellpose(tmp_path, ending, folder):
    images = tmp_path / "images" if folder else tmp_path
    for index, stem in enumerate(["a", "b_masks"]):
        write(images / f"{stem}.tif", image_of(mask_of(index)))
        numbers = mask_of(index).astype(np.uint16)
        numbers[:, 4:] *= 300
        write(tmp_path / folder / f"{stem}_{ending}.png", numbers)
    data = load(tmp_path, mask_threshold=0)
    assert keys(data) == ["a", "b_masks"] and all(map(paired, data.cases))


def test_masks_and_mask_beside_an_image_are_refused(tmp_path):
    write_pair(tmp_path / "a.png", tmp_path / "a_mask.png", 1)
    write(tmp_path / "a_masks.png", mask_of(1))
    with pytest.raises(ValueError, match="masks of several kinds, x_mask, x_masks; keep one"):
        load(tmp_path)


@pytest.mark.parametrize("word", ["seg", "gt", "Label", "annotation", "ground_truth", "mask"])
def test_the_same_words_in_a_mask_folder(tmp_path, word):
    write_pair(tmp_path / "images" / "a.png", tmp_path / "masks" / f"a_{word}.png", 1)
    (case,) = load(tmp_path).cases
    assert case.key == "a" and paired(case)


def test_a_mask_of_such_a_word_without_its_image_is_an_error(tmp_path):
    write_pair(tmp_path / "a.png", tmp_path / "a_seg.png", 1)
    write(tmp_path / "b_seg.png", mask_of(2))
    with pytest.raises(ValueError, match=r"b_seg\.png: has no image"):
        load(tmp_path)


def test_words_of_several_kinds_are_refused(tmp_path):
    write_pair(tmp_path / "a.png", tmp_path / "a_mask.png", 1)
    write(tmp_path / "a_seg.png", mask_of(2))
    with pytest.raises(ValueError, match=r"masks of several kinds, x_mask, x_seg; keep one"):
        load(tmp_path)


@pytest.mark.parametrize("word", ["-label", "-mask", "-seg_1"])
def test_a_hyphen_before_the_word_beside_an_image(tmp_path, word):
    """3D Slicer calls label maps so."""
    write_pair(tmp_path / "a.png", tmp_path / f"a{word}.png", 1)
    (case,) = load(tmp_path).cases
    assert case.key == "a" and paired(case)


def test_a_hyphen_before_the_word_counts_only_where_there_is_no_mask_otherwise(tmp_path):
    side_by_side(tmp_path)
    write(tmp_path / "a-label.png", mask_of(2))
    data = load(tmp_path)
    assert (keys(data), bare(data)) == (["a", "c", "d"], ["a-label", "b"])
    assert all(map(paired, data.cases))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/image_{}", "masks/mask_{}"),
        ("images/{}", "masks/mask_{}"),
        ("images/img{}", "labels/seg{}"),
        ("images/x_image_{}", "masks/x_mask_{}"),
        ("images/case{}_IMG", "masks/case{}_label"),
        ("images/left/scan_{}", "masks/left/gt_{}"),
        ("{}", "mask_{}"),
        ("image-{}", "ground_truth-{}"),
        ("P{}/image", "P{}/mask"),
        ("P{}/scan", "P{}/label"),
        ("volume-{}", "segmentation-{}"),
    ],
)
def test_the_word_for_mask_may_stand_elsewhere_in_all_names(tmp_path, image, mask):
    for number in range(1, 5):
        write_pair(*(tmp_path / f"{name.format(number)}.png" for name in (image, mask)), number)
    write(tmp_path / f"{image.format(5)}.png", image_of(mask_of(5)))
    if "images" in image or "P" not in image:
        assert len(bare(load(tmp_path))) == 1
    (tmp_path / f"{image.format(5)}.png").unlink()
    data = load(tmp_path)
    wanted = [image.format(n).removeprefix("images/") for n in range(1, 5)]
    assert (keys(data), data.unannotated, data.unread) == (wanted, (), ())
    assert all(map(paired, data.cases))
    if "P" in image:
        assert {case.group for case in data.cases} == {"P1", "P2", "P3", "P4"}


def test_a_word_for_mask_that_leaves_doubt_is_refused(tmp_path):
    for number in (1, 2):
        write_pair(
            tmp_path / f"images/image_{number}.png", tmp_path / f"masks/mask_{number}.png", 1
        )
    write(tmp_path / "images" / "1.png", image_of(mask_of(1)))
    with pytest.raises(ValueError, match=r"mask_1\.png: has no image\n.*mask_2\.png: has no"):
        load(tmp_path)


@pytest.mark.parametrize("ending", ["_1", "2", "_003"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_mask_that_may_be_of_two_images_is_refused(tmp_path, beside, ending):
    """Programs number the copies of a name: `a_1` and `a_mask_1`, as they do parts of a mask."""
    images, masks = (tmp_path, tmp_path) if beside else (tmp_path / "images", tmp_path / "masks")
    write_pair(images / "a.png", masks / "a_mask.png", 1)
    write_pair(images / f"a{ending}.png", masks / f"a_mask{ending}.png", 2)
    with pytest.raises(ValueError, match=f"a_mask{ending} is of a or of a{ending}, which has no"):
        load(tmp_path)
    other = f"a-{ending.strip('_0')}"  # Programs differ in how they number.
    (images / f"a{ending}.png").rename(images / f"{other}.png")
    with pytest.raises(ValueError, match=f"a_mask{ending} is of a or of {other}, which has no"):
        load(tmp_path)
    (images / f"{other}.png").rename(images / f"a{ending}.png")
    write(masks / f"a{ending}_mask.png", mask_of(2))
    assert [len(case.masks) for case in load(tmp_path).cases] == [2, 1]


COPIES = (
    *("a_mask (1)", "a_mask(1)", "a_mask 2", "a_mask copy", "a_mask - Kopie (2)"),
    *("a_mask (Anna's conflicted copy 2024-01-05)", "a_mask-DESKTOP-AB12CD"),
    *("a_mask - コピー", "a_mask - 副本 (2)", "a_mask - копия", "a_mask - 복사본"),
    *("a_mask — копия", "a_mask – másolat", "a_mask - Kopi", "a_mask - Αντιγραφή", "a_mask - نسخة"),
    *("a_mask_20240131", "a_mask_2024-01-31", "a_mask_2024-01-31_12.30.05", "a_mask_copy2"),
)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("name", COPIES)
def test_a_copy_or_a_dated_version_of_a_mask_is_no_part_of_it(tmp_path, name, beside):
    images, masks = (tmp_path, tmp_path) if beside else (tmp_path / "images", tmp_path / "masks")
    write_pair(images / "a.png", masks / "a_mask.png", 1)
    write(masks / f"{name}.png", mask_of(2))
    with pytest.raises(ValueError, match=r"copies or versions.*keep one.*_1 and _2|has no image"):
        load(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["a_mask (1)"],
        ["a_mask_1", "a_mask_000002", "a_mask 3"],
        ["a_mask_1_1", "a_mask_1_2"],
        ["a_mask_1_of_2", "a_mask_2_of_2"],
        ["a_mask_1_nodule", "a_mask_2_nodule"],
        ["a_mask_1a", "a_mask_1b"],
        ["a_mask(1)", "a_mask(2)", "a_mask (3)"],
        ["a_mask__1", "a_mask__2"],
        ["a_mask_[1]", "a_mask_[2]"],
        ["a_mask", "a_mask_00000001", "a_mask_10000002"],
        ["a_mask_1 - Copy", "a_mask_2"],
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_one_mask_of_any_such_name_and_numbers_are_read(tmp_path, names, beside):
    images, masks = (tmp_path, tmp_path) if beside else (tmp_path / "images", tmp_path / "masks")
    write(images / "a.png", image_of(mask_of(1)))
    for index, name in enumerate(names):
        write(masks / f"{name}.png", mask_of(index))
    (case,) = load(tmp_path).cases
    wanted = np.logical_or.reduce([mask_of(index) for index in range(len(names))])
    np.testing.assert_array_equal(case.load().mask, wanted)


@pytest.mark.parametrize(
    "names",
    [
        ["a_mask_20240131", "a_mask_20240228"],
        ["a_mask_1", "a_mask_1 - Copy"],
        ["a_mask_1", "a_mask_1 (1)"],
        ["a_mask_1", "a_mask_2", "a_mask_2_2024-01-31"],
    ],
)
def test_two_versions_and_a_copy_of_a_part_are_refused(tmp_path, names):
    write(tmp_path / "a.png", image_of(mask_of(1)))
    for index, name in enumerate(names):
        write(tmp_path / f"{name}.png", mask_of(index))
    with pytest.raises(ValueError, match="these look like copies or versions of one mask"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["img", "frames", "Original", "img_dir", "data", "Images_final"])
def test_other_names_of_the_image_folder(tmp_path, name):
    for index, stem in enumerate("ab"):
        write_pair(tmp_path / name / f"{stem}.png", tmp_path / "masks" / f"{stem}.png", index)
    data = load(tmp_path)
    assert keys(data) == ["a", "b"] and all(map(paired, data.cases))


@pytest.mark.parametrize(
    "name",
    [
        *("ground_truth", "GroundTruth", "Ground Truth", "gt", "seg", "SegmentationClass"),
        *("annotations", "ann_dir", "masks_v2", "Labels.final", "masks_machine"),
    ],
)
def test_other_names_of_the_mask_folder(tmp_path, name):
    for index, stem in enumerate("ab"):
        write_pair(tmp_path / "images" / f"{stem}.png", tmp_path / name / f"{stem}.png", index)
    data = load(tmp_path)
    assert keys(data) == ["a", "b"] and all(map(paired, data.cases))


def test_two_folders_of_such_names_are_refused(tmp_path):
    place(tmp_path, "images/a.png masks_v1/a.png", "b.png masks_v2/a.png")
    with pytest.raises(ValueError, match="no known layout"):
        load(tmp_path)


def test_masks_that_label_studio_numbers_by_task_are_refused_with_the_reason(tmp_path):
    write_pair(
        tmp_path / "images" / "1.png",
        tmp_path / "masks" / "task-1-annotation-4-by-1-tag-lesion-0.png",
        1,
    )
    with pytest.raises(ValueError, match="has no image .Label Studio numbers tasks, not images"):
        load(tmp_path)


def test_parts_in_folders_of_images_and_of_annotations(tmp_path):
    for index, part in enumerate(("train", "val")):
        image, mask = (tmp_path / name / part / "x.png" for name in ("img_dir", "ann_dir"))
        write_pair(image, mask, index)
    data = load(tmp_path)
    assert data.official == {"folders": {"train/x": "train", "val/x": "validation"}}
    assert all(map(paired, data.cases))


STEMS = (
    *("1", "01", "001", "a", "A", "a_1", "a_2", "a-1", "a (1)", "b", "a.b", "b-label", "a_mask"),
    *("x_seg_1", "P1_1", "mask_1", "label", "a_gt", "a_1_2", "a_0000", "2024-01-01", "a_left"),
)
ENDINGS = ("", "_mask", "_mask_{}", "_seg", "-label", "_label_{}", "_gt", "_Annotation", "_mask{}")


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_names_no_image_gets_the_mask_of_another(tmp_path, seed):
    """Folders of random names are refused, or each image has all of its masks and no others."""
    random = np.random.default_rng(seed)
    beside, ending = random.random() < 0.4, random.choice(ENDINGS)
    images, masks = (tmp_path / name for name in (("", "") if beside else ("images", "masks")))
    truth: dict[bytes, np.ndarray] = {}
    for number, stem in enumerate(random.choice(STEMS, random.integers(2, 6), replace=False)):
        picture, mask = random.integers(0, 255, SHAPE, np.uint8), np.zeros(SHAPE, bool)
        write(images / f"{stem}{random.choice(['.png', '.PNG', '.bmp'])}", picture)
        for part in range(random.choice([0, 1, 1, 1, 2 if "{}" in ending else 1])):
            write(
                masks / f"{stem}{ending.format(part + 1)}.tif", drawn := mask_of(3 * number + part)
            )
            mask |= drawn
        truth[picture.astype(np.float32).tobytes()] = mask
    try:
        cases = load(tmp_path).cases
    except ValueError:
        return
    for case in cases:
        image, mask, _ = case.load()
        np.testing.assert_array_equal(mask, truth[image.tobytes()])


# --- folds, lists of parts, shared masks ---------------------------------------------------------


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize(
    "names",
    [("fold0", "fold1"), ("Fold_1", "Fold_2"), ("split1", "split10"), ("kfold1", "k-fold 2")],
)
def test_folders_of_folds_are_a_division_and_no_patients(tmp_path, names, outside):
    for index, name in enumerate(names):
        for number in range(2):
            path = f"{name}/images" if outside else f"images/{name}"
            stem = f"{number + 2 * index}.png"
            image, mask = tmp_path / path / stem, tmp_path / path.replace("images", "masks") / stem
            write_pair(image, mask, number + 2 * index)
    data = load(tmp_path)
    assert data.layout == "one folder per fold: images/ and masks/"
    assert all(case.group == case.key for case in data.cases)
    first, second = names
    assert data.official == {
        "folders": {f"{first}/0": 0, f"{first}/1": 0, f"{second}/2": 1, f"{second}/3": 1}
    }
    test = split_cases(data.cases, official=data.official["folders"], fold=1, folds=2).test
    assert test == (f"{second}/2", f"{second}/3")


def test_check_names_equal_masks_of_different_images(tmp_path):
    make_folder_pairs(tmp_path, *"abcde")
    for name in "bcd":
        write(tmp_path / "masks" / f"{name}.png", mask_of(1))
    (problem,) = problems(tmp_path, "shared-mask")
    assert problem.files == tuple(str(tmp_path / "images" / f"{name}.png") for name in "bcd")
    assert problem.message.endswith("d.png: have equal masks") and problem.severity == "warning"


def test_check_names_folders_that_look_like_several_of_each_patient(tmp_path):
    for index, name in enumerate(("001_1", "001_2", "002_1", "003_2")):
        make_side_by_side(tmp_path / name, "a", first=index)
    (problem,) = problems(tmp_path, "patient-names")
    assert "several of each patient, such as 001 (001_1, 001_2)" in problem.message
    assert "put them into one" in problem.message


@pytest.mark.parametrize(
    ("alike", "others"),
    [
        (("001_L", "001_R"), ("002_L", "003_R")),
        (("P1_2020", "P1_2021"), ("P2", "P3_2020")),
        (("P-0025", "P-0025a"), ("P-0026", "P-0027b")),
        (("P1", "P1-2021-03-05"), ("P2_2021-03-05", "P3")),
        (("sub-01_ses-01", "sub-01_ses-02"), ("sub-02_ses-01",)),
        (("7 pre", "7 post"), ("8 pre",)),
        (("P1_CC", "P1-MLO", "P1_LCC"), ("P2_CC",)),
        (("P1_axial", "P1_sag", "P1 b-mode"), ("P2_axial", "axial_3")),
        (("Patient 1", "Patient 1 (2)"), ("Patient 2 (2)",)),
        (("P002-baseline", "P002-fu1", "P002_12months"), ("P003-fu1", "P004_12")),
        (("P1", "P1_rescan", "P1 - Copy"), ("P2_new",)),
        (("left_P1", "right_P1"), ("left_P2", "R_P3")),
        (("Patient 1", "patient_1"), ("patient-2",)),
        (("P-7", "P7", "P7_", "p_7_2"), ("P77", "P8-2")),
        (("visit1_P1", "Visit 2-P1", "pre_P1", "CC_P1"), ("visit1_P2", "visit3")),
        (("P1 (left)", "P1 (right)", "P1[2]"), ("P2 (left)",)),
        (("P1", "P1 - 副本", "P1_backup", "P1-neu"), ("P2_final", "P3_neu")),
        (("S01V1", "S01V2", "S01 day3"), ("S02V1", "S1")),
    ],
    ids=str,
)
@pytest.mark.parametrize("in_folders", [True, False])
def test_groups_of_one_patient_but_for_a_year_visit_or_side_are_named(
    tmp_path, alike, others, in_folders
):
    rows = ["image,mask,group"]
    for index, name in enumerate((*alike, *others)):
        make_side_by_side(tmp_path / name, "a", first=index)
        rows.append(f"{name}/a.png,{name}/a_mask.png,{name}")
    if not in_folders:
        (tmp_path / "manifest.csv").write_text("\n".join(rows))
    (problem,) = problems(tmp_path, "divided-patients")
    assert problem.message.startswith(f"{' and '.join(sorted(alike))} look like one patient")
    assert problem.severity == "warning" and not problems(tmp_path, "patient-names")
    assert f"{' and '.join(sorted(alike))} may be one" in describe_data(load(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        ("P1", "P2_2020", "P3_2020"),
        ("A_2020", "A_2021"),
        ("L", "R7"),
        tuple(f"site1_{number}" for number in range(1997, 2003)),
        ("15.01.2020", "15.01.2021"),
        ("1_2", "1_3", "12", "A1_1", "A1_2", "T1_3", "v1_4", "v2_4", "3_1_2"),
    ],
)
def test_folders_of_different_patients_are_not_named(tmp_path, names):
    for index, name in enumerate(names):
        make_side_by_side(tmp_path / name, "a", first=index)
    assert problems(tmp_path, "divided-patients") == []


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (("positive", "Negative"), "one folder per class"),
        (("COVID", "Normal"), "one folder per class"),
        (("cyst", "nodule", "Adenoma", "no_tumor"), "one folder per class"),
        (("cysts", "nodules", "masses", "abscesses"), "one folder per class"),
        (("batch1",), "folders that are no patients"),
        (("day1",), "folders that are no patients"),
        (("yes", "no"), "one folder per class"),
        (("BIRADS2", "BI-RADS 4a", "birads_5"), "one folder per class"),
        (("grade1", "Grade II"), "one folder per class"),
        (("notumor", "glioma"), "one folder per class"),
        (("Atelectasis", "Cardiomegaly", "No Finding"), "one folder per class"),
        (("with_lesion", "without lesion"), "one folder per class"),
        (("maligne", "benigne"), "one folder per class"),
        (("krank", "gesund"), "one folder per class"),
        (("Gleason 3", "Gleason 4"), "one folder per class"),
        (("women", "men"), "one folder per class"),
        (("train", "holdout"), "one folder per part"),
        (("ultrasound", "CT"), "folders that are no patients"),
        (("linear", "convex"), "folders that are no patients"),
        (("10x", "40x"), "folders that are no patients"),
        (("labeled", "unlabelled"), "folders that are no patients"),
        (("siteA", "siteB"), "folders that are no patients"),
        (("batch1", "batch2"), "folders that are no patients"),
        (("Philips", "GE"), "folders that are no patients"),
        (("task_1", "task_2"), "folders that are no patients"),
        (("New folder", "New folder (2)"), "folders that are no patients"),
        (("training_set", "test_set"), "one folder per part"),
        (("TrainDataset", "TestDataset"), "one folder per part"),
        (("train2017", "val2017"), "one folder per part"),
        (("us_train", "us_val", "Test data"), "one folder per part"),
    ],
)
def test_folders_whose_names_are_those_of_no_patients(tmp_path, names, layout):
    for index, (name, stem) in enumerate(product(names, "ab")):
        paths = (tmp_path / kind / name / f"{index}{stem}.png" for kind in ("images", "masks"))
        write_pair(*paths, index)
    data = load(tmp_path)
    assert data.layout == f"{layout}: images/ and masks/"
    assert all(case.group == case.key for case in data.cases)
    classes = sorted(name.lower() for name in names) if "class" in layout else [""]
    assert sorted({case.label for case in data.cases}) == classes


def test_folders_of_single_images_that_are_called_by_digests_are_no_patients(tmp_path):
    digests = ["8f0c" * 16, "91ab" * 16]
    for number, name in enumerate(digests):
        image = tmp_path / name / "images" / f"{name}.png"
        write_pair(image, tmp_path / name / "masks" / f"{'3c5d' * 16}.png", number)
    data = load(tmp_path)
    assert data.layout == "folders that are no patients: images/ and masks/"
    assert groups(data) == {f"{name}/{name}": f"{name}/{name}" for name in digests}
    make_side_by_side(tmp_path / "y" / digests[0], "a", "b")  # Patients may be called so.
    make_side_by_side(tmp_path / "y" / digests[1], "a", first=2)
    assert {*groups(load(tmp_path / "y")).values()} == {*digests}


@pytest.mark.parametrize("name", ["img", "all", "frames"])
def test_the_one_folder_that_keras_wants_is_no_patient(tmp_path, name):
    make_folder_pairs(tmp_path / "x", "a", "b")
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        (tmp_path / "x" / kind).rename(tmp_path / kind / name)
    (tmp_path / "x").rmdir()
    data = load(tmp_path)
    assert data.layout == "folders that are no patients: images/ and masks/"
    assert all(case.group == case.key for case in data.cases)


def groups(data: DataSet) -> dict[str, str]:
    return {case.key: case.group for case in data.cases}


def test_a_few_folders_of_many_images_may_be_no_patients(tmp_path):
    for folder, count in (("0", 30), ("1", 12)):
        for number in range(count):
            make_side_by_side(tmp_path / folder, f"a{number}", first=2 * number + int(folder))
    assert "one folder per patient" in load(tmp_path).layout
    (problem,) = problems(tmp_path, "patient-names")
    assert problem.message.startswith("42 images are in 2 folders, taken for patients; if they are")


def test_folders_above_patients_are_named_unless_they_are_called_sites(tmp_path):
    for first, name in enumerate(("Bern/A1", "Bern/A2", "Kyoto/B1", "Kyoto/B2", "Kyoto/B3")):
        make_side_by_side(tmp_path / "x" / name, "a", "b", first=2 * first)
        make_side_by_side(
            tmp_path / "y" / name.replace("Bern", "site1").replace("Kyoto", "site2"),
            *("a", "b"),
            first=2 * first,
        )
    data = load(tmp_path / "x")
    assert {*groups(data).values()} == {"Bern", "Kyoto"}
    assert "one folder per patient, though there are folders in these" in data.layout
    (problem,) = problems(tmp_path / "x", "patient-names")
    assert problem.message.startswith("Bern/A1 and the like are in folders taken for patients")
    assert {*groups(load(tmp_path / "y")).values()} == {"A1", "A2", "B1", "B2", "B3"}
    assert not problems(tmp_path / "y", "patient-names")


@pytest.mark.parametrize("names", [("site1", "site2"), ("benign", "malignant"), ("0_no", "1_yes")])
@pytest.mark.parametrize("place", ["{}/images/a.png", "images/{}/a.png"])
def test_patients_of_one_name_in_several_folders_are_named(tmp_path, names, place):
    folders = [f"{name}/{number}" for name in names for number in "123"]
    for number, folder in enumerate([*folders, f"{names[0]}/4"]):
        image = tmp_path / "x" / place.format(folder)
        write_pair(image, Path(str(image).replace("images", "masks")), number)
    assert len({*groups(load(tmp_path / "x")).values()}) == 4
    (problem,) = problems(tmp_path / "x", "patient-names")
    text = f"1, 2, 3: in several folders, such as {names[0]} and {names[1]}, and taken for the same"
    assert problem.message.startswith(text)


@pytest.mark.parametrize("names", [("baseline", "post"), ("train", "test"), ("2020", "2021")])
def test_patients_of_one_name_in_several_visits_or_parts_are_the_same(tmp_path, names):
    for number, name in enumerate([f"{name}/{number}" for name in names for number in "123"]):
        make_side_by_side(tmp_path / name, "a", first=number)
    assert {*groups(load(tmp_path)).values()} == {"1", "2", "3"}
    assert not problems(tmp_path, "patient-names")


@pytest.mark.parametrize(
    "names", [("Maria", "June"), ("Mark_1985", "Jana_1990"), ("Job", "P1"), ("Gray", "Rose")]
)
def test_names_of_people_are_no_months_or_tasks(tmp_path, names):
    for number, name in enumerate(product(names, ("day1", "day2"))):
        make_side_by_side(tmp_path.joinpath(*name), "x", first=number)
    assert {*groups(load(tmp_path)).values()} == {*names}


@pytest.mark.parametrize("inner", ["exam{}", "{}", "day{}", "2020013{}", "only"])
def test_examinations_of_patients_are_no_patients(tmp_path, inner):
    for number in range(6):
        folder = tmp_path / f"P{number // 2}" / inner.format(number)
        make_side_by_side(folder, f"a{number}", first=number)
    assert len({*groups(load(tmp_path)).values()}) == 3
    assert not [p for p in problems(tmp_path, "patient-names") if "and the like" in p.message]


@pytest.mark.parametrize(
    ("folders", "stems", "told"),
    [
        (("ED", "ES"), ("P1", "P2", "P3"), "P1, P2, P3 are in all 2 folders, taken for patients"),
        (("early", "late"), ("AB", "CD", "EF", "GH"), "AB, CD, EF are in all 2 folders"),
        (("ED", "ES"), ("img_1", "img_2", "img_3"), ""),
        (("P1", "P2", "P3"), ("left", "right"), ""),
    ],
)
def test_names_that_all_folders_of_patients_have_may_be_those_of_patients(
    tmp_path, folders, stems, told
):
    """Sides and phases have all names of folders that nobody can list."""
    for index, folder in enumerate(folders):
        make_folder_pairs(tmp_path / folder, *stems, first=3 * index)
    found = problems(tmp_path, "patient-names")
    assert [problem.message.startswith(told) for problem in found] == [True] * bool(told)


SIDES_AND_VISITS = [
    *(("day1", "day2"), ("week2", "Baseline"), ("left", "right"), ("year_2019", "OD")),
    *(("CC", "MLO"), ("L-CC", "RCC"), ("axial", "Sagittal"), ("B-mode", "doppler")),
    *(("pre", "post"), ("before", "after"), ("pre-op", "Post op"), ("before_nac", "after_nac")),
    *(("T1w", "FLAIR"), ("AP", "lateral"), ("2CH", "4CH"), ("PLAX", "A4C"), ("supine", "prone")),
    *(("links", "rechts"), ("gauche", "Droite")),
]


@pytest.mark.parametrize("names", SIDES_AND_VISITS)
def test_names_that_recur_in_folders_of_visits_or_sides_are_one_group(tmp_path, names):
    for index, name in enumerate(names):
        make_folder_pairs(tmp_path / name, "000", "001", f"only{index}", first=3 * index)
    data = load(tmp_path)
    assert data.layout == "one folder per visit or side: images/ and masks/"
    assert groups(data) == {case.key: case.key.partition("/")[2] for case in data.cases}
    assert len({*groups(data).values()}) == 4


@pytest.mark.parametrize("names", [
    *SIDES_AND_VISITS, ("2019", "2020"), ("20200131", "2021-02-01"), ("January 2020", "Feb 2020"),
    ("31.01.2020", "1.2.2020"),
])  # fmt: skip
def test_folders_of_visits_or_sides_that_share_no_name_are_groups(tmp_path, names):
    for index, name in enumerate(names):
        make_side_by_side(tmp_path / name, f"{index}a", f"{index}b", first=2 * index)
    data = load(tmp_path)
    assert data.layout.startswith(
        "one folder per patient, though named like visits, sides or years"
    )
    assert groups(data) == {case.key: case.key.partition("/")[0] for case in data.cases}


@pytest.mark.parametrize("stem", ["x{0}", "x"])
def test_patients_in_folders_of_visits_are_the_groups(tmp_path, stem):
    for index, (visit, patient) in enumerate(product(("visit1", "visit2"), ("P1", "P2"))):
        make_side_by_side(tmp_path / visit / patient, stem.format(index), first=index)
    data = load(tmp_path)
    assert groups(data) == {case.key: case.key.split("/")[1] for case in data.cases}


@pytest.mark.parametrize("years", [("2019", "2020"), ("20190131", "2020-02-01")])
def test_patients_in_folders_of_years_are_the_groups(tmp_path, years):
    for index, (year, patient) in enumerate(product(years, ("P1", "P2"))):
        make_side_by_side(tmp_path / year / patient, f"x{index}", first=index)
    data = load(tmp_path)
    assert groups(data) == {case.key: case.key.split("/")[1] for case in data.cases}
    assert data.layout.startswith("one folder per visit or side: one folder per patient")


def test_classes_in_folders_of_visits_are_no_groups(tmp_path):
    for index, (visit, name) in enumerate(product(("visit1", "visit2"), ("benign", "cyst"))):
        make_side_by_side(tmp_path / visit / name, "0", "1", first=2 * index)
    data = load(tmp_path)
    assert {*groups(data).values()} == {"benign/0", "benign/1", "cyst/0", "cyst/1"}
    assert {case.label for case in data.cases} == {"benign", "cyst"}


@pytest.mark.parametrize("outer", [("siteA", "siteB"), ("train", "test")])
def test_names_that_recur_in_visits_are_one_group_in_each_site_or_part(tmp_path, outer):
    for index, (name, visit) in enumerate(product(outer, ("day1", "day2"))):
        make_side_by_side(tmp_path / name / visit, "0", "1", first=2 * index)
    data = load(tmp_path)
    assert {*groups(data).values()} == {f"{name}/{stem}" for name, stem in product(outer, "01")}
    if outer == ("train", "test"):
        split = split_cases(data.cases, official=data.official["folders"])
        assert len(split.test) == 4


def test_visits_in_folders_of_patients_are_of_the_patient(tmp_path):
    for index, (patient, visit) in enumerate(product(("P1", "P2"), ("day1", "day2"))):
        make_side_by_side(tmp_path / patient / visit, "000", "001", first=2 * index)
    data = load(tmp_path)
    assert groups(data) == {case.key: case.key[:2] for case in data.cases}


@pytest.mark.parametrize(
    "outer",
    [("P1", "P2"), ("siteA", "siteB"), ("train", "val"), ("benign", "cyst"), ("day1", "day2")],
)
@pytest.mark.parametrize("inner", [("day1", "day2"), ("P7", "P8"), ("benign", "cyst")])
def test_two_levels_below_images_mean_what_folders_of_folders_mean(tmp_path, outer, inner):
    for index, (name, below) in enumerate(product(outer, inner)):
        for stem in ("0", "1") if below != "P8" else ("0", "2"):
            make_side_by_side(tmp_path / "a" / name / below, stem, first=2 * index + int(stem))
            paths = (tmp_path / "b" / kind / name / below for kind in ("images", "masks"))
            write_pair(*(path / f"{stem}.png" for path in paths), 2 * index + int(stem))
    wanted, data = load(tmp_path / "a"), load(tmp_path / "b")
    assert all(map(paired, data.cases)) and data.layout[:14] == wanted.layout[:14]
    assert groups(data) == groups(wanted) and data.official == wanted.official
    assert [case.label for case in data.cases] == [case.label for case in wanted.cases]


def test_parts_below_other_folders_and_deeper_folders_of_images_are_refused(tmp_path):
    place(tmp_path / "a", *(f"images/1/{x}/x.png masks/1/{x}/x.png" for x in ("test", "train")))
    with pytest.raises(ValueError, match="1/test/x: parts or folds are in other folders; put"):
        load(tmp_path / "a")
    place(tmp_path / "b", "images/1/2/3/x.png masks/1/2/3/x.png")
    with pytest.raises(ValueError, match="images/1/2/3: images are read from only two levels"):
        load(tmp_path / "b")


@pytest.mark.parametrize("names", [("P1", "P2", "data"), ("GE1", "P7"), ("left", "P7")])
def test_one_folder_of_an_unlucky_name_beside_patients_is_a_patient(tmp_path, names):
    for index, name in enumerate(names):
        make_side_by_side(tmp_path / name, "a", "b", first=2 * index)
    data = load(tmp_path)
    assert data.layout == "one folder per patient: x beside x_mask"
    assert {*groups(data).values()} == {*names}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cyst", "widget"), "cyst looks like a class, widget looks like a patient, and these"),
        (("P1", "batch1", "batch2"), "batch1, batch2 look like batches or sites, p1 looks like a"),
        (("day1", "day2", "fold1"), "fold1 looks like a fold, day1, day2 look like visits or"),
    ],
)
def test_folders_of_several_kinds_are_refused_by_kind(tmp_path, names, message):
    for name in names:
        make_side_by_side(tmp_path / name, "a")
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_left_over_folders_of_other_names_do_not_hide_another_layout(tmp_path):
    make_side_by_side(tmp_path, "a")
    write(tmp_path / "img" / "thumb.png", mask_of(1))
    write(tmp_path / "seg" / "old_seg.png", mask_of(1))
    data = load(tmp_path)
    assert (data.layout, keys(data), len(data.unread)) == ("x beside x_mask", ["a"], 2)


def test_data_sets_in_folders_of_other_names_are_read_each(tmp_path):
    for index, name in enumerate(("original", "gt")):
        make_folder_pairs(tmp_path / name, f"{index}a", f"{index}b", first=2 * index)
    data = load(tmp_path)
    assert keys(data) == ["gt/1a", "gt/1b", "original/0a", "original/0b"]
    assert all(map(paired, data.cases))


@pytest.mark.parametrize("names", [
    ("original", "augmented"), ("reader1", "reader2"), ("PNG", "TIF"), ("256x256", "resized_512"),
    ("original", "cropped"), ("DICOM", "jpg"), ("gray", "RGB"),
])  # fmt: skip
def test_folders_of_the_same_images_are_refused(tmp_path, names):
    for name in names:
        make_side_by_side(tmp_path / name, "a", "b")
    with pytest.raises(ValueError, match="hold the same images in several ways.*one of them"):
        load(tmp_path)


@pytest.mark.parametrize("column", ["pid", "MRN", "Patienten-ID", "participant_id", "PatID"])
def test_a_column_of_patients_is_not_passed_over(tmp_path, column):
    make_folder_pairs(tmp_path, "a")
    write_rows(tmp_path / "manifest.csv", f"image,mask,{column}", "images/a.png,masks/a.png,1")
    with pytest.raises(ValueError, match=f"has a column {column.lower()}, but none.*group"):
        load(tmp_path)


@pytest.mark.parametrize("column", ["fold", "Subset"])
def test_check_names_a_column_of_parts_that_is_not_used(tmp_path, column):
    make_folder_pairs(tmp_path, "a", "b")
    rows = ("images/a.png,masks/a.png,0", "images/b.png,masks/b.png,1")
    path = write_rows(tmp_path / "manifest.csv", f"image,mask,{column}", *rows)
    for source in (tmp_path, path):
        (problem,) = problems(source, "unused-list")
        assert problem.message == f"{path}: its column {column.lower()}"


def test_versions_that_roboflow_made_of_an_image_stay_together(tmp_path):
    versions = [f"{name}_png.rf.{number:032x}" for name in ("a", "b") for number in (1, 2)]
    data = load(make_side_by_side(tmp_path, *versions, "c"))
    assert {case.key: case.group for case in data.cases} == {
        **dict.fromkeys(versions[:2], versions[0]),
        **dict.fromkeys(versions[2:], versions[2]),
        "c": "c",
    }
    assert groups_in_words(data.cases) == "3 groups of images"


def test_pictures_of_the_frames_of_a_file_stay_together(tmp_path):
    frames = [f"{name}-frame{number:04d}" for name in ("a", "b") for number in (0, 12)]
    data = load(make_side_by_side(tmp_path, *frames, "c-frame0007", "d-frame1"))
    assert {case.key: case.group for case in data.cases} == {
        **dict.fromkeys(frames[:2], frames[0]),
        **dict.fromkeys(frames[2:], frames[2]),
        "c-frame0007": "c-frame0007",
        "d-frame1": "d-frame1",
    }


def test_folds_that_are_divided_once_more_are_refused(tmp_path):
    for fold in ("fold0", "fold1"):
        for part in ("train", "test"):
            make_side_by_side(tmp_path / fold / part, f"{fold}{part}")
    with pytest.raises(ValueError, match="hold the same images; give the folder of one fold"):
        load(tmp_path)


def test_folds_beside_other_folders_are_refused(tmp_path):
    for name in ("fold0", "P1"):
        make_side_by_side(tmp_path / name, "a", "b")
    with pytest.raises(ValueError, match="fold0, p1.*cannot be told apart"):
        load(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *("ImageSets/Segmentation/train.txt", "splits_final.json", "val_list.txt", "TestIDs.csv"),
        *("Fold_1.csv", "5-fold-cv.csv", "train_patients_fold0.txt", "split.yaml"),
        *("dataset_0.json", "datalist.json", "splits_0_bool.csv"),
    ],
)
def test_check_names_a_list_of_parts_that_is_not_used(tmp_path, name):
    make_folder_pairs(tmp_path, "a", "b")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("[]")
    (problem,) = problems(tmp_path, "unused-list")
    assert problem.files == (str(tmp_path / name),) and problem.severity == "note"


@pytest.mark.parametrize(
    ("column", "kind"),
    [("lesion_id", "unused-patients"), ("split", "unused-list"), ("exclude", "unused-list")],
)
def test_check_names_a_column_of_a_table_that_says_what_belongs_together(tmp_path, column, kind):
    make_folder_pairs(tmp_path, "a", "b", "c")
    path = write_rows(tmp_path / "meta.csv", f"image,{column}", "a,x", "b,x", "c,y")
    assert [p.message for p in problems(tmp_path, kind)] == [f"{path}: its column {column}"]


@pytest.mark.parametrize("column", ["id", "eye_id", "lesion_id", "study_instance_uid"])
@pytest.mark.parametrize("values", ["112", "123", "111"])
def test_check_names_a_column_of_a_manifest_whose_values_recur(tmp_path, column, values):
    make_folder_pairs(tmp_path, "a", "b", "c")
    rows = [f"images/{n}.png,masks/{n}.png,{v}" for n, v in zip("abc", values, strict=True)]
    path = write_rows(tmp_path / "manifest.csv", f"image,mask,{column}", *rows)
    named = [f"{path}: its column {column}"] if values == "112" else []
    assert [p.message for p in problems(tmp_path, "unused-patients")] == named


@pytest.mark.parametrize("name", ["patients.txt", "info/patients.csv", "images/meta.tsv"])
def test_check_names_a_table_of_patients_wherever_it_is(tmp_path, name):
    make_folder_pairs(tmp_path, "a", "b", "c")
    between = "," if name.endswith("csv") else "\t"
    (tmp_path / name).parent.mkdir(exist_ok=True)
    rows = [("file", "patient"), ("a", "1"), ("b", "1"), ("c", "2")]
    (tmp_path / name).write_text("\n".join(between.join(row) for row in rows))
    (problem,) = problems(tmp_path, "unused-patients")
    assert problem.message == f"{tmp_path / name}: its column patient"


def test_check_names_a_table_of_patients_beside_the_manifest_that_is_given(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    rows = "images/a.png,masks/a.png", "images/b.png,masks/b.png"
    manifest = write_rows(tmp_path / "pairs.csv", "image,mask", *rows)
    table = write_rows(tmp_path / "x.csv", "file,patient", "a.png,P1", "b.png,P1")
    (problem,) = problems(manifest, "unused-patients")
    assert problem.files == (str(table),)


@pytest.mark.parametrize(
    ("name", "encoding", "between"),
    [("a.csv", "latin-1", ";"), ("a.csv", "cp1252", ","), ("a.txt", "utf-16", "\t")],
)
def test_check_names_a_table_of_patients_in_any_encoding(tmp_path, name, encoding, between):
    make_folder_pairs(tmp_path, "a", "b", "c")
    rows = [("Datei", "Größe", "Patient"), ("a", "1", "Ä"), ("b", "1", "Ä"), ("c", "2", "Ö")]
    text = "\r\n".join(between.join(row) for row in rows)
    (tmp_path / name).write_bytes(text.encode(encoding))
    (problem,) = problems(tmp_path, "unused-patients")
    assert problem.message == f"{tmp_path / name}: its column patient"


@pytest.mark.parametrize(
    "lines",
    [
        ("Export, of 2024", "", "file,patient", "a,1", "b,1", "c,2"),
        ("file|patient", "a|1", "b|1", "c|2"),
        ("file\tpatient\tnotes", "a\t1\tlarge, round, dark", "b\t1\tlarge, round, dark"),
        ('file,"patient",notes', 'a,1,"two', 'lines"', "b,1,"),
    ],
)
def test_check_names_a_table_of_patients_below_a_title_or_with_other_marks(tmp_path, lines):
    make_folder_pairs(tmp_path, "a", "b", "c")
    (tmp_path / "meta.txt").write_text("\n".join(lines))
    (problem,) = problems(tmp_path, "unused-patients")
    assert problem.message == f"{tmp_path / 'meta.txt'}: its column patient"


@pytest.mark.parametrize(("name", "is_named"), [("patients.yaml", True), ("config.yml", False)])
def test_check_names_other_files_that_are_called_after_patients(tmp_path, name, is_named):
    make_folder_pairs(tmp_path, "a", "b")
    (tmp_path / name).write_text("P1: [a, b]")
    named = [problem.message for problem in problems(tmp_path, "unused-patients")]
    assert named == ([f"{tmp_path / name}: by its name"] if is_named else [])


def test_check_names_a_table_of_patients_that_would_be_refused_as_a_manifest(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    path = write_rows(tmp_path / "meta.csv", "file,date,date,patient", "a,1,2,P1,x", "b,1,2,P1")
    (problem,) = problems(tmp_path, "unused-patients")
    assert problem.message == f"{path}: its column patient"


def test_a_manifest_as_excel_writes_unicode_text(tmp_path):
    make_folder_pairs(tmp_path, "ä", "b")
    rows = ("image\tmask\tgroup", "images/ä.png\tmasks/ä.png\tÖ", "images/b.png\tmasks/b.png\tÖ")
    (tmp_path / "manifest.tsv").write_text("\n".join(rows), encoding="utf-16")
    data = load(tmp_path)
    assert [case.group for case in data.cases] == ["Ö", "Ö"] and all(map(paired, data.cases))


BY_IMAGE, OF_PATIENTS = "gives the patient or group of each image", "of each patient or group"


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("patients.json", {"a": 1, "b": 1, "c": 2}, "unused-patients", BY_IMAGE),
        ("x.json", {"a.png": "P1", "b.png": "P1", "c.png": "P2"}, "unused-patients", BY_IMAGE),
        ("x.json", {"P1": ["a.png", "b.png"], "P2": ["c.png"]}, "unused-patients", OF_PATIENTS),
        ("x.json", [{"Patient_ID": 1}, {"Patient_ID": 1}], "unused-patients", "entries patient_id"),
        ("x.json", {"a": {"pid": 1}, "b": {"pid": 1}}, "unused-patients", "entries pid"),
        ("x.json", {"a": "train", "b": "train", "c": "test"}, "unused-list", "the part of each"),
        ("x.json", {"fold1": ["a", "b"], "fold2": ["c"]}, "unused-list", "images of each part"),
        ("x-fold0.json", {"train": [0, 1], "val": [2]}, "unused-list", "images of each part"),
        ("x.json", {"train": [0.5, 0.4], "val": [0.6]}, None, ""),
        ("x.json", {"a": "benign", "b": "benign", "c": "malignant"}, None, ""),
        ("x.json", {"a": "BIRADS 3", "b": "BIRADS 3", "c": "BIRADS 4"}, None, ""),
        ("x.json", {"a": 50, "b": 50, "c": 60}, None, ""),
        ("x.json", {"m1.png": "a.png", "m2.png": "a.png", "c.png": "b1.png"}, None, ""),
        ("x.json", {"a1.png": ["a.png", "b.png"], "b1.png": ["c.png"]}, None, ""),
        ("x.json", {"benign": ["a", "b"], "malignant": ["c"]}, None, ""),
        ("x.json", {"model": "P1", "rate": ["1"]}, None, ""),
    ],
)
def test_check_names_json_that_says_what_belongs_together(tmp_path, name, content, kind, said):
    make_folder_pairs(tmp_path, "a", "b", "c")
    (tmp_path / name).write_text(json.dumps(content))
    found = [p for what in ("unused-list", "unused-patients") for p in problems(tmp_path, what)]
    assert [p.kind for p in found] == ([kind] if kind else [])
    assert all(str(tmp_path / name) in p.message and said in p.message for p in found)


def test_check_names_patients_in_a_coco_file_and_in_lines_of_json(tmp_path):
    images = [{"id": n, "file_name": f"{n}.png", "patient_id": "P1"} for n in (1, 2)]
    for one in images:
        write(tmp_path / one["file_name"], image_of(mask_of(one["id"])))
    outline = [[2, 2, 9, 2, 9, 9]]
    drawn = [{"id": n, "image_id": n, "segmentation": outline} for n in (1, 2)]
    (tmp_path / "x.json").write_text(json.dumps({"images": images, "annotations": drawn}))
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, images)))
    messages = [problem.message for problem in problems(tmp_path, "unused-patients")]
    assert messages == [
        f"{tmp_path / name}: its entries patient_id" for name in ("x.json", "x.jsonl")
    ]


def test_check_names_a_spreadsheet(tmp_path):
    make_folder_pairs(tmp_path, "a", "b", "c")
    path = tmp_path / "patients.xlsx"
    path.write_bytes(b"PK")
    (problem,) = problems(tmp_path, "unused-list")
    assert problem.message == f"{path}: a spreadsheet, which is not read"
    assert not load(tmp_path).unread


@pytest.mark.parametrize(
    ("name", "text", "is_named"),
    [
        ("trainCT_COVID.txt", "images/a.png\nb.png\n", True),
        ("holdout.txt", "c", True),
        ("US_test.csv", "image,score\nc.png,1\n", True),
        ("names.txt", "a\nb\nc\n", False),
        ("notes.txt", "a nice day\nc, too\nfor b\n", False),
        ("scores.csv", "image,score\nc.png,1\n", False),
    ],
)
def test_check_names_a_list_of_some_images(tmp_path, name, text, is_named):
    make_folder_pairs(tmp_path, "a", "b", "c")
    (tmp_path / name).write_text(text)
    assert [problem.message for problem in problems(tmp_path, "unused-list")] == (
        [str(tmp_path / name)] if is_named else []
    )


def test_check_names_a_list_of_some_patients(tmp_path):
    for index in range(3):
        make_side_by_side(tmp_path / f"p{index}", "a", "b", first=2 * index)
    path = tmp_path / "files" / "subGroup1_testing.txt"
    path.parent.mkdir()
    path.write_text("p1\n")
    (tmp_path / "patients.txt").write_text("p0\np1\np2\n")
    assert [problem.message for problem in problems(tmp_path, "unused-list")] == [str(path)]


def test_check_names_a_table_of_patients_that_is_not_used(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    path = write_rows(tmp_path / "metadata.csv", "file,Patient_ID,age", "a.png,1,50", "b.png,1,50")
    write_rows(tmp_path / "other.csv", "file,age,lesion_id", "a.png,50,1", "b.png,60,2")
    groups = write_rows(tmp_path / "groups.csv", "key,group", "a,1", "b,1")
    other, problem = problems(tmp_path, "unused-patients")
    assert other.message == f"{groups}: its column group"
    assert problem.message == f"{path}: its column patient_id" and problem.severity == "warning"
    assert "give --groups" in problem.remedy


def test_check_names_a_mask_of_two_images_unless_it_is_empty(tmp_path):
    for index, name in enumerate("abcd"):
        write(tmp_path / f"{name}.png", image_of(mask_of(index)))
    write(tmp_path / "m.png", mask_of(1))
    write(tmp_path / "e.png", np.zeros(SHAPE, bool))
    rows = ["a.png,m.png", "b.png,m.png", "c.png,e.png", "d.png,e.png"]
    write_rows(tmp_path / "manifest.csv", "image,mask", *rows)
    (problem,) = problems(tmp_path, "shared-mask")
    assert problem.message.endswith(f"m.png: is the mask of {tmp_path}/a.png, {tmp_path}/b.png")


def test_check_names_the_first_images_of_a_mask_of_many(tmp_path):
    write(tmp_path / "m.png", mask_of(1))
    for index, name in enumerate("abcdefg"):
        write(tmp_path / f"{name}.png", image_of(mask_of(index)))
    write_rows(
        tmp_path / "manifest.csv", "image,mask", *(f"{name}.png,m.png" for name in "abcdefg")
    )
    (problem,) = problems(tmp_path, "shared-mask")
    assert problem.message.endswith("e.png and 2 more") and len(problem.files) == 8


# --- nnU-Net ------------------------------------------------------------------------------------


def test_nnunet_image_with_and_without_a_channel_is_refused(tmp_path):
    make_nnunet(tmp_path)
    for name in ("a", "a_0000"):
        write(tmp_path / "imagesTs" / f"{name}.png", mask_of(1))
    with pytest.raises(ValueError, match=r"a\.png: is there with _0000, too; keep one of them"):
        load(tmp_path)


def make_nnunet(folder: Path, channel: str = "_0000", part: str = "Tr", first: int = 0) -> Path:
    for number in range(first, first + 3):
        image = folder / f"images{part}" / f"case_{number:03d}{channel}.png"
        write_pair(image, folder / f"labels{part}" / f"case_{number:03d}.png", number)
    return folder


@pytest.mark.parametrize("channel", ["_0000", ""])
def test_nnunet(tmp_path, channel):
    data = load(make_nnunet(tmp_path, channel))
    assert (keys(data), data.layout) == (["case_000", "case_001", "case_002"], "nnU-Net")
    assert all(map(paired, data.cases))


def test_nnunet_test_images_are_unannotated_or_the_test_part(tmp_path):
    make_nnunet(tmp_path)
    make_nnunet(tmp_path, part="Ts", first=7)
    data = load(tmp_path)
    assert all(map(paired, data.cases))
    split = split_cases(data.cases, official=data.official["folders"])
    assert sorted(split.test) == ["test/case_007", "test/case_008", "test/case_009"]
    for path in (tmp_path / "labelsTs").iterdir():
        path.unlink()
    (tmp_path / "labelsTs").rmdir()
    data = load(tmp_path)
    assert (len(data), bare(data)) == (3, ["case_007", "case_008", "case_009"])


def test_nnunet_with_a_second_channel_is_refused(tmp_path):
    make_nnunet(tmp_path)
    write(tmp_path / "imagesTr" / "case_001_0001.png", image_of(mask_of(3)))
    with pytest.raises(ValueError, match=r"case_001_0001\.png: is a further channel.*keep only"):
        load(tmp_path)


# --- folders that merely look like a public set -------------------------------------------------


def own_numbers(folder: Path) -> Path:
    """Some images with the folders, and the kind of names, of ECSSD."""
    return make_ecssd(folder)


def own_jsrt(folder: Path) -> Path:
    make_jsrt(folder)
    for name in ("images", "masks"):
        (folder / name / "JPCLN001.png").rename(folder / name / "patient1.png")
    return folder


@pytest.mark.parametrize(("make", "keys_"), [(own_numbers, 3), (own_jsrt, 3)])
def test_a_folder_that_looks_like_a_public_set_is_read_as_ones_own(tmp_path, make, keys_):
    data = load(make(tmp_path))
    assert (data.name, data.layout, len(data)) == (tmp_path.name, "images/ and masks/", keys_)
    assert (data.terms, data.citation) == ("not stated", "")


def test_class_values_in_a_folder_like_ecssd_are_refused_not_emptied(tmp_path):
    make_ecssd(tmp_path)
    for number in range(3):
        values = np.where(mask_of(number), 2, 1).astype(np.uint8)
        write(tmp_path / "ground_truth_mask" / f"{number:04d}.png", values)
        values[0] = 0
        write(tmp_path / "ground_truth_mask" / f"{number:04d}.png", values)
    with pytest.raises(ValueError, match="not a binary mask"):
        load(tmp_path).cases[0].load()


def test_a_folder_like_shenzhen_is_refused(tmp_path):
    make_shenzhen(tmp_path)
    for path in (tmp_path / "CXR_png").iterdir():
        path.rename(path.with_name(path.name.replace("CHNCXR", "MCUCXR")))
    with pytest.raises(ValueError, match="has no image"):
        load(tmp_path)


def test_a_part_of_a_public_set_is_read_if_it_is_named(tmp_path):
    data = load("ecssd", manual_dir=make_ecssd(tmp_path))
    assert (data.name, len(data)) == ("ecssd", 3) and data.citation


# --- masks without any object -------------------------------------------------------------------


def spoil_jsrt(folder: Path) -> Path:
    """Lungs saved as 1 and 2 instead of 150 and 200."""
    make_jsrt(folder, 12)
    for path in (folder / "masks").iterdir():
        number = int(path.stem.removeprefix("JPCLN"))
        write(path, np.where(mask_of(number), 2, 1).astype(np.uint8))
    return folder


def test_a_coding_under_which_every_mask_is_empty_is_an_error(tmp_path):
    spoil_jsrt(tmp_path)
    data = load(tmp_path)
    with pytest.raises(ValueError, match=r"none of 12 masks.*JPCLN001\.png has the values 1, 2"):
        require_objects(data.cases, decode(data.cases, (16, 16)), none_allowed=True)
    settings = FinetuneSettings(data=str(tmp_path), train_size=4, validation_size=2, folds=3)
    with pytest.raises(ValueError, match="none of .* masks has an object as they are read here"):
        prepare(settings).decode(16, 1)
    found = check(tmp_path)
    assert found.counts()["error"] == 1
    assert "the values 1, 2" in found.by_kind()["coding"][0].message


def test_masks_that_are_all_black_leave_nothing_to_learn(tmp_path):
    make_folder_pairs(tmp_path, *"abcdefgh")
    for path in (tmp_path / "masks").iterdir():
        write(path, np.zeros(SHAPE, bool))
    settings = FinetuneSettings(data=str(tmp_path), train_size=2, validation_size=1)
    with pytest.raises(ValueError, match="none of .* masks has an object, so there is nothing"):
        prepare(settings).decode(16, 1)
    data = load(tmp_path)
    require_objects(data.cases, decode(data.cases, (16, 16)), none_allowed=True)


# --- arrays -------------------------------------------------------------------------------------

LEVELS = np.random.default_rng(0).integers(3, 250, (40, 56)).astype(np.uint8)


@pytest.mark.parametrize(
    "given",
    [
        LEVELS,
        LEVELS.astype(np.int64),
        LEVELS.astype(np.uint16),
        LEVELS.astype(np.float16),
        LEVELS.astype(np.float32) / 255,
        LEVELS.astype(np.float64) / 255,
    ],
    ids=lambda given: f"{given.dtype} up to {given.max():g}",
)
def test_numbers_within_their_range_are_gray_levels(given):
    assert gray_levels(given).dtype == np.float32
    np.testing.assert_allclose(gray_levels(given), LEVELS, atol=1e-3)


@pytest.mark.parametrize(
    "given",
    [
        LEVELS.astype(np.uint16) * 200,
        LEVELS.astype(np.int16) * 10 - 1000,
        (LEVELS - LEVELS.mean()) / LEVELS.std(),
        LEVELS / 127.5 - 1,
        LEVELS / 250 * 1.02,
    ],
    ids=["16 bits", "Hounsfield units", "standardized", "-1 to 1", "barely above 1"],
)
def test_all_other_numbers_are_stretched_as_in_a_file(given):
    levels = gray_levels(given)
    assert (levels.min(), levels.max()) == (0, 255)
    assert np.corrcoef(levels.ravel(), LEVELS.ravel())[0, 1] > 0.999


def test_16_bits_in_memory_are_what_they_are_in_a_file(tmp_path):
    deep = LEVELS.astype(np.uint16) * 200
    from kerasunet.data import read_image

    write(tmp_path / "x.png", deep)
    np.testing.assert_array_equal(gray_levels(deep), read_image(tmp_path / "x.png")[0])


def decoded(images, masks) -> DecodedCases:
    names = tuple("ab"[: len(images)])
    return DecodedCases(names, names, images, masks, (None,) * len(images))


@pytest.mark.parametrize("kind", ["float 0 to 1", "16 bits", "as it should be"])
def test_arrays_for_training_become_what_training_takes(kind):
    scale = {"float 0 to 1": np.float32(1 / 255), "16 bits": np.uint16(200)}.get(kind)
    images = np.stack([LEVELS, LEVELS[::-1]])[..., None]
    masks = images[..., 0] > 100
    given = images if scale is None else images * scale
    cases = decoded(given, masks if scale is None else masks * np.uint8(255))
    assert (cases.images.dtype, cases.masks.dtype) == (np.uint8, bool)
    assert np.array_equal(cases.masks, masks)
    for found, image in zip(cases.images, images, strict=True):
        assert np.corrcoef(found.ravel(), image.ravel())[0, 1] > 0.999
        assert np.ptp(found) > 200


def test_arrays_for_training_are_scaled_by_the_range_of_all():
    """A dark image among others is dark, in whichever unit."""
    dark, masks = LEVELS > 200, np.stack([LEVELS > 100] * 2)
    floats = np.stack([LEVELS.astype(np.float32), dark])[..., None]
    assert [int(image.max()) for image in decoded(floats, masks).images] == [LEVELS.max(), 1]
    deep = np.stack([LEVELS * 8.0 - 1000, LEVELS / 2])[..., None].astype(np.int16)
    assert [np.ptp(image) for image in decoded(deep, masks).images] == [255, 255]
    tensor = pytest.importorskip("tensorflow").constant(floats)
    assert np.array_equal(decoded(tensor, masks).images, decoded(floats, masks).images)


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ((2, 8, 8), (2, 8, 8), r"images must have the shape \(cases, height, width, channels\)"),
        ((2, 8, 8, 1), (2, 8, 9), r"not \(2, 8, 8, 1\) and \(2, 8, 9\)"),
    ],
)
def test_arrays_of_other_shapes_are_refused(images, masks, message):
    with pytest.raises(ValueError, match=message):
        decoded(np.zeros(images, np.uint8), np.zeros(masks, bool))


def test_arrays_that_would_lose_cases_or_pixels_are_refused():
    """A case that is dropped, or the image of another, would go unnoticed."""
    images, masks, names = np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 8, 8), bool), ("a", "b")
    for number in range(3):
        columns = [names, names, (None, None)]
        columns[number] = columns[number][:1]
        with pytest.raises(ValueError, match="2 images need as many keys, groups and spacings"):
            DecodedCases(*columns[:2], images, masks, columns[2])
    for pixels in (
        (np.ma.array(images, mask=images < 1), masks),
        (images, np.ma.array(masks, mask=1)),
        ([np.ma.array(image, mask=image < 1) for image in images], masks),
        (images, [np.ma.array(mask, mask=1) for mask in masks]),
    ):
        with pytest.raises(ValueError, match="masked pixels, under which something may be; fill"):
            DecodedCases(names, names, *pixels, (None, None))
    for wrong, told in (
        ((names, (1, "1"), (None, None)), "keys and groups must be text, not 1$"),
        (((0, 1), names, (None, None)), "keys and groups must be text, not 0$"),
        ((names, names, (None, (-1, 1))), r"spacing must be \(row, column\) in mm, or None, not"),
        ((names, names, (0.5, 0.5)), r"spacing must be \(row, column\) in mm, or None, not 0.5"),
    ):
        with pytest.raises(ValueError, match=told):
            DecodedCases(*wrong[:2], images, masks, wrong[2])
    with pytest.raises(ValueError, match="several cases have the key a; give each a key of its"):
        DecodedCases(("a", "a"), names, images, masks, (None, None)).select(("a",))


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_images_of_other_channels_are_refused(channels):
    images, masks = np.zeros((2, 8, 8, channels), np.uint8), np.zeros((2, 8, 8), bool)
    with pytest.raises(ValueError, match=rf"1 channel \(gray\) or 3 \(color\), not {channels}$"):
        decoded(images, masks)


@pytest.mark.parametrize("values", [[0, 1, 2], [1, 2], [-1, 0], [0.0, 0.5, 1.0]])
def test_masks_of_several_values_are_refused(values):
    masks = np.resize(values, (2, 8, 8))
    with pytest.raises(ValueError, match="masks must be bool, or have 0 and one other value, not"):
        decoded(np.zeros((2, 8, 8, 1), np.uint8), masks)


# --- folders of challenges ------------------------------------------------------------------------


def place(folder: Path, *pairs: str) -> None:
    """Write pairs of an image and its mask, "images/x.png masks/x.png", or images alone."""
    for number, names in enumerate(pairs):
        image, _, mask = names.partition(" ")
        write(folder / image, image_of(mask_of(number)))
        if mask:
            write(folder / mask, mask_of(number))


@pytest.mark.parametrize(
    ("pairs", "expected", "without"),
    [
        (
            ("train/a_1.png train_masks/a_1_mask.gif", "test/b_1.png", "test/b_2.png"),
            ["train/a_1"],
            ["test/b_1", "test/b_2"],
        ),
        (
            (
                "ISIC2018_Task1-2_Training_Input/I_1.png "
                "ISIC2018_Task1_Training_GroundTruth/I_1_segmentation.png",
                "ISIC2018_Task1-2_Validation_Input/I_2.png "
                "ISIC2018_Task1_Validation_GroundTruth/I_2_segmentation.png",
                "ISIC2018_Task1-2_Test_Input/I_3.png",
            ),
            ["train/I_1", "validation/I_2"],
            ["test/I_3"],
        ),
        (
            ("ISIC-2017_Data/I_1.png ISIC-2017_Part1_GroundTruth/I_1_segmentation.png",),
            ["I_1"],
            [],
        ),
        (
            ("trainval-image/0.png trainval-mask/0.png", "test-image/0.png test-mask/0.png"),
            ["test/0", "train/0"],
            [],
        ),
        (("pictures/x.png outlines/x_mask.png",), ["x"], []),
        (
            ("train/0.png trainannot/0.png", "val/0.png valannot/0.png"),
            ["train/0", "validation/0"],
            [],
        ),
        (
            ("val/0.png val_labels/0.png", "test/0.png test_labels/0.png"),
            ["test/0", "validation/0"],
            [],
        ),
    ],
    ids=["Carvana", "ISIC 2018", "ISIC 2017", "TN3K", "other names", "CamVid", "labels"],
)
def test_folders_that_are_paired_by_their_names(tmp_path, pairs, expected, without):
    place(tmp_path, *pairs)
    data = load(tmp_path)
    assert keys(data) == expected and bare(data) == without
    assert all(map(paired, data.cases)) and not data.unread
    parts = {key: key.split("/")[0] for key in expected if "/" in key}
    assert data.official == ({"folders": parts} if parts else {})


@pytest.mark.parametrize(
    "name", ["{}_images/{}.png {}_masks/{}.png", "images-{}/{}.png masks-{}/{}_mask.png"]
)
def test_folders_of_classes_that_are_paired_by_their_names(tmp_path, name):
    place(tmp_path, *(name.format(*2 * pair) for pair in (("benign", 1), ("cyst", 2))))
    data = load(tmp_path)
    assert {case.key: case.label for case in data.cases} == {"benign/1": "benign", "cyst/2": "cyst"}
    assert all(map(paired, data.cases)) and data.layout.startswith("one folder per class")


def test_many_folders_are_not_compared_with_each_other(tmp_path):
    """Thousands of patients would take minutes."""
    place(tmp_path, "train/x.png train_masks/x_mask.png", *(f"P{n}/a.png" for n in range(19)))
    with pytest.raises(ValueError, match="x_mask.png: has no image"):
        load(tmp_path)


def test_attributes_of_isic_are_no_masks_of_lesions(tmp_path):
    place(tmp_path, "a_Input/I_1.png a_Task1_GroundTruth/I_1_segmentation.png")
    write(tmp_path / "a_Task2_GroundTruth" / "I_1_attribute_streaks.png", mask_of(1))
    data = load(tmp_path)
    assert keys(data) == ["I_1"] and all(map(paired, data.cases))
    assert [path.name for path in data.unread] == ["I_1_attribute_streaks.png"]


def test_superpixels_of_isic_are_no_images(tmp_path):
    place(
        tmp_path, "a_Data/I_1.png a_GroundTruth/I_1_segmentation.png", "a_Data/I_1_superpixels.png"
    )
    data = load(tmp_path)
    assert keys(data) == ["I_1"] and bare(data) == []
    assert [path.name for path in data.unread] == ["I_1_superpixels.png"]


@pytest.mark.parametrize(
    "pairs",
    [
        ("scans/x.png reader1/x_mask.png", "scans/x.png reader2/x_mask.png"),
        ("scans/x.png a/x_mask.png", "pictures/x.png"),
        ("scans/x.png a/x_mask.png", "others/z.png b_masks/y.png"),
        ("train/x.png a/x_mask.png", "train2/y.png b/y_mask.png"),
    ],
    ids=["two readers", "two folders of images", "masks of nothing", "parts of no name"],
)
def test_folders_that_may_be_paired_in_several_ways_are_refused(tmp_path, pairs):
    place(tmp_path, *pairs)
    with pytest.raises(ValueError, match="has no image|no known layout"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("image", "mask", "view"),
    [
        ("images/21_training.tif", "1st_manual/21_manual1.gif", "mask/21_training_mask.gif"),
        ("images/01_dr.png", "manual1/01_dr.tif", "mask/01_dr_mask.tif"),
    ],
    ids=["DRIVE", "HRF"],
)
def test_the_field_of_view_is_no_mask_of_vessels(tmp_path, image, mask, view):
    place(tmp_path / "training", f"{image} {mask}")
    write(tmp_path / "training" / view, np.ones(SHAPE, bool))
    data = load(tmp_path)
    assert paired(*data.cases) and [path.name for path in data.unread] == [Path(view).name]
    other = write(tmp_path / "training" / "mask" / "x.png", np.ones(SHAPE, bool))
    assert paired(*load(tmp_path).cases)  # Files may have been given other names.
    other.unlink()
    write(tmp_path / "test" / image.replace("21", "01"), image_of(mask_of(3)))
    write(tmp_path / "test" / view.replace("21", "01"), np.ones(SHAPE, bool))
    data = load(tmp_path)
    assert len(data) == len(data.unannotated) == 1 and len(data.unread) == 2
    with pytest.raises(ValueError, match="fields of view of DRIVE .* if they are masks, call it "):
        load(tmp_path / "test")
    (tmp_path / "test" / "mask").rename(tmp_path / "test" / "masks")
    assert len(load(tmp_path / "test")) == 1


@pytest.mark.parametrize("name", ["{0}", "{1}_{0}", "{1}_mask_{0}", "mask{0}", "instance_{0}"])
def test_a_folder_of_masks_for_each_image(tmp_path, name):
    for number, stem in enumerate(("a1", "a10", "7x")):
        left, right = mask_of(number), mask_of(number + 10)
        write(tmp_path / "images" / f"{stem}.png", image_of(left | right))
        for part, mask in enumerate((left, right), start=1):
            write(tmp_path / "masks" / stem / f"{name.format(part, stem)}.png", mask)
    data = load(tmp_path)
    assert len(data) == 3 and all(map(paired, data.cases))


def test_a_folder_of_masks_for_each_image_of_numbers(tmp_path):
    for number in range(1, 13):
        parts = mask_of(number), mask_of(number + 10)
        write(tmp_path / "images" / f"{number}.png", image_of(parts[0] | parts[1]))
        for part, mask in enumerate(parts, start=1):
            write(tmp_path / "masks" / str(number) / f"{part}.png", mask)
    data = load(tmp_path)
    assert len(data) == 12 and all(map(paired, data.cases))


@pytest.mark.parametrize("folders", [("1", "2"), ("a", "a1")])
def test_a_folder_of_masks_that_is_called_like_an_image_may_be_of_a_class(tmp_path, folders):
    """Those in it are called like other images."""
    stems = [*folders, "12"] if folders[0] == "1" else [*folders, "a2"]
    make_folder_pairs(tmp_path, *stems)
    for stem in stems:
        (tmp_path / "masks" / f"{stem}.png").unlink()
        for folder in folders:
            write(tmp_path / "masks" / folder / f"{stem}.png", mask_of(1))
    with pytest.raises(ValueError, match="has several objects, "):
        load(tmp_path)


@pytest.mark.parametrize("mask", ["masks/x.png", "labels/x_mask.png", "gt/x.png", "manual2/x.png"])
@pytest.mark.parametrize("manual", ["manual1/x.png", "1st_manual/x.png"])
def test_masks_beside_those_of_vessels_are_refused(tmp_path, manual, mask):
    place(tmp_path, f"images/x.png {manual}")
    write(tmp_path / mask, mask_of(1))
    with pytest.raises(ValueError, match="both hold masks; keep one of them"):
        load(tmp_path)


def test_mvtec(tmp_path):
    place(
        tmp_path,
        "test/broken/000.png ground_truth/broken/000_mask.png",
        "test/cut/000.png ground_truth/cut/000_mask.png",
    )
    for part in ("train", "test"):
        write(tmp_path / part / "good" / "000.png", image_of(np.zeros(SHAPE, bool)))
    data = load(tmp_path)
    assert {case.key: case.label for case in data.cases} == {
        "test/broken/000": "broken",
        "test/cut/000": "cut",
        "test/good/000": "good",
        "train/good/000": "good",
    }
    assert all(map(paired, data.cases)) and check(tmp_path).counts()["error"] == 0
    (tmp_path / "test" / "cut" / "000.png").unlink()
    with pytest.raises(ValueError, match="000_mask.png: has no image"):
        load(tmp_path)


def test_a_class_good_of_other_layouts_is_not_that_of_mvtec(tmp_path):
    (tmp_path / "ground_truth").mkdir()
    for number, quality in enumerate(("good", "bad")):
        place(tmp_path / "train" / f"{quality}", f"images/{number}.png masks/{number}.png")
    data = load(tmp_path)
    assert len(data) == 2 and all(map(paired, data.cases))


@pytest.mark.parametrize("mask", ["good/000_mask.png", "cut/000/000.png", "test/good/000.png"])
def test_masks_that_are_not_where_mvtec_has_them_are_refused(tmp_path, mask):
    """Images in `good/` would lose theirs where that word is about the quality of images."""
    place(tmp_path, "train/good/000.png", f"test/good/000.png ground_truth/{mask}")
    with pytest.raises(ValueError, match="ground_truth/.* is not as in MVTec, whose masks"):
        load(tmp_path)


# --- the table ----------------------------------------------------------------------------------

ROWS = {
    "an image without a mask": test_images_without_a_mask_are_unannotated,
    "`test/images/` beside `train/`": (
        test_a_folder_of_images_alone_is_unannotated_beside_others_with_masks
    ),
    "a mask without an image": test_a_mask_of_such_a_word_without_its_image_is_an_error,
    "a file that belongs to no case": test_a_file_of_no_case_is_named,
    "words other than `mask`": test_other_words_than_mask_beside_images,
    "`mask_7` with `image_7` or `7`": test_the_word_for_mask_may_stand_elsewhere_in_all_names,
    "other mask folders": test_other_names_of_the_mask_folder,
    "copies and versions of a mask: `x_mask (1).png`, `x_mask - Copy.png`, conflicted copies, "
    "`x_mask_2024-01-31.png`": test_a_copy_or_a_dated_version_of_a_mask_is_no_part_of_it,
    "`x_mask_1.png` where there is an image `x_1` without a mask": (
        test_a_mask_that_may_be_of_two_images_is_refused
    ),
    "folders of the same images, such as `original/` and `augmented/`, `PNG/` and `TIF/`, "
    "`reader1/` and `reader2/`, or folds that have parts of their own": (
        test_folders_of_the_same_images_are_refused
    ),
    "several versions of an image by Roboflow (`x_png.rf.….jpg`)": (
        test_versions_that_roboflow_made_of_an_image_stay_together
    ),
    "frames of a file as pictures, as `predict` names them (`x-frame0012.png`)": (
        test_pictures_of_the_frames_of_a_file_stay_together
    ),
    "lists of parts (`ImageSets/`, `splits_final.json`, `train_list.txt`), a text that lists some "
    "of the images or groups, a column `fold` or `set` of a manifest": (
        test_check_names_a_list_of_parts_that_is_not_used
    ),
    "a mask file of several images, or equal masks of three images or more": (
        test_check_names_equal_masks_of_different_images
    ),
    "folders such as `day1/` and `day2/`, `left/` and `right/`, `pre/` and `post/`, `CC/` and "
    "`MLO/`, `axial/` and `sagittal/`, `b-mode/` and `doppler/`": (
        test_names_that_recur_in_folders_of_visits_or_sides_are_one_group
    ),
    "folders of several kinds, such as `cyst/` and `P7/`": (
        test_folders_of_several_kinds_are_refused_by_kind
    ),
    "folders such as `001_L/` and `001_R/`, `P1_CC/` and `P1_MLO/`, `visit1_P1/` and `visit2_P1/`, "
    "`P1/` and `P1a/`, `P1/` and `P-1/`, or `P1_2020/` and `P1_2021/`": (
        test_groups_of_one_patient_but_for_a_year_visit_or_side_are_named
    ),
    "`train/` and `train_masks/`, `val/` and `valannot/`, `test-image/` and `test-mask/`; ISIC's "
    "folders, and others whose masks are `x_mask`, `x_segmentation` …": (
        test_folders_that_are_paired_by_their_names
    ),
    "`1st_manual/` and `manual1/`, as DRIVE and HRF have": (
        test_the_field_of_view_is_no_mask_of_vessels
    ),
    "MVTec: `ground_truth/KIND/x_mask.png` of `test/KIND/x.png`": test_mvtec,
    "other image folders": test_other_names_of_the_image_folder,
    "`images/P1/day1/x.png`": test_two_levels_below_images_mean_what_folders_of_folders_mean,
    "JSON that says so: a patient or part for each image, images for each of them, or records "
    'such as `{"file": "x.png", "patient_id": "P1"}`, also in COCO; YAML and the like that is '
    "called after patients": test_check_names_json_that_says_what_belongs_together,
    "manifests and tables of groups": test_a_manifest_as_excel_writes_unicode_text,
    "tables with a column of patients or groups, of lesions or studies that recur, or of parts, "
    "other than manifests": (test_check_names_a_table_of_patients_that_is_not_used),
    "nnU-Net": test_nnunet,
    "nnU-Net's test images": test_nnunet_test_images_are_unannotated_or_the_test_part,
    "nnU-Net's other channels": test_nnunet_with_a_second_channel_is_refused,
    "what looks like a public set": test_a_folder_that_looks_like_a_public_set_is_read_as_ones_own,
    "masks that are all empty": test_a_coding_under_which_every_mask_is_empty_is_an_error,
    "arrays of 0 to 255": test_numbers_within_their_range_are_gray_levels,
    "other arrays": test_all_other_numbers_are_stretched_as_in_a_file,
}


def test_each_of_these_is_a_row_of_the_table_in_the_guide():
    page = Path(__file__).parents[2] / "docs" / "guide" / "data.md"
    table = page.read_text(encoding="utf-8").partition("## What is read, and how")[2]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", table.partition("\n## ")[0], re.MULTILINE)
    assert not ROWS.keys() - set(rows)
