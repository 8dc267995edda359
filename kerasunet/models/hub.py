"""Models of others and for others: repositories of the Hugging Face Hub, `hf://owner/name`.

A repository holds `model.keras` and its card `model.json`, from which this package loads it,
verified as any file is; the same model unpacked, which `keras.saving.load_model("hf://owner/name")`
opens; and a README with the terms of the training data. The environment variable `HF_ENDPOINT`
names a server other than huggingface.co.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from kerasunet import files
from kerasunet.metrics import METRICS
from kerasunet.models.card_fields import forbids_redistribution, is_unstated
from kerasunet.models.model_card import MOST_BYTES as MOST_BYTES_OF_CARD, ModelCard, read_card
from kerasunet.models.verification import CONFIG, METADATA, MOST_BYTES, WEIGHTS, first_line
from kerasunet.processes import alone_in

SCHEME = "hf://"
FILE, CARD, _README = "model.keras", "model.json", "README.md"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS = re.compile(rf"hf://({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,99}}))?")
_OTHER_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # A drive has one letter.
_KEPT = 16
_SEAL = b"\n<!-- Written by kerasunet push; SHA-256 of the lines above: %s, of model.json: %s -->\n"
_SEALED = re.compile(rb"(.*)" + re.escape(_SEAL).replace(b"%s", b"([0-9a-f]{64})"), re.DOTALL)
_CHANGED = "has been changed since it was written; move it away, or give another folder"
_TAGS = ("kerasunet", "u-net", "segmentation", "medical-imaging")
_LICENSE = "terms-of-the-training-data"
_OWN = {FILE, CARD, _README, CONFIG, METADATA, WEIGHTS}


class Address(NamedTuple):
    """A repository, and a revision of it: a branch, a tag or a commit; `None` for the newest."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `hf://owner/name` or `hf://owner/name@revision`.

        Raises:
            ValueError: It is neither.
        """
        found = _ADDRESS.fullmatch(text)
        if not found:
            raise ValueError(
                f"{text}: not an address of a model; it looks like hf://owner/name, or "
                "hf://owner/name@revision"
            )
        return cls(found[1], found[2])


def is_address(text: str | os.PathLike) -> bool:
    """Return whether text names a repository, correctly spelled or not, rather than a file."""
    return os.fspath(text).startswith(SCHEME)


@lru_cache(_KEPT)
def fetched(text: str) -> Path:
    """Download the model file of a repository and its card, unless they are in the Hub's cache.

    Nothing is opened yet: the file is verified as any other. Within a process it stays the same.

    Args:
        text: As `Address.parse` reads it.

    Returns:
        The `.keras` file, its card beside it.

    Raises:
        ValueError: The text is not an address, or the repository holds no model of this package, or
            one that is too large; or the extra is not installed.
        OSError: There is no such repository, or the Hub cannot be reached.
    """
    address = Address.parse(text)
    hub = library()
    wanted: dict[str, Any] = {
        "repo_id": address.repository,
        "revision": address.revision,
        "allow_patterns": [FILE, CARD],
    }
    with told(text, "fetched"):
        try:
            listed = hub.snapshot_download(**wanted, dry_run=True)
            sizes = {one.filename: one.file_size for one in listed}
        except hub.errors.DryRunError as error:
            if isinstance(error.__cause__, hub.errors.HfHubHTTPError):
                raise error.__cause__ from None
            # Offline: what was fetched before will do.
            folder = Path(hub.snapshot_download(**wanted, local_files_only=True))
        else:
            _check_sizes(text, sizes)
            folder = Path(hub.snapshot_download(**wanted))
    missing = [name for name in (FILE, CARD) if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{text}: holds no {' and no '.join(missing)}; `kerasunet push` writes both"
        )
    return folder / FILE


def _check_sizes(text: str, sizes: dict[str, int | None]) -> None:
    for name, most in ((FILE, MOST_BYTES), (CARD, MOST_BYTES_OF_CARD)):
        if (sizes.get(name) or 0) > most:
            raise ValueError(f"{text}: its {name} has more than {most >> 20:,} MB; not fetched")


def library() -> Any:
    """Return the module `huggingface_hub`.

    Raises:
        ValueError: The extra is not installed.
    """
    try:
        hub = import_module("huggingface_hub")
        for part in ("constants", "errors", "utils"):
            import_module(f"huggingface_hub.{part}")
    except ImportError:
        raise ValueError('hf:// needs an extra: pip install "kerasunet[hub]"') from None
    return hub


@contextmanager
def told(text: str, done: str) -> Iterator[None]:
    """Turn what the library raises into one line, and keep its progress bars away.

    Args:
        text: The address.
        done: What was to be done, such as `"fetched"`.
    """
    hub = library()
    errors, shown = hub.errors, not hub.utils.are_progress_bars_disabled()
    if shown:
        hub.utils.disable_progress_bars()
    try:
        yield
    except (FileExistsError, ValueError):
        raise
    except errors.GatedRepoError:
        raise PermissionError(
            f"{text}: requires consent; give it on the model's web page"
        ) from None
    except errors.RepositoryNotFoundError:
        raise FileNotFoundError(
            f"{text}: no such model, or a private one: check the spelling, or log in "
            "(hf auth login)"
        ) from None
    except errors.RevisionNotFoundError:
        raise FileNotFoundError(f"{text}: has no such revision; check the spelling") from None
    except errors.HfHubHTTPError as error:
        raise OSError(f"{text}: could not be {done}: {_reason(error)}") from None
    except Exception as error:  # Of the network; the library has several for it.
        raise OSError(
            f"{text}: could not be {done}: {hub.constants.ENDPOINT} cannot be reached "
            f"({type(error).__name__}); check the network, or give a file"
        ) from None
    finally:
        if shown:
            hub.utils.enable_progress_bars()


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "not allowed; log in (hf auth login) with the right to write there"
    return first_line(error)


def check_place(to: str | os.PathLike, card: ModelCard, *, despite_terms: bool) -> None:
    """Refuse a place that a model cannot be pushed to; errors are those of `models.push`."""
    if is_address(to):
        _require_permitted(os.fspath(to), card, despite_terms)
    elif _OTHER_ADDRESS.match(os.fspath(to)):
        raise ValueError(f"{to}: give a folder, or an address such as hf://owner/name")
    else:
        _require_own(files.expanded(to), card)


def write_repository(
    to: str | os.PathLike, file: Path, card: ModelCard, *, private: bool = False
) -> str:
    """Write a model as a repository: into a folder, or at an address.

    Args:
        to: The folder or address, as `check_place` let it pass.
        file: The model file.
        card: Its card, which names no other registered model: nobody else may have that.
        private: Whether a new repository is private.

    Returns:
        The folder or the web address.
    """
    contents = _contents(file, card, address=os.fspath(to) if is_address(to) else "")
    if is_address(to):
        return _upload(os.fspath(to), contents, private=private)
    folder = files.expanded(to)
    with files.folder_for(folder), alone_in(folder):
        _require_own(folder, card)
        _require_unchanged(folder, contents)
        files.remove_unfinished(folder)
        for name, content in contents.items():
            files.write_atomically(folder / name, partial(Path.write_bytes, data=content))
    return str(folder)


def _require_unchanged(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Refuse protected files, those of the model that differ, and edited words about it."""
    for name, content in contents.items():
        files.require_replaceable(path := folder / name)
        is_of_model = name not in (CARD, _README)
        if is_of_model and path.exists() and path.read_bytes() != content:
            raise FileExistsError(f"{path}: {_CHANGED}")
    found = {name: (folder / name) for name in (CARD, _README) if (folder / name).is_file()}
    if edited := _edited({name: path.read_bytes() for name, path in found.items()}, contents):
        raise FileExistsError(f"{found[edited]}: {_CHANGED}")


