"""Engines: equal outputs, the cache, what is missing, common layers, tiles, memory."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import keras
import numpy as np
import onnxruntime
import pytest
from helpers import ROOT
from helpers.images import disc_images

from kerasunet import Segmenter, SideBySide, UNet, models
from kerasunet.files import read_json, sha256, write_json
from kerasunet.inference.engines import ENGINES, NetworkSource, open_engine
from kerasunet.inference.onnx_graph import to_onnx
from kerasunet.inference.segmenter import Tiling, predict_tiles
from kerasunet.network import folded, merged

NAMES = [name for name in ENGINES if name != "auto"]
IMAGES = disc_images(2, seed=5)[0][..., None]
MEBIBYTE = 2**20


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASUNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def with_random_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """Every weight away from its initial value, so that each one matters; variances positive."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights(
            [
                np.abs(weight + rng.normal(0, 0.2, weight.shape)) + 0.1
                if variable.name == "moving_variance"
                else weight + rng.normal(0, 0.05, weight.shape)
                for variable, weight in zip(layer.weights, layer.get_weights(), strict=True)
            ]
        )
    return model


def tiny(seed: int = 0, **settings) -> keras.Model:
    return with_random_weights(UNet(base_filters=4, depth=2, **settings), seed)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return tiny()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_engine_gives_the_probabilities_of_keras(name, network):
    wanted = network.predict_on_batch(IMAGES)
    engine = open_engine(network, (32, 32), name)
    assert engine.name == name
    assert np.ptp(wanted) > 0.05
    for images in (IMAGES, IMAGES.astype(np.float64)):
        found = engine(images)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["batch", "group", None])
def test_folding_changes_nothing_but_the_layers(normalization):
    network = tiny(normalization=normalization, input_shape=(None, None, 3), classes=2)
    plain = folded(network)
    images = np.random.default_rng(1).uniform(0, 255, (2, 16, 24, 3))
    wanted = network.predict_on_batch(images)
    np.testing.assert_allclose(plain.predict_on_batch(images), wanted, rtol=0, atol=1e-4)
    kinds = [type(layer) for layer in plain.layers if layer.name != "standardize"]
    assert keras.layers.BatchNormalization not in kinds
    assert (keras.layers.GroupNormalization in kinds) == (normalization == "group")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"normalization": "group", "classes": 3}])
def test_onnx_graph_takes_any_size_and_number_of_images(settings):
    network = tiny(input_shape=(None, None, 3), **settings)
    session = onnxruntime.InferenceSession(to_onnx(folded(network)).SerializeToString())
    for shape in ((1, 32, 32, 3), (3, 16, 40, 3)):
        images = np.random.default_rng(2).uniform(0, 255, shape).astype(np.float32)
        found = session.run(None, {"image": images})[0]
        wanted = network.predict_on_batch(images)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_a_layer_without_counterpart_is_named():
    image = keras.Input((8, 8, 1))
    other = keras.Model(image, keras.layers.AveragePooling2D(2, name="coarser")(image))
    with pytest.raises(ValueError, match="layer coarser: a AveragePooling2D"):
        to_onnx(other)


def test_wrong_images_and_engines_are_named(network):
    engine = open_engine(network, (32, 32), "openvino")
    for shape in ((1, 32, 16, 1), (32, 32, 1), (0, 32, 32, 1), (1, 32, 32, 3)):
        with pytest.raises(ValueError, match=r"\(count, 32, 32, 1\), not \("):
            engine(np.zeros(shape))
    with pytest.raises(ValueError, match="one of auto, openvino, .*, not 'tensorrt'"):
        open_engine(network, (32, 32), "tensorrt")


def test_kept_networks_are_told_apart_and_outlive_damage(network, cache):
    def opened(model):
        return open_engine(model, (32, 32), "openvino")(IMAGES)

    first, other = opened(network), opened(tiny(seed=1))
    assert np.abs(first - other).max() > 0.01
    assert len(list(cache.iterdir())) == 2
    for file in cache.iterdir():
        file.write_bytes(b"damaged")
    np.testing.assert_array_equal(opened(network), first)
    assert sorted(file.stat().st_size > 1000 for file in cache.iterdir()) == [False, True]


@pytest.mark.parametrize("place", ["off", "/proc/none"])
def test_without_a_cache_everything_works(place, network, cache, monkeypatch):
    monkeypatch.setenv("KERASUNET_CACHE", place)
    assert open_engine(network, (32, 32), "onnx")(IMAGES).shape == (2, 32, 32, 1)
    assert not cache.exists()


