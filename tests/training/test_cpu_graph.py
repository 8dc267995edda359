"""The network that trains in place of the model: the same losses, gradients and statistics."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from helpers.images import disc_images

from kerasunet.freezing import apply_strategy
from kerasunet.losses import dice_bce
from kerasunet.training import Optimization
from kerasunet.training.learner import cpu_graph, cut_before_training
from kerasunet.training.optimizer import compile_for_training
from kerasunet.unet import UNet

STEPS = 4
STRATEGIES = [
    "all",
    "contracting",
    "expanding",
    "shallow:2",
    "deep:2",
    "outer:1",
    "inner:1",
    "bottleneck",
    "norm",
    "head",
    "enc1_conv1",
    "dec1_norm2",
]


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    images, masks = disc_images(4)
    return images[..., None].astype("float32"), masks.reshape(*images.shape, 1).astype("float32")


@pytest.fixture
def precision(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def network(strategy: str, normalization: str | None = "batch") -> keras.Model:
    keras.utils.set_random_seed(2)
    model = UNet(base_filters=4, depth=2, normalization=normalization)
    rng = np.random.default_rng(2)  # Frozen normalizations that do something.
    for layer in model.layers:
        if "_norm" in layer.name:
            layer.set_weights([w + 0.2 * rng.uniform(size=w.shape) for w in layer.get_weights()])
    apply_strategy(model, strategy)
    return model


def losses(learner: keras.Model, inputs, masks, eagerly: bool = False) -> list[float]:
    """Of steps of plain gradient descent, which changes weights as much as gradients say.

    Eagerly there are two: the second starts from the weights and statistics of the first.
    """
    optimizer = keras.optimizers.SGD(0.01)
    learner.compile(optimizer, loss=dice_bce, jit_compile=False, run_eagerly=eagerly)
    return [float(learner.train_on_batch(inputs, masks)) for _ in range(2 if eagerly else STEPS)]


def load(path) -> keras.Model:
    return keras.models.load_model(path, compile=False)


def layer_types(model: keras.Model) -> set[str]:
    return {type(layer).__name__ for layer in model._flatten_layers()}


EAGER = [(strategy, "batch") for strategy in STRATEGIES] + [
    (strategy, normalization)
    for normalization in ("group", None)
    for strategy in ("all", "contracting", "inner:1")
]
QUICK = [("all", "batch"), ("expanding", "batch"), ("contracting", "group"), ("inner:1", None)]
COMPILED = [("expanding", "batch"), ("contracting", "group")]


@pytest.mark.parametrize(
    ("strategy", "normalization", "eagerly"),
    [
        *((*pair, True) for pair in QUICK),
        *(pytest.param(*pair, True, marks=pytest.mark.slow) for pair in EAGER if pair not in QUICK),
        *(pytest.param(*pair, False, marks=pytest.mark.slow) for pair in COMPILED),
    ],
)
def test_trains_as_the_model_does(strategy, normalization, eagerly, batch):
    plain, model = network(strategy, normalization), network(strategy, normalization)
    before = model.get_weights()
    expected = losses(plain, *batch, eagerly)
    found = losses(cpu_graph(model), *batch, eagerly)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    for start, one, other in zip(before, plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)
        assert np.array_equal(start, one) == np.array_equal(start, other)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["expanding", "deep:2", "inner:1"])
def test_the_part_after_a_cut_trains_as_the_model_does(strategy, batch):
    images, masks = batch
    plain, model = network(strategy), network(strategy)
    cut = cut_before_training(model)
    activations = keras.tree.flatten(cut.frozen.predict_on_batch(images))
    expected = losses(plain, images, masks, eagerly=True)
    found = losses(cpu_graph(cut.trained), activations, masks, eagerly=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    for one, other in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("strategy", ["all", "contracting"])
def test_half_precision_trains_as_the_model_does(strategy, precision, batch):
    plain, model = network(strategy), network(strategy)
    expected, found = losses(plain, *batch), losses(cpu_graph(model), *batch)
    np.testing.assert_allclose(found, expected, rtol=2e-2)
    assert found[-1] < found[0]


@pytest.mark.slow
def test_answers_as_the_model_does_when_it_does_not_train(batch):
    model = network("expanding")
    learner = cpu_graph(model)
    losses(learner, *batch, eagerly=True)
    found, expected = learner.predict_on_batch(batch[0]), model.predict_on_batch(batch[0])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_only_what_can_be_done_cheaper_is_replaced():
    everything = layer_types(cpu_graph(network("all")))
    assert "_FusedNormalization" in everything
    assert "_ConvolutionOfSkip" not in everything
    names = {layer.name for layer in cpu_graph(network("contracting")).layers}
    assert {"enc1_norm1_fused", "dec1_conv1_folded", "dec1_conv2_folded"} <= names
    assert not {"dec1_norm1", "dec1_norm1_fused", "enc1_conv1_folded"} & names
    names = {layer.name for layer in cpu_graph(network("expanding")).layers}
    assert {"dec1_conv1_of_skip", "dec2_conv1_of_skip", "enc2_conv1_folded"} <= names


@pytest.mark.slow
def test_the_model_and_its_file_stay_plain_keras(batch, tmp_path):
    model = network("expanding")
    compile_for_training(model, Optimization())
    untouched = tmp_path / "before.keras"
    keras.Model(model.inputs, model.outputs[0], name="unet").save(untouched)
    losses(cpu_graph(model), *batch, eagerly=True)
    model.save(tmp_path / "after.keras")
    before, after = (load(tmp_path / f"{name}.keras") for name in ("before", "after"))
    assert [layer.name for layer in after.layers] == [layer.name for layer in before.layers]
    assert all(type(layer).__module__.startswith("keras.") for layer in after.layers)
    np.testing.assert_array_equal(
        after.predict_on_batch(batch[0]), model.predict_on_batch(batch[0])
    )
