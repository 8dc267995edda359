"""Figures of a study, in one house style, from its tables alone: no Keras, no TensorFlow."""
