"""Decoding: resizing rules, channels, spacing, and every unusable file in one message."""

import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from kerasunet.data import (
    DataSet,
    DecodedCases,
    Sample,
    decode,
    gray_levels,
    load,
    resize_image,
    resize_mask,
)
from kerasunet.data.decoding import foreground_shares, resized_spacing
from kerasunet.objects import Objects

pytestmark = pytest.mark.filterwarnings("error")


@dataclass(frozen=True)
class ArrayCase:
    """A case in memory, or one that fails."""

    key: str
    image: np.ndarray = field(default_factory=lambda: np.zeros((8, 8), np.float32))
    mask: np.ndarray = field(default_factory=lambda: np.zeros((8, 8), bool))
    spacing: tuple[float, float] | None = None
    error: Exception | None = None
    label: str = ""
    seconds: float = 0.0

    @property
    def group(self):
        return f"group of {self.key}"

    def load(self):
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return Sample(self.image, self.mask, self.spacing)


def blocks(pixels, rows, columns):
    """Means of blocks of rows×columns pixels: the area rule, spelled out."""
    height, width = pixels.shape
    split = pixels.reshape(height // rows, rows, width // columns, columns)
    return split.mean(axis=(1, 3))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 5), (1, 4), (3, 1)])
def test_shrinking_averages_areas_along_each_axis(rows, columns):
    image = noise(6 * rows, 7 * columns)
    expected = np.rint(blocks(image, rows, columns))
    assert np.abs(resize_image(image, (6, 7))[..., 0] - expected).max() <= 1


def test_one_axis_shrinks_by_area_while_the_other_grows():
    image = np.tile(np.array([0, 255], np.float32), (4, 32))
    resized = resize_image(image, (16, 8))[..., 0]
    assert np.ptp(resized) <= 1 and abs(int(resized[0, 0]) - 127) <= 1


def test_growing_is_bilinear():
    ramp = np.tile(np.linspace(0, 240, 5, dtype=np.float32), (4, 1))
    resized = resize_image(ramp, (8, 20))[..., 0].astype(float)
    centers = np.clip((np.arange(20) + 0.5) / 4 - 0.5, 0, 4)
    assert np.abs(resized - centers * 60).max() <= 1


def test_same_size_keeps_every_gray_level():
    image = noise(9, 13)
    assert np.array_equal(resize_image(image, (9, 13))[..., 0], image)


def test_values_are_rounded_and_clipped():
    image = np.array([[-3.0, 0.4], [254.6, 300.0]], np.float32)
    assert resize_image(image, (2, 2))[..., 0].tolist() == [[0, 0], [255, 255]]


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 5), 4000, np.uint16),
        np.zeros((4, 5, 1), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((1, 4, 5), np.uint8),
    ],
)
def test_what_is_no_gray_level_or_color_is_refused(image):
    with pytest.raises(ValueError, match=r"images are gray or RGB of 0 to 255, not uint"):
        resize_image(image, (2, 2))


@pytest.mark.parametrize(
    "image",
    [
        np.linspace(-1000, 3000, 20).reshape(4, 5),
        np.full((4, 5), -3, np.int16),
        np.where(np.eye(4, 5) > 0, np.nan, 7),
        np.eye(4, 5) > 0,
        np.full((4, 5), 7j),
        np.ma.masked_less(np.eye(4, 5) * 200, 1),
    ],
    ids=["Hounsfield", "negative", "nan", "bool", "complex", "masked"],
)
def test_numbers_that_would_be_cut_off_are_refused(image):
    with pytest.raises(ValueError, match="images are gray or RGB of 0 to 255, not "):
        resize_image(image, (2, 2))


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (np.ones((2, 16, 16), bool), r"the shape \(height, width\), not \(2, 16, 16\)"),
        (np.ones((16, 16, 1), bool), r"the shape \(height, width\), not \(16, 16, 1\)"),
        (np.ma.array(np.eye(16) > 0, mask=np.eye(16)), "masked pixels, under which something"),
    ],
)
def test_what_is_no_mask_is_not_resized(mask, told):
    """Several masks would be taken for the channels of one."""
    with pytest.raises(ValueError, match=told):
        resize_mask(mask, (8, 8))


