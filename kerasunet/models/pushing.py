"""Models for others: a model as a repository of the Hugging Face Hub, in a folder or there.

A repository holds `model.keras` and its card `model.json`, from which this package loads it; the
same model unpacked, which `keras.saving.load_model("hf://owner/name")` opens; and a README with the
terms of the training data.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from functools import partial
from pathlib import Path

from kerasunet.files import write_atomically
from kerasunet.models import registry
from kerasunet.models.hub import CARD, FILE, Address, is_address, library, told
from kerasunet.models.hub_card import forbidding, repository_card
from kerasunet.models.model_card import ModelCard, read_card
from kerasunet.models.verification import CONFIG, METADATA, WEIGHTS

_README = "README.md"
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
    with registry.checked_copy(name_or_path) as (path, copy):
        contents = _contents(path, copy, card, address=os.fspath(to) if is_address(to) else "")
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


def _contents(path: Path, copy: Path, card: ModelCard, *, address: str) -> dict[str, bytes]:
    """Return what a repository holds, by name; the model file last."""
    with zipfile.ZipFile(copy) as archive:
        unpacked = {name: archive.read(name) for name in (CONFIG, METADATA, WEIGHTS)}
    with told(address or str(path), "described"):
        readme = repository_card(card, library(), address)
    return {
        _README: readme.encode(),
        CARD: path.with_suffix(".json").read_bytes(),
        **unpacked,
        FILE: copy.read_bytes(),
    }


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
