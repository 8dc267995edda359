"""Finding and pairing cases: every layout, every trap of the published sets, every complaint."""

import base64
import io
import json
import os
import unicodedata
import warnings

import numpy as np
import pytest
from helpers.layout_makers import (
    SHAPE,
    colored,
    corners,
    image_of,
    make_bus_bra,
    make_busi,
    make_duts,
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
from hypothesis import example, given, settings, strategies as st
from PIL import Image
from skimage.draw import polygon2mask

from kerasunet.data import DataSet, decode, load, split_cases
from kerasunet.data.annotations import (
    circle_mask,
    decode_run_lengths,
    polygon_mask,
    run_length_mask,
)
from kerasunet.data.checking import check
from kerasunet.data.layouts.tables import read_groups
from kerasunet.files import FileWarning

pytestmark = pytest.mark.filterwarnings("error")


def keys(data):
    return [case.key for case in data.cases]


def column(data, name):
    return {case.key: getattr(case, name) for case in data.cases}


def complaint(action, kind=ValueError):
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


def all_paired(data):
    return all(paired(case) for case in data.cases)


# --- published sets ---------------------------------------------------------------------------


def make_whole_ecssd(folder):
    """Its names are those of anybody, so that it is known by its number of images."""
    make_ecssd(folder)
    for number in range(3, 1000):
        for name in ("images", "ground_truth_mask"):
            os.link(folder / name / "0000.png", folder / name / f"{number:04d}.png")
    return folder


@pytest.mark.parametrize(
    ("make", "inner", "name", "count"),
    [
        (make_duts, "DUTS-TR", "duts", 4),
        (make_whole_ecssd, ".", "ecssd", 1000),
        (make_bus_bra, "BUSBRA", "bus_bra", 12),
        (make_busi, "Dataset_BUSI_with_GT", "busi", 9),
        (make_jsrt, ".", "jsrt", 3),
        (make_shenzhen, ".", "shenzhen", 3),
    ],
)
def test_published_set_is_recognized_paired_and_named(tmp_path, make, inner, name, count):
    make(tmp_path)
    for folder in (tmp_path, tmp_path / inner):
        data = load(folder)
        assert (data.name, data.layout, len(data)) == (name, f"{name} archive", count)
        assert all_paired(data)
        assert keys(data) == sorted(keys(data))
    assert data.citation and data.terms != "not stated"
    assert load(name, manual_dir=tmp_path).digest == data.digest


def test_anti_aliased_masks_are_cut_at_half(tmp_path):
    data = load(make_duts(tmp_path))
    values = np.asarray(Image.open(data.cases[1].masks[0]))
    assert {0, 127, 255} <= set(values.flat)
    assert np.array_equal(data.cases[1].load().mask, mask_of(1))


def test_busi_united_masks_empty_masks_and_labels(tmp_path):
    data = load(make_busi(tmp_path))
    two = data.select(["benign (2)"])[0]
    assert len(two.masks) == 2 and paired(two)
    assert not data.select(["normal (1)"])[0].load().mask.any()
    assert column(data, "label")["malignant (3)"] == "malignant"


def test_busi_near_duplicates_are_groups_even_across_classes(tmp_path):
    make_busi(tmp_path)
    rows = ["benign (1),7,2", "malignant (2),7,2", "benign (2),8,1"]
    write_rows(tmp_path / "near_duplicate_groups.csv", "stem,group,group_size", *rows)
    for folder in (tmp_path, tmp_path / "Dataset_BUSI_with_GT"):
        groups = column(load(folder), "group")
        assert groups["benign (1)"] == groups["malignant (2)"] == "near-duplicates-7"
        assert groups["benign (2)"] == "near-duplicates-8"
        assert groups["benign (3)"] == "benign (3)"


def test_busi_without_the_normal_images(tmp_path):
    data = load(make_busi(tmp_path, normal=False))
    assert data.name == "busi" and len(data) == 6


@pytest.mark.parametrize(
    ("name", "kind"),
    [("patients.csv", "unused-patients"), ("train.txt", "unused-list"), ("a.json", "documents")],
)
def test_what_else_is_in_a_published_set_is_named(tmp_path, name, kind):
    """Your own images may have the names of such a set, and be beside it."""
    root = make_busi(tmp_path) / "Dataset_BUSI_with_GT"
    write_rows(root / name, "file,patient", "benign (1)", "benign (2)")
    write_pair(root / "lab" / "x.png", root / "lab" / "x_mask.png", 1)
    found = check(root).by_kind()
    assert [problem.files for problem in found[kind]] == [(str(root / name),)]
    assert found["unread"][0].message.endswith("lab/: 2 .png, x.png, x_mask.png")
    for bare in (
        make_busi(tmp_path / "b"),
        make_bus_bra(tmp_path / "c"),
        make_jsrt(tmp_path / "d"),
    ):
        assert not check(bare).by_kind().keys() & {kind, "unread"}


def test_jsrt_object_is_the_lungs_without_the_heart(tmp_path):
    data = load(make_jsrt(tmp_path))
    assert not data.cases[0].load().mask[-3:].any()
    assert column(data, "label")["JPCLN001"] == "malignant"


def test_shenzhen_images_without_mask_are_left_out_and_counted(tmp_path):
    data = load(make_shenzhen(tmp_path))
    assert [(case.key, case.label) for case in data.unannotated] == [
        ("CHNCXR_0004_1", "tuberculosis")
    ]
    assert column(data, "label") == {
        "CHNCXR_0001_0": "normal",
        "CHNCXR_0002_0": "normal",
        "CHNCXR_0003_1": "tuberculosis",
    }


def test_bus_bra_patients_labels_and_official_folds(tmp_path):
    data = load(make_bus_bra(tmp_path))
    assert data.cases[0].group == data.cases[1].group == "patient-1"
    assert column(data, "label")["bus_0003-l"] == "malignant"
    assert set(data.official) == {"5-fold", "10-fold"}
    split = split_cases(data.cases, fold=1, folds=5, official=data.official["5-fold"])
    assert set(split.test) == {"bus_0001-l", "bus_0001-r", "bus_0006-l", "bus_0006-r"}


def test_bus_bra_without_fold_files_has_no_official_folds(tmp_path):
    make_bus_bra(tmp_path)
    (tmp_path / "BUSBRA" / "5-fold-cv.csv").unlink()
    assert set(load(tmp_path).official) == {"10-fold"}


@pytest.mark.parametrize(
    ("make", "table", "stems"),
    [
        (make_bus_bra, "BUSBRA/bus_data.csv", ("bus_0005-l", "bus_0006-r")),
        (make_bus_bra, "BUSBRA/5-fold-cv.csv", ("bus_0005-l", "bus_0006-r")),
        (make_jsrt, "jsrt_metadata.csv", ("JPCLN002", "JPCLN003")),
    ],
)
def test_images_without_a_row_are_listed(tmp_path, make, table, stems):
    path = make(tmp_path) / table
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith(stems)))
    message = complaint(lambda: load(tmp_path))
    assert path.name in message and all(stem in message for stem in stems)


def test_several_published_sets_in_one_folder_are_refused(tmp_path):
    make_jsrt(tmp_path / "jsrt")
    make_shenzhen(tmp_path / "shenzhen")
    message = complaint(lambda: load(tmp_path))
    assert "jsrt, shenzhen" in message and "give one" in message


def test_a_manifest_in_a_published_set_is_not_passed_over(tmp_path):
    folder = make_busi(tmp_path) / "Dataset_BUSI_with_GT"
    names = "benign/benign (1).png,benign/benign (1)_mask.png"
    path = write_rows(folder / "manifest.csv", "image,mask,group", f"{names},anna")
    assert "is busi, and has a manifest; give the path of that" in complaint(lambda: load(folder))
    assert column(load(path), "group") == {"benign (1)": "anna"}


