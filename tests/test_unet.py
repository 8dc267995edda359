"""The model contract: sizes, names, ranges, standardization, parameter counts, errors."""

from __future__ import annotations

import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from kerasunet import UNet, models
from kerasunet.architecture import Architecture
from kerasunet.freezing import layout_of
from kerasunet.network import dtype_policy, plain_copy, rebuilt


@pytest.mark.slow
def test_paper_size_network_has_31_million_parameters():
    """Two 3×3 convolutions a block, 2×2 up-convolutions, a 1×1 head, all with bias."""
    filters = [64, 128, 256, 512, 1024]
    expected, before = 0, 1
    for width in filters:
        expected += 9 * before * width + width + 9 * width * width + width
        before = width
    for width in reversed(filters[:-1]):
        expected += 4 * (2 * width) * width + width
        expected += 9 * (2 * width) * width + width + 9 * width * width + width
    expected += 64 + 1
    model = UNet((256, 256, 1), base_filters=64, normalization=None)
    assert model.count_params() == expected == 31_030_593


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "channels", "classes", "normalization"),
    [
        *((2, 1, 1, normalization) for normalization in ("batch", "group", None)),
        (1, 1, 1, "group"),
        (3, 1, 1, None),
        (5, 1, 1, "batch"),
        (2, 3, 1, "group"),
        (2, 1, 4, "batch"),
    ],
)
def test_output_is_a_probability_of_the_same_size(depth, channels, classes, normalization):
    model = UNet((None, None, channels), 3, depth, classes=classes, normalization=normalization)
    size = (2 * 2**depth, 3 * 2**depth)
    images = np.random.default_rng(0).uniform(0, 255, (2, *size, channels))
    output = model.predict_on_batch(images)
    assert output.shape == (2, *size, classes)
    assert output.dtype == np.float32
    assert output.min() >= 0
    assert output.max() <= 1
    if classes > 1:
        np.testing.assert_allclose(output.sum(-1), 1, atol=1e-5)


def test_only_built_in_layers_named_after_their_block():
    model = UNet(depth=2, base_filters=4)
    blocks = ("enc1_", "enc2_", "bottleneck_", "dec2_", "dec1_")
    others = {"image", "standardize", "head", "probability"}
    for layer in model.layers:
        assert type(layer).__module__.startswith("keras."), layer.name
        assert layer.name.startswith(blocks) or layer.name in others


def test_every_gray_level_format_gives_the_same_answer():
    model = UNet(depth=1, base_filters=4)
    levels = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 1))
    expected = model.predict_on_batch(levels.astype(np.float32))
    for dtype in (np.uint8, np.float16, np.float64):
        np.testing.assert_allclose(
            model.predict_on_batch(levels.astype(dtype)), expected, atol=1e-6
        )


def test_brightness_and_contrast_of_the_whole_image_do_not_matter():
    model = UNet(depth=2, base_filters=4)
    image = np.random.default_rng(2).uniform(60, 120, (1, 32, 32, 1))
    changed = 20 + 1.7 * image
    np.testing.assert_allclose(
        model.predict_on_batch(image), model.predict_on_batch(changed), atol=2e-3
    )


def test_constant_image_gives_finite_output():
    for level in (0, 128, 255):
        output = UNet(depth=1, base_filters=2).predict_on_batch(np.full((1, 8, 8, 1), level))
        assert np.isfinite(output).all()


def test_architecture_is_read_back_from_a_model():
    for normalization in ("batch", "group", None):
        model = UNet((None, None, 3), 6, 3, classes=2, normalization=normalization)
        shape = Architecture(base_filters=6, depth=3, normalization=normalization, channels=3)
        assert Architecture.of(model) == shape
        assert layout_of(model) == shape.layout()
        again = shape.build(2)
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
        assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


