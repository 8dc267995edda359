"""The registry: models by name or path, their cards and digests, and which of them are starts.

Only files with the digest on their card are used by name, other files by an explicit path. Nothing
here needs Keras.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from kerasunet.files import expanded, sha256
from kerasunet.models.card_fields import united
from kerasunet.models.model_card import (
    ModelCard,
    RecordedEvaluation,
    read_card,
    write_card,
)
from kerasunet.models.verification import checked_model, other_digest
from kerasunet.processes import lock
from kerasunet.schema import text_of

NATURAL = "natural"
"""The start that serves any kind of image."""
_RANDOM = "scratch"
_ONE = "one model (SideBySide takes several)"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}(?<!\.keras)")


def folder() -> Path:
    """Return the folder of the registered models; `KERASUNET_MODELS` names another one."""
    if named := os.environ.get("KERASUNET_MODELS"):
        return expanded(named)
    installed, beside_package = (Path(__file__).parents[n] / "saved_models" for n in (1, 2))
    return installed if installed.is_dir() else beside_package


def list() -> tuple[str, ...]:
    """Return the names of the registered models, sorted; some stand for the file of another."""
    files = {path.stem for path in folder().glob("*.keras")}
    others = {path.stem for path in folder().glob("*.json")} - files
    return tuple(sorted(files | {name for name in others if _stands_for_another(name)}))


def _stands_for_another(name: str) -> bool:
    """Whether a JSON file without a model is the card of another name for one, or unrelated."""
    with suppress(ValueError):
        return _file_of(name).is_file()
    return False


def require_elsewhere(directory: str | os.PathLike) -> None:
    """Refuse the folder of registered models for results, which would be taken for more of them.

    Raises:
        ValueError: It is that folder.
    """
    if expanded(directory).resolve() == folder().resolve():
        raise ValueError(
            f"{directory}: is the folder of the registered models; choose another place, and "
            "register a model there with --save-as"
        )


def _file_of(name: str) -> Path:
    """Return the file that a registered name stands for; it may not be there."""
    own = folder() / f"{name}.keras"
    sidecar = own.with_suffix(".json")
    if own.is_file() or not sidecar.is_file():
        return own
    return folder() / f"{read_card(sidecar).weights_of or name}.keras"


def card(name_or_path: str | os.PathLike) -> ModelCard:
    """Return the card of a model.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The card is damaged, or is not a card.
    """
    path = _card_file(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: this model has no card; copy it beside the .keras file")
    return deepcopy(read_card(path))  # Which is read once for several callers.


def is_registered(name_or_path: str | os.PathLike) -> bool:
    """Return whether it is a registered model, by its name or by the path of its file."""
    if _is_address(name_or_path):  # A card that was fetched may name anything.
        return False
    try:
        return _is_registered(_resolve(name_or_path))
    except FileNotFoundError:
        return False


def digest(name_or_path: str | os.PathLike) -> str:
    """Return the SHA-256 of a model file; `"scratch"`, which stands for no file, has none.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes.
    """
    if name_or_path == _RANDOM:
        return ""
    path = _resolve(name_or_path)
    return _verified(path, required=_needs_card(name_or_path, path))


def each_once(models: Iterable[str | os.PathLike]) -> tuple[str | os.PathLike, ...]:
    """Return models without those that are the same file as one before, or a copy of it.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: A file is not the one that its card describes.
    """
    found: dict[str, str | os.PathLike] = {}
    for model in models:
        found.setdefault(digest(model), model)
    return tuple(found.values())


def check(name_or_path: str | os.PathLike) -> None:
    """Look through a model file as `load` does, without loading it: in a moment, without Keras.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes, or not a U-Net.
    """
    with checked_copy(name_or_path):
        pass


@contextmanager
def checked_copy(name_or_path: str | os.PathLike) -> Iterator[tuple[Path, Path]]:
    """Give the path of a model file, and that of a copy that is safe to open.

    Raises:
        FileNotFoundError: There is no such model.
        ValueError: The file is not the one that its card describes, or not a U-Net.
    """
    path = _resolve(name_or_path)
    required = _needs_card(name_or_path, path)
    with checked_model(path, _stated_digest(path, required=required)) as copy:
        yield path, copy


def push(
    name_or_path: str | os.PathLike,
    to: str | os.PathLike,
    *,
    private: bool = False,
    despite_terms: bool = False,
) -> str:
    """Write a model as a Hugging Face Hub repository: to a folder, or to the Hub.

    Args:
        name_or_path: A registered model or a `.keras` file with its card.
        to: A folder, or `hf://owner/name`.
        private: Whether a new repository is private.
        despite_terms: Push although terms of the training data forbid redistribution; the README
            says so.

    Returns:
        The folder or the web address.

    Raises:
        FileExistsError: The folder holds something else, or something that has been changed since.
        FileNotFoundError: There is no such model, or it has no card.
        ValueError: The file is not the one that its card describes, or the terms of the training
            data forbid redistribution, or the address is invalid, or the extra `hub` is not
            installed, or the folder is that of the registered models, lies among images, or is in
            use.
        OSError: The Hub cannot be reached, or refuses.
    """
    from kerasunet.data.loading import require_outside
    from kerasunet.models import hub

    known = card(name_or_path)
    if not _is_address(to):
        require_elsewhere(to)
        require_outside(to, levels=0)
    hub.check_place(to, known, despite_terms=despite_terms)
    seen, complete = seen_images(known)
    if complete:  # Else those that the cards of its starts do list are kept by name.
        known = replace(known, seen=tuple(sorted(seen)), seen_by=())
    with checked_copy(name_or_path) as (_, copy):
        return hub.write_repository(to, copy, replace(known, weights_of=""), private=private)


def check_name(name: str, path: Path | None = None) -> None:
    """Refuse a name that a model cannot be given.

    Args:
        name: The name.
        path: Where the model is, or will be; one that is there may have been given the name before.

    Raises:
        FileExistsError: Another model is registered under it.
        ValueError: It is empty, too long, a path, or has characters that file systems differ on.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a valid model name; a name has up to 100 letters, digits and ._+-, "
            "starts with a letter or digit, and does not end in .keras, as files do"
        )
    if name == _RANDOM:
        raise ValueError(
            f"{name} stands for random weights wherever a start is named; choose another name"
        )
    taken = folder() / f"{name}.keras"
    files = [taken.with_suffix(suffix) for suffix in (".keras", ".json", ".md")]
    if not (found := [file for file in files if file.exists()]):
        return
    if path is None or not _is_the_same(path, taken):
        raise FileExistsError(
            f"{found[0]}: is registered already, and is another model; choose another name, or "
            "remove that model first"
        )


