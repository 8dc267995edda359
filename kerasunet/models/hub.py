"""Models of others: repositories of the Hugging Face Hub, such as `hf://owner/name`.

A repository holds `model.keras` and its card `model.json`, which are verified as any file is. The
environment variable `HF_ENDPOINT` names another server than huggingface.co.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from kerasunet.models.model_card import MOST_BYTES as MOST_BYTES_OF_CARD
from kerasunet.models.verification import MOST_BYTES, first_line

SCHEME = "hf://"
FILE, CARD = "model.keras", "model.json"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS = re.compile(rf"hf://({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,99}}))?")
_KEPT = 16


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
    """Return whether a text names a repository, rightly or wrongly spelled, and no file."""
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
        ValueError: The text is no address, or the repository holds no model of this package, or
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
            sizes = {one.filename: one.file_size for one in _listed(hub, wanted)}
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


def _listed(hub: Any, wanted: dict[str, Any]) -> list[Any]:
    return hub.snapshot_download(**wanted, dry_run=True)


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
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise ValueError('hf:// needs an extra: pip install "kerasunet[hub]"') from None
    return huggingface_hub


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
        raise PermissionError(f"{text}: asks for consent first; give it on its web page") from None
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
            f"{text}: could not be {done}, for {hub.constants.ENDPOINT} is not reached "
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