@pytest.mark.parametrize("make", [np.ndarray.tolist, Image.fromarray])
def test_gray_levels_of_lists_and_pictures(make):
    levels = noise(6, 5).astype(np.uint8)
    found = gray_levels(make(levels))
    assert type(found) is np.ndarray and np.array_equal(found, levels)
    with pytest.raises(
        ValueError, match="NumPy makes no array of this list .* arrays of one shape"
    ):
        gray_levels([np.zeros((2, 3)), np.zeros((4, 3))])


def test_whole_numbers_that_floats_cannot_hold_are_refused():
    """Neighbors would become one, and smooth edges steps."""
    large = np.arange(20, dtype=np.int64).reshape(4, 5) + 2**60
    with pytest.raises(ValueError, match="too large for floating point; subtract the smallest"):
        gray_levels(large)
    small = large - large.min() + 300
    assert len(np.unique(gray_levels(small))) == 20


@pytest.mark.parametrize(
    ("shape", "channels", "equal"),
    [((10, 12), 1, True), ((10, 12), 3, True), ((10, 12, 3), 1, True), ((10, 12, 3), 3, False)],
)
def test_channels(shape, channels, equal):
    resized = resize_image(noise(*shape), (6, 5), channels)
    assert resized.shape == (6, 5, channels) and resized.dtype == np.uint8
    assert np.array_equal(resized[..., 0], resized[..., -1]) == equal


def test_color_becomes_luminance():
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3]], np.float32)
    gray = resize_image(colors, (1, 4))[0, :, 0]
    assert gray.tolist() == [76, 150, 29, 255]


# --- masks ----------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from([(2, 2), (3, 2), (1, 4), (4, 1), (5, 3)]))
@settings(deadline=None)
def test_mask_pixel_is_set_if_half_of_it_is(seed, factors):
    mask = np.random.default_rng(seed).random((5 * factors[0], 6 * factors[1])) < 0.5
    assert np.array_equal(resize_mask(mask, (5, 6)), blocks(mask, *factors) >= 0.5 - 1e-6)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
@settings(deadline=None)
def test_growing_mask_repeats_pixels(seed, rows, columns):
    mask = np.random.default_rng(seed).random((4, 6)) < 0.5
    expected = mask.repeat(rows, axis=0).repeat(columns, axis=1)
    assert np.array_equal(resize_mask(mask, (4 * rows, 6 * columns)), expected)


def test_a_mask_of_numbers_is_resized_as_the_same_in_bool():
    mask = np.random.default_rng(3).random((20, 24)) < 0.5
    for numbers in (mask * np.uint8(255), mask * 1, mask * 0.6):
        assert np.array_equal(resize_mask(numbers, (5, 6)), resize_mask(mask, (5, 6)))
    with pytest.raises(ValueError, match="masks must be bool, or have 0 and one other value, not"):
        resize_mask(mask + np.eye(20, 24), (5, 6))


def test_mask_that_shrinks_in_one_axis_and_grows_in_the_other():
    mask = np.zeros((4, 40), bool)
    mask[:, 15:22] = True
    expected = blocks(mask, 1, 10) >= 0.5
    assert np.array_equal(resize_mask(mask, (8, 4)), expected.repeat(2, axis=0))


@given(st.integers(0, 10**6), st.tuples(st.integers(1, 50), st.integers(1, 50)))
@settings(deadline=None)
def test_mask_stays_binary_and_full_and_empty_stay(seed, size):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 50, 2)
    resized = resize_mask(rng.random(shape) < 0.5, size)
    assert resized.dtype == bool and resized.shape == size
    assert resize_mask(np.ones(shape, bool), size).all()
    assert not resize_mask(np.zeros(shape, bool), size).any()


# --- cases ----------------------------------------------------------------------------------------


