"""Annotations as public programs write them, against independent readers and drawings."""

import base64
import io
import json
import re
import unicodedata
import warnings
from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from skimage.draw import polygon2mask

from kerasunet.data import load
from kerasunet.data.checking import check
from kerasunet.files import FileWarning

pytestmark = pytest.mark.filterwarnings("error")

SHAPE = (60, 80)
TRIANGLE = [[10, 10], [50, 10], [10, 40]]
SQUARE = [[5.2, 8.4], [45.6, 8.4], [45.6, 48.7], [5.2, 48.7]]
HOLE = [[15, 15], [30, 15], [30, 35], [15, 35]]
ASIDE = [[60, 10], [75, 10], [75, 30]]
LEVELS = np.random.default_rng(5).integers(0, 255, SHAPE, dtype=np.uint8)


def scan(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(LEVELS).save(path)
    return path


def outline(points, label="nodule", kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def labelme(*shapes, **more):
    size = {"imageHeight": SHAPE[0], "imageWidth": SHAPE[1]}
    return {"version": "5.8.1", "shapes": [*shapes], "imagePath": "a.png", "imageData": None} | (
        size | more
    )


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def mask_in(data, **choice):
    (case,) = load(data, **choice).cases
    return case.load().mask


def refusal(data, **choice):
    with pytest.raises(ValueError) as caught:
        for case in load(data, **choice).cases:
            case.load()
    return str(caught.value)


def filled(points):
    """The pixels whose centers are inside, by scikit-image, which counts from centers."""
    return polygon2mask(SHAPE, np.asarray(points)[:, ::-1] - 0.5)


def differ_only_along_outlines(mask, other):
    """Whether masks agree but for pixels that touch an outline, where programs differ."""
    near = np.zeros(SHAPE, bool)
    for rows, columns in ((slice(1, None), slice(None)), (slice(None), slice(1, None))):
        before = tuple(slice(None, -1) if s.start else s for s in (rows, columns))
        edge = mask[rows, columns] != mask[before]
        near[rows, columns] |= edge
        near[before] |= edge
    grown = near.copy()
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        grown |= np.roll(near, step, axis)
    return not ((mask != other) & ~grown).any()


def as_labelme_draws(shapes: list[Mapping], wanted: str) -> np.ndarray:
    """What labelme exports: shapes in their order, the last one wins, drawn by Pillow."""
    picture = Image.new("L", SHAPE[::-1])
    for shape in shapes:
        points = [tuple(point) for point in shape["points"]]
        value = int(shape["label"] == wanted)
        ImageDraw.Draw(picture).polygon(points, fill=value, outline=value)
    return np.array(picture) > 0


# --- labelme ------------------------------------------------------------------------------------


@pytest.fixture
def one(tmp_path):
    """Return a function that writes an image with these shapes, and returns the folder."""

    def write(*shapes, **more):
        scan(tmp_path / "a.png")
        save(tmp_path / "a.json", labelme(*shapes, **more))
        return tmp_path

    return write


@pytest.mark.parametrize("special", ["_background_", "__ignore__"])
@pytest.mark.parametrize("hole_first", [False, True])
def test_background_and_ignore_cut_what_was_drawn_before(one, special, hole_first):
    shapes = [outline(SQUARE), outline(HOLE, special)]
    shapes = shapes[::-1] if hole_first else shapes
    mask = mask_in(one(*shapes))
    expected = filled(SQUARE) if hole_first else filled(SQUARE) & ~filled(HOLE)
    np.testing.assert_array_equal(mask, expected)
    assert differ_only_along_outlines(mask, as_labelme_draws(shapes, "nodule"))


def test_ignored_shape_alone_is_no_object(one):
    assert not mask_in(one(outline(SQUARE, "__ignore__"))).any()


def test_labels_are_chosen_or_refused(one):
    folder = one(outline(SQUARE, "cyst"), outline(ASIDE, "mass"))
    np.testing.assert_array_equal(mask_in(folder, objects=["cyst"]), filled(SQUARE))
    np.testing.assert_array_equal(
        mask_in(folder, objects=["lesion=cyst,mass"]), filled(SQUARE) | filled(ASIDE)
    )
    assert "has several objects, cyst (1), mass (1); say which is meant: --objects cyst" in refusal(
        folder
    )
    assert "no such label; it has cyst, mass" in refusal(folder, objects=["cist"])


def test_labels_are_counted_over_the_whole_set(tmp_path):
    for patient, label in (("p1", "cyst"), ("p2", "mass"), ("p3", "cyst")):
        scan(tmp_path / patient / "a.png")
        save(tmp_path / patient / "a.json", labelme(outline(SQUARE, label)))
    assert "cyst (2), mass (1)" in refusal(tmp_path)
    sums = [case.load().mask.sum() for case in load(tmp_path, objects=["mass"]).cases]
    assert sums == [0, filled(SQUARE).sum(), 0]


def test_check_goes_on_with_several_labels_and_says_so(one):
    report = check(one(outline(SQUARE, "cyst"), outline(ASIDE, "mass")))
    (problem,) = [problem for problem in report.problems if problem.severity == "error"]
    assert "cyst (1), mass (1)" in problem.message and report.data is not None


@pytest.mark.parametrize("label", ["cyst,mass", "a=b"])
def test_label_that_looks_like_a_choice(one, label):
    folder = one(outline(SQUARE, label), outline(ASIDE, "other"))
    np.testing.assert_array_equal(mask_in(folder, objects=[label]), filled(SQUARE))


@pytest.mark.parametrize(
    ("images", "files"),
    [
        ("images", "annotations"),
        ("img", "json"),
        ("images", "labels"),
        ("images", "masks"),
        ("", "labelme"),
    ],
)
def test_labelme_files_in_a_folder_of_their_own(tmp_path, images, files):
    scan(tmp_path / images / "a.png")
    save(tmp_path / files / "a.json", labelme(outline(SQUARE), imagePath="..\\images\\a.png"))
    data = load(tmp_path)
    assert data.layout == "labelme" and [case.key for case in data.cases] == ["a"]
    assert not check(tmp_path).problems
    np.testing.assert_array_equal(mask_in(tmp_path), filled(SQUARE))


def test_labelme_file_that_has_another_name_than_its_image(tmp_path):
    scan(tmp_path / "scan_07.png")
    save(tmp_path / "json" / "0007.json", labelme(outline(SQUARE), imagePath="scan_07.png"))
    (case,) = load(tmp_path).cases
    assert case.key == "scan_07" and np.array_equal(case.load().mask, filled(SQUARE))


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_image_that_is_only_inside_its_labelme_file(tmp_path, kind):
    content = io.BytesIO()
    Image.fromarray(LEVELS).save(content, kind)
    inside = base64.b64encode(content.getvalue()).decode()
    save(tmp_path / "a.json", labelme(outline(SQUARE), imageData=inside))
    (case,) = load(tmp_path).cases
    image, mask, spacing = case.load()
    np.testing.assert_array_equal(image, np.array(Image.open(content)))
    assert np.array_equal(mask, filled(SQUARE)) and spacing is None
    assert check(tmp_path).counts()["error"] == 0


def test_image_inside_that_is_damaged_is_named(tmp_path):
    save(tmp_path / "a.json", labelme(outline(SQUARE), imageData="QUJD"))
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / 'a.json'}: its image is not PNG, JPEG")


@pytest.mark.parametrize("encoding", ["gbk", "utf-8", "utf-8-sig"])
def test_encodings_of_annotation_files(tmp_path, encoding):
    scan(tmp_path / "肺结节.png")
    content = labelme(outline(SQUARE, "结节"), imagePath="肺结节.png")
    text = json.dumps(content, ensure_ascii=False)
    (tmp_path / "肺结节.json").write_bytes(text.encode(encoding))
    np.testing.assert_array_equal(mask_in(tmp_path, objects=["结节"]), filled(SQUARE))


UNUSABLE = {
    "a line": outline([[1, 1], [5, 5]], kind="line"),
    "a point": outline([[3, 3]], kind="point"),
    "two corners": outline([[1, 1], [5, 5]]),
    "a number that is none": outline([[1, 1], [5, 5], [1, float("nan")]]),
    "a circle of nowhere": outline([[1, 1], [float("nan"), 5]], kind="circle"),
    "shares instead of pixels": outline([[0.1, 0.2], [0.9, 0.2], [0.5, 0.8]]),
    "no width": outline([[7, 3], [7, 30]], kind="rectangle"),
    "outside of the image": outline([[90, 3], [99, 3], [99, 30]]),
    "a broken mask": outline([[1, 1], [5, 5]], kind="mask", mask="QUJD"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_shape_costs_that_shape_and_is_named(one, name, capsys):
    folder = one(outline(SQUARE), UNUSABLE[name])
    np.testing.assert_array_equal(mask_in(folder), filled(SQUARE))
    (remark,) = load(folder).remarks
    assert remark.startswith(f"{folder / 'a.json'}: shape 2: ")
    (found,) = [problem for problem in check(folder).problems if problem.kind == "left-out"]
    assert (found.severity, found.message) == ("warning", remark)


@pytest.mark.parametrize("name", UNUSABLE)
def test_case_without_any_usable_shape_is_refused(one, name):
    folder = one(UNUSABLE[name], outline(HOLE, "__ignore__"))
    assert refusal(folder).startswith(f"{folder / 'a.json'}: shape 1: ")


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation"])
def test_turned_rectangles_have_their_corners(one, kind):
    np.testing.assert_array_equal(mask_in(one(outline(SQUARE, kind=kind))), filled(SQUARE))


def test_rectangle_may_have_four_corners(one):
    np.testing.assert_array_equal(mask_in(one(outline(SQUARE, kind="rectangle"))), filled(SQUARE))


# --- COCO ---------------------------------------------------------------------------------------


def picture(number, name, **more):
    return {"id": number, "file_name": name, "height": SHAPE[0], "width": SHAPE[1], **more}


def drawn(number, segmentation, image=0, category=1):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": int(isinstance(segmentation, dict)),
    }


def flat(points):
    return [float(value) for point in points for value in point]


def coco(images, annotations, *categories):
    named = categories or ("nodule",)
    listed = [{"id": number, "name": name} for number, name in enumerate(named, start=1)]
    return {"images": images, "annotations": annotations, "categories": listed}


def as_pycocotools_draws(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Its own, about NumPy 2.
        library = COCO(path)
        return library.annToMask(library.loadAnns(1)[0]) > 0


CIRCLE = [[40 + 15 * np.cos(t), 30 + 15 * np.sin(t)] for t in np.linspace(0, 6.2, 40)]
PIXELS = filled(CIRCLE)


def run_lengths(mask, *, compressed):
    found = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    if compressed:
        return {"size": found["size"], "counts": found["counts"].decode()}
    changes = np.flatnonzero(np.diff(np.concatenate([[False], mask.T.ravel(), [False]]))).tolist()
    counts = np.diff([0, *changes, mask.size]).tolist()
    return {"size": list(SHAPE), "counts": counts}


def as_text_of_bytes(segmentation):
    """What `str` makes of the bytes that pycocotools returns, backslashes doubled."""
    return segmentation | {"counts": str(segmentation["counts"].encode())}


SEGMENTATIONS = {
    "a polygon": [flat(SQUARE)],
    "a round polygon": [flat(CIRCLE)],
    "two polygons": [flat(SQUARE), flat(ASIDE)],
    "run lengths": run_lengths(PIXELS, compressed=False),
    "compressed run lengths": run_lengths(PIXELS | filled(HOLE), compressed=True),
    "run lengths as text of bytes": as_text_of_bytes(run_lengths(PIXELS, compressed=True)),
}


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_coco_is_drawn_as_its_own_library_draws_it(tmp_path, name, capsys):
    scan(tmp_path / "a.png")
    path = save(
        tmp_path / "coco.json", coco([picture(0, "a.png")], [drawn(1, SEGMENTATIONS[name])])
    )
    mask = mask_in(path)
    if "text" in name:  # Which pycocotools does not decode.
        save(path, coco([picture(0, "a.png")], [drawn(1, SEGMENTATIONS["run lengths"])]))
    expected = as_pycocotools_draws(path)
    assert mask.sum() > 300 and differ_only_along_outlines(mask, expected)
    if "run" in name:
        np.testing.assert_array_equal(mask, expected)


def test_categories_are_chosen_or_refused(tmp_path):
    scan(tmp_path / "a.png")
    annotations = [drawn(1, [flat(SQUARE)], category=2), drawn(2, [flat(ASIDE)], category=3)]
    save(tmp_path / "c.json", coco([picture(0, "a.png")], annotations, "all", "cyst", "mass"))
    np.testing.assert_array_equal(mask_in(tmp_path, objects=["mass"]), filled(ASIDE))
    np.testing.assert_array_equal(
        mask_in(tmp_path / "c.json", objects=["cyst,mass"]), filled(SQUARE) | filled(ASIDE)
    )
    assert "cyst (1), mass (1)" in refusal(tmp_path)
    assert "it has cyst, mass" in refusal(tmp_path, objects=["all"])


def test_background_category_is_no_object(tmp_path):
    scan(tmp_path / "a.png")
    annotations = [drawn(1, [flat(SQUARE)], category=2), drawn(2, [flat(HOLE)], category=1)]
    save(tmp_path / "c.json", coco([picture(0, "a.png")], annotations, "_background_", "cyst"))
    np.testing.assert_array_equal(mask_in(tmp_path), filled(SQUARE) & ~filled(HOLE))


NAMES = {
    "COCO's own folders": ("images/train/a.png", "a.png", "annotations/instances_train.json"),
    "Windows": ("images/a.png", "C:\\Users\\me\\scans\\a.png", "c.json"),
    "another machine": ("scans/a.png", "/home/me/scans/a.png", "c.json"),
    "Label Studio": ("images/9c8f1b5e-a.png", "images/9c8f1b5e-a.png", "result.json"),
    "Label Studio's upload": (
        "images/9c8f1b5e-a.png",
        "../../label-studio/data/media/upload/3/9c8f1b5e-a.png",
        "result.json",
    ),
    "before the upload": ("a.png", "images/9c8f1b5e-a.png", "result.json"),
    "Label Studio's local files": (
        "scans/a b.png",
        "/data/local-files/?d=scans%2Fa%20b.png",
        "result.json",
    ),
    "Roboflow": ("a_png.rf.01ab.jpg", "a_png.rf.01ab.jpg", "_annotations.coco.json"),
    "CVAT": ("images/default/a.png", "a.png", "annotations/instances_default.json"),
    "a percent sign": ("a%20b.png", "a%20b.png", "c.json"),
}


@pytest.mark.parametrize("name", NAMES)
def test_images_of_coco_are_found_as_programs_call_them(tmp_path, name):
    file, called, where = NAMES[name]
    scan(tmp_path / file)
    path = save(tmp_path / where, coco([picture(0, called)], [drawn(1, [flat(SQUARE)])]))
    for source in (tmp_path, path):
        (case,) = load(source).cases
        assert case.image == tmp_path / file
        np.testing.assert_array_equal(case.load().mask, filled(SQUARE))
    assert not check(tmp_path).problems


@pytest.mark.parametrize(
    ("named", "there", "is_read"),
    [
        (("A/1.png", "B/2.png"), ("A/1.png", "B/2.png"), True),
        (("A/1.png", "B/2.png"), ("1.png", "2.png"), True),
        ((r"C:\x\A\1.png", r"C:\x\B\2.png"), ("A/1.png", "B/2.png"), True),
        (("A/1.png", "A/2.png"), ("A/1.png", "B/2.png"), False),
        (("A/1.png", "B/2.png"), ("A/1.png", "2.png"), False),
        (("A/1.png",), ("B/1.png", "A/2.png"), False),
        (("A/1.png",), ("A/images/1.png", "B/1.png"), True),
    ],
)
def test_an_image_elsewhere_than_others_of_coco_is_not_that_image(tmp_path, named, there, is_read):
    for name in there:
        scan(tmp_path / name)
    images = [picture(number, name) for number, name in enumerate(named)]
    path = save(tmp_path / "a.json", coco(images, [drawn(0, [flat(TRIANGLE)])]))
    if is_read:
        assert len(load(path)) == len(named)
    else:
        assert f"image {named[-1]}: no such file" in refusal(path)


def test_a_folder_without_images_is_not_where_an_image_of_coco_has_to_be(tmp_path):
    scan(tmp_path / "all" / "1.png")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "notes.txt").write_text("mine")
    path = save(tmp_path / "a.json", coco([picture(0, "train/1.png")], [drawn(0, [flat(SQUARE)])]))
    (case,) = load(path).cases
    assert case.image == tmp_path / "all" / "1.png"


def test_one_coco_file_for_each_part(tmp_path):
    for part, points in (("train", SQUARE), ("val", HOLE)):
        scan(tmp_path / "images" / part / "1.png")
        content = coco([picture(1, "1.png")], [drawn(1, [flat(points)], image=1)])
        save(tmp_path / "annotations" / f"instances_{part}.json", content)
    data = load(tmp_path)
    assert data.official == {"folders": {"train/1": "train", "val/1": "validation"}}
    for case, points in zip(data.cases, (SQUARE, HOLE), strict=True):
        np.testing.assert_array_equal(case.load().mask, filled(points))


def test_image_name_that_fits_several_files_is_refused(tmp_path):
    for patient in ("p1", "p2"):
        scan(tmp_path / patient / "a.png")
    annotations = [drawn(1, [flat(SQUARE)])]
    path = save(tmp_path / "c.json", coco([picture(0, "/data/a.png")], annotations))
    assert "may be any of" in refusal(path) and "p2/a.png" in refusal(path)
    save(path, coco([picture(0, "/data/p2/a.png")], annotations))
    assert load(path).cases[0].image == tmp_path / "p2" / "a.png"


def test_size_of_an_image_that_is_no_number_is_named(tmp_path):
    scan(tmp_path / "a.png")
    path = save(tmp_path / "c.json", coco([picture(0, "a.png", height="tall")], []))
    assert refusal(path) == (
        f"{path}: an image or annotation is incomplete: the size of image 0 is no number; export "
        "it again as COCO"
    )


def test_loose_coco_of_the_vgg_annotator(tmp_path):
    scan(tmp_path / "a.png")
    image = picture("0", "a.png", height=0, width=0)
    save(tmp_path / "c.json", coco([image], [drawn(1, flat(SQUARE))]))
    np.testing.assert_array_equal(mask_in(tmp_path), filled(SQUARE))


@pytest.mark.parametrize(
    "bad",
    [
        [[1, 1, 2, 2]],
        [],
        [[1, 1, 2, 2, 3]],
        {"size": [80, 60], "counts": [4800]},
        [[0.1, 0.2, 0.9, 0.2, 0.5, 0.8]],
        [[90, 3, 99, 3, 99, 30]],
    ],
)
def test_unusable_annotation_costs_that_annotation_and_is_named(tmp_path, bad):
    scan(tmp_path / "a.png")
    annotations = [drawn(7, [flat(SQUARE)]), drawn(8, bad)]
    path = save(tmp_path / "c.json", coco([picture(0, "a.png")], annotations))
    np.testing.assert_array_equal(mask_in(tmp_path), filled(SQUARE))
    (remark,) = load(tmp_path).remarks
    assert remark.startswith(f"{path}: annotation 8: ")
    save(path, coco([picture(0, "a.png")], annotations[1:]))
    assert refusal(tmp_path).startswith(f"{path}: annotation 8: ")


# --- what is not read ---------------------------------------------------------------------------

REGION = {"shape_attributes": {"name": "polygon"}, "region_attributes": {}}
NOT_READ = {
    "via.json": (
        json.dumps({"a.png12": {"filename": "a.png", "size": 12, "regions": [REGION]}}),
        "VGG Image Annotator",
    ),
    "via_project.json": (
        json.dumps({"_via_img_metadata": {"a": {"filename": "a.png", "regions": []}}}),
        "VGG Image Annotator",
    ),
    "a.geojson": (json.dumps({"type": "FeatureCollection", "features": []}), "QuPath"),
    "tasks.json": (
        json.dumps([{"id": 1, "annotations": [], "data": {"image": "a.png"}}]),
        "Label Studio",
    ),
    "ann/a.png.json": (
        json.dumps({"size": {"height": 60, "width": 80}, "objects": []}),
        "Supervisely",
    ),
    "dm.json": (json.dumps({"categories": {}, "items": []}), "Datumaro"),
    "v7.json": (json.dumps({"item": {"name": "a.png"}, "annotations": []}), "V7"),
    "isat.json": (json.dumps({"info": {}, "objects": []}), "ISAT"),
    "bdd.json": (json.dumps([{"name": "a.png", "labels": [{"poly2d": []}]}]), "Scalabel or BDD"),
    "hasty.json": (json.dumps({"project_name": "x", "images": []}), "Hasty"),
    "annotations.xml": ("<annotations/>", "XML"),
    "labels/a.txt": ("0 0.1 0.1 0.5 0.1 0.1 0.5\n", "YOLO"),
    "labels/points.txt": ("12.50 10.00\n13.25 10.50\n12.75 11.50\n", "outlines or boxes in text"),
    "RoiSet.zip": ("PK", "ImageJ"),
    "train.csv": ("ImageId,EncodedPixels\na,1 5 7 8\n", "outlines in a table"),
    "via_export_csv.csv": ("filename,region_shape_attributes\na.png,{}\n", "outlines in a table"),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_annotations_of_other_programs_are_refused_with_the_remedy(tmp_path, name):
    text, program = NOT_READ[name]
    scan(tmp_path / "img" / "a.png")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    message = refusal(tmp_path)
    assert "\n" not in message and message.startswith(f"{path}: ")
    assert program in message and "export" in message
    if name.endswith(".json"):
        assert program in refusal(path)


def test_coco_without_any_annotation_is_refused(tmp_path):
    scan(tmp_path / "a.png")
    save(tmp_path / "result.json", coco([picture(0, "a.png")], []))
    assert "none of its 1 images has an annotation" in refusal(tmp_path)


# --- what covers nothing -------------------------------------------------------------------------


def embedded(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (outline([[9, 9], [9, 9]], kind="circle"), "shape 2: covers no pixel"),
        (outline([[900, 9], [905, 9]], kind="circle"), "shape 2: lies outside the image of 80×60"),
        (
            outline([[6, 4], [14, 8]], kind="mask", mask=embedded(np.zeros((5, 9), bool))),
            "shape 2: its mask is empty",
        ),
        (
            outline([[6, 4], [40, 30]], kind="mask", mask=embedded(np.ones((5, 9), bool))),
            "shape 2: its mask is 9×5 pixels, its box 35×27",
        ),
        (outline([[9, 9]], kind="circle"), "shape 2: a circle has two points, center and edge"),
        (outline([[9, 9], [20, 30]], kind="ellipse"), "shape 2: 'ellipse' is not read"),
        (outline([{"x": 1}, {"x": 2}, {"x": 3}]), "shape 2: a point has two coordinates"),
    ],
)
def test_circles_and_masks_that_cover_nothing_are_named(tmp_path, shape, reason):
    scan(tmp_path / "a.png")
    save(tmp_path / "a.json", labelme(outline(TRIANGLE), shape))
    (remark,) = load(tmp_path).remarks
    assert reason in remark
    save(tmp_path / "a.json", labelme(shape))
    assert reason.replace("shape 2", "shape 1") in refusal(tmp_path)


def test_two_entries_of_one_image_are_refused(tmp_path):
    scan(tmp_path / "a.png")
    images = [{"id": n, "file_name": "a.png", "height": 60, "width": 80} for n in (1, 2)]
    drawn = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [sum(TRIANGLE, [])]}
    names = [{"id": 1, "name": "nodule"}]
    save(tmp_path / "a_coco.json", {"images": images, "annotations": [drawn], "categories": names})
    assert "a_coco.json: 2 of its images are the file" in refusal(tmp_path)


@pytest.mark.parametrize(("place", "is_plain"), [((-1, -1), True), ((1, 1), False)])
@pytest.mark.parametrize("program", ["labelme", "COCO"])
def test_outlines_of_a_volume_that_is_turned_are_refused(tmp_path, place, is_plain, program):
    nibabel = pytest.importorskip("nibabel")
    volume = nibabel.Nifti1Image(LEVELS.T[..., None], np.diag([*place, 1, 1]))
    nibabel.save(volume, tmp_path / "a.nii")
    drawn = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [sum(TRIANGLE, [])]}
    image = {"id": 1, "file_name": "a.nii", "height": 60, "width": 80}
    content = {"images": [image], "annotations": [drawn], "categories": []}
    if program == "labelme":
        content = labelme(outline(TRIANGLE), imagePath="a.nii")
    save(tmp_path / ("a.json" if program == "labelme" else "coco.json"), content)
    if is_plain:
        assert mask_in(tmp_path).sum() == pytest.approx(600, rel=0.05)
    else:
        assert "a.nii: it is turned by its orientation" in refusal(tmp_path)


