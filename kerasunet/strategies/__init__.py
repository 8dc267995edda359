"""Strategies: text such as `shallow:3&norm` that says which weights of a U-Net train.

Pure Python, imported in milliseconds: neither NumPy nor Keras is loaded.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "NetworkLayout": "kerasunet.strategies.terms",
    "Strategy": "kerasunet.strategies.strategy",
    "StrategyError": "kerasunet.strategies.terms",
    "WeightRef": "kerasunet.strategies.terms",
    "describe_grammar": "kerasunet.strategies.parser",
    "expand": "kerasunet.strategies.parser",
    "name_of": "kerasunet.strategies.naming",
    "parse": "kerasunet.strategies.parser",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