def test_rows_belong_to_their_cases():
    cases = [
        ArrayCase(str(level), np.full((10, 9), level, np.float32), np.full((10, 9), level % 2 == 1))
        for level in range(0, 200, 5)
    ]
    decoded = decode(cases, (4, 6))
    assert decoded.images.shape == (40, 4, 6, 1) and decoded.images.dtype == np.uint8
    assert decoded.masks.shape == (40, 4, 6) and decoded.masks.dtype == bool
    assert len(decoded) == 40
    for index, level in enumerate(range(0, 200, 5)):
        assert decoded.keys[index] == str(level)
        assert decoded.groups[index] == f"group of {level}"
        assert (decoded.images[index] == level).all()
        assert (decoded.masks[index] == (level % 2 == 1)).all()


def test_spacing_is_scaled_with_the_pixels():
    known = ArrayCase("a", np.zeros((100, 60), np.float32), np.zeros((100, 60), bool), (0.1, 0.2))
    unknown = ArrayCase("b")
    decoded = decode([known, unknown], (50, 120))
    assert decoded.spacings == ((0.2, 0.1), None)
    assert resized_spacing((0.1, 0.2), (100, 60), (100, 60)) == (0.1, 0.2)


def test_decoding_nothing():
    decoded = decode([], (8, 8), channels=3)
    assert len(decoded) == 0 and decoded.images.shape == (0, 8, 8, 3)


@pytest.mark.parametrize("action", [lambda cases: decode(cases, (4, 4)), foreground_shares])
def test_all_unusable_cases_are_listed_in_order(action):
    cases = [
        ArrayCase("good"),
        ArrayCase("bad", error=ValueError("z.png: not an image"), seconds=0.1),
        ArrayCase("gone", error=FileNotFoundError("a.png: no such file")),
    ]
    with pytest.raises(ValueError) as caught:
        action(cases)
    assert str(caught.value).splitlines() == [
        "2 of 3 cases cannot be used:",
        "  z.png: not an image",
        "  a.png: no such file",
    ]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (lambda levels: levels.astype(np.float32) / 255, lambda mask: mask.astype(np.uint8) * 255),
        (lambda levels: levels.astype(np.float64), lambda mask: mask.astype(np.float32)),
        (lambda levels: levels, lambda mask: mask.astype(np.float32) / 2),
    ],
)
def test_arrays_of_a_callers_own_cases_are_read_by_their_range(image, mask):
    levels = noise(16, 12).astype(np.uint8)
    own = ArrayCase("own", image(levels), mask(levels > 99))
    plain = decode([ArrayCase("plain", levels, levels > 99)], (8, 8))
    decoded = decode([own], (8, 8))
    assert abs(decoded.images.astype(int) - plain.images).max() <= 1
    assert np.array_equal(decoded.masks, plain.masks) and plain.masks.any()
    wide = decode([ArrayCase("own", levels.astype(np.uint16) * 257, levels > 99)], (8, 8))
    assert np.corrcoef(wide.images.ravel(), plain.images.ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"image": np.full((8, 8), np.nan, np.float32)}, "own: an image holds NaN"),
        ({"image": np.ones((8, 8, 1))}, r"own: image \(8, 8, 1\) and mask \(8, 8\)"),
        ({"image": None}, r"own: image \(\) and mask \(8, 8\)"),
        ({"mask": np.ones((4, 8), bool)}, r"own: image \(8, 8\) and mask \(4, 8\) are of"),
        ({"mask": np.arange(64).reshape(8, 8)}, "own: masks must be bool, or have 0 and"),
        ({"mask": np.where(np.eye(8), np.nan, 0)}, "own: masks must be bool, .* not 0, nan"),
        ({"mask": np.full((8, 8), "1")}, "own: masks must be bool, or have 0 and one other value"),
        ({"mask": np.ma.array(np.eye(8) > 0, mask=np.eye(8))}, "own: the arrays have masked pixel"),
        ({"spacing": ("0.5", "0.5")}, r"own: spacing must be \(row, column\) in mm"),
        ({"spacing": (3.0, 0.5, 0.5)}, r"own: spacing must be \(row, column\) in mm"),
        ({"spacing": (0.5, np.nan)}, r"own: spacing must be \(row, column\) in mm"),
        ({"spacing": 0.5}, r"own: spacing must be \(row, column\) in mm"),
    ],
)
def test_what_a_callers_own_cases_return_that_is_no_sample_is_named(wrong, told):
    with pytest.raises(ValueError, match=told):
        decode([ArrayCase("own", **wrong)], (4, 4))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (
            {"image": np.eye(8)},
            r"float64 images with values of 0 to 1 \(such as a\) and 0 to 255 .* b\)",
        ),
        ({"image": np.eye(8) * -3}, "float64 images with values of other ranges .* and 0 to 255"),
        (
            {"mask": np.eye(8) * 2},
            r"of the value 2 \(such as a\) and 1 \(such as b\), which may not",
        ),
    ],
)
def test_a_callers_own_cases_that_may_not_mean_the_same_are_refused(other, told):
    """A dark image would become bright, and two kinds of objects one."""
    image, mask = np.eye(8) * 200, np.eye(8) * 255
    same = [ArrayCase("b", image, mask), ArrayCase("c", image * 0, mask > 0)]
    assert len(decode([*same, ArrayCase("a", image.astype(np.uint8))], (8, 8))) == 3
    case = ArrayCase("a", **({"image": image, "mask": mask} | other))
    with pytest.raises(ValueError, match=told):
        decode([case, *same], (8, 8))