def test_annotations_beside_masks_are_named_because_they_are_not_read(tmp_path):
    scan(tmp_path / "images" / "a.png")
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(np.tri(*SHAPE, dtype=bool)).save(masks / "a.png")
    first = save(tmp_path / "images" / "a.json", labelme(outline(TRIANGLE)))
    second = save(tmp_path / "coco.json", {"images": [], "annotations": [], "categories": []})
    save(tmp_path / "settings.json", {"seed": 1})
    data = load(tmp_path)
    assert data.layout == "images/ and masks/"
    assert data.unread == (second, first)


OUTLINES_OF_OTHERS = {
    "via.json": '{"a.png1": {"filename": "a.png", "regions": []}}',
    "a.png.json": '{"size": {"height": 9}, "objects": [{"geometryType": "polygon"}]}',
    "qupath.json": '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": []}}',
    "annotations.xml": '<annotations><image><polygon label="x" points="1,1;2,2"/></image>',
    "a.txt": "0 0.1 0.1 0.5 0.1 0.5 0.5\n",
    "a-icontour-manual.txt": "12.50 10.00 \n13.25 10.50 \n12.75 11.50 \n",
    "a_boundary.txt": "12\t10\r\n13\t10\r\n12\t11\r\n",
    "a_cup.txt": "1.25e+01,1.00e+01\n1.30e+01,1.05e+01\n1.27e+01,1.15e+01\n",
    "RoiSet.zip": "PK",
    "train.csv": "ImageId,EncodedPixels\na,1 5 7 8\n",
    "shapes.csv": "filename,file_size,region_count,region_shape_attributes\n",
}


