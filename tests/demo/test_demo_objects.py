"""Compare with a model of several objects: choose the one that is compared, see all of them."""

from __future__ import annotations

import shutil

import pytest
from gradio_client import Client, handle_file
from helpers import ROOT
from helpers.browser import eventually, running_demo
from helpers.compare_page import new_scene, table, wait_for_rows

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NAMES = ("natural", "simulated-organs")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("organs")
    (folder / "models").mkdir()
    for name in NAMES:
        for suffix in (".keras", ".json"):
            shutil.copyfile(ROOT / "saved_models" / f"{name}{suffix}",
                            folder / "models" / f"{name}{suffix}")  # fmt: skip
    with running_demo(folder / "models", folder) as found:
        yield found


def test_one_of_several_objects_is_chosen_and_all_are_shown(page):
    with new_scene(page):
        page.locator("#compare-examples button").nth(3).click()
    wait_for_rows(page, 2, "compare-objects")
    each = {row["Object"].strip(): float(row["Dice"]) for row in table(page, "compare-objects")}
    assert each["lungs"] > 0.95 and each["heart"] > 0.9
    for name in ("lungs", "heart"):
        if name != "lungs":
            with new_scene(page):
                page.locator("#compare-object label", has_text=name).click()
        eventually(
            page,
            lambda: {row["model"]: row["Dice"] for row in table(page)}["simulated-organs"],
            f"{each[name]:.3f}",
        )


def test_clients_are_told_the_objects(address):
    client = Client(address, verbose=False)
    (known,) = [m for m in client.predict(api_name="/models") if "objects" in m]
    assert (known["name"], known["objects"]) == ("simulated-organs", ["lungs", "heart"])
    image, _ = client.predict("xray", 0, api_name="/example")
    facts, _ = client.predict(handle_file(image), "simulated-organs", api_name="/segment")
    assert facts["objects"]["lungs"]["area_pixels"] > facts["objects"]["heart"]["area_pixels"] > 0
    rows, _ = client.predict(
        handle_file(image), modality="xray", object="heart", api_name="/compare"
    )
    assert {row["object"] for row in rows} == {"heart"}
