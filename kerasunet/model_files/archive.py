"""The zip file that a `.keras` file is: three members, none of which may be anything else."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

from kerasunet.model_files.network import count_parameters
from kerasunet.model_files.refusal import Refused
from kerasunet.model_files.weights import count_weights

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
_MOST_BYTES = {CONFIG: 8 << 20, METADATA: 1 << 16, WEIGHTS: 1 << 30}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


def check_archive(path: Path) -> None:
    """Looks through a `.keras` file.

    Raises:
        Refused: It is damaged, or holds anything but a U-Net.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist())
            needed = count_parameters(_member(archive, CONFIG))
            held = count_weights(io.BytesIO(_member(archive, WEIGHTS)))
    except Refused:
        raise
    except Exception as error:  # Broken bytes are answered with exceptions of every type.
        raise Refused(f"not a whole .keras file ({_brief(error)}); copy it again") from None
    if needed > held:
        raise Refused(f"its layers have {needed:,} weights, but the file holds {held:,} numbers")


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if sorted(names) != sorted(_MOST_BYTES):
        shown = ", ".join(map(repr, names[:5]))
        raise Refused(
            f"a model file holds {', '.join(_MOST_BYTES)}, each once and nothing else; this one "
            f"holds {shown or 'nothing'}{' …' if len(names) > 5 else ''}"
        )
    for member in members:
        _check_member(member)


def _check_member(member: zipfile.ZipInfo) -> None:
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise Refused(f"its {member.filename} is a link or a device, not a file")
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
        raise Refused(f"its {member.filename} is encrypted or compressed in a rare way")
    if member.file_size > _MOST_BYTES[member.filename]:
        raise Refused(
            f"its {member.filename} has {member.file_size:,} bytes, more than the limit of "
            f"{_MOST_BYTES[member.filename]:,}"
        )


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The contents; `zipfile` stops at the size that was checked, and compares the checksum."""
    return archive.read(name)


def _brief(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