@pytest.mark.parametrize("name", OUTLINES_OF_OTHERS)
def test_annotations_of_other_programs_beside_masks_are_named(tmp_path, name):
    scan(tmp_path / "images" / "a.png")
    scan(tmp_path / "masks" / "a.png")
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / name).write_text(OUTLINES_OF_OTHERS[name])
    (tmp_path / "drawn" / "notes.txt").write_text("10 images, 0.5 mm\n2 8\n")
    assert load(tmp_path).unread == (tmp_path / "drawn" / name,)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_coco_names_in_either_unicode_form(tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    file, called = (unicodedata.normalize(one, "Lésion.png") for one in (form, other))
    scan(tmp_path / file)
    height, width = SHAPE
    content = {
        "images": [{"id": 1, "file_name": called, "height": height, "width": width}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[2, 2, 9, 2, 9, 9]]}
        ],
        "categories": [{"id": 1, "name": "cyst"}],
    }
    save(tmp_path / "coco.json", content)
    (case,) = load(tmp_path).cases
    assert case.image.name == file and case.load().mask.any()


def test_an_entry_that_occurs_twice_is_refused(tmp_path):
    scan(tmp_path / "a.png")
    text = json.dumps(labelme(outline([[2, 2], [20, 2], [20, 20]])))
    for broken in (text[:-1] + ', "shapes": []}', '{"shapes": [], ' + text[1:]):
        (tmp_path / "a.json").write_text(broken)
        assert "not a readable JSON file (it has the entry shapes twice" in refusal(tmp_path)


