"""What a model is compiled with for training: the loss, and Adam with its rates, including `rgn`.

`rgn` sets the rate of every kernel in every epoch. Reference: Lee et al., "Surgical Fine-Tuning
Improves Adaptation to Distribution Shifts", ICLR 2023 (arXiv 2210.11466), section 4, Auto-RGN, as
its authors' code has it: norm of the gradient over norm of the weights for each tensor, averaged
over five batches with batch normalization in inference mode; the rate of a tensor is its share of
the largest; every epoch begins with new rates and a new optimizer; the tensors of batch
normalization are left out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from kerasunet.backend import on_plain_tensorflow
from kerasunet.data.augmentation import Batches
from kerasunet.files import write_text
from kerasunet.freezing import apply_strategy, scale_updates, set_rate_factors
from kerasunet.losses import loss_and_metric
from kerasunet.network import plain_copy
from kerasunet.training.settings import NOT_SET, Optimization

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

BATCHES = 5
_STARTS: WeakKeyDictionary[keras.Model, dict[str, Any]] = WeakKeyDictionary()
"""The weights that a training began with, by path of the variable, where they are needed."""


def make_optimizer(settings: Optimization, first_step: int = 0) -> keras.optimizers.Optimizer:
    """Return Adam (Kingma and Ba, ICLR 2015) with the learning-rate schedule of the settings.

    Args:
        settings: The settings.
        first_step: How many steps of the schedule have been taken.
    """
    rate, warmup = settings.learning_rate, int(settings.warmup * settings.steps)
    if settings.schedule == "constant":
        return WarmedAdam(rate, warmup, first_step, global_clipnorm=settings.clip_norm)
    schedule = WarmupSchedule(rate, settings.steps, warmup, first_step=first_step)
    return ScheduledAdam(schedule, name="adam", global_clipnorm=settings.clip_norm)


def compile_for_training(model: keras.Model, settings: Optimization, first_step: int = 0) -> None:
    """Compile with a fresh optimizer, Dice plus cross-entropy, and Dice as metric."""
    optimizer = make_optimizer(settings, first_step)
    if settings.pull:
        pull_to_start(optimizer, model, settings.pull)
    scale_updates(optimizer, model)
    compile_with(model, optimizer)
    # Variables that the first step creates would make TensorFlow trace it twice.
    model.optimizer.build(model.trainable_variables)


def compile_with(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile for the package's loss and metric with an optimizer that may be in use already."""
    # XLA loses to oneDNN on CPUs: 40 against 32 ms per image for the default U-Net.
    loss, dice = loss_and_metric(model)
    jit = False if on_plain_tensorflow() else "auto"
    model.compile(optimizer, loss=loss, metrics=[dice], jit_compile=jit)


def require_as_compiled(model: keras.Model, learner: keras.Model) -> None:
    """Refuse a model in which something else trains than when training began.

    Raises:
        ValueError: Its optimizer is not the one that trains, whose rate and state are written down,
            or other layers train than those that the strategy names.
    """
    if model.optimizer is not learner.optimizer:
        raise ValueError(
            f"{model.name}: a callback has compiled it, but a run trains with its own optimizer; "
            "choose rate, schedule and loss in the settings"
        )
    if layers := _changed_layers(model, learner.optimizer):
        raise ValueError(
            f"{', '.join(layers)}: a callback has changed whether this trains, but the run is that "
            "of a strategy; choose layers, or stages of unfreeze, in the settings"
        )


