"""Mask files: colors, palettes, opacity and threshold as they are seen; the choice of objects."""

import io
import itertools
import json
import struct
import zlib

import numpy as np
import pytest
from helpers.layout_makers import SHAPE, image_of, mask_of, write
from PIL import Image, ImageFilter, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from kerasunet.data import load
from kerasunet.data.cases import MaskCoding
from kerasunet.data.checking import check
from kerasunet.data.loading import require_one_code
from kerasunet.data.readers import read_image, read_mask_values
from kerasunet.runs.preparation import prepare
from kerasunet.training.settings import FinetuneSettings

pytestmark = pytest.mark.filterwarnings("error")

OBJECT = mask_of(11) | mask_of(19)
OTHER = mask_of(34) & ~OBJECT
BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0)
CLEAR = (0, 0, 0, 0)


def drawn(inside, ground, other=None):
    """A picture of one color inside the object and another outside; RGBA if colors have four."""
    pixels = np.empty((*SHAPE, len(ground)), np.uint8)
    pixels[:], pixels[OBJECT] = ground, inside
    if other is not None:
        pixels[OTHER] = other
    return Image.fromarray(pixels)


def values(inside, other=0):
    return Image.fromarray((inside * OBJECT + other * OTHER).astype(np.uint8))


def smoothed(picture):
    larger = picture.resize((4 * SHAPE[1], 4 * SHAPE[0]), Image.Resampling.BICUBIC)
    return larger.resize(SHAPE[::-1], Image.Resampling.BICUBIC)


def indexed(colors, numbers):
    picture = Image.fromarray(numbers.astype(np.uint8), "P")
    picture.putpalette([channel for color in colors for channel in color])
    return picture


