"""A strategy: terms and operators in postfix order, the weights they select and their rates.

Postfix order lets any nesting be parsed, evaluated and printed without recursion.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from math import isclose
from typing import NamedTuple, NoReturn

from kerasunet.strategies.terms import (
    LARGEST_POWER,
    RGN,
    STATISTICS,
    Auto,
    Blocks,
    Count,
    Kind,
    Name,
    NetworkLayout,
    Part,
    StrategyError,
    WeightRef,
    is_range_end,
    quote,
)

PRECEDENCE = {"+": 1, "-": 1, "&": 2}
TIGHTEST = 3
LARGEST_RATE = 10


@dataclass(frozen=True)
class Statistics:
    """No weight, but the moving statistics of every batch normalization: they follow the data."""

    def __str__(self) -> str:
        return STATISTICS

    def weights(self, layout: NetworkLayout) -> frozenset[WeightRef]:
        if not layout.statistics:
            raise StrategyError(f"{self}: this U-Net has no batch normalization")
        return frozenset()


@dataclass(frozen=True)
class RelativeNorm:
    """Every kernel, at a rate in proportion to its relative gradient norm, measured every epoch.

    Auto-RGN of Lee et al., "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts", ICLR
    2023 (arXiv 2210.11466), section 4.

    Args:
        power: Exponent of the relative gradient norm, above 0 and at most `LARGEST_POWER`.

    Raises:
        StrategyError: The power is out of range.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.power <= LARGEST_POWER:
            raise StrategyError(f"{self}: the exponent must be above 0 and at most {LARGEST_POWER}")

    def __str__(self) -> str:
        return RGN if self.power == 1 else f"{RGN}^{repr(self.power).removesuffix('.0')}"

    def weights(self, layout: NetworkLayout) -> frozenset[WeightRef]:
        return Kind("kernel").weights(layout)


@dataclass(frozen=True)
class Rate:
    """A factor before a strategy: the share of the learning rate at which its weights train.

    Raises:
        StrategyError: The factor is not above 0 and at most 10.
    """

    factor: float

    def __post_init__(self) -> None:
        if not 0 < self.factor <= LARGEST_RATE:
            raise StrategyError(
                f"{self}…: a rate factor must be above 0 and at most {LARGEST_RATE}, as in "
                "contracting+0.1*expanding; leave out what should not train"
            )

    def __str__(self) -> str:
        return f"{repr(self.factor).removesuffix('.0')}*"


Term = Part | Kind | Count | Blocks | Name | Auto | Statistics | RelativeNorm


