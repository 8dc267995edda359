"""Which kind of image a data set holds, by its name."""

from __future__ import annotations

import pytest

from kerasunet.data.builders import NAMES
from kerasunet.data.loading import SIMULATED
from kerasunet.objects import modality_of


def test_every_data_set_that_has_a_name_has_a_modality():
    known = {name: modality_of(name) for name in (*NAMES, *SIMULATED)}
    assert None not in known.values()
    assert {name for name, kind in known.items() if kind == "xray"} == {
        *("jsrt", "montgomery", "shenzhen", "simulated-xray")
    }


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        *(("BUSBRA", "ultrasound"), ("Dataset_BUSI_with_GT", "ultrasound")),
        *(("simulated-xray:24", "xray"), ("BUS-UCLM", "ultrasound"), ("JSRT", "xray")),
        *(("DUTS-TR", "photograph"), ("ChinaSet_AllFiles", "xray"), ("my-own-cases", None)),
    ],
)
def test_modality_is_known_by_archive_spelling(name, modality):
    assert modality_of(name) == modality
