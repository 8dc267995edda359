"""How text becomes a strategy: the grammar, the lexemes, and an operator-precedence parser."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

from kerasunet.strategies.strategy import (
    PRECEDENCE,
    TIGHTEST,
    Rate,
    RelativeNorm,
    Statistics,
    Strategy,
    Term,
)
from kerasunet.strategies.terms import (
    KINDS,
    PARTS,
    RGN,
    RULES,
    STATISTICS,
    Auto,
    Blocks,
    Count,
    Kind,
    Name,
    NetworkLayout,
    Part,
    StrategyError,
    did_you_mean,
    is_glob,
    is_range_end,
    quote,
)

GRAMMAR = (
    ("all, none", "everything; nothing"),
    ("contracting, expanding, bottleneck", "that part; contracting includes bottleneck"),
    ("shallow:K, deep:K", "the first, last K blocks in data-flow order"),
    ("outer:K, inner:K", "the K highest-, lowest-resolution levels, both arms"),
    ("blocks:1-3,7, blocks:enc1,dec2", "blocks by number (enc1 is 1) or name"),
    ("enc1, dec2_conv1, head, enc*_conv1", "blocks and layers by name; * and ? are wildcards"),
    ("norm, bias, kernel", "only that kind of weight, everywhere"),
    ("A&B, A+B, A-B, (A)", "both; either; A without B; & binds tighter than + and -"),
    ("0.1*A", "A at 0.1 times the rate (above 0, up to 10); binds tightest"),
    ("statistics", "no weight; batch-norm moving averages follow the data"),
    ("rgn, rgn^0.5", "every kernel, at a rate by its relative gradient norm"),
    ("auto, auto:search", "chosen by what studies say, or by that and short trials"),
)
LONGEST_TEXT = 1000
_LEXEME = re.compile(
    r"\s+|(?P<rgn>rgn(?:\^(?:\d+\.?\d*|\.\d+))?(?![\w*?^.]))"
    r"|(?P<factor>(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?\s*\*)|(?P<word>[A-Za-z0-9_*?]+)"
    r"|(?P<symbol>[-+&(),:])|(?P<unknown>.)",
    re.DOTALL | re.IGNORECASE,
)
_EVERY_COUNT = re.compile(rf"\s*({'|'.join(RULES)})\s*:\s*\*\s*", re.IGNORECASE)


def parse(text: str) -> Strategy:
    """Return the strategy that `text` spells. Names are checked later, by `Strategy.select`.

    Upper and lower case are the same, and spaces between words are ignored.

    Args:
        text: A strategy such as `"shallow:3&norm"`, at most 1000 characters. The grammar is
            the table of `describe_grammar`.

    Raises:
        StrategyError: `text` is not a strategy; the message says where and why.
    """
    if not isinstance(text, str):
        raise StrategyError(
            f"{quote(repr(text))}: a strategy is text, such as 'shallow:3', 'all' or 'none'"
        )
    if len(text) > LONGEST_TEXT:
        raise StrategyError(
            f"{quote(text)}: a strategy has at most {LONGEST_TEXT} characters, got {len(text)}"
        )
    if not text.strip():
        raise StrategyError(
            "the strategy is empty; write all, shallow:3, …, or none to train nothing"
        )
    return _Parser(text).strategy()


class Stage(NamedTuple):
    """A stage of gradual unfreezing: from `step` on, `strategy` says what trains."""

    strategy: Strategy
    step: int

    def __str__(self) -> str:
        return f"{self.strategy}@{self.step}"


def parse_stages(texts: Sequence[str]) -> tuple[Stage, ...]:
    """Read the stages of gradual unfreezing, such as `deep:1@0 deep:3@50 all@100`.

    Args:
        texts: A strategy, `@` and the step from which it trains, each; the first step is 0.

    Raises:
        StrategyError: A text is not of that form, its strategy depends on the training images, or
            the steps do not rise from 0.
    """
    stages = tuple(map(_stage, texts))
    steps = [stage.step for stage in stages]
    if stages and (steps[0] != 0 or steps != sorted(set(steps))):
        raise StrategyError(
            f"unfreeze {' '.join(texts)}: the steps must rise from 0, as in deep:1@0 deep:3@50 "
            "all@100"
        )
    return stages


def _stage(text: str) -> Stage:
    written, _, step = text.rpartition("@") if isinstance(text, str) else ("", "", "")
    if not written or not (step.isascii() and step.isdigit()):
        raise StrategyError(
            f"unfreeze {quote(str(text))}: give a strategy and the step from which it trains, as "
            "in deep:3@50"
        )
    strategy = parse(written)
    if strategy.is_measured or str(strategy) == "none":
        raise StrategyError(
            f"unfreeze {quote(text)}: {strategy} cannot be a stage of a training; name what "
            "trains, as in deep:3@50"
        )
    return Stage(strategy, int(step))


def expand(pattern: str, layout: NetworkLayout) -> list[str]:
    """Return the canonical texts that `pattern` stands for.

    Args:
        pattern: `shallow:*`, `deep:*`, `outer:*` or `inner:*` for every K the layout allows, in
            rising order; any other strategy stands for itself.
        layout: The network to be trained.

    Raises:
        StrategyError: `pattern` is neither of the two.
    """
    match = _EVERY_COUNT.fullmatch(pattern)
    if match is None:
        return [str(parse(pattern))]
    rule = match[1].lower()
    return [str(Count(rule, count)) for count in range(1, Count.limit(rule, layout) + 1)]


def describe_grammar() -> str:
    """Return the grammar as an aligned table of two columns, one row per line, for `--help`."""
    width = max(len(text) for text, _ in GRAMMAR)
    return "\n".join(f"{text:<{width}}  {meaning}" for text, meaning in GRAMMAR)


class _Token(NamedTuple):
    text: str
    position: int  # 1-based, in the text given
    is_word: bool
    is_factor: bool = False

    def __str__(self) -> str:
        return f"{quote(self.text)!r} at position {self.position}" if self.text else "the end"

    @property
    def precedence(self) -> int:
        return TIGHTEST if self.is_factor else PRECEDENCE.get(self.text, 0)

    @property
    def is_number(self) -> bool:
        return self.is_word and self.text.isdigit()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [*self._tokens(), _Token("", len(text) + 1, False)]
        self.index = 0
        self.output: list[Term | Rate | str] = []
        self.waiting: list[_Token] = []  # operators, rate factors and open parentheses

    def strategy(self) -> Strategy:
        self._operand()
        while self._peek().text:
            self._operator()
            self._operand()
        self._flush()
        if self.waiting:
            self._fail(f"{self.waiting[-1]} is never closed")
        if len(self.output) > 1 and any(isinstance(item, Auto) for item in self.output):
            self._fail("auto is resolved from training images; it must stand alone")
        if len(self.output) > 1 and any(isinstance(item, RelativeNorm) for item in self.output):
            self._fail("rgn sets the rate of every kernel; it must stand alone")
        return Strategy(tuple(self.output))

    def _tokens(self) -> Iterator[_Token]:
        for match in _LEXEME.finditer(self.text):
            if match.lastgroup == "unknown":
                self._fail(f"unexpected {match[0]!r} at position {match.start() + 1}")
            if match.lastgroup:
                is_word, is_factor = match.lastgroup in ("word", "rgn"), match.lastgroup == "factor"
                yield _Token(match[0].lower(), match.start() + 1, is_word, is_factor=is_factor)

    def _peek(self, ahead: int = 0) -> _Token:
        return self.tokens[min(self.index + ahead, len(self.tokens) - 1)]

    def _take(self) -> _Token:
        token = self._peek()
        self.index += 1
        return token

    def _fail(self, problem: str) -> NoReturn:
        raise StrategyError(f"{quote(self.text)}: {problem}")

    def _operand(self) -> None:
        while self._peek().text == "(" or self._peek().is_factor:
            self.waiting.append(self._take())
        self.output.append(self._term())
        while self._peek().text == ")":
            self._close(self._take())

    def _operator(self) -> None:
        token = self._take()
        if token.text == ",":
            self._fail(f"{token} is only for blocks:1,2; join strategies with +")
        if token.text not in PRECEDENCE:
            self._fail(f"expected +, - or & before {token}")
        self._flush(PRECEDENCE[token.text])
        self.waiting.append(token)

    def _flush(self, precedence: int = 1) -> None:
        """Output the waiting operators that bind at least this tightly, up to a parenthesis."""
        while self.waiting and self.waiting[-1].precedence >= precedence:
            token = self.waiting.pop()
            factor = token.text.rstrip("* ")
            self.output.append(Rate(float(factor)) if token.is_factor else token.text)

    def _close(self, token: _Token) -> None:
        self._flush()
        if not self.waiting:
            self._fail(f"{token} closes nothing")
        self.waiting.pop()

    def _term(self) -> Term:
        word = self._take()
        if not word.is_word:
            self._fail(self._missing_operand(word))
        if self._peek().text != ":":
            return self._plain(word)
        self._take()
        return self._with_argument(word)

    def _missing_operand(self, found: _Token) -> str:
        before = self.tokens[self.index - 2] if self.index > 1 else found
        if before is not found and before.text in PRECEDENCE:
            return f"{before} needs a strategy on its right, found {found}"
        if found.text in PRECEDENCE:
            return f"{found} needs a strategy on its left"
        return f"expected a strategy, found {found}"

    def _plain(self, word: _Token) -> Term:
        name = word.text
        if name in PARTS:
            return Part(name)
        if name in KINDS:
            return Kind(name)
        if name == "auto":
            return Auto(search=False)
        if name == STATISTICS:
            return Statistics()
        if name.partition("^")[0] == RGN:
            return RelativeNorm(float(name.partition("^")[2] or 1))
        if name in RULES:
            self._fail(f"{name} needs a number, as in {name}:3")
        if name == "blocks":
            self._fail("blocks needs a list, as in blocks:1-3,7")
        if name == "scratch":
            self._fail("scratch is a kind of initial weights, not a strategy; use --init scratch")
        if word.is_number:
            self._fail(f"{word} is not a strategy; write blocks:{quote(name)}")
        return Name(name)

    def _with_argument(self, word: _Token) -> Term:
        if word.text == "blocks":
            return self._blocks()
        if word.text in RULES:
            return Count(word.text, self._count(word.text))
        if word.text == "auto":
            return self._auto()
        hint = did_you_mean(word.text, (*RULES, "blocks", "auto"))
        self._fail(f"{word} takes nothing after a colon{hint}")

    def _count(self, rule: str) -> int:
        token = self._take()
        if token.text == "*":
            self._fail(f"{rule}:* means every K and is for studies; give one number here")
        if not token.is_number:
            self._fail(f"{rule} needs a number, as in {rule}:3, found {token}")
        return int(token.text)

    def _auto(self) -> Auto:
        token = self._take()
        if token.text != "search":
            self._fail(f"auto takes nothing but search, as in auto:search, found {token}")
        return Auto(search=True)

    def _blocks(self) -> Blocks:
        items = [self._block()]
        while self._peek().text == ",":
            self._take()
            items.append(self._block())
        return Blocks(tuple(items))

    def _block(self) -> tuple[int, int] | str:
        first = self._take()
        if not first.is_word:
            self._fail(f"blocks needs a number or a name, as in blocks:1-3,7, found {first}")
        last = self._peek(1) if self._peek().text == "-" else None
        if last and first.is_number and last.is_number:
            self.index += 2
            return self._range(int(first.text), int(last.text))
        if last and is_range_end(last.text) and not is_glob(first.text):
            self._fail(
                f"a range takes two numbers, as in blocks:1-3; "
                f"to subtract, write (blocks:{quote(first.text)})-{quote(last.text)}"
            )
        return (int(first.text), int(first.text)) if first.is_number else first.text

    def _range(self, first: int, last: int) -> tuple[int, int]:
        if first > last:
            self._fail(f"{first}-{last} runs backward; write {last}-{first}")
        return first, last