def test_a_category_of_two_names_is_refused(tmp_path):
    scan(tmp_path / "images" / "a.png")
    content = coco([picture(1, "a.png")], [drawn(1, [[2, 2, 20, 2, 20, 20]], image=1)], "x", "y")
    content["categories"][1]["id"] = 1
    save(tmp_path / "annotations" / "a.json", content)
    assert "a.json: category 1 has several names, x and y" in refusal(tmp_path)


def test_half_a_point_is_named(tmp_path):
    scan(tmp_path / "images" / "a.png")
    content = coco([picture(1, "a.png")], [drawn(1, [[2, 2, 20, 2, 20, 20, 3]], image=1)])
    save(tmp_path / "annotations" / "a.json", content)
    assert "has an odd number of coordinates" in refusal(tmp_path)


def coco_of(**changes):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 20, 1, 20, 30]]}
    images = [{"id": 1, "file_name": "a.png", "height": SHAPE[0], "width": SHAPE[1]}]
    names = [{"id": 1, "name": "nodule"}]
    return {"images": images, "annotations": [annotation | changes], "categories": names}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"category_id": 7}, "annotation 1: there is no such category"),
        ({"segmentation": "x"}, "neither polygons nor run lengths"),
        ({"segmentation": [{"x": 1, "y": 1}]}, "neither polygons nor run lengths"),
        ({"segmentation": {"size": [*SHAPE]}}, "neither polygons nor run lengths"),
        ({"segmentation": [[[1, 1], [20, 1], [20, 30]]]}, "COCO lists x, y, x, y"),
    ],
)
def test_coco_that_is_malformed_says_what_it_has(tmp_path, changes, fault):
    scan(tmp_path / "a.png")
    assert fault in refusal(save(tmp_path / "coco.json", coco_of(**changes)))