def _require_permitted(text: str, card: ModelCard, despite_terms: bool) -> None:
    address = Address.parse(text)
    if address.revision:
        raise ValueError(f"{text}: a push makes a new revision; leave out @{address.revision}")
    if (names := forbidding(card)) and not despite_terms:
        raise ValueError(
            f"{text}: the terms of {', '.join(names)} forbid redistribution, and {card.name} was "
            "trained on it; push to a folder, or, with the permission of those who own the data, "
            "give --despite-terms"
        )


def _contents(copy: Path, card: ModelCard, *, address: str) -> dict[str, bytes]:
    """Return what a repository holds, by name: the card, which tells whose it is, comes first."""
    with zipfile.ZipFile(copy) as archive:
        unpacked = {name: archive.read(name) for name in (CONFIG, METADATA, WEIGHTS)}
    with told(address or card.name, "described"):
        readme = readme_of(card, library(), address)
    card_file = json.dumps(card.to_json(), indent=2, ensure_ascii=False).encode()
    return {
        CARD: card_file,
        _README: _sealed(readme.encode(), card_file),
        **unpacked,
        FILE: copy.read_bytes(),
    }


def _require_own(folder: Path, card: ModelCard) -> None:
    """Refuse a folder that holds anything but an earlier push of the same model."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: is a file; give a folder")
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    found = {name for name in found if not files.is_unfinished(name)}
    if not found:
        return
    is_own = found <= _OWN and (folder / CARD).is_file()
    if not is_own or read_card(folder / CARD).sha256 != card.sha256:
        raise FileExistsError(
            f"{folder}: holds something other than this model; give a new or empty folder"
        )


def _sealed(readme: bytes, card: bytes) -> bytes:
    """Return a README with its digest and the card's below it, so that edits are recognized."""
    return readme + _SEAL % (_digest(readme), _digest(card))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _edited(found: Mapping[str, bytes], contents: Mapping[str, bytes]) -> str:
    """Return which of README and card has been changed since a push wrote them, if any."""
    known = {_digest(contents[CARD])}  # Of a push that was killed, it may be there already.
    if _README in found:
        seal = _SEALED.fullmatch(found[_README])
        if not seal or _digest(seal[1]) != seal[2]:
            return _README
        known.add(seal[3])
    return CARD if CARD in found and _digest(found[CARD]) not in known else ""


