"""Model cards: what is accepted can be shown as Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from kerasunet.card_files import parse_card
from kerasunet.cards import as_markdown
from kerasunet.metrics import METRICS
from targets._refusals import documented

LONGEST = 4096


def seeds() -> Iterable[bytes]:
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    metrics = dict.fromkeys(METRICS, interval)
    metrics |= {"n": 9, "missed": 0, "false_alarm": 0, "empty_truth": 0, "unit": "px"}
    data = {"name": "set", "cases": 9, "digest": "0", "terms": "free", "citation": "none"}
    card = {
        "name": "m", "title": "t", "strategy": "all", "init": "natural", "data": data,
        "evaluation_data": data, "split": "", "image_size": 64, "threshold": 0.5,
        "training_cases": 9, "metrics": metrics, "settings": {}, "parameters": 99,
        "architecture": {"base_filters": 4, "depth": 2, "classes": 1, "normalization": None,
                         "channels": 1},
        "versions": {"keras": "3"}, "sha256": "0" * 64,
    }  # fmt: skip
    evaluation = {"data": data, "image_size": 64, "threshold": 0.5, "metrics": metrics}
    small = {"separators": (",", ":")}
    whole = [card, {**card, "evaluations": [evaluation], "storage": "float16"}]
    return [json.dumps(value, **small).encode() for value in [*whole, {}, [], None, "text", 1e999]]


def checker(folder: Path) -> Callable[[bytes], None]:
    path = folder / "card.json"

    def check(content: bytes) -> None:
        with documented(path, ValueError):
            as_markdown(parse_card(content, str(path))).encode()

    return check