@dataclass(frozen=True)
class TwoObjects(ArrayCase):
    objects: Objects = Objects(("a", "b"))

    def __hash__(self):
        return hash(self.key)


def test_labels_of_a_callers_own_cases_are_those_of_its_objects():
    labels = np.eye(8) + 2 * np.eye(8, k=1)
    for same in (labels, labels.astype(np.int64), labels.astype(np.uint8)):
        assert np.array_equal(decode([TwoObjects("a", mask=same)], (8, 8)).masks[0], labels)
    for wrong in (labels * 2, -labels, labels / 2, labels > 0, labels * np.nan):
        with pytest.raises(
            ValueError, match=r"a: masks of 2 objects \(a, b\) must be uint8 of 0 to"
        ):
            decode([TwoObjects("a", mask=wrong)], (8, 8))


@pytest.mark.parametrize("mode", ["P", "HSV", "CMYK", "YCbCr", "LA"])
def test_pictures_of_pillow_whose_numbers_are_no_gray_levels_are_refused(mode):
    plain = Image.fromarray(noise(8, 8).astype(np.uint8))
    same, mask = decode([ArrayCase("a", plain)], (8, 8)).images, np.zeros((8, 8), bool)
    assert np.array_equal(same[0, ..., 0], plain)
    colored = plain.convert("RGB")
    other = (
        colored.quantize(4) if mode == "P" else (colored if mode != "LA" else plain).convert(mode)
    )
    with pytest.raises(ValueError, match=f"a: a picture of Pillow in mode {mode}, whose numbers"):
        decode([ArrayCase("a", other)], (8, 8))
    with pytest.raises(ValueError, match=f"picture of Pillow in mode {mode}.*; convert it to L or"):
        DecodedCases(("a",), ("a",), [other], mask[None], (None,))


def test_keys_that_are_no_text_are_named():
    with pytest.raises(ValueError, match="these names are not text, or have characters .*: 3$"):
        DataSet("own", (ArrayCase(3),), "none")


def test_errors_that_are_no_fault_of_a_file_are_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        decode([ArrayCase("bug", error=ZeroDivisionError())], (4, 4))


def test_foreground_shares():
    half = np.zeros((8, 8), bool)
    half[:4] = True
    assert foreground_shares([ArrayCase("a"), ArrayCase("b", mask=half)]) == {"a": 0.0, "b": 0.5}


def test_simulated_cases_decode():
    cases = load("simulated-ultrasound:2", size=64).cases
    decoded = decode(cases, (32, 32))
    assert decoded.masks.any() and decoded.images.std() > 5