def clear_black():
    return drawn((*BLACK, 255), CLEAR)


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a data set of one image and this mask."""

    def make(picture, suffix=".png", **options):
        write(tmp_path / "images" / "a.png", image_of(OBJECT))
        (tmp_path / "masks").mkdir(exist_ok=True)
        picture.save(tmp_path / "masks" / f"a{suffix}", **options)
        return tmp_path

    return make


def mask_in(folder, **choice):
    (case,) = load(folder, **choice).cases
    return case.load().mask


def refusal(folder, **choice):
    with pytest.raises(ValueError) as caught:
        mask_in(folder, **choice)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what is seen -------------------------------------------------------------------------------

SEEN = {
    "red on black": lambda: drawn(RED, BLACK),
    "blue on black": lambda: drawn((0, 0, 200), BLACK),
    "red on black, two indices": lambda: drawn(RED, BLACK).quantize(2),
    "white on black, two indices": lambda: drawn(WHITE, BLACK).quantize(2),
    "green, indices swapped": lambda: indexed([GREEN, BLACK], ~OBJECT),
    "green, two indices of black": lambda: indexed(
        [BLACK, GREEN, BLACK], np.where(OBJECT, 1, 2 * OTHER)
    ),
    "black on transparent": clear_black,
    "white on transparent white": lambda: drawn((*WHITE, 255), (*WHITE, 0)),
    "half opaque red on transparent": lambda: drawn((*RED, 128), CLEAR),
    "black on transparent, indexed": lambda: clear_black().quantize(2),
    "black on transparent, gray": lambda: clear_black().convert("LA"),
    "opacity that was left unset": lambda: drawn((*WHITE, 0), CLEAR),
    "opaque": lambda: drawn((*WHITE, 255), (*BLACK, 255)),
    "one bit": lambda: Image.fromarray(OBJECT),
}


@pytest.mark.parametrize("name", SEEN)
def test_object_is_what_is_seen_on_black_or_on_nothing(folder, name):
    np.testing.assert_array_equal(mask_in(folder(SEEN[name]())), OBJECT)


@pytest.mark.parametrize(
    ("make", "suffix"),
    [
        (lambda: drawn(RED, BLACK), ".bmp"),
        (lambda: drawn(RED, BLACK), ".tif"),
        (lambda: drawn(RED, BLACK).quantize(2), ".tif"),
        (clear_black, ".tif"),
        (lambda: drawn(RED, BLACK).quantize(2), ".bmp"),
    ],
)
def test_colors_in_other_formats(folder, make, suffix):
    np.testing.assert_array_equal(mask_in(folder(make(), suffix)), OBJECT)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_one_level_or_color_declared_transparent(folder, mode):
    picture = drawn(BLACK, WHITE).convert(mode)
    made = folder(picture, transparency=255 if mode == "L" else WHITE)
    np.testing.assert_array_equal(mask_in(made), OBJECT)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiff_that_counts_from_white_is_refused(folder, kind):
    """ImageJ means the object by the black of such a mask."""
    levels = Image.fromarray(np.where(OBJECT, 0, np.iinfo(kind).max).astype(kind))
    made = folder(levels, ".tif", tiffinfo={262: 0})
    assert "count from white down; save it with 0 as black" in refusal(made)


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_palette_that_counts_from_white_is_refused(folder, suffix):
    """ImageJ shows masks with an inverted table and means the value 255, whatever it looks like."""
    picture = Image.frombytes("P", OBJECT.shape[::-1], (OBJECT * np.uint8(255)).tobytes())
    picture.putpalette(np.repeat(np.arange(256)[::-1], 3).tolist())
    assert "count from white down; save it with 0 as black" in refusal(folder(picture, suffix))


def test_a_color_that_is_nearly_the_chosen_one_is_named(folder):
    """Matplotlib has rounded its yellow in two ways."""
    made = folder(drawn((253, 231, 36), (68, 1, 84)))
    said = refusal(made, objects=["t=#fde725"])
    assert "nearly #fde725; if it means the same, choose both: --objects NAME=#fde725,#fde" in said
    np.testing.assert_array_equal(mask_in(made, objects=["t=#fde725,#fde724"]), OBJECT)
    dark = folder(drawn((2, 0, 0), (0, 0, 0)))
    assert not mask_in(dark, objects=["t=#010000"]).any()


def test_a_class_of_nearly_the_chosen_color_is_another_class():
    one, other = "#646464", "#656565"
    coding = MaskCoding(
        colors=(one,), classes=(("one", one), ("other", other), ("none", "#000000"))
    )
    shown = drawn((0x65, 0x65, 0x65), BLACK)
    assert not coding.decode(np.asarray(shown), "a.png").any()


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"labels": ("1",)}, "labels must be a whole number, not '1'; leave out the quotes"),
        ({"labels": (0.5,)}, "labels must be a whole number, not 0.5"),
        ({"labels": {1}}, "labels takes several whole numbers; give"),
        ({"colors": "#ff0000"}, r"colors takes several texts; give \('#ff0000',\)"),
        ({"colors": ((255, 0, 0),)}, r"colors must be text, not \(255, 0, 0\)"),
        ({"above": 0.5}, "above must be a whole number, not 0.5"),
        ({"above": True}, "above must be a whole number, not True"),
        ({"above": -1}, "above must be a gray level from 0 on, not -1"),
    ],
)
def test_a_choice_that_no_pixel_can_equal_is_refused(choice, told):
    """Such a choice used to give an empty mask, or a full one."""
    with pytest.raises(ValueError, match=told):
        MaskCoding(**choice)


def test_numbers_of_numpy_and_colors_in_capitals_are_chosen():
    labels = np.where(OBJECT, np.uint8(3), np.uint8(0))
    for number in (3, np.uint8(3), 3.0):
        np.testing.assert_array_equal(MaskCoding(labels=(number,)).decode(labels, "a.png"), OBJECT)
    whites = MaskCoding(colors=("#FFFFFF",)).decode(np.where(OBJECT, np.uint8(255), 0), "a.png")
    np.testing.assert_array_equal(whites, OBJECT)


def test_probabilities_are_named(folder):
    levels = Image.fromarray(np.where(OBJECT, 0.9, 0.2).astype(np.float32))
    assert "fractions from 0 to 1, such as probabilities" in refusal(folder(levels, ".tif"))


def test_truth_values_of_tifffile_are_refused_because_they_are_shown_inverted(folder):
    tifffile = pytest.importorskip("tifffile")
    made = folder(values(255))
    (made / "masks" / "a.png").unlink()
    tifffile.imwrite(made / "masks" / "a.tif", OBJECT)
    assert "count from white down" in refusal(made)


def test_fax_counts_from_white_and_is_read(folder):
    made = folder(Image.fromarray(OBJECT), ".tif", compression="group4")
    np.testing.assert_array_equal(mask_in(made), OBJECT)


def test_numbers_that_a_palette_shows_in_one_color_are_refused(folder):
    made = folder(indexed([BLACK, BLACK, BLACK], OBJECT))
    assert "a.png: its palette shows all 2 numbers in one color, #000000" in refusal(made)


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_numbers_that_a_palette_lacks_are_refused(tmp_path, suffix):
    """Some programs show them black, others white."""
    numbers = np.repeat(np.arange(3, dtype=np.uint8), 4)[None].repeat(4, axis=0)
    picture = Image.fromarray(numbers, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(path := tmp_path / f"x.{suffix}")
    assert read_mask_values(path).max() == 2
    content = path.read_bytes()
    if suffix == "png":
        at = content.index(b"PLTE")
        (length,) = struct.unpack_from(">I", content, at - 4)
        short = content[at : at + 10]
        chunk = struct.pack(">I", 6) + short + struct.pack(">I", zlib.crc32(short))
        content = content[: at - 4] + chunk + content[at + length + 8 :]
    else:
        (start,) = struct.unpack_from("<I", content, 10)
        head = content[:10] + struct.pack("<I", 62) + content[14:46] + struct.pack("<II", 2, 2)
        content = head + content[54:62] + content[start:]
    path.write_bytes(content)
    for read in (read_mask_values, read_image):
        with pytest.raises(ValueError, match=r"x\.\w+: has number 2, but a palette of 2; save"):
            read(path)


def save_dicom(pixels, path):
    pytest.importorskip("pydicom")
    from helpers.dicom_files import dicom, save

    save(dicom(pixels, "RGB"), path)


def save_nifti(pixels, path):
    nibabel = pytest.importorskip("nibabel")
    colors = np.ascontiguousarray(pixels).view([(name, "u1") for name in "RGB"])
    place = np.diag([-1, -1, 1, 1])
    nibabel.save(nibabel.Nifti1Image(colors.swapaxes(0, 1), place), path)


def save_by_itk(pixels, path):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(pixels[None], isVector=True), str(path))


@pytest.mark.parametrize(
    ("save", "suffix"),
    [
        (save_dicom, ".dcm"),
        (save_nifti, ".nii"),
        (save_by_itk, ".nrrd"),
        (save_by_itk, ".mha"),
    ],
)
def test_colors_in_dicom_and_volumes_count_as_in_png(folder, save, suffix):
    made = folder(values(255))
    (made / "masks" / "a.png").unlink()
    path = made / "masks" / f"a{suffix}"
    save(np.asarray(drawn(RED, BLACK)), path)
    np.testing.assert_array_equal(mask_in(made), OBJECT)
    save(np.asarray(drawn(RED, BLACK, GREEN)), path)
    assert "it has 3 different colors (#000000" in refusal(made)
    np.testing.assert_array_equal(mask_in(made, objects=["x=#00ff00"]), OTHER)
    save(np.asarray(drawn(RED, (0, 0, 255))), path)
    assert "it has 2 different colors (#0000ff" in refusal(made)


@pytest.mark.parametrize("colors", [(RED, BLACK), (BLACK, RED), (WHITE, BLACK)])
def test_a_dicom_palette_counts_by_its_colors(folder, colors):
    pytest.importorskip("pydicom")
    from helpers.dicom_files import dicom, save

    numbers = OBJECT if colors[0] == BLACK else ~OBJECT
    ds = dicom(numbers.astype(np.uint8))
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for name, channel in zip(("Red", "Green", "Blue"), zip(*colors, strict=True), strict=True):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [2, 0, 16])
        entries = (np.array(channel, "<u2") * 257).tobytes()
        setattr(ds, f"{name}PaletteColorLookupTableData", entries)
    made = folder(values(255))
    (made / "masks" / "a.png").unlink()
    save(ds, made / "masks" / "a.dcm")
    np.testing.assert_array_equal(mask_in(made), OBJECT)


def test_lossy_dicom_is_refused_as_jpeg_is(folder):
    pytest.importorskip("pydicom")
    from helpers.dicom_files import dicom, save
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    ds, stream = dicom(np.asarray(values(255))), io.BytesIO()
    values(255).save(stream, "JPEG", quality=90)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].is_undefined_length = True
    made = folder(values(255))
    (made / "masks" / "a.png").unlink()
    save(ds, made / "masks" / "a.dcm")
    assert "as a JPEG file is, which changes values" in refusal(made, objects=["x=255"])
    np.testing.assert_array_equal(mask_in(made, mask_threshold=127), OBJECT)


def test_lossy_jpeg_2000_changes_the_edge_of_labels(folder, tmp_path):
    pytest.importorskip("pydicom")
    from helpers.dicom_files import dicom, save
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000

    stream = io.BytesIO()
    options = {"irreversible": True, "quality_mode": "rates", "quality_layers": [20]}
    labels = OBJECT.astype(np.uint8)
    Image.fromarray(labels).save(stream, "JPEG2000", no_jp2=True, **options)
    ds = dicom(labels, LossyImageCompression="01")
    ds.file_meta.TransferSyntaxUID = JPEG2000
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].is_undefined_length = True
    data = folder(values(1))
    (data / "masks" / "a.png").unlink()
    save(ds, data / "masks" / "a.dcm")
    assert "which changes them; export labels as PNG" in refusal(data)


def test_jpeg_inside_tiff_is_as_lossy_as_jpeg(folder):
    made = folder(values(255), ".tif", compression="jpeg", quality=60)
    assert "a JPEG file" in refusal(made, objects=["x=255"])
    np.testing.assert_array_equal(mask_in(made, mask_threshold=127), OBJECT)


def test_masks_in_color_without_an_object_are_empty(folder):
    for empty in (Image.new("RGB", SHAPE[::-1]), Image.new("RGBA", SHAPE[::-1])):
        assert not mask_in(folder(empty)).any()


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: drawn(RED, BLACK, GREEN), "3 different colors (#000000 "),
        (lambda: drawn(RED, BLACK, GREEN).quantize(3), "3 different colors (#000000 "),
        (lambda: drawn(RED, WHITE), "2 different colors (#ffffff "),
        (lambda: drawn(RED, WHITE).quantize(2), "2 different colors (#ffffff "),
        (lambda: drawn((*WHITE, 255), (*BLACK, 255), CLEAR), "transparent "),
        (lambda: Image.new("RGB", SHAPE[::-1], (128, 0, 128)), "#800080 100.0%: one color every"),
        (lambda: Image.new("RGBA", SHAPE[::-1], (*WHITE, 0)), "every pixel is transparent"),
        (lambda: values(150, 200), "3 different values (0 "),
    ],
)
def test_what_is_ambiguous_is_refused_with_what_is_in_it(folder, make, found):
    made = folder(make())
    message = refusal(made)
    assert message.startswith(f"{made / 'masks' / 'a.png'}: ") and found in message


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("is_erased", [True, False])
def test_a_picture_with_transparent_parts_is_no_mask(folder, mode, is_erased):
    """Of an object that was cut out, or erased; a level would take what is bright in it."""
    picture = Image.fromarray(np.random.default_rng(0).integers(9, 240, SHAPE, dtype=np.uint8))
    picture = picture.convert(mode)
    picture.putalpha(Image.fromarray((OBJECT ^ is_erased) * np.uint8(255)))
    made = folder(picture)
    for choice in ({}, {"mask_threshold": 127}):
        assert "a picture with transparent parts, no mask" in refusal(made, **choice)


def test_two_colors_get_the_same_answer_as_two_values(folder):
    in_values = refusal(folder(values(150, 200)))
    in_colors = refusal(folder(drawn(RED, BLACK, GREEN)))
    assert in_values.endswith("say which are the object: --objects NAME=150")
    assert in_colors.endswith("say which are the object: --objects NAME=#ff0000")


def test_the_example_of_an_object_is_not_what_covers_most(folder):
    """Where the cup of an eye is black and all around the disc is white, as in REFUGE."""
    made = folder(Image.fromarray(np.where(OTHER, 0, np.where(OBJECT, 128, 255)).astype(np.uint8)))
    assert refusal(made).endswith("say which are the object: --objects NAME=128")


@pytest.mark.parametrize("count", [2, 7, 40])
def test_numbered_objects_are_refused_with_the_way_to_take_all(folder, count):
    """A threshold at half of the numbers, right for a smoothed mask, would lose half of them."""
    made = folder(
        Image.fromarray(((OBJECT.cumsum() % count + 1).reshape(SHAPE) * OBJECT).astype(np.uint8))
    )
    assert refusal(made).endswith("or if all are, as where each has its number, --mask-threshold 0")
    np.testing.assert_array_equal(mask_in(made, mask_threshold=0), OBJECT)


# --- the threshold ------------------------------------------------------------------------------

BLURRED = {
    "JPEG": (lambda: values(255), {"suffix": ".jpg", "quality": 60}),
    "smoothed": (lambda: smoothed(values(255)), {}),
    "JPEG in red": (lambda: drawn(RED, BLACK), {"suffix": ".jpg", "subsampling": 0}),
    "smoothed opacity": (lambda: smoothed(clear_black()), {}),
}


@pytest.mark.parametrize("name", BLURRED)
def test_masks_with_in_between_values_are_refused_unless_cut(folder, name):
    make, options = BLURRED[name]
    made = folder(make(), **options)
    assert "--mask-threshold 127" in refusal(made)
    np.testing.assert_array_equal(mask_in(made, mask_threshold=127), OBJECT)


def test_smoothed_masks_of_small_values_are_cut_at_half_of_them(folder):
    made = folder(smoothed(values(8)))
    assert refusal(made).endswith("--mask-threshold 4")
    np.testing.assert_array_equal(mask_in(made, mask_threshold=4), OBJECT)


def test_a_threshold_of_eight_bits_for_deeper_masks_is_refused(tmp_path):
    soft = np.asarray(smoothed(values(255))).astype(np.uint16) * 257
    write(path := tmp_path / "images/a.png", image_of(OBJECT))
    write(tmp_path / "masks/a.png", soft)
    assert refusal(path.parents[1]).endswith("cut it at a gray level: --mask-threshold 32767")
    message = (
        r"values up to 65,\d\d5, of which 127 is nearly nothing; give a threshold in their ran"
    )
    with pytest.raises(ValueError, match=message):
        mask_in(path.parents[1], mask_threshold=127)
    np.testing.assert_array_equal(mask_in(path.parents[1], mask_threshold=32767), OBJECT)


def test_a_threshold_takes_no_noise_for_a_mask_of_0_and_1(folder):
    np.testing.assert_array_equal(mask_in(folder(values(1)), mask_threshold=127), OBJECT)
    dust = Image.fromarray((np.random.default_rng(0).random(SHAPE) < 0.02).astype(np.uint8))
    assert "0 and 1, but 1 nowhere in an area, so" in refusal(folder(dust), mask_threshold=127)
    assert mask_in(folder(dust), mask_threshold=0).any()


def test_threshold_cuts_where_it_says(folder):
    made = folder(values(90, 40))
    np.testing.assert_array_equal(mask_in(made, mask_threshold=39), OBJECT | OTHER)
    np.testing.assert_array_equal(mask_in(made, mask_threshold=40), OBJECT)


def compressed(inside, other=(0, 0, 0), scale=6):
    """A JPEG of areas that are large enough to be flat in it."""
    picture = drawn(inside, BLACK, other)
    return picture.resize((scale * SHAPE[1], scale * SHAPE[0]), Image.Resampling.NEAREST)


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("color", [(128, 0, 0), (0, 128, 0), (128, 128, 128)])
def test_an_area_that_a_threshold_cuts_through_is_refused(folder, color, subsampling):
    """JPEG makes 128, as Pascal VOC's colors have, to 120 to 135: a cut at 127 gave speckle."""
    made = folder(compressed(color), ".jpg", quality=90, subsampling=subsampling)
    whole = np.kron(OBJECT, np.ones((6, 6), bool))
    write(made / "images" / "a.png", image_of(whole))
    told = refusal(made, mask_threshold=127)
    assert "which the threshold of 127 cuts through; to take them whole, give" in told
    found = mask_in(made, mask_threshold=int(told.split()[-1]))
    wrong = np.count_nonzero(found != whole)
    assert wrong < (1 if subsampling == 0 else 0.05 * whole.sum())