def test_a_named_set_is_read_beside_others(tmp_path):
    expected = load(make_jsrt(tmp_path / "jsrt"))
    make_busi(tmp_path / "busi")
    found = load("jsrt", manual_dir=tmp_path)
    assert (found.name, found.digest) == ("jsrt", expected.digest)
    assert "give one of them: busi, jsrt" in complaint(lambda: load(tmp_path))


def test_published_set_under_another_name_is_refused(tmp_path):
    message = complaint(lambda: load("busi", manual_dir=make_jsrt(tmp_path)))
    assert "expected the data set busi, found jsrt archive" in message


# --- own folders ------------------------------------------------------------------------------


@pytest.mark.parametrize("image_folder", ["images", "imgs", "image", "Images"])
@pytest.mark.parametrize("mask_folder", ["masks", "labels", "mask", "label"])
def test_image_and_mask_folders(tmp_path, image_folder, mask_folder):
    for number, stem in enumerate("abc"):
        image = tmp_path / image_folder / f"{stem}.png"
        write_pair(image, tmp_path / mask_folder / f"{stem}.png", number)
    data = load(tmp_path)
    assert (data.name, keys(data), data.layout) == (
        tmp_path.name,
        ["a", "b", "c"],
        "images/ and masks/",
    )
    assert all_paired(data)
    assert column(data, "group") == {"a": "a", "b": "b", "c": "c"}


@pytest.mark.parametrize(
    "mask_name", ["x_mask", "x_Mask", "x-mask", "x_seg", "x_segmentation", "x_gt", "x_label_1"]
)
def test_mask_folder_may_name_masks_with_a_suffix(tmp_path, mask_name):
    make_folder_pairs(tmp_path, "y")
    write_pair(tmp_path / "images" / "x.png", tmp_path / "masks" / f"{mask_name}.png", 1)
    data = load(tmp_path)
    assert keys(data) == ["x", "y"] and all_paired(data)


@pytest.mark.parametrize(("image", "mask"), [("x.ome", "x"), ("x", "x.ome"), ("x.ome", "x.ome")])
def test_masks_of_ome_tiff_in_one_of_two_folders(tmp_path, image, mask):
    write_pair(tmp_path / "images" / f"{image}.tif", tmp_path / "masks" / f"{mask}.tif", 1)
    assert keys(load(tmp_path)) == [image] and all_paired(load(tmp_path))


@pytest.mark.parametrize("name", ["x.jpg", "x.jpg_mask", "sub/x.jpg"])
def test_masks_that_are_called_after_the_file_of_the_image(tmp_path, name):
    folder = "sub/" if "/" in name else ""
    image, mask = tmp_path / f"images/{folder}x.jpg", tmp_path / f"masks/{name}.png"
    write_pair(image, mask, 1)
    assert keys(load(tmp_path)) == [f"{folder}x"] and all_paired(load(tmp_path))


