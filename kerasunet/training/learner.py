"""The network whose steps train a model, made to compute nothing twice and nothing in vain.

It shares its trained variables and moving statistics with the model, and that one is what is
validated and saved. `Network` compiles it once for many trainings. Where the beginning is frozen
and each image has few views, it is cut off, and its activations are cached.

On CPUs, three things that Keras' layers compute in each step are left out, or done faster by one
operation of TensorFlow:

- a batch normalization that trains is `_FusedNormalization`, which passes over its input once,
  where Keras takes moments, shifts and scales one after the other;
- a frozen batch normalization is folded into the frozen convolution before it;
- gradients of skips that come from a frozen contracting path are not computed: TensorFlow would
  take those of both halves of the concatenation, then drop one.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from kerasunet.backend import on_plain_tensorflow
from kerasunet.data.augmentation import Batches, View
from kerasunet.data.augmentation_settings import Augmentation
from kerasunet.data.decoding import DecodedCases
from kerasunet.files import writing
from kerasunet.freezing import Description, apply_strategy, describe, moves_statistics
from kerasunet.network import folded_weights, plain_copy
from kerasunet.strategies import Strategy
from kerasunet.training.optimizer import compile_for_training, compile_with
from kerasunet.training.settings import Optimization

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

_FUSED_DTYPES = ("float32", "bfloat16")


class Network:
    """A network with its initial weights, and what was compiled for its training.

    Building and compiling take seconds, and depend neither on the images nor on their order.

    Args:
        model: The network that fine-tuning starts from.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.layers: Description | None = None
        self._learner: keras.Model | None = None
        self._in_float32: keras.Model | None = None
        self._initial: list[tuple[keras.Variable, np.ndarray]] = []

    def set_up(self, strategy: Strategy, optimization: Optimization) -> Description:
        """Freeze by a strategy and compile, unless that is done; return what trains."""
        if self.layers is None:
            apply_strategy(self.model, strategy)
            self.layers = describe(self.model)
            variables = list(self.model.weights)
            if self.layers.changes:
                compile_for_training(self.model, optimization)
                variables += self.model.optimizer.variables
            self._initial = [(v, keras.ops.convert_to_numpy(v.value)) for v in variables]
        return self.layers

    def learner(self) -> keras.Model:
        """Return the network whose steps train the model: compiled once, good for many runs."""
        self._learner = self._learner or learner_of(self.model)
        return self._learner

    def fit(
        self,
        training: DecodedCases,
        *,
        optimization: Optimization,
        augmentation: Augmentation,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        """Train from the initial weights, all steps in one go; weights may become NaN or infinite.

        Args:
            training: Training cases; none are needed where nothing trains.
            optimization: As given to `set_up`, which comes first; only the seed may differ.
            augmentation: How far the views differ from the images.
            on_step: Called after every step.
        """
        self.reset()
        if self.layers is None or not self.layers.changes:
            return
        batches = Batches(training, optimization.batch_size, augmentation, seed=optimization.seed)
        for images, masks in batches.steps(0, optimization.steps):
            self.learner().train_on_batch(images, masks)
            if on_step is not None:
                on_step()

    def in_float32(self) -> keras.Model:
        """Return a network with the present weights that computes in float32."""
        if all(layer.dtype_policy.name == "float32" for layer in self.model.layers):
            return self.model
        self._in_float32 = self._in_float32 or plain_copy(self.model)
        self._in_float32.set_weights(self.model.get_weights())
        return self._in_float32

    def reset(self) -> None:
        """Return to the initial weights and a fresh optimizer."""
        for variable, value in self._initial:
            variable.assign(value)
        if self._learner is not None:
            self._learner.reset_metrics()


def learner_of(model: keras.Model, part: keras.Model | None = None) -> keras.Model:
    """Return the network whose steps train a model.

    Args:
        model: Compiled by `compile_for_training`.
        part: What is left of it after a cut; all of it unless given.

    Returns:
        The model itself, or one that shares its variables and optimizer and costs less. Frozen
        weights of the model must not be set to others while it is in use.
    """
    part = model if part is None else part
    part = cpu_graph(part) if on_plain_tensorflow() else part
    if part is not model:
        compile_with(part, model.optimizer)
    return part


class Cut(NamedTuple):
    """A network in two parts that share their layers with it.

    Attributes:
        frozen: From the image to everything that the other part takes from this one.
        trained: From there to the output; it starts with the first layer that trains.
    """

    frozen: keras.Model
    trained: keras.Model


def cut_before_training(model: keras.Model) -> Cut | None:
    """Cut a functional model before the first layer that trains.

    Args:
        model: Layers in the order of data flow, each called once; some weights train.

    Returns:
        The two parts; `None` if no weights lie before the cut, so that nothing would be saved.
    """
    layers = model.layers
    first = next(
        i for i, layer in enumerate(layers) if layer.trainable_weights or moves_statistics(layer)
    )
    if not any(layer.weights for layer in layers[:first]):
        return None
    wanted = {id(t) for layer in layers[first:] for t in keras.tree.flatten(layer.input)}
    crossing = [layer.output for layer in layers[:first] if id(layer.output) in wanted]
    return Cut(keras.Model(model.input, crossing), keras.Model(crossing, model.output))


class ActivationCache:
    """Batches as the trained part of a cut network takes them; the frozen part runs once per view.

    Activations lie in an unnamed file, mapped into memory: the system keeps in memory what fits,
    and the file is gone with the process, however it ends.

    Args:
        batches: The batches of images; their views must be limited.
        frozen: The frozen part.
        folder: Where the unnamed file lies; its disk holds all activations of all views.

    Raises:
        ValueError: The views of the batches are not limited.
    """

    def __init__(self, batches: Batches, frozen: keras.Model, folder: Path):
        if batches.views is None:
            raise ValueError(
                "activations can be cached only for a limited number of views; set views"
            )
        self._batches, self._frozen, self._folder = batches, frozen, folder
        self._most = len(batches) * batches.views
        self._rows: dict[View, int] = {}  # Of those computed, in the arrays.
        self._arrays: list[np.ndarray] = []

    def steps(self, first: int, last: int) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        """Make the batches of steps `first` to `last - 1`: activations, and masks."""
        for step in range(first, last):
            views = self._batches.views_of(step)
            if new := [view for view in dict.fromkeys(views) if view not in self._rows]:
                self._compute(new)
            rows = [self._rows[view] for view in views]
            *activations, masks = (array[rows] for array in self._arrays)
            yield activations, masks

    def _compute(self, views: Sequence[View]) -> None:
        images, masks = self._batches.draw(views)
        activations = keras.tree.flatten(self._frozen.predict_on_batch(images))
        arrays = [np.asarray(values, np.float32) for values in (*activations, masks)]
        self._arrays = self._arrays or [self._room(array.shape[1:]) for array in arrays]
        known = len(self._rows)
        for kept, array in zip(self._arrays, arrays, strict=True):
            kept[known : known + len(views)] = array
        self._rows |= {view: known + index for index, view in enumerate(views)}

    def _room(self, shape: tuple[int, ...]) -> np.ndarray:
        with writing(self._folder), tempfile.TemporaryFile(dir=self._folder) as file:
            room = np.memmap(file, np.float32, "w+", shape=(self._most, *shape))
            # A full disk has to show now: later, the system would end the process without a word.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, room.nbytes)
            return room


def cpu_graph(model: keras.Model) -> keras.Model:
    """Return the network that trains in place of another one on TensorFlow, by fewer operations.

    Args:
        model: A functional model whose trainable flags are set; each layer is called once.

    Returns:
        An uncompiled model of the same inputs and outputs. Its steps change the variables of
        `model`; frozen weights are copied, so that they must not be set to others meanwhile.
    """
    uncompiled = keras.Model(model.input, model.output)
    return keras.models.clone_model(
        uncompiled, clone_function=lambda layer: layer, call_function=_Graph(model).call
    )


class _Graph:
    """Calls the layers of a network on new tensors, in cheaper forms where there are any."""

    def __init__(self, model: keras.Model):
        self._folded = dict(_frozen_pairs(model.layers))
        self._done_before = {id(norm) for norm in self._folded.values()}
        self._learning: set[int] = set()  # Tensors that depend on trained weights.
        self._joined: dict[int, tuple] = {}  # Skip and upsampled tensor of a concatenation.
        self._kept: list = []  # The ids above stay those of living tensors.

    def call(self, layer: keras.Layer, inputs, **_):
        output = self._cheaper(layer, inputs)
        learns = any(id(t) in self._learning for t in keras.tree.flatten(inputs))
        if learns or layer.trainable_weights:
            self._learning.add(id(output))
        self._kept.append(output)
        return output

    def _cheaper(self, layer: keras.Layer, inputs):
        if isinstance(layer, keras.layers.Concatenate):
            return self._concatenated(layer, inputs)
        if isinstance(layer, keras.layers.BatchNormalization):
            return inputs if id(layer) in self._done_before else _normalization(layer)(inputs)
        if not _is_convolution(layer):
            return layer(inputs)
        norm = self._folded.get(layer)
        convolution = layer if norm is None else _with_normalization(layer, norm)
        if id(inputs) in self._joined:
            return _ConvolutionOfSkip(convolution)(self._joined[id(inputs)])
        return convolution(inputs)

    def _concatenated(self, layer: keras.layers.Concatenate, inputs):
        output = layer(inputs)
        skip, up = inputs
        if id(skip) not in self._learning and id(up) in self._learning:
            self._joined[id(output)] = (skip, up)
        return output


def _frozen_pairs(layers: Sequence[keras.Layer]):
    """Frozen convolutions, and the frozen batch normalizations that alone take their output."""
    takers = Counter(
        id(tensor)
        for layer in layers
        if not isinstance(layer, keras.layers.InputLayer)
        for tensor in keras.tree.flatten(layer.input)
    )
    for norm in layers:
        if isinstance(norm, keras.layers.BatchNormalization) and not norm.trainable:
            before = norm.input._keras_history.operation
            frozen = _is_convolution(before) and not before.trainable_weights
            if frozen and takers[id(before.output)] == 1 and _is_plain(norm):
                yield before, norm


def _is_convolution(layer) -> bool:
    """Whether it is a 2-D convolution as the U-Net has them, 3×3, all else at its default."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.strides == (1, 1)
        and layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.padding == "same"
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
    )


def _with_normalization(
    layer: keras.layers.Conv2D, norm: keras.layers.BatchNormalization
) -> keras.layers.Conv2D:
    """One frozen convolution that does what the normalization after it did, too."""
    settings = {"name": f"{layer.name}_folded", "use_bias": True, "trainable": False}
    folded = keras.layers.Conv2D.from_config({**layer.get_config(), **settings})
    folded.build(layer.input.shape)
    folded.set_weights(folded_weights(layer, norm))
    return folded


def _is_plain(norm: keras.layers.BatchNormalization) -> bool:
    """Whether it scales and shifts channels, which come last, as the U-Net's do."""
    special = norm.renorm or norm.synchronized
    return norm.scale and norm.center and norm.axis in (-1, 3) and not special


def _normalization(layer: keras.layers.BatchNormalization) -> keras.Layer:
    can_be_fused = _is_plain(layer) and layer.compute_dtype in _FUSED_DTYPES
    return _FusedNormalization(layer) if can_be_fused and layer.trainable else layer


class _FusedNormalization(keras.Layer):
    """A batch normalization that trains, as one operation; the variables are those of `norm`."""

    def __init__(self, norm: keras.layers.BatchNormalization):
        super().__init__(name=f"{norm.name}_fused", dtype=norm.dtype_policy)
        self.norm = norm
        self.built = True

    def call(self, inputs, training=None):
        if not training:
            return self.norm(inputs, training=False)
        norm = self.norm
        nothing = tf.zeros([0])  # Statistics of the batch itself are wanted.
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(norm.gamma),
            offset=tf.convert_to_tensor(norm.beta),
            mean=nothing,
            variance=nothing,
            epsilon=norm.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], variance.dtype)
        biased = variance * (count - 1.0) / count  # As Keras keeps it.
        for kept, new in ((norm.moving_mean, mean), (norm.moving_variance, biased)):
            kept.assign(kept * norm.momentum + new * (1.0 - norm.momentum))
        return outputs

    def compute_output_shape(self, input_shape):
        return input_shape