def _upload(text: str, contents: dict[str, bytes], *, private: bool) -> str:
    hub, address = library(), Address.parse(text)
    with tempfile.TemporaryDirectory() as folder, told(text, "pushed"):
        for name, content in contents.items():
            (Path(folder) / name).write_bytes(content)
        api = hub.HfApi(library_name="kerasunet")
        place = api.create_repo(address.repository, private=private or None, exist_ok=True)
        _require_pushed(
            text, address.repository, api.list_repo_files(address.repository), contents=contents
        )
        api.upload_folder(
            repo_id=address.repository,
            folder_path=folder,
            commit_message="Model of kerasunet",
        )
    return str(place)


def _require_pushed(
    text: str, repository: str, names: Sequence[str], *, contents: Mapping[str, bytes]
) -> None:
    """Refuse files of these names that no push wrote; an earlier model stays, as a revision."""
    own = _OWN.intersection(names)
    if own and CARD not in own:
        raise FileExistsError(
            f"{text}: holds {min(own)} but no {CARD}, so kerasunet push did not make it; "
            "give another address, or remove that file there"
        )
    fetch = partial(library().hf_hub_download, repository)
    found = {name: Path(fetch(name)).read_bytes() for name in (CARD, _README) if name in own}
    if edited := _edited(found, contents):
        raise FileExistsError(
            f"{text}: its {edited} has been changed since it was written; rename it there, or give "
            "another address"
        )


def forbidding(card: ModelCard) -> list[str]:
    """Return the data sets whose terms forbid redistribution."""
    return [name for name, terms in card.terms.items() if forbids_redistribution(terms)]


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
    return [*_TAGS, *([card.kind_of_image] if card.kind_of_image else [])]


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
        if not evaluation.differences(card.image_size, card.threshold)  # Else several per data set.
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
    for name, terms in card.terms.items():
        unstated = is_unstated(terms)
        note = " **Nobody has said whether models trained on it may be passed on.**" * unstated
        lines.append(f"- `{name}`: {terms or 'not known'}.{note}")
    return [*lines, ""]