def test_coco_images_of_one_id_are_named_as_such(tmp_path):
    for name in ("a", "b"):
        scan(tmp_path / f"{name}.png")
    content = coco([picture(1, "a.png"), picture(1, "b.png")], [drawn(1, [[2, 2, 20, 2, 20, 20]])])
    text = refusal(save(tmp_path / "coco.json", content))
    assert "images a.png and b.png have the same id; number them" in text
    assert "no such file" not in text


def test_labelme_mask_without_its_picture_says_so(tmp_path):
    scan(tmp_path / "a.png")
    save(tmp_path / "a.json", labelme(outline([[5, 5], [9, 9]], kind="mask", mask=None)))
    assert "shape 1: its mask is missing" in refusal(tmp_path)


@pytest.mark.parametrize("more", [{}, {"imageHeight": None, "imageWidth": None}], ids=str)
def test_labelme_of_an_image_inside_that_has_another_size_is_refused(tmp_path, more):
    scan(tmp_path / "a.png")
    inside = embedded(LEVELS)
    save(tmp_path / "a.json", labelme(outline(TRIANGLE), imageData=inside, **more))
    assert mask_in(tmp_path).any()
    inside = embedded(np.repeat(LEVELS, 2, axis=0))
    save(tmp_path / "a.json", labelme(outline(TRIANGLE), imageData=inside, **more))
    assert "a.json: the mask is 80×120 pixels, a.png is 80×60" in refusal(tmp_path)


def test_labelme_shapes_that_are_flagged_to_be_ignored_are_left_out_and_named(one):
    kept = outline(TRIANGLE, flags={"ignore": False, "difficult": True})
    left_out = outline(ASIDE, flags={"ignore": True})
    folder = one(kept, left_out)
    np.testing.assert_array_equal(mask_in(folder), mask_in(one(kept)))
    one(kept, left_out)
    assert "a.json: shape 2: is flagged to be ignored" in load(folder).remarks[0]


@pytest.mark.parametrize("flag", ["ignore", "__ignore__"])
def test_labelme_images_that_are_flagged_to_be_ignored_are_left_out_and_named(tmp_path, flag):
    for name, ignored in (("a", False), ("b", True)):
        scan(tmp_path / f"{name}.png")
        flags = {flag: ignored, "dark": True}
        content = labelme(outline(TRIANGLE), imagePath=f"{name}.png", flags=flags)
        save(tmp_path / f"{name}.json", content)
    data = load(tmp_path)
    assert [case.key for case in data.cases] == ["a"] and not data.unannotated
    assert [path.name for path in data.unread] == ["b.json", "b.png"]


def test_check_names_flags_that_are_not_read(tmp_path):
    scan(tmp_path / "a.png")
    shape = outline(TRIANGLE) | {"flags": {"uncertain": True, "cyst": False}}
    content = labelme(shape, imagePath="a.png", flags={"exclude": True, "dark": False})
    save(tmp_path / "a.json", content)
    found = [problem.message for problem in check(tmp_path).by_kind()["documents"]]
    assert found == [
        f"{tmp_path}/: 1 with the flag {name}, a.json" for name in ("exclude", "uncertain")
    ]
    (tmp_path / "a.json").unlink()
    one = drawn(0, [flat(TRIANGLE)]) | {"attributes": {"outside": True, "occluded": False}}
    path = save(tmp_path / "b.json", coco([picture(0, "a.png")], [one]))
    (problem,) = check(tmp_path).by_kind()["documents"]
    assert problem.message == f"{tmp_path}/: 1 with the flag outside, b.json"
    assert problem.files == (str(path),)


@pytest.mark.parametrize(("place", "fields", "named"), [
    ("annotations", {"score": 0.3, "hidden": False, "area": 9}, ["field hidden", "field score"]),
    ("annotations", {"attributes": {"status": "rejected", "occluded": False}}, ["flag status"]),
    ("annotations", {"metadata": {"quality": "bad", "name": ""}}, ["flag quality"]),
    ("categories", {"ignore": True, "deleted": False, "color": "#ff0000"}, ["field ignore"]),
    ("images", {"ignore": True, "deleted": False}, ["field ignore"]),
    ("images", {"split": "test", "rotation": 90, "license": 1}, ["field rotation", "field split"]),
    ("shapes", {"visible": False, "description": "unsure"}, ["field description", "field visible"]),
    ("shapes", {"attributes": {"grade": "2"}, "group_id": 4, "score": None}, ["flag grade"]),
    ("", {"checked": False, "description": "", "version": "2.4"}, ["field checked"]),
])  # fmt: skip
def test_check_names_fields_that_are_not_read(tmp_path, place, fields, named):
    scan(tmp_path / "a.png")
    content = labelme(outline(TRIANGLE), imagePath="a.png")
    if place in ("images", "annotations", "categories"):
        content = coco([picture(0, "a.png")], [drawn(0, [flat(TRIANGLE)])])
    (content[place][0] if place else content).update(fields)
    save(tmp_path / "a.json" if "shapes" in content else tmp_path / "coco.json", content)
    found = [problem.message for problem in check(tmp_path).by_kind()["documents"]]
    assert [re.search(r"with the (.+), ", message)[1] for message in found] == named