SEGMENT = """
import sys, numpy
from kerasunet import Segmenter
found = Segmenter(sys.argv[1])(sys.argv[2])
numpy.save(sys.argv[3], found.probability)
print(sorted({"keras", "tensorflow"} & set(sys.modules)))
"""


def in_new_process(code: str, *words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
def test_a_kept_network_opens_without_keras(tiny_model_file, tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), IMAGES[0])
    expected = Segmenter(tiny_model_file)(tmp_path / "image.png").probability
    done = in_new_process(SEGMENT, tiny_model_file, tmp_path / "image.png", tmp_path / "found.npy")
    assert done.stdout.strip() == "[]"
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), expected)


WITHOUT_ENGINES = """
import importlib.machinery, sys
class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = ("openvino", "onnxruntime", "onnx", "ai_edge_litert")
        return None if name in hidden else super().find_spec(name, path, target)
sys.meta_path = [Without if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
import numpy
from kerasunet import Segmenter
from kerasunet.inference.engines import installed_engines
print(installed_engines())
try:
    Segmenter(sys.argv[1], engine="openvino")
except ValueError as error:
    print(error)
segment = Segmenter(sys.argv[1])
print(segment.engine, segment(numpy.zeros((32, 32))).mask.shape)
"""


@pytest.mark.slow
def test_without_engines_keras_runs_and_the_others_name_the_extra(tiny_model_file):
    lines = in_new_process(WITHOUT_ENGINES, tiny_model_file).stdout.splitlines()
    assert lines == [
        "('keras',)",
        "engine openvino needs openvino and onnx, which is not installed: "
        'pip install "kerasunet[engines]"',
        "keras (32, 32)",
    ]


def test_a_changed_model_file_is_refused(tiny_model_file, tmp_path):
    changed = tmp_path / "model.keras"
    changed.write_bytes(tiny_model_file.read_bytes() + b"more")
    card = tiny_model_file.with_suffix(".json").read_text()
    changed.with_suffix(".json").write_text(card)
    with pytest.raises(ValueError, match="is not the file that model.json describes"):
        Segmenter(changed)


def sharing(network: keras.Model, changed: str) -> keras.Model:
    """A network that has learned anew in the layers whose names start so."""
    other = keras.models.clone_model(network)
    other.set_weights(network.get_weights())
    for layer in other.layers:
        if layer.weights and layer.name.startswith(changed):
            layer.set_weights([1.1 * weight for weight in layer.get_weights()])
    return other


@pytest.mark.slow
def test_layers_in_common_are_computed_once(network):
    networks = [network, sharing(network, "dec1"), sharing(network, "dec"), network]
    joined = merged([folded(one) for one in networks])
    kernels = [layer.name for layer in joined.layers if "enc1_conv1" in layer.name]
    assert len(kernels) == 1
    assert sum("dec2_conv1" in layer.name for layer in joined.layers) == 2
    assert sum("dec1_conv1" in layer.name for layer in joined.layers) == 3
    wanted = np.concatenate([one.predict_on_batch(IMAGES) for one in networks], axis=-1)
    np.testing.assert_allclose(joined.predict_on_batch(IMAGES), wanted, rtol=0, atol=1e-4)


def test_nothing_is_shared_behind_a_layer_that_differs(network):
    joined = merged([folded(network), folded(sharing(network, "enc1"))])
    assert sum("bottleneck_conv1" in layer.name for layer in joined.layers) == 2
    assert sum("standardize" in layer.name for layer in joined.layers) == 1


def test_networks_of_other_channels_cannot_run_as_one(network):
    with pytest.raises(ValueError, match=r"models of \[1, 3\] channels"):
        NetworkSource.of_many(
            [NetworkSource.of(network), NetworkSource.of(tiny(input_shape=(None, None, 3)))]
        )


@pytest.fixture(scope="module")
def strategies(tiny_model_file, tmp_path_factory):
    """The saved model, and two of its making that differ in the decoder, one of another size."""
    folder = tmp_path_factory.mktemp("strategies")
    paths = [tiny_model_file]
    for name, side in (("decoder", 32), ("larger", 48)):
        paths.append(folder / f"{name}.keras")
        sharing(models.load(tiny_model_file), "dec").save(paths[-1])
        card = read_json(tiny_model_file.with_suffix(".json"))
        facts = {**card, "sha256": sha256(paths[-1]), "image_size": side, "threshold": side / 100}
        write_json(paths[-1].with_suffix(".json"), facts)
    return paths