@dataclass(frozen=True, repr=False)
class Strategy:
    """Which weights of a U-Net train, and at which share of the learning rate.

    Made by `parse`, immutable.

    `str(strategy)` is its canonical text: two strategies are equal if and only if their
    canonical texts are, and `parse(str(strategy)) == strategy`.

    Args:
        postfix: Terms and operators; `+`, `-` and `&` come after their two operands, a `Rate`
            after its one.
    """

    postfix: tuple[Term | Rate | str, ...]

    @property
    def is_auto(self) -> bool:
        """Whether the weights are to be chosen from the training images."""
        return isinstance(self.postfix[0], Auto)

    @property
    def is_measured(self) -> bool:
        """Whether the training images decide what trains, or at which rate: `auto` and `rgn`."""
        return self.is_auto or self.relative_power is not None

    @property
    def relative_power(self) -> float | None:
        """The exponent of `rgn`, whose rates are measured in training; `None` of all others."""
        first = self.postfix[0]
        return first.power if isinstance(first, RelativeNorm) else None

    def select(self, layout: NetworkLayout) -> frozenset[WeightRef]:
        """Return the weights that train on a network of this layout.

        Raises:
            StrategyError: A term is unknown to the layout, a weight is claimed at two rates, a
                rate says nothing (on statistics, or on what is taken away), factors multiply to
                more than 10, nothing is selected (only `none` and `statistics` may have no
                weight), or the strategy is automatic.
        """
        return frozenset(self.rates(layout))

    def rates(self, layout: NetworkLayout) -> dict[WeightRef, float]:
        """Return the weights that train, each with its factor of the learning rate, above 0 to 10.

        Raises:
            StrategyError: As for `select`.
        """
        selected = self._evaluate(layout)
        if not selected.rates and not selected.moving and self.postfix != (Part("none"),):
            self._fail("selects no weight; write none to train nothing")
        self._refuse_extreme_rates(selected.rates)
        return {weight: selected.rates[weight] for weight in layout.weights if weight in selected}

    def statistics(self, layout: NetworkLayout) -> tuple[str, ...]:
        """Return the layers whose moving statistics follow the data though no weight trains.

        The statistics of layers that train follow, too, and are not listed.

        Raises:
            StrategyError: As for `select`.
        """
        trained = {weight.layer for weight in self.select(layout) if weight.kind == "norm"}
        moving = self._evaluate(layout).moving - trained
        return tuple(layer for layer in layout.statistics if layer in moving)

    def effect(self, layout: NetworkLayout) -> Hashable:
        """Return what a training does on a network of this layout, equal for equal trainings.

        Weights, rates, moving statistics and the exponent of `rgn` count, the spelling does not.

        Raises:
            StrategyError: As for `select`.
        """
        rates = frozenset(self.rates(layout).items())
        return rates, self.statistics(layout), self.relative_power

    def relative_effect(self, layout: NetworkLayout) -> Hashable:
        """Return `effect` at a highest rate of 1: equal for `contracting` and `3*contracting`.

        Raises:
            StrategyError: As for `select`.
        """
        rates = self.rates(layout)
        highest = max(rates.values(), default=1.0)
        shares = frozenset((weight, round(rate / highest, 6)) for weight, rate in rates.items())
        return shares, self.statistics(layout), self.relative_power

    def _evaluate(self, layout: NetworkLayout) -> "_Selection":
        stack: list[_Selection] = []
        for item in self.postfix:
            if isinstance(item, Rate):
                stack.append(self._scaled(stack.pop(), item))
            elif isinstance(item, str):
                right, left = stack.pop(), stack.pop()
                stack.append(self._combined(left, item, right))
            else:
                stack.append(_Selection.of(item, layout))
        return stack.pop()

    def _scaled(self, selected: "_Selection", rate: Rate) -> "_Selection":
        if selected.moving and not selected.rates:
            self._fail(f"moving statistics have no learning rate; leave out {rate}")
        return selected.scaled(rate.factor)

    def _combined(self, left: "_Selection", operator: str, right: "_Selection") -> "_Selection":
        if operator == "-":
            self._refuse_rates_taken_away(right)
            self._refuse_to_stop(right.moving & {w.layer for w in left.rates if w.kind == "norm"})
            return left.without(right)
        self._refuse_two_rates(left, operator, right)
        return left.common_with(right) if operator == "&" else left.joined_with(right)

    def _refuse_to_stop(self, layers: Collection[str]) -> None:
        if layers:
            self._fail(
                "the statistics of a layer that trains move with it; subtract norm as well, as "
                "in all-norm"
            )

    def _refuse_rates_taken_away(self, taken: "_Selection") -> None:
        if any(rate != 1 for rate in taken.rates.values()):
            self._fail(
                "what - subtracts does not train at any rate; for a lower rate, add it, as in "
                "contracting+0.1*expanding"
            )

    def _refuse_two_rates(self, left: "_Selection", operator: str, right: "_Selection") -> None:
        for weight in sorted(left.rates.keys() & right.rates.keys(), key=lambda w: w.layer):
            one, other = left.rates[weight], right.rates[weight]
            if not isclose(one, other) and (operator == "+" or 1 not in (one, other)):
                self._fail(
                    f"{weight.layer} is claimed at {one:g} and at {other:g} times the rate; "
                    "claim it once, as in contracting+0.1*expanding"
                )

    def _refuse_extreme_rates(self, rates: dict[WeightRef, float]) -> None:
        for weight, rate in sorted(rates.items(), key=lambda item: item[0].layer):
            if not 0 < rate <= LARGEST_RATE and not isclose(rate, LARGEST_RATE):
                self._fail(
                    f"the factors of {weight.layer} multiply to {rate:g}; a rate factor must be "
                    f"above 0 and at most {LARGEST_RATE}"
                )

    def _fail(self, problem: str) -> NoReturn:
        raise StrategyError(f"{quote(str(self))}: {problem}")

    def __str__(self) -> str:
        stack: list[_Phrase] = []
        for item in self.postfix:
            if isinstance(item, Rate):
                stack.append(stack.pop().at_rate(item))
            elif isinstance(item, str):
                right, left = stack.pop(), stack.pop()
                stack.append(_join(left, item, right))
            else:
                stack.append(_Phrase.of(item))
        return stack.pop().text

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"


