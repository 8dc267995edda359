"""TFDS's own test of a builder, for each of ours, on tiny archives in the owners' layouts."""

from __future__ import annotations

import importlib
import re
import tempfile
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from helpers.builder_archives import MAKERS

import kerasunet.data.builders as builders

SPLITS = {
    "bus_bra": {"train": 12},
    "bus_uclm": {"train": 3},
    "busi": {"train": 9},
    "duts": {"train": 4, "test": 2},
    "ecssd": {"train": 3},
    "jsrt": {"train": 3},
    "montgomery": {"train": 2},
    "msra10k": {"train": 3},
    "oasbud": {"train": 6},
    "shenzhen": {"train": 3},
    "udiat": {"train": 3},
    "xpie": {"train": 3},
}
HOME = Path(builders.__file__).parent


def builder_class(name: str) -> type[tfds.core.GeneratorBasedBuilder]:
    return importlib.import_module(f"kerasunet.data.builders.{name}.{name}_dataset_builder").Builder


def convention_test(name: str) -> type:
    """`tfds.testing.DatasetBuilderTestCase` of one builder."""

    class Test(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = builder_class(name)
        SPLITS = SPLITS[name]

        @classmethod
        def setUpClass(cls):
            folder = tempfile.TemporaryDirectory()
            cls.addClassCleanup(folder.cleanup)
            MAKERS[name](Path(folder.name))
            cls.EXAMPLE_DIR = folder.name
            super().setUpClass()

    Test.__name__ = Test.__qualname__ = f"Test_{name}"
    return Test


globals().update({f"Test_{name}": convention_test(name) for name in SPLITS})


@pytest.mark.parametrize("name", SPLITS)
def test_folder_has_what_tfds_expects(name):
    listed = {path.name for path in (HOME / name).iterdir()}
    expected = {"README.md", "CITATIONS.bib", "TAGS.txt", "__init__.py"}
    assert expected | {f"{name}_dataset_builder.py"} <= listed
    patterns = packaged_files()
    assert {"README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv"} <= patterns


def packaged_files() -> set[str]:
    """Files beside modules that the installed package brings along."""
    text = (HOME.parents[2] / "setup.cfg").read_text(encoding="utf-8")
    section = text.partition("[options.package_data]")[2].partition("\n[")[0]
    return set(section.split())


@pytest.mark.parametrize("name", SPLITS)
def test_checksums_are_of_what_is_downloaded_and_missing_ones_are_told(name):
    builder = builder_class(name)
    known = dict(builder.url_infos or {})
    urls = {url for url in builder.ARCHIVES.values() if url}
    assert known.keys() <= urls
    assert all(re.fullmatch("[0-9a-f]{64}", info.checksum) for info in known.values())
    assert all(int(info.size) > 10_000_000 for info in known.values())
    readme = (HOME / name / "README.md").read_text(encoding="utf-8")
    told = "not\nrecorded yet" in readme or "not recorded yet" in readme
    assert told == (known.keys() != urls)


@pytest.mark.parametrize("name", SPLITS)
def test_every_citation_is_well_formed(name):
    text = (HOME / name / "CITATIONS.bib").read_text(encoding="utf-8")
    assert text.count("{") == text.count("}")
    entries = re.findall(r"^@(article|inproceedings)\{(\w+),$", text, re.MULTILINE)
    assert entries and len({key for _, key in entries}) == len(entries)
    for field in ("author", "title", "year"):
        assert len(re.findall(rf"^  {field} = \{{", text, re.MULTILINE)) == len(entries)
