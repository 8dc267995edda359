"""Image file in, mask of the same size out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from kerasunet import Segmenter, SideBySide, UNet, models


@pytest.fixture(scope="module")
def segment(tiny_model_file) -> Segmenter:
    return Segmenter(tiny_model_file)


def test_mask_has_the_size_of_the_image(segment, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (75, 113), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image)
    found = segment(tmp_path / "image.png")
    assert found.mask.shape == found.probability.shape == (75, 113)
    assert found.mask.dtype == bool
    np.testing.assert_array_equal(found.mask, found.probability >= segment.threshold)
    assert found.area_pixels == found.mask.sum()
    assert found.area_mm2 is None


def test_array_and_file_give_the_same_answer(segment, tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])
    np.testing.assert_array_equal(
        segment(tmp_path / "image.png").probability, segment(image).probability
    )


def test_at_the_training_size_it_is_the_models_own_output(segment, tiny_model_file):
    image = np.random.default_rng(2).integers(0, 256, (32, 32), dtype=np.uint8)
    expected = models.load(tiny_model_file).predict_on_batch(image[None, ..., None])[0, ..., 0]
    np.testing.assert_allclose(segment(image).probability, expected, atol=1e-5)


def test_threshold_is_the_callers_if_given(tiny_model_file):
    image = np.random.default_rng(3).integers(0, 256, (32, 32), dtype=np.uint8)
    assert Segmenter(tiny_model_file, threshold=0.0)(image).mask.all()
    assert not Segmenter(tiny_model_file, threshold=1.0)(image).mask.any()


def test_wrong_shape_is_named(segment):
    with pytest.raises(ValueError, match=r"not \(2, 3, 4, 5\)"):
        segment(np.zeros((2, 3, 4, 5)))


def test_a_list_or_bytes_for_a_model_or_an_image_are_named(segment, tiny_model_file):
    for given in ([tiny_model_file], b"natural", None):
        with pytest.raises(TypeError, match=r"one model \(SideBySide takes several\) by its name"):
            Segmenter(given)
    with pytest.raises(TypeError, match="weights by its name or path, not as list"):
        UNet(weights=[tiny_model_file])
    for given in (str(tiny_model_file), tiny_model_file):
        with pytest.raises(TypeError, match="give a list of models, not .*model.keras alone"):
            SideBySide(given)
    with pytest.raises(TypeError, match="array of NumPy or else by its name or path, not as list"):
        segment(["a.png", "b.png"])
    with pytest.raises(TypeError, match="one image, as an array of NumPy or else .* not as Image"):
        segment(Image.new("P", (32, 32)))


@pytest.mark.parametrize("kind", [np.asmatrix, np.ma.array, np.asfortranarray])
def test_arrays_of_other_kinds_give_the_same_answer(segment, kind):
    """Also at the size of training, at which nothing is resized."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    found = segment(kind(image))
    np.testing.assert_array_equal(found.probability, segment(image).probability)
    assert type(found.image) is np.ndarray


def test_mirror_is_the_mean_of_both_views(segment, tiny_model_file):
    image = np.random.default_rng(5).uniform(0, 255, (40, 56)).astype(np.float32)
    both = [segment(image).probability, segment(image[:, ::-1]).probability[:, ::-1]]
    found = Segmenter(tiny_model_file, flip=True)(image).probability
    np.testing.assert_allclose(found, np.mean(both, axis=0), atol=1e-6)
    assert np.abs(both[0] - both[1]).max() > 1e-4
    np.testing.assert_allclose(
        Segmenter(tiny_model_file, flip=True)(image[:, ::-1]).probability,
        found[:, ::-1],
        atol=1e-6,
    )


def test_a_file_of_several_frames_wants_the_frame_named(segment, tiny_model_file, tmp_path):
    pages = np.random.default_rng(6).integers(0, 256, (3, 40, 48), dtype=np.uint8)
    first, *others = map(Image.fromarray, pages)
    first.save(tmp_path / "loop.tif", save_all=True, append_images=others)
    compare = SideBySide([tiny_model_file])
    for call in (segment, compare):
        with pytest.raises(ValueError, match=r"loop\.tif: it has 3 frames; say which: frame 0 to"):
            call(tmp_path / "loop.tif")
    expected = segment(pages[2]).probability
    np.testing.assert_array_equal(segment(tmp_path / "loop.tif", frame=2).probability, expected)
    (found,) = compare(tmp_path / "loop.tif", frame=2).values()
    np.testing.assert_allclose(found.probability, expected, atol=1e-5)
    with pytest.raises(ValueError, match="frame 1 of an array: give the array of that frame"):
        segment(pages[2], frame=1)
    with pytest.raises(
        ValueError, match="frame must be a whole number, not .1.; leave out the quotes"
    ):
        segment(tmp_path / "loop.tif", frame="1")


@pytest.mark.parametrize(
    "change",
    [
        lambda levels: levels / 255,
        lambda levels: (levels / 255).astype(np.float32),
        lambda levels: levels.astype(np.uint16) * 256,
        lambda levels: levels.astype(np.int32) * 8 - 1000,
        lambda levels: (levels - levels.mean()) / levels.std(),
    ],
    ids=["0 to 1", "0 to 1 float32", "16 bits", "Hounsfield units", "standardized"],
)
def test_arrays_of_other_ranges_give_nearly_the_same_probabilities(segment, change):
    levels = np.random.default_rng(4).integers(0, 256, (64, 64)).astype(np.uint8)
    expected = segment(levels).probability
    found = segment(change(levels))
    assert np.abs(found.probability - expected).max() < 0.02
    assert np.ptp(found.image) == pytest.approx(255, abs=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": "0.5"}, "threshold must be a number, not '0.5'; leave out the quotes"),
        ({"threshold": True}, "threshold must be a number, not True"),
        ({"tile": "32"}, "tile must be a whole number, not '32'; leave out the quotes"),
        ({"tile": 32, "overlap": [8]}, "overlap must be a whole number, not .8,."),
        ({"flip": "no"}, "flip must be True or False, not 'no'"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(tiny_model_file, given, message):
    with pytest.raises(ValueError, match=message):
        Segmenter(tiny_model_file, **given)


def test_numbers_of_numpy_are_taken_for_tiles_and_threshold(tiny_model_file):
    image = np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)
    numpy = {"threshold": np.float64(0.5), "tile": np.int64(32), "overlap": np.uint8(8)}
    plain = {"threshold": 0.5, "tile": 32.0, "overlap": 8}
    first, second = (Segmenter(tiny_model_file, **given)(image) for given in (numpy, plain))
    np.testing.assert_array_equal(first.probability, second.probability)