@dataclass(frozen=True)
class _Selection:
    """What a part of a strategy selects.

    Attributes:
        rates: The weights that train, and their factors of the learning rate.
        touched: Layers with moving statistics among those that are selected in any way.
        moving: Those of them that `statistics` names.
    """

    rates: dict[WeightRef, float]
    touched: frozenset[str]
    moving: frozenset[str]

    @classmethod
    def of(cls, term: Term, layout: NetworkLayout) -> "_Selection":
        weights, every = term.weights(layout), frozenset(layout.statistics)
        if isinstance(term, Statistics):
            return cls({}, every, every)
        norms = frozenset(weight.layer for weight in weights if weight.kind == "norm")
        return cls(dict.fromkeys(weights, 1.0), norms & every, frozenset())

    def __contains__(self, weight: WeightRef) -> bool:
        return weight in self.rates

    def scaled(self, factor: float) -> "_Selection":
        rates = {weight: rate * factor for weight, rate in self.rates.items()}
        return _Selection(rates, self.touched, self.moving)

    def joined_with(self, other: "_Selection") -> "_Selection":
        return _Selection(
            self.rates | other.rates, self.touched | other.touched, self.moving | other.moving
        )

    def without(self, other: "_Selection") -> "_Selection":
        rates = {w: rate for w, rate in self.rates.items() if w not in other}
        return _Selection(rates, self.touched - other.touched, self.moving - other.touched)

    def common_with(self, other: "_Selection") -> "_Selection":
        # Where one of the two rates is 1 the other holds; else they are the same.
        rates = {
            w: other.rates[w] if rate == 1 else rate for w, rate in self.rates.items() if w in other
        }
        touched = self.touched & other.touched
        return _Selection(rates, touched, touched & (self.moving | other.moving))


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
        return cls(text, TIGHTEST, is_range_end(text), open_ended)

    def at_rate(self, rate: Rate) -> "_Phrase":
        operand = self.enclosed(self.precedence < TIGHTEST)
        return _Phrase(
            f"{rate}{operand.text}",
            TIGHTEST,
            False,
            ends_as_range_start=operand.ends_as_range_start,
        )

    def enclosed(self, needed: bool) -> "_Phrase":
        return (
            _Phrase(f"({self.text})", self.precedence, False, ends_as_range_start=False)
            if needed
            else self
        )


def _join(left: _Phrase, operator: str, right: _Phrase) -> _Phrase:
    precedence = PRECEDENCE[operator]
    right = right.enclosed(right.precedence <= precedence)
    looks_like_range = operator == "-" and left.ends_as_range_start and right.starts_as_range_end
    left = left.enclosed(left.precedence < precedence or looks_like_range)
    return _Phrase(
        left.text + operator + right.text,
        precedence,
        left.starts_as_range_end,
        ends_as_range_start=right.ends_as_range_start,
    )
