"""Write a model as a repository of the Hugging Face Hub: into a folder, or there.

The repository holds the model file with its card, the same model as Keras opens it by
hf://owner/name, and a README with the terms of the training data.
"""

from __future__ import annotations

import argparse

from kerasunet import models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a saved model's name or .keras file, with its card")
    add("--to", required=True, metavar="PLACE", help="a folder, or hf://owner/name")
    add("--private", action="store_true", help="a new repository is seen by its owner alone")
    add(
        "--despite-terms",
        action="store_true",
        help="push although terms of the training data forbid redistribution; the README says so",
    )


def run(options: argparse.Namespace) -> int:
    place = models.push(
        options.model, options.to, private=options.private, despite_terms=options.despite_terms
    )
    print(f"written: {place}")
    return 0
