"""Models for others: a model as a repository of the Hugging Face Hub, in a folder or there.

A repository holds `model.keras` and its card `model.json`, from which this package loads it; the
same model unpacked, which `keras.saving.load_model("hf://owner/name")` opens; and a README with the
terms of the training data.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kerasunet.data.layouts import PUBLISHED
from kerasunet.files import write_atomically
from kerasunet.metrics import METRICS
from kerasunet.models import registry
from kerasunet.models.hub import CARD, FILE, Address, is_address, library, told
from kerasunet.models.model_card import ModelCard, read_card
from kerasunet.models.verification import CONFIG, METADATA, WEIGHTS

_README = "README.md"
_FORBIDDEN = re.compile(
    r"redistribution[^;.]*\b(prohibited|forbidden|not (permitted|allowed))|\bno redistribution|"
    r"\b(may|must) not be (re)?distributed|not for (re)?distribution",
    re.IGNORECASE,
)
_UNSTATED = re.compile(r"\s*|.*\b(not|none) stated\b.*", re.IGNORECASE | re.DOTALL)
_LICENSE = "terms-of-the-training-data"
_OWN = {FILE, CARD, _README, CONFIG, METADATA, WEIGHTS}


def push(
    name_or_path: str | os.PathLike,
    to: str | os.PathLike,
    *,
    private: bool = False,
    despite_terms: bool = False,
) -> str:
    """Write a model as a repository of the Hugging Face Hub: into a folder, or there.

    Args:
        name_or_path: A registered model or a `.keras` file with its card.
        to: A folder, or `hf://owner/name`.
        private: Whether a new repository is to be seen by its owner alone.
        despite_terms: Push although terms of the training data forbid redistribution; the README
            says so.

    Returns:
        The folder or the web address.

    Raises:
        FileExistsError: The folder holds something else.
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The file is not the one that its card describes, or the terms of the training
            data forbid redistribution, or the address is none, or the extra `hub` is not installed.
        OSError: The Hub cannot be reached, or refuses.
    """
    card = registry.card(name_or_path)
    if is_address(to):
        address = _permitted(os.fspath(to), card, despite_terms)
    else:
        folder = Path(to).expanduser()
        _require_own(folder, card)
    with registry.checked_copy(name_or_path) as (_, copy):
        contents = _contents(copy, card, address=os.fspath(to) if is_address(to) else "")
    if is_address(to):
        return _upload(os.fspath(to), address, contents, private=private)
    for name, content in contents.items():
        write_atomically(folder / name, partial(_write, content=content))
    return str(folder)


def _write(path: Path, *, content: bytes) -> None:
    path.write_bytes(content)


def _permitted(text: str, card: ModelCard, despite_terms: bool) -> Address:
    address = Address.parse(text)
    if address.revision:
        raise ValueError(f"{text}: a push makes a new revision; leave out @{address.revision}")
    if (names := forbidding(card)) and not despite_terms:
        raise ValueError(
            f"{text}: the terms of {', '.join(names)} forbid redistribution, and {card.name} was "
            "trained on it; push to a folder, or, with the permission of those who own the data, "
            "give --despite-terms"
        )
    return address


def _contents(copy: Path, card: ModelCard, *, address: str) -> dict[str, bytes]:
    """Return what a repository holds, by name; the model file last."""
    card = _on_its_own(card)
    with zipfile.ZipFile(copy) as archive:
        unpacked = {name: archive.read(name) for name in (CONFIG, METADATA, WEIGHTS)}
    with told(address or card.name, "described"):
        readme = readme_of(card, library(), address)
    return {
        _README: readme.encode(),
        CARD: json.dumps(card.to_json(), indent=2, ensure_ascii=False).encode(),
        **unpacked,
        FILE: copy.read_bytes(),
    }


def _on_its_own(card: ModelCard) -> ModelCard:
    """Return a card that names no other registered model, which nobody else may have.

    If the cards of its starts do not list every image, those that they do list are kept by name.
    """
    seen, complete = registry.seen_images(card)
    if complete:
        card = replace(card, seen=tuple(sorted(seen)), seen_by=())
    return replace(card, weights_of="")


def _require_own(folder: Path, card: ModelCard) -> None:
    """Refuse a folder that holds anything but an earlier push of the same model."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: is a file; give a folder")
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not found:
        return
    if not found <= _OWN or CARD not in found or read_card(folder / CARD).sha256 != card.sha256:
        raise FileExistsError(
            f"{folder}: holds something else than this model; give a new or empty folder"
        )