def test_a_mask_of_a_dicom_file_with_a_suffix_of_its_own(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    (tmp_path / "images").mkdir()
    content = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    content.save_as(tmp_path / "images" / "x.IMA")
    write(tmp_path / "masks" / "x.png", np.eye(128, dtype=bool))
    (case,) = load(tmp_path).cases
    assert case.key == "x.IMA" and case.load().mask.sum() == 128


def test_masks_of_an_image_of_several_words_are_refused(tmp_path):
    for name in ("x_mask", "x_masks_1", "x_gt"):
        write_pair(tmp_path / "images" / "x.png", tmp_path / "masks" / f"{name}.png", 1)
    assert "several kinds, keep one of them:\n  x_gt and x_mask" in complaint(
        lambda: load(tmp_path)
    )
    (tmp_path / "masks" / "x_gt.png").unlink()
    assert all_paired(load(tmp_path))
    for name in ("x-mask", "x.png"):
        path = tmp_path / "masks" / f"{name}.png"
        write(path, mask_of(3))
        assert f"several kinds, keep one of them:\n  {name} and x_mask" in complaint(
            lambda: load(tmp_path)
        )
        path.unlink()


def test_masks_of_one_image_in_a_mask_folder_are_united(tmp_path):
    left, right = mask_of(11), mask_of(19)
    write(tmp_path / "images" / "x.png", image_of(left | right))
    write(tmp_path / "masks" / "x_mask.png", left)
    write(tmp_path / "masks" / "x_mask_1.png", right)
    (case,) = load(tmp_path).cases
    assert len(case.masks) == 2 and paired(case)


@pytest.mark.parametrize("name", ["p_mask_1", "p_mask", "p_seg_1"])
def test_an_image_that_is_named_like_a_mask_beside_its_own(tmp_path, name):
    write_pair(tmp_path / f"{name}.png", tmp_path / f"{name}_mask.png", 2)
    write_pair(tmp_path / "q.png", tmp_path / "q_mask_1.png", 3)
    assert keys(load(tmp_path)) == [name, "q"] and all_paired(load(tmp_path))


def test_image_whose_name_looks_like_a_mask(tmp_path):
    data = load(make_folder_pairs(tmp_path, "dust_mask", "dust"))
    assert keys(data) == ["dust", "dust_mask"] and all_paired(data)


@pytest.mark.parametrize("suffix", ["", "_1", "1", "_left", "-2", " (2)"])
def test_masks_beside_images(tmp_path, suffix):
    make_side_by_side(tmp_path, "a", "face_masks_7")
    write_pair(tmp_path / "x.png", tmp_path / f"x_mask{suffix}.png", 5)
    data = load(tmp_path)
    assert keys(data) == ["a", "face_masks_7", "x"] and all_paired(data)
    assert data.layout == "x beside x_mask"


def test_suffixes_in_upper_case_and_of_different_formats(tmp_path):
    write_pair(tmp_path / "images" / "A.JPG", tmp_path / "masks" / "A.PNG", 1)
    write_pair(tmp_path / "images" / "b.tif", tmp_path / "masks" / "b.bmp", 2)
    data = load(tmp_path)
    assert keys(data) == ["A", "b"] and all_paired(data)


def test_hidden_and_other_files_and_folders_are_ignored(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    write(tmp_path / "images" / "._a.png", image_of(mask_of(0)))
    write(tmp_path / "images" / ".cache" / "x.png", image_of(mask_of(0)))
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    (tmp_path / "masks" / "empty.png").mkdir()
    assert keys(load(tmp_path)) == ["a", "b"]


def test_links_are_followed(tmp_path):
    make_folder_pairs(tmp_path / "elsewhere", "a", "b")
    (tmp_path / "data").mkdir()
    for name in ("images", "masks"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert all_paired(load(tmp_path / "data"))


@pytest.mark.parametrize("inside", [True, False])
def test_files_behind_a_link_are_named_only_if_they_belong_to_no_case(tmp_path, inside):
    raw = tmp_path / ("data" if inside else ".") / "raw"
    write_pair(raw / "a.png", tmp_path / "data" / "masks" / "a.png", 1)
    (tmp_path / "data" / "images").symlink_to(raw)
    assert not load(tmp_path / "data").unread
    (raw / "b.avif").touch()
    names = {path.name for path in load(tmp_path / "data").unread}
    assert names == {"b.avif"}


def test_link_that_leads_nowhere_is_reported(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    for name in ("images", "masks"):
        (tmp_path / name / "c.png").symlink_to(tmp_path / "gone" / name)
    message = complaint(lambda: decode(load(tmp_path).cases, (8, 8)))
    assert f"{tmp_path / 'images' / 'c.png'}" in message
    assert f"{tmp_path / 'masks' / 'c.png'}" in message


def test_accents_pair_in_either_unicode_form(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Lésion") for form in ("NFC", "NFD"))
    write_pair(tmp_path / "images" / f"{decomposed}.png", tmp_path / "masks" / f"{composed}.png", 1)
    assert keys(load(tmp_path)) == [composed]


def test_accents_of_a_manifest_are_those_of_the_disk(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Lésion") for form in ("NFC", "NFD"))
    write_pair(tmp_path / f"{decomposed}.png", tmp_path / f"{decomposed}_mask.png", 1)
    rows = f"image,mask\n{composed}.png,{composed}_mask.png\n"
    (tmp_path / "manifest.csv").write_text(rows, encoding="utf-8")
    assert keys(load(tmp_path)) == [composed]


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", "#recycle"])
def test_folders_that_systems_leave_behind_are_no_data(tmp_path, name):
    make_folder_pairs(tmp_path, "a", "b")
    for folder in ("images", "masks"):
        write(tmp_path / folder / name / "a.png" / "thumbnail.png", image_of(mask_of(1)))
    write(tmp_path / name / "a.png", image_of(mask_of(1)))
    data = load(tmp_path)
    assert keys(data) == ["a", "b"]
    assert not data.unannotated and not data.unread


def test_an_image_of_a_kind_that_is_not_read_is_named_where_its_mask_lacks_it(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "b.jp2")
    message = complaint(lambda: load(tmp_path))
    assert "b.png: has no image (b.jp2 is of a kind that is not read; convert it to PNG)" in message


def test_one_folder_around_the_data_is_looked_through(tmp_path):
    make_folder_pairs(tmp_path / "export" / "v1", "a", "b")
    (tmp_path / "export" / "docs").mkdir()
    data = load(tmp_path / "export")
    assert (data.name, keys(data)) == ("export", ["a", "b"])


def test_name_of_the_current_folder(tmp_path, monkeypatch):
    make_folder_pairs(tmp_path / "clinic", "a")
    monkeypatch.chdir(tmp_path / "clinic")
    assert load(".").name == "clinic"


# --- patients, parts, classes -------------------------------------------------------------------


def test_one_folder_per_patient_in_any_layout(tmp_path):
    make_folder_pairs(tmp_path / "p1", "left", "right", first=0)
    make_side_by_side(tmp_path / "p2", "left", "right", first=2)
    make_folder_pairs(tmp_path / "p3", "left", first=4)
    data = load(tmp_path)
    assert all_paired(data)
    assert data.layout == "one folder per patient: images/ and masks/ or x beside x_mask"
    assert column(data, "group") == {
        "p1/left": "p1",
        "p1/right": "p1",
        "p2/left": "p2",
        "p2/right": "p2",
        "p3/left": "p3",
    }


def test_patients_as_subfolders_of_images_and_masks(tmp_path):
    for number, stem in enumerate(["p1/a", "p1/b", "p2/a", "loose"]):
        write_pair(tmp_path / "images" / f"{stem}.png", tmp_path / "masks" / f"{stem}.png", number)
    data = load(tmp_path)
    assert all_paired(data)
    assert column(data, "group") == {"loose": "loose", "p1/a": "p1", "p1/b": "p1", "p2/a": "p2"}


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("Training", "valid", "testing")])
def test_parts_are_an_official_division_and_no_groups(tmp_path, parts):
    for first, part in enumerate(parts):
        make_folder_pairs(tmp_path / part, "a", "b", first=3 * first)
    data = load(tmp_path)
    assert all_paired(data) and len(data) == 6
    assert data.layout == "one folder per part: images/ and masks/"
    assert column(data, "group")[f"{parts[0]}/a"] == f"{parts[0]}/a"
    split = split_cases(data.cases, validation_size=2, official=data.official["folders"])
    assert [sorted(part) for part in vars(split).values()] == [
        [f"{part}/a", f"{part}/b"] for part in parts
    ]


def test_patients_in_two_parts_stay_one_group(tmp_path):
    make_side_by_side(tmp_path / "train" / "p1", "a", first=0)
    make_side_by_side(tmp_path / "train" / "p2", "a", first=1)
    make_side_by_side(tmp_path / "test" / "p1", "a", first=2)
    make_side_by_side(tmp_path / "test" / "p3", "a", first=3)
    data = load(tmp_path)
    assert column(data, "group")["test/p1/a"] == column(data, "group")["train/p1/a"] == "p1"
    official = data.official["folders"]
    assert "['p1']" in complaint(lambda: split_cases(data.cases, official=official))


@pytest.mark.parametrize(
    "folders", [("train/P1", "train/P2", "test/p1"), ("benign/7", "normal/07")]
)
def test_a_patient_whose_name_is_written_in_two_ways_is_refused(tmp_path, folders):
    for folder in (*folders, f"{folders[0]}x"):
        path = tmp_path / folder / f"{folder[:2]}.png"
        write_pair(path, path.with_name(f"{path.stem}_mask.png"), 1)
    assert "look like one, written in several ways" in complaint(lambda: load(tmp_path))


def test_a_part_of_a_single_patient_keeps_the_patient(tmp_path):
    for folder in ("train/P1", "train/P2", "test/P1"):
        for name in ("x", "y"):
            path = tmp_path / folder / f"{folder[:2]}{name}.png"
            write_pair(path, path.with_name(f"{path.stem}_mask.png"), 1)
    groups = column(load(tmp_path), "group")
    assert groups["test/P1/tex"] == groups["test/P1/tey"] == groups["train/P1/trx"] == "P1"


def test_class_folders_are_labels_and_no_groups(tmp_path):
    make_side_by_side(tmp_path / "Benign", "a", "b", first=0)
    make_side_by_side(tmp_path / "malignant", "a", first=2)
    data = load(tmp_path)
    assert column(data, "label") == {
        "Benign/a": "benign",
        "Benign/b": "benign",
        "malignant/a": "malignant",
    }
    assert column(data, "group")["Benign/a"] == "Benign/a"


@pytest.mark.parametrize("names", [
    ("Benign cases", "Malignant cases"), ("0_normal", "1_benign", "2_malignant"), ("HGG", "LGG"),
    ("Luminal A", "HER2", "TNBC"), ("ER+", "ER-"), ("high grade", "low-grade"), ("良性", "恶性"),
])  # fmt: skip
def test_classes_may_be_numbered_or_described_in_other_ways(tmp_path, names):
    for first, name in enumerate(names):
        make_side_by_side(tmp_path / name, f"a{first}", f"b{first}", first=2 * first)
    data = load(tmp_path)
    assert data.layout == "one folder per class: x beside x_mask"
    assert {*column(data, "label").values()} == {name.lower() for name in names}
    assert all(case.group == case.key for case in data.cases)


@pytest.mark.parametrize("names", [("001_benign", "002_malignant", "003_benign"), ("P1_benign",)])
def test_folders_of_numbered_patients_may_name_the_class(tmp_path, names):
    for first, name in enumerate(("P0", *names)):
        make_side_by_side(tmp_path / name, f"a{first}", first=first)
    assert {*column(load(tmp_path), "group").values()} == {"P0", *names}


@pytest.mark.parametrize("names", [("train", "p7"), ("benign", "p7"), ("train", "benign")])
def test_folders_of_mixed_meaning_are_refused(tmp_path, names):
    for first, name in enumerate(names):
        make_side_by_side(tmp_path / name, "a", first=first)
    assert ", ".join(sorted(names)) in complaint(lambda: load(tmp_path))


# --- complaints, all at once ---------------------------------------------------------------------


def test_all_files_without_partner_are_listed(tmp_path):
    make_folder_pairs(tmp_path, "a", "b", "c", "d")
    for lost in ("images/a.png", "images/b.png", "masks/c.png"):
        (tmp_path / lost).unlink()
    message = complaint(lambda: load(tmp_path))
    assert "2 files" in message and "c.png" not in message
    for line in ("masks/a.png: has no image", "masks/b.png: has no image"):
        assert str(tmp_path / line) in message


def test_mask_beside_no_image_is_listed(tmp_path):
    make_side_by_side(tmp_path, "a")
    write(tmp_path / "b_mask.png", mask_of(1))
    assert f"{tmp_path / 'b_mask.png'}: has no image" in complaint(lambda: load(tmp_path))


def test_files_without_partner_are_listed_for_all_patients(tmp_path):
    for patient in ("p1", "p2", "p3"):
        make_folder_pairs(tmp_path / patient, "a", "b")
    (tmp_path / "p1/images/a.png").unlink()
    (tmp_path / "p3/images/b.png").unlink()
    message = complaint(lambda: load(tmp_path))
    assert str(tmp_path / "p1/masks/a.png") in message
    assert str(tmp_path / "p3/masks/b.png") in message


def test_partner_that_differs_in_case_is_hinted_at(tmp_path):
    write_pair(tmp_path / "images" / "Scan.png", tmp_path / "masks" / "scan.png", 1)
    assert "(Scan.png differs only in upper and lower case)" in complaint(lambda: load(tmp_path))


def test_files_that_differ_in_suffix_only_are_listed(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    write(tmp_path / "images" / "a.jpg", image_of(mask_of(0)))
    write(tmp_path / "masks" / "b.bmp", mask_of(1))
    message = complaint(lambda: load(tmp_path))
    assert "a.png: differs from a.jpg" in message and "b.png: differs from b.bmp" in message


def test_keys_that_differ_in_case_only_are_refused(tmp_path):
    make_folder_pairs(tmp_path, "a", "A", "b")
    if len(list((tmp_path / "images").iterdir())) < 3:
        pytest.skip("this file system does not tell the two apart")
    assert "['A', 'a']" in complaint(lambda: load(tmp_path))


def test_wrong_sized_and_many_valued_masks_are_listed_together(tmp_path):
    make_folder_pairs(tmp_path, "a", "b", "c")
    write(tmp_path / "masks" / "a.png", np.zeros((5, 6), np.uint8))
    write(
        tmp_path / "masks" / "b.png",
        np.arange(24 * 32, dtype=np.uint32).astype(np.uint8).reshape(SHAPE),
    )
    (tmp_path / "images" / "c.png").write_bytes(b"broken")
    message = complaint(lambda: decode(load(tmp_path).cases, (8, 8)))
    assert "3 of 3 cases cannot be used" in message
    assert (
        f"{tmp_path / 'masks/a.png'}: the mask is 6×5 pixels, its image a.png is 32×24" in message
    )
    assert f"{tmp_path / 'masks/b.png'}: not a binary mask" in message
    assert "c.png" in message


def test_every_faulty_mask_of_one_image_is_listed(tmp_path):
    write(tmp_path / "x.png", image_of(mask_of(0)))
    for number in (1, 2):
        write(tmp_path / f"x_mask_{number}.png", np.zeros((5, 5), np.uint8))
    message = complaint(load(tmp_path).cases[0].load)
    assert "x_mask_1.png" in message and "x_mask_2.png" in message


def test_folders_too_deep_are_refused_rather_than_overlooked(tmp_path):
    make_folder_pairs(tmp_path, "a")
    write(tmp_path / "images" / "p1" / "visit2" / "left" / "b.png", image_of(mask_of(1)))
    assert "images/p1/visit2/left" in complaint(lambda: load(tmp_path))


def test_patient_folder_in_no_known_layout_is_refused_rather_than_overlooked(tmp_path):
    make_folder_pairs(tmp_path / "p1", "a")
    make_folder_pairs(tmp_path / "p2", "a")
    write(tmp_path / "p3" / "a.png", image_of(mask_of(1)))
    assert f"{tmp_path / 'p3'}/" in complaint(lambda: load(tmp_path))


def test_two_mask_folders_are_refused(tmp_path):
    make_folder_pairs(tmp_path, "a")
    write(tmp_path / "labels" / "a.png", mask_of(0))
    assert "labels/, masks/" in complaint(lambda: load(tmp_path))


@pytest.mark.parametrize("content", [[], ["x.png"], ["images/x.png"]])
def test_unknown_layout_says_what_is_known(tmp_path, content):
    for name in content:
        write(tmp_path / name, image_of(mask_of(0)))
    message = complaint(lambda: load(tmp_path))
    assert "images/ and masks/" in message and "bus_bra" in message


def test_what_is_neither_folder_nor_file_nor_name():
    message = complaint(lambda: load("no/such/place"), FileNotFoundError)
    assert "no/such/place" in message and "simulated-ultrasound" in message


@pytest.mark.parametrize("name", ["simulated-ultrasound:0", "simulated-ultrasound:many"])
def test_number_of_simulated_cases(name):
    assert name in complaint(lambda: load(name))
    assert len(load("simulated-ultrasound:7")) == 7


def test_data_set_refuses_no_cases_and_repeated_keys(tmp_path):
    (case,) = load(make_folder_pairs(tmp_path, "a")).cases
    assert "no cases" in complaint(lambda: DataSet("empty", (), "none"))
    assert "['a']" in complaint(lambda: DataSet("twice", (case, case), "none"))


# --- manifest -----------------------------------------------------------------------------------


@pytest.fixture
def scans(tmp_path):
    """Files for a manifest, in no known layout."""
    for number in range(4):
        folder = tmp_path / "scans" / f"visit{number % 2}"
        write_pair(folder / f"s{number}.png", tmp_path / "drawn" / f"{number}.png", number)
    return tmp_path


def rows_for(*numbers, more=""):
    return [f"scans/visit{n % 2}/s{n}.png,drawn/{n}.png{more}" for n in numbers]


def test_manifest_in_a_folder_and_by_path(scans):
    path = write_rows(scans / "manifest.csv", "image,mask", *rows_for(0, 1, 2, 3))
    for data in (load(scans), load(path), load(str(path))):
        assert (data.name, data.layout) == (scans.name, "manifest with image, mask")
        assert keys(data) == ["visit0/s0", "visit0/s2", "visit1/s1", "visit1/s3"]
        assert all_paired(data)


@pytest.mark.parametrize(
    ("name", "delimiter", "bom"),
    [
        ("pairs.tsv", "\t", ""),
        ("pairs.csv", ";", ""),
        ("pairs.csv", "\t", ""),
        ("pairs.csv", ",", "\ufeff"),
    ],
)
def test_manifest_dialects(scans, name, delimiter, bom):
    lines = [line.replace(",", delimiter) for line in ["Image, MASK", *rows_for(0, 1)]]
    (scans / name).write_text(bom + "\r\n".join(lines), encoding="utf-8")
    data = load(scans / name)
    assert data.name == "pairs" and all_paired(data)
    table = f"{bom}key,group\r\nvisit0/s0,a\r\nvisit1/s1,b\r\n".replace(",", delimiter)
    (scans / name).write_text(table, encoding="utf-8")
    assert read_groups(scans / name) == {"visit0/s0": "a", "visit1/s1": "b"}


def test_manifest_columns_group_label_split(scans):
    rows = [
        *rows_for(0, 2, more=",anna,benign,Train"),
        *rows_for(1, more=",bert,malignant,val"),
        *rows_for(3, more=",carl,benign,test"),
    ]
    write_rows(scans / "manifest.csv", "image,mask,group,label,split,comment", *rows)
    data = load(scans)
    assert column(data, "group")["visit0/s2"] == "anna"
    assert column(data, "label")["visit1/s1"] == "malignant"
    split = split_cases(data.cases, validation_size=1, official=data.official["manifest"])
    assert set(split.train) == {"visit0/s0", "visit0/s2"}
    assert (split.validation, split.test) == (("visit1/s1",), ("visit1/s3",))


def test_manifest_rows_of_one_image_are_united_and_an_empty_mask_means_no_object(scans):
    write(scans / "scans" / "two.png", image_of(mask_of(11) | mask_of(19)))
    write(scans / "drawn" / "a.png", mask_of(11))
    write(scans / "drawn" / "b.png", mask_of(19))
    rows = ["scans/two.png,drawn/a.png", "scans/visit0/s0.png,", "scans/two.png,drawn/b.png"]
    write_rows(scans / "manifest.csv", "image,mask", *rows)
    data = load(scans)
    two, empty = data.select(["two", "visit0/s0"])
    assert paired(two) and not empty.load().mask.any()


def test_manifest_paths_absolute_and_with_backslashes(scans):
    elsewhere = write(scans / "other" / "x.png", image_of(mask_of(5)))
    write(scans / "other" / "m.png", mask_of(5))
    row = f"{elsewhere},{scans / 'other' / 'm.png'}"
    assert all_paired(load(write_rows(scans / "lists" / "manifest.csv", "image,mask", row)))
    write_rows(scans / "manifest.csv", "image,mask", r"scans\visit0\s0.png,drawn\0.png")
    assert all_paired(load(scans / "manifest.csv"))


def test_manifest_faults_are_listed_with_their_lines(scans):
    rows = [
        "scans/visit0/s0.png,drawn/9.png,anna,train",
        "scans/visit1/s1.png,drawn/1.png,,test",
        "../secret.png,drawn/2.png,carl,test",
        "scans/visit1/s3.png,drawn/3.png,dora,later",
        ",drawn/3.png,eva,test",
    ]
    path = write_rows(scans / "manifest.csv", "image,mask,group,split", *rows)
    message = complaint(lambda: load(scans))
    assert f"{path}:2: no such file: {scans / 'drawn' / '9.png'}" in message
    assert f"{path}:3: the group is empty" in message
    assert f"{path}:4: ../secret.png leaves the manifest's folder" in message
    assert f"{path}:5: split is one of" in message and "'later'" in message
    assert f"{path}:6: the image is empty" in message


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (["{i},drawn/0.png,anna", "{i},drawn/1.png,bert"], "several values of group"),
        (["{i},drawn/0.png,anna", "{i},drawn/0.png,anna"], "a mask twice"),
        (["{i},drawn/0.png,anna", "{i},,anna"], "a row without one"),
    ],
)
def test_manifest_contradictions_name_line_and_image(scans, rows, fault):
    lines = [row.format(i="scans/visit0/s0.png") for row in rows]
    path = write_rows(scans / "manifest.csv", "image,mask,group", *lines)
    message = complaint(lambda: load(scans))
    assert f"{path}:3: s0.png has" in message and fault in message


@pytest.mark.parametrize("column", ["object", "Class", "category_id", "annotator", "Rater"])
def test_manifest_masks_of_several_objects_of_an_image_are_not_united(scans, column):
    row = "scans/visit0/s0.png,drawn/{}.png,{}".format
    path = write_rows(scans / "manifest.csv", f"image,mask,{column}", row(0, "a"), row(1, "b"))
    text = "s0.png has masks of several objects or annotators; write a manifest for each"
    assert f"{path}:3: {text}" in complaint(lambda: load(scans))
    write_rows(path, f"image,mask,{column}", row(0, "a"), row(1, "a"))
    assert len(load(scans).cases[0].masks) == 2


def test_manifest_with_masks_in_further_columns_is_refused(scans):
    """A file of the data that nobody reads is refused, or named."""
    header, row = "image,mask,{}", "scans/visit0/s0.png,drawn/0.png,{}".format
    path = write_rows(scans / "manifest.csv", header.format("mask2"), row("drawn/1.png"))
    text = "the mask2 drawn/1.png is not read; give each mask a row of its own"
    assert f"{path}:2: {text}" in complaint(lambda: load(scans))
    for column, cell in (("mask_path", "drawn/0.png"), ("mask_area", "12"), ("mask2", "")):
        write_rows(path, header.format(column), row(cell))
        assert len(load(scans).cases[0].masks) == 1
    write_rows(path, header.format("preview"), row("drawn/1.png"))
    problems = check(scans).by_kind()["documents"]
    assert f"{path}: its column preview, which names files" in [p.message for p in problems]


@pytest.mark.parametrize("column", ["animal", "quality", "include"])
def test_check_names_every_column_of_a_manifest_that_is_not_read(scans, column):
    header = f"image,mask,label,{column},empty"
    path = write_rows(scans / "manifest.csv", header, "scans/visit0/s0.png,drawn/0.png,,no,")
    (problem,) = check(scans).by_kind()["documents"]
    assert problem.message == f"{path}: its column {column}"


@pytest.mark.parametrize(
    ("groups", "fault"),
    [
        (("1", "1.0"), "groups '1' and '1.0' look like one, written in several ways"),
        (("1", "1,00"), "groups '1' and '1,00' look like one"),
        (("007", "7"), "groups '007' and '7' look like one"),
        (("P7", "p7"), "groups 'P7' and 'p7' look like one"),
        (("A\u00c9", "AE\u0301"), "look like one"),
        (("1.23457E+12", "4"), "group 1.23457E+12 is a number that a spreadsheet has rounded"),
        (("P1\u200b", "P1"), r"groups 'P1\u200b' and 'P1' look like one"),
        (("\u04201", "P1"), r"'P1' ('\u04201' and 'P1') look like one"),  # Cyrillic,
        (("\u03911", "A1"), r"'A1' ('\u03911' and 'A1') look like one"),  # Greek,
        (("P\u0661", "P1"), r"'P1' ('P\u0661' and 'P1') look like one"),  # Arabic.
        (("\u03b21", "b1"), ""),
        (("'007", "007"), "look like one"),
        (("NA", "P1"), "group NA says that it is not known"),
        (("nan", "P1"), "group nan says that it is not known"),
        (("#N/A", "P1"), "group #N/A says that it is not known"),
        (("########", "P1"), "group ######## says that it is not known"),
        (("1.2", "1.20"), ""),
        (("1.2.0", "1.2"), ""),
        (("1.02", "1.2"), ""),
        (("10", "1"), ""),
    ],
)
def test_one_group_that_is_written_in_two_ways_is_refused(scans, groups, fault):
    rows = [f'{row},"{group}"' for row, group in zip(rows_for(0, 1), groups, strict=True)]
    write_rows(scans / "manifest.csv", "image,mask,group", *rows)
    table = write_rows(scans / "groups.csv", "key,group", f'a,"{groups[0]}"', f'b,"{groups[1]}"')
    for read in (lambda: load(scans), lambda: read_groups(table)):
        if fault:
            assert fault in complaint(read)
        else:
            read()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("picture,mask\na,b\n", "has no column image"),
        ("", "has no column image, mask, or no rows"),
        ("image,mask\n", "or no rows"),
        ("image,mask,mask\na,b,c\n", "several columns have the same name"),
        ("image,mask\na,b,c\n", "manifest.csv:2: more cells than columns"),
        (b"image,mask\n\xff\xfe,b\n", "not UTF-8"),
    ],
)
def test_manifest_of_a_wrong_form(tmp_path, content, fault):
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "manifest.csv").write_bytes(raw)
    message = complaint(lambda: load(tmp_path))
    assert fault in message and "manifest.csv" in message