def test_a_threshold_is_apart_from_areas_of_several_levels(folder):
    made = folder(compressed(WHITE, (128, 128, 128)), ".jpg", quality=90)
    whole, other = (np.kron(area, np.ones((6, 6), bool)) for area in (OBJECT, OTHER))
    write(made / "images" / "a.png", image_of(whole))
    assert "cuts through" in refusal(made, mask_threshold=127)
    np.testing.assert_array_equal(mask_in(made, mask_threshold=190), whole)
    (problem,) = check(made, mask_threshold=190).by_kind()["doubtful-outlines"]
    assert problem.message.endswith(
        "areas of the gray level 128, which the threshold of 190 leaves out"
    )
    np.testing.assert_array_equal(mask_in(made, mask_threshold=64), whole | other)
    assert "doubtful-outlines" not in check(made, mask_threshold=64).by_kind()


def test_a_smooth_edge_is_cut_in_its_middle(folder):
    """A long ramp has flat parts, too, but no area of one level."""
    ramp = np.tile(np.linspace(0, 255, 512).round().astype(np.uint8), (64, 1))
    made = folder(Image.fromarray(ramp))
    write(made / "images" / "a.png", ramp)
    np.testing.assert_array_equal(mask_in(made, mask_threshold=127), ramp > 127)


