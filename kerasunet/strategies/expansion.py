"""One pattern of a study to many strategies: `shallow:*` is every `shallow:K`."""

import re

from .layout import Layout
from .parser import parse
from .terms import RULES, Count

_EVERY_COUNT = re.compile(rf"\s*({'|'.join(RULES)})\s*:\s*\*\s*", re.IGNORECASE)


def expand(pattern: str, layout: Layout) -> list[str]:
    """Return the canonical texts that `pattern` stands for.

    Args:
        pattern: `shallow:*`, `deep:*`, `outer:*` or `inner:*` for every K the layout allows, in
            rising order; any other strategy stands for itself.
        layout: the network to be trained.

    Raises:
        StrategyError: `pattern` is neither of the two.
    """
    match = _EVERY_COUNT.fullmatch(pattern)
    if match is None:
        return [str(parse(pattern))]
    rule = match[1].lower()
    return [str(Count(rule, count)) for count in range(1, Count.limit(rule, layout) + 1)]