def test_categories_of_one_name_are_told_apart_by_their_supercategories(tmp_path):
    scan(tmp_path / "a.png")
    content = coco([picture(0, "a.png")], [drawn(0, [flat(TRIANGLE)]), drawn(1, [flat(ASIDE)])])
    content["annotations"][1]["category_id"] = 2
    for kinds, names in (
        (("kidney", "lung"), ["kidney/left", "lung/left"]),
        (("none", "left"), ["left"]),
        (("", "lung"), ["left"]),
    ):
        content["categories"] = [
            {"id": number, "name": "left", "supercategory": kind}
            for number, kind in enumerate(kinds, 1)
        ]
        save(tmp_path / "coco.json", content)
        if len(names) == 1:
            assert len(load(tmp_path)) == 1
            continue
        with pytest.raises(ValueError, match="several objects, kidney/left .1., lung/left .1."):
            load(tmp_path)
        mask = load(tmp_path, objects=names[:1]).cases[0].load().mask
        np.testing.assert_array_equal(mask, filled(TRIANGLE))


def test_a_coco_file_is_of_the_folder_it_is_called_like(tmp_path):
    for name, shape in (("P1", TRIANGLE), ("P2", SQUARE)):
        scan(tmp_path / "images" / name / "1.png")
        content = coco([picture(0, "1.png")], [drawn(0, [flat(shape)])])
        save(tmp_path / "annotations" / f"{name}.json", content)
    for case, shape in zip(load(tmp_path).cases, (TRIANGLE, SQUARE), strict=True):
        np.testing.assert_array_equal(case.load().mask, filled(shape))


def test_coco_numbers_may_be_written_as_fractions(tmp_path):
    scan(tmp_path / "a.png")
    content = coco([picture(0, "a.png")], [drawn(0, [flat(TRIANGLE)])])
    save(tmp_path / "a.json", content)
    wanted = mask_in(tmp_path / "a.json")
    content["annotations"][0] |= {"image_id": 0.0, "category_id": 1.0}
    save(tmp_path / "a.json", content)
    np.testing.assert_array_equal(mask_in(tmp_path / "a.json"), wanted)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ({"ignore": 1}, "marked to be ignored"),
        ({"deleted": True}, "deleted"),
        ({"isbbox": True}, "a box, no outline"),
    ],
)
def test_coco_annotations_that_are_no_outlines_are_left_out_and_named(tmp_path, flag, words):
    scan(tmp_path / "a.png")
    kept, ignored = drawn(0, [flat(TRIANGLE)]) | {"ignore": 0}, drawn(1, [flat(ASIDE)])
    content = coco([picture(0, "a.png")], [kept, ignored | flag])
    path = save(tmp_path / "a.json", content)
    assert mask_in(path).sum() == mask_in(save(path, coco([picture(0, "a.png")], [kept]))).sum()
    save(path, content)
    assert load(path).remarks == (f"{path}: annotation 1: is {words}",)


def test_two_labelme_files_of_one_image_are_refused(one):
    folder = one(outline(TRIANGLE))
    save(folder / "a (1).json", labelme(outline(ASIDE)))
    assert "a.json: is of a.png, as is a (1).json; keep one of them" in refusal(folder)


LOW = [[10, 30], [25, 30], [25, 55]]


def by_rows(mask):
    """Run lengths row by row, as in many scripts; COCO's go column by column."""
    flips = np.flatnonzero(np.diff(np.r_[False, mask.ravel(), True]))
    counts = np.diff(np.r_[0, flips, mask.size]).tolist()
    return {"size": list(SHAPE), "counts": counts}


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        (
            [[value for x, y in LOW for value in (y, x)]],
            "fits its box only with x and y exchanged",
        ),
        (by_rows(filled(LOW)), "run lengths fit its box only row by row"),
    ],
)
def test_an_outline_that_fits_its_box_only_if_it_is_read_in_another_way_is_refused(
    tmp_path, segmentation, fault
):
    scan(tmp_path / "a.png")
    made = partial(coco_of, segmentation=segmentation)
    save(tmp_path / "coco.json", made(bbox=[10, 30, 15, 25]))
    assert fault in refusal(tmp_path)
    assert fault in load(tmp_path).remarks[0]
    for box in ([0, 0, 80, 60], None, [1, 2], [10, 30, "15", 25]):  # Says nothing, or is wrong.
        save(tmp_path / "coco.json", made(bbox=box))
        assert load(tmp_path).cases[0].load().mask.any() and not load(tmp_path).remarks


def test_an_outline_that_fits_its_box_only_as_percent_or_inverted_is_refused(tmp_path):
    scan(tmp_path / "a.png")
    percent = [np.ravel(np.divide([[10, 5], [25, 5], [25, 30]], [0.8, 0.6])).tolist()]
    save(tmp_path / "coco.json", coco_of(segmentation=percent, bbox=[10, 5, 15, 25]))
    assert "fits its box only as percent" in refusal(tmp_path)
    corner = filled([[0, 0], [30, 0], [30, 20], [0, 20]])  # Begins with the object.
    lengths = run_lengths(~corner, compressed=False)
    save(tmp_path / "coco.json", coco_of(segmentation=lengths, bbox=[0, 0, 30, 20]))
    assert "run lengths fit its box only inverted" in refusal(tmp_path)
    save(tmp_path / "coco.json", coco_of(segmentation=lengths, bbox=[0, 0, 80, 60]))
    np.testing.assert_array_equal(mask_in(tmp_path), ~corner)


def test_boxes_may_be_rounded_or_around_a_square(tmp_path):
    scan(tmp_path / "a.png")
    for points in (LOW, [[5, 5], [25, 5], [25, 25], [5, 25]]):
        (x, y), (right, bottom) = np.min(points, axis=0), np.max(points, axis=0)
        for more in (-1, 0, 1):
            box = [int(x) + more, int(y), int(right - x), int(bottom - y) - more]
            drawn = coco_of(segmentation=[np.ravel(points).tolist()], bbox=box)
            save(tmp_path / "coco.json", drawn)
            np.testing.assert_array_equal(mask_in(tmp_path), filled(points))


def test_coordinates_in_quotes_are_named(tmp_path):
    scan(tmp_path / "a.png")
    points = [str(value) for value in np.ravel(LOW)]
    save(tmp_path / "coco.json", coco_of(segmentation=[points], bbox=[1, 1, 9, 9]))
    assert "coordinates that are no numbers" in refusal(tmp_path)
    counts = ["4", *map(str, (LEVELS.size - 9, 5))]
    save(tmp_path / "coco.json", coco_of(segmentation={"counts": counts, "size": LEVELS.shape}))
    assert "run lengths that are no numbers" in refusal(tmp_path)