@pytest.mark.parametrize("make", [lambda: drawn(RED, WHITE), lambda: drawn(RED, BLACK, GREEN)])
def test_threshold_takes_no_colored_ground_or_second_object(folder, make):
    assert "colors of more than one object" in refusal(folder(make()), mask_threshold=127)


def test_threshold_takes_no_two_objects_of_equal_area(folder):
    """The middle of as much red as green is neither, and was as near to both as allowed."""
    pixels = np.zeros((*SHAPE, 3), np.uint8)
    pixels[mask_of(1)], pixels[mask_of(48)] = RED, GREEN
    made = folder(Image.fromarray(pixels))
    assert "colors of more than one object" in refusal(made, mask_threshold=127)


@pytest.mark.parametrize(
    ("make", "choice"),
    [
        (lambda: drawn(RED, BLACK), "x=#ff0000"),
        (lambda: drawn(RED, WHITE), "x=#ff0000"),
        (lambda: drawn(GREEN, BLACK, RED), "x=#00ff00"),
        (lambda: values(255), "x=255"),
    ],
)
def test_a_choice_that_would_lose_a_smooth_edge_is_refused(folder, make, choice):
    picture = make()
    sharp = picture.resize((4 * SHAPE[1], 4 * SHAPE[0]), Image.Resampling.NEAREST)
    made = folder(sharp.filter(ImageFilter.GaussianBlur(0.7)))
    whole = np.kron(OBJECT, np.ones((4, 4), bool))
    write(made / "images" / "a.png", image_of(whole))
    assert "a choice would lose the edge" in refusal(made, objects=[choice])
    sharp.save(made / "masks" / "a.png")
    np.testing.assert_array_equal(mask_in(made, objects=[choice]), whole)


