"""Model files from anywhere: looked through before Keras sees them.

A `.keras` file can name any class of any installed package to be built, bring bytecode, point to
other files, or promise weights that fill the memory. Here it may hold a U-Net and nothing else:
known layers with plain values, and weights that are all in the file. What is looked through is a
private copy, and the same copy is then loaded.
"""

from kerasunet.model_files.copies import checked_model, checked_weights

__all__ = ["checked_model", "checked_weights"]