@pytest.mark.parametrize(
    "content",
    [
        "image,mask\n{0}\n,\n{1}\n,\n",
        "image,mask,,\n{0},,\n{1},,\n",
        ",image,mask\n0,{0}\n1,{1}\n",
        "image,mask\n{0},,\n{1},\n",
        "image,mask\r{0}\r{1}\r",
        "sep=,\r\nimage,mask\r\n{0}\r\n{1}\r\n",
        "\ufeffsep=,\nimage,mask\n{0}\n{1}\n",
    ],
)
def test_manifest_as_spreadsheets_write_it(scans, content):
    (scans / "Manifest.CSV").write_text(content.format(*rows_for(0, 1)), newline="")
    assert keys(load(scans)) == ["visit0/s0", "visit1/s1"] and all_paired(load(scans))


@pytest.mark.parametrize(
    ("header", "row", "fault"),
    [
        ("image,mask,Patient ID", ",1", "has a column patient id, but none of the name group"),
        ("image,mask,label", ",Benign", "labels 'benign' and 'Benign' look like one"),
        ("image,mask", "", r"C:\scans\s0.png is a path of Windows"),
    ],
)
def test_manifest_with_columns_and_paths_of_other_programs(scans, header, row, fault):
    first = r"C:\scans\s0.png,drawn/0.png" if not row else f"{rows_for(0)[0]}{row.lower()}"
    write_rows(scans / "manifest.csv", header, first, *(f"{one}{row}" for one in rows_for(1, 2)))
    assert fault in complaint(lambda: load(scans))