def test_a_choice_takes_a_label_among_many(folder):
    """Labels that touch each other have areas; single pixels of others are no edge."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[OBJECT], labels[::7, ::5] = 9, 3
    labels[:4, :16], labels[:4, 16:], labels[20:, :] = 5, 6, 7
    made = folder(Image.fromarray(labels))
    np.testing.assert_array_equal(mask_in(made, objects=["x=9"]), labels == 9)


def test_threshold_and_choice_exclude_each_other(folder):
    made = folder(values(255))
    assert "cannot be combined" in refusal(made, mask_threshold=9, objects=["x=255"])


# --- the choice of objects ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "choice", "expected"),
    [
        (lambda: values(150, 200), "lung=150", OBJECT),
        (lambda: values(150, 200), "lungs=150,200", OBJECT | OTHER),
        (lambda: drawn(RED, BLACK, GREEN), "tumor=#FF0000", OBJECT),
        (lambda: drawn(RED, BLACK, GREEN), "both=#ff0000,#00ff00", OBJECT | OTHER),
        (lambda: drawn(RED, WHITE), "tumor=#ff0000", OBJECT),
        (lambda: drawn(RED, BLACK, GREEN).quantize(3), "cyst=#00ff00", OTHER),
        (lambda: indexed([WHITE, RED, GREEN], OBJECT + 2 * OTHER), "x=1", OBJECT),
        (lambda: indexed([WHITE, RED, GREEN], OBJECT + 2 * OTHER), "x=#00ff00", OTHER),
        (lambda: drawn(BLACK, WHITE).convert("L"), "x=0", OBJECT),
        (lambda: drawn(BLACK, WHITE), "x=#000000", OBJECT),
        (lambda: drawn((*WHITE, 255), (*BLACK, 255), CLEAR), "x=#ffffff", OBJECT),
    ],
)
def test_values_and_colors_that_are_chosen(folder, make, choice, expected):
    np.testing.assert_array_equal(mask_in(folder(make()), objects=[choice]), expected)


@pytest.mark.parametrize(
    ("make", "suffix", "choice", "fault"),
    [
        (lambda: drawn(RED, BLACK, GREEN), ".png", "x=1", "choose by color: #000000"),
        (lambda: values(255), ".jpg", "x=255", "a JPEG file"),
        (lambda: Image.effect_noise(SHAPE[::-1], 80), ".png", "x=9", "different values, as after"),
        (lambda: values(255), ".png", "nodule", "without a table of names; give values or colors"),
        (lambda: values(255), ".png", "x=", "give a name, or NAME=V,V"),
        (lambda: values(255), ".png", "=1", "give a name, or NAME=V,V"),
        (lambda: drawn(RED, BLACK), ".png", "x=255,0,0", "a color is written as one, #ff0000"),
    ],
)
def test_choice_that_cannot_be_followed_is_refused(folder, make, suffix, choice, fault):
    assert fault in refusal(folder(make(), suffix), objects=[choice])


def test_several_objects_need_values_where_no_table_names_them(folder):
    data = folder(values(150, 200))
    assert "come without a table of names" in refusal(data, objects=["left", "right"])
    assert "150 is named twice" in refusal(data, objects=["left=150", "right=150"])
    with pytest.raises(ValueError, match="left is named twice"):
        FinetuneSettings(objects=("left=150", "left=200"))
    with pytest.raises(ValueError, match="left is named twice"):
        check(data, objects=["left=150", "left=200"])


def test_choice_on_simulated_data_is_refused():
    for choice in ({"objects": ["x=1"]}, {"mask_threshold": 127}):
        with pytest.raises(ValueError, match="nothing to choose"):
            load("simulated-ultrasound:2", **choice)


def test_choice_replaces_the_mask_values_of_a_published_set(tmp_path):
    from helpers.layout_makers import make_jsrt

    make_jsrt(tmp_path)
    lungs, left = (load(tmp_path, objects=[text]) for text in ("lungs=150,200", "left=150"))
    usual = load(tmp_path)
    for case, same, part in zip(usual.cases, lungs.cases, left.cases, strict=True):
        whole = case.load().mask
        np.testing.assert_array_equal(same.load().mask, whole)
        assert 0 < part.load().mask.sum() < whole.sum()


# --- tables of classes --------------------------------------------------------------------------

COLORS = {"lung": RED, "heart": GREEN}
TABLES = {
    "labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\nlung:255,0,0::\n"
    "heart:0,255,0::\n",
    "label_colors.txt": "0 0 0 background\n255 0 0 lung\n0 255 0 heart\n",
    "class_names.txt": "_background_\nlung\nheart\n",
    "label_names.txt": "_background_\nlung\nheart\n",
    "_classes.csv": "Pixel Value, Class\n0, background\n1, lung\n2, heart\n",
    "dataset.json": json.dumps({"labels": {"background": 0, "lung": 1, "heart": 2}}),
    "obj_class_to_machine_color.json": json.dumps({"lung": [1, 1, 1], "heart": [2, 2, 2]}),
}
OLD_DATASET = json.dumps({"labels": {"0": "background", "1": "lung", "2": "heart"}})


def write_table(made, name, text=None):
    (made / name).write_text(text or TABLES[name])
    return made


def class_picture(table):
    if table in ("labelmap.txt", "label_colors.txt"):
        return drawn(RED, BLACK, GREEN)
    return values(1, 2)


@pytest.mark.parametrize("table", TABLES)
def test_masks_are_read_by_the_table_that_comes_with_them(folder, table):
    made = write_table(folder(class_picture(table)), table)
    for choice, expected in (("lung", OBJECT), ("heart", OTHER), ("lung,heart", OBJECT | OTHER)):
        np.testing.assert_array_equal(mask_in(made, objects=[choice]), expected)
    assert "has several objects, lung, heart" in refusal(made)
    assert "it has heart, lung" in refusal(made, objects=["liver"])


def test_a_table_of_classes_may_be_above_folders_of_masks(folder):
    made = folder(drawn(RED, BLACK, GREEN))
    for part in ("images", "masks"):
        for path in [*(made / part).iterdir()]:
            (made / part / "P1").mkdir(exist_ok=True)
            path.rename(made / part / "P1" / path.name)
    (made / "masks" / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    np.testing.assert_array_equal(mask_in(made, objects=["lung"]), OBJECT)
    (made / "masks" / "P1" / "class_names.txt").write_text("_background_\nlung\n")
    assert load(made, objects=["lung"])
    exchanged = TABLES["labelmap.txt"].replace("lung", "liver")
    (made / "masks" / "P1" / "labelmap.txt").write_text(exchanged)
    assert "P1: its table of classes disagrees with that in" in refusal(made, objects=["liver"])


@pytest.mark.parametrize("text", [
    "background 0 0 0\nleft lung 255 0 0\n", "0,0,0,background\n255,0,0,left lung\n",
])  # fmt: skip
def test_names_of_colors_come_first_or_last(folder, text):
    made = write_table(folder(drawn(RED, BLACK)), "label_colors.txt", text)
    np.testing.assert_array_equal(mask_in(made, objects=["left lung"]), OBJECT)
    (made / "label_colors.txt").write_text("255 0 0\n")
    assert "not a readable table of classes" in refusal(made)


@pytest.mark.parametrize("spelling", ["background", "Background"])
def test_table_of_the_first_nnunet(folder, spelling):
    table = OLD_DATASET.replace("background", spelling)
    made = write_table(folder(values(1, 2)), "dataset.json", table)
    np.testing.assert_array_equal(mask_in(made, objects=["heart"]), OTHER)


@pytest.mark.parametrize("labels", [{"lung": 0, "background": 1}, {"0": "lung", "1": "background"}])
def test_nnunet_may_number_the_background_otherwise(folder, labels):
    made = write_table(folder(values(1, 0)), "dataset.json", json.dumps({"labels": labels}))
    np.testing.assert_array_equal(mask_in(made), ~OBJECT)


def test_region_of_several_values(folder):
    regions = json.dumps({"labels": {"background": 0, "whole": [1, 2], "core": [2]}})
    made = write_table(folder(values(1, 2)), "dataset.json", regions)
    np.testing.assert_array_equal(mask_in(made, objects=["whole"]), OBJECT | OTHER)


def test_the_label_of_nnunet_for_pixels_that_nobody_has_judged_is_refused(folder):
    table = json.dumps({"labels": {"background": 0, "lung": 1, "ignore": 2}})
    made = write_table(folder(values(1, 2)), "dataset.json", table)
    assert "has 2, which the table of classes does not list, or lists to be ignored" in refusal(
        made
    )
    made = write_table(folder(values(1, 1)), "dataset.json", table)
    np.testing.assert_array_equal(mask_in(made), OBJECT | OTHER)


@pytest.mark.parametrize("layout", ["parts", "one part", "manifest"])
def test_table_above_the_folders_or_beside_a_manifest(tmp_path, layout):
    for part in {"parts": ("train", "test"), "one part": ("all",)}.get(layout, ()):
        write(tmp_path / part / "images" / f"{part}.png", image_of(OBJECT))
        (tmp_path / part / "masks").mkdir()
        values(1, 2).save(tmp_path / part / "masks" / f"{part}.png")
    if layout == "manifest":
        write(tmp_path / "scan.png", image_of(OBJECT))
        values(1, 2).save(tmp_path / "outline.png")
        (tmp_path / "manifest.csv").write_text("image,mask\nscan.png,outline.png\n")
    write_table(tmp_path, "_classes.csv")
    for case in load(tmp_path, objects=["heart"]).cases:
        np.testing.assert_array_equal(case.load().mask, OTHER)
    assert "has several objects, lung, heart" in refusal(tmp_path)


def test_table_of_one_class_needs_no_choice(folder):
    made = folder(drawn(RED, WHITE))
    write_table(made, "labelmap.txt", "background:255,255,255::\nlung:255,0,0::\n")
    np.testing.assert_array_equal(mask_in(made), OBJECT)


def test_a_table_with_several_names_of_one_color_is_refused(folder):
    made = folder(drawn(RED, BLACK))
    write_table(made, "labelmap.txt", "background:0,0,0::\ncyst:255,0,0::\ntumor:255,0,0::\n")
    assert "table of classes (#ff0000 is cyst and tumor)" in refusal(made, objects=["cyst"])


def test_what_a_table_does_not_list_is_refused(folder):
    made = write_table(folder(values(255)), "class_names.txt", "_background_\nlung\n")
    assert "has 255, which the table of classes does not list" in refusal(made)


def test_table_of_colors_and_masks_with_a_palette(folder):
    made = write_table(folder(drawn(RED, BLACK, GREEN).quantize(3)), "labelmap.txt")
    np.testing.assert_array_equal(mask_in(made, objects=["lung"]), OBJECT)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labelmap.txt", "person\nbicycle\n"),
        ("class_names.txt", "lung\nheart\n"),
        ("dataset.json", json.dumps({"labels": {"a.png": 0}})),
        ("dataset.json", json.dumps({"labels": [["a.png", 0]]})),
        ("dataset.json", json.dumps({"labels": {"0": "benign", "1": "malignant"}})),
    ],
)
def test_files_that_only_have_the_name_of_a_table(folder, name, text):
    np.testing.assert_array_equal(mask_in(write_table(folder(values(255)), name, text)), OBJECT)


@pytest.mark.parametrize("text", ["lung:1,2::\n", "lung:1,2,300::\n", "lung:0,0,1::\nheart\n"])
def test_table_that_cannot_be_read_is_named(folder, text):
    made = write_table(folder(values(1)), "labelmap.txt", text)
    assert refusal(made).startswith(f"{made / 'labelmap.txt'}: not a readable table")


# --- Pascal VOC ---------------------------------------------------------------------------------


def voc(tmp_path, picture, folder="SegmentationClass"):
    write(tmp_path / "JPEGImages" / "a.png", image_of(OBJECT))
    for name in {folder, "SegmentationClass"}:
        (tmp_path / name).mkdir(exist_ok=True)
    picture.save(tmp_path / folder / "a.png")
    return tmp_path


VOC_COLORS = [BLACK, (128, 0, 0), (0, 128, 0), *[BLACK] * 252, (224, 224, 192)]


def test_voc_void_is_no_object_and_classes_are_chosen(tmp_path):
    void = np.zeros(SHAPE, bool)
    void[:, -2:] = True
    one = voc(tmp_path / "one", indexed(VOC_COLORS, np.where(void, 255, OBJECT)))
    two = voc(tmp_path / "two", indexed(VOC_COLORS, np.where(void, 255, OBJECT + 2 * OTHER)))
    np.testing.assert_array_equal(mask_in(one), OBJECT & ~void)
    assert "4 different colors" in refusal(two)
    np.testing.assert_array_equal(mask_in(two, objects=["x=#008000"]), OTHER & ~void)
    np.testing.assert_array_equal(mask_in(two, objects=["x=2"]), OTHER & ~void)
    (two / "class_names.txt").write_text("_background_\ncyst\nmass\n")
    np.testing.assert_array_equal(mask_in(two, objects=["mass"]), OTHER & ~void)


def test_voc_of_older_labelme_has_its_images_beside_arrays(tmp_path):
    made = voc(tmp_path, indexed(VOC_COLORS, OBJECT), "SegmentationClassPNG")
    np.save(tmp_path / "SegmentationClass" / "a.npy", OBJECT)
    np.testing.assert_array_equal(mask_in(made), OBJECT)


def test_voc_of_older_labelme_without_its_arrays(tmp_path):
    made = voc(tmp_path, indexed(VOC_COLORS, OBJECT), "SegmentationClassPNG")
    (tmp_path / "SegmentationClass").rmdir()
    np.testing.assert_array_equal(mask_in(made), OBJECT)


# --- everywhere ---------------------------------------------------------------------------------


def test_check_and_show_take_the_choice(folder, call_cli, tmp_path):
    made = folder(values(150, 200))
    assert check(made).counts()["error"] == 1
    assert check(made, objects=["lungs=150,200"]).counts()["error"] == 0
    sheet = tmp_path / "sheet.png"
    done = call_cli("show", "--data", made, "--objects", "lungs=150,200", "--sheet", sheet)
    assert done.returncode == 0 and sheet.is_file()


def test_an_object_of_several_codes_is_refused(tmp_path):
    for name, made in (("a", values(1)), ("b", values(2)), ("c", values(2)), ("d", values(0))):
        write(tmp_path / "images" / f"{name}.png", image_of(OBJECT))
        (tmp_path / "masks").mkdir(exist_ok=True)
        made.save(tmp_path / "masks" / f"{name}.png")

    def told(**choice):
        report = check(tmp_path, **choice)
        try:
            require_one_code(load(tmp_path, **choice).cases)
        except ValueError as error:
            return [str(error)], [problem.message for problem in report.by_kind()["mixed-codes"]]
        return [], [problem.message for problem in report.by_kind().get("mixed-codes", [])]

    (message,), in_check = told()
    assert [message] == in_check
    assert "the object is 1 in 1 (such as" in message and "2 in 2 (such as" in message
    assert "--objects NAME=1 takes one; --objects NAME=1,2 unites them" in message
    for choice in ({"objects": ["x=2"]}, {"objects": ["x=1,2"]}, {"mask_threshold": 0}):
        assert told(**choice) == ([], [])
    with pytest.raises(ValueError, match="the object is 1 in 1"):
        prepare(FinetuneSettings(data=str(tmp_path)))
    for name in "bc":
        values(255).save(tmp_path / "masks" / f"{name}.png")
    assert told() == ([], [])
    drawn(RED, BLACK).save(tmp_path / "masks" / "b.png")
    assert "#ff0000 in 1" in told()[0][0]


def test_a_number_that_palettes_show_in_several_colors_is_refused(tmp_path):
    """Programs that choose the best palette number the colors anew in every file."""
    (tmp_path / "masks").mkdir()
    for name, palette in (("a", (BLACK, RED, GREEN)), ("b", (BLACK, GREEN, RED))):
        red, green = palette.index(RED), palette.index(GREEN)
        write(tmp_path / "images" / f"{name}.png", image_of(OBJECT))
        indexed(palette, red * OBJECT + green * OTHER).save(tmp_path / "masks" / f"{name}.png")
    by_number, by_color = (load(tmp_path, objects=[text]).cases for text in ("x=1", "x=#ff0000"))
    with pytest.raises(ValueError, match="#ff0000 in 1 .* #00ff00 in 1 .*NAME=#ff0000 takes one"):
        require_one_code(by_number)
    (problem,) = check(tmp_path, objects=["x=1"]).by_kind()["mixed-codes"]
    assert "the object is #ff0000 in 1" in problem.message
    require_one_code(by_color)
    assert "mixed-codes" not in check(tmp_path, objects=["x=#ff0000"]).by_kind()
    for choice, owners in ((["x=1", "y=2"], ("x", "y")), (["x=1,2"], ("value 1", "value 2"))):
        several = check(tmp_path, objects=choice).by_kind()["mixed-codes"]
        named = [problem.message.split(" in 1 ")[0] for problem in several]
        assert named == [
            f"{owners[0]}: the object is #ff0000",
            f"{owners[1]}: the object is #00ff00",
        ]
        with pytest.raises(ValueError, match=f"{named[0]} in 1(?s:.*){named[1]} in 1"):
            require_one_code(load(tmp_path, objects=choice).cases)
    require_one_code(load(tmp_path, objects=["x=#ff0000", "y=#00ff00"]).cases)
    assert "mixed-codes" not in check(tmp_path, objects=["x=#ff0000", "y=#00ff00"]).by_kind()
    assert all(np.array_equal(case.load().mask, OBJECT) for case in by_color)
    values(1, 2).save(tmp_path / "masks" / "b.png")  # Numbers alone contradict no palette.
    require_one_code(load(tmp_path, objects=["x=1"]).cases)
    assert "mixed-codes" not in check(tmp_path, objects=["x=1"]).by_kind()


def test_digest_of_the_cases_does_not_depend_on_the_choice(folder):
    made = folder(values(150, 200))
    digests = {load(made, objects=choice).digest for choice in ([], ["a=150"], ["b=200"])}
    assert len(digests) == 1


def test_cache_tells_choices_apart(folder, tmp_path, monkeypatch):
    from kerasunet.data import decode

    monkeypatch.setenv("KERASUNET_CACHE", str(tmp_path / "cache"))
    made = folder(values(150, 200))
    parts = [
        decode(load(made, objects=[text]).cases, SHAPE).masks[0].sum()
        for text in ("a=150", "a=200")
    ]
    assert parts == [OBJECT.sum(), OTHER.sum()] and len(set(itertools.chain(parts))) == 2


# --- turned by EXIF -----------------------------------------------------------------------------


def save_turned(path, picture, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(exist_ok=True)
    picture.save(path, exif=exif)


@pytest.mark.parametrize("orientation", [2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_mask_that_may_be_drawn_on_either_view_is_refused(tmp_path, suffix, orientation):
    picture = Image.fromarray(image_of(OBJECT))
    save_turned(tmp_path / "images" / f"a{suffix}", picture, orientation)
    (tmp_path / "masks").mkdir()
    values(255).save(tmp_path / "masks" / "a.png")
    assert f"the mask and a{suffix} have different EXIF orientations" in refusal(tmp_path)
    save_turned(tmp_path / "masks" / "a.png", values(255), orientation)  # Turned alike.
    upright = {2: OBJECT[:, ::-1], 3: OBJECT[::-1, ::-1], 4: OBJECT[::-1]}[orientation]
    np.testing.assert_array_equal(mask_in(tmp_path), upright)
    picture.save(tmp_path / "images" / f"a{suffix}")
    assert f"the mask and a{suffix} have different EXIF orientations" in refusal(tmp_path)


def test_outlines_on_a_picture_that_is_turned_need_a_size(tmp_path):
    """COCO has coordinates of either view; labelme shows pictures as they are turned."""
    upright = np.rot90(image_of(OBJECT), -1)
    image = {"id": 1, "file_name": "a.jpg", "height": SHAPE[1], "width": SHAPE[0]}
    drawn = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[2, 3, 20, 3, 20, 30]]}
    save_turned(tmp_path / "a.jpg", Image.fromarray(image_of(OBJECT)), 6)
    for size, square in ((True, False), (False, False), (True, True)):
        if square:
            save_turned(tmp_path / "a.jpg", Image.fromarray(upright).resize((40, 40)), 3)
        known = image | ({"height": 40, "width": 40} if square else {})
        known = known if size else {"id": 1, "file_name": "a.jpg"}
        content = {"images": [known], "annotations": [drawn], "categories": []}
        (tmp_path / "coco.json").write_text(json.dumps(content))
        if size and not square:
            assert mask_in(tmp_path).shape == upright.shape
        else:
            assert "a.jpg: it is turned by its EXIF orientation, so it is unknown" in refusal(
                tmp_path
            )


def test_exif_after_the_pixels_of_a_png_counts(tmp_path):
    save_turned(tmp_path / "images" / "a.png", Image.fromarray(image_of(OBJECT)), 3)
    content = (tmp_path / "images" / "a.png").read_bytes()
    start = content.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(content[start : start + 4], "big")
    moved = content[:start] + content[stop:-12] + content[start:stop] + content[-12:]
    (tmp_path / "images" / "a.png").write_bytes(moved)
    (tmp_path / "masks").mkdir()
    values(255).save(tmp_path / "masks" / "a.png")
    assert "the mask and a.png have different EXIF orientations" in refusal(tmp_path)


def test_the_shape_tells_of_a_picture_on_its_side_on_which_view_its_mask_was_drawn(tmp_path):
    save_turned(tmp_path / "images" / "a.jpg", Image.fromarray(image_of(OBJECT)), 6)
    (tmp_path / "masks").mkdir()
    upright = np.rot90(OBJECT, -1)
    Image.fromarray(upright.astype(np.uint8)).save(tmp_path / "masks" / "a.png")
    np.testing.assert_array_equal(mask_in(tmp_path), upright)
    values(255).save(tmp_path / "masks" / "a.png")
    assert f"{SHAPE[1]}×{SHAPE[0]}" in refusal(tmp_path)
    square = Image.fromarray(image_of(OBJECT)).resize((40, 40))
    save_turned(tmp_path / "images" / "a.jpg", square, 6)
    values(255).resize((40, 40)).save(tmp_path / "masks" / "a.png")
    assert "the mask and a.jpg have different EXIF orientations" in refusal(tmp_path)


@pytest.mark.parametrize("choice", [{}, {"mask_threshold": 127}, {"objects": ["x=1"]}])
def test_numbers_of_labels_in_a_jpeg_are_refused(folder, choice):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:11, 5:13] = 1
    data = folder(Image.fromarray(mask), ".jpg", quality=95)
    assert "which changes them; export labels as PNG" in refusal(data, **choice)


def test_an_empty_mask_in_a_jpeg_may_have_lost_its_labels(folder):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:11, 5:13] = 1
    data = folder(Image.fromarray(mask), ".jpg", quality=30)
    assert not np.asarray(Image.open(data / "masks" / "a.jpg")).any()
    assert "empty, but compressed as JPEG is" in refusal(data)
    assert not mask_in(data, mask_threshold=127).any()


def test_a_slope_that_is_not_quite_a_fraction_gives_whole_numbers(tmp_path):
    nib = pytest.importorskip("nibabel")
    mask = np.zeros((20, 30, 1), np.uint8)
    mask[4:9, 10:20] = 255
    image = nib.Nifti1Image(mask, np.eye(4))
    image.header.set_slope_inter(1 / 255, 0)
    nib.save(image, tmp_path / "x.nii")
    values = np.unique(nib.load(tmp_path / "x.nii").get_fdata())
    assert len(values) == 2 and values[1] != 1
    found = read_mask_values(tmp_path / "x.nii")
    assert np.unique(found).tolist() == [0, 1] and found.sum() == 50


def test_a_slope_of_a_segmentation_that_leaves_less_than_one_gives_whole_numbers(tmp_path):
    nib = pytest.importorskip("nibabel")
    mask = np.zeros((20, 30, 1), np.int16)
    mask[4:9, 10:20] = 32767
    image = nib.Nifti1Image(mask, np.eye(4))
    image.header.set_slope_inter(1 / 32767.9, 0)  # Programs round it: 0.99997.
    nib.save(image, tmp_path / "x.nii")
    assert np.unique(read_mask_values(tmp_path / "x.nii")).tolist() == [0, 1]


def test_values_that_no_label_has_are_refused(folder):
    levels = np.zeros(SHAPE, np.float32)
    levels[3:9, 4:11] = 1e30
    made = folder(Image.fromarray(levels), ".tif")
    assert "a mask holds whole numbers from 0 up, and this one 1.0000" in refusal(made)


@pytest.mark.parametrize("kind", ["ROI", "Overlays"])
@pytest.mark.parametrize("byteorder", [">", "<"])
def test_a_black_mask_with_regions_of_imagej_is_refused(folder, kind, byteorder):
    tifffile = pytest.importorskip("tifffile")
    data = folder(Image.new("L", SHAPE[::-1]), ".tif")
    region = b"Iout" + bytes(92)
    regions = {kind: region if kind == "ROI" else [region]}
    black, path = np.zeros(SHAPE, np.uint8), data / "masks" / "a.tif"
    tifffile.imwrite(path, black, imagej=True, byteorder=byteorder, metadata=regions)
    assert "a.tif: black, with ImageJ regions, which are not read" in refusal(data)
    black[3:9, 4:11] = 255  # What is drawn is drawn.
    tifffile.imwrite(path, black, imagej=True, byteorder=byteorder, metadata=regions)
    np.testing.assert_array_equal(mask_in(data), black > 0)


def test_a_black_page_of_a_stack_with_regions_of_imagej_is_refused(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    masks = np.stack([OBJECT, OBJECT & False]).astype(np.uint8) * 255
    for name, pages in (("images", np.stack([image_of(OBJECT)] * 2)), ("masks", masks)):
        (tmp_path / name).mkdir()
        options = {"Overlays": [b"Iout" + bytes(92)]} if name == "masks" else {}
        about = {"axes": "ZYX", **options}
        tifffile.imwrite(tmp_path / name / "a.tif", pages, imagej=True, metadata=about)
    first, second = load(tmp_path).cases
    np.testing.assert_array_equal(first.load().mask, OBJECT)
    with pytest.raises(ValueError, match="black, with ImageJ regions"):
        second.load()


@pytest.mark.parametrize(("value", "kind"), [("roi ", TiffTags.ASCII), (1.5, TiffTags.FLOAT)])
def test_a_black_mask_whose_tag_is_not_that_of_imagej_is_read(tmp_path, value, kind):
    tags = ImageFileDirectory_v2()
    tags.tagtype[50839] = kind
    tags[50839] = value
    Image.new("L", SHAPE[::-1]).save(tmp_path / "a.tif", tiffinfo=tags)
    assert not read_mask_values(tmp_path / "a.tif").any()


@pytest.mark.parametrize(
    ("value", "choice", "fault"),
    [
        (2, {"mask_threshold": 127}, "0 and 2, none of it above the threshold of 127"),
        (100, {"mask_threshold": 127}, "0 and 100, none of it above the threshold of 127"),
        (1, {"mask_threshold": 127}, ""),
        (128, {"mask_threshold": 127}, ""),
        (255, {"objects": ["x=1"]}, "its only value is 255, as in binary masks"),
        (1, {"objects": ["x=255"]}, "its only value is 1, as in binary masks"),
        (1, {"objects": ["x=1,255"]}, ""),
        (255, {"objects": ["x=150,255"]}, ""),
    ],
)
def test_a_binary_mask_of_another_coding_is_not_empty(folder, value, choice, fault):
    """One of them among others would lose its object, as programs write 1 bit, 0 and 1, or 255."""
    data = folder(values(value))
    if fault:
        assert fault in refusal(data, **choice)
    else:
        np.testing.assert_array_equal(mask_in(data, **choice), OBJECT)


def test_a_value_that_a_mask_lacks_makes_no_object(folder):
    assert not mask_in(folder(values(150)), objects=["x=200"]).any()
    with pytest.raises(ValueError, match="--mask-threshold -1: a gray level, so it is 0 or more"):
        load(folder(values(150)), mask_threshold=-1)


def test_a_value_of_different_classes_in_tables_of_different_parts_is_refused(tmp_path):
    for part, number in (("train", 1), ("valid", 2)):
        write(tmp_path / part / "x.png", image_of(OBJECT))
        values(number).save(tmp_path / part / "x_mask.png")
        rows = f"0, background\n{number}, tumor\n{3 - number}, cyst\n"
        (tmp_path / part / "_classes.csv").write_text(f"Pixel Value, Class\n{rows}")
    with pytest.raises(ValueError, match="1: is cyst in one table of classes and tumor in another"):
        load(tmp_path, objects=["x=1"])
    for case in load(tmp_path, objects=["tumor"]).cases:
        np.testing.assert_array_equal(case.load().mask, OBJECT)