def in_base64(levels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(levels).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("program", ["labelme", "COCO"])
def test_outlines_on_a_file_of_several_frames_are_refused(tmp_path, one, program):
    folder = (
        one(outline(SQUARE))
        if program == "labelme"
        else one_coco(tmp_path, drawn(1, [flat(SQUARE)]))
    )
    picture = Image.fromarray(LEVELS.astype(np.uint8))
    (folder / "a.png").unlink()
    picture.save(folder / "a.tif", save_all=True, append_images=[picture])
    for path in folder.glob("*.json"):
        path.write_text(path.read_text().replace("a.png", "a.tif"))
    with pytest.raises(
        ValueError, match=r"a\.tif: it has 2 frames, and its outlines do not say of w"
    ):
        load(folder).cases[0].load()


def test_an_outline_that_was_drawn_on_another_picture_is_refused(tmp_path):
    """Names such as 1.png recur in other folders; the picture inside was drawn on."""
    scan(tmp_path / "a.png")
    other = np.random.default_rng(6).integers(0, 255, SHAPE, dtype=np.uint8)
    save(tmp_path / "a.json", labelme(outline(TRIANGLE), imageData=in_base64(other)))
    assert "the picture inside, which was outlined, is not a.png; put it beside" in refusal(
        tmp_path
    )
    darker = (LEVELS // 3 + 20).astype(np.uint8)
    for levels, kind in (
        (LEVELS, "PNG"),
        (darker, "JPEG"),
        (255 - LEVELS, "PNG"),
        (LEVELS * 0, "PNG"),
    ):
        save(tmp_path / "a.json", labelme(outline(TRIANGLE), imageData=in_base64(levels, kind)))
        np.testing.assert_array_equal(mask_in(tmp_path), filled(TRIANGLE))


def test_labelme_and_coco_in_the_encoding_of_windows_shells(tmp_path):
    scan(tmp_path / "a.png")
    content = json.dumps(labelme(outline(TRIANGLE)))
    (tmp_path / "a.json").write_text(content, encoding="utf-16")
    np.testing.assert_array_equal(mask_in(tmp_path), filled(TRIANGLE))


def test_an_object_that_lies_wholly_under_the_background_is_refused(tmp_path):
    """The background of a category may be a hole, or all that is around the objects."""
    scan(tmp_path / "a.png")
    content = coco_of(segmentation=[np.ravel(SQUARE).tolist()])
    content["categories"].append({"id": 2, "name": "background"})
    hole = {"id": 2, "image_id": 1, "category_id": 2, "segmentation": [np.ravel(HOLE).tolist()]}
    content["annotations"].append(hole)
    save(tmp_path / "coco.json", content)
    differ_only_along_outlines(mask_in(tmp_path), filled(SQUARE) & ~filled(HOLE))
    hole["segmentation"] = [[0, 0, 80, 0, 80, 60, 0, 60]]
    save(tmp_path / "coco.json", content)
    assert "annotation 1: lies under the background; delete either" in refusal(tmp_path)


def test_images_of_coco_that_are_marked_as_deleted_are_left_out_and_named(tmp_path):
    content = coco_of()
    scan(tmp_path / "a.png"), scan(tmp_path / "b.png")
    content["images"].append({"id": 2, "file_name": "b.png", "deleted": True})
    content["annotations"].append(content["annotations"][0] | {"id": 2, "image_id": 2})
    save(tmp_path / "coco.json", content)
    data = load(tmp_path)
    assert [case.key for case in data.cases] == ["a"]
    assert data.unread == (tmp_path / "b.png",)


def test_captions_beside_outlines_are_no_second_set_of_the_images(tmp_path):
    scan(tmp_path / "a.png")
    save(tmp_path / "annotations" / "instances_val.json", coco_of())
    captions = coco_of() | {"annotations": [{"id": 1, "image_id": 1, "caption": "a scan"}]}
    save(tmp_path / "annotations" / "captions_val.json", captions)
    data = load(tmp_path)
    assert data.cases[0].load().mask.any()
    assert [path.name for path in data.unread] == ["captions_val.json"]


# --- outlines that can be drawn, but probably mean something else ---------------------------------


INNER = [[20, 25], [28, 25], [24, 35]]


def warned(folder):
    """The one warning when a folder is loaded; or nothing."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        load(folder)
    assert len(heard) <= 1 and all(one.category is FileWarning for one in heard)
    return str(heard[0].message) if heard else ""


def one_coco(folder, *annotations):
    scan(folder / "a.png")
    save(folder / "coco.json", coco([picture(0, "a.png")], [*annotations]))
    return folder


@pytest.mark.parametrize("program", ["labelme", "COCO"])
def test_a_polygon_inside_another_of_its_object_is_named_for_it_may_be_a_hole(
    tmp_path, one, program
):
    if program == "labelme":
        folder, name = one(outline(SQUARE), outline(INNER)), "a.json: shape 2"
    else:
        folder = one_coco(tmp_path, drawn(7, [flat(SQUARE), flat(INNER)]))
        name = "coco.json: annotation 7"
    assert f"{name}: inside a polygon of the same object" in warned(folder)
    assert "_background_ shape" in warned(folder)
    with pytest.warns(FileWarning):
        np.testing.assert_array_equal(mask_in(folder), filled(SQUARE))
    (problem,) = check(folder).by_kind()["doubtful-outlines"]  # Not with a warning, too.
    assert name in problem.message and problem.severity == "warning"


def test_a_polygon_beside_another_or_in_one_of_another_object_or_of_a_hole_is_not_named(one):
    across = [[40, 20], [60, 20], [50, 40]]
    island = (outline(SQUARE), outline(HOLE, "_background_"), outline(INNER))
    others = (outline(ASIDE), outline(across), outline(SQUARE))  # The same one twice.
    for shapes in (island, (outline(SQUARE), *others)):
        assert warned(one(*shapes)) == ""
    apart = one(outline(SQUARE), outline(INNER, "cyst"))
    assert len(load(apart, objects=["nodule", "cyst"]).cases) == 1


@pytest.mark.parametrize("program", ["labelme", "COCO"])
def test_outlines_that_are_all_boxes_are_named(tmp_path, program):
    def write(count, last):
        boxes = [[[5, 5 + n], [25, 5 + n], [25, 8 + n], [5, 8 + n]] for n in range(count - 1)]
        scan(tmp_path / "a.png")
        if program == "labelme":
            shapes = [outline([box[0], box[2]], kind="rectangle") for box in boxes]
            save(tmp_path / "a.json", labelme(*shapes, outline(last)))
        else:
            one_coco(tmp_path, *(drawn(n, [flat(box)]) for n, box in enumerate([*boxes, last])))
        return warned(tmp_path)

    corners = [[30, 5], [40, 5], [40, 9], [30, 9]]
    assert "5 of its 5 outlines are upright boxes" in write(5, corners)
    assert "5 of its 6 outlines are upright boxes" in write(6, TRIANGLE)
    assert write(4, corners) == write(5, TRIANGLE) == ""


@pytest.mark.parametrize(("area", "is_named"), [
    (1600, False), (1700, False), (3200, True), (700, True), (0, False), ("?", False),
])  # fmt: skip
def test_an_area_that_is_not_that_of_the_outlines_is_named(tmp_path, area, is_named):
    square = [[10, 10], [50, 10], [50, 50], [10, 50]]
    one_coco(tmp_path, drawn(0, [flat(square)]) | {"area": area, "bbox": [10, 10, 40, 40]})
    found = check(tmp_path).by_kind().get("doubtful-outlines", [])
    text = f"a.png: its outlines cover 1,600 pixels, by their area {area:,}" if is_named else ""
    assert [text in problem.message for problem in found] == [True] * is_named


@pytest.mark.parametrize("program", ["labelme", "COCO"])
@pytest.mark.parametrize(("shape", "far", "is_named"), [
    ((300, 400), 98.5, True), ((300, 400), 101, False), ((150, 400), 98.5, False),
])  # fmt: skip
def test_coordinates_that_look_like_percent_are_named(tmp_path, program, shape, far, is_named):
    size = {"height": shape[0], "width": shape[1]}
    for number, points in enumerate(
        ([[10, 70], [40, 70], [30, 90]], [[50, 5], [far, 9], [70, 30]])
    ):
        Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / f"{number}.png")
        stated = {"imageHeight": shape[0], "imageWidth": shape[1], "imagePath": f"{number}.png"}
        if program == "labelme":
            save(tmp_path / f"{number}.json", labelme(outline(points), **stated))
    images = [picture(n, f"{n}.png") | size for n in range(2)]
    if program == "COCO":
        drawings = [
            drawn(1, [[10, 70, 40, 70, 30, 90]]), drawn(2, [[50, 5, far, 9, 70, 30]], image=1),
        ]  # fmt: skip
        save(tmp_path / "coco.json", coco(images, drawings))
    assert ("if they are percent" in warned(tmp_path)) is is_named


@pytest.mark.parametrize(
    ("bbox", "is_named"),
    [
        ([3, 3, 76, 54], True),  # Of more than the one polygon that was exported.
        ([50, 3, 20, 20], True),
        ([5.2, 8.4, 40.4, 40.3], False),
        ([5.2, 8.4, 45.6, 48.7], False),  # Two corners.
        ([2, 2, 48, 50], False),
        ([0, 0, 80, 60], False),
        ([0.1, 0.2, 0.4, 0.5], False),
        ([0, 0, 0, 0], False),
        ([1e308, 2, 1e308, 50], False),  # No box of any image.
        ([2, 2, 10**400, 50], False),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.parametrize("as_polygon", [True, False])
def test_an_outline_that_is_elsewhere_than_its_box_is_named(tmp_path, bbox, is_named, as_polygon):
    shape = [flat(SQUARE)] if as_polygon else run_lengths(filled(SQUARE), compressed=True)
    folder = one_coco(tmp_path, {**drawn(7, shape), "bbox": bbox})
    assert ("annotation 7: the bbox is not that of the outline" in warned(folder)) is is_named


@pytest.mark.parametrize("program", ["labelme", "COCO"])
@pytest.mark.parametrize("has_size", [True, False])
def test_an_outline_that_reaches_far_beyond_the_image_is_refused(tmp_path, program, has_size):
    """Of a picture that was made smaller since, or with x and y exchanged."""

    def write(points):
        scan(tmp_path / "a.png")
        if program == "labelme":
            stated = {} if has_size else {"imageHeight": None, "imageWidth": None}
            save(tmp_path / "a.json", labelme(outline(points), **stated))
        else:
            one = picture(0, "a.png") | ({} if has_size else {"height": 0, "width": 0})
            save(tmp_path / "coco.json", coco([one], [drawn(1, [flat(points)])]))

    for points in ([[30, 30], [70, 30], [70, 67]], [[-9, 10], [30, 10], [30, 30]]):
        write(points)
        assert "reaches far beyond the image of 80×60 pixels" in refusal(tmp_path)
    write(np.add(SQUARE, [100, 0]).tolist())
    assert "lies outside the image of 80×60 pixels" in refusal(tmp_path)
    write([[30, 30], [86, 30], [86, 65]])  # As far as people drag corners.
    assert mask_in(tmp_path).any()


@pytest.mark.parametrize("kind", ["circle", "rotation"])
def test_a_circle_or_turned_box_may_reach_far_beyond_the_image(one, kind):
    """Its corners are nothing that anybody has drawn; its center is."""
    across, down = np.meshgrid(np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5)
    if kind == "circle":
        points, truth = [[70, 30], [70, 55]], np.hypot(across - 70, down - 30) <= 25
    else:
        points = [[70, -0.3], [100.3, 30], [70, 60.3], [39.7, 30]]
        truth = abs(across - 70) + abs(down - 30) < 30.3
    np.testing.assert_array_equal(mask_in(one(outline(points, kind=kind))), truth)
    beyond = outline((np.array(points) + [25, 0]).tolist(), kind=kind)
    assert "reaches far beyond the image of 80×60 pixels" in refusal(one(beyond))


@pytest.mark.parametrize("bbox", [[20, 30, 2, 2], [20, 30, 3, 3], [19, 29, 5, 5]], ids=str)
def test_the_box_of_a_spot_of_few_pixels_may_be_a_pixel_off(tmp_path, bbox):
    """Some writers count the last pixel, others do not, and the IoU says little then."""
    spot = [20, 30, 23, 30, 23, 33, 20, 33]
    assert warned(one_coco(tmp_path, {**drawn(7, [spot]), "bbox": bbox})) == ""


def test_a_box_may_end_where_the_image_does(tmp_path):
    thin = [77, 10, 87, 10, 87, 40, 77, 40]
    assert warned(one_coco(tmp_path, {**drawn(7, [thin]), "bbox": [77, 10, 3, 30]})) == ""


def test_shares_of_the_image_are_refused(tmp_path, one):
    shares = [[0.1, 0.2], [0.9, 0.2], [0.5, 0.8]]
    assert "coordinates count pixels, not shares" in refusal(one(outline(shares)))
    (tmp_path / "a.json").unlink()
    assert "coordinates count pixels" in refusal(one_coco(tmp_path, drawn(1, [flat(shares)])))


@pytest.mark.parametrize("program", ["labelme", "COCO"])
@pytest.mark.parametrize(("times", "is_named"), [(2, True), (1, False)])
@pytest.mark.parametrize("is_stated", [True, False])
def test_outlines_that_are_all_at_the_top_left_are_named(
    tmp_path, program, times, is_named, is_stated
):
    """Of images that were enlarged since."""
    for number in range(10):
        shape = (60 * times, 80 * times)
        Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / f"{number}.png")
        height, width = shape if is_stated else (None, None)
        stated = {"imageHeight": height, "imageWidth": width, "imagePath": f"{number}.png"}
        if program == "labelme":
            save(tmp_path / f"{number}.json", labelme(outline(SQUARE), outline(ASIDE), **stated))
    size = {"height": 60 * times, "width": 80 * times} if is_stated else {}
    images = [{"id": n, "file_name": f"{n}.png"} | size for n in range(10)]
    if program == "COCO":
        drawings = [drawn(n, [flat(SQUARE), flat(ASIDE)], image=n) for n in range(10)]
        save(tmp_path / "coco.json", coco(images, drawings))
    named = [p.message for p in check(tmp_path).by_kind().get("doubtful-outlines", ())]
    assert any("10 images have all outlines at the top left" in text for text in named) is is_named


def test_a_shape_with_holes_of_its_own_is_refused(one):
    assert "has holes, which are not read" in refusal(one(outline(SQUARE, holes=[INNER])))