def test_two_manifests_are_refused(scans):
    for name, mark in (("manifest.csv", ","), ("manifest.tsv", "\t")):
        (scans / name).write_text(f"image,mask\n{rows_for(0)[0]}\n".replace(",", mark))
    assert "has manifest.csv and manifest.tsv; keep one" in complaint(lambda: load(scans))


def test_groups_of_manifests_in_folders_of_patients_are_refused(tmp_path):
    for site in ("north", "south"):
        write_pair(tmp_path / site / "x.png", tmp_path / site / "y.png", 1)
        write_rows(tmp_path / site / "manifest.csv", "image,mask,group", "x.png,y.png,7")
    assert "put one manifest.csv above them" in complaint(lambda: load(tmp_path))
    for site, part in (("north", "train"), ("south", "test")):
        (tmp_path / site).rename(tmp_path / part)
    assert set(column(load(tmp_path), "group").values()) == {"7"}


def test_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "data.xlsx").write_text("no")
    assert ".csv, .tsv" in complaint(lambda: load(tmp_path / "data.xlsx"))


# --- labelme ------------------------------------------------------------------------------------


def write_labelme(folder, stem, *shapes, **more):
    content = {
        "version": "5.5.0",
        "shapes": list(shapes),
        "imagePath": f"{stem}.png",
        "imageData": None,
        "imageHeight": SHAPE[0],
        "imageWidth": SHAPE[1],
        **more,
    }
    (folder / f"{stem}.json").write_text(json.dumps(content))


