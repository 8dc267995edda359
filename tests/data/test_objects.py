"""Several objects from files to arrays: how they are named, kept apart, drawn and checked."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from kerasunet.data import load
from kerasunet.data.augmentation import augment
from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.cache_packs import origin_of
from kerasunet.data.checking import check
from kerasunet.data.decoding import (
    DecodedCases,
    content_digest,
    decode,
    resize_mask,
    resize_objects,
)
from kerasunet.data.loading import require_objects
from kerasunet.objects import Objects

SIDE = 40
BOTH = Objects(("lung", "heart"))
OVERLAPPING = Objects(("lesion", "caliper"), overlapping=True)


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = True
    return mask


LUNG, HEART = square(4, 4, 12), square(20, 18, 10)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def images(folder: Path, count: int = 3) -> list[str]:
    names = [f"case{number}" for number in range(count)]
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE), np.uint8)
        write(folder / "images" / f"{name}.png", noise)
    return names


@pytest.fixture
def labeled(tmp_path) -> Path:
    """Label images in which 150 is the lung and 250 the heart."""
    for name in images(tmp_path):
        write(tmp_path / "masks" / f"{name}.png", (150 * LUNG + 250 * HEART).astype(np.uint8))
    return tmp_path


def labels_in(folder: Path, *objects: str, **options) -> np.ndarray:
    return load(folder, objects=objects, **options).cases[0].load().mask


def refusal(folder: Path, *objects: str, **options) -> str:
    with pytest.raises(ValueError) as refused:
        for case in load(folder, objects=objects, **options).cases:
            case.load()
    return str(refused.value)


def test_values_of_label_images_become_labels(labeled):
    data = load(labeled, objects=["lung=150", "heart=250"])
    assert data.objects == BOTH
    mask = data.cases[0].load().mask
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, LUNG + 2 * HEART)
    np.testing.assert_array_equal(labels_in(labeled, "heart=250", "lung=150"), HEART + 2 * LUNG)
    united = labels_in(labeled, "chest=150,250")
    assert united.dtype == bool
    np.testing.assert_array_equal(united, LUNG | HEART)


def test_a_table_of_names_gives_the_values(labeled):
    table = {"labels": {"background": 0, "lung": 150, "heart": 250}}
    (labeled / "dataset.json").write_text(json.dumps(table))
    np.testing.assert_array_equal(labels_in(labeled, "heart", "lung"), HEART + 2 * LUNG)
    told = refusal(labeled)
    assert "has several objects, lung, heart" in told
    assert "--objects lung heart keeps them apart" in told


def test_names_beside_masks_without_names_are_refused(tmp_path):
    """Nobody knows which object these show; they used to be read as empty."""
    for part, mask in (("train", 150 * LUNG + 250 * HEART), ("val", 255 * LUNG)):
        images(tmp_path / part, 1)
        write(tmp_path / part / "masks" / "case0.png", mask.astype(np.uint8))
    table = "# label:color_rgb:parts:actions\nlung:150,150,150::\nheart:250,250,250::\n"
    (tmp_path / "train" / "labelmap.txt").write_text(table)
    message = f"{tmp_path / 'val' / 'masks' / 'case0.png'}: comes without names, so it may show"
    assert message in refusal(tmp_path, "lung") and message in refusal(tmp_path, "lung", "heart")
    for objects in (["lung=lung,255"], ["lung=lung,255", "heart"]):
        data = load(tmp_path, objects=objects)
        np.testing.assert_array_equal(data.cases[1].load().mask == 1, LUNG)


@pytest.mark.parametrize("name", ["masks/{object}/{case}.png", "masks/{case}_mask_{object}.png"])
@pytest.mark.parametrize("spelling", ["Left lung", "left_lung"])
def test_a_name_that_is_there_in_another_spelling_is_refused(tmp_path, name, spelling):
    """Masks of the other spelling used to be read as empty."""
    for number, case in enumerate(images(tmp_path)):
        for word in (spelling if number else "left lung", "heart"):
            write(tmp_path / name.format(object=word, case=case), LUNG.astype(np.uint8))
    told = f"objects 'left lung' and '{spelling}' look like one, written in several ways; write"
    assert told in refusal(tmp_path, "left lung")
    assert told in refusal(tmp_path, "heart", "left lung")
    for objects in (["heart"], [f"left lung,{spelling}"]):
        data = load(tmp_path, objects=objects)
        assert all(np.array_equal(case.load().mask, LUNG) for case in data.cases)


@pytest.mark.parametrize("other", ["le\u0301sion", "l\u00e9si\u043en"])
def test_a_name_that_is_there_in_another_unicode_form_or_alphabet_is_refused(tmp_path, other):
    for number, case in enumerate(images(tmp_path)):
        for word in (other if number else "l\u00e9sion", "heart"):
            write(tmp_path / f"masks/{word}/{case}.png", LUNG.astype(np.uint8))
    message = refusal(tmp_path, "l\u00e9sion")
    assert ascii("l\u00e9sion") in message and ascii(other) in message
    assert "look like one, written in several ways" in message


def test_images_with_masks_of_other_objects_only_are_named(tmp_path):
    """Their class may be there under another name, such as `lungs`."""
    for number, case in enumerate(images(tmp_path)):
        for word in ("lungs" if number else "lung", "heart"):
            write(tmp_path / "masks" / word / f"{case}.png", LUNG.astype(np.uint8))
    (told,) = load(tmp_path, objects=["lung"]).remarks
    first = tmp_path / "images" / "case1.png"
    assert told == f"{first} and 1 others have masks of other objects only, and no lung"
    assert not load(tmp_path, objects=["heart"]).remarks


def test_objects_of_different_names_in_files_and_outlines_are_refused(tmp_path):
    """Without a choice, they used to be united."""
    images(tmp_path / "P1", 1)
    write(tmp_path / "P1" / "masks" / "heart" / "case0.png", HEART.astype(np.uint8))
    outlined(tmp_path / "P2", "lung")
    assert "has several objects, lung (1), heart; say which is meant" in refusal(tmp_path)
    assert [case.load().mask.any() for case in load(tmp_path, objects=["lung"]).cases] == [0, 1]


def test_a_threshold_beside_a_table_of_classes_is_refused(labeled):
    """The table may call what is bright the background, or to be ignored."""
    (labeled / "labelmap.txt").write_text("background:250,250,250::\nlung:150,150,150::\n")
    message = "comes with a table of classes, which says what its values are; leave out one"
    assert message in refusal(labeled, mask_threshold=0)


def test_copies_in_a_folder_of_a_class_are_refused(tmp_path):
    for case in images(tmp_path, 1):
        for name in (f"lung/{case}", f"lung/{case}_mask", f"heart/{case}"):
            write(tmp_path / "masks" / f"{name}.png", LUNG.astype(np.uint8))
    assert "has masks of several kinds" in refusal(tmp_path, "lung")


def outlined(folder: Path, *labels: str) -> None:
    """Writes a labelme file of an image with the lung as each of these labels."""
    corners = [[4, 4], [16, 4], [16, 16], [4, 16]]
    shapes = [{"label": one, "points": corners, "shape_type": "polygon"} for one in labels]
    write(folder / "case0.png", np.full((SIDE, SIDE), 9, np.uint8))
    content = {"shapes": shapes, "imagePath": "case0.png"}
    content |= {"imageHeight": SIDE, "imageWidth": SIDE}
    (folder / "case0.json").write_text(json.dumps(content))


def test_values_beside_outlines_with_labels_are_refused(tmp_path):
    """The outlines used to be left out."""
    images(tmp_path / "P1", 1)
    write(tmp_path / "P1" / "masks" / "case0.png", (LUNG + 2 * HEART).astype(np.uint8))
    outlined(tmp_path / "P2", "lung")
    message = "has outlines of lung, which values do not choose; give a label, too, such as"
    for objects in (["lung=1"], ["x=1"], ["lung=1", "heart=2"]):
        assert message in refusal(tmp_path, *objects)
    data = load(tmp_path, objects=["lung=lung,1"])
    assert all(np.array_equal(case.load().mask, LUNG) for case in data.cases)


def test_labels_beside_folders_of_classes_are_chosen_as_these_are(tmp_path):
    """All outlines used to be read, whatever their labels."""
    images(tmp_path / "P1", 1)
    for name, mask in (("lung", LUNG), ("heart", HEART)):
        write(tmp_path / "P1" / "masks" / name / "case0.png", mask.astype(np.uint8))
    outlined(tmp_path / "P2", "lung", "rib")
    for name, masks in (("lung", (LUNG, LUNG)), ("heart", (HEART, 0 * HEART))):
        data = load(tmp_path, objects=[name])
        found = [case.load().mask for case in data.cases]
        np.testing.assert_array_equal(found, np.array(masks, bool))


@pytest.mark.parametrize("name", ["masks/{0}/case0.png", "masks/case0_mask_{0}.png"])
def test_a_label_is_united_with_files_of_another_object(tmp_path, name):
    """The files used to be read as empty, because no color of theirs is called like the label."""
    images(tmp_path / "P1", 1)
    for label, mask in (("lung", LUNG), ("heart", HEART)):
        write(tmp_path / "P1" / name.format(label), mask.astype(np.uint8))
    outlined(tmp_path / "P2", "lung", "rib")
    for choice, masks in (("all=heart,lung", (LUNG | HEART, LUNG)), ("x=heart,rib", (HEART, LUNG))):
        found = [case.load().mask for case in load(tmp_path, objects=[choice]).cases]
        np.testing.assert_array_equal(found, np.array(masks, bool))


def test_tables_of_classes_that_disagree_are_refused(labeled):
    lines = "# label:color_rgb:parts:actions\n{}:150,150,150::\n{}:250,250,250::\n".format
    (labeled / "masks" / "labelmap.txt").write_text(lines("lung", "heart"))
    np.testing.assert_array_equal(labels_in(labeled, "lung", "heart"), LUNG + 2 * HEART)
    above, words = labeled / "labelmap.txt", "its table of classes disagrees with that in"
    above.write_text(lines("heart", "lung"))
    assert f"{labeled / 'masks'}: {words} {labeled}; keep one" in refusal(labeled, "lung")
    (labeled / "masks" / "labelmap.txt").rename(above)
    other = labeled / "obj_class_to_machine_color.json"
    other.write_text(json.dumps({"lung": [150] * 3, "heart": [250] * 3}))
    np.testing.assert_array_equal(labels_in(labeled, "lung", "heart"), LUNG + 2 * HEART)
    other.write_text(json.dumps({"heart": [150] * 3, "lung": [250] * 3}))
    assert f"{labeled}: labelmap.txt and {other.name} number classes" in refusal(labeled, "lung")


def test_labels_of_outlines_become_objects(tmp_path):
    corners = {
        "lung": [[4, 4], [16, 4], [16, 16], [4, 16]],
        "heart": [[18, 20], [28, 20], [28, 30]],
    }
    for name in images(tmp_path):
        shapes = [
            {"label": label, "points": points, "shape_type": "polygon"}
            for label, points in corners.items()
        ]
        content = {
            "shapes": shapes,
            "imagePath": f"{name}.png",
            "imageHeight": SIDE,
            "imageWidth": SIDE,
        }
        picture = tmp_path / "images" / f"{name}.png"
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        picture.rename(tmp_path / picture.name)
    (tmp_path / "images").rmdir()
    mask = labels_in(tmp_path, "lung", "heart")
    np.testing.assert_array_equal(mask == 1, LUNG)
    assert (mask == 2).sum() > 40


@pytest.mark.parametrize("name", ["masks/{object}/{case}.png", "masks/{case}_mask_{object}.png"])
def test_a_folder_or_a_suffix_tells_the_object(tmp_path, name):
    for case in images(tmp_path):
        for label, mask in (("lung", LUNG), ("heart", HEART)):
            path = tmp_path / name.format(case=case, object=label)
            write(path, 255 * mask.astype(np.uint8))
    np.testing.assert_array_equal(labels_in(tmp_path, "lung", "heart"), LUNG + 2 * HEART)
    np.testing.assert_array_equal(labels_in(tmp_path, "heart"), HEART)
    np.testing.assert_array_equal(labels_in(tmp_path, "chest=lung,heart"), LUNG | HEART)
    told = refusal(tmp_path)
    assert "has several objects" in told
    assert "--objects heart lung keeps them apart" in told or "lung heart keeps" in told


@pytest.mark.parametrize("word", ["mask", "seg", "label"])
def test_numbers_at_the_end_of_names_are_parts_of_one_object(tmp_path, word):
    for case in images(tmp_path):
        for end, mask in (("", LUNG), ("_1", HEART), ("_2", square(0, 30, 5))):
            write(tmp_path / "masks" / f"{case}_{word}{end}.png", 255 * mask.astype(np.uint8))
    np.testing.assert_array_equal(labels_in(tmp_path), LUNG | HEART | square(0, 30, 5))


def test_numbers_after_the_name_of_an_object_are_parts_of_it(tmp_path):
    for case in images(tmp_path):
        for end, mask in (("lung_1", LUNG), ("lung_2", square(0, 30, 5)), ("heart", HEART)):
            write(tmp_path / "masks" / f"{case}_mask_{end}.png", 255 * mask.astype(np.uint8))
    np.testing.assert_array_equal(labels_in(tmp_path, "lung"), LUNG | square(0, 30, 5))
    assert "has several objects, heart, lung" in refusal(tmp_path)


NAMES = [
    *(("_1_lung", "_2_heart"), ("_[1]_lung", "_[2]_heart"), (" (lung)", " (heart)")),
    *((" - lung", " - heart"), ("_lung (1)", "_heart (1)"), ("_[lung]", "_1 (heart)")),
    *(("_lung_1a", "_heart_1_2"), ("__lung", "__heart_01")),
]


@pytest.mark.parametrize("names", NAMES)
def test_numbers_and_brackets_about_the_names_of_objects_do_not_mix_them(tmp_path, names):
    for case in images(tmp_path):
        for name, mask in zip(names, (LUNG, HEART), strict=True):
            write(tmp_path / "masks" / f"{case}_mask{name}.png", 255 * mask.astype(np.uint8))
    assert re.search("has several objects, (lung, heart|heart, lung)", refusal(tmp_path))
    np.testing.assert_array_equal(labels_in(tmp_path, "lung"), LUNG)


@pytest.mark.parametrize(
    "names",
    [
        *(("class_1", "class_2"), ("reader 1", "reader 2"), ("left_organ_1", "left_organ_2")),
        *(("L4_L5", "L5_S1"), ("lung_v1", "lung_v2"), ("left+right", "upper & lower")),
    ],
)
def test_numbers_of_classes_annotators_and_versions_are_no_parts(tmp_path, names):
    for case in images(tmp_path):
        for name, mask in zip(names, (LUNG, HEART), strict=True):
            write(tmp_path / "masks" / f"{case}_mask_{name}.png", 255 * mask.astype(np.uint8))
    assert f"has several objects, {', '.join(names)}; say which" in refusal(tmp_path)
    for name, mask in zip(names, (LUNG, HEART), strict=True):
        np.testing.assert_array_equal(labels_in(tmp_path, name), mask)


def test_a_mask_whose_name_says_no_object_beside_others_that_do_is_refused(tmp_path):
    for case in images(tmp_path):
        write(tmp_path / "masks" / f"{case}_mask_lung.png", 255 * LUNG.astype(np.uint8))
    write(tmp_path / "masks" / "case1_mask.png", 255 * HEART.astype(np.uint8))
    for chosen in ((), ("lung",)):
        assert "case1_mask.png: its name does not say which object" in refusal(tmp_path, *chosen)


def test_values_do_not_unite_files_whose_names_say_different_objects(tmp_path):
    for case in images(tmp_path):
        for word, mask in (("left", LUNG), ("right", HEART)):
            values = 255 * mask + 7 * square(0, 30, 5)
            write(tmp_path / "masks" / f"{case}_mask_{word}.png", values.astype(np.uint8))
    assert "has several objects, left, right" in refusal(tmp_path, "lungs=255")
    np.testing.assert_array_equal(labels_in(tmp_path, "lungs=left,255"), LUNG)
    np.testing.assert_array_equal(labels_in(tmp_path, "lungs=left,right,255"), LUNG | HEART)
    assert "cable: " in refusal(tmp_path, "lungs=left,cable")


def test_words_in_the_name_of_an_image_are_no_object(tmp_path):
    for case, mask in (("a_mask_left", LUNG), ("a_mask_right", HEART)):
        write(tmp_path / "images" / f"{case}.png", 9 * LUNG.astype(np.uint8))
        write(tmp_path / "masks" / f"{case}.png", 255 * mask.astype(np.uint8))
    np.testing.assert_array_equal(labels_in(tmp_path), LUNG)


def test_drawings_that_overlap_are_put_on_top_of_each_other_or_refused(tmp_path):
    inner, seam = square(8, 8, 4), square(16, 4, 12)
    for case in images(tmp_path):
        for label, mask in (("lesion", LUNG), ("caliper", inner), ("seam", seam)):
            write(tmp_path / "masks" / label / f"{case}.png", 255 * mask.astype(np.uint8))
    told = refusal(tmp_path, "caliper", "lesion")
    assert "100% of caliper is also lesion; give --overlapping" in told
    mask = labels_in(tmp_path, "lesion", "seam")
    np.testing.assert_array_equal(mask, np.where(seam, 2, LUNG))
    mask = labels_in(tmp_path, "lesion", "caliper", overlapping=True)
    np.testing.assert_array_equal(mask, LUNG + 2 * inner)
    assert "only several objects can overlap" in refusal(tmp_path, "lesion", overlapping=True)


@pytest.mark.parametrize("objects", [BOTH, OVERLAPPING, Objects(("one",))], ids=str)
def test_masks_of_all_objects_share_an_array(objects):
    planes = [LUNG, HEART][: len(objects)]
    kept = objects.encode(planes)
    assert kept.dtype == (np.uint8 if objects.several else bool)
    np.testing.assert_array_equal(objects.planes(kept), planes)
    assert objects.channels == {"lung": 3, "lesion": 2, "one": 1}[objects.names[0]]


def test_the_most_probable_object_counts_and_overlapping_ones_by_the_threshold():
    exclusive = np.array([[0.4, 0.35, 0.25], [0.2, 0.3, 0.5]], np.float32)
    np.testing.assert_array_equal(BOTH.decide(exclusive), [0, 2])
    np.testing.assert_array_equal(BOTH.decide(exclusive, 0.9), [0, 2])
    apart = np.array([[0.6, 0.7], [0.4, 0.6]], np.float32)
    np.testing.assert_array_equal(OVERLAPPING.decide(apart), [3, 2])
    np.testing.assert_array_equal(OVERLAPPING.decide(apart, 0.65), [2, 0])


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "none"), (("a", "a"), "its own name"), (tuple("abcdefghi"), "at most 8")],
)
def test_objects_that_cannot_be_told_apart_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        Objects(names, overlapping=True)


def test_a_text_is_one_name_and_a_list_keeps_its_order():
    assert Objects("lesion") == Objects(("lesion",)) and not Objects("lesion").several
    assert Objects(["b", "a"]).names == ("b", "a")
    for unordered in ({"a", "b"}, None, ("a", 3)):
        with pytest.raises(ValueError, match="list them, each with its own name"):
            Objects(unordered)


def test_resizing_keeps_the_union_and_invents_no_label():
    mask = BOTH.encode([square(3, 3, 15), square(3, 18, 9)])
    for size in ((17, 23), (SIDE, SIDE), (80, 61)):
        small = resize_objects(mask, size, BOTH)
        assert set(np.unique(small)) == {0, 1, 2}
        np.testing.assert_array_equal(small > 0, resize_mask(mask > 0, size))
    bits = OVERLAPPING.encode([LUNG, square(8, 8, 20)])
    for plane, small in zip(
        OVERLAPPING.planes(bits), OVERLAPPING.planes(resize_objects(bits, (16, 16), OVERLAPPING)),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(small, resize_mask(plane, (16, 16)))


def test_augmentation_makes_no_labels_up():
    mask = (np.uint8(1) * LUNG + np.uint8(7) * HEART).astype(np.uint8)
    image = (mask * 20)[..., None]
    for seed in range(20):
        view, warped = augment(image, mask, Augmentation(), rng=np.random.default_rng(seed))
        assert warped.dtype == np.uint8
        assert set(np.unique(warped)) <= {0, 1, 7}


def test_decoded_labels_come_from_the_cache_and_have_digests_of_their_own(labeled):
    two = load(labeled, objects=["lung=150", "heart=250"])
    swapped = load(labeled, objects=["heart=250", "lung=150"])
    one = load(labeled, objects=["chest=150,250"])
    first, again = (decode(two.cases, (20, 20)) for _ in range(2))
    np.testing.assert_array_equal(first.masks, again.masks)
    assert first.objects == BOTH
    assert set(np.unique(first.masks)) == {0, 1, 2}
    decoded = [first, decode(swapped.cases, (20, 20)), decode(one.cases, (20, 20))]
    assert len({content_digest([part]) for part in decoded}) == 3
    assert len({data.digest for data in (two, swapped, one)}) == 3
    assert len({origin_of(data.cases[0]).digest for data in (two, swapped, one)}) == 3
    part = first.select([first.keys[1]]).between(0, 1)
    assert (part.objects, len(part)) == (BOTH, 1)


def test_masks_of_other_objects_are_refused(labeled):
    cases = decode(load(labeled, objects=["lung=150", "heart=250"]).cases, (20, 20))
    with pytest.raises(ValueError, match="must be uint8 of 0 to 3, not values up to 4"):
        replace(cases, objects=OVERLAPPING, masks=cases.masks * np.uint8(2))
    with pytest.raises(ValueError, match="masks of 2 objects"):
        DecodedCases(cases.keys, cases.groups, cases.images, masks=cases.masks > 0,
                     spacings=cases.spacings, objects=BOTH)  # fmt: skip


def test_an_object_that_never_occurs_is_told(labeled):
    write(labeled / "masks" / "case0.png", (150 * LUNG).astype(np.uint8))
    report = check(labeled, objects=["lung=150", "heart=250", "spleen=77"])
    kinds = report.by_kind()
    assert [p.message for p in kinds["absent-object"]] == ["spleen: in none of 3 images"]
    assert [p.message for p in kinds["rare-object"]] == ["heart: in 2 of 3 images, 2 of 3 groups"]
    assert report.counts()["error"] == 1
    data = load(labeled, objects=["lung=150", "heart=250", "spleen=77"])
    with pytest.raises(ValueError, match="none of 3 masks has spleen"):
        require_objects(data.cases, decode(data.cases, (20, 20)))


def test_check_finds_objects_that_hide_each_other(tmp_path):
    for case in images(tmp_path):
        for label in ("lesion", "caliper"):
            write(tmp_path / "masks" / label / f"{case}.png", 255 * LUNG.astype(np.uint8))
    assert len(check(tmp_path, objects=["lesion", "caliper"]).by_kind()["overlap"]) == 3
    fine = check(tmp_path, objects=["lesion", "caliper"], overlapping=True)
    assert "overlap" not in fine.by_kind()


def test_simulated_chests_have_lungs_and_heart():
    data = load("simulated-xray:4", objects=["lungs", "heart"], size=64)
    masks = decode(data.cases, (64, 64)).masks
    shares = [(masks == number).mean() for number in (1, 2)]
    assert 0.2 < shares[0] < 0.4
    assert 0.05 < shares[1] < 0.15
    usual = decode(load("simulated-xray:4", size=64).cases, (64, 64)).masks
    np.testing.assert_array_equal(masks == 1, usual)
    sides = labels_in_simulated("right_lung", "left_lung")
    np.testing.assert_array_equal(sides > 0, usual[0])
    with pytest.raises(ValueError, match="no such object; it has lungs, heart, right_lung"):
        load("simulated-xray:4", objects=["lungs", "liver"])
    with pytest.raises(ValueError, match="nothing to choose"):
        load("simulated-ultrasound:4", objects=["lesion", "caliper"])


def labels_in_simulated(*objects: str) -> np.ndarray:
    return load("simulated-xray:4", objects=objects, size=64).cases[0].load().mask


def test_an_object_is_named_once(labeled):
    assert "150 is named twice" in refusal(labeled, "lung=150", "heart=150,250")
    assert "lung is named twice" in refusal(labeled, "lung=150", "lung=250")
