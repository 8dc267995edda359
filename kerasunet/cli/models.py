"""List the saved models: what trained, on what, and the Dice on held-out cases and elsewhere.

A start is a model to begin a fine-tuning with; the list says for which images it is meant.
"""

from __future__ import annotations

import argparse

from kerasunet import models

_HEADINGS = ("model", "trained layers", "Dice on held-out cases (95 % interval)", "Dice elsewhere")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--card", metavar="NAME", help="print the card of one model")
    parser.add_argument("--markdown", action="store_true", help="print the list as Markdown")


def run(options: argparse.Namespace) -> int:
    if options.card:
        print(models.card(options.card).to_markdown())
        return 0
    rows = [_row(models.card(name)) for name in models.list()]
    print("\n".join(_markdown(rows) if options.markdown else _columns(rows)))
    return 0


def _row(card: models.ModelCard) -> tuple[str, ...]:
    elsewhere = "; ".join([*map(_dice, card.evaluations), *map(_left_out, card.left_out)])
    return card.name, _trained(card), _dice(card.held_out), elsewhere or "–"


def _trained(card: models.ModelCard) -> str:
    if card.name == models.NATURAL:
        return "start: any"
    return f"start: {card.kind_of_image}" if card.is_start else card.trained_layers


def _left_out(one: models.LeftOut) -> str:
    dice = one.dice
    return f"{one.data} left out {dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})"


def _dice(evaluation: models.RecordedEvaluation) -> str:
    dice = evaluation.dice
    name = f"{evaluation.data.name}, mirrored" if evaluation.mirrored else evaluation.data.name
    if evaluation.seen:
        name += f", {evaluation.seen} of {evaluation.metrics['n']} cases seen"
    each = evaluation.metrics.get("objects") or {}
    parts = "".join(f", {part} {one['dice']['mean']:.3f}" for part, one in each.items())
    return f"{name} {dice.mean:.3f} ({dice.low:.3f} to {dice.high:.3f}){parts}"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    table = [_HEADINGS, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(_HEADINGS))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def _markdown(rows: list[tuple[str, ...]]) -> list[str]:
    named = [(f"`{name}`", f"`{strategy}`", *dice) for name, strategy, *dice in rows]
    return [f"| {' | '.join(row)} |" for row in (_HEADINGS, ("---",) * len(_HEADINGS), *named)]