def shape(points, kind="polygon", **more):
    return {"label": "lesion", "points": points, "shape_type": kind, "group_id": None, **more}


def test_labelme_polygons_rectangles_and_images_without_object(tmp_path):
    for number, stem in enumerate(["a", "b", "c", "e"]):
        write(tmp_path / f"{stem}.png", image_of(mask_of(number)))
    write(tmp_path / "e.png", np.full(SHAPE, 40, np.uint8))
    write_labelme(tmp_path, "a", shape(corners(mask_of(0))), imagePath="..\\old\\a.jpg")
    write_labelme(tmp_path, "b", shape(corners(mask_of(1))[::2], "rectangle"))
    write_labelme(tmp_path, "c", shape(corners(mask_of(2)), "rectangle"))
    write_labelme(tmp_path, "e")
    (tmp_path / "settings.json").write_text('{"colour": "red"}')
    data = load(tmp_path)
    assert (data.layout, keys(data)) == ("labelme", ["a", "b", "c", "e"])
    assert all_paired(data)
    assert not data.cases[3].load().mask.any()


def test_labelme_shapes_are_united(tmp_path):
    write(tmp_path / "a.png", image_of(mask_of(11) | mask_of(19)))
    write_labelme(tmp_path, "a", shape(corners(mask_of(11))), shape(corners(mask_of(19))))
    assert all_paired(load(tmp_path))


def test_labelme_circle(tmp_path):
    write(tmp_path / "a.png", image_of(circle_mask((16, 12), 5, SHAPE)))
    write_labelme(tmp_path, "a", shape([[16, 12], [16, 17]], "circle"))
    assert all_paired(load(tmp_path))


def test_labelme_embedded_mask(tmp_path):
    mask = mask_of(34)
    (left, top), (right, bottom) = corners(mask)[::2]
    content = io.BytesIO()
    inner = mask[int(top) : int(bottom), int(left) : int(right)]
    Image.fromarray(inner.astype(np.uint8) * 255).save(content, "png")
    text = base64.b64encode(content.getvalue()).decode()
    write(tmp_path / "a.png", image_of(mask))
    points = [[left, top], [right - 1, bottom - 1]]
    write_labelme(tmp_path, "a", shape(points, "mask", mask=text))
    assert all_paired(load(tmp_path))
    write_labelme(tmp_path, "a", shape([[30, 20], [36, 28]], "mask", mask=text))
    assert "beyond the image" in complaint(load(tmp_path).cases[0].load)


def test_labelme_one_folder_per_patient(tmp_path):
    for number, patient in enumerate(["p1", "p2"]):
        write(tmp_path / patient / "a.png", image_of(mask_of(number)))
        write_labelme(tmp_path / patient, "a", shape(corners(mask_of(number))))
    data = load(tmp_path)
    assert all_paired(data) and column(data, "group") == {"p1/a": "p1", "p2/a": "p2"}


def test_labelme_files_without_partner_are_listed(tmp_path):
    for number, stem in enumerate(["a", "b"]):
        write(tmp_path / f"{stem}.png", image_of(mask_of(number)))
    write_labelme(tmp_path, "a")
    write_labelme(tmp_path, "c")
    message = complaint(lambda: load(tmp_path))
    assert message == f"1 files cannot be paired:\n  {tmp_path / 'c.json'}: has no image"
    (tmp_path / "c.json").unlink()
    assert [case.key for case in load(tmp_path).unannotated] == ["b"]


@pytest.mark.parametrize(
    ("shapes", "more", "fault"),
    [
        ([shape([[1, 1], [5, 5]], "line")], {}, "shape 1: 'line' has no area"),
        ([shape([[1, 1], [5, 5]])], {}, "at least three points"),
        ([shape([[1, 1], [5, 5], [1, "x"]])], {}, "shape 1"),
        ([shape([[1, 1]], "circle")], {}, "shape 1"),
        ([{}], {}, "at least three points"),
        (["x"], {}, "shape 1"),
        ([shape([[1, 1]], "mask", mask="%%")], {}, "base64"),
        ([shape([[1, 1]], "mask", mask="QUJD")], {}, "not a PNG"),
        ([], {"imageHeight": 48}, "the mask is 32×48 pixels, a.png is 32×24"),
        ([], {"imagePath": "other.png"}, "was drawn on other.png"),
        ([], {"shapes": None}, "not a labelme file"),
    ],
)
def test_labelme_faults_name_the_file(tmp_path, shapes, more, fault):
    write(tmp_path / "a.png", image_of(mask_of(0)))
    write_labelme(tmp_path, "a", *shapes, **more)
    message = complaint(load(tmp_path).cases[0].load)
    assert str(tmp_path / "a.json") in message and fault in message


# --- COCO ---------------------------------------------------------------------------------------


def flat(mask):
    return [[value for corner in corners(mask) for value in corner]]


def runs(mask):
    """Uncompressed run lengths, column by column, background first."""
    counts, last = [0], False
    for value in mask.T.ravel():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def write_coco(path, segmentations, names=None, **more):
    """One image for each entry; an entry is a list of segmentations."""
    names = names or [f"{number}.png" for number in range(len(segmentations))]
    annotations = [
        {"id": 100 * image + n, "image_id": image, "category_id": 1, "segmentation": drawn}
        for image, several in enumerate(segmentations)
        for n, drawn in enumerate(several)
    ]
    images = [
        {"id": image, "file_name": name, "height": SHAPE[0], "width": SHAPE[1]}
        for image, name in enumerate(names)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, **more}))
    return path


@pytest.mark.parametrize(
    ("json_name", "image_folder"),
    [
        ("_annotations.coco.json", "."),
        ("instances.json", "images"),
        ("annotations/instances_default.json", "images"),
    ],
)
def test_coco_polygons_run_lengths_and_images_without_object(tmp_path, json_name, image_folder):
    masks = [mask_of(0), mask_of(1), mask_of(11) | mask_of(19), np.zeros(SHAPE, bool)]
    for number, mask in enumerate(masks):
        write(tmp_path / image_folder / f"{number}.png", image_of(mask))
    drawn = [[flat(masks[0])], [runs(masks[1])], [flat(mask_of(11)), flat(mask_of(19))], []]
    path = write_coco(tmp_path / json_name, drawn)
    for data in (load(tmp_path), load(path)):
        assert (data.name, data.layout) == (tmp_path.name, "COCO")
        assert keys(data) == ["0", "1", "2", "3"] and all_paired(data)


