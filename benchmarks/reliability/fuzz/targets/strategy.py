"""The strategy grammar: parsed, printed, parsed again, resolved on two layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from kerasunet.strategies import NetworkLayout, StrategyError, parse

LONGEST = 64
_LAYOUTS = (NetworkLayout.unet(4, "batch"), NetworkLayout.unet(1, None))
_TEXTS = (
    "all none contracting expanding bottleneck shallow:3 deep:9 outer:2 inner:1 blocks:1-3,7 enc1 "
    "dec2_conv1 enc*_conv? norm bias kernel shallow:3&norm (all-enc1)+head blocks:enc*,dec1 auto "
    "auto:search"
)


def seeds() -> Iterable[bytes]:
    return [text.encode() for text in _TEXTS.split()]


def checker(folder: Path) -> Callable[[bytes], None]:
    def check(content: bytes) -> None:
        text = content.decode("utf-8", errors="surrogateescape")
        try:
            strategy = parse(text)
            assert parse(str(strategy)) == strategy
            for layout in _LAYOUTS:
                _select(strategy, layout)
        except StrategyError as error:
            assert str(error).isprintable(), repr(error)

    return check


def _select(strategy, layout: NetworkLayout) -> None:
    try:
        chosen = strategy.select(layout)
    except StrategyError as error:
        assert str(error).isprintable(), repr(error)
    else:
        assert set(chosen) <= set(layout.weights)
