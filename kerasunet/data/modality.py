"""What kind of image a data set holds, by its name: no more than a table, quick to import."""

from __future__ import annotations

import re
from typing import Literal

Modality = Literal["ultrasound", "xray", "photograph"]
MODALITY_LABELS: dict[Modality, str] = {
    "ultrasound": "Ultrasound",
    "xray": "X-ray",
    "photograph": "Photograph",
}
_NAMES: dict[Modality, tuple[str, ...]] = {
    "ultrasound": ("bus_bra", "bus_uclm", "busi", "oasbud", "udiat", "simulated-ultrasound"),
    "xray": ("jsrt", "montgomery", "shenzhen", "simulated-xray"),
    "photograph": (
        *("duts", "ecssd", "msra10k", "oxford_iiit_pet", "xpie"),
        "simulated-natural",
    ),
}
_ARCHIVES: dict[Modality, tuple[str, ...]] = {
    "ultrasound": ("Dataset_BUSI_with_GT", "BUS-UCLM", "DatasetB"),
    "xray": ("ChinaSet_AllFiles", "MontgomerySet", "JSRT_SCR"),
    "photograph": ("DUTS-TR", "DUTS-TE"),
}


def modality_of(data_name: str) -> Modality | None:
    """Return what kind of image a data set holds.

    Args:
        data_name: Name of a data set, as `DataSet.name` gives it or as its archive spells it
            (`bus_bra`, `BUSBRA`, `Dataset_BUSI_with_GT`, `simulated-xray:60`). Case, `-`, `_`
            and spaces do not matter.

    Returns:
        `"ultrasound"`, `"xray"`, `"photograph"`, or `None` where the name does not say.
    """
    return _BY_SPELLING.get(_plain(data_name.partition(":")[0]))


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()


_BY_SPELLING: dict[str, Modality] = {
    _plain(name): modality
    for table in (_NAMES, _ARCHIVES)
    for modality, names in table.items()
    for name in names
}