def _is_the_same(path: Path, taken: Path) -> bool:
    """Whether a model was registered before, fully or, by a command that was killed, in part."""
    if path.is_file() and taken.is_file() and not taken.with_suffix(".json").exists():
        return sha256(path) == sha256(taken)
    facts = _facts(path)
    return facts is not None and facts == _facts(taken)


def _facts(path: Path) -> ModelCard | None:
    """Return what a card says of a model however and wherever it is stored; `None` without one."""
    path = path.with_suffix(".json")
    if not path.is_file():
        return None
    card = read_card(path)
    return replace(card, name="", storage="", sha256="", evaluations=(), unknown={})


def record(name_or_path: str | os.PathLike, evaluation: RecordedEvaluation) -> Path:
    """Add an evaluation to a model's card, in place of an earlier one of the same kind.

    Args:
        name_or_path: A registered model or a `.keras` file with its card.
        evaluation: With how many of its cases the model had seen.

    Returns:
        The JSON card.

    Raises:
        FileNotFoundError: There is no such model, or it has no card.
        FileExistsError: `NAME.md` was edited.
        ValueError: The file is not the one that its card describes.
    """
    if not isinstance(evaluation, RecordedEvaluation):
        raise TypeError(f"give a RecordedEvaluation, not {evaluation!r}")
    with _own_card(name_or_path) as path:
        known = read_card(path)
        write_card(path, replace(known, evaluations=united(known.evaluations, (evaluation,))))
        return path


def check_record(name_or_path: str | os.PathLike) -> Path:
    """Return the card that `record` would add to; errors are those of `record`."""
    with _own_card(name_or_path) as path:
        return path


@contextmanager
def _own_card(name_or_path: str | os.PathLike) -> Iterator[Path]:
    """Give the card of a model while no other process adds to it; errors are those of `record`."""
    if _is_address(name_or_path):
        raise ValueError(f"{name_or_path}: its card is kept by the Hub; save the model as a file")
    file = _resolve(name_or_path)
    _verified(file, required=True)
    held = lock(file, seconds=math.inf)  # The card itself is replaced by a rename.
    try:
        path = _card_file(name_or_path)
        require_unedited(path)
        yield path
    finally:
        if held is not None:
            os.close(held)