def test_coco_polygon_of_several_parts(tmp_path):
    write(tmp_path / "0.png", image_of(mask_of(11) | mask_of(19)))
    write_coco(tmp_path / "coco.json", [[[*flat(mask_of(11)), *flat(mask_of(19))]]])
    assert all_paired(load(tmp_path))


def test_coco_patients_as_folders_of_images(tmp_path):
    names = ["p1/a.png", "p1/b.png", "p2/a.png"]
    for number, name in enumerate(names):
        write(tmp_path / "images" / name, image_of(mask_of(number)))
    drawn = [[flat(mask_of(number))] for number in range(3)]
    data = load(write_coco(tmp_path / "coco.json", drawn, names))
    assert column(data, "group") == {"p1/a": "p1", "p1/b": "p1", "p2/a": "p2"}
    assert all_paired(data)


def test_several_coco_files_are_refused(tmp_path):
    write(tmp_path / "0.png", image_of(mask_of(0)))
    for name in ("train.json", "val.json"):
        write_coco(tmp_path / name, [[flat(mask_of(0))]])
    message = complaint(lambda: load(tmp_path))
    assert "train.json" in message and "val.json" in message
    assert len(load(tmp_path / "train.json")) == 1


def test_coco_faults_are_listed(tmp_path):
    write(tmp_path / "0.png", image_of(mask_of(0)))
    write(tmp_path.parent / "outside.png", image_of(mask_of(0)))
    path = write_coco(tmp_path / "coco.json", [[], [], []], ["0.png", "1.png", "../outside.png"])
    content = json.loads(path.read_text())
    content["annotations"] = [{"id": 7, "image_id": 99}]
    path.write_text(json.dumps(content))
    message = complaint(lambda: load(tmp_path))
    for fault in ("3 faults", "image 1.png: no such", "image ../outside.png", "annotation 7"):
        assert fault in message


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        ([], "has no segmentation"),
        (None, "has no segmentation"),
        ([[1, 2, 3, 4]], "at least three points"),
        ([[1, 2, 3, 4, 5]], "annotation 0"),
        ({"counts": [1, 2], "size": [1, 3]}, "run lengths are of 3×1 pixels, its image of 32×24"),
        ({"counts": [1, 2], "size": list(SHAPE)}, "the run lengths cover 3 of 768 pixels; export"),
        ({"size": [1, 3]}, "annotation 0"),
    ],
)
def test_coco_faults_of_one_annotation(tmp_path, segmentation, fault):
    write(tmp_path / "0.png", image_of(mask_of(0)))
    path = write_coco(tmp_path / "coco.json", [[segmentation]])
    message = complaint(load(tmp_path).cases[0].load)
    assert f"{path}: annotation 0" in message and fault in message


def test_coco_size_that_is_not_the_image_size(tmp_path):
    write(tmp_path / "0.png", np.zeros((10, 10), np.uint8))
    write_coco(tmp_path / "coco.json", [[flat(mask_of(0))]])
    assert "32×24" in complaint(load(tmp_path).cases[0].load)