class _ConvolutionOfSkip(keras.Layer):
    """A convolution of a skip and an upsampled tensor, without gradients for the skip."""

    def __init__(self, convolution: keras.layers.Conv2D):
        super().__init__(name=f"{convolution.name}_of_skip", dtype=convolution.dtype_policy)
        self.convolution = convolution
        self.built = True

    def call(self, inputs):
        skip, up = inputs
        kernel = keras.ops.cast(self.convolution.kernel, up.dtype)
        outputs = tf.custom_gradient(_convolved)(skip, up, kernel)
        if self.convolution.use_bias:
            outputs = outputs + keras.ops.cast(self.convolution.bias, up.dtype)
        return outputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[1][:-1], self.convolution.filters)


def _convolved(skip, up, kernel):
    """Return the convolution of both, and its gradients for `tf.custom_gradient`."""
    joined = tf.concat([skip, up], axis=-1)
    how = {"strides": [1, 1, 1, 1], "padding": "SAME"}

    def gradients(upstream):
        of_up = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(up),
            filter=kernel[:, :, skip.shape[-1] :],
            out_backprop=upstream,
            **how,
        )
        of_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=joined, filter_sizes=tf.shape(kernel), out_backprop=upstream, **how
        )
        return None, of_up, of_kernel

    return tf.raw_ops.Conv2D(input=joined, filter=kernel, **how), gradients
