"""Strategies: text such as `shallow:3&norm` that says which weights of a U-Net train.

Pure Python, imported in milliseconds: neither NumPy nor Keras is loaded.
"""

from .errors import StrategyError
from .expansion import expand
from .grammar import describe_grammar
from .layout import Layout, WeightRef
from .naming import name_of
from .parser import parse
from .strategy import Strategy

__all__ = [
    "Layout",
    "Strategy",
    "StrategyError",
    "WeightRef",
    "describe_grammar",
    "expand",
    "name_of",
    "parse",
]