def _upload(text: str, address: Address, contents: dict[str, bytes], *, private: bool) -> str:
    hub = library()
    with tempfile.TemporaryDirectory() as folder, told(text, "pushed"):
        for name, content in contents.items():
            (Path(folder) / name).write_bytes(content)
        api = hub.HfApi(library_name="kerasunet")
        place = api.create_repo(address.repository, private=private or None, exist_ok=True)
        api.upload_folder(
            repo_id=address.repository,
            folder_path=folder,
            commit_message="Model of kerasunet",
        )
    return str(place)


def terms_of(card: ModelCard) -> dict[str, str]:
    """Return the terms of each data set that a model or its start was trained on, by name.

    They are empty where nothing is known of them.
    """
    known = {name: terms for name, (terms, _) in PUBLISHED.items()}
    others = {name: known.get(name, "") for name in card.start_data}
    return {**others, card.data.name: card.data.terms}


def forbidding(card: ModelCard) -> list[str]:
    """Return the data sets whose terms forbid redistribution."""
    return [name for name, terms in terms_of(card).items() if _FORBIDDEN.search(terms)]


def readme_of(card: ModelCard, library: Any, address: str = "") -> str:
    """Return the README.

    Args:
        card: The model's card.
        library: The module `huggingface_hub`, which writes the header.
        address: Of the repository; empty for a folder.
    """
    header = library.ModelCardData(
        library_name="keras",
        pipeline_tag="image-segmentation",
        license="other",
        license_name=_LICENSE,
        license_link="README.md",
        tags=_tags(card),
        model_name=card.name,
        eval_results=_results(card, library),
    )
    text = card.to_markdown().replace(
        f'keras.models.load_model("saved_models/{card.weights_of or card.name}.keras")',
        f'keras.saving.load_model("{address or "model.keras"}")',
    )
    heading, _, rest = text.partition("\n")
    yaml = header.to_yaml().strip()
    return "\n".join(["---", yaml, "---", "", heading, "", *_terms(card), rest.lstrip("\n")])


def _tags(card: ModelCard) -> list[str]:
    return [
        *("kerasunet", "u-net", "segmentation", "medical-imaging"),
        *([card.kind_of_image] if card.kind_of_image else []),
    ]


def _results(card: ModelCard, library: Any) -> list[Any]:
    return [
        library.EvalResult(
            task_type="image-segmentation",
            dataset_type=evaluation.data.name,
            dataset_name=evaluation.data.name,
            metric_type=name,
            metric_name=metric.label,
            metric_value=round(float(evaluation.metrics[name]["mean"]), 4),
        )
        for evaluation in (card.held_out, *card.evaluations)
        if not evaluation.mirrored  # The header tells one result for a data set.
        for name, metric in METRICS.items()
    ]


def _terms(card: ModelCard) -> list[str]:
    lines = ["## Terms", ""]
    if names := forbidding(card):
        lines += [
            f"> **The terms of {', '.join(names)}, which these weights were learned from, forbid "
            "redistribution. Do not pass them on without the permission of the owners.**",
            "",
        ]
    lines += [
        "The weights were learned from the data below and are under the terms of these data, not "
        "under the license of the code that trained them.",
        "",
    ]
    for name, terms in terms_of(card).items():
        unstated = _UNSTATED.fullmatch(terms)
        note = " **Nobody has said whether models trained on it may be passed on.**" * bool(
            unstated
        )
        lines.append(f"- `{name}`: {terms or 'not known'}.{note}")
    return [*lines, ""]
