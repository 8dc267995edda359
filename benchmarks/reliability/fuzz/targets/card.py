"""Model cards: raw bytes, and a valid card some of whose values are exchanged for others.

What is accepted can be shown as Markdown.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

from kerasunet.metrics import METRICS
from kerasunet.models.model_card import parse_card
from targets._refusals import documented

LONGEST = 2048
_WRONG = (None, True, -1, 0, 1, 0.5, 10**400, 1e999, float("nan"), "", "../x", [], [[]], {}, [{}])


def seeds() -> Iterable[bytes]:
    whole = [_card(), {}, [], None, "text", 1e999]
    return [json.dumps(value).encode() for value in whole] + [b"\x01\x02\x03", bytes(range(40))]


def checker(folder: Path) -> Callable[[bytes], None]:
    path = folder / "card.json"
    card = _card()
    places = list(_places(card))

    def check(content: bytes) -> None:
        _show(content, path)
        _show(_changed(card, places, atheris.FuzzedDataProvider(content)), path)

    return check


def _show(content: bytes, path: Path) -> None:
    with documented(path, ValueError):
        parse_card(content, str(path)).to_markdown().encode()


def _changed(card: dict, places: list[tuple], choices: atheris.FuzzedDataProvider) -> bytes:
    """Return the card with up to three values exchanged, or taken away."""
    card = copy.deepcopy(card)
    for _ in range(choices.ConsumeIntInRange(1, 3)):
        *above, name = places[choices.ConsumeIntInRange(0, len(places) - 1)]
        target = card
        for step in above:
            target = _within(target, step)
        if isinstance(target, dict):
            if choices.ConsumeBool():
                target.pop(name, None)
            else:
                target[name] = _value(choices)
    return json.dumps(card).encode()


def _within(value: object, step: str | int) -> object:
    """Return what is there, or nothing where an earlier exchange took it away."""
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and len(value) > step:
        return value[step]
    return None


def _value(choices: atheris.FuzzedDataProvider) -> object:
    kinds = (
        lambda: copy.deepcopy(choices.PickValueInList(list(_WRONG))),
        lambda: choices.ConsumeInt(9),
        lambda: choices.ConsumeFloat(),
        lambda: choices.ConsumeUnicode(choices.ConsumeIntInRange(0, 300)),
    )
    return kinds[choices.ConsumeIntInRange(0, len(kinds) - 1)]()


def _places(value: object, above: tuple = ()) -> Iterable[tuple]:
    """Return the way to every named value within."""
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(name, str):
            yield (*above, name)
        if isinstance(inner, (dict, list)):
            yield from _places(inner, (*above, name))


def _card() -> dict:
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    metrics = {name: dict(interval) for name in METRICS}
    metrics |= {"n": 9, "missed": 0, "false_alarm": 0, "empty_truth": 0, "unit": "px"}
    data = {"name": "set", "cases": 9, "digest": "0", "terms": "free", "citation": "none"}
    network = {"base_filters": 4, "depth": 2, "classes": 1, "normalization": None, "channels": 1}
    evaluation = {"data": data, "image_size": 64, "threshold": 0.5, "metrics": metrics}
    return {
        "name": "m", "title": "t", "strategy": "all", "init": "natural", "data": data,
        "evaluation_data": data, "split": "", "image_size": 64, "threshold": 0.5,
        "training_cases": 9, "metrics": metrics, "settings": {}, "parameters": 99,
        "architecture": network, "versions": {"keras": "3"}, "sha256": "0" * 64,
        "evaluations": [evaluation], "storage": "float16",
    }  # fmt: skip