def require_unedited(path: Path) -> None:
    """Refuse to replace a `NAME.md` that does not say what `NAME.json` does: it may be yours.

    Args:
        path: The model file, which has a card.

    Raises:
        FileExistsError: It was edited, or another version wrote it.
    """
    text = path.with_suffix(".md")
    if not text.is_file():
        return
    card = read_card(path.with_suffix(".json"))
    if text.read_text(encoding="utf-8", errors="replace") != card.to_markdown():
        raise FileExistsError(
            f"{text}: was changed by hand, or {path.stem}.json was, or another version wrote it, "
            "and it would be replaced; rename it, then start again"
        )


def _resolve(name_or_path: str | os.PathLike) -> Path:
    text = text_of(name_or_path, _ONE)
    if _is_address(text):
        from kerasunet.models import hub

        return hub.fetched(text)
    if os.sep not in text and (registered := _file_of(text)).is_file():
        return registered
    path = expanded(text or os.curdir)
    if path.suffix == ".keras" and path.is_file():
        return path
    raise FileNotFoundError(
        f"{text or repr(text)}: neither a registered model nor a .keras file nor hf://owner/name; "
        "registered are: " + (", ".join(list()) or "none")
    )


def _is_address(name_or_path: str | os.PathLike) -> bool:
    """Return whether it names a repository of the Hub, correctly spelled or not."""
    return text_of(name_or_path, _ONE).startswith("hf://")


def _needs_card(name_or_path: str | os.PathLike, path: Path) -> bool:
    """Whether a model must have a card to be verified by: one that is registered, or fetched."""
    return _is_address(name_or_path) or _is_registered(path)


def _is_registered(path: Path) -> bool:
    return path.resolve().parent == folder().resolve()


def _card_file(name_or_path: str | os.PathLike) -> Path:
    """Return where the card of a model is, or would be."""
    path, text = _resolve(name_or_path), os.fspath(name_or_path)
    own = folder() / f"{text}.json"
    return own if os.sep not in text and own.is_file() else path.with_suffix(".json")


def _stated_digest(path: Path, required: bool) -> str | None:
    """Return the digest on the card of a model file; `None` where no card is, nor is needed."""
    sidecar = path.with_suffix(".json")
    if sidecar.is_file():
        return read_card(sidecar).sha256
    if required:
        raise ValueError(f"{path}: has no card {sidecar.name}, so it cannot be verified")
    return None


def _verified(path: Path, required: bool) -> str:
    """Return the digest of a model file, which is the one on its card, if it has a card."""
    stated, found = _stated_digest(path, required), sha256(path)
    if stated not in (None, found):
        raise ValueError(f"{path}: {other_digest(path.with_suffix('.json').name)}")
    return found


def starts_for(modality: str = "") -> tuple[str, ...]:
    """Return the names of the registered starts: those for a modality first, `natural` last.

    Args:
        modality: `"ultrasound"`, `"xray"`, `"photograph"`, or empty for all.
    """
    found = {name: one for name in list() if (one := card(name)).is_start}
    fitting = [n for n, one in found.items() if modality in ("", one.kind_of_image)]
    return (*(n for n in fitting if n != NATURAL), *(n for n in list() if n == NATURAL))


def start_for(modality: str | None) -> str:
    """Return the start that fits a modality: that of its name, else the first, else `natural`."""
    found = starts_for(modality) if modality else ()
    return modality if modality in found else (*found, NATURAL)[0]


def seen_images(known: ModelCard) -> tuple[frozenset[str], bool]:
    """Return which images a model and its starts have seen, and whether these are all.

    Args:
        known: The card of the model.

    Returns:
        As `ModelCard.seen` has them, those of the registered models in `ModelCard.seen_by`
        included; and whether each start has a card that lists images.
    """
    seen, complete = frozenset(known.seen), not known.start_unknown
    for name in known.seen_by:
        nothing: tuple[frozenset[str], bool] = (frozenset(), False)
        found, listed = seen_images(card(name)) if is_registered(name) else nothing
        seen, complete = seen | found, complete and listed and bool(found)
    return seen, complete