@pytest.mark.slow
def test_side_by_side_gives_what_each_model_gives_alone(strategies):
    image = np.random.default_rng(3).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    found = SideBySide(strategies)(image)
    assert list(found) == [str(path) for path in strategies]
    for path in strategies:
        alone = Segmenter(path)(image)
        np.testing.assert_allclose(
            found[str(path)].probability, alone.probability, rtol=0, atol=1e-5
        )
        np.testing.assert_array_equal(
            found[str(path)].mask, found[str(path)].probability >= Segmenter(path).threshold
        )
    with pytest.raises(ValueError, match="at least one model"):
        SideBySide([])


@pytest.mark.parametrize("shape", [(64, 64), (70, 131), (20, 90), (5, 7), (33, 64, 3)])
@pytest.mark.parametrize("overlap", [0, 8, 31])
def test_blended_tiles_are_the_image(shape, overlap):
    image = np.random.default_rng(4).uniform(0, 255, shape).astype(np.float32)
    sides = []

    def predict(tile):
        sides.append(tile.shape[:2])
        return tile.mean(axis=-1) / 255 if tile.ndim == 3 else tile / 255

    blended = predict_tiles(image, Tiling(32, overlap), predict)
    wanted = image.mean(axis=-1) / 255 if image.ndim == 3 else image / 255
    np.testing.assert_allclose(blended, wanted, rtol=0, atol=1e-5)
    assert set(sides) == {(32, 32)}


def test_neighboring_tiles_overlap_and_the_last_ends_at_the_border():
    starts = Tiling(32, 8).starts(100)
    assert starts[0] == 0
    assert starts[-1] == 68
    assert max(np.diff(starts)) <= 24


def test_tiles_leave_the_image_as_it_is(tiny_model_file):
    image = np.random.default_rng(6).integers(0, 256, (90, 70), dtype=np.uint8)
    found = Segmenter(tiny_model_file, tile=64, overlap=0)(image)
    alone = Segmenter(tiny_model_file, tile=64)(np.ascontiguousarray(image[:64, :64]))
    assert found.probability.shape == (90, 70)
    np.testing.assert_allclose(found.probability[:20, :5], alone.probability[:20, :5], atol=1e-6)


def test_tiles_that_do_not_fit_are_named(tiny_model_file):
    for settings, message in (
        ({"tile": 31}, "tile must be a multiple of 2 for this model, not 31"),
        ({"tile": 32, "overlap": 32}, "overlap must be 0 to 31 with tiles of 32, not 32"),
        ({"overlap": 4}, "overlap 4 needs tiles"),
    ):
        with pytest.raises(ValueError, match=message):
            Segmenter(tiny_model_file, **settings)


PEAK = """
import sys, numpy, psutil
from kerasunet import Segmenter
segment = Segmenter(sys.argv[1], tile=512)
segment(numpy.zeros((64, 64)))
idle = psutil.Process().memory_info().rss
found = segment(sys.argv[2])
status = open("/proc/self/status").read().split()
peak = int(status[status.index("VmHWM:") + 1]) * 1024
print(peak - idle, *found.mask.shape)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's count of memory")
def test_a_large_radiograph_stays_within_700_mb(tiny_model_file, tmp_path):
    rng = np.random.default_rng(7)
    small = rng.integers(0, 65536, (62, 77), dtype=np.uint16)
    radiograph = cv2.resize(small, (4892, 4020), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "radiograph.png"), radiograph)
    Segmenter(tiny_model_file, tile=512)
    used, height, width = in_new_process(
        PEAK, tiny_model_file, tmp_path / "radiograph.png"
    ).stdout.split()
    assert (int(height), int(width)) == (4020, 4892)
    assert int(used) < 700 * MEBIBYTE


def test_engines_may_be_called_from_several_threads(network):
    from concurrent.futures import ThreadPoolExecutor

    engine = open_engine(network, (32, 32), "openvino")
    batches = list(np.random.default_rng(8).integers(0, 256, (24, 1, 32, 32, 1)))
    wanted = [engine(batch) for batch in batches]
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        for found, expected in zip(pool.map(engine, batches), wanted, strict=True):
            np.testing.assert_array_equal(found, expected)
