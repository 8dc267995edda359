"""A strategy: terms and set operators in postfix order, so that no nesting needs recursion."""

from dataclasses import dataclass
from typing import NamedTuple

from .errors import StrategyError, quote
from .layout import Layout, WeightRef
from .terms import Auto, Blocks, Part, Term, is_range_end

PRECEDENCE = {"+": 1, "-": 1, "&": 2}
_OPERATIONS = {"+": frozenset.union, "-": frozenset.difference, "&": frozenset.intersection}


@dataclass(frozen=True, repr=False)
class Strategy:
    """Which weights of a U-Net train. Made by `parse`, immutable.

    `str(strategy)` is its canonical text: two strategies are equal if and only if their
    canonical texts are, and `parse(str(strategy)) == strategy`.

    Args:
        postfix: terms and the operators `+`, `-`, `&`, each operator after its two operands.
    """

    postfix: tuple[Term | str, ...]

    @property
    def is_auto(self) -> bool:
        """Whether the weights are to be chosen from the training images."""
        return isinstance(self.postfix[0], Auto)

    def select(self, layout: Layout) -> frozenset[WeightRef]:
        """Return the weights that train on a network of this layout.

        Raises:
            StrategyError: a term is unknown to the layout, nothing is selected (only `none`
                itself may be empty), or the strategy is automatic.
        """
        selected = self._evaluate(layout)
        if not selected and self.postfix != (Part("none"),):
            raise StrategyError(
                f"{quote(str(self))}: selects no weight; write none to train nothing"
            )
        return selected

    def _evaluate(self, layout: Layout) -> frozenset[WeightRef]:
        stack: list[frozenset[WeightRef]] = []
        for item in self.postfix:
            if isinstance(item, str):
                right, left = stack.pop(), stack.pop()
                stack.append(_OPERATIONS[item](left, right))
            else:
                stack.append(item.weights(layout))
        return stack.pop()

    def __str__(self) -> str:
        stack: list[_Phrase] = []
        for item in self.postfix:
            if isinstance(item, str):
                right, left = stack.pop(), stack.pop()
                stack.append(_join(left, item, right))
            else:
                stack.append(_Phrase.of(item))
        return stack.pop().text

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"


class _Phrase(NamedTuple):
    """Infix text of a subexpression, and what decides whether it needs parentheses."""

    text: str
    precedence: int
    starts_as_range_end: bool
    ends_as_range_start: bool

    @classmethod
    def of(cls, term: Term) -> "_Phrase":
        text = str(term)
        open_ended = isinstance(term, Blocks) and term.could_start_range
        return cls(text, max(PRECEDENCE.values()) + 1, is_range_end(text), open_ended)

    def enclosed(self, needed: bool) -> "_Phrase":
        return _Phrase(f"({self.text})", self.precedence, False, False) if needed else self


def _join(left: _Phrase, operator: str, right: _Phrase) -> _Phrase:
    precedence = PRECEDENCE[operator]
    right = right.enclosed(right.precedence <= precedence)
    looks_like_range = operator == "-" and left.ends_as_range_start and right.starts_as_range_end
    left = left.enclosed(left.precedence < precedence or looks_like_range)
    return _Phrase(
        left.text + operator + right.text,
        precedence,
        left.starts_as_range_end,
        right.ends_as_range_start,
    )
