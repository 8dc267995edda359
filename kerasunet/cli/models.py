"""List the saved models: what trained, on what, and the Dice on held-out cases."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--card", metavar="NAME", help="print the card of one model")


def run(options: argparse.Namespace) -> int:
    from kerasunet import zoo
    from kerasunet.cards import as_markdown

    if options.card:
        print(as_markdown(zoo.card(options.card)))
        return 0
    for name in zoo.list():
        facts = zoo.card(name)
        dice = facts["metrics"]["dice"]
        print(
            f"{name:<28} {facts['strategy']:<12} {facts['data']['name']:<14} Dice "
            f"{dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f}) "
            f"on {facts['evaluation_data']['name']}"
        )
    return 0
