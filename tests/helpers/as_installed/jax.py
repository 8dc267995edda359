"""Stands for JAX, which TensorFlow imports where it is there; see `helpers.AS_INSTALLED`."""

raise ModuleNotFoundError("No module named 'jax'", name="jax")