@pytest.mark.parametrize(
    "content", ["[1]", '{"images": []}', '{"images": [{}], "annotations": []}']
)
def test_json_that_is_not_coco(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    assert "x.json" in complaint(lambda: load(tmp_path / "x.json"))


# --- Pascal VOC ---------------------------------------------------------------------------------


def write_palette(path, classes):
    """A palette PNG as VOC has it: class numbers, with the colors of its color map."""
    picture = Image.fromarray(classes.astype(np.uint8), "P")
    palette = np.zeros((256, 3), np.uint8)
    palette[1], palette[2], palette[255] = (128, 0, 0), (0, 128, 0), (224, 224, 192)
    picture.putpalette(palette.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def test_pascal_voc_classes_void_and_images_without_mask(tmp_path):
    for number in range(3):
        mask = mask_of(number)
        classes = np.where(mask, 1 + number % 2, 0)
        classes[:, -2:] = 255
        write(tmp_path / "JPEGImages" / f"{number}.jpg", colored(image_of(mask)))
        write_palette(tmp_path / "SegmentationClass" / f"{number}.png", classes)
    write(tmp_path / "JPEGImages" / "unlabeled.jpg", colored(image_of(mask_of(9))))
    data = load(tmp_path)
    assert (data.layout, keys(data)) == ("Pascal VOC", ["0", "1", "2"])
    assert [case.key for case in data.unannotated] == ["unlabeled"]
    assert all_paired(data)


def test_pascal_voc_masks_of_gray_class_numbers(tmp_path):
    numbers = np.where(mask_of(1), 3, 0).astype(np.uint8)
    numbers[:, -1] = 255
    for stem, values in (("classes", numbers), ("binary", mask_of(1) * np.uint8(255))):
        write(tmp_path / "JPEGImages" / f"{stem}.png", image_of(mask_of(1)))
        write(tmp_path / "SegmentationClass" / f"{stem}.png", values)
    assert all_paired(load(tmp_path))


def test_pascal_voc_with_subfolders(tmp_path):
    for number, part in enumerate(("train", "val")):
        image = tmp_path / "JPEGImages" / part / "x.png"
        write_pair(image, tmp_path / "SegmentationClass" / part / "x.png", number)
    data = load(tmp_path)
    assert data.official["folders"] == {"train/x": "train", "val/x": "validation"}
    assert all_paired(data)


def test_pascal_voc_faults(tmp_path):
    write(tmp_path / "JPEGImages" / "a.png", image_of(mask_of(1)))
    write(tmp_path / "SegmentationClass" / "a.png", np.zeros((4, 5), np.uint8))
    assert "5×4" in complaint(load(tmp_path).cases[0].load)
    write(tmp_path / "SegmentationClass" / "b.png", np.zeros((4, 5), np.uint8))
    assert "b.png: has no image" in complaint(lambda: load(tmp_path))


# --- outlines -----------------------------------------------------------------------------------

FINITE = st.floats(-8, 40, allow_nan=False).map(lambda value: round(value * 4) / 4)


@given(st.integers(0, 10**6))
@settings(deadline=None)
def test_polygons_agree_with_scikit_image(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform((-5, -5), (37, 29), (rng.integers(3, 9), 2))
    expected = polygon2mask(SHAPE, points[:, ::-1] - 0.5)
    assert np.array_equal(polygon_mask(points, SHAPE), expected)


@example([(4.25, 37.75), (-5.75, 19.25), (30.5, 27.5)], 38.0, 3.0)
@given(st.lists(st.tuples(FINITE, FINITE), min_size=3, max_size=3), FINITE, FINITE)
@settings(max_examples=200, deadline=None)
def test_triangles_around_a_common_point_tile_without_overlap(triangle, x, y):
    whole = polygon_mask(triangle, SHAPE)
    parts = [polygon_mask([triangle[i], triangle[(i + 1) % 3], (x, y)], SHAPE) for i in range(3)]
    assert np.array_equal(np.logical_xor.reduce(parts), whole)


def test_polygon_on_pixel_borders_is_exact():
    assert np.array_equal(polygon_mask(corners(mask_of(47)), SHAPE), mask_of(47))


@pytest.mark.parametrize("points", [[], [(0, 0), (1, 1)], [(0, 0), (1, 1), (np.nan, 0)]])
def test_what_is_no_polygon(points):
    assert "polygon" in complaint(lambda: polygon_mask(points, SHAPE))


def test_compressed_run_lengths():
    """Reference: the encoder of pycocotools 2.0 on two rectangles."""
    expected = np.zeros((40, 30), bool)
    expected[3:20, 4:9] = expected[25:, 20:] = True
    counts = decode_run_lengths("S5a0g00000000^>NdA00000000000000000")
    assert np.array_equal(run_length_mask(counts, (40, 30)), expected)


@given(st.integers(0, 10**6))
@settings(deadline=None)
def test_run_lengths_come_back(seed):
    mask = np.random.default_rng(seed).random(SHAPE) < 0.5
    assert np.array_equal(run_length_mask(runs(mask)["counts"], SHAPE), mask)


def test_data_of_a_folder_is_the_same_under_another_name_of_it(tmp_path):
    make_folder_pairs(tmp_path / "data", "a", "b")
    assert load(os.path.relpath(tmp_path / "data")).digest == load(tmp_path / "data").digest


def test_names_with_unusual_spaces_are_names(tmp_path):
    """macOS puts a narrow no-break space into the names of screenshots."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        pixels = np.zeros((8, 8), np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / "3.04\u202fPM\u00a0\u3000x.png")
    (case,) = load(tmp_path).cases
    assert case.key == "3.04\u202fPM\u00a0\u3000x"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("001", "1.png differs only in spaces, zeros before numbers, case or alphabet"),
        ("1 ", "1.png differs only in spaces"),
        ("\u0661", "1.png differs only in spaces, zeros before numbers, case or alphabet"),
    ],
)
def test_names_that_are_nearly_equal_are_hinted_at(tmp_path, name, hint):
    write(tmp_path / "images" / "1.png", image_of(mask_of(1)))
    write(tmp_path / "masks" / f"{name}.png", mask_of(1))
    assert hint in complaint(lambda: load(tmp_path))


def test_packed_images_are_named(tmp_path):
    make_folder_pairs(tmp_path, "a", "b")
    packed = ["images/d.dcm.gz", "images/e.png.zip", "masks/f.nii.bz2", "masks/g.png.bak"]
    for name in packed:
        (tmp_path / name).write_bytes(b"x")
    assert [str(path.relative_to(tmp_path)) for path in load(tmp_path).unread] == packed
    write(tmp_path / "masks" / "e.png", mask_of(1))
    assert "(e.png.zip is of a kind that is not read" in complaint(lambda: load(tmp_path))


@pytest.mark.parametrize("suffix", [".xlsx", ".ods"])
def test_a_spreadsheet_instead_of_a_manifest_is_refused(tmp_path, suffix):
    make_folder_pairs(tmp_path, "a", "b")
    path = tmp_path / f"manifest{suffix}"
    path.write_bytes(b"PK")
    assert "save it as manifest.csv, CSV UTF-8" in complaint(lambda: load(tmp_path))
    assert "; save it as CSV UTF-8" in complaint(lambda: load(path))


def test_an_archive_is_to_be_unpacked(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    assert "; unpack it and give the folder" in complaint(lambda: load(tmp_path / "x.zip"))


def test_an_address_in_a_manifest_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_text("image,mask\nhttp://host/a.png,\n")
    assert "http://host/a.png is an address; download the file" in complaint(lambda: load(tmp_path))


def test_two_unicode_forms_of_a_name_are_told(tmp_path):
    for name in ("\u00e4", "a\u0308"):
        write(tmp_path / "images" / f"{name}.png", image_of(mask_of(1)))
    write(tmp_path / "masks" / "\u00e4.png", mask_of(1))
    assert "only in the Unicode form of its accents" in complaint(lambda: load(tmp_path))


def test_decathlon_that_pairs_files_of_other_names_is_refused(tmp_path):
    for number, name in enumerate(("a", "b")):
        write_pair(tmp_path / f"imagesTr/{name}.png", tmp_path / f"labelsTr/{name}.png", number)
    entry = {"image": "./imagesTr/a.png", "label": "./labelsTr/a.png"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry]}))
    assert all_paired(load(tmp_path))
    entry["label"] = "./labelsTr/b.png"
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry], "test": ["x.png"]}))
    assert "dataset.json: pairs ./labelsTr/b.png and ./imagesTr/a.png, unlike" in complaint(
        lambda: load(tmp_path)
    )


def test_decathlon_whose_masks_are_in_another_folder_is_refused(tmp_path):
    write_pair(tmp_path / "imagesTr/a.png", tmp_path / "labelsTr/a.png", 1)
    entry = {"image": "./imagesTr/a.png", "label": "./labelsTr2/a.png"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry]}))
    assert all_paired(load(tmp_path))  # There is no such folder, as of another machine.
    write(tmp_path / "labelsTr2" / "a.png", mask_of(2))
    message = "pairs ./labelsTr2/a.png and ./imagesTr/a.png, unlike their names or folders; list"
    assert message in complaint(lambda: load(tmp_path))


@pytest.mark.parametrize("swapped", [False, True])
def test_nnunet_that_pairs_files_of_other_names_is_refused(tmp_path, swapped):
    for name in "ab":
        write(tmp_path / "imagesTr" / f"{name}_0000.png", image_of(mask_of(1)))
        write(tmp_path / "labelsTr" / f"{name}.png", mask_of(1))
    labels = {"a": "b", "b": "a"} if swapped else {"a": "a", "b": "b"}
    listed = {
        name: {"images": [f"imagesTr/{name}_0000.png"], "label": f"labelsTr/{label}.png"}
        for name, label in labels.items()
    }
    (tmp_path / "dataset.json").write_text(json.dumps({"dataset": listed}))
    if swapped:
        assert "list the images and masks in a manifest.csv" in complaint(lambda: load(tmp_path))
    else:
        assert len(load(tmp_path)) == 2


def test_a_list_of_nnunet_that_names_missing_images_is_refused(tmp_path):
    for name in "ab":
        write_pair(tmp_path / f"imagesTr/{name}_0000.png", tmp_path / f"labelsTr/{name}.png", 1)
    listed = [{"image": f"./imagesTr/{n}.png", "label": f"./labelsTr/{n}.png"} for n in "abc"]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": listed}))
    message = complaint(lambda: load(tmp_path))
    assert "dataset.json: lists images that are missing" in message
    assert message.endswith("./imagesTr/c.png")
    for between, suffix in (("/", ".png"), ("/", ""), ("\\", ".png")):
        text = json.dumps({"training": listed[:2]}).replace(".png", suffix)
        (tmp_path / "dataset.json").write_text(text.replace("/", json.dumps(between)[1:-1]))
        assert len(load(tmp_path)) == 2


@pytest.mark.parametrize(
    ("channels", "suffix", "warned"),
    [
        ({"0": "T1", "1": "T2"}, "png", True),
        ({"0": "R", "1": "G", "2": "B"}, "png", False),
        ({"0": "T1", "1": "T2", "2": "FLAIR"}, "nii.gz", True),
        ({"0": "US"}, "nii.gz", False),
    ],
)
def test_channels_of_nnunet_that_are_in_no_file_are_named(tmp_path, channels, suffix, warned):
    nibabel = pytest.importorskip("nibabel")
    for folder, stem, pixels in (("imagesTr", "a_0000", image_of), ("labelsTr", "a", np.uint8)):
        path = tmp_path / folder / f"{stem}.{suffix}"
        if suffix == "png":
            write(path, pixels(mask_of(1)))
        else:
            path.parent.mkdir()
            nibabel.save(nibabel.Nifti1Image(pixels(mask_of(1))[..., None], np.eye(4)), path)
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": channels}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FileWarning)
        assert len(load(tmp_path)) == 1
    words = [str(one.message) for one in caught if one.category is FileWarning]
    assert [f"lists {len(channels)} channels" in text for text in words] == [True] * warned


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_images_than_nnunet_says_are_told(tmp_path, count):
    for name in "ab":
        write_pair(tmp_path / f"imagesTr/{name}_0000.png", tmp_path / f"labelsTr/{name}.png", 1)
    (tmp_path / "dataset.json").write_text(json.dumps({"numTraining": count}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FileWarning)
        assert len(load(tmp_path)) == 2
    found = [str(one.message) for one in caught if "numTraining 3, but 2 are there" in str(one)]
    assert len(found) == (count == 3)