def test_architecture_is_known_without_keras():
    code = (
        "import sys; from kerasunet.architecture import Architecture; "
        "assert len(Architecture(depth=2).layout().blocks) == 5; "
        "assert Architecture(depth=3).size_multiple == 8; "
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("normalization", ["batch", "group", None])
def test_plain_copy_of_a_mixed_precision_network_is_float32_and_trains_whole(normalization):
    from kerasunet import set_trainable

    with dtype_policy("mixed_bfloat16"):
        model = UNet((16, 16, 3), 4, 2, classes=2, normalization=normalization, name="mixed")
        set_trainable(model, "deep:1")
        copy = plain_copy(model)
        assert rebuilt(copy).get_layer("enc1_conv1").compute_dtype == "bfloat16"
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert copy.name == "mixed" and copy.input_shape == (None, 16, 16, 3)
    assert not copy.compiled and all(layer.trainable for layer in copy.layers)
    for mine, theirs in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth must be a whole number of at least 1. Received: 0"),
        ({"base_filters": 1.5}, "base_filters must be a whole number"),
        ({"normalization": "layer"}, '"batch", "group" or None. Received: \'layer\''),
        ({"input_shape": (None, None, 2)}, "1 or 3 channels"),
        ({"input_shape": (100, 96, 1)}, r"multiples of 2\*\*depth = 16"),
        ({"weights": "imagenet"}, "neither a registered model nor a .keras file"),
        ({"trainable": "shallow:12"}, "shallow:12: this U-Net has 9 blocks, so K must be 1 to 9"),
    ],
)
def test_errors_name_what_was_given(arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        UNet(**arguments)


@pytest.mark.slow
def test_weights_of_a_file_are_taken_over_and_the_head_only_if_it_fits(tiny_model_file):
    source = keras.models.load_model(tiny_model_file)
    same = UNet(base_filters=4, depth=1, weights=tiny_model_file)
    image = np.random.default_rng(3).uniform(0, 255, (1, 32, 32, 1))
    np.testing.assert_array_equal(same.predict_on_batch(image), source.predict_on_batch(image))

    more_classes = UNet(base_filters=4, depth=1, classes=3, weights=tiny_model_file)
    np.testing.assert_array_equal(
        more_classes.get_layer("dec1_conv2").get_weights()[0],
        source.get_layer("dec1_conv2").get_weights()[0],
    )
    assert more_classes.get_layer("head").kernel.shape == (1, 1, 4, 3)


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_head_of_as_many_channels_that_mean_other_things_is_new(tmp_path, overlapping):
    """The first of exclusive classes is the background, of overlapping objects an object."""
    shape = {"base_filters": 2, "depth": 1, "classes": 3}
    source = UNet(**shape, overlapping=overlapping)
    source.save(path := tmp_path / "three.keras")
    for other in (overlapping, not overlapping):
        taken = UNet(**shape, overlapping=other, weights=path)
        for name, same in (("enc1_conv1", True), ("head", other == overlapping)):
            kernels = [model.get_layer(name).kernel.numpy() for model in (source, taken)]
            assert np.array_equal(*kernels) == same, name


def test_weights_of_another_architecture_are_refused(tiny_model_file):
    with pytest.raises(ValueError, match="layer enc1_conv1 has weights of shape"):
        UNet(base_filters=8, depth=1, weights=tiny_model_file)
    with pytest.raises(ValueError, match="a different architecture"):
        UNet(base_filters=4, depth=2, weights=tiny_model_file)


def test_h5_weights_make_the_round_trip(tiny_model_file, tmp_path):
    source = keras.models.load_model(tiny_model_file)
    path = tmp_path / "unet.weights.h5"
    models.save_weights(source, path)
    copy = UNet(base_filters=4, depth=1, weights=path)
    for mine, theirs in zip(copy.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with h5py.File(path) as file:
        sizes = []
        file.visititems(lambda _, item: sizes.append(getattr(item, "size", 0)))
        assert sum(sizes) == source.count_params()
    with pytest.raises(ValueError, match="do not fit this U-Net"):
        UNet(base_filters=8, depth=1, weights=path)
    with pytest.raises(ValueError, match=r"ends in \.weights\.h5"):
        models.save_weights(source, tmp_path / "unet.h5")


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, "natural"])
def test_a_whole_model_in_hdf5_predicts_the_same(tmp_path, name):
    """Keras forgets the axes of a layer normalization there; shipped files still have one."""
    model = UNet(base_filters=2, depth=1) if name is None else models.load(name)
    model.save(str(tmp_path / "model.h5"))
    opened = keras.models.load_model(tmp_path / "model.h5")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1))
    np.testing.assert_array_equal(opened.predict_on_batch(images), model.predict_on_batch(images))


def test_channels_first_in_keras_json_changes_nothing():
    wanted = UNet((32, 32, 1), base_filters=2, depth=1).get_config()
    keras.config.set_image_data_format("channels_first")
    try:
        model = UNet((32, 32, 1), base_filters=2, depth=1)
        assert model(np.zeros((1, 32, 32, 1))).shape == (1, 32, 32, 1)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [layer["config"].get("data_format") for layer in model.get_config()["layers"]] == [
        layer["config"].get("data_format") for layer in wanted["layers"]
    ]


def test_numbers_of_numpy_and_paths_are_taken(tiny_model_file):
    four, one = np.int64(4), np.int32(1)
    model = UNet((np.int64(32), 32, np.int64(1)), four, one, weights=tiny_model_file)
    assert model.count_params() == UNet(base_filters=4, depth=1).count_params()
