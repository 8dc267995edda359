"""Strategies: text such as `shallow:3&norm` that says which weights of a U-Net train.

Pure Python, imported in milliseconds: neither NumPy nor Keras is loaded.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.strategies.naming import (
        find as find,
        name_of as name_of,
        trained_blocks as trained_blocks,
        what_trains as what_trains,
    )
    from kerasunet.strategies.parser import (
        Stage as Stage,
        describe_grammar as describe_grammar,
        expand as expand,
        parse as parse,
        parse_stages as parse_stages,
    )
    from kerasunet.strategies.strategy import Strategy as Strategy
    from kerasunet.strategies.terms import (
        NetworkLayout as NetworkLayout,
        StrategyError as StrategyError,
        WeightRef as WeightRef,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