def _changed_layers(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> list[str]:
    """Return the layers with weights that train, but did not when it was compiled, or reverse."""
    compiled = {id(weight) for weight in optimizer._trainable_variables}
    now = {id(weight) for weight in model.trainable_variables}
    return [
        layer.name
        for layer in model.layers
        if any(id(weight) in compiled ^ now for weight in layer.weights)
    ]


def pull_to_start(
    optimizer: keras.optimizers.Optimizer, model: keras.Model, strength: float
) -> None:
    """Have an optimizer pull trained weights to the values that they started with: L2-SP.

    Reference: Li, Grandvalet, Davoine, "Explicit Inductive Bias for Transfer Learning with
    Convolutional Networks", ICML 2018 (arXiv 1802.01483), section 3: the penalty is `strength / 2`
    times the squared distance to the start. Its gradient, `strength` times the distance, is added
    to that of the loss, before clipping.

    Args:
        optimizer: A fresh optimizer, on any backend.
        model: The model; it starts with the weights of the first call for this model.
        strength: 0 or more.
    """
    variables = list(model.trainable_variables)
    if model not in _STARTS:  # All of them: a later stage may train what is frozen now.
        _STARTS[model] = {weight.path: keras.ops.copy(weight) for weight in model.weights}
    known = _STARTS[model]
    update = optimizer.apply

    def apply(grads, trainable_variables=None):
        pulled = [
            gradient + strength * (variable - known[variable.path])
            for gradient, variable in zip(grads, trainable_variables or variables, strict=True)
        ]
        return update(pulled, trainable_variables)

    optimizer.apply = apply


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear rise from 0, then a half cosine down to 0 (Loshchilov and Hutter, 2017)."""

    def __init__(self, peak: float, steps: int, warmup_steps: int, *, first_step: int = 0):
        self.peak, self.steps, self.warmup_steps = peak, steps, warmup_steps
        self.first_step = first_step

    def __call__(self, step):
        step = keras.ops.cast(step, "float32") + self.first_step
        share = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        fall = 0.5 * (1.0 + keras.ops.cos(math.pi * keras.ops.clip(share, 0.0, 1.0)))
        return self.peak * _risen(step, self.warmup_steps, fall)

    def get_config(self) -> dict:
        return dict(vars(self))


class OneOperationAdam(keras.optimizers.Adam):
    """Adam whose update of a weight is one operation where TensorFlow computes on CPUs.

    Keras writes it as many operations, which take long to trace. The formula is the same, and so
    are the variables.
    """

    _powers: Any = None

    def apply(self, grads, trainable_variables=None):
        if on_plain_tensorflow() and not self.amsgrad:
            taken = tf.cast(self.iterations.value + 1, "float32")
            self._powers = tf.pow(self.beta_1, taken), tf.pow(self.beta_2, taken)
        super().apply(grads, trainable_variables)
        self._powers = None

    def update_step(self, gradient, variable, learning_rate):
        if self._powers is None or variable.dtype != "float32":
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self._powers[0],
            beta2_power=self._powers[1],
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class ScheduledAdam(OneOperationAdam):
    """Adam with a schedule, which refuses in the words of the settings that its rate is set."""

    @property
    def learning_rate(self):
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, rate):
        raise ValueError(f"learning rate: {NOT_SET}")


class WarmedAdam(OneOperationAdam):
    """Adam with a linear rise from 0, then a level rate, which callbacks may read and set.

    Keras lets nobody set the rate of an optimizer that has a schedule.
    """

    def __init__(self, peak: float, warmup_steps: int, first_step: int = 0, **settings):
        super().__init__(peak, name="adam", **settings)
        self._warmup_steps, self._first_step = warmup_steps, first_step

    def _rise(self):
        step = keras.ops.cast(self._iterations, "float32") + self._first_step
        return _risen(step, self._warmup_steps, 1.0)

    def _get_current_learning_rate(self):
        return super()._get_current_learning_rate() * self._rise()

    @property
    def learning_rate(self):
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, rate):
        self._learning_rate.assign(rate / self._rise())


def _risen(step, warmup_steps: int, level):
    rise = (step + 1.0) / max(warmup_steps, 1)
    return keras.ops.where(step < warmup_steps, rise, level)


def rate_variable(optimizer: keras.optimizers.Optimizer) -> keras.Variable | None:
    """Return the variable that callbacks set, or `None` for a schedule."""
    rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
    return rate if isinstance(rate, keras.Variable) else None


def with_rate(optimizer: keras.optimizers.Optimizer, stored: list[np.ndarray]) -> list[np.ndarray]:
    """Return the stored state of an optimizer, with the rate added that version 0.1.0 left out."""
    variables, rate = optimizer.variables, rate_variable(optimizer)
    if rate is None or len(stored) != len(variables) - 1:
        return stored
    place = next(index for index, variable in enumerate(variables) if variable is rate)
    return [*stored[:place], keras.ops.convert_to_numpy(rate.value), *stored[place:]]


class RelativeRates:
    """Measure the rates of a model's kernels; made once per training, used once per epoch.

    Args:
        model: A model that the strategy `rgn` was applied to.
        batches: The batches of the training.
        power: Exponent of the relative gradient norm.
    """

    def __init__(self, model: keras.Model, batches: Batches, power: float):
        self._model, self._batches, self._power = model, batches, power
        self._copy = plain_copy(model)
        apply_strategy(self._copy, "kernel")
        self._recorder = record_gradients(self._copy)

    def measure(self, first: int, last: int) -> dict[str, float]:
        """Measure at the weights that the model has now, and set its rate factors.

        Args:
            first: Number of the first step of the epoch.
            last: Number of the step after its last.

        Returns:
            The factors by path of the variable, 0 to 1. A kernel of zeros has none, and trains at
            the full rate.

        Raises:
            FloatingPointError: A gradient is NaN or infinite.
        """
        self._copy.set_weights(self._model.get_weights())
        own = {v.path: math.sqrt(squared_norm(v)) for v in self._copy.trainable_variables}
        steps = self._batches.steps(first, min(first + BATCHES, last))
        squares = [squared_norms(self._copy, self._recorder, batch) for batch in steps]
        norms = {
            path: float(np.mean([math.sqrt(batch[path]) for batch in squares])) / length
            for path, length in own.items()
            if length
        }
        largest = max(norms.values()) or 1.0  # Without any gradient nothing moves.
        factors = {path: (norm / largest) ** self._power for path, norm in norms.items()}
        set_rate_factors(self._model, factors)
        return factors


def write_rates(path: Path, epoch: int, factors: dict[str, float]) -> None:
    """Write the rate factors of an epoch as a row of a CSV file, below those of the epochs before.

    Args:
        path: The file; rows of this epoch and later ones, of an interrupted run, are replaced.
        epoch: Number of the epoch, from 0.
        factors: By path of the variable.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if epoch and path.is_file() else []
    head = ",".join(["epoch", *factors])
    row = ",".join([str(epoch), *(f"{factor:.6g}" for factor in factors.values())])
    write_text(path, "\n".join([head, *lines[1 : epoch + 1], row]) + "\n")


class GradientRecorder(keras.optimizers.Optimizer):
    """Keep each gradient and update nothing.

    It works on every backend, and is exact where the difference of weights after and before a
    step of plain descent would be rounded to the weights' precision.
    """

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.gradients = [self.add_variable_from_reference(v, "gradient") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        self.assign(self.gradients[self._get_variable_index(variable)], gradient)


def record_gradients(model: keras.Model) -> GradientRecorder:
    """Compile a model, with the weights set to train whose gradients are wanted, for recording."""
    recorder = GradientRecorder(learning_rate=1.0, name="gradient_recorder")
    # XLA takes longer to compile than a handful of batches takes; JAX cannot do without.
    loss, _ = loss_and_metric(model)
    model.compile(recorder, loss=loss, jit_compile=keras.backend.backend() == "jax")
    return recorder


def squared_norms(
    model: keras.Model, recorder: GradientRecorder, batch: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """Return the squared norm of the gradient of every trained variable, by its path.

    Args:
        model: As `record_gradients` compiled it.
        recorder: What that returned.
        batch: Images and masks.

    Raises:
        FloatingPointError: A gradient is NaN or infinite.
    """
    model.train_on_batch(*batch)
    paths = [variable.path for variable in model.trainable_variables]
    squares = dict(zip(paths, map(squared_norm, recorder.gradients), strict=True))
    wrong = [path for path, square in squares.items() if not math.isfinite(square)]
    if wrong:
        raise FloatingPointError(f"the gradient of {wrong[0]} is NaN or infinite")
    return squares


def squared_norm(variable) -> float:
    """Return the sum of the squares of a variable's values, in double precision."""
    values = keras.ops.convert_to_numpy(variable.value).astype(np.float64)
    return float(np.sum(values**2))
